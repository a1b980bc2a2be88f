"""``aqabench protocol show``: what a protocol asks, how much its scenarios hide, and a drawing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import rich_click as click

from aqabench.cli.options import PROTOCOL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.table import Table as RichTable

    from aqabench.protocol.library import Asked
    from aqabench.protocol.scenarios import Table

SHOWN, HIDDEN = "█", "·"
DRAWN_SAMPLES = 24
MOST_DRAWN = 8


@click.command("show")
@click.argument("name", type=PROTOCOL)
def command(name: str) -> None:
    """Show protocol NAME, a name or a YAML file: the question, the shares that are hidden, masks.

    Realised rate and complete share are means over the draws, made for as many samples as the data
    set declares, since the data need not be installed. Drawn is the first table of each level.
    """
    from rich.columns import Columns
    from rich.console import Console
    from rich.text import Text

    from aqabench.cli.lines import print_lines, protocol_lines
    from aqabench.protocol.library import load_protocol
    from aqabench.protocol.scenarios import availability

    asked, console = load_protocol(name), Console()
    print_lines(console, protocol_lines(asked))
    class_name, ids = _reference(asked)
    tables = availability(asked.protocol, asked.dataset, ids)
    console.print(
        f"\nWhat is hidden from {len(ids)} samples, the declared number for {class_name}:",
        highlight=False,
        markup=False,
    )
    console.print(share_table(asked, tables))
    blocks = drawings(asked, tables)
    if blocks:
        console.print(
            f"\nThe first {min(DRAWN_SAMPLES, len(ids))} samples of one table per level "
            f"({SHOWN} shown, {HIDDEN} hidden; {_legend(asked)}):\n",
            highlight=False,
            markup=False,
        )
        texts = [Text(f"{column}\n{block}\n") for column, block in blocks.items()]
        console.print(Columns(texts, padding=(0, 2)))


def share_table(asked: Asked, tables: Mapping[str, Table]) -> RichTable:
    """Return the table of nominal and realised shares.

    Args:
        asked: the protocol.
        tables: scenario -> (n, M) bool.
    """
    from statistics import fmean

    from rich import box
    from rich.table import Table as RichTable

    from aqabench.protocol.mask_tables import shares
    from aqabench.protocol.scenarios import columns, scenarios

    every = scenarios(asked.protocol, asked.dataset)
    shown = RichTable(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    shown.add_column("scenario", overflow="fold")
    for heading in ("draws", "nominal rate", "realised rate", "complete share"):
        shown.add_column(heading, justify="right")
    for column, names in columns(asked.protocol, asked.dataset).items():
        level = every[names[0]].level
        counted = [shares(tables[name]) for name in names]
        shown.add_row(
            column,
            str(len(names)),
            f"{fmean(level):.4f}" if level else "–",
            f"{fmean(share.realised for share in counted):.4f}",
            f"{fmean(share.complete for share in counted):.4f}",
        )
    return shown


def drawings(asked: Asked, tables: Mapping[str, Table]) -> dict[str, str]:
    """Return column -> picture of its first table; of many levels some, the ends among them.

    Subsets are the same for every sample and are not drawn.

    Args:
        asked: the protocol.
        tables: scenario -> (n, M) bool.
    """
    from aqabench.protocol.scenarios import columns, scenarios

    every = scenarios(asked.protocol, asked.dataset)
    firsts = {
        column: names[0]
        for column, names in columns(asked.protocol, asked.dataset).items()
        if every[names[0]].shown is None
    }
    symbols = [symbol for symbol, _ in _streams(asked)]
    return {
        column: picture(tables[firsts[column]], symbols)
        for column in _spread(list(firsts), MOST_DRAWN)
    }


def picture(table: Table, symbols: Sequence[str]) -> str:
    """Return one line per modality with one character for each of the first samples.

    Args:
        table: (n, M) bool.
        symbols: (M,) how the lines begin.
    """
    width = max(map(len, symbols))
    return "\n".join(
        f"{symbol:<{width}} " + "".join(SHOWN if on else HIDDEN for on in row)
        for symbol, row in zip(symbols, table[:DRAWN_SAMPLES].T, strict=True)
    )


def _spread(items: list[str], most: int) -> list[str]:
    """Return at most ``most`` items at even distances, the first and the last among them."""
    if len(items) <= most:
        return items
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def _reference(asked: Asked) -> tuple[str, list[str]]:
    """Return the first class and ids for as many test samples as are declared for it."""
    from aqabench.errors import UsageError
    from aqabench.protocol.lock import reference_counts, reference_ids

    for class_spec in asked.dataset.classes:
        if class_spec.name in asked.protocol.classes:
            count = reference_counts(asked, class_spec).get("test", 0)
            if count:
                return class_spec.name, reference_ids(count)
    raise UsageError(
        f"Data set '{asked.dataset.name}' declares no test samples for the split 'official' of "
        f"'{asked.protocol.name}': write 'split: {{scheme: kfold, k: 5}}', then type the same "
        "command again."
    )


def _streams(asked: Asked) -> list[tuple[str, str]]:
    """Return (symbol, name) of the protocol's modalities."""
    used = asked.protocol.modalities
    return [(m.symbol, m.name) for m in asked.dataset.modalities if m.name in used]


def _legend(asked: Asked) -> str:
    return ", ".join(f"{symbol} {name}" for symbol, name in _streams(asked))
