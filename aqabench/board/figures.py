"""The figure of a board: curves over the missing rate, and maps of its subsets.

Draws the numbers of :mod:`aqabench.board.table`, no others; :mod:`aqabench.figure` writes it.  What
is undefined is drawn as undefined, never as zero and never left out in silence.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from aqabench.board.curves import AXES, bands, curves_height, draw_curves
from aqabench.board.heatmap import by_size, draw_map, in_order, map_height, printed
from aqabench.board.render.text import heading
from aqabench.board.table import Leaderboard
from aqabench.figure import set_title, settle
from aqabench.protocol.scenarios import Scenario, scenarios

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

WIDTH = 13.0
"""Inches."""

Part = tuple[float, Callable[["SubFigure"], None]]
"""A height in inches and what is drawn there."""


def draw(board: Leaderboard) -> Figure:
    """Return the figure of a board: a part for each kind of scenario it has."""
    from matplotlib.figure import Figure

    parts = [part for kind in _kinds(board) for part in _parts(board, kind)]
    heights = [height for height, _ in parts]
    figure = Figure(figsize=(WIDTH, sum(heights) + 1.3), layout="constrained")
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.set(h_pad=0.08)  # type: ignore[call-arg]
    title, facts = heading_lines(board)
    set_title(figure, title, board.simulated)
    figure.supxlabel(_caption(board), fontsize=8.5, x=0.01, ha="left", color="0.25")
    drawn = figure.subfigures(len(parts) + 1, 1, height_ratios=[0.3, *heights], squeeze=False)
    below, *places = drawn.ravel()
    below.text(0.5, 0.5, facts, ha="center", va="center", fontsize=11)
    for place, (_, draw_part) in zip(places, parts, strict=True):
        draw_part(place)
    settle(figure)
    return figure


def _kinds(board: Leaderboard) -> list[list[Scenario]]:
    """Return the board's columns by kind: the first draw of each."""
    found: dict[str, dict[str, Scenario]] = {}
    for scenario in scenarios(board.asked.protocol, board.asked.dataset).values():
        found.setdefault(scenario.spec.kind, {}).setdefault(scenario.column, scenario)
    return [list(columns.values()) for columns in found.values()]


def _as_curves(columns: Sequence[Scenario]) -> bool:
    return columns[0].spec.kind in AXES and len(columns) > 1


def _parts(board: Leaderboard, columns: Sequence[Scenario]) -> list[Part]:
    """Return how the columns of one kind are drawn."""
    if _as_curves(columns):
        return [(curves_height(board), lambda place: draw_curves(place, board, columns))]
    groups = {scenario.column: [scenario] for scenario in in_order(columns)}
    many = columns[0].spec.kind == "subsets" and not printed(groups)
    maps = [groups, by_size(columns)] if many else [groups]
    return [
        (map_height(board, own), lambda place, own=own: draw_map(place, board, own))  # type: ignore[misc]
        for own in maps
    ]


def heading_lines(board: Leaderboard) -> tuple[str, str]:
    """Return the board's heading in two lines; the first names the data in its own way."""
    kind = "SIMULATED data" if board.simulated else "real data"
    title, _, facts = heading(board).partition(f" · {kind} · ")
    return title, "\n".join(textwrap.wrap(facts, 150))


def luck(board: Leaderboard) -> str:
    """Return what the board's intervals contain."""
    if all(len(row.seeds) > 1 for row in board.rows):
        return "jackknife over test videos and seeds."
    return "jackknife over test videos; with one seed, without the luck of training."


def shortcomings(board: Leaderboard) -> list[str]:
    """Return what under any figure of a board must be said against it."""
    said = []
    if board.rule == "oracle":
        said.append("The epoch is chosen ON THE TEST VIDEOS: these are not honest estimates.")
    for row in board.rows:
        absent = [name for name in board.classes if name not in row.classes]
        if absent:
            said.append(f"{row.name}: no finished run for {', '.join(absent)}, so no mean.")
        if row.failed:
            said.append(f"{row.name}: {len(row.failed)} FAILED runs.")
    return said


def _caption(board: Leaderboard) -> str:
    """Return what a reader must know to read the figure rightly."""
    curves = [_as_curves(columns) for columns in _kinds(board)]
    signs = " or ".join(["× at the foot"] * any(curves) + ["grey"] * (not all(curves)))
    said = [f"Spearman, mean over seeds, draws and classes by Fisher z; {signs}: undefined."]
    if any(curves):
        said.append("Missing rate: share of (sample, stream) slots that are hidden.")
        few = bands(board)
        whose = "" if few == len(board.rows) else f" of the {few} best methods"
        said.append(f"Bands: 95 % interval{whose}, {luck(board)} Bands that overlap are no test.")
    said += shortcomings(board)
    return "\n".join(textwrap.wrap(" ".join(said), 195))
