"""``aqabench data status``: what is there, what is not, and how to get it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import rich_click as click

from aqabench.cli.options import DATASET

if TYPE_CHECKING:
    from rich.console import Console

    from aqabench.data.store import DataStore
    from aqabench.protocol.schema import DatasetSpec


@click.command("status")
@click.argument("name", type=DATASET, required=False)
def command(name: str | None) -> None:
    """Say which data sets are installed, and what to get for the others.

    With NAME, everything about one: files, who publishes them, hashes of what is installed.
    Nothing is downloaded.
    """
    from rich.console import Console

    from aqabench.data.store import DataStore
    from aqabench.disk import home
    from aqabench.protocol.library import load_dataset

    console, store = Console(), DataStore(home() / "data")
    if name is None:
        _all(console, store)
    else:
        _one(console, store, load_dataset(name))


def _all(console: Console, store: DataStore) -> None:
    from rich.table import Table

    from aqabench.data.simulated import cache_folder
    from aqabench.errors import DataError
    from aqabench.protocol.library import dataset_names, load_dataset

    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("data set", "title", "installed", "streams"):
        table.add_column(heading, overflow="fold")
    for name in dataset_names():
        spec = load_dataset(name)
        try:
            manifest = store.manifest(name)
        except DataError:
            table.add_row(name, spec.title, "unreadable: import it again", "")
            continue
        if manifest is None:
            table.add_row(name, spec.title, "no", ", ".join(m.name for m in spec.modalities))
        else:
            installed = f"{manifest.samples} samples ({manifest.layout})"
            if not store.unchanged(name):
                installed += f"; touched since: aqabench data verify {name}"
            table.add_row(name, spec.title, installed, ", ".join(manifest.streams))
    console.print(table)
    console.print(f"\nImported data lie in {store.root}", highlight=False, soft_wrap=True)
    folder = cache_folder()
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) if folder.is_dir() else 0
    if size:
        console.print(
            f"Simulated data take {size / 2**20:,.0f} MiB in {folder}; delete them at any time.",
            highlight=False,
            soft_wrap=True,
        )
    console.print(
        "How to get one, and what is installed of it: aqabench data status NAME", highlight=False
    )


def _one(console: Console, store: DataStore, spec: DatasetSpec) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    manifest = store.manifest(spec.name)
    table.add_row(spec.name, Text(spec.about))
    if manifest is None:
        table.add_row("installed", "no")
    else:
        streams = ", ".join(f"{m} {s.width} {s.dtype}" for m, s in manifest.streams.items())
        table.add_row("installed", f"{manifest.samples} samples, {manifest.clips} clips: {streams}")
        table.add_row("release", f"{manifest.layout} {manifest.feature_set}".strip())
        table.add_row(
            "labels of", ", ".join(manifest.groups) or "nothing (--groups FILE adds them)"
        )
        table.add_row("lies in", str(store.folder(spec.name)))
        table.add_row("sha256", manifest.digest)
        with console.status("hashing"):
            problems = store.verify(spec.name)
        table.add_row("hashes", "match" if not problems else Text("\n".join(problems)))
        table.add_row("licence", Text(manifest.licence))
        for note in manifest.notes:
            table.add_row("note", Text(note))
    for hint in spec.releases:
        table.add_row()
        table.add_row(f"format {hint.layout}", ", ".join(hint.have))
        table.add_row("  files", Text(hint.files))
        table.add_row("  get", Text(hint.get))
        table.add_row("  licence", Text(hint.licence))
    console.print(table)
    step = (
        f"aqabench data verify {spec.name}"
        if manifest
        else f"aqabench data import {spec.name} --from FOLDER"
    )
    console.print(f"\nNext: {step}", highlight=False)
