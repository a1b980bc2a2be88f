"""``aqabench runs export``: stored runs in one file, for another store."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from aqabench.cli.options import store_option
from aqabench.cli.runs.chosen import Filters, filter_options, open_store
from aqabench.cli.runs.words import plain, runs, size
from aqabench.errors import UsageError

SHOWN = 10
"""Runs that could not be exported of which the reason is printed."""


@click.command("export")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@filter_options()
@click.option("--overwrite", is_flag=True, help="Replace FILE if it is there.")
@store_option
def command(file: Path, filters: Filters, overwrite: bool, store_folder: Path | None) -> int:
    """Write runs into FILE, a zip that 'aqabench runs import' reads.

    Of each run its record, predictions, curve and, if they are kept, weights, and the protocols
    they belong to. Equal runs give equal bytes. Logs, checkpoints and mask tables stay.

    Exit code: 0 fine, 1 a run was left out, 2 wrong usage or nothing to export.
    """
    from rich.console import Console

    from aqabench.runs.exchange import export_runs

    if file.suffix != ".zip":
        raise UsageError(f"The file is a zip, but '{file}' is not called so. Type {file}.zip")
    if file.exists() and not overwrite:
        raise UsageError(f"There is a file {file} already. Choose another name, or --overwrite")
    store, console = open_store(store_folder), Console()
    chosen = [one for one in filters.look(store).summaries if filters(one)]
    if not chosen:
        raise UsageError(
            f"There are no such runs in {store.root}. To see what there is: aqabench runs list"
        )
    with console.status(f"writing {runs(len(chosen))}"):
        done = export_runs(store, chosen, file)

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    say(f"Exported {runs(done.runs)}, {size(done.bytes)}: {file}")
    for place, reason in done.left_out[:SHOWN]:
        say(f"Left out {plain(place)}: {reason}")
    if len(done.left_out) > SHOWN:
        say(f"… and {len(done.left_out) - SHOWN:,} more")
    say(f"To read it: aqabench runs import {file}")
    return 1 if done.left_out else 0
