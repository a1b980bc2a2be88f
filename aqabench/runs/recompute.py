"""Do a run's numbers follow from its predictions?  Needs no data and no torch.

A record holds no score, but its curve does: at the epochs that were chosen it must be what the
predictions give, and the epochs must be those that the rules choose from it.  Predictions are kept
with nine digits, so that a squared error agrees to what those nine digits leave open, which is
worked out for each number, and a Spearman to 1e-12 unless nine digits make two predictions equal.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import rankdata

from aqabench.protocol.folds import fold_names
from aqabench.protocol.library import Asked
from aqabench.protocol.scenarios import compared_scenarios, scenarios
from aqabench.protocol.schema import BUDGETS
from aqabench.runs.record import RunRecord
from aqabench.stats import mse, spearman
from aqabench.train.numerics import Numerics

__all__ = ["recheck"]

Array = npt.NDArray[np.float64]
Look = Mapping[str, Any]

EXACT = 1e-12
DIGITS = 9
"""Of a stored prediction."""
BOUND = 1 - 1e-6
"""Correlations are cut here before Fisher's z, as where epochs are compared."""
CHOSEN_BY = {"val": "val", "oracle": "test"}
"""Rule -> the part whose criterion it maximises."""


def recheck(
    record: RunRecord, frame: pd.DataFrame, curve: Sequence[Look], asked: Asked
) -> tuple[int, list[str]]:
    """Recompute what a run says of itself.

    Args:
        record: a finished run.
        frame: its predictions, in the store's columns.
        curve: its looks.
        asked: its protocol.

    Returns:
        How many numbers were recomputed, and what is wrong, in words that follow the run's name.
    """
    problems = [*_of_identity(record, asked), *_of_grid(record, frame)]
    if problems:
        return 0, problems
    count = 0
    looks = {(str(look.get("epoch")), str(look.get("part"))): look for look in curve}
    for (rule, part), own in frame.groupby(["rule", "part"], sort=True):
        epoch = record.selected_epochs[str(rule)]
        look = looks.get((str(epoch), str(part)))
        if look is None:
            problems.append(f"has no look at {part} at epoch {epoch}, which '{rule}' chose")
            continue
        for scenario, rows in own.groupby("scenario", sort=True):
            count += 2
            problems += [
                f"{problem} ({part}, {scenario}, epoch {epoch}, rule {rule})"
                for problem in _of_numbers(look.get(str(scenario)), rows)
            ]
    return count, [*problems, *_of_choice(record, curve, asked)]


def _of_identity(record: RunRecord, asked: Asked) -> Iterator[str]:
    identity = record.identity
    if identity["protocol_digest"] != asked.digest:
        yield f"is of another version of protocol {asked.protocol.name} than the one here"
    every = [b.model_dump(mode="json", exclude={"about", "seeds"}) for b in BUDGETS.values()]
    if identity["budget"] not in every:
        yield f"was trained with {identity['budget']}; the budgets there are: {every}"
    if record.class_name not in asked.protocol.classes:
        yield f"is of the class '{record.class_name}', which its protocol does not have"
    if record.fold not in fold_names(asked.protocol.split, asked.dataset):
        yield f"is of fold {record.fold}, which its protocol does not have"
    if not _known_numerics(identity.get("numerics", {})):
        yield f"was computed with {identity['numerics']}, which is not known here"
    if set(record.scenarios) != set(scenarios(asked.protocol, asked.dataset)):
        yield "was tested under other scenarios than those of its protocol"


def _known_numerics(told: Any) -> bool:
    names = {field.name for field in fields(Numerics)}
    return isinstance(told, Mapping) and names.issuperset(told)


def _of_grid(record: RunRecord, frame: pd.DataFrame) -> Iterator[str]:
    """Say what is missing: every rule, scenario and test video must be there, with one score."""
    rules = set(frame["rule"])
    if rules != set(record.selected_epochs):
        yield f"has predictions of {sorted(rules)}, and chose epochs by {_names(record)}"
    if not np.isfinite(frame["prediction"]).all():
        yield "has predictions that are not finite"
    videos = frame[["part", "sample_id", "score"]].drop_duplicates()
    if videos.duplicated(["part", "sample_id"]).any():
        yield "has different scores of one video"
    test = frame[frame["part"] == "test"]
    wanted = record.samples.get("test", 0)
    counts = test.groupby(["rule", "scenario"])["sample_id"].nunique()
    for rule in sorted(rules):
        for scenario in record.scenarios:
            found = int(counts.get((rule, scenario), 0))
            if found != wanted:
                yield f"has {found} of {wanted} test predictions under {scenario}, rule {rule}"
    if test["sample_id"].nunique() != wanted:
        yield f"has predictions of {test['sample_id'].nunique()} test videos, not of {wanted}"


def _names(record: RunRecord) -> list[str]:
    return sorted(record.selected_epochs)


def _of_numbers(told: Any, rows: pd.DataFrame) -> Iterator[str]:
    """Compare one scenario of a look with its predictions."""
    if not isinstance(told, Mapping) or not {"srcc", "mse"} <= set(told):
        yield "has no numbers in its curve"
        return
    y, p = rows["score"].to_numpy(float), rows["prediction"].to_numpy(float)
    error = float(mse(y, p))
    if not _close(told["mse"], error, _left_open(y, p) + EXACT * max(1.0, error)):
        yield f"says MSE {told['mse']}, its predictions give {error:.12g}"
    rho = float(spearman(y, p))
    if told["srcc"] is None and not math.isfinite(rho):
        return
    low, high = _limits(y, p)
    agrees = isinstance(told["srcc"], float | int) and low - EXACT <= told["srcc"] <= high + EXACT
    if not agrees:
        yield f"says Spearman {told['srcc']}, its predictions give {rho:.12g}"


def _close(told: Any, found: float, within: float) -> bool:
    return isinstance(told, float | int) and abs(told - found) <= within


def _left_open(y: Array, p: Array) -> float:
    """Return by how much an MSE may change through the digits that are not kept."""
    half = _half_digit(y) + _half_digit(p)  # (n,)
    return float(np.mean(2 * np.abs(y - p) * half + half**2))


def _half_digit(x: Array) -> Array:
    """Return (n,) half a unit of the last digit that is kept."""
    size = np.floor(np.log10(np.abs(x), out=np.zeros_like(x), where=x != 0))
    half: Array = np.where(x == 0, 0.0, 0.5 * 10.0 ** (size - DIGITS + 1))
    return half


def _limits(y: Array, p: Array) -> tuple[float, float]:
    """Return the range of Spearman: one number unless stored predictions are equal."""
    rho = float(spearman(y, p))
    if len(np.unique(p)) == len(p):
        return rho, rho
    places = rankdata(p, "min")
    apart = [places + rankdata(way, "ordinal") / (len(y) + 1) for way in (y, -y)]
    every = [float(spearman(y, broken)) for broken in apart] + [rho] * math.isfinite(rho)
    known = [value for value in every if math.isfinite(value)]
    return (min(known), max(known)) if known else (math.nan, math.nan)


def _of_choice(record: RunRecord, curve: Sequence[Look], asked: Asked) -> Iterator[str]:
    """Choose the epochs again from the curve."""
    compared = compared_scenarios(asked.protocol, asked.dataset)
    best: dict[str, tuple[float, int]] = {}
    last = None
    for look in curve:
        try:
            part, epoch, told = str(look["part"]), int(look["epoch"]), float(look["criterion"])
            found = fmean(_z(look[name]["srcc"]) for name in compared)
        except (KeyError, TypeError, ValueError):
            yield "has a look in its curve that is not whole"
            return
        if not _close(told, found, EXACT):
            yield f"says {told} of {part} at epoch {epoch}; its correlations give {found:.12g}"
        last = epoch
        if told > best.get(part, (-math.inf, 0))[0]:
            best[part] = (told, epoch)
    wanted = {rule: best[part][1] for rule, part in CHOSEN_BY.items() if part in best}
    if last is not None:
        wanted["last"] = last
    for rule in sorted({*wanted, *record.selected_epochs}):
        told_epoch, epoch_now = record.selected_epochs.get(rule), wanted.get(rule)
        if told_epoch != epoch_now:
            yield f"says that '{rule}' chose epoch {told_epoch}; its curve says {epoch_now}"


def _z(rho: float | None) -> float:
    return 0.0 if rho is None else math.atanh(max(-BOUND, min(BOUND, rho)))
