"""``aqabench protocol diff``: in what do two protocols differ, and may their runs be compared?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import rich_click as click

from aqabench.cli.options import PROTOCOL

if TYPE_CHECKING:
    from aqabench.protocol.document import Plain
    from aqabench.protocol.library import Asked

Difference = tuple[str, str, str]
"""Dotted path, and the value on each side."""
ABSENT = "–"


@click.command("diff")
@click.argument("first", type=PROTOCOL, metavar="A")
@click.argument("second", type=PROTOCOL, metavar="B")
def command(first: str, second: str) -> None:
    """List the fields in which protocols A and B differ, those of their data sets included.

    A and B are names or YAML files. Texts, seeds, the budget and what a data set merely offers are
    marked: they change no number. Runs may be compared when the digests are equal.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from aqabench.protocol.library import load_protocol

    console = Console()
    a, b = load_protocol(first), load_protocol(second)
    found = list(differences(a, b))
    if found:
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
        for heading in ("field", first, second, "counts"):
            table.add_column(Text(heading), overflow="fold", no_wrap=heading == "field")
        for path, left, right in found:
            table.add_row(Text(path), Text(left), Text(right), "yes" if counts(path) else "no")
        console.print(table)
    else:
        console.print("No field differs.")
    console.print(_verdict(a, b), highlight=False, markup=False)


def differences(a: Asked, b: Asked) -> Iterator[Difference]:
    """Yield the fields that differ; those of the data sets begin with ``dataset.``.

    The protocol's own field ``dataset`` is the name.  Classes and streams are matched by name.
    """
    from aqabench.protocol.digest import plain

    yield from _differing(plain(a.protocol), plain(b.protocol), "")
    yield from _differing(plain(a.dataset), plain(b.dataset), "dataset")


def counts(path: str) -> bool:
    """Can a difference in this field change a number, and so the digest?"""
    from aqabench.protocol.library import OFFERED, PROSE

    inside = path.removeprefix("dataset.")
    free = PROSE | (OFFERED if inside != path else {"seeds", "budget"})
    return inside.split(".")[0].split("[")[0] not in free


def _differing(a: Plain, b: Plain, path: str) -> Iterator[Difference]:
    if a == b:
        return
    left, right = _keyed(a), _keyed(b)
    if left is None or right is None:
        yield path, _written(a), _written(b)
        return
    order_left = [key for key in left if key in right]
    order_right = [key for key in right if key in left]
    if isinstance(a, list) and order_left != order_right:
        yield path, ", ".join(order_left), ", ".join(order_right)
    for key in dict.fromkeys((*left, *right)):
        inside = f"{path}[{key}]" if isinstance(a, list) else f"{path}.{key}" if path else key
        if key in left and key in right:
            yield from _differing(left[key], right[key], inside)
        else:
            yield inside, _part(left, key), _part(right, key)


def _part(side: dict[str, Plain], key: str) -> str:
    return _written(side[key]) if key in side else ABSENT


def _keyed(value: Plain) -> dict[str, Plain] | None:
    """Return the parts of a mapping, or of a list of mappings by name or place; else None."""
    if isinstance(value, dict):
        return value
    if not isinstance(value, list) or not value:
        return None
    found: dict[str, Plain] = {}
    for i, item in enumerate(value):
        if not isinstance(item, dict):
            return None
        found[str(item.get("name", i))] = item
    return found


def _written(value: Plain) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _verdict(a: Asked, b: Asked) -> str:
    if a.digest == b.digest:
        return f"The digests are equal ({a.digest[:16]}): runs under the two may be compared."
    return (
        f"The digests differ ({a.digest[:16]} and {b.digest[:16]}): runs under one may not be "
        "compared with runs under the other."
    )
