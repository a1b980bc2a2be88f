"""``aqabench runs list``: what is in the store, newest first."""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from aqabench.cli.options import store_option
from aqabench.cli.runs.chosen import Filters, filter_options, key_digits, open_store
from aqabench.cli.runs.words import plain, runs, when

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from aqabench.runs.index import Found, Summary
    from aqabench.runs.store import RunStore

SCREEN = 50
"""Runs that a terminal shows unless more are asked for."""


@click.command("list")
@filter_options()
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    help=f"Show so many, 0 for all. Default: {SCREEN} in a terminal, all in json and csv.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["terminal", "json", "csv"]),
    default="terminal",
    show_default=True,
)
@store_option
def command(filters: Filters, limit: int | None, form: str, store_folder: Path | None) -> None:
    """List stored runs, newest first.

    What all shown runs have in common is said once, above the table. KEY is the beginning of the
    run's key, which 'aqabench runs show' and 'diff' take.
    """
    from rich.console import Console

    store = open_store(store_folder)
    with Console(stderr=True).status("reading the store"):
        found = filters.look(store)
    chosen = [one for one in found.summaries if filters(one)]
    chosen.sort(key=lambda one: (one.started, one.place), reverse=True)
    most = limit if limit is not None else SCREEN if form == "terminal" else 0
    shown = chosen[:most] if most else chosen
    if form == "json":
        _json(shown, store)
    elif form == "csv":
        _csv(shown, store)
    else:
        _terminal(Console(), store, found, filters, chosen, shown)


def _plain(one: Summary, store: RunStore) -> dict[str, Any]:
    return {**one._asdict(), "folder": f"{store.root}/{one.place}"}


def _json(shown: Sequence[Summary], store: RunStore) -> None:
    lines = (json.dumps(_plain(one, store), ensure_ascii=False) for one in shown)
    click.echo("[\n" + ",\n".join(lines) + "\n]")


def _csv(shown: Sequence[Summary], store: RunStore) -> None:
    from aqabench.runs.index import Summary

    writer = csv.DictWriter(sys.stdout, [*Summary._fields, "folder"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(_plain(one, store) for one in shown)


def _terminal(
    console: Console,
    store: RunStore,
    found: Found,
    filters: Filters,
    chosen: Sequence[Summary],
    shown: Sequence[Summary],
) -> None:
    def say(text: str, style: str = "") -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True, style=style)

    if not (found.summaries or found.torn or found.unreadable):
        say(
            f"There are no runs in {store.root} yet. Make some: "
            "aqabench run --method mcmoe --protocol fisv-missing"
        )
        return
    if shown:
        digits = key_digits([one.key for one in found.summaries])
        common, table = _table(shown, digits)
        if common:
            say(common, "italic")
        console.print(table)
    statuses = Counter(one.status for one in chosen)
    counts = ", ".join(f"{count:,} {status}" for status, count in sorted(statuses.items()))
    if chosen:
        of = f" of {len(found.summaries):,}" if len(chosen) < len(found.summaries) else ""
        say(f"{runs(len(chosen))}{of}: {counts}.")
    elif found.summaries:
        say(f"None of the {runs(len(found.summaries))} is like this.")
    if len(shown) < len(chosen):
        say(f"These are the newest {len(shown):,}. For all of them: --limit 0")
    torn = sum(filters.torn(place) for place in found.torn)
    if torn:
        say(
            f"{runs(torn)} without a record, being done or cut off. The same 'aqabench run' goes "
            "on; to delete what is left of them: aqabench runs prune --torn"
        )
    if found.unreadable:
        path, problem = found.unreadable[0]
        say(
            f"{len(found.unreadable):,} files are no run records of this version, e.g. "
            f"{plain(path)} ({plain(problem)}). Move such folders away.",
            "red",
        )


def _table(shown: Sequence[Summary], digits: int) -> tuple[str, Table]:
    """Return what all runs have in common, and a table of what tells them apart."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    columns = {
        "protocol": [one.protocol for one in shown],
        "data": ["sim" if one.data_kind == "simulated" else one.data_kind for one in shown],
        "budget": [one.budget for one in shown],
        "status": [one.status for one in shown],
        "seed": [str(one.seed) for one in shown],
        "fold": ["" if one.fold is None else str(one.fold) for one in shown],
    }
    said, apart = [], {}
    for name, values in columns.items():
        if len(set(values)) > 1:
            apart[name] = values
        elif values[0]:
            said.append(
                f"{name} {'simulated' if name == 'data' and values[0] == 'sim' else values[0]}"
            )
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    cells = {
        "key": [one.key[:digits] for one in shown],
        "method": [one.row for one in shown],
        "class": [one.class_name for one in shown],
        **{name: apart.pop(name) for name in ("seed", "fold") if name in apart},
        **apart,
        "when (UTC)": [when(one.started) for one in shown],
    }
    for name in cells:
        number = name in ("seed", "fold")
        whole = name in ("key", "seed", "fold", "data", "budget", "status", "when (UTC)")
        table.add_column(
            name, no_wrap=whole, overflow="fold", justify="right" if number else "left"
        )
    for one, row in zip(shown, zip(*cells.values(), strict=True), strict=True):
        style = "red" if one.status == "failed" else ""
        table.add_row(*(Text(plain(cell)) for cell in row), style=style)
    return " · ".join(said), table
