"""What the runner gives a method for training: seeds, a budget, and when it may be looked at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from aqabench.seeds import seed
from aqabench.train.checkpoint import Checkpoint
from aqabench.train.device import ON_CPU, Compute


@dataclass(frozen=True)
class Progress:
    """One sign of life from a training run."""

    step: int
    steps: int
    epoch: int
    loss: Mapping[str, float]


@dataclass
class FitContext:
    """What the runner gives a method for training.

    Attributes:
        seed: of this run; use :meth:`generator` for named streams.
        steps: optimiser steps of the budget, or None for the method's published epochs.
        evaluations: how often to call ``look`` (evenly spread, the last step included); None
            means after every epoch.
        compute: where networks live, and in what precision they train.
        report: call it with a :class:`Progress` now and then.
        look: call it with the epoch when the method may be scored; the runner keeps predictions
            and decides later which epoch counts.  It must be called at least once, at the end.
    """

    seed: int
    steps: int | None
    evaluations: int | None
    report: Callable[[Progress], None]
    look: Callable[[int], None]
    compute: Compute = ON_CPU
    checkpoint: Checkpoint | None = None
    learning_index: float | None = None

    @property
    def device(self) -> torch.device:
        """Where networks live."""
        return self.compute.device

    def generator(self, use: str) -> torch.Generator:
        """Return a random stream of its own for ``use``."""
        return torch.Generator().manual_seed(seed(self.seed, use=use))
