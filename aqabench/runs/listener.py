"""Who wants to know what happens while a plan is executed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from aqabench.runs.plan import RunSpec
from aqabench.runs.record import RunRecord

if TYPE_CHECKING:
    from aqabench.train.context import Progress


class Listener(Protocol):
    """Told of every start, step, look and end, run by run; runs may overlap."""

    def run_started(self, spec: RunSpec, number: int, total: int) -> None:
        """A run begins; ``number`` is its place in the plan, from 1."""

    def run_waits(self, spec: RunSpec) -> None:
        """Another process is doing this run; its result will be taken."""

    def run_progress(self, spec: RunSpec, progress: Progress) -> None:
        """A run has done a step."""

    def run_looked(self, spec: RunSpec, epoch: int, srcc: float) -> None:
        """A run was scored: mean Spearman by which epochs are compared (validation, else test)."""

    def run_ended(self, spec: RunSpec, record: RunRecord, was_stored: bool) -> None:
        """A run is in the store, because it was done now or before."""
