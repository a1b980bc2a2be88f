"""``aqabench data import``: from a published folder into the feature store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from aqabench.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from aqabench.data.importer import ImportOptions
    from aqabench.data.manifest import Manifest
    from aqabench.data.store import DataStore
    from aqabench.protocol.schema import DatasetSpec


@click.command("import")
@click.argument("name")
@click.option(
    "--from",
    "folder",
    type=click.Path(path_type=Path),
    help="The folder as the authors publish it, or a tidy one of your own.",
)
@click.option(
    "--format",
    "layout",
    help="dicts, gdlt, fs1000, ms-lstm, percepiano-midi, converted or tidy. Default: recognised.",
)
@click.option(
    "--feature-set",
    type=click.Choice(["1", "2"]),
    help="Where a folder holds both: 1 is VST/I3D/AST, 2 is UNMT/I3D/MAST.",
)
@click.option(
    "--groups",
    "groups_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="CSV with sample_id and who performs (athlete, event); also without --from.",
)
@click.option(
    "--group-column",
    "group_columns",
    multiple=True,
    metavar="KIND=COLUMN[+COLUMN]",
    help="Which columns of that file make a label. May be repeated.",
)
@click.option("--float16", is_flag=True, help="Half the disk; the rounding error is recorded.")
@click.option(
    "--trim",
    type=click.IntRange(min=0),
    default=0,
    metavar="CLIPS",
    help="Cut the streams of a sample to the shortest where they differ by at most so many clips.",
)
@click.option("--leave-out-extra", is_flag=True, help="Leave out features that no list names.")
@click.option(
    "--report", type=click.Path(path_type=Path, dir_okay=False), help="Every problem, as CSV."
)
def command(
    name: str,
    folder: Path | None,
    layout: str | None,
    feature_set: str | None,
    groups_file: Path | None,
    group_columns: tuple[str, ...],
    float16: bool,
    trim: int,
    leave_out_extra: bool,
    report: Path | None,
) -> None:
    """Read data set NAME from a folder into the feature store.

    Everything wrong with the folder is listed at once, and nothing is imported until it is whole.
    What has been read is kept, so the same command goes on after Ctrl-C or a mended file. NAME is
    one of 'aqabench data status', or a new one for tidy data of your own.
    """
    from rich.console import Console

    from aqabench.data.groups import read_groups
    from aqabench.data.importer import ImportOptions
    from aqabench.data.store import DataStore
    from aqabench.disk import home

    console, store = Console(), DataStore(home() / "data")
    columns = _group_columns(group_columns)
    if folder is None:
        if groups_file is None:
            raise UsageError(
                f"'aqabench data import {name}' needs a folder: --from FOLDER (or --groups FILE to "
                f"add labels to an import). What to get, and where: aqabench data status {name}"
            )
        spec = _spec(name, None, None)
        manifest = store.manifest(name)
        ids = manifest.ids if manifest else ()
        manifest = store.set_groups(name, read_groups(groups_file, spec, ids, columns))
        console.print(f"{spec.title} now has labels of {', '.join(manifest.groups)}.")
        return
    spec = _spec(name, folder, layout)
    options = ImportOptions(
        layout, feature_set, float16, trim, leave_out_extra, groups_file, columns, report
    )
    manifest = _with_bar(console, folder, spec, store, options)
    _say(console, spec, store, manifest)


def _spec(name: str, folder: Path | None, layout: str | None) -> DatasetSpec:
    """Return the data set of a name; a tidy folder may bring a new one."""
    from aqabench.data.readers import tidy
    from aqabench.errors import UnknownNameError
    from aqabench.protocol.library import load_dataset, shipped_dataset_names

    if folder is not None and name not in shipped_dataset_names():
        if layout == "tidy" or (folder / tidy.META).is_file():
            return tidy.describe(name, folder)
        if layout is None:
            raise UnknownNameError(
                "data set", name, shipped_dataset_names(),
                "aqabench data status. To bring data of your own: --format tidy, see docs/data.md",
            )  # fmt: skip
    return load_dataset(name)


def _group_columns(given: tuple[str, ...]) -> dict[str, list[str]]:
    columns = {}
    for item in given:
        kind, sign, names = item.partition("=")
        if not sign or not kind or not names:
            raise UsageError(f"'--group-column {item}' must be of the form KIND=COLUMN[+COLUMN]")
        columns[kind] = names.split("+")
    return columns


def _with_bar(
    console: Console, folder: Path, spec: DatasetSpec, store: DataStore, options: ImportOptions
) -> Manifest:
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from aqabench.data.importer import import_release

    columns = (
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("opening")
        return import_release(
            folder,
            spec,
            store,
            options,
            lambda what, done, total: bar.update(
                task, description=what, completed=done, total=total
            ),
        )


def _say(console: Console, spec: DatasetSpec, store: DataStore, manifest: Manifest) -> None:
    from rich.text import Text

    streams = ", ".join(f"{m} {s.width} {s.dtype}" for m, s in manifest.streams.items())
    console.print(
        f"Imported {spec.title}: {manifest.samples} samples, {manifest.clips} clips, {streams} "
        f"({manifest.layout} release) into {store.folder(spec.name)}",
        highlight=False,
        soft_wrap=True,
    )
    for name, stream in manifest.streams.items():
        if stream.float16_error:
            console.print(
                f"  {name}: float16 moved a value by at most {stream.float16_error:.2g}",
                highlight=False,
            )
    for note in manifest.notes:
        console.print(Text(f"  note: {note}"))
    console.print(f"  licence: {manifest.licence}", highlight=False, markup=False)
    console.print(f"Look at it: aqabench data show {spec.name}", highlight=False)
