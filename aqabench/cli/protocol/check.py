"""``aqabench protocol check``: is a file without fault, and is a shipped protocol as locked?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import rich_click as click

from aqabench.cli.options import PROTOCOL

if TYPE_CHECKING:
    from rich.console import Console


@click.command("check")
@click.argument("protocols", type=PROTOCOL, nargs=-1, metavar="[FILE|NAME]...")
def command(protocols: tuple[str, ...]) -> int:
    """Check protocols: your YAML files for faults, shipped ones against the lock.

    Every fault of a file is printed with line and column. Without arguments all shipped protocols
    are checked: none may change without a new version.

    Exit code: 0 all fine, 1 something is wrong.
    """
    from rich.console import Console

    from aqabench.protocol.library import protocol_names
    from aqabench.protocol.lock import check_lock

    console = Console()
    shipped = set(protocol_names())
    names = [name for name in protocols if name in shipped]
    files = [name for name in protocols if name not in shipped]
    wrong = [fault for file in files if (fault := _file_fault(console, file))]
    if names or not protocols:
        with console.status("drawing the tables of the shipped protocols"):
            stale = check_lock(names or None)
        wrong += stale
        if not stale:
            what = ", ".join(names) if names else f"{len(shipped)} shipped protocols"
            _say(console, [f"{what}: as locked"])
    _say(console, wrong)
    return 1 if wrong else 0


def _file_fault(console: Console, file: str) -> str:
    """Return what is wrong with a file, every fault on a line; say it if nothing is."""
    from aqabench.errors import ProtocolError
    from aqabench.protocol.library import load_protocol
    from aqabench.protocol.scenarios import scenarios

    try:
        asked = load_protocol(file)
    except ProtocolError as error:
        return str(error)
    count = len(scenarios(asked.protocol, asked.dataset))
    many = "1 scenario" if count == 1 else f"{count} scenarios"
    _say(
        console, [f"{file}: no fault, {many} on {asked.dataset.title}, digest {asked.digest[:16]}"]
    )
    return ""


def _say(console: Console, sentences: Iterable[str]) -> None:
    for sentence in sentences:
        console.print(sentence, highlight=False, markup=False, soft_wrap=True)
