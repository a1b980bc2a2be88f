"""``aqabench runs prune``: delete failed runs, what killed ones left, and older versions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from aqabench.cli.options import store_option
from aqabench.cli.runs.chosen import Filters, filter_options, open_store
from aqabench.cli.runs.words import plain, size
from aqabench.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from aqabench.runs.prune import Doomed, Kept

SHOWN = 30
"""Lines that are printed of what would go, and of what stays."""
WORDS = {
    "failed": "failed runs",
    "older": "runs of older versions",
    "torn": "runs cut off",
    "leftover": "files of killed processes",
}


@click.command("prune")
@click.option("--failed", is_flag=True, help="Runs that ended with an error.")
@click.option(
    "--torn", is_flag=True, help="Runs that were cut off, and files that were never put in place."
)
@click.option(
    "--older",
    is_flag=True,
    help="Runs of a method's older versions, where a newer one has finished runs.",
)
@filter_options(status=False)
@click.option("--yes", is_flag=True, help="Delete. Without it nothing is.")
@store_option
def command(
    failed: bool, torn: bool, older: bool, filters: Filters, yes: bool, store_folder: Path | None
) -> None:
    """Show what could go and what it takes; with --yes, delete it.

    Finished runs of the current version of a method are never deleted, nor anything that a process
    is at work on, nor anything outside the store.
    """
    from rich.console import Console

    from aqabench.runs.prune import choose, delete

    if not (failed or torn or older):
        raise UsageError(
            "'aqabench runs prune' needs to be told what may go: --failed, --torn, --older, or "
            "several of them. Nothing is deleted without --yes."
        )
    store, console = open_store(store_folder), Console()
    filters.look(store)
    doomed, kept = choose(
        store,
        failed=failed,
        older=older,
        torn=torn,
        protocol=filters.protocol,
        where=filters,
        torn_where=filters.torn,
    )
    _list(console, doomed)
    if doomed and yes:
        with console.status("deleting"):
            kept += [one for one in delete(doomed) if one is not None]
    _say_kept(console, kept)
    stayed = {one.path for one in kept}
    gone = [one for one in doomed if one.path not in stayed]
    total = size(sum(one.bytes for one in gone))
    if not doomed:
        _say(console, "There is nothing to delete.")
    elif yes:
        _say(console, f"Deleted: {_counts(gone)}, {total}.")
    else:
        _say(console, f"Nothing is deleted yet: {_counts(gone)}, {total}.")
        _say(console, "To delete them, type the same command with --yes.")


def _list(console: Console, doomed: Sequence[Doomed]) -> None:
    for one in doomed[:SHOWN]:
        key = "" if one.kind == "leftover" else f"{one.path.name[:8]}  "
        _say(console, f"{one.kind:<8}  {key}{plain(one.label)}  ({size(one.bytes)})")
    if len(doomed) > SHOWN:
        _say(console, f"… and {len(doomed) - SHOWN:,} more")


def _say_kept(console: Console, kept: Sequence[Kept]) -> None:
    for one in kept[:SHOWN]:
        _say(console, f"Left alone, because {one.reason}: {plain(one.path)}")
    if len(kept) > SHOWN:
        _say(console, f"… and {len(kept) - SHOWN:,} more")


def _counts(doomed: Sequence[Doomed]) -> str:
    counts = Counter(one.kind for one in doomed)
    return ", ".join(f"{counts[kind]:,} {words}" for kind, words in WORDS.items() if counts[kind])


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
