"""``aqabench protocol show``: what a protocol asks, how much its scenarios hide, and a drawing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import rich_click as click

from aqabench.cli.options import PROTOCOL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from aqabench.protocol.library import Asked


@click.command("show")
@click.argument("name", type=PROTOCOL)
def command(name: str) -> None:
    """Show protocol NAME, a name or a YAML file: the question, what is hidden or spoilt, masks.

    Realised and complete shares are means over the draws, made for as many samples as the data set
    declares, since the data need not be installed. Drawn is the first table of each level.
    """
    from rich.console import Console

    from aqabench.cli.lines import print_lines, protocol_lines
    from aqabench.protocol.library import load_protocol
    from aqabench.protocol.scenarios import scenarios

    asked, console = load_protocol(name), Console()
    every = scenarios(asked.protocol, asked.dataset).values()
    spoilt = any(s.corrupted for s in every)
    class_name, counts = _reference(asked)
    print_lines(console, protocol_lines(asked))
    if asked.protocol.training != "complete":
        _print_training(console, asked, class_name, counts)
    if not all(s.corrupted or s.complete for s in every) or not spoilt:
        _print_hidden(console, asked, class_name, counts["test"])
    if spoilt:
        _print_spoilt(console, asked, counts["test"])


def _print_training(
    console: Console, asked: Asked, class_name: str, counts: Mapping[str, int]
) -> None:
    from aqabench.cli.protocol.drawing import DRAWN, training_drawings
    from aqabench.cli.protocol.shares import training_shares, training_tables
    from aqabench.protocol.grammar import TableTraining
    from aqabench.protocol.lock import reference_ids

    ids = {part: reference_ids(counts[part]) for part in ("train", "val") if part in counts}
    tables = training_tables(asked, ids)
    which = (
        "What the training and validation samples never have"
        if isinstance(asked.protocol.training, TableTraining)
        else "What an epoch of training does not show, drawn once (validation is complete)"
    )
    _say(
        console,
        f"\n{which}, with as many samples as declared for {class_name}: the nominal and the "
        "realised share of (sample, modality) slots, and the share of complete samples.\n",
    )
    console.print(training_shares(asked, tables))
    _say(console, f"\nThe first {DRAWN} training samples ({_legend(asked)}):\n")
    _print_blocks(console, training_drawings(asked, tables["train"]))


def _print_hidden(console: Console, asked: Asked, class_name: str, count: int) -> None:
    from aqabench.cli.protocol.drawing import DRAWN, drawings
    from aqabench.cli.protocol.shares import share_table
    from aqabench.protocol.lock import reference_ids, reference_lengths
    from aqabench.protocol.scenarios import availability, observation

    ids, lengths = reference_ids(count), reference_lengths(count, asked.dataset.clip_length)
    tables = availability(asked.protocol, asked.dataset, ids)
    tables |= observation(asked.protocol, asked.dataset, ids, lengths)
    _say(
        console,
        f"\nWhat is hidden from {count} samples, as declared for {class_name}: the nominal and the "
        "realised share of (sample, modality) slots, and the share of complete samples; of steps "
        "in place of samples where steps are missing.\n",
    )
    console.print(share_table(asked, tables))
    blocks = drawings(asked, tables, lengths[0])
    if blocks:
        _say(
            console,
            f"\nOne table per level for {DRAWN} samples, or for {DRAWN} steps of one sample where "
            f"steps are missing ({_legend(asked)}):\n",
        )
        _print_blocks(console, blocks)


def _print_spoilt(console: Console, asked: Asked, count: int) -> None:
    from aqabench.cli.protocol.drawing import damage_drawings
    from aqabench.cli.protocol.shares import corruption_table
    from aqabench.protocol.lock import reference_ids, reference_lengths
    from aqabench.protocol.scenarios import corruptions

    _say(
        console,
        "\nWhat is done to standardised features of whole test samples, unsaid by any mask "
        f"({_streams(asked)}; all: every one at once):\n",
    )
    console.print(corruption_table(asked))
    ids, lengths = reference_ids(count), reference_lengths(count, asked.dataset.clip_length)
    drawn = corruptions(asked.protocol, asked.dataset, ids, lengths)
    for title, (what, block) in damage_drawings(asked, drawn, lengths[0]).items():
        _say(console, f"\n{title} ({what})\n{block}")


def _print_blocks(console: Console, blocks: Mapping[str, str]) -> None:
    from rich.columns import Columns
    from rich.text import Text

    texts = [Text(f"{title}\n{block}\n") for title, block in blocks.items()]
    console.print(Columns(texts, padding=(0, 2)))


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False)


def _legend(asked: Asked) -> str:
    from aqabench.cli.protocol.drawing import HIDDEN, SHOWN

    return f"{SHOWN} shown, {HIDDEN} hidden; {_streams(asked)}"


def _streams(asked: Asked) -> str:
    from aqabench.cli.protocol.drawing import symbols

    return ", ".join(f"{symbol} {name}" for name, symbol in symbols(asked).items())


def _reference(asked: Asked) -> tuple[str, dict[str, int]]:
    """Return the first class that declares test samples, and part -> number of samples."""
    from aqabench.errors import UsageError
    from aqabench.protocol.lock import reference_counts

    for class_spec in asked.dataset.classes:
        if class_spec.name in asked.protocol.classes:
            counts = reference_counts(asked, class_spec)
            if counts.get("test", 0) > 0:
                return class_spec.name, counts
    raise UsageError(
        f"Data set '{asked.dataset.name}' declares no test samples for the split 'official' of "
        f"'{asked.protocol.name}': write 'split: {{scheme: kfold, k: 5}}', then type the same "
        "command again."
    )
