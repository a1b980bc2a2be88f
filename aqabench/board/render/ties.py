"""Tie groups and published claims as small tables, for the terminal and for Markdown."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from aqabench.board.published.schema import AVERAGE
from aqabench.board.render.markdown import board_markdown
from aqabench.board.render.pairs import pairs_markdown, print_pairs
from aqabench.board.render.sheet import Sheet, markdown, print_sheet
from aqabench.board.render.terminal import print_board
from aqabench.board.render.text import (
    DASH,
    breakable,
    correlation,
    heading,
    limits,
    seeds,
    signed,
)
from aqabench.board.report import Report, View

if TYPE_CHECKING:
    from rich.console import Console

SHARED = "Methods that share a letter cannot be told apart; the order inside a group says nothing."


def tie_sheets(report: Report) -> list[Sheet]:
    """Return who can be told apart: on the average, then in each class."""
    return [_tie_sheet(report, view) for view in report.views]


def verdict(view: View) -> str:
    """Return in one sentence what a view settles."""
    apart, of = view.separated
    if not of:
        return "No two methods can be compared here."
    pairs = "1 pair" if of == 1 else f"{of} pairs"
    first = f"{apart} of {pairs} can be told apart."
    if len(view.top) == 1:
        return f"{first} Top: {view.top[0]} alone."
    return f"{first} Top tie group: {', '.join(view.top)}."


def _tie_sheet(report: Report, view: View) -> Sheet:
    name = view.board.asked.protocol.average.name
    title = heading(report.board) if view is report.views[0] else f"Class {view.name}"
    rows = [
        (
            breakable(row.name),
            view.letters.get(row.name, DASH),
            correlation(row.overall.average.estimate) if row.overall else DASH,
            limits(row.overall.average) if row.overall else DASH,
            signed(row.gap),
            seeds(row),
        )
        for row in view.board.rows
    ]
    heads = (name, "95 % interval", "gap", "seeds")
    return Sheet(title, ("method", "ties"), heads, rows, (verdict(view), SHARED), ("ties",))


def claims_sheet(report: Report) -> Sheet | None:
    """Return what is published on the same streams; None where nothing is."""
    average = report.board.asked.protocol.average.name
    views = [v.name for v in report.views]
    columns = [c for c in (average, *report.board.columns) if _any(report, c)]
    heads = [(v, c) for c in columns for v in views if _any(report, c, v)]
    if not heads:
        return None
    rows = [
        (
            f"{claim.method} ({claim.year})" if claim.year else claim.method,
            ", ".join(claim.measured) or DASH,
            *(
                correlation(claim.numbers[key].value if key in claim.numbers else math.nan)
                for key in heads
            ),
        )
        for claim in report.claims
    ]
    titles = tuple(f"{c}, {v}" if v != AVERAGE else c for v, c in heads)
    notes = (
        "As papers report them, in the order of names: neither ranked nor tested with what was "
        "measured, because no predictions are behind them. Most chose the epoch on the test "
        "videos. Sources: leaderboards/published.",
    )
    return Sheet("Published, not measured here", ("method", "here as"), titles, rows, notes)


def _any(report: Report, column: str, view: str | None = None) -> bool:
    return any(
        name == column and view in (None, own)
        for claim in report.claims
        for own, name in claim.numbers
    )


def reports_markdown(reports: Sequence[Report]) -> str:
    """Return the boards as Markdown: tie groups, every number, then what is published."""
    parts = []
    for report in reports:
        claims = claims_sheet(report)
        ties, *classes = tie_sheets(report)
        sheets = [replace(ties, title="Who can be told apart"), *classes]
        parts += [
            board_markdown(report.board),
            *(f"{markdown(sheet)}\n" for sheet in sheets),
            *([pairs_markdown(report.board, pairs)] if (pairs := report.views[0].pairs) else []),
            *([f"{markdown(claims)}\n"] if claims else []),
        ]
    return "\n".join(parts)


def reports_text(reports: Sequence[Report], width: int | None = None) -> str:
    """Return the boards as a terminal shows them.

    Args:
        reports: the boards.
        width: columns; None for those of the terminal, in its colours.
    """
    from rich.console import Console

    out = io.StringIO()
    console = Console(file=out, width=width) if width else _like_the_screen(out)
    for report in reports:
        for sheet in tie_sheets(report):
            print_sheet(sheet, console)
        print_board(report.board, console)
        if report.views[0].pairs:
            print_pairs(report.board, report.views[0].pairs, console)
        claims = claims_sheet(report)
        if claims:
            print_sheet(claims, console)
    return out.getvalue()


def _like_the_screen(out: io.StringIO) -> Console:
    """Return a console that writes as one on the screen would."""
    from rich.console import Console

    screen = Console()
    return Console(
        file=out,
        width=screen.width,
        force_terminal=screen.is_terminal,
        color_system=screen.color_system,  # type: ignore[arg-type]
    )
