"""What missing streams cost a method, from the numbers of its row on a board.

Taken from the mean over classes.  Refuses to say anything of a grid with holes: subset measures
need all ``2^M - 1`` subsets, the area under a curve two rates or more.
"""

from __future__ import annotations

from aqabench.board.table import Leaderboard, Row
from aqabench.protocol.scenarios import scenarios, subset_names, true_rate
from aqabench.protocol.schema import QuotaScenario, RateScenario
from aqabench.stats import RobustnessSummary, area_under_curve, summarise_subsets


def has_all_subsets(board: Leaderboard) -> bool:
    """Does the protocol show every subset of two streams or more?"""
    count = len(board.asked.protocol.modalities)
    shown = subset_names(board.asked.protocol, board.asked.dataset)
    return count > 1 and len(shown) == 2**count - 1


def subset_summary(board: Leaderboard, row: Row) -> RobustnessSummary | None:
    """Return the subset measures of a row, or None where a class or a subset is missing."""
    shown = subset_names(board.asked.protocol, board.asked.dataset)
    if row.overall is None or not has_all_subsets(board):
        return None
    symbols = {m.name: m.symbol for m in board.asked.dataset.modalities}
    return summarise_subsets(
        {subset: row.overall.srcc[name] for name, subset in shown.items()},
        symbols=[symbols[m] for m in board.asked.protocol.modalities],
    )


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
