"""The figure of score against cost: what a method's score takes.

One point per method, the board's headline with its 95 % interval over one quantity on a
logarithmic axis.  A cost of 0 stands on a strip of its own.  What is undefined cannot be drawn and
is named; times from different places are marked, and no front is drawn across them.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from aqabench.board.costs import QUANTITIES, mark, places
from aqabench.board.figures import heading_lines, luck, shortcomings
from aqabench.board.render.costs import scale, unit_heading
from aqabench.board.render.text import breakable
from aqabench.board.table import Leaderboard, Row
from aqabench.figure import PALETTE, set_title, settle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 11.0, 6.6
"""Inches."""
NAME = 22
"""Letters of a method's name on a line."""
MARKERS = "osD^vPX"
FRONT = "0.72"
DISTANCES = (9, 15, 23, 33, 45, 60, 78, 100, 130, 170)
"""Points between a method and its name, nearest tried first."""
AROUND = tuple(range(0, 360, 30))
"""Directions that a name may stand in, degrees; to the right is tried first."""
GAP = 2.0
"""Pixels that are kept free around a name."""
MARK = 6.0
"""Pixels from a point to the edge of its marker."""
STRIP = 1.6
"""The strip of costs of 0 reaches so many times below and above its middle."""

Box = npt.NDArray[np.float64]
"""(4,) left, bottom, right, top in pixels."""


def draw_against(board: Leaderboard, name: str) -> Figure:
    """Return the figure of the board's score against a quantity.

    Args:
        board: at least one of its methods has the quantity.
        name: one of :data:`aqabench.board.costs.QUANTITIES`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    title, facts = heading_lines(board)
    set_title(figure, title, board.simulated)
    figure.supxlabel(_caption(board, name), fontsize=8.5, x=0.01, ha="left", color="0.25")
    axis = figure.add_subplot()
    axis.set_title(textwrap.fill(facts, 120), fontsize=11)
    drawn = [row for row in board.rows if _drawable(row, name)]
    if not drawn:
        axis.text(0.5, 0.5, "nothing is defined", ha="center", transform=axis.transAxes)
        axis.set_axis_off()
        settle(figure)
        return figure
    costs = [row.costs[name] / scale(board, name)[0] for row in drawn]
    spots = _spots(costs)
    _draw_axes(axis, board, name, costs)
    axis.set_xlim(_limits(spots, 0 in costs))
    for number, (row, spot) in enumerate(zip(drawn, spots, strict=True)):
        _draw_point(axis, row, spot, number)
    points = [(spot, _score(row)) for spot, row in zip(spots, drawn, strict=True)]
    steps = [] if _apart(board, name) else _steps(points)
    axis.plot([x for x, _ in steps], [y for _, y in steps], color=FRONT, lw=1.2, ls="--", zorder=2)
    axis.margins(y=0.1)
    settle(figure)
    taken = _lines_taken(axis, steps) + [
        box for row, x in zip(drawn, spots, strict=True) for box in _bar_taken(axis, row, x)
    ]
    labels = [_label(board, row, name) for row in drawn]
    _place_names(axis, points, labels, taken)
    return figure


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return which (cost, score) no other beats, the cheapest first.

    A point is beaten by one that costs no more and scores no less, and is better in one of both.
    """
    order = sorted(range(len(points)), key=lambda k: (points[k][0], -points[k][1]))
    front: list[int] = []
    for k in order:
        if not front or points[k][1] > points[front[-1]][1] or points[k] == points[front[-1]]:
            front.append(k)
    return front


def _drawable(row: Row, name: str) -> bool:
    score = math.nan if row.overall is None else row.overall.average.estimate
    return math.isfinite(score) and math.isfinite(row.costs[name])


def _score(row: Row) -> float:
    assert row.overall is not None
    return row.overall.average.estimate


def _apart(board: Leaderboard, name: str) -> bool:
    """Were the costs taken in different places, so that they cannot be compared?"""
    return QUANTITIES[name].timed and len(places(board)) > 1


def _spots(costs: Sequence[float]) -> list[float]:
    """Return where costs stand; 0, which has no logarithm, left of all others."""
    positive = [cost for cost in costs if cost > 0]
    return [cost or _zero(positive) for cost in costs]


def _zero(positive: Sequence[float]) -> float:
    if not positive:
        return 0.1
    least, most = math.log10(min(positive)), math.log10(max(positive))
    return float(10 ** (least - max(0.5, 0.2 * (most - least))))


def _limits(spots: Sequence[float], with_zero: bool) -> tuple[float, float]:
    """Return limits with room for names; on the left the strip of zeros is room enough."""
    least, most = math.log10(min(spots)), math.log10(max(spots))
    room = max(0.14 * (most - least), 0.25)
    left = least - (math.log10(STRIP) if with_zero else room)
    return float(10**left), float(10 ** (most + room))


def _draw_axes(axis: Axes, board: Leaderboard, name: str, costs: Sequence[float]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    axis.set_xscale("log")
    axis.set_xlabel(unit_heading(board, name))
    axis.set_ylabel(f"{board.asked.protocol.average.name} (Spearman)")
    axis.grid(color="0.92")
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    positive = [cost for cost in costs if cost > 0]
    few = not positive or max(positive) < 100 * min(positive)
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,), numticks=12))
    axis.xaxis.set_minor_formatter(NullFormatter())
    least = 0.0
    if 0 in costs:
        least, middle = _zero(positive) * STRIP, _zero(positive)
        axis.axvspan(middle / STRIP, least, color="0.93", zorder=0.6)
        axis.text(
            middle, 0.01, "0", ha="center", va="bottom", color="0.25",
            transform=axis.get_xaxis_transform(),
        )  # fmt: skip
        axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _tick(x) if x > least else ""))


def _tick(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def _draw_point(axis: Axes, row: Row, spot: float, number: int) -> None:
    """Draw a method with its interval, in a look that none of the 48 after it has."""
    assert row.overall is not None
    interval = row.overall.average
    colour = PALETTE[number % len(PALETTE)]
    marker = MARKERS[(number + number // len(PALETTE)) % len(MARKERS)]
    if math.isfinite(interval.low) and math.isfinite(interval.high):
        axis.vlines(spot, interval.low, interval.high, color=colour, lw=1.6, alpha=0.55, zorder=3)
    axis.plot(spot, interval.estimate, marker, color=colour, ms=8, mec="w", mew=0.8, zorder=4)


def _steps(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the corners of the front: what can be had for each cost."""
    front = [points[k] for k in pareto(points)]
    corners = front[:1]
    for (_, before), (cost, score) in pairwise(front):
        corners += [(cost, before), (cost, score)]
    return corners


def _label(board: Leaderboard, row: Row, name: str) -> str:
    letters = mark(board, row, name)
    own = f"{breakable(row.name)} ({letters})" if letters else breakable(row.name)
    return "\n".join(textwrap.wrap(own, NAME, break_on_hyphens=False))


def _place_names(
    axis: Axes, points: Sequence[tuple[float, float]], labels: Sequence[str], taken: list[Box]
) -> None:
    """Write the names beside their points, at the nearest place where nothing else stands.

    A name that had to go far has a line to its point.
    """
    figure = axis.get_figure(root=True)
    assert figure is not None
    per_point = figure.dpi / 72
    pixels = axis.transData.transform(points)
    taken = [*taken, *(np.concatenate([xy - MARK, xy + MARK]) for xy in pixels)]
    inside = np.array(axis.get_window_extent().extents)
    for point, pixel, text in zip(points, pixels, labels, strict=True):
        label = axis.annotate(
            text, point, xytext=(0, 0), textcoords="offset points",
            ha="center", va="center", fontsize=9, zorder=5,
        )  # fmt: skip
        extent = label.get_window_extent()
        size = np.array([extent.width, extent.height])
        offset, far = _free_place(pixel, size, per_point, taken, inside)
        taken.append(_box(pixel + offset, size))
        label.set_position(tuple(np.round(offset / per_point, 2)))
        if far:
            _draw_leader(axis, pixel, offset, size)


def _bar_taken(axis: Axes, row: Row, spot: float) -> list[Box]:
    """Return the box of a method's interval, if it has one."""
    assert row.overall is not None
    low, high = row.overall.average.low, row.overall.average.high
    finite = math.isfinite(low) and math.isfinite(high)
    return _lines_taken(axis, [(spot, low), (spot, high)]) if finite else []


def _lines_taken(axis: Axes, corners: Sequence[tuple[float, float]]) -> list[Box]:
    """Return a box for each line from corner to corner; they are upright or level."""
    pixels = [axis.transData.transform(corner) for corner in corners]
    return [
        np.concatenate([np.minimum(one, other) - 2, np.maximum(one, other) + 2])
        for one, other in pairwise(pixels)
    ]


def _free_place(
    point: npt.NDArray[np.float64],
    size: npt.NDArray[np.float64],
    per_point: float,
    taken: Sequence[Box],
    inside: Box,
) -> tuple[npt.NDArray[np.float64], bool]:
    """Return the offset in pixels of a name's centre, and whether it is far from its point."""
    best, least = np.zeros(2), math.inf
    for offset, far in _offsets(size, per_point):
        box = _box(point + offset, size)
        covered = sum(_overlap(box, other) for other in taken) + _outside(box, inside)
        if covered == 0:
            return offset, far
        if covered < least:
            best, least = offset, covered
    return best, True


def _offsets(
    size: npt.NDArray[np.float64], per_point: float
) -> Iterator[tuple[npt.NDArray[np.float64], bool]]:
    """Yield offsets of a name's centre whose nearest edge is at each distance, nearest first."""
    for distance in DISTANCES:
        for angle in AROUND:
            way = np.array([math.cos(math.radians(angle)), math.sin(math.radians(angle))])
            yield way * (distance * per_point + size / 2), distance > DISTANCES[1]


def _box(centre: npt.NDArray[np.float64], size: npt.NDArray[np.float64]) -> Box:
    return np.concatenate([centre - size / 2 - GAP, centre + size / 2 + GAP])


def _overlap(one: Box, other: Box) -> float:
    """Return the area in pixels that two boxes share."""
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    return float(np.prod(np.maximum(sides, 0)))


def _outside(box: Box, inside: Box) -> float:
    return float(np.prod(box[2:] - box[:2])) - _overlap(box, inside)


def _draw_leader(
    axis: Axes,
    point: npt.NDArray[np.float64],
    offset: npt.NDArray[np.float64],
    size: npt.NDArray[np.float64],
) -> None:
    """Draw a thin line from a point to the nearest place of its name's edge."""
    near = np.clip(point, point + offset - size / 2, point + offset + size / 2)
    (x0, y0), (x1, y1) = axis.transAxes.inverted().transform([point, near]).round(6)
    axis.plot([x0, x1], [y0, y1], color="0.6", lw=0.7, zorder=1.5, transform=axis.transAxes)


def _caption(board: Leaderboard, name: str) -> str:
    """Return what a reader must know to read the figure rightly."""
    average = board.asked.protocol.average.name
    said = [f"{average} with its 95 % interval, {luck(board)}"]
    if _apart(board, name):
        elsewhere = "; ".join(f"{letter}: {place}" for place, letter in places(board).items())
        said.append(
            f"Times with different letters were taken elsewhere and CANNOT be compared, so that "
            f"no front is drawn: {elsewhere}."
        )
    else:
        said.append(
            "Dashed: Pareto front, the methods that no other matches at less cost, by the "
            "estimates alone."
        )
    lost = [row.name for row in board.rows if not _drawable(row, name)]
    if lost:
        said.append(f"Not drawn, because score or cost is undefined: {', '.join(lost)}.")
    return "\n".join(textwrap.wrap(" ".join([*said, *shortcomings(board)]), 165))
