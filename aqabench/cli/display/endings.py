"""How runs ended, a line for each; those that were stored before make one line together."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aqabench.runs.plan import RunSpec
    from aqabench.runs.record import RunRecord

__all__ = ["Endings", "duration"]


class Endings:
    """Counts and words that bars and plain lines share."""

    def __init__(self, total: int, write: Callable[[str], None]) -> None:
        """Prepare.

        Args:
            total: runs of the plan.
            write: writes a line.
        """
        self.count, self.total = 0, total
        self._write = write
        self._stored = 0
        self._began: dict[str, float] = {}

    def started(self, spec: RunSpec) -> None:
        """Take the time."""
        self.sum_up()
        self._began[spec.key] = time.monotonic()

    def seconds(self, spec: RunSpec) -> float:
        """Return how long a run has been on."""
        return max(0.0, time.monotonic() - self._began[spec.key])

    def ended(self, spec: RunSpec, record: RunRecord, was_stored: bool) -> None:
        """Say how a run ended, at once or together with others."""
        self.count += 1
        if spec.key not in self._began:
            self._stored += 1
            return
        how = f"done in {duration(self.seconds(spec))}"
        if was_stored:
            how = "done by another process"
        elif record.status == "failed":
            how = f"FAILED: {record.error}"
        del self._began[spec.key]
        self._write(f"[{self.count}/{self.total}] {spec.label}: {how}")

    def sum_up(self) -> None:
        """Say once how many runs were stored before."""
        if self._stored:
            self._write(f"{self._stored} of {self.total} runs are stored already.")
            self._stored = 0


def duration(seconds: float) -> str:
    """Return a time in words, with two digits or three."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
