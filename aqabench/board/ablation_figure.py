"""The figure of ``aqabench ablate``: a line for each switch, what it changes and its interval.

Draws the numbers of :mod:`aqabench.board.ablation`, no others.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aqabench.board.ablation import Effect, unpaired
from aqabench.board.figures import heading_lines
from aqabench.board.render.text import correlation, signed
from aqabench.board.table import Leaderboard
from aqabench.figure import BLUE, VERMILLION, WARNING, set_title, settle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 11.0
"""Inches."""
UNTOLD = "0.55"
"""Colour of a change that cannot be told from none."""


def draw_effects(board: Leaderboard, usual: str, found: Sequence[Effect]) -> Figure:
    """Return the figure.

    Args:
        board: of all the runs.
        usual: the row of the usual form.
        found: the effects, drawn from top to bottom.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, 2.2 + 0.34 * len(found)), layout="constrained")
    title, facts = heading_lines(board)
    set_title(figure, title, board.simulated)
    average = board.asked.protocol.average.name
    row = next(r for r in board.rows if r.name == usual)
    estimate = correlation(row.overall.average.estimate) if row.overall else "undefined"
    text = (
        f"{average} with the switch thrown minus {usual} as it is ({estimate}). Lines: 95 % "
        "interval by the jackknife over test videos and over pairs of runs of one seed, not "
        "adjusted. Filled: told from no change, p by Holm over the switches below 0.05."
    )
    caption = "\n".join(textwrap.wrap(f"{text} {unpaired(found)}", 150))
    figure.supxlabel(caption, fontsize=8.5, x=0.01, ha="left", color="0.25")
    axis = figure.subplots()
    axis.set_title("\n".join(textwrap.wrap(facts, 120)), fontsize=10)
    axis.axvline(0.0, color="0.3", lw=0.9, zorder=1)
    for height, effect in enumerate(found):
        _draw_one(axis, height, effect)
    axis.set_yticks(range(len(found)), [effect.switch for effect in found], fontsize=9)
    axis.set_ylim(len(found) - 0.4, -0.6)
    axis.set_xlabel(f"difference in {average}")
    axis.xaxis.set_major_formatter(lambda x, _: f"{round(x, 6):+g}" if round(x, 6) else "0")
    axis.grid(axis="x", color="0.92", lw=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
    settle(figure)
    return figure


def _draw_one(axis: Axes, height: int, effect: Effect) -> None:
    result = effect.result

    def note(text: str, colour: str) -> None:
        beside = axis.get_yaxis_transform()
        axis.text(1.01, height, text, color=colour, fontsize=8.5, va="center", transform=beside)

    if result is None or math.isnan(result.difference):
        note("failed" if effect.failed else "undefined", WARNING)
        return
    colour = UNTOLD if not effect.real else BLUE if result.difference > 0 else VERMILLION
    axis.plot([result.low, result.high], [height, height], color=colour, lw=2)
    face = colour if effect.real else "white"
    axis.plot(result.difference, height, "o", ms=7, color=colour, mfc=face, mew=1.6)
    note(signed(result.difference), "0.25")
