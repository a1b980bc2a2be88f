"""Who wants to know what happens while a plan is executed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from aqabench.runs.plan import RunSpec
from aqabench.runs.record import RunRecord

__all__ = ["Listener", "Progress", "Silent", "Step"]


class Progress(Protocol):
    """How far a run has come; :class:`aqabench.train.context.Progress` for who has no torch."""

    @property
    def step(self) -> int:
        """Steps done."""

    @property
    def steps(self) -> int:
        """Steps of the whole run."""

    @property
    def epoch(self) -> int:
        """The epoch of the step, from 1."""

    @property
    def loss(self) -> Mapping[str, float]:
        """Of the step, by term."""


@dataclass(frozen=True)
class Step:
    """A :class:`Progress` as it was heard of from another process."""

    step: int
    steps: int
    epoch: int
    loss: Mapping[str, float]


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


class Silent:
    """A listener that shows nothing."""

    def run_started(self, spec: RunSpec, number: int, total: int) -> None:
        """Say nothing."""

    def run_waits(self, spec: RunSpec) -> None:
        """Say nothing."""

    def run_progress(self, spec: RunSpec, progress: Progress) -> None:
        """Say nothing."""

    def run_looked(self, spec: RunSpec, epoch: int, srcc: float) -> None:
        """Say nothing."""

    def run_ended(self, spec: RunSpec, record: RunRecord, was_stored: bool) -> None:
        """Say nothing."""
