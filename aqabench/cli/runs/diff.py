"""``aqabench runs diff``: in what do two runs differ, and are their predictions the same?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from aqabench.cli.options import store_option
from aqabench.cli.runs.chosen import open_store, record_of
from aqabench.cli.runs.words import plain
from aqabench.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from aqabench.runs.difference import Agreement, Difference
    from aqabench.runs.record import RunRecord
    from aqabench.runs.store import RunStore

MOST_LINES = 12
"""Differences of one kind that are listed; of more the number is said."""
_DIGEST = re.compile(r"[0-9a-f]{40,}")


@click.command("diff")
@click.argument("first", metavar="A")
@click.argument("second", metavar="[B]", required=False)
@store_option
@click.option(
    "--other-store",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    metavar="FOLDER",
    help="Look for B in this store; without B, for the run with the same key as A.",
)
def command(
    first: str, second: str | None, store_folder: Path | None, other_store: Path | None
) -> None:
    """Say in what runs A and B differ: question, data, code, settings, machine, cost, predictions.

    A and B are beginnings of keys. Two runs with one key can only lie in two stores, such as those
    of two machines: --other-store FOLDER.
    """
    from rich.console import Console

    from aqabench.runs.difference import differences, verdict
    from aqabench.runs.store import RunStore

    store = open_store(store_folder)
    other = RunStore(other_store) if other_store else store
    a = record_of(store, first)
    if second is None and other_store is None:
        raise UsageError(
            f"'aqabench runs diff {first}' needs a second run: give the beginning of its key, or "
            "--other-store FOLDER to compare with the same run there."
        )
    b = record_of(other, second or a.key)
    console = Console()
    _heading(console, a, b)
    found = differences(a, b)
    if found:
        console.print(_table(found))
    agreed, why = _agreements(store, a, other, b)
    for line in _predictions(agreed, why):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    said = verdict(found, agreed)
    if said:
        console.print("\n" + said, highlight=False, markup=False, style="bold")


def _heading(console: Console, a: RunRecord, b: RunRecord) -> None:
    from aqabench.cli.lines import print_lines

    def said(record: RunRecord) -> str:
        fold = "" if record.fold is None else f" fold {record.fold}"
        return plain(
            f"{record.key}  {record.row} {record.class_name} seed {record.seed}{fold}, "
            f"{record.status}, started {record.started}"
        )

    print_lines(console, [("A", said(a)), ("B", said(b))])
    console.print()


def _table(found: Sequence[Difference]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for heading in ("", "differs", "A", "B"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "")
    group, count = "", 0
    for one in found:
        count = count + 1 if one.group == group else 1
        if count > MOST_LINES:
            continue
        heading = "" if one.group == group else one.group
        group = one.group
        cells = (heading, one.name, _short(one.a), _short(one.b))
        table.add_row(*(Text(plain(cell)) for cell in cells))
        total = sum(other.group == group for other in found)
        if count == MOST_LINES and total > count:
            table.add_row("", Text(f"… {total - count} more", style="dim"))
    return table


def _short(value: str) -> str:
    """Return a value with digests cut to what tells them apart."""
    return _DIGEST.sub(lambda found: found[0][:16], value)


def _agreements(
    store: RunStore, a: RunRecord, other: RunStore, b: RunRecord
) -> tuple[list[Agreement] | None, str]:
    """Return how the predictions compare, or why they were not compared."""
    from aqabench.runs.difference import agreements

    for name, record in (("A", a), ("B", b)):
        if record.status == "failed":
            return None, f"{name} has failed and has no predictions."
    if a.dataset != b.dataset or a.identity["data_digest"] != b.identity["data_digest"]:
        return None, "The data differ, so the predictions are not compared."
    if a.class_name != b.class_name:
        return None, "The classes differ, so the predictions are not compared."
    return agreements(store.predictions(a), other.predictions(b)), ""


def _predictions(agreed: list[Agreement] | None, why: str) -> Iterator[str]:
    if agreed is None:
        yield f"\nPredictions: {why}"
        return
    yield "\nPredictions, by rule and part"
    for one in agreed:
        where = f"  {one.rule:<6} {one.part:<5}"
        if one.identical:
            yield f"{where} identical ({one.shared:,})"
            continue
        parts = []
        if one.unequal:
            parts.append(
                f"{one.unequal:,} of {one.shared:,} differ, by at most {one.largest:.3g} points "
                f"({plain(one.scenario)}, sample {plain(one.sample)})"
            )
        elif one.shared:
            parts.append(f"{one.shared:,} identical")
        for name, count in (("A", one.only_a), ("B", one.only_b)):
            if count:
                parts.append(f"{count:,} only in {name}")
        if not one.scores:
            parts.append("the judges' scores differ, too")
        yield f"{where} {'; '.join(parts)}"
