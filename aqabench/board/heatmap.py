"""Maps of a board: methods by ways of showing the test samples, Spearman as colour and number.

Below the map stands which streams each column shows, or how rare they are in it: the names of 255
subsets could not be read.  Undefined cells are grey with a dash.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from aqabench.board.render.text import DASH, wrapped
from aqabench.board.table import Leaderboard, Row
from aqabench.protocol.scenarios import Scenario
from aqabench.stats import fisher_mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

PRINTED = 31
"""Up to so many columns have room for numbers."""
NAMED = 110
"""Letters that names of columns may have together beside each other."""

Floats = npt.NDArray[np.float64]
Columns = Mapping[str, Sequence[Scenario]]
"""Heading -> the scenarios whose mean is shown."""


def in_order(columns: Sequence[Scenario]) -> list[Scenario]:
    """Return columns in the board's order, but the complete one last."""
    return sorted(columns, key=lambda scenario: scenario.complete)


def printed(columns: Columns) -> bool:
    """Is there room for the number of each cell?"""
    return len(columns) <= PRINTED


def by_size(columns: Sequence[Scenario]) -> dict[str, list[Scenario]]:
    """Return subsets by how many streams they show; other columns each by itself."""
    found: dict[str, list[Scenario]] = {}
    for scenario in columns:
        found.setdefault(_size(scenario), []).append(scenario)
    return found


def values(board: Leaderboard, columns: Columns) -> Floats:
    """Return (rows, columns) Spearman of the mean over classes; NaN where undefined."""
    return np.array([[_value(row, own) for own in columns.values()] for row in board.rows])


def map_height(board: Leaderboard, columns: Columns) -> float:
    """Return inches for :func:`draw_map`."""
    return _rows_height(board) + _key_height(board, columns) + 1.0


def draw_map(place: SubFigure, board: Leaderboard, columns: Columns) -> None:
    """Draw the map of the columns, and the key of what they show below it."""
    shown = values(board, columns)
    key = _key(board, columns)
    heights = [_rows_height(board)] + ([_key_height(board, columns)] if key is not None else [])
    axes = place.subplots(len(heights), 1, height_ratios=heights, sharex=True, squeeze=False)
    axis = axes[0, 0]
    _draw_values(axis, board, shown, printed(columns))
    _headings(axis, columns)
    kind = next(iter(columns.values()))[0].spec.kind
    if kind == "subsets":
        _part_sizes(axes.ravel().tolist(), columns)
    if key is not None:
        _draw_key(axes[1, 0], board, key, kind)
    what = "mean over classes" if len(board.classes) > 1 else board.classes[0]
    grouped = any(len(own) > 1 for own in columns.values())
    place.colorbar(axis.images[0], ax=axes.ravel().tolist(), label="Spearman", aspect=14, pad=0.01)
    place.suptitle(
        f"{what}: {'averages of the subsets of one size' if grouped else _TITLES.get(kind, kind)}",
        fontsize=11,
    )


_TITLES = {
    "subsets": "Spearman by the streams shown",
    "imbalanced": "Spearman where streams are missing at rates of their own",
    "rate": "Spearman at a missing rate",
    "quota": "Spearman at a missing rate of the quota",
    "frame-iid": "Spearman where that share of single steps is missing",
    "rate-t": "Spearman where streams are missing step by step, at that rate",
    "block": "Spearman where one run of each stream is missing, that share of its steps",
    "outage": "Spearman where one run of all streams is missing, that share of the steps",
    "prefix": "Spearman where the beginning is missing, that share of the steps",
    "suffix": "Spearman where the end is missing, that share of the steps",
    "mix": "Spearman with some streams, where that share of their steps is missing",
    "gauss": "Spearman under noise of that many standard deviations",
    "channels": "Spearman where that share of the channels is lost",
    "shift": "Spearman where a stream runs that many steps early or late",
    "freeze": "Spearman where a stream freezes for that share of the steps",
    "swap": "Spearman where a stream is that of another sample",
    "scale": "Spearman where features are that many times as far from their mean",
}


def _value(row: Row, scenarios: Sequence[Scenario]) -> float:
    if row.overall is None:
        return math.nan
    return float(fisher_mean([row.overall.srcc[s.column] for s in scenarios]))


def _size(scenario: Scenario) -> str:
    shown = scenario.shown
    return scenario.column if shown is None else f"{sum(shown)} of {len(shown)}"


def _rows_height(board: Leaderboard) -> float:
    return sum(0.16 + 0.17 * len(_wrapped(row)) for row in board.rows)


def _key_height(board: Leaderboard, columns: Columns) -> float:
    return 0.0 if _key(board, columns) is None else 0.2 * len(board.asked.protocol.modalities)


def _wrapped(row: Row) -> list[str]:
    name = row.name if row.overall is not None else f"{row.name} (no mean)"
    return wrapped(name)


def _draw_values(axis: Axes, board: Leaderboard, shown: Floats, with_numbers: bool) -> None:
    import matplotlib as mpl

    finite = shown[np.isfinite(shown)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    high = max(high, low + 0.05)  # no drama over differences in the third decimal
    axis.set_facecolor("0.88")
    image = axis.imshow(
        np.ma.masked_invalid(shown), aspect="auto", cmap=mpl.colormaps["viridis"], vmin=low,
        vmax=high, interpolation="nearest",
    )  # fmt: skip
    axis.set_yticks(range(len(board.rows)), ["\n".join(_wrapped(row)) for row in board.rows])
    axis.tick_params(length=0, labelsize=9)
    axis.spines[:].set_visible(False)
    axis.set_yticks(np.arange(1, len(board.rows)) - 0.5, minor=True)
    axis.grid(which="minor", axis="y", color="w", lw=1.5)
    axis.tick_params(which="minor", length=0)
    if not with_numbers:
        return
    digits, size = (3, 9) if shown.shape[1] <= 16 else (2, 7)
    colours = image.to_rgba(np.nan_to_num(shown, nan=high))
    for (row, column), value in np.ndenumerate(shown):
        text = f"{value:.{digits}f}" if math.isfinite(value) else DASH
        bright = colours[row, column, :3] @ (0.299, 0.587, 0.114)
        axis.text(
            column, row, text, ha="center", va="center", fontsize=size,
            color="k" if bright > 0.5 or math.isnan(value) else "w",
        )  # fmt: skip


def _headings(axis: Axes, columns: Columns) -> None:
    """Name each column above the map, or each group of columns where names would not fit."""
    if all(own[0].spec.kind == "imbalanced" for own in columns.values()):
        axis.set_xticks([])  # the key below says it
        return
    names = [_stacked(name, own[0]) for name, own in columns.items()]
    letters = sum(max(map(len, name.split("\n"))) + 1 for name in names)
    places = [float(place) for place in range(len(names))]
    if letters > NAMED:
        groups = _runs([_group(own[0]) for own in columns.values()])
        places = [(first + last) / 2 for _, first, last in groups]
        # above a few narrow columns there is room for the number alone
        names = [
            name if last - first > len(columns) / 20 else name.split(" ")[0]
            for name, first, last in groups
        ]
        if sum(map(len, names)) > NAMED:
            places, names = [], []
    axis.set_xticks(places, names, fontsize=9)
    axis.tick_params(top=False, bottom=False, labeltop=True, labelbottom=False)


def _stacked(heading: str, scenario: Scenario) -> str:
    """Return a heading in lines; of a corruption without its kind, which the title names."""
    name = heading.partition(" ")[2] if scenario.corrupted else heading
    return name.replace("=", "\n").replace(",", "\n")


def _group(scenario: Scenario) -> str:
    """Return what columns beside each other share: a size, or the streams that are spoilt."""
    if scenario.corrupted:
        return scenario.column.partition(" ")[2].partition("=")[0]
    return _size(scenario)


def _runs(sizes: Sequence[str]) -> list[tuple[str, int, int]]:
    """Return each size with the first and last column that has it."""
    found: list[tuple[str, int, int]] = []
    for place, size in enumerate(sizes):
        if found and found[-1][0] == size:
            found[-1] = (size, found[-1][1], place)
        else:
            found.append((size, place, place))
    return found


def _part_sizes(axes: Sequence[Axes], columns: Columns) -> None:
    for _, first, _ in _runs([_size(own[0]) for own in columns.values()])[1:]:
        for axis in axes:
            axis.axvline(first - 0.5, color="w", lw=4 if printed(columns) else 1.5)


def _key(board: Leaderboard, columns: Columns) -> Floats | None:
    """Return (M, columns) shares of samples that show a stream, or None where that says nothing."""
    if any(len(own) > 1 for own in columns.values()):
        return None
    first = [own[0] for own in columns.values()]
    count = len(board.asked.protocol.modalities)
    if all(s.shown is not None for s in first):
        return np.array([s.shown for s in first], dtype=np.float64).T
    if all(s.spec.kind == "imbalanced" and len(s.level) == count for s in first):
        return 1 - np.array([s.level for s in first], dtype=np.float64).T
    return None


def _draw_key(axis: Axes, board: Leaderboard, key: Floats, kind: str) -> None:
    axis.imshow(key, aspect="auto", cmap="Greys", vmin=-0.08, vmax=1.3, interpolation="nearest")
    symbols = {m.name: m.symbol for m in board.asked.dataset.modalities}
    names = board.asked.protocol.modalities
    axis.set_yticks(range(len(names)), [f"{name} ({symbols[name]})" for name in names], fontsize=8)
    axis.set_yticks(np.arange(1, len(names)) - 0.5, minor=True)
    axis.set_xticks(np.arange(1, key.shape[1]) - 0.5, minor=True)
    axis.grid(which="minor", color="w", lw=1.5 if key.shape[1] <= PRINTED else 0.3)
    axis.tick_params(which="both", length=0, labeltop=False, labelbottom=False)
    axis.spines[:].set_visible(False)
    dark = (
        "dark: shown"
        if kind == "subsets"
        else "numbers: missing rate; the darker, the more is shown"
    )
    axis.set_xlabel(dark, fontsize=8.5)
    if kind != "subsets" and key.shape[1] <= PRINTED:
        for (row, column), share in np.ndenumerate(key):
            axis.text(
                column, row, f"{1 - share:g}", ha="center", va="center", fontsize=8,
                color="w" if share > 0.6 else "k",
            )  # fmt: skip
