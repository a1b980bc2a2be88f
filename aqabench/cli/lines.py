"""Cards of two columns, as ``aqabench show`` prints them, and what they say of a protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from aqabench.protocol.library import Asked
    from aqabench.protocol.schema import SplitSpec

Lines = list[tuple[str, Any]]
"""Heading and what stands beside it: text, or a list of lines; empty ones are not printed."""


def protocol_lines(asked: Asked) -> Lines:
    """Return what there is to say of a protocol."""
    from aqabench.protocol.scenarios import averaged_scenarios, columns

    protocol = asked.protocol
    part = protocol.split.validation
    whole = f", every {part.group} whole" if part and part.group else ""
    every = columns(protocol, asked.dataset)
    averaged = set(averaged_scenarios(protocol, asked.dataset))
    return [
        (protocol.name, f"{protocol.title}, version {protocol.version}"),
        ("question", protocol.question),
        ("data set", asked.dataset.title),
        ("classes", ", ".join(protocol.classes)),
        ("modalities", ", ".join(protocol.modalities)),
        ("split", _split(protocol.split)),
        ("validation", f"{part.fraction:.0%} of the training list{whole}" if part else "none"),
        ("test scenarios", " ".join(every)),
        (
            protocol.average.name,
            " ".join(column for column, names in every.items() if averaged.issuperset(names)),
        ),
        ("epoch chosen by", protocol.selection),
        ("seeds", ", ".join(map(str, protocol.seeds))),
        ("digest", asked.digest),
    ]


def print_lines(console: Console, lines: Lines) -> None:
    """Print headings and texts in two columns."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for key, value in lines:
        text = "\n".join(value) if isinstance(value, list) else str(value)
        if text:
            table.add_row(key, Text(text))
    console.print(table)


def _split(split: SplitSpec) -> str:
    """Return the split in words."""
    return {
        "official": "official lists",
        "published-folds": f"published folds by {split.folds}",
        "kfold": f"{split.k} folds of like score distribution",
        "grouped": f"{split.k} folds that share no {split.group}",
    }[split.scheme]
