"""``aqabench data verify``: is every stored byte as it was imported?"""

from __future__ import annotations

import rich_click as click

from aqabench.cli.options import DATASET


@click.command("verify")
@click.argument("names", nargs=-1, type=DATASET)
def command(names: tuple[str, ...]) -> int:
    """Hash every stored file of NAMES (all installed data sets by default) again.

    Exit code: 0 all as imported, 1 something has changed or is absent.
    """
    from rich.console import Console

    from aqabench.data.store import DataStore
    from aqabench.disk import home
    from aqabench.protocol.library import dataset_names, load_dataset

    console, store = Console(), DataStore(home() / "data")
    chosen = names or [n for n in dataset_names() if store.manifest(n) is not None]
    if not chosen:
        console.print("No data set is installed. See: aqabench data status", highlight=False)
    bad = False
    for name in chosen:
        with console.status(f"hashing {name}"):
            problems = store.verify(name)
            if not problems:
                data = store.load(load_dataset(name))
        if problems:
            bad = True
            console.print(f"{name}: NOT as imported", style="red")
            for problem in problems:
                console.print(f"  {problem}", highlight=False, soft_wrap=True)
            console.print(
                f"  Import it again: aqabench data import {name} --from FOLDER", highlight=False
            )
        else:
            console.print(
                f"{name}: {len(data.ids)} samples, every file as imported, "
                f"sha256 {data.digest[:16]}",
                highlight=False,
            )
    return 1 if bad else 0
