"""What missing streams cost a method, from the numbers of its row on a board.

Taken from the mean over classes.  Refuses to say anything of a grid with holes: subset measures
need all ``2^M - 1`` subsets, the area under a curve two rates or more, and a ratio needs a
reference of 0.2 or more.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean

from aqabench.board.table import Leaderboard, Row
from aqabench.protocol.grammar import QuotaScenario, RateScenario
from aqabench.protocol.scenarios import scenarios, subset_names, true_rate
from aqabench.stats import (
    Retention,
    RobustnessSummary,
    Subset,
    area_under_curve,
    retention,
    specialist_retention,
    summarise_subsets,
)
from aqabench.stats.robustness import WEAK


@dataclass(frozen=True)
class Kept:
    """What is left of a reference: a ratio, and the correlation without which it misleads."""

    ratio: float
    value: float


def has_all_subsets(board: Leaderboard) -> bool:
    """Does the protocol show every subset of two streams or more?"""
    count = len(board.asked.protocol.modalities)
    shown = subset_names(board.asked.protocol, board.asked.dataset)
    return count > 1 and len(shown) == 2**count - 1


def subset_summary(board: Leaderboard, row: Row) -> RobustnessSummary | None:
    """Return the subset measures of a row, or None where a class or a subset is missing."""
    grid = _grid(board, row)
    if grid is None:
        return None
    symbols = {m.name: m.symbol for m in board.asked.dataset.modalities}
    return summarise_subsets(grid, symbols=[symbols[m] for m in board.asked.protocol.modalities])


def kept(board: Leaderboard, row: Row) -> tuple[Kept, Kept] | None:
    """Return mean and lowest retention, ``rho(S) / rho(full)``, over the incomplete subsets.

    Both are undefined where one of the subsets is, or where rho(full) is below 0.2.
    """
    grid = _grid(board, row)
    if grid is None:
        return None
    every = list(retention(grid).values())
    if any(math.isnan(r.ratio) for r in every):
        return _mean(every), Kept(math.nan, math.nan)
    lowest = min(every, key=float)
    return _mean(every), Kept(lowest.ratio, lowest.value)


def specialists(board: Leaderboard) -> dict[str, float]:
    """Return stream -> Spearman of the specialist for it on it, of those on the board."""
    own = {row.specialist: row.overall for row in board.rows if row.overall is not None}
    return {
        stream: own[stream].srcc[column]
        for stream, (column, _) in _singles(board).items()
        if stream in own
    }


def references(board: Leaderboard) -> dict[str, float]:
    """Return the specialists that may be compared with: those that reach 0.2."""
    return {stream: rho for stream, rho in specialists(board).items() if rho >= WEAK}


def beside_specialists(board: Leaderboard, row: Row) -> Kept | None:
    """Return the mean of ``rho(S) / rho_specialist(S)`` over :func:`references`.

    The streams are the same for every method of a board.  None for a specialist itself, and where
    there is nothing to compare.
    """
    grid, names, known = _grid(board, row), _singles(board), references(board)
    if grid is None or row.specialist or not known:
        return None
    own = {names[stream][1]: rho for stream, rho in known.items()}
    return _mean(specialist_retention(grid, own).values())


def _mean(ratios: Iterable[Retention]) -> Kept:
    every = list(ratios)
    return Kept(fmean(r.ratio for r in every), fmean(r.value for r in every))


def _grid(board: Leaderboard, row: Row) -> Mapping[Subset, float] | None:
    """Return subset -> Spearman, or None where a class or a subset is missing."""
    if row.overall is None or not has_all_subsets(board):
        return None
    shown = subset_names(board.asked.protocol, board.asked.dataset)
    return {subset: row.overall.srcc[name] for name, subset in shown.items()}


def _singles(board: Leaderboard) -> dict[str, tuple[str, Subset]]:
    """Return stream -> its column and its subset."""
    streams = board.asked.protocol.modalities
    shown = subset_names(board.asked.protocol, board.asked.dataset)
    return {
        streams[subset.index(True)]: (name, subset)
        for name, subset in shown.items()
        if sum(subset) == 1
    }


def rate_area(board: Leaderboard, row: Row) -> float | None:
    """Return the normalised area under Spearman over the missing rate, or None without a curve.

    A label above the largest possible rate, 1 - 1/M, counts as the largest.
    """
    if row.overall is None:
        return None
    points: dict[float, float] = {}
    for scenario in scenarios(board.asked.protocol, board.asked.dataset).values():
        if isinstance(scenario.spec, RateScenario | QuotaScenario):
            points[true_rate(scenario, board.asked.protocol)] = row.overall.srcc[scenario.column]
    if len(points) < 2:
        return None
    rates = sorted(points)
    return area_under_curve(rates, [points[rate] for rate in rates], normalised=True)
