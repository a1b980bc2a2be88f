"""``aqabench protocol show``: what a protocol asks, how much its scenarios hide, and a drawing."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import rich_click as click

from aqabench.cli.options import PROTOCOL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.table import Table as RichTable

    from aqabench.protocol.library import Asked
    from aqabench.protocol.scenarios import Table

T = TypeVar("T")
SHOWN, HIDDEN = "█", "·"
DRAWN = 24
MOST_DRAWN = 8


@click.command("show")
@click.argument("name", type=PROTOCOL)
def command(name: str) -> None:
    """Show protocol NAME, a name or a YAML file: the question, the shares that are hidden, masks.

    Realised and complete shares are means over the draws, made for as many samples as the data set
    declares, since the data need not be installed. Drawn is the first table of each level.
    """
    from rich.columns import Columns
    from rich.console import Console
    from rich.text import Text

    from aqabench.cli.lines import print_lines, protocol_lines
    from aqabench.protocol.library import load_protocol
    from aqabench.protocol.lock import reference_ids, reference_lengths
    from aqabench.protocol.scenarios import availability, observation

    asked, console = load_protocol(name), Console()
    print_lines(console, protocol_lines(asked))
    class_name, count = _reference(asked)
    ids, lengths = reference_ids(count), reference_lengths(count, asked.dataset.clip_length)
    tables = availability(asked.protocol, asked.dataset, ids)
    tables |= observation(asked.protocol, asked.dataset, ids, lengths)
    console.print(
        f"\nWhat is hidden from {count} samples, as declared for {class_name}: the nominal and the "
        "realised share of (sample, modality) slots, and the share of complete samples; of steps "
        "in place of samples where steps are missing.\n",
        highlight=False,
        markup=False,
    )
    console.print(share_table(asked, tables))
    blocks = drawings(asked, tables, lengths[0])
    if blocks:
        console.print(
            f"\nOne table per level for {DRAWN} samples, or for {DRAWN} steps of one sample where "
            f"steps are missing ({SHOWN} shown, {HIDDEN} hidden; {_legend(asked)}):\n",
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
    for heading in ("draws", "nominal", "realised", "complete"):
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


def drawings(asked: Asked, tables: Mapping[str, Table], clips: int) -> dict[str, str]:
    """Return column -> picture of its first table; of many levels some, the ends among them.

    The first samples are drawn, or steps spread over the first sample.  Subsets are the same for
    every sample and are not drawn.

    Args:
        asked: the protocol.
        tables: scenario -> (n, M) bool, or (clips of all samples, M) bool.
        clips: length of the first sample.
    """
    from aqabench.protocol.scenarios import columns, scenarios

    every = scenarios(asked.protocol, asked.dataset)
    firsts = {
        column: every[names[0]]
        for column, names in columns(asked.protocol, asked.dataset).items()
        if every[names[0]].shown is None
    }
    symbols = [symbol for symbol, _ in _streams(asked)]
    pictures = {}
    for column in _spread(list(firsts), MOST_DRAWN):
        table = tables[firsts[column].name]
        rows = _spread(range(clips), DRAWN) if firsts[column].timed else range(len(table))[:DRAWN]
        pictures[column] = picture(table[list(rows)], symbols)
    return pictures


def picture(table: Table, symbols: Sequence[str]) -> str:
    """Return one line per modality with one character for each row of the table.

    Args:
        table: (n, M) bool.
        symbols: (M,) how the lines begin.
    """
    width = max(map(len, symbols))
    return "\n".join(
        f"{symbol:<{width}} " + "".join(SHOWN if on else HIDDEN for on in row)
        for symbol, row in zip(symbols, table.T, strict=True)
    )


def _spread(items: Sequence[T], most: int) -> Sequence[T]:
    """Return at most ``most`` items at even distances, the first and the last among them."""
    if len(items) <= most:
        return items
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def _reference(asked: Asked) -> tuple[str, int]:
    """Return the first class and the number of test samples that is declared for it."""
    from aqabench.errors import UsageError
    from aqabench.protocol.lock import reference_counts

    for class_spec in asked.dataset.classes:
        if class_spec.name in asked.protocol.classes:
            count = reference_counts(asked, class_spec).get("test", 0)
            if count:
                return class_spec.name, count
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
