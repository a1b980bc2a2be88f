"""``aqabench protocol``: make a question of your own, check it, compare it, look at its masks."""

from __future__ import annotations

import rich_click as click

from aqabench.cli.lazy import LazyGroup

VERBS = {
    "new": "aqabench.cli.protocol.new",
    "check": "aqabench.cli.protocol.check",
    "diff": "aqabench.cli.protocol.diff",
    "show": "aqabench.cli.protocol.show",
}


@click.group("protocol", cls=LazyGroup, verbs=VERBS)
def command() -> None:
    """Write, check, compare and look at protocols.

    Start here:  aqabench protocol show fisv-missing
    """
