"""What is given: one data set in memory, as contiguous arrays.

All samples of a modality stand one after the other in a single array; ``offsets`` says where each
begins.  A window of a video is then a slice, and a batch is one gather.  Nothing here reads files
or knows torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from aqabench.errors import DataError
from aqabench.protocol.schema import DataKind, DatasetSpec

SIMULATED_PREFIX = "simulated-"
"""Begins the name of simulated data that were exported, so that no import takes them for real."""


@dataclass(frozen=True)
class FeatureSet:
    """Features and scores of all videos of a data set, in the order of the published lists.

    Attributes:
        dataset: name of the data set.
        kind: ``real`` or ``simulated``; never mixed on a board.
        digest: sha256 of everything below (for simulated data: of recipe, version and seed).
        ids: (N,) sample ids.
        offsets: (N + 1,) int64; video i has the clips ``offsets[i]:offsets[i + 1]``.
        features: modality -> (total clips, D) float16 or float32.
        scores: class -> (N,) float64 in judge points; NaN where a video is not of that class.
        split: (N,) ``"train"`` or ``"test"``.
        groups: kind (athlete, speaker: what may leak between splits) -> (N,) labels.
        folds: name of published folds -> (N,) number of the fold from 0, -1 for none.
        source: one line for people: where this came from.
    """

    dataset: str
    kind: DataKind
    digest: str
    ids: tuple[str, ...]
    offsets: npt.NDArray[np.int64]
    features: Mapping[str, npt.NDArray[np.floating]]
    scores: Mapping[str, npt.NDArray[np.float64]]
    split: npt.NDArray[np.str_]
    groups: Mapping[str, npt.NDArray[np.str_]] = field(default_factory=dict)
    folds: Mapping[str, npt.NDArray[np.int64]] = field(default_factory=dict)
    source: str = field(default="", compare=False)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """(N,) clips per video."""
        return np.diff(self.offsets)

    def rows(self, class_name: str, split: str) -> npt.NDArray[np.int64]:
        """Return the (n,) positions of the videos of a class in ``"train"`` or ``"test"``."""
        return np.flatnonzero((self.split == split) & np.isfinite(self.scores[class_name]))

    def video(self, row: int, modality: str) -> npt.NDArray[np.floating]:
        """Return the (T, D) clips of one video; a view, not a copy."""
        return self.features[modality][self.offsets[row] : self.offsets[row + 1]]


def check_features(data: FeatureSet, spec: DatasetSpec) -> None:
    """Refuse a feature set that does not have the shapes its data set declares.

    Raises:
        DataError: lists every disagreement at once.
    """
    count = len(data.ids)
    found: list[str] = []
    if len(set(data.ids)) < count:
        found.append("sample ids occur twice")
    if data.offsets.shape != (count + 1,) or data.offsets[0] != 0 or (data.lengths < 1).any():
        found.append("a video has no clips, or the offsets do not rise from 0")
    for modality, array in data.features.items():
        width = next((m.width for m in spec.modalities if m.name == modality), None)
        if width is None:
            known = ", ".join(m.name for m in spec.modalities)
            found.append(f"modality '{modality}' is not one of {known}")
        elif array.shape != (int(data.offsets[-1]), width):
            found.append(
                f"{modality} has shape {array.shape}, expected {(int(data.offsets[-1]), width)}"
            )
    for class_spec in spec.classes:
        scores = data.scores.get(class_spec.name)
        if scores is None or scores.shape != (count,):
            found.append(f"class {class_spec.name} has no score for each of the {count} videos")
            continue
        outside = np.flatnonzero((scores < class_spec.bounds[0]) | (scores > class_spec.bounds[1]))
        if outside.size:
            names = ", ".join(data.ids[i] for i in outside[:5])
            found.append(
                f"class {class_spec.name}: scores of {names} lie outside {class_spec.bounds}"
            )
    if found:
        raise DataError(
            f"The {spec.title} features do not fit their description: "
            + "; ".join(found)
            + f". To read them again: aqabench data import {spec.name} --from FOLDER"
        )
