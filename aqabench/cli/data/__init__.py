"""``aqabench data``: real features, imported once and checked whenever they are used."""

from __future__ import annotations

import importlib

import rich_click as click

VERBS = {
    "status": "aqabench.cli.data.status",
    "import": "aqabench.cli.data.importing",
    "verify": "aqabench.cli.data.verify",
    "show": "aqabench.cli.data.show",
    "export": "aqabench.cli.data.export",
}


class Verbs(click.RichGroup):
    """Imports the file of a verb when the verb is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order people need them."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of a verb."""
        if cmd_name not in VERBS:
            return None
        command: click.Command = importlib.import_module(VERBS[cmd_name]).command
        return command


@click.group("data", cls=Verbs)
def command() -> None:
    """See, import, check, look at and export data sets.

    Start here:  aqabench data status
    """
