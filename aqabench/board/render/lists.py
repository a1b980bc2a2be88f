"""Lists of measures, a line for each method: what their columns are called, and what they say.

A heading of several words may be broken between any two of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from aqabench.board.measures import Measures
from aqabench.board.render.text import DASH, correlation, percent, squared_points
from aqabench.board.robustness import (
    Kept,
    beside_specialists,
    has_all_subsets,
    kept,
    rate_area,
    specialists,
    subset_summary,
)
from aqabench.board.table import Leaderboard, Row
from aqabench.protocol.scenarios import subset_names

OTHERS = "Other measures"
COSTS = "What missing streams cost, mean over classes"
HIDDEN, COMPLETE = "% hidden", "% complete"


def other_headings(board: Leaderboard) -> list[str]:
    """Return what :func:`other_cells` says of each method."""
    headings = ["arithmetic Spearman", "Kendall tau-b", "normalised MSE", "R-l2"]
    return [*headings, "MLI"] if with_learning_index(board) else headings


def other_cells(board: Leaderboard, own: Measures | None) -> list[str]:
    """Return the other measures of a class or of the mean over classes."""
    if own is None:
        return [DASH for _ in other_headings(board)]
    cells = [
        correlation(own.arithmetic),
        correlation(own.kendall),
        squared_points(own.normalised_mse),
        squared_points(own.relative_l2),
    ]
    return [*cells, correlation(own.learning_index)] if with_learning_index(board) else cells


def with_learning_index(board: Leaderboard) -> bool:
    """Does any method have aqabench-MLI in a class?"""
    return any(
        math.isfinite(scores.others.learning_index)
        for row in board.rows
        for scores in row.classes.values()
    )


def cost_headings(board: Leaderboard) -> list[str]:
    """Return what :func:`cost_cells` says of each method."""
    whole = [row for row in board.rows if row.overall is not None]
    if whole and has_all_subsets(board):
        beside = ["of specialist"] if specialists(board) else []
        kept_of = ["mean kept", "least kept", *beside]
        return ["all streams", "worst subset", *kept_of, "breaks", "equity"]
    if whole and rate_area(board, whole[0]) is not None:
        return ["area under the curve"]
    return []


def cost_cells(board: Leaderboard, row: Row) -> list[str]:
    """Return what missing streams cost a method, as people read it."""
    headings = cost_headings(board)
    summary, left = subset_summary(board, row), kept(board, row)
    if summary is not None and left is not None:
        worst, breaks = summary.worst, summary.violations
        shown = subset_names(board.asked.protocol, board.asked.dataset)
        name = next(n for n, subset in shown.items() if subset == worst.subset)
        cells = {
            "all streams": correlation(summary.full),
            "worst subset": f"{correlation(worst.value)} ({name})",
            "mean kept": _ratio(left[0]),
            "least kept": _ratio(left[1]),
            "of specialist": _ratio(beside_specialists(board, row)),
            "breaks": f"{breaks.count} of {breaks.of}" if breaks.of else DASH,
            "equity": _two(summary.equity.index),
        }
        return [cells[name] for name in headings]
    area = rate_area(board, row)
    return [correlation(area)] if area is not None else [DASH for _ in headings]


def hidden_lines(board: Leaderboard) -> dict[str, Mapping[str, float]]:
    """Return the shares that stand above a grid of Spearman: name -> column -> share.

    Nothing where columns are not called by a rate, or where records do not know.
    """
    if all(hidden.nominal is None for hidden in board.hidden.values()):
        return {}
    return {
        HIDDEN: {column: hidden.realised for column, hidden in board.hidden.items()},
        COMPLETE: {column: hidden.complete for column, hidden in board.hidden.items()},
    }


def hidden_cell(shares: Mapping[str, float], columns: list[str]) -> str:
    """Return the share of one column, or of several that stand under one heading."""
    own = [shares.get(column, math.nan) for column in columns]
    return percent(sum(own) / len(own))


def _ratio(left: Kept | None) -> str:
    """Return a ratio with the correlation that is left in brackets."""
    if left is None or not math.isfinite(left.ratio):
        return DASH
    return f"{left.ratio:.2f} ({left.value:.2f})"


def _two(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else DASH
