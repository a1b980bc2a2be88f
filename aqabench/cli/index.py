"""``aqabench index``: make the index of the store anew."""

from __future__ import annotations

import time
from pathlib import Path

import rich_click as click

from aqabench.cli.options import store_option


@click.command("index")
@store_option
def command(store_folder: Path | None) -> None:
    """Make the index of the store anew, from the records alone.

    There is no need to: a store of a thousand runs or more makes its index by itself and keeps it
    up to date. It is never believed over the records, and may be deleted at any time.
    """
    from rich.console import Console

    from aqabench.runs.index import RunIndex
    from aqabench.runs.store import RunStore

    store = RunStore(store_folder) if store_folder else RunStore.default()
    console = Console()
    if not store.root.is_dir():
        console.print(f"There are no runs in {store.root} yet.", highlight=False, soft_wrap=True)
        return
    start = time.perf_counter()
    with console.status("reading every record"):
        index = RunIndex(store.root)
        count = index.rebuild()
    console.print(
        f"{count:,} runs in {time.perf_counter() - start:.1f} s, "
        f"{index.path.stat().st_size / 2**20:,.1f} MiB: {index.path}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
