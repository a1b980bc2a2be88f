"""A table with a title and notes, in a terminal or in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Sheet:
    """A small table.

    Attributes:
        title: one line above it.
        names: headings of the columns of words, which may be folded.
        heads: headings of the columns of numbers, behind them.
        rows: cells, words first.
        notes: sentences below it.
        whole: those of ``names`` that are not folded.
    """

    title: str
    names: tuple[str, ...]
    heads: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    notes: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()


def print_sheet(sheet: Sheet, console: Console) -> None:
    """Print a table; a comma in the heading of a number breaks its line."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    for name in sheet.names:
        table.add_column(Text(name), overflow="fold", no_wrap=name in sheet.whole)
    for head in sheet.heads:
        table.add_column(Text(head.replace(", ", "\n")), justify="right", no_wrap=True)
    for row in sheet.rows:
        table.add_row(*map(Text, row))
    console.print()
    console.print(Text(sheet.title, style="bold"))
    console.print(table)
    for note in sheet.notes:
        console.print(Text(note, style="dim"))


def markdown(sheet: Sheet) -> str:
    """Return a table in Markdown, without a newline at its end."""
    lines = [
        f"**{sheet.title}**",
        "",
        "| " + " | ".join((*sheet.names, *sheet.heads)) + " |",
        "| " + " | ".join(["---"] * len(sheet.names) + ["---:"] * len(sheet.heads)) + " |",
        *("| " + " | ".join(cell.replace("*", r"\*") for cell in row) + " |" for row in sheet.rows),
    ]
    if sheet.notes:
        lines += ["", *(f"- {note}".replace("*", r"\*") for note in sheet.notes)]
    return "\n".join(lines)
