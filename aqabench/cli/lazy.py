"""Groups of verbs, each in a file of its own that is imported when the verb is used."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import rich_click as click


class LazyGroup(click.RichGroup):
    """A group whose verbs are the ``command`` of modules."""

    def __init__(self, *arguments: Any, verbs: Mapping[str, str], **options: Any) -> None:
        """Keep verb -> module, in the order people need them."""
        super().__init__(*arguments, **options)
        self.verbs = dict(verbs)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs."""
        return list(self.verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of a verb."""
        if cmd_name not in self.verbs:
            return None
        command: click.Command = importlib.import_module(self.verbs[cmd_name]).command
        return command
