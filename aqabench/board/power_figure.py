"""The figure of ``aqabench power``: smallest differences over test samples, claims beside them.

A panel for each level, a curve for each overlap, a mark where each test of a protocol stands.
Published gaps stand at the height that they would need; their colour is their flag.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from aqabench.board.detectable import Design, Question, Test, plain
from aqabench.board.published.standing import FLAGS, NEAR
from aqabench.board.render.power import Compared, question_line
from aqabench.figure import BLACK, ORANGE, PALETTE, PURPLE, settle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = 3
"""Levels that have a panel; of more, the first ones."""
BOTTOM, TOP = 0.004, 0.7
"""Differences that the figure shows; a smaller gap is drawn at the foot."""
FLAG_COLOURS = dict(zip(FLAGS, (BLACK, PURPLE, ORANGE), strict=True))
SHORT = {"fisv-c3d": "Fis-V", "speechocean": "speechocean"}


def draw(designs: Sequence[Design], question: Question, compared: Sequence[Compared]) -> Figure:
    """Return the figure.

    Args:
        designs: tests to mark; of several protocols the means, of one its single classes, too.
        question: levels, overlaps, power and alpha.
        compared: published pairs; an empty list has no panel.
    """
    from matplotlib.figure import Figure

    levels = question.rho[:PANELS]
    widths = [4.2] * len(levels) + [0.9 + 0.75 * len(compared)] * bool(compared)
    figure = Figure(figsize=(sum(widths) + 0.8, 4.9), layout="constrained")
    figure.suptitle(
        f"The smallest difference in Spearman found with {100 * question.power:g} % probability",
        fontsize=13, weight="bold",
    )  # fmt: skip
    text = textwrap.fill(_caption(question, bool(compared)), int(15 * sum(widths)))
    figure.supxlabel(text, fontsize=8, x=0.01, ha="left", color="0.25")
    axes = figure.subplots(1, len(widths), sharey=True, width_ratios=widths, squeeze=False)[0]
    marks = _marks(designs)
    for axis, rho in zip(axes, levels, strict=False):
        _curves(axis, rho, marks, question)
    axes[0].set_ylabel("difference in Spearman")
    axes[0].legend(title="overlap r", loc="lower left", frameon=False, fontsize=8, title_fontsize=8)
    if compared:
        _claims(axes[-1], compared)
    settle(figure)
    return figure


def _caption(question: Question, claims: bool) -> str:
    said = [
        "Jackknife test on Fisher z;",
        question_line(question).replace("Two-sided", "two-sided"),
        "Grey: gains of at most 0.02. A mean over classes stands at the samples of one class that "
        "would say as much.",
    ]
    if claims:
        said.append("Right: gaps of published pairs; triangles are smaller still.")
    return " ".join(said)


def _marks(designs: Sequence[Design]) -> list[tuple[str, Test]]:
    """Return what is marked: each data set's tests, equal ones once."""
    found: dict[tuple[str, str], Test] = {}
    for design in designs:
        tests = design.tests if len(designs) == 1 else design.tests[-1:]
        for test in tests:
            name = SHORT.get(design.dataset.name, design.dataset.title)
            folds = f", {test.folds} folds" if test.folds > 1 else ""
            label = f"{name} {test.what}{folds}"
            alike = any(
                known[0] == label and abs(t.effective / test.effective - 1) < 0.05
                for known, t in found.items()
            )
            if not alike:
                found[label, test.samples] = test
    return [(label, test) for (label, _), test in found.items()]


def _curves(axis: Axes, rho: float, marks: Sequence[tuple[str, Test]], question: Question) -> None:
    reached = [test.effective for _, test in marks] or [100.0]
    low, high = min(20.0, 0.8 * min(reached)), max(3000.0, 1.4 * max(reached))
    sizes = np.unique(np.geomspace(low, high, 14).astype(int))
    axis.axhspan(BOTTOM, NEAR, color="0.93", lw=0, zorder=-1)
    for k, r in enumerate(question.overlap):
        values = [plain(int(n)).detectable(rho, r, question) for n in sizes]
        colour = PALETTE[k % len(PALETTE)]
        axis.plot(sizes, values, color=colour, lw=1.8, label=f"{r:g}")
        at = [(t.effective, t.detectable(rho, r, question)) for _, t in marks]
        if at:
            axis.plot(*np.array(at).T, "o", color=colour, ms=3.8, zorder=3)
    for label, test in marks:
        axis.axvline(test.effective, color="0.75", lw=0.7, zorder=0)
        axis.text(
            test.effective, TOP, f"{label} ", rotation=90, fontsize=6.5, va="top", ha="right",
            color="0.35",
        )  # fmt: skip
    axis.set(xscale="log", yscale="log", xlim=(low, high), ylim=(BOTTOM, TOP))
    axis.set_title(f"both methods at ρ = {rho:g}", fontsize=10)
    axis.set_xlabel("test samples", fontsize=9)
    _ticks(axis)


def _ticks(axis: Axes) -> None:
    from matplotlib.ticker import NullFormatter

    heights = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
    axis.set_yticks(heights, [f"{h:g}" for h in heights])
    widths = [w for w in (20, 50, 100, 200, 500, 1000, 2000) if axis.get_xlim()[0] <= w]
    axis.set_xticks(widths, [str(w) for w in widths])
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.tick_params(labelsize=8.5)
    axis.spines[["top", "right"]].set_visible(False)


def _claims(axis: Axes, compared: Sequence[Compared]) -> None:
    from matplotlib.lines import Line2D

    axis.axhspan(BOTTOM, NEAR, color="0.93", lw=0, zorder=-1)
    for column, one in enumerate(compared):
        for k, step in enumerate(one.steps):
            gap = step.verdict.difference
            aside = 0.16 * (k % 5 - 2)  # neighbouring gaps are often equal
            axis.plot(
                column + aside, max(gap, BOTTOM * 1.12), "o" if gap > BOTTOM else "v", ms=5,
                color=FLAG_COLOURS[step.verdict.flag], alpha=0.85, mec="w", mew=0.4,
            )  # fmt: skip
    names = [
        f"{one.design.dataset.title}{'' if one.condition == 'complete' else chr(10) + 'Avg6'}"
        for one in compared
    ]
    axis.set_xticks(range(len(compared)), names, fontsize=8)
    axis.set_xlim(-0.6, len(compared) - 0.4)
    axis.set_title("published gaps", fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(axis="y", which="both", length=0, labelleft=False)
    handles = [
        Line2D([], [], marker="o", ls="", ms=4, color=colour, mec="w", label=flag)
        for flag, colour in FLAG_COLOURS.items()
    ]
    axis.legend(handles=handles, frameon=False, fontsize=7, loc="upper left")
