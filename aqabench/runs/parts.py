"""The parts of a run: which videos train, select and test, what each lacks, what tests it.

Here the protocol's laws meet the ids of the data at hand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from statistics import fmean

import numpy as np
import numpy.typing as npt

from aqabench.data.batch import Split
from aqabench.data.corrupt import Moments
from aqabench.data.features import FeatureSet
from aqabench.data.splits import split_rows
from aqabench.protocol.mask_tables import shares
from aqabench.protocol.noise_laws import damage_digest
from aqabench.protocol.scenarios import (
    Table,
    availability,
    compared_scenarios,
    corruptions,
    masks_digest,
    observation,
    scenarios,
)
from aqabench.protocol.training import redrawn, training_table
from aqabench.runs.plan import RunSpec
from aqabench.runs.record import Hidden
from aqabench.train.evaluate import Part

__all__ = ["hidden_shares", "make_parts", "mask_digest", "training_share"]


def make_parts(spec: RunSpec, data: FeatureSet) -> dict[str, Part]:
    """Return train, val (if the protocol has one) and test of the run's class.

    A trial of a search has no test part.
    """
    protocol, dataset = spec.question.protocol, spec.question.dataset
    class_spec = next(c for c in dataset.classes if c.name == spec.class_name)
    every = scenarios(protocol, dataset).values()
    parts: dict[str, Part] = {}
    moments: Moments | None = None
    for name, rows in split_rows(data, dataset, class_spec, protocol.split, spec.fold).items():
        if name == "test" and spec.trial is not None:
            continue
        ids = [data.ids[int(i)] for i in rows]
        split = Split(
            data,
            rows,
            class_spec,
            protocol.modalities,
            spec.question.budget.stride,
            training_table(protocol, dataset, ids, name, spec.seed),
            redrawn(protocol) if name == "train" else None,
        )
        if name == "train":  # is not scored
            if any(s.timed or s.corrupted for s in every):
                moments = Moments(*split.moments())
            parts[name] = Part(split, {})
            continue
        parts[name] = _scored_part(spec, name, split, moments)
    return parts


def _scored_part(spec: RunSpec, name: str, split: Split, moments: Moments | None) -> Part:
    """Draw the tables of a part; validation meets only the scenarios that choose the epoch."""
    protocol, dataset = spec.question.protocol, spec.question.dataset
    ids, lengths = split.ids, split.lengths.tolist()
    wanted = set(scenarios(protocol, dataset))
    if name == "val":
        wanted = set(compared_scenarios(protocol, dataset))
    return Part(
        split,
        _only(wanted, availability(protocol, dataset, ids, name)),
        _only(wanted, observation(protocol, dataset, ids, lengths, name)),
        [
            corruption
            for corruption in corruptions(protocol, dataset, ids, lengths, name)
            if wanted.issuperset(corruption.targets)
        ],
        moments,
    )


def _only(wanted: Collection[str], tables: Mapping[str, Table]) -> dict[str, Table]:
    return {name: table for name, table in tables.items() if name in wanted}


def mask_digest(part: Part) -> str:
    """Return sha256 of everything that a part lacks or its scenarios show; empty for nothing."""
    split, lengths = part.split, part.split.lengths.tolist()
    own = {} if bool(split.available.all()) else {"exists": split.available.numpy()}
    digests = [
        masks_digest(own, split.ids),
        masks_digest(part.available, split.ids),
        masks_digest(part.observed, split.ids, lengths),
        *(damage_digest(c.damage, split.ids, lengths) for c in part.corruptions),
    ]
    found = "".join(digests)
    return hashlib.sha256(found.encode()).hexdigest() if found else ""


def hidden_shares(spec: RunSpec, part: Part) -> dict[str, Hidden]:
    """Return how much each scenario hides of the test part, beside what it is called by."""
    every = scenarios(spec.question.protocol, spec.question.dataset)
    found = {}
    for name, table in {**part.available, **part.observed}.items():
        level = every[name].level
        found[name] = _share(table, fmean(level) if level else None)
    return found


def training_share(spec: RunSpec, train: Split) -> Hidden | None:
    """Return what the training table withholds; of a law that is drawn anew, its first table."""
    if spec.question.protocol.training == "complete":
        return None
    return _share(train.available.numpy(), None)


def _share(table: npt.NDArray[np.bool_], nominal: float | None) -> Hidden:
    counted = shares(table)
    return Hidden(nominal=nominal, realised=counted.realised, complete=counted.complete)
