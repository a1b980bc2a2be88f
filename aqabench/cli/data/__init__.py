"""``aqabench data``: real features, imported once and checked whenever they are used."""

from __future__ import annotations

import rich_click as click

from aqabench.cli.lazy import LazyGroup

VERBS = {
    "status": "aqabench.cli.data.status",
    "import": "aqabench.cli.data.importing",
    "verify": "aqabench.cli.data.verify",
    "show": "aqabench.cli.data.show",
    "export": "aqabench.cli.data.export",
}


@click.group("data", cls=LazyGroup, verbs=VERBS)
def command() -> None:
    """See, import, check, look at and export data sets.

    Start here:  aqabench data status
    """
