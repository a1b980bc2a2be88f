"""Which videos train, select and test: fixed rules, the same for every method."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from aqabench.data.features import FeatureSet
from aqabench.protocol.schema import ClassSpec, SplitSpec, ValidationSpec
from aqabench.seeds import seed

Rows = npt.NDArray[np.int64]


def split_rows(data: FeatureSet, class_spec: ClassSpec, spec: SplitSpec) -> dict[str, Rows]:
    """Return the rows of ``train``, ``val`` (unless the protocol has none) and ``test``."""
    train, test = data.rows(class_spec.name, "train"), data.rows(class_spec.name, "test")
    if spec.validation is None:
        return {"train": train, "test": test}
    scores = data.scores[class_spec.name][train]
    ids = [data.ids[i] for i in train]
    held = validation_part(ids, scores, spec.validation, data.dataset, class_spec.name)
    return {"train": train[~held], "val": train[held], "test": test}


def validation_part(
    ids: list[str],
    scores: npt.NDArray[np.float64],
    spec: ValidationSpec,
    dataset: str,
    class_name: str,
) -> npt.NDArray[np.bool_]:
    """Return (n,) bool: the videos of the training list that select instead of training.

    The list is sorted by score, cut into ``strata`` groups of equal size, and the same share is
    drawn from each (by largest remainder) with a generator seeded by name, over sorted ids, so
    that neither the order of a list nor a machine matters.
    """
    order = sorted(range(len(ids)), key=lambda i: (scores[i], ids[i]))
    groups = np.array_split(np.asarray(order), min(spec.strata, len(ids)))
    wanted = [len(group) * spec.fraction for group in groups]
    counts = [int(w) for w in wanted]
    missing = round(len(ids) * spec.fraction) - sum(counts)
    by_remainder = sorted(range(len(groups)), key=lambda g: (counts[g] - wanted[g], g))
    for g in by_remainder[: max(missing, 0)]:
        counts[g] += 1
    draw = np.random.default_rng(seed(spec.seed, dataset=dataset, class_name=class_name))
    held = np.zeros(len(ids), dtype=bool)
    for group, count in zip(groups, counts, strict=True):
        by_id = np.asarray(sorted(group.tolist(), key=lambda i: ids[i]))
        held[draw.choice(by_id, size=count, replace=False)] = True
    return held
