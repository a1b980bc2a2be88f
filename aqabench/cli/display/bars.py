"""A line for every run that is on: bar, epoch, curve so far, time left; and one for all runs.

Lines fit a terminal of 80 columns.  Where a name does not, the method's part of it is cut: class
and seed are what tells the runs of a sweep apart.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column

from aqabench.cli.display.endings import Endings

if TYPE_CHECKING:
    from aqabench.runs.listener import Progress as Step
    from aqabench.runs.plan import RunSpec
    from aqabench.runs.record import RunRecord

BLOCKS = "▁▂▃▄▅▆▇█"
LOOKS = 12
"""Looks that a sparkline has room for."""
EPOCH, CURVE, LEFT = len("epoch 9999"), LOOKS + len(" -0.12"), len("99:59:59")
"""Widths of columns."""
SHORTEST_BAR, SHORTEST_NAME = 10, 18
ECHO = len("^C")
"""Room for what a terminal writes for Ctrl-C: a line that it breaks would stay on the screen."""
ALL = "all runs"
DRAWN_PER_SECOND = 10


class RunBars:
    """A listener that draws."""

    def __init__(self, console: Console, plan: Sequence[RunSpec]) -> None:
        """Prepare; nothing is drawn before the ``with`` block."""
        self._console = console
        self._endings = Endings(len(plan), self._line)
        gaps = 4
        room = console.width - EPOCH - CURVE - LEFT - gaps - ECHO
        longest = max(len(spec.label) for spec in plan)
        self._name = max(SHORTEST_NAME, min(room - SHORTEST_BAR, longest))
        self._bars = Progress(
            TextColumn("{task.description}", table_column=Column(width=self._name, no_wrap=True)),
            BarColumn(bar_width=max(SHORTEST_BAR, room - self._name)),
            TextColumn(
                "{task.fields[where]}",
                justify="right",
                table_column=Column(width=EPOCH, no_wrap=True),
            ),
            TextColumn(
                "{task.fields[curve]}",
                style="cyan",
                table_column=Column(width=CURVE, no_wrap=True),
            ),
            TimeRemainingColumn(compact=True, table_column=Column(width=LEFT, no_wrap=True)),
            console=console,
            transient=True,
            # a thread that draws while this one writes a line may take that line away
            auto_refresh=False,
        )
        self._drawn = 0.0
        self._all = self._bars.add_task(ALL, total=len(plan), where="", curve="")
        self._own: dict[str, TaskID] = {}
        self._curve: dict[str, list[float]] = {}
        self._part: dict[str, float] = {}

    def __enter__(self) -> Self:
        """Begin to draw."""
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the screen as it was."""
        self._bars.stop()
        self._endings.sum_up()

    def say(self, what: str) -> None:
        """Say what is going on: in place of a name, or in a line of its own once runs are on."""
        if self._own:
            self._line(what)  # the next step of a run would take it away
        else:
            self._bars.update(self._all, description=escape(what), refresh=True)

    def run_started(self, spec: RunSpec, number: int, total: int) -> None:
        """Add a line."""
        self._endings.started(spec)
        self._own[spec.key] = self._bars.add_task(
            escape(self._short(spec)), total=None, where="starting", curve=""
        )
        self._curve[spec.key] = []
        self._count()
        self._bars.refresh()

    def run_waits(self, spec: RunSpec) -> None:
        """Say that somebody else is at it."""
        self._bars.update(self._own[spec.key], where="elsewhere", refresh=True)

    def run_progress(self, spec: RunSpec, progress: Step) -> None:
        """Move the bar of the run, and a fraction of the bar of all runs."""
        if progress.steps <= 0:
            return
        self._bars.update(
            self._own[spec.key],
            total=progress.steps,
            completed=progress.step,
            where=f"epoch {progress.epoch}",
        )
        self._part[spec.key] = min(1.0, progress.step / progress.steps)
        self._count()
        now = time.monotonic()
        if not 0 <= now - self._drawn < 1 / DRAWN_PER_SECOND:
            self._drawn = now
            self._bars.refresh()

    def run_looked(self, spec: RunSpec, epoch: int, srcc: float) -> None:
        """Make the curve longer."""
        self._curve[spec.key].append(srcc)
        curve = f"{sparkline(self._curve[spec.key])} {srcc:.2f}"
        self._bars.update(self._own[spec.key], curve=curve)

    def run_ended(self, spec: RunSpec, record: RunRecord, was_stored: bool) -> None:
        """Take the line away and say how it ended."""
        self._part.pop(spec.key, None)
        if spec.key in self._own:
            self._bars.remove_task(self._own.pop(spec.key))
        self._endings.ended(spec, record, was_stored)
        self._count()
        self._bars.refresh()

    def _short(self, spec: RunSpec) -> str:
        """Return what people call the run; the method is cut to make it fit."""
        label, method = spec.label, spec.row
        if len(label) <= self._name:
            return label
        rest = label[len(method) :]
        return f"{method[: max(0, self._name - len(rest) - 1)]}…{rest}"

    def _count(self) -> None:
        done = self._endings.count + sum(self._part.values())
        where = f"{self._endings.count}/{self._endings.total}"
        self._bars.update(self._all, description=ALL, completed=done, where=where)

    def _line(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False)


def sparkline(values: Sequence[float]) -> str:
    """Return the last values as blocks of eight heights, from the lowest to the highest."""
    shown = list(values)[-LOOKS:]
    low, high = min(shown), max(shown)
    span = high - low or 1.0
    return "".join(BLOCKS[round((v - low) / span * (len(BLOCKS) - 1))] for v in shown)
