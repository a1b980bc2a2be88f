"""The charts of one method: predicted against true scores, and its training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from aqabench.board.measures import class_of
from aqabench.board.report import Report
from aqabench.board.table import Row
from aqabench.figure import BLUE, VERMILLION
from aqabench.protocol.scenarios import scenarios
from aqabench.runs.record import RunRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL, ROOM = 2.35, 0.62
"""Inches of a panel, and around it."""
ACROSS = 3
"""Panels beside each other."""
POINTS = 500
"""Videos of a class that are drawn; of more, every k-th in the order of their ids."""

Floats = npt.NDArray[np.float64]


def scatter_chart(report: Report, row: Row) -> Figure | None:
    """Draw predicted against true scores, a panel for each class, seeds averaged."""
    classes = [name for name in report.board.classes if name in row.classes]
    if not classes:
        return None
    column = fullest(report)
    figure, axes = _panels(len(classes))
    for axis, name in zip(axes, classes, strict=True):
        true, predicted = _scores(report, row, name, column)
        axis.plot(true, predicted, "o", color=BLUE, ms=3, alpha=0.45, mew=0)
        low, high = float(true.min()), float(true.max())
        axis.plot([low, high], [low, high], color="0.5", lw=0.8, ls="--", zorder=1)
        axis.set_title(name, fontsize=9)
        axis.set_xlabel("judges' score")
    axes[0].set_ylabel("predicted")
    return figure


def fullest(report: Report) -> str:
    """Return the column that hides least: all streams where the protocol has that."""
    every = scenarios(report.board.asked.protocol, report.board.asked.dataset).values()
    complete = [s.column for s in every if s.complete]
    return complete[0] if complete else list(report.board.columns)[-1]


def training_chart(report: Report, row: Row) -> Figure | None:
    """Draw what validation and test said at each look, a panel for each class."""
    looks: dict[str, list[tuple[RunRecord, list[dict[str, Any]]]]] = {}
    for record, own in report.curves(row.name):
        if len({look.get("epoch") for look in own if "criterion" in look}) > 1:
            looks.setdefault(record.class_name, []).append((record, own))
    if not looks:
        return None
    names = [name for name in report.board.classes if name in looks]
    figure, axes = _panels(len(names))
    for axis, name in zip(axes, names, strict=True):
        for record, own in looks[name]:
            _draw_run(axis, record, own)
        axis.set_title(name, fontsize=9)
        axis.set_xlabel("epoch")
    axes[0].set_ylabel("Spearman, mean")
    return figure


def _draw_run(axis: Axes, record: RunRecord, looks: Sequence[Mapping[str, Any]]) -> None:
    chosen = record.selected_epochs
    for part, rule, colour, dashes in (
        ("val", "val", BLUE, "-"),
        ("test", "oracle", VERMILLION, "--"),
    ):
        points = [
            (float(look["epoch"]), math.tanh(float(look["criterion"])))
            for look in looks
            if look.get("part") == part and isinstance(look.get("criterion"), int | float)
        ]
        if not points:
            continue
        epochs, values = np.array(points, dtype=np.float64).T
        axis.plot(epochs, values, dashes, color=colour, lw=1.0, alpha=0.8)
        at = np.flatnonzero(epochs == chosen.get(rule, -1))
        axis.plot(epochs[at], values[at], "o", color=colour, ms=4.5, zorder=4)


def _scores(report: Report, row: Row, name: str, column: str) -> tuple[Floats, Floats]:
    """Return (n,) true and predicted scores of a class; folds one after the other."""
    names = set(report.board.columns[column])
    true: dict[tuple[str, str], float] = {}
    predicted: dict[tuple[str, str], list[float]] = {}
    for cell in report.board.tested[row.name]:
        if class_of(cell) != name or cell.scenario not in names:
            continue
        pairs = zip(np.asarray(cell.y).tolist(), np.asarray(cell.p).tolist(), strict=True)
        for sample, (y, p) in zip(cell.sample_ids, pairs, strict=True):
            true[cell.class_name, sample] = y
            predicted.setdefault((cell.class_name, sample), []).append(p)
    kept = sorted(true)[:: max(1, -(-len(true) // POINTS))]
    return (
        np.array([true[key] for key in kept], dtype=np.float64),
        np.array([float(np.mean(predicted[key])) for key in kept], dtype=np.float64),
    )


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    """Return so many square panels in rows."""
    from matplotlib.figure import Figure

    across = min(count, ACROSS)
    down = -(-count // across)
    width, height = across * (PANEL + ROOM) + 0.15, down * (PANEL + ROOM + 0.2)
    figure = Figure(figsize=(width, height))
    axes = []
    for k in range(count):
        x = ROOM + (k % across) * (PANEL + ROOM)
        y = height - (k // across + 1) * (PANEL + ROOM + 0.2) + ROOM
        place = (x / width, y / height, PANEL / width, PANEL / height)
        axis = figure.add_axes(tuple(round(v, 6) for v in place))  # type: ignore[arg-type]
        axis.grid(color="0.92", lw=0.6)
        axis.set_axisbelow(True)
        axes.append(axis)
    return figure, axes
