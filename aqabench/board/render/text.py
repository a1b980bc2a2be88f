"""Numbers as people read them, the same in every medium."""

from __future__ import annotations

import math
import textwrap

from aqabench.board.robustness import has_all_subsets, rate_area, subset_summary
from aqabench.board.table import Leaderboard, Row
from aqabench.protocol.folds import fold_names
from aqabench.protocol.scenarios import scenarios, subset_names
from aqabench.stats import Interval

DASH = "–"
WRAP = 26
"""Letters of a method's name on a line of a figure."""


def correlation(value: float) -> str:
    """Return three decimals, or a dash where undefined."""
    return f"{value:.3f}" if math.isfinite(value) else DASH


def signed(value: float) -> str:
    """Return three decimals with a sign, or a dash."""
    return f"{value:+.3f}" if math.isfinite(value) else DASH


def squared_points(value: float) -> str:
    """Return a mean squared error with about three digits."""
    if not math.isfinite(value):
        return DASH
    return f"{value:.4f}" if value < 1 else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def limits(interval: Interval) -> str:
    """Return ``[low, high]``, or a dash."""
    if not math.isfinite(interval.low):
        return DASH
    return f"[{interval.low:.2f}, {interval.high:.2f}]"


def duration(seconds: float) -> str:
    """Return a time that fits a column: ``42 s``, ``3.1 min``, ``2.4 h``."""
    if seconds < 100:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 6000 else f"{seconds / 3600:.3g} h"


def count(value: int | None) -> str:
    """Return a count of parameters: ``9.38M``."""
    if value is None:
        return DASH
    for size, unit in ((10**6, "M"), (10**3, "k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return str(value)


def breakable(name: str) -> str:
    """Return a method's name with a place to break before the settings given by hand."""
    return name.replace("[", " [")


def wrapped(name: str) -> list[str]:
    """Return the lines of a method's name in a figure."""
    return textwrap.wrap(breakable(name), WRAP)


def heading(board: Leaderboard) -> str:
    """Return the line above a board: what, on which data, under which budget and rule."""
    kind = "SIMULATED data" if board.simulated else "real data"
    whole = len(board.classes) == len(board.asked.protocol.classes)
    part = "" if whole else f" · {', '.join(board.classes)} only"
    return (
        f"{board.asked.protocol.title} ({board.condition.protocol} v{board.asked.protocol.version})"
        f" · {kind} · budget {board.condition.budget} · epoch chosen by {board.rule}{part}"
    )


def footnotes(board: Leaderboard) -> list[str]:
    """Return what a reader must know to read the board rightly."""
    average = board.asked.protocol.average.name
    notes = [
        f"{average}: Fisher-z mean of {_averaged(board)}; [ ]: 95 % interval, jackknife "
        "over test videos"
        + (
            " and seeds."
            if _several_seeds(board)
            else ". One seed: the interval does not contain the luck of training."
        ),
        f"gap: {average} at the epoch that is best on the test videos, minus {average} here.",
    ]
    folds = fold_names(board.asked.protocol.split, board.asked.dataset)
    if len(folds) > 1:
        notes.append(
            f"{len(folds)} folds: each sample is tested once, each fold is a test of its own, and "
            "averages are over folds. Their training parts overlap, which the interval does not "
            "contain."
        )
    if any(s.timed for s in scenarios(board.asked.protocol, board.asked.dataset).values()):
        notes.append(
            "Steps that are missing show the mean of the training samples; methods are told "
            "which are real."
        )
    if "breaks" in cost_headings(board):
        notes.append(
            "breaks: steps at which one stream more made it worse by over 0.005; equity: how "
            "evenly the streams contribute, 1 is evenly (aqabench-MEI). Formulas: docs/metrics.md."
        )
    if board.rule == "oracle":
        notes.append(
            "The epoch is chosen ON THE TEST VIDEOS, as papers do: these are not honest "
            "estimates. The column last has no such choice."
        )
    if board.simulated:
        notes.append(
            "Simulated data show whether a method learns and recovers; they say nothing "
            "about real performances."
        )
    for row in board.rows:
        notes += [f"{row.name}: {note}." for note in row.notes]
        notes += [f"{row.name} FAILED {line}" for line in row.failed]
    return notes


def _averaged(board: Leaderboard) -> str:
    """Return the columns that enter the average, with their numbers of draws."""
    draws = {
        column: sum(name in board.averaged for name in names)
        for column, names in board.columns.items()
    }
    return ", ".join(c if n == 1 else f"{c} ({n} draws)" for c, n in draws.items() if n)


def seeds(row: Row) -> str:
    """Return how many seeds a row has."""
    return str(len(row.seeds)) if row.seeds else DASH


def _several_seeds(board: Leaderboard) -> bool:
    return all(len(row.seeds) > 1 for row in board.rows)


def cost_headings(board: Leaderboard) -> list[str]:
    """Return what :func:`cost_cells` says of each method."""
    whole = [row for row in board.rows if row.overall is not None]
    if whole and has_all_subsets(board):
        return ["all streams", "worst subset", "breaks", "equity"]
    if whole and rate_area(board, whole[0]) is not None:
        return ["area under the curve"]
    return []


def cost_cells(board: Leaderboard, row: Row) -> list[str]:
    """Return the measures of a row as people read them."""
    summary = subset_summary(board, row)
    if summary is not None:
        worst, breaks = summary.worst, summary.violations
        shown = subset_names(board.asked.protocol, board.asked.dataset)
        name = next(n for n, subset in shown.items() if subset == worst.subset)
        return [
            correlation(summary.full),
            f"{correlation(worst.value)} ({name})",
            f"{breaks.count} of {breaks.of}" if breaks.of else DASH,
            f"{summary.equity.index:.2f}" if math.isfinite(summary.equity.index) else DASH,
        ]
    area = rate_area(board, row)
    return [correlation(area)] if area is not None else [DASH for _ in cost_headings(board)]
