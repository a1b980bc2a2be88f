"""``aqabench data``: real features, imported once and checked whenever they are used."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from aqabench.cli.options import DATASET


@click.group("data")
def command() -> None:
    """Import real feature releases and see what is installed."""


@command.command("import")
@click.argument("name", type=DATASET)
@click.option(
    "--from",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="The folder as the authors publish it.",
)
def import_(name: str, folder: Path) -> None:
    """Read the release of data set NAME from a folder into the feature store.

    Everything wrong with the folder is listed at once, and nothing is imported until it is whole.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from aqabench.data.readers import read_release
    from aqabench.data.store import DataStore
    from aqabench.disk import home
    from aqabench.protocol.library import load_dataset

    console, spec, store = Console(), load_dataset(name), DataStore(home() / "data")
    columns = (TextColumn("reading"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("")
        release = read_release(
            folder, spec, lambda done, total: bar.update(task, completed=done, total=total)
        )
    manifest = store.add(spec, release)
    console.print(
        f"Imported {spec.title}: {manifest.videos} videos, {manifest.clips} clips, "
        f"{', '.join(f'{m} {w}' for m, w in manifest.modalities.items())} ({manifest.layout} "
        f"release) into {store.folder(name)}",
        highlight=False,
        soft_wrap=True,
    )


@command.command("status")
def status() -> None:
    """Say which data sets are installed, and where the others are expected."""
    from rich.console import Console
    from rich.table import Table

    from aqabench.data.store import DataStore
    from aqabench.disk import home
    from aqabench.protocol.library import dataset_names, load_dataset

    store = DataStore(home() / "data")
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("data set", "installed", "where"):
        table.add_column(heading, overflow="fold")
    for name in dataset_names():
        manifest = store.manifest(name)
        installed = (
            f"{', '.join(manifest.modalities)}; {manifest.videos} videos"
            if manifest
            else f"no: aqabench data import {name} --from FOLDER"
        )
        table.add_row(load_dataset(name).title, installed, str(store.folder(name)))
    Console().print(table)
