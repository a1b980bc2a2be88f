"""``aqabench list``: what there is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import rich_click as click

from aqabench.cli.options import plugins_option


@click.command("list")
@click.argument("what", type=click.Choice(["methods", "protocols", "datasets"]))
@plugins_option
def command(what: str, plugins: tuple[Path, ...]) -> None:
    """List all methods, protocols or data sets.

    A method whose file is broken stays in the list, with the reason.
    """
    from rich.console import Console

    table = {"methods": _methods, "protocols": _protocols, "datasets": _datasets}[what](plugins)
    Console().print(table)


def _methods(plugins: tuple[Path, ...]):  # type: ignore[no-untyped-def]
    from aqabench.method.probe import probe
    from aqabench.method.registry import discover

    table = _table("name", "kind", "idea")
    for entry in sorted(probe(discover(plugins)).entries, key=lambda e: (bool(e.error), e.name)):
        if entry.error or entry.card is None:
            table.add_row(f"[red]{entry.name}[/]", "[red]BROKEN[/]", entry.error)
        else:
            table.add_row(entry.name, entry.card.kind, entry.card.summary)
    return table


def _protocols(_: tuple[Path, ...]):  # type: ignore[no-untyped-def]
    from aqabench.errors import AqabenchError
    from aqabench.protocol.library import load_protocol, protocol_names
    from aqabench.protocol.scenarios import scenarios

    table = _table("name", "classes", "scenarios", "title")
    for name in protocol_names():
        try:
            asked = load_protocol(name)
        except AqabenchError as error:
            table.add_row(f"[red]{name}[/]", "", "[red]BROKEN[/]", str(error))
            continue
        kinds = list(dict.fromkeys(spec.kind for spec in asked.protocol.scenarios))
        count = len(scenarios(asked.protocol, asked.dataset))
        asks = f"{count} {', '.join(kinds)}"
        table.add_row(name, _short(asked.protocol.classes), asks, asked.protocol.title)
    return table


MANY = 8
"""Names up to which a list spells all of them."""


def _datasets(_: tuple[Path, ...]):  # type: ignore[no-untyped-def]
    from aqabench.data.store import DataStore
    from aqabench.disk import home
    from aqabench.protocol.library import dataset_names, load_dataset

    table = _table("name", "title", "classes", "streams", "installed")
    store = DataStore(home() / "data")
    for name in dataset_names():
        spec, manifest = load_dataset(name), store.manifest(name)
        installed = ", ".join(manifest.streams) if manifest else "no (simulated instead)"
        streams = ", ".join(f"{m.name} {m.width}" for m in spec.modalities)
        table.add_row(name, spec.title, _short([c.name for c in spec.classes]), streams, installed)
    return table


def _short(names: Sequence[str]) -> str:
    """Return names that fit a column; of very many the first and their number."""
    return " ".join(names) if len(names) <= MANY else f"{names[0]} … ({len(names)} in all)"


def _table(*columns: str):  # type: ignore[no-untyped-def]
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for i, name in enumerate(columns):
        table.add_column(name, no_wrap=i == 0, overflow="fold")
    return table
