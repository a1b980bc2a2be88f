"""Where a long training stands, so that it goes on after a crash as if there had been none.

A checkpoint holds everything that the rest of the training depends on: weights, optimiser,
schedule, every random stream, and what the looks have kept so far.  Resumed and uninterrupted
trainings give equal numbers to the bit.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from aqabench.disk import replace_file, storing

__all__ = ["EVERY", "Checkpoint"]

EVERY = 60.0
"""Seconds of training between two checkpoints."""
State = dict[str, Any]
"""Tensors, numbers, texts, and lists and dicts of them: what is read back without running code."""


@dataclass
class Checkpoint:
    """The one checkpoint of a run, in a file of its folder.

    Attributes:
        path: the file.
        outside: returns what the runner wants back with the training (looks, time spent).
        restore: takes it back.
        every: seconds between two checkpoints.
    """

    path: Path
    outside: Callable[[], State]
    restore: Callable[[State], None]
    every: float = EVERY
    _saved: float = field(default_factory=time.monotonic)

    def load(self) -> State | None:
        """Return where training stood, or None if it is to begin; a damaged file is a beginning."""
        try:
            whole = torch.load(self.path, weights_only=True, map_location="cpu")
            training: State = whole["training"]
            self.restore(whole["outside"])
        except FileNotFoundError:
            return None
        except Exception:  # whatever is wrong with the file: the run can be done from the start
            self.discard()
            return None
        return training

    @property
    def due(self) -> bool:
        """Is it time for another one?"""
        return time.monotonic() - self._saved >= self.every

    def save(self, training: State) -> None:
        """Write where training stands; the old file is replaced as a whole.

        Raises:
            StoreError: the disk is full or may not be written.
        """
        buffer = io.BytesIO()
        torch.save({"training": training, "outside": self.outside()}, buffer)
        with storing(self.path):
            replace_file(self.path, buffer.getvalue())
        self._saved = time.monotonic()

    def discard(self) -> None:
        """Delete the file: the run is done, or begins anew."""
        with storing(self.path):
            self.path.unlink(missing_ok=True)
