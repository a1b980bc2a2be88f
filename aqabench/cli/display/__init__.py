"""What a person, a log file or a program sees while runs go on."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from aqabench.runs.listener import Listener

if TYPE_CHECKING:
    from rich.console import Console

    from aqabench.runs.plan import RunSpec


class Display(Listener, Protocol):
    """A listener that shows what it hears; used in a ``with`` block."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the screen as it was."""

    def say(self, what: str) -> None:
        """Say what is going on between runs."""


def display_for(progress: str, console: Console, plan: Sequence[RunSpec]) -> Display:
    """Return the display that was asked for.

    Args:
        progress: auto, plain or json; auto draws where the console is a terminal.
        console: where it is drawn.
        plan: the runs.
    """
    if progress == "json":
        from aqabench.cli.display.events import EventLines

        return EventLines()
    if progress == "auto" and console.is_terminal:
        from aqabench.cli.display.bars import RunBars

        return RunBars(console, plan)
    from aqabench.cli.display.plain import PlainLines

    return PlainLines(console, plan)
