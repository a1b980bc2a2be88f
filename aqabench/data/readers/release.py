"""What a reader returns, and the report of everything that is wrong with a folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from aqabench.errors import DataError


@dataclass(frozen=True)
class Label:
    """One row of a published list."""

    sample_id: str
    split: str
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Release:
    """A feature release as read: labels in list order, one array per modality and sample.

    Attributes:
        layout: name of the layout, e.g. ``gdlt``.
        labels: rows of the lists, training list first.
        features: modality -> sample id -> (T, D).
        sources: files that were read.
    """

    layout: str
    labels: tuple[Label, ...]
    features: Mapping[str, Mapping[str, npt.NDArray[np.floating]]]
    sources: tuple[Path, ...]


@dataclass
class Faults:
    """Collects everything wrong with a folder, so that a person sees it all at once."""

    folder: Path
    found: list[tuple[str, str]] = field(default_factory=list)

    def add(self, where: str, problem: str) -> None:
        """Note one problem of one file."""
        self.found.append((where, problem))

    def raise_if_any(self, dataset: str, limit: int = 40) -> None:
        """Raise one error that lists all problems.

        Raises:
            DataError: something was noted.
        """
        if not self.found:
            return
        width = max(len(where) for where, _ in self.found[:limit])
        lines = [f"  {where.ljust(width)}  {problem}" for where, problem in self.found[:limit]]
        if len(self.found) > limit:
            lines.append(f"  … and {len(self.found) - limit} more")
        raise DataError(
            f"{self.folder} does not hold a complete {dataset} release; nothing was imported "
            f"({len(self.found)} problems):\n"
            + "\n".join(lines)
            + f"\nMend the folder and type again: aqabench data import {dataset} --from "
            f"{self.folder}"
        )
