"""Numbers as people read them, the same in every medium."""

from __future__ import annotations

import math
import textwrap

from aqabench.board.table import Leaderboard, Row
from aqabench.stats import Interval

DASH = "–"
WRAP = 26
"""Letters of a method's name on a line of a figure."""


def correlation(value: float) -> str:
    """Return three decimals, or a dash where undefined."""
    return f"{value:.3f}" if math.isfinite(value) else DASH


def percent(share: float) -> str:
    """Return a share in per cent with one decimal and no sign for it, or a dash."""
    return f"{100 * share:.1f}" if math.isfinite(share) else DASH


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
    """Return a time that fits a column: ``42 s``, ``3.1 min``, ``2.4 h``, or a dash."""
    if not math.isfinite(seconds):
        return DASH
    if seconds < 100:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 6000 else f"{seconds / 3600:.3g} h"


def count(value: float) -> str:
    """Return a count of parameters: ``9.38M``, or a dash where undefined."""
    if not math.isfinite(value):
        return DASH
    for size, unit in ((10**6, "M"), (10**3, "k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.0f}"


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


def seeds(row: Row) -> str:
    """Return how many seeds a row has."""
    return str(len(row.seeds)) if row.seeds else DASH
