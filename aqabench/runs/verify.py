"""A run against the data it names, and against training it again.

What needs neither is in :mod:`aqabench.runs.recompute`.  Code that comes with a submission is never
run: a method is trained again only where it is installed here, or named by the person who asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch

from aqabench.data.features import FeatureSet
from aqabench.data.source import Source
from aqabench.method.registry import Registry, source_digest
from aqabench.protocol.library import Asked
from aqabench.protocol.schema import BUDGETS
from aqabench.runs.difference import agreements
from aqabench.runs.execute import do_run
from aqabench.runs.listener import Silent
from aqabench.runs.parts import hidden_shares, make_parts, mask_digest, training_share
from aqabench.runs.plan import Question, RunSpec
from aqabench.runs.record import RunRecord
from aqabench.runs.store import RunStore, prediction_frame
from aqabench.train.evaluate import Part, scored
from aqabench.train.numerics import Numerics

__all__ = ["Retrained", "recheck_data", "retrain", "spec_of"]


@dataclass(frozen=True)
class Retrained:
    """What training again gave.

    Attributes:
        same: are all predictions the same, bit by bit as they are kept?
        said: one sentence.
    """

    same: bool
    said: str


def spec_of(record: RunRecord, asked: Asked, source: Source, reads_groups: bool = False) -> RunSpec:
    """Return the run that a record says it is, on the data at hand."""
    identity = record.identity
    question = Question.of(asked, source, BUDGETS[identity["budget"]["name"]])
    return RunSpec(
        question, record.method, identity["source_digest"], identity["settings"],
        record.class_name, record.seed, record.overrides, record.fold, reads_groups,
        Numerics(**identity.get("numerics", {})), None, record.tuned,
    )  # fmt: skip


def recheck_data(
    record: RunRecord, frame: pd.DataFrame, asked: Asked, source: Source, data: FeatureSet
) -> list[str]:
    """Compare videos, scores and masks of a run with those of its data set.

    Args:
        record: a finished run, whose data digest is that of the data.
        frame: its predictions, in the store's columns.
        asked: its protocol.
        source: what the data are.
        data: the data.

    Returns:
        What is wrong, in words that follow the run's name.
    """
    spec = spec_of(record, asked, source)
    parts = make_parts(spec, data)
    problems = []
    if record.samples != {name: len(part.split) for name, part in parts.items()}:
        problems.append("has parts of other sizes than its data set")
    if record.masks != {n: d for n, part in parts.items() if (d := mask_digest(part))}:
        problems.append("was tested under other masks than its protocol draws")
    if record.hidden != hidden_shares(spec, parts["test"]):
        problems.append("says that its scenarios hide another share than they do")
    if record.training != training_share(spec, parts["train"].split):
        problems.append("says that training went without another share than it did")
    for name, part in parts.items():
        own = frame[frame["part"] == name]
        if name != "train":
            problems += _of_part(own, part, name)
    return problems


def _of_part(own: pd.DataFrame, part: Part, name: str) -> Iterator[str]:
    """Compare the videos of a part, and their scores, with those of every rule."""
    shown = np.where(scored(part), 1.0, np.nan)  # (S, n)
    scores = np.asarray(part.split.points, dtype=float)
    every = prediction_frame("", name, part.scenarios, part.split.ids, scores, shown)
    wanted = _texts(every[every["prediction"].notna()])
    for rule, rows in own.groupby("rule", sort=True):
        found = _texts(rows)
        if found.keys() != wanted.keys():
            count = len(found.keys() ^ wanted.keys())
            yield f"has other videos in {name} than its data set, rule {rule} ({count} differ)"
        elif found != wanted:
            wrong = next(key for key in wanted if found[key] != wanted[key])
            yield (
                f"says that {wrong[1]} has the score {found[wrong]}, its data set says "
                f"{wanted[wrong]} ({name}, rule {rule})"
            )


def _texts(frame: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Return (scenario, video) -> score, as it is kept."""
    keys = zip(frame["scenario"], frame["sample_id"].astype(str), strict=True)
    return dict(zip(keys, (f"{score:.9g}" for score in frame["score"]), strict=True))


def retrain(
    record: RunRecord,
    frame: pd.DataFrame,
    asked: Asked,
    source: Source,
    registry: Registry,
) -> Retrained:
    """Do a run again, from its seed, and compare every prediction.

    Args:
        record: a finished run.
        frame: its predictions, in the store's columns.
        asked: its protocol.
        source: its data.
        registry: where the method comes from.

    Raises:
        UnknownNameError, MethodError: the method is not here.
    """
    entry = registry.get(record.method)
    assert entry.card is not None
    here = source_digest(entry)
    if here != record.identity["source_digest"]:
        return Retrained(
            False,
            f"{record.method} cannot be trained again: the runs are of another version of its "
            f"source, or of aqabench ({record.identity['source_digest'][:12]}) than {entry.path} "
            f"({here[:12]}).",
        )
    spec = spec_of(record, asked, source, entry.card.reads_groups)
    if spec.key != record.key:
        return Retrained(False, f"{spec.label} cannot be trained again: its identity is another.")
    torch.set_num_threads(record.cost.threads if record.cost else 1)
    with TemporaryDirectory() as scratch:
        store = RunStore(Path(scratch))
        again, _ = do_run(spec, source.load(), registry, store, Silent())
        if again.status == "failed":
            return Retrained(False, f"{spec.label} failed when it was trained again: {again.error}")
        found = agreements(frame, store.predictions(again))
    count = sum(one.shared for one in found)
    if all(one.identical and one.scores for one in found):
        return Retrained(
            True, f"{spec.label} trained again: all {count:,} predictions are the same."
        )
    unequal = sum(one.unequal + one.only_a + one.only_b for one in found)
    largest = max((one.largest for one in found if one.unequal), default=float("nan"))
    return Retrained(
        False,
        f"{spec.label} trained again: {unequal:,} of {count:,} predictions differ, by "
        f"{largest:.3g} judge points at most. It was made with {_made_with(record)}, this is "
        f"{_made_with(again)}.",
    )


def _made_with(record: RunRecord) -> str:
    known = record.environment
    return ", ".join(
        f"{name} {known[name]}" for name in ("torch", "numpy", "system") if name in known
    )
