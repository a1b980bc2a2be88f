"""The charts of a page: ties, selection rules, curves over what is missing, costs.

Each draws numbers of a report and nothing else.  Methods come in the board's order; what is
undefined is not drawn and said to be.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aqabench.board.costs import known_costs
from aqabench.board.curves import AXES, draw_curves
from aqabench.board.heatmap import by_size
from aqabench.board.render.text import wrapped
from aqabench.board.report import View, per_seed
from aqabench.board.table import Leaderboard, Row
from aqabench.board.tradeoff import draw_against
from aqabench.figure import BLUE, ORANGE, PALETTE, VERMILLION
from aqabench.protocol.scenarios import Scenario, scenarios
from aqabench.stats import fisher_mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 7.6
"""Inches of a chart: narrow enough for its text to stay readable in a column."""
LABELS = 2.15
"""Inches for the names of methods."""
LINE, FOOT, HEAD = 0.34, 0.62, 0.16
"""Inches for a method, for the axis below, and above."""
MARKERS = "osD^vPX"
AGAINST = ("flops", "params", "train-time")
"""Costs that scores are drawn against, where they are known."""


def ties_chart(view: View) -> Figure | None:
    """Draw every score with its interval and its seeds; bars join what cannot be told apart."""
    board = view.board
    rows = [row for row in board.rows if _score(row) is not None]
    if not rows or view.ties is None:
        return None
    groups = [group for group in view.ties.groups if len(group) > 1]
    bars = 0.16 * len(groups) + 0.25
    figure, axis = _lines(rows, right=bars)
    for y, row in enumerate(rows):
        average = row.overall.average if row.overall else None
        assert average is not None
        top = row.name in view.top
        colour = BLUE if top else "0.45"
        if math.isfinite(average.low):
            axis.plot([average.low, average.high], [y, y], color=colour, lw=1.6, alpha=0.8)
        seeds = [value for value in per_seed(board, row).values() if math.isfinite(value)]
        if len(seeds) > 1:
            axis.plot(seeds, [y + 0.26] * len(seeds), "o", color=colour, ms=2.8, alpha=0.65)
        axis.plot([average.estimate], [y], "o", color=colour, ms=6.5)
    axis.set_xlabel(f"{board.asked.protocol.average.name} (Spearman), 95 % interval")
    _joined(figure, [row.name for row in rows], groups)
    return figure


def rules_chart(board: Leaderboard) -> Figure | None:
    """Draw the score of each method under every selection rule: the optimism gap as a length."""
    rows = [row for row in board.rows if any(math.isfinite(v) for v in row.rules.values())]
    if not rows:
        return None
    figure, axis = _lines(rows, head=0.42)
    looks = {"val": ("o", BLUE), "last": ("|", "0.35"), "oracle": ("D", VERMILLION)}
    for y, row in enumerate(rows):
        known = {rule: v for rule, v in row.rules.items() if math.isfinite(v)}
        chosen = [known[rule] for rule in (board.rule, "oracle") if rule in known]
        axis.plot(chosen, [y] * len(chosen), color=ORANGE, lw=2.4, alpha=0.7, zorder=2)
        for rule, value in known.items():
            marker, colour = looks[rule]
            size = 11 if marker == "|" else 5.5
            axis.plot([value], [y], marker, color=colour, ms=size, mew=1.6, zorder=3)
    for rule, (marker, colour) in looks.items():
        if any(rule in row.rules for row in rows):
            axis.plot([], [], marker, color=colour, ms=6, mew=1.6, label=rule)
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3, borderaxespad=0.2)
    axis.set_xlabel(f"{board.asked.protocol.average.name} (Spearman) at the epoch of each rule")
    return figure


def curve_charts(view: View) -> list[tuple[str, Figure]]:
    """Return (what is missing, chart): over the rate, or over how many streams are shown."""
    from matplotlib.figure import Figure

    board, found = view.board, []
    kinds: dict[str, dict[str, Scenario]] = {}
    for scenario in scenarios(board.asked.protocol, board.asked.dataset).values():
        kinds.setdefault(scenario.spec.kind, {}).setdefault(scenario.column, scenario)
    for kind, columns in kinds.items():
        if kind in AXES and len(columns) > 1:
            figure = Figure(figsize=(10.5, 4.4), layout="constrained")
            place = figure.subfigures(1, 1, squeeze=False).ravel()[0]
            draw_curves(place, board, list(columns.values()))
            found.append((AXES[kind], _settled(figure)))
        elif kind == "subsets" and len(columns) > 2:
            sizes = by_size(list(columns.values()))
            if len(sizes) > 1:
                found.append(("streams shown", _by_size(board, sizes)))
        elif all(len(s.level) == 1 for s in columns.values()) and (
            len({s.level for s in columns.values()}) > 1
        ):
            found.append((f"level of {kind}", _by_level(board, kind, columns)))
    return found


def cost_charts(board: Leaderboard) -> list[tuple[str, str, Figure]]:
    """Return (cost, what must be said of it, chart) for the costs that are known."""
    if not any(_score(row) is not None for row in board.rows):
        return []
    found = []
    for name in AGAINST:
        if name in known_costs(board):
            figure = draw_against(board, name)
            said = " ".join(figure.get_supxlabel().split())
            for write in (figure.suptitle, figure.supxlabel, figure.axes[0].set_title):
                write("")  # the page says it in words of its own
            found.append((name, said, figure))
    return found


def _score(row: Row) -> float | None:
    value = row.overall.average.estimate if row.overall else math.nan
    return value if math.isfinite(value) else None


def _lines(rows: Sequence[Row], right: float = 0.2, head: float = HEAD) -> tuple[Figure, Axes]:
    """Return an empty chart with a line for each method, the board's first one on top."""
    from matplotlib.figure import Figure

    height = head + LINE * len(rows) + FOOT
    figure = Figure(figsize=(WIDTH, height))
    axis = figure.add_axes(
        (
            round(LABELS / WIDTH, 6),
            round(FOOT / height, 6),
            round((WIDTH - LABELS - right) / WIDTH, 6),
            round(LINE * len(rows) / height, 6),
        )
    )
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_yticks(range(len(rows)), ["\n".join(wrapped(row.name)) for row in rows])
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    axis.grid(axis="x", color="0.88", lw=0.7)
    axis.set_axisbelow(True)
    return figure, axis


def _joined(figure: Figure, names: Sequence[str], groups: Sequence[Sequence[str]]) -> None:
    """Draw a bar for each tie group at the right, with a dot at each of its members."""
    axis = figure.axes[0]
    left, bottom, width, height = axis.get_position().bounds
    beside = figure.add_axes(
        (round(left + width, 6), bottom, round(1 - left - width, 6), height), sharey=axis
    )
    beside.set_axis_off()
    beside.set_xlim(-0.8, max(len(groups), 1) - 0.2)
    for x, group in enumerate(groups):
        places = [names.index(name) for name in group]
        beside.plot([x, x], [min(places), max(places)], color="0.3", lw=2.2)
        beside.plot([x] * len(places), places, "o", color="0.3", ms=4)


def _by_size(board: Leaderboard, sizes: dict[str, list[Scenario]]) -> Figure:
    names = list(sizes)
    values = [
        [_mean(row, [s.column for s in columns]) for columns in sizes.values()]
        for row in board.rows
    ]
    figure, axis = _series(board, list(range(len(names))), values)
    axis.set_xticks(range(len(names)), names)
    axis.set_xlabel("streams shown")
    return figure


def _by_level(board: Leaderboard, kind: str, columns: dict[str, Scenario]) -> Figure:
    """Draw a method's mean over what is spoilt or shown, at each level."""
    levels: dict[float, list[str]] = {}
    for column, scenario in columns.items():
        levels.setdefault(scenario.level[0], []).append(column)
    order = sorted(levels)
    values = [[_mean(row, levels[level]) for level in order] for row in board.rows]
    figure, axis = _series(board, order, values)
    axis.set_xlabel(f"level of {kind}, mean over its targets")
    return figure


def _mean(row: Row, columns: Sequence[str]) -> float:
    if row.overall is None:
        return math.nan
    return float(fisher_mean([row.overall.srcc[column] for column in columns]))


def _series(
    board: Leaderboard, x: Sequence[float], values: Sequence[Sequence[float]]
) -> tuple[Figure, Axes]:
    """Return a chart with a line for each method and its key at the right."""
    from matplotlib.figure import Figure

    lines = sum(len(wrapped(row.name)) for row in board.rows)
    height = max(3.2, 0.19 * lines + 0.9)
    figure = Figure(figsize=(WIDTH, height))
    axis = figure.add_axes(
        (0.09, round(0.55 / height, 6), 0.58, round((height - 0.75) / height, 6))
    )
    for number, (row, own) in enumerate(zip(board.rows, values, strict=True)):
        colour = PALETTE[number % len(PALETTE)]
        marker = MARKERS[(number + number // len(PALETTE)) % len(MARKERS)]
        label = "\n".join(wrapped(row.name))
        if not any(map(math.isfinite, own)):
            label += " (undefined)"
        axis.plot(x, own, marker=marker, color=colour, lw=1.5, ms=5, label=label)
    axis.set_ylabel("Spearman")
    axis.grid(color="0.9", lw=0.7)
    axis.set_axisbelow(True)
    axis.legend(loc="upper left", bbox_to_anchor=(1.01, 1.02), fontsize=8, handlelength=2.2)
    return figure, axis


def _settled(figure: Figure) -> Figure:
    from aqabench.figure import settle

    settle(figure)
    return figure
