"""``aqabench runs import``: runs from a file that another store has written."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from aqabench.cli.options import store_option
from aqabench.cli.runs.chosen import open_store
from aqabench.cli.runs.words import plain, runs

SHOWN = 10
"""Refused runs of which the reason is printed."""


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@store_option
def command(file: Path, store_folder: Path | None) -> int:
    """Take the runs in FILE, which 'aqabench runs export' has written, into the store.

    Every run is checked before it enters: its record, its key, its predictions, its protocol. What
    is stored already stays as it is. The checks show that a run is whole; whether its numbers are
    honest only a run of your own can show.

    Exit code: 0 fine, 1 a run was refused.
    """
    from rich.console import Console

    from aqabench.runs.exchange import import_runs

    store, console = open_store(store_folder), Console()
    with console.status("checking") as status:
        done = import_runs(
            store, file, lambda number, total: status.update(f"run {number:,} of {total:,}")
        )

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    say(
        f"Imported {runs(len(done.new))}; {len(done.equal):,} were here already; "
        f"{len(done.refused):,} refused. Store: {store.root}"
    )
    if done.protocols:
        say(f"Protocols that came with them: {', '.join(done.protocols)}")
    for place, reason in done.refused[:SHOWN]:
        say(f"Refused {plain(place)}: {plain(reason)}")
    if len(done.refused) > SHOWN:
        say(f"… and {len(done.refused) - SHOWN:,} more")
    if done.new:
        say("To see them: aqabench runs list")
    return 1 if done.refused else 0
