"""What all figures share: colours, a title that says which data, and a file written whole.

matplotlib is imported when a figure is drawn, and never by way of pyplot: no window, no global
state.  The same figure gives the same bytes.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

from aqabench.disk import replace_file
from aqabench.errors import StoreError, UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".pdf")
BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY, BLACK = (
    "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#000000",
)  # fmt: skip
PALETTE = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)
"""Colours that colour-blind readers can tell apart, but for a yellow that white paper swallows.

Source: Okabe and Ito, Color Universal Design (2008).
"""
WARNING = "#b71c1c"
DPI = 110


def check_path(path: Path) -> None:
    """Refuse a figure file that could not be written, before any time is spent.

    Raises:
        UsageError: a suffix that is no format, or a folder that is not there.
        StoreError: a folder that may not be written.
    """
    if path.suffix.lower() not in SUFFIXES:
        suggestion = path.parent / f"{path.stem or 'figure'}.png"
        raise UsageError(
            f"The figure file '{path}' must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}. "
            f"Type: --figure '{suggestion}'"
        )
    if not path.parent.is_dir():
        raise UsageError(
            f"There is no folder {path.parent} for the figure. Make it first (mkdir -p "
            f"'{path.parent}'), or type: --figure '{path.name}'"
        )
    if path.is_dir():
        raise UsageError(f"'{path}' is a folder. Type: --figure '{path / 'figure.png'}'")
    if not os.access(path.parent, os.W_OK):
        raise StoreError(
            f"Cannot write the figure to {path}: the folder may not be written. Choose another "
            "place: --figure FILE.png"
        )


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure whole or not at all.

    Raises:
        StoreError: the disk is full or may not be written.
    """
    from matplotlib import rc_context

    kind = path.suffix.lower()[1:]
    undated = {"svg": "Date", "pdf": "CreationDate"}
    facts = {undated[kind]: None} if kind in undated else {}
    content = io.BytesIO()
    with rc_context({"svg.hashsalt": "aqabench"}):
        figure.savefig(content, format=kind, metadata=facts, dpi=DPI)
    try:
        replace_file(path, content.getvalue())
    except OSError as error:
        raise StoreError(
            f"Cannot write the figure to {path}: {(error.strerror or str(error)).lower()}. Make "
            "room or choose another place: --figure FILE.png"
        ) from error


def set_title(figure: Figure, title: str, simulated: bool) -> None:
    """Write what a figure is about, and on which kind of data, so that none can be mistaken."""
    word = "SIMULATED data, not real" if simulated else "REAL data"
    colour = WARNING if simulated else BLACK
    figure.suptitle(f"{title} – {word}", fontsize=15, weight="bold", color=colour)


def settle(figure: Figure) -> None:
    """Lay the figure out for good, in round numbers.

    The last digits of a layout differ from time to time, and SVG names its clips by all of them:
    without this, two drawings of one board would differ in bytes.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for place in figure.subfigs:
        place.bbox_relative.set_points(place.bbox_relative.get_points().round(6))
    for axis in figure.axes:
        left, bottom, width, height = (round(x, 6) for x in axis.get_position().bounds)
        axis.set_position((left, bottom, width, height))
