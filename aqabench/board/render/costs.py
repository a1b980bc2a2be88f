"""What the methods of a board take, as people read it: columns with one unit each, and notes."""

from __future__ import annotations

import math
from statistics import median

from aqabench.board.costs import QUANTITIES, known_costs, mark, places
from aqabench.board.render.text import DASH
from aqabench.board.table import Leaderboard, Row

TITLE = "What they take"
SCALES = {
    "": ((1e9, "G"), (1e6, "M"), (1e3, "k")),
    "FLOP": ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")),
    "s": ((3600.0, "h"), (60.0, "min"), (1.0, "s")),
    "ms": ((1e3, "s"), (1.0, "ms")),
    "B": ((2.0**30, "GiB"), (2.0**20, "MiB")),
    "J": ((3.6e6, "kWh"), (1e3, "kJ"), (1.0, "J")),
}
"""Unit of a quantity -> the sizes in which it is shown, largest first."""


def scale(board: Leaderboard, name: str) -> tuple[float, str]:
    """Return the size, and its sign, in which a quantity is shown on this board.

    It is the largest that leaves half the methods with a number of 1 or more.
    """
    own = [abs(row.costs[name]) for row in board.rows if math.isfinite(row.costs[name])]
    sizes = SCALES[QUANTITIES[name].unit]
    middle = median(own) if own else 0.0
    fitting = [size for size in sizes if middle >= size[0]]
    least = (1.0, "") if not QUANTITIES[name].unit else sizes[-1]
    return fitting[0] if fitting else least


def unit_heading(board: Leaderboard, name: str) -> str:
    """Return a quantity with its unit: ``training time (min)``."""
    sign = scale(board, name)[1]
    return f"{QUANTITIES[name].title} ({sign})" if sign else QUANTITIES[name].title


def cost_cell(board: Leaderboard, row: Row, name: str) -> str:
    """Return a quantity in the board's unit, with the letters of the places where they differ."""
    value = row.costs[name]
    if not math.isfinite(value):
        return DASH
    size, sign = scale(board, name)
    number = _three_digits(value / size) if sign else f"{value:,.0f}"
    return f"{number} {letters}" if (letters := mark(board, row, name)) else number


def _three_digits(value: float) -> str:
    if value < 1:
        return f"{value:.3g}"
    return f"{value:,.{max(2 - math.floor(math.log10(value)), 0)}f}"


def computing_headings(board: Leaderboard) -> list[str]:
    """Return what :func:`computing_cells` says of each method: what any method has."""
    return [unit_heading(board, name) for name in known_costs(board)]


def computing_cells(board: Leaderboard, row: Row) -> list[str]:
    """Return what a method takes."""
    return [cost_cell(board, row, name) for name in known_costs(board)]


def computing_notes(board: Leaderboard) -> list[str]:
    """Say how runs become one number, where times were taken, and what the order is."""
    known = known_costs(board)
    if not known:
        return []
    summed = " and ".join(QUANTITIES[n].title for n in ("train-time", "energy") if n in known)
    notes = [
        f"{TITLE}: {summed}: sum over classes and folds, median over seeds; time per sample: "
        "median over runs; all else: the largest run. Formulas: docs/metrics.md."
    ]
    where = places(board)
    if len(where) > 1:
        places_said = "; ".join(f"{letter}: {place}" for place, letter in where.items())
        notes.append(
            f"Times with different letters were taken elsewhere and CANNOT be compared: "
            f"{places_said}."
        )
    elif where:
        notes.append(f"Times were taken on {next(iter(where))}.")
    if board.sorted_by != "score":
        title = QUANTITIES[board.sorted_by].title
        order = f"Sorted by {title}, the least first; undefined last."
        if QUANTITIES[board.sorted_by].timed and len(where) > 1:
            order += " The order says nothing across letters."
        notes.append(order)
    return notes
