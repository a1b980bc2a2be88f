"""``aqabench data export``: a data set as a folder that anything can read."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from aqabench.cli.data.chosen import data_option, open_data
from aqabench.cli.options import DATASET

NO_LICENCE = "none needed: simulated, nothing of a real recording is in it"


@click.command("export")
@click.argument("name", type=DATASET)
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="Folder to write: a new or empty one.",
)
@click.option(
    "--format",
    "layout",
    type=click.Choice(["tidy"]),
    default="tidy",
    show_default=True,
    help="tidy: features.safetensors, meta.csv, dataset.yaml and README.txt.",
)
@data_option
@click.option("--npz", is_flag=True, help="features.npz instead of features.safetensors.")
@click.option(
    "--name",
    "new_name",
    metavar="NEW",
    help="What dataset.yaml calls it. Simulated data are always called simulated-….",
)
@click.option("--overwrite", is_flag=True, help="Replace an earlier export in DIR.")
def command(
    name: str,
    folder: Path,
    layout: str,
    wanted: str,
    npz: bool,
    new_name: str | None,
    overwrite: bool,
) -> None:
    """Write data set NAME into a folder that other programs, and 'aqabench data import', read.

    Features and scores come back to the bit. The licence of the data goes with them: look at it
    before you pass the folder on.
    """
    from rich.console import Console

    from aqabench.data.export import export_tidy, is_simulated

    console = Console()
    with console.status(f"opening {name}"):
        chosen = open_data(name, wanted)
    licence = chosen.manifest.licence if chosen.manifest else NO_LICENCE
    with console.status(f"writing {folder}"):
        done = export_tidy(
            chosen.data,
            chosen.spec,
            folder,
            licence=licence,
            name=new_name,
            npz=npz,
            overwrite=overwrite,
        )
    kind = "SIMULATED" if is_simulated(chosen.data) else "REAL"
    console.print(
        f"Exported {chosen.spec.title}, {kind} data, {len(chosen.data.ids)} samples of "
        f"{', '.join(chosen.data.features)}: {done.bytes / 2**20:,.1f} MiB in {done.folder} "
        f"({layout} format)",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    console.print(f"  licence: {licence}", highlight=False, markup=False, soft_wrap=True)
    console.print(
        f"To read it again: aqabench data import {done.name} --from '{done.folder}'",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
