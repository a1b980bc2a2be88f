"""A run against the data it names, against its weights, and against training it again.

What needs none of them is in :mod:`aqabench.runs.recompute`.  Code that comes with a submission is
never run: a method predicts or is trained again only where it is installed here, or named by the
person who asks, and weights are read as tensors and nothing else.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch

from aqabench.data.features import FeatureSet
from aqabench.data.source import Source
from aqabench.errors import MethodError
from aqabench.method.registry import Registry, source_digest
from aqabench.protocol.library import Asked
from aqabench.protocol.schema import BUDGETS, SelectionRule
from aqabench.runs.difference import agreements
from aqabench.runs.execute import do_run, method_of, predictions_of
from aqabench.runs.listener import Silent
from aqabench.runs.parts import hidden_shares, make_parts, mask_digest, training_share
from aqabench.runs.plan import Question, RunSpec
from aqabench.runs.record import RunRecord
from aqabench.runs.states import State, unpack
from aqabench.runs.store import RunStore, prediction_frame
from aqabench.runs.vetting import RefusedError
from aqabench.train.device import computing
from aqabench.train.evaluate import Part, Selected, scored
from aqabench.train.numerics import USUAL, Numerics

__all__ = [
    "TOLERANCE", "Predicted", "Retrained", "predict_again", "recheck_data", "retrain", "spec_of",
]  # fmt: skip

TOLERANCE = 1e-4
"""Judge points by which predictions from the same weights may differ on another machine."""


@dataclass(frozen=True)
class Predicted:
    """What predicting again from weights gave.

    Attributes:
        count: predictions that were compared.
        unequal: those that are not the same, bit by bit as they are kept.
        largest: largest difference, in judge points; infinite where one is absent or undefined.
    """

    count: int
    unequal: int
    largest: float

    @property
    def holds(self) -> bool:
        """Are all predictions the same, but for what another machine may change?"""
        return self.largest <= TOLERANCE


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
    try:
        spec = _spec_here(record, asked, source, registry, "be trained again")
    except _NotHereError as error:
        return Retrained(False, str(error))
    _use_threads(record)
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


class _NotHereError(MethodError):
    """The method that is here is not the one that a run is of."""


def _spec_here(
    record: RunRecord, asked: Asked, source: Source, registry: Registry, what: str
) -> RunSpec:
    """Return the run for the method that is here.

    Raises:
        UnknownNameError, MethodError: there is none, or another version of it.
    """
    entry = registry.get(record.method)
    assert entry.card is not None
    here = source_digest(entry)
    if here != record.identity["source_digest"]:
        raise _NotHereError(
            f"{record.method} cannot {what}: the runs are of another version of its source, or of "
            f"aqabench ({record.identity['source_digest'][:12]}) than {entry.path} ({here[:12]})."
        )
    spec = spec_of(record, asked, source, entry.card.reads_groups)
    if spec.key != record.key:
        raise _NotHereError(f"{spec.label} cannot {what}: its identity is another.")
    return spec


def _use_threads(record: RunRecord) -> None:
    """Compute with as many threads as the run did, because their number changes last digits."""
    wanted = record.cost.threads if record.cost else 1
    torch.set_num_threads(max(1, min(wanted, max(64, os.cpu_count() or 1))))


def predict_again(
    record: RunRecord,
    frame: pd.DataFrame,
    weights: bytes,
    asked: Asked,
    source: Source,
    data: FeatureSet,
    registry: Registry,
) -> Predicted:
    """Predict with the weights of a run, on the processor, and compare every prediction.

    Args:
        record: a finished run.
        frame: its predictions, in the store's columns.
        weights: content of its file of weights, which anybody may have made.
        asked: its protocol.
        source: what its data are.
        data: the data.
        registry: where the method comes from.

    Raises:
        UnknownNameError, MethodError: the method is not here.
        RefusedError: the weights are none, or not of this method; in words that follow the run's
            name.
    """
    spec = _spec_here(record, asked, source, registry, "predict again")
    states = unpack(weights)
    if states.keys() != record.selected_epochs.keys():
        raise RefusedError(
            f"has weights for the rules {', '.join(sorted(states)) or 'none'}; its record names "
            f"{', '.join(sorted(record.selected_epochs))}"
        )
    _use_threads(record)
    with computing(USUAL), TemporaryDirectory() as scratch:
        again = _predicted(spec, states, record, data, registry)
        store = RunStore(Path(scratch))
        store.write(record, again, [])  # so that both were written with nine digits
        found = agreements(frame, store.predictions(record))
    unequal = sum(one.unequal + one.only_a + one.only_b for one in found)
    lacking = any(one.only_a or one.only_b or math.isnan(one.largest) for one in found)
    largest = math.inf if lacking else max(one.largest for one in found)
    return Predicted(sum(one.shared for one in found), unequal, largest)


def _predicted(
    spec: RunSpec,
    states: dict[SelectionRule, State],
    record: RunRecord,
    data: FeatureSet,
    registry: Registry,
) -> pd.DataFrame:
    """Return the predictions of every rule, made by the code that makes them in a run."""
    parts = make_parts(spec, data)
    made: dict[int, Selected] = {}
    try:
        with torch.random.fork_rng(devices=[]):  # networks are built before they take weights
            method, looks = method_of(spec, parts, registry)
            for rule, state in states.items():
                if id(state) not in made:
                    method.load_state(state)
                    looks(record.selected_epochs[rule])
                    made[id(state)] = looks.selected["last"]
    except Exception as error:  # whatever the method says of weights that are not its own
        reason = " ".join(str(error).split())[:200]
        raise RefusedError(
            f"has weights that do not fit {spec.method}: {type(error).__name__}: {reason}"
        ) from error
    return predictions_of({rule: made[id(state)] for rule, state in states.items()}, parts)


def _made_with(record: RunRecord) -> str:
    known = record.environment
    return ", ".join(
        f"{name} {known[name]}" for name in ("torch", "numpy", "system") if name in known
    )
