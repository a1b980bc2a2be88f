"""What a reader returns: the lists of a release, and its features in portions that can be resumed.

A reader opens a folder quickly (lists and file names only).  The features come in pieces, read one
after the other by :mod:`aqabench.data.importer`, which checks, stages and joins them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from aqabench.data.readers.faults import Faults
from aqabench.protocol.schema import DatasetSpec

Arrays = dict[str, dict[str, npt.NDArray[np.generic]]]
"""modality -> sample id -> array as the release has it."""


@dataclass(frozen=True)
class Label:
    """One sample of the published lists.

    Attributes:
        sample_id: as published; features are matched to it exactly.
        split: ``train`` or ``test``; ``train`` for all where there is no official split.
        scores: class -> judge points.
        groups: kind of group (athlete, speaker, …) -> label.
        folds: name of published folds -> number of the fold, from 0.
    """

    sample_id: str
    split: str
    scores: Mapping[str, float]
    groups: Mapping[str, str] = field(default_factory=dict)
    folds: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Piece:
    """A portion of a release that is read, checked and staged at once.

    Attributes:
        key: file-name-safe and unique within the release, e.g. ``video-0003``.
        sources: the files it reads.
        read: returns its arrays; files that cannot be read go to the faults instead.
        bytes: what its arrays will take in memory, as far as can be told beforehand.
    """

    key: str
    sources: tuple[Path, ...]
    read: Callable[[Faults], Arrays]
    bytes: int


@dataclass(frozen=True)
class Release:
    """A feature release, opened but not read.

    Attributes:
        layout: name of the layout, e.g. ``gdlt``.
        feature_set: which published features, e.g. ``VST/I3D/AST``; empty where there is one only.
        labels: rows of the lists, training list first.
        modalities: the streams it has, in the data set's order.
        pieces: portions of the features.
        lists: files that the labels come from.
        places: modality -> where its features lie, for messages, e.g. ``ast_feature/ID.npy``.
        notes: what a person should know, e.g. what was left out on purpose.
        licence: what the folder itself says of the use of the features.
    """

    layout: str
    labels: tuple[Label, ...]
    modalities: tuple[str, ...]
    pieces: tuple[Piece, ...]
    lists: tuple[Path, ...]
    places: Mapping[str, str]
    feature_set: str = ""
    notes: tuple[str, ...] = ()
    licence: str = ""


class Layout(Protocol):
    """What a reader module offers; its name in :data:`LAYOUTS` is what the user types."""

    @property
    def EXPECTED(self) -> str:  # noqa: N802 - a module offers it as a constant
        """What a folder in this layout holds, in one line."""

    def suits(self, spec: DatasetSpec) -> bool:
        """Is there a release of this data set in this layout?"""

    def recognise(self, folder: Path, spec: DatasetSpec) -> bool:
        """Does the folder look like this layout?"""

    def open_release(
        self, folder: Path, spec: DatasetSpec, faults: Faults, feature_set: str | None = None
    ) -> Release:
        """Read the lists, find the features; everything wrong goes to ``faults``."""
