"""``aqabench runs``: what is in the store, and what differs; tidying it, and passing it on."""

from __future__ import annotations

import rich_click as click

from aqabench.cli.lazy import LazyGroup

VERBS = {
    "list": "aqabench.cli.runs.listing",
    "show": "aqabench.cli.runs.show",
    "diff": "aqabench.cli.runs.diff",
    "prune": "aqabench.cli.runs.prune",
    "export": "aqabench.cli.runs.export",
    "import": "aqabench.cli.runs.importing",
}


@click.group("runs", cls=LazyGroup, verbs=VERBS)
def command() -> None:
    """List, look at, compare, tidy, export and import stored runs.

    Start here:  aqabench runs list
    """
