"""Which samples train, select and test: fixed rules, the same for every method.

Every draw is seeded by name and made over sorted ids, so that neither the order of a list nor a
machine matters.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from aqabench.data.features import FeatureSet
from aqabench.errors import DataError
from aqabench.protocol.schema import ClassSpec, DatasetSpec, SplitSpec, ValidationSpec
from aqabench.seeds import seed

Rows = npt.NDArray[np.int64]


def split_rows(
    data: FeatureSet,
    dataset: DatasetSpec,
    class_spec: ClassSpec,
    spec: SplitSpec,
    fold: int | None = None,
) -> dict[str, Rows]:
    """Return the rows of ``train``, ``val`` (unless the protocol has none) and ``test``.

    Args:
        data: the feature set.
        dataset: its description.
        class_spec: the score to predict; samples without it are in no part.
        spec: the protocol's split.
        fold: number of the fold that tests; None for the official split.

    Raises:
        DataError: the data lack the groups, the folds or the test list that the split asks for.
    """
    if spec.scheme == "official":
        train, test = (
            data.rows(class_spec.name, part)[spec.skipped :] for part in ("train", "test")
        )
    else:
        number = fold_numbers(data, dataset, spec)
        member = np.isfinite(data.scores[class_spec.name]) & (number >= 0)
        train = np.flatnonzero(member & (number != fold))
        test = np.flatnonzero(member & (number == fold))
    if not train.size or not test.size:
        raise DataError(
            f"{dataset.title} has no {'test' if train.size else 'training'} samples for "
            f"{class_spec.name} in split '{spec.scheme}'. Use a protocol with folds (split: "
            "{scheme: kfold, k: 5}), or mark the samples train and test in the data."
        )
    if spec.validation is None:
        return {"train": train, "test": test}
    kind = spec.validation.group
    held = validation_part(
        [data.ids[i] for i in train],
        data.scores[class_spec.name][train],
        spec.validation,
        data.dataset,
        class_spec.name,
        fold,
        [str(label) for label in labels_of(data, kind)[train]] if kind else None,
    )
    return {"train": train[~held], "val": train[held], "test": test}


def labels_of(data: FeatureSet, kind: str) -> npt.NDArray[np.str_]:
    """Return the (N,) labels of one kind of group.

    Raises:
        DataError: the data do not have them.
    """
    if kind not in data.groups:
        raise DataError(
            f"The split keeps every {kind} in one part, but the installed {data.dataset} has no "
            f"{kind} labels. Add them: aqabench data import {data.dataset} --groups FILE.csv "
            f"(columns sample_id,{kind})"
        )
    return data.groups[kind]


def fold_numbers(data: FeatureSet, dataset: DatasetSpec, spec: SplitSpec) -> Rows:
    """Return (N,) the fold that each sample is tested in; -1 for none.

    Raises:
        DataError: folds or groups that the data do not have.
    """
    if spec.scheme == "published-folds":
        assert spec.folds is not None
        if spec.folds not in data.folds:
            have = ", ".join(data.folds) or "none"
            raise DataError(
                f"The installed {dataset.title} has no folds '{spec.folds}' (it has: {have}). "
                f"Import it again: aqabench data import {dataset.name} --from FOLDER"
            )
        return data.folds[spec.folds]
    assert spec.k is not None
    draw = np.random.default_rng(seed(spec.seed, dataset=data.dataset, use="folds"))
    if spec.scheme == "grouped":
        assert spec.group is not None
        return grouped_folds(labels_of(data, spec.group).tolist(), spec.k, draw)
    return _stratified_folds(data, dataset, spec.k, draw)


def grouped_folds(labels: Sequence[str], k: int, draw: np.random.Generator) -> Rows:
    """Return (N,) folds that share no group and are about equally large.

    The largest group goes to the fold that is smallest so far; equal sizes are taken in an order
    drawn at random.

    Raises:
        DataError: fewer groups than folds.
    """
    names, member, sizes = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    if len(names) < k:
        raise DataError(
            f"{k} folds need at least {k} groups. Got {len(names)}; use fewer folds (split: k)."
        )
    ticket = draw.permutation(len(names))
    filled = np.zeros(k, dtype=np.int64)
    fold = np.empty(len(names), dtype=np.int64)
    for group in sorted(range(len(names)), key=lambda g: (-sizes[g], ticket[g])):
        fold[group] = int(filled.argmin())
        filled[fold[group]] += sizes[group]
    return fold[member]


def _stratified_folds(
    data: FeatureSet, dataset: DatasetSpec, k: int, draw: np.random.Generator
) -> Rows:
    """Return (N,) folds of equal size and like score distribution, for all classes at once."""
    scores = np.stack([data.scores[c.name] for c in dataset.classes])  # (C, N)
    low, high = (np.array([c.bounds[i] for c in dataset.classes])[:, None] for i in (0, 1))
    member = np.isfinite(scores)
    level = np.where(member, (scores - low) / (high - low), 0.0).sum(0) / member.sum(0)
    pattern = [tuple(column) for column in member.T]  # which classes a sample belongs to
    order = sorted(range(len(data.ids)), key=lambda i: (pattern[i], level[i], data.ids[i]))
    fold = np.empty(len(order), dtype=np.int64)
    for first in range(0, len(order), k):  # k neighbours in score go to k different folds
        block = order[first : first + k]
        fold[block] = draw.permutation(k)[: len(block)]
    return fold


def validation_part(
    ids: Sequence[str],
    scores: npt.NDArray[np.float64],
    spec: ValidationSpec,
    dataset: str,
    class_name: str,
    fold: int | None = None,
    groups: Sequence[str] | None = None,
) -> npt.NDArray[np.bool_]:
    """Return (n,) bool: the samples of the training part that select instead of training.

    Samples (or groups, by their mean score) are sorted by score and cut into ``strata`` of equal
    size; the same share is drawn from each.  A group is held out whole or not at all.
    """
    axes: dict[str, str | int] = {"dataset": dataset, "class_name": class_name}
    if fold is not None:
        axes["fold"] = fold
    draw = np.random.default_rng(seed(spec.seed, **axes))
    if groups is not None:
        return _held_groups(scores, spec, groups, draw)
    order = sorted(range(len(ids)), key=lambda i: (scores[i], ids[i]))
    strata = np.array_split(np.asarray(order), min(spec.strata, len(ids)))
    wanted = [len(stratum) * spec.fraction for stratum in strata]
    counts = [int(w) for w in wanted]
    missing = round(len(ids) * spec.fraction) - sum(counts)
    by_remainder = sorted(range(len(strata)), key=lambda g: (counts[g] - wanted[g], g))
    for g in by_remainder[: max(missing, 0)]:
        counts[g] += 1
    held = np.zeros(len(ids), dtype=bool)
    for stratum, count in zip(strata, counts, strict=True):
        by_id = np.asarray(sorted(stratum.tolist(), key=lambda i: ids[i]))
        held[draw.choice(by_id, size=count, replace=False)] = True
    return held


def _held_groups(
    scores: npt.NDArray[np.float64],
    spec: ValidationSpec,
    groups: Sequence[str],
    draw: np.random.Generator,
) -> npt.NDArray[np.bool_]:
    names, member, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise DataError(
            "A validation part that holds out whole groups needs at least two of them. Got "
            f"{len(names)}; leave 'group' out of the protocol's validation."
        )
    mean = np.bincount(member, weights=scores) / sizes
    order = np.asarray(sorted(range(len(names)), key=lambda g: (mean[g], names[g])))
    chosen = np.zeros(len(names), dtype=bool)
    for stratum in np.array_split(order, min(spec.strata, len(names))):
        room = sizes[stratum].sum() * spec.fraction
        for group in draw.permutation(np.sort(stratum)):
            if sizes[group] / 2 <= room:  # nearer to the share with it than without
                chosen[group] = True
                room -= sizes[group]
    if not chosen.any():
        chosen[order[len(order) // 2]] = True
    held: npt.NDArray[np.bool_] = chosen[member]
    return held
