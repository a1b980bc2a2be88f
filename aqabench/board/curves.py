"""Robustness curves: what methods keep of their Spearman as more and more is missing.

One line per method over the realised rate, with the 95 % interval of each point as a band.  Of many
methods only the best have a band, and the others thin lines: ten bands hide each other.  Points are
the board's numbers; an undefined one breaks the line and is marked at the foot of the panel.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from aqabench.board.measures import class_of
from aqabench.board.render.text import wrapped
from aqabench.board.table import Leaderboard, Row
from aqabench.figure import PALETTE
from aqabench.protocol.scenarios import Scenario, true_rate
from aqabench.stats import average_ci

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

AXES: Mapping[str, str] = {
    "rate": "missing rate",
    "quota": "missing rate (quota)",
}
"""Kinds of scenario that are a rate, with the label of its axis."""
FEW_CLASSES = 4
"""Up to so many classes have a panel each beside their mean."""
FEW_METHODS = 6
"""Up to so many methods have a band each."""
BEST = 4
"""Of more methods, so many have a band."""
MARKERS = "osD^vPX*"
DASHES = ("-", "--", ":", "-.")

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """One line of one panel: (k,) realised rates, rising, and Spearman with its limits there.

    Limits are NaN where there is no interval to be drawn.
    """

    rates: Floats
    srcc: Floats
    low: Floats
    high: Floats


def curve(
    board: Leaderboard,
    row: Row,
    columns: Sequence[Scenario],
    class_name: str | None,
    band: bool = True,
) -> Curve | None:
    """Return a method's curve for a class, or for the mean over classes; None without runs.

    A label above the largest possible rate, 1 - 1/M, counts as the largest.

    Args:
        board: where the row is.
        row: the method.
        columns: a scenario of each column.
        class_name: None for the mean over all classes.
        band: with the interval of each point.
    """
    scores = row.overall if class_name is None else row.classes.get(class_name)
    if scores is None:
        return None
    points = []
    for scenario in columns:
        limits = _interval(board, row, scenario, class_name) if band else (math.nan, math.nan)
        rate = true_rate(scenario, board.asked.protocol)
        points.append((rate, scores.srcc[scenario.column], *limits))
    return Curve(*np.array(sorted(points), dtype=np.float64).T)


def bands(board: Leaderboard) -> int:
    """Return of how many methods, the best, the interval is drawn: all of a few, some of many."""
    return len(board.rows) if len(board.rows) <= FEW_METHODS else BEST


def _interval(
    board: Leaderboard, row: Row, scenario: Scenario, class_name: str | None
) -> tuple[float, float]:
    names = set(board.columns[scenario.column])
    cells = [
        cell
        for cell in board.tested[row.name]
        if cell.scenario in names and class_name in (None, class_of(cell))
    ]
    found = average_ci(cells, independent_classes=not board.asked.dataset.same_videos)
    return found.low, found.high


def curves_height(board: Leaderboard) -> float:
    """Return inches for :func:`draw_curves`."""
    lines = sum(len(wrapped(_label(row))) for row in board.rows) + 2
    panels = 5.6 if len(_panels(board)) > FEW_CLASSES else 4.2
    return max(panels, 0.19 * lines + 0.5)


def draw_curves(place: SubFigure, board: Leaderboard, columns: Sequence[Scenario]) -> None:
    """Draw a panel for the mean over classes and, if they are few, one for each class."""
    from matplotlib.lines import Line2D

    axes = _axes(place, len(_panels(board)))
    found: list[Curve] = []
    seen: set[int] = set()
    crosses, banded = 0, bands(board)
    for axis, class_name in zip(axes, _panels(board), strict=True):
        lost = 0
        for number, row in enumerate(board.rows):
            own = curve(board, row, columns, class_name, number < banded)
            if own is not None:
                found.append(own)
                seen |= {number} if np.isfinite(own.srcc).any() else set()
                lost += _draw_curve(axis, own, number, number < banded, lost)
        _draw_strip(axis, lost)
        crosses = max(crosses, lost)
        axis.set_title(class_name or "mean over classes", fontsize=11)
        axis.set_xlabel(AXES[columns[0].spec.kind], fontsize=9)
        axis.grid(color="0.92")
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("Spearman")
    low, high = _limits(found, crosses)
    scale_from = low + _foot(crosses) * (high - low)
    axes[0].set_ylim(low, high)
    axes[0].set_yticks([tick for tick in axes[0].get_yticks() if scale_from <= tick <= high])
    handles = [
        Line2D(
            [], [], label="\n".join(wrapped(_label(row))),
            **(_style(number, number < banded) if number in seen else _cross(number)),
        )
        for number, row in enumerate(board.rows)
    ]  # fmt: skip
    place.legend(
        handles=handles, loc="outside right upper", fontsize=9, frameon=False, handlelength=3.2
    )


def _panels(board: Leaderboard) -> list[str | None]:
    if len(board.classes) == 1:
        return [board.classes[0]]
    return [None, *(board.classes if len(board.classes) <= FEW_CLASSES else ())]


def _axes(place: SubFigure, panels: int) -> list[Axes]:
    """One row of panels; the mean is twice as high where there are more than fit beside it."""
    if panels <= FEW_CLASSES:
        return list(place.subplots(1, panels, sharey=True, squeeze=False).ravel())
    beside = -(-(panels - 1) // 2)
    grid = place.add_gridspec(2, 1 + beside, width_ratios=[1.5] + [1] * beside)
    first = place.add_subplot(grid[:, 0])
    spots = [grid[i // beside, 1 + i % beside] for i in range(panels - 1)]
    return [first, *(place.add_subplot(spot, sharey=first) for spot in spots)]


def _draw_curve(axis: Axes, own: Curve, number: int, band: bool, lost: int) -> int:
    """Draw a line with its band; return 1 if a part of it is undefined."""
    style = _style(number, band)
    axis.plot(own.rates, own.srcc, **style)
    banded = np.isfinite(own.low) & np.isfinite(own.high)
    colour = style["color"]
    if banded.any():
        axis.fill_between(
            own.rates, own.low, own.high, where=banded, color=colour, lw=0, alpha=0.13
        )
    beside = np.concatenate([[False], banded, [False]])
    alone = banded & ~beside[:-2] & ~beside[2:]  # a band has no width there
    axis.vlines(own.rates[alone], own.low[alone], own.high[alone], color=colour, lw=2, alpha=0.4)
    undefined = ~np.isfinite(own.srcc)
    if not undefined.any():
        return 0
    axis.plot(
        own.rates[undefined], np.full(undefined.sum(), 0.03 + 0.04 * lost), clip_on=False,
        transform=axis.get_xaxis_transform(), **_cross(number),
    )  # fmt: skip
    return 1


def _draw_strip(axis: Axes, lost: int) -> None:
    """Set what is undefined apart from the scale, on which a cross could be read as a number."""
    from matplotlib.patches import Rectangle

    if lost:
        strip = Rectangle((0, 0), 1, _foot(lost), transform=axis.transAxes, fc="0.93", zorder=0.6)
        axis.add_patch(strip)


def _foot(crosses: int) -> float:
    """Return the share of a panel's height that so many rows of crosses take."""
    return 0.04 * crosses + 0.02 if crosses else 0.0


def _style(number: int, band: bool) -> dict[str, Any]:
    """Return a look of its own for each method: the colour alone never tells two apart."""
    size = (5.5, 5.5, 5.5, 7, 7, 8, 8, 9)[number % len(MARKERS)]  # looking equally large
    return {
        "color": PALETTE[number % len(PALETTE)],
        "marker": MARKERS[number % len(MARKERS)],
        "ls": DASHES[number // len(PALETTE) % len(DASHES)],
        "lw": 1.8 if band else 0.9,
        "ms": size if band else 0.75 * size,
        "mec": "w",
        "mew": 0.7 if band else 0.4,
        "zorder": 4 if band else 3,
    }


def _cross(number: int) -> dict[str, Any]:
    """Return the look of what is undefined."""
    colour = PALETTE[number % len(PALETTE)]
    return {"color": colour, "marker": "x", "ls": "", "ms": 6, "mew": 1.6}


def _limits(curves: Sequence[Curve], crosses: int) -> tuple[float, float]:
    """Return limits that hold every line and band, with room for the crosses below them."""
    values = np.concatenate([np.empty(0), *(v for c in curves for v in (c.srcc, c.low, c.high))])
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    span = max(high - low, 0.1)
    foot = 0.04 + _foot(crosses)
    return low - span * foot / max(1 - foot, 0.2), high + 0.04 * span


def _label(row: Row) -> str:
    if row.overall is None:
        return f"{row.name} (no mean)"
    undefined = not math.isfinite(row.overall.average.estimate)
    return f"{row.name} (undefined)" if undefined else row.name
