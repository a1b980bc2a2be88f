"""Releases with one ``.npy`` per video, in one folder per stream, beside the two lists.

* GDLT (Fis-V, RG): RGB only, ``swintx_avg_fps25_clip32/<id>.npy`` of shape (T, 1024).
* FS1000 (Skating-Mixer, flow by MCMoE): ``output_feature_fs1000_new`` with video (T, tokens, 768),
  ``ast_feature_fs1000_new`` with audio (T, 768), ``i3d_avg_clip8_5s_fs1000`` with flow (T, 1024).
* MS-LSTM (Fis-V): C3D only, (T, 4096).

Folders are found by their published names, else by a word in the name; where there is one stream
only, by holding the files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aqabench.data.readers.faults import Faults, reason
from aqabench.data.readers.labels import find_lists, read_lists
from aqabench.data.readers.release import Arrays, Piece, Release
from aqabench.data.safe_npy import load
from aqabench.errors import UnsafeFileError
from aqabench.protocol.schema import DatasetSpec

AT_ONCE = 64
"""Videos of a piece: what a second start repeats at most."""


@dataclass(frozen=True)
class NpyFolders:
    """A layout of this kind.

    Attributes:
        name: what the user types.
        datasets: data sets that were published so.
        folders: modality -> published folder, then words that tell the folder by its name.
        EXPECTED: what a folder in this layout holds.
    """

    name: str
    datasets: tuple[str, ...]
    folders: Mapping[str, tuple[str, ...]]
    EXPECTED: str

    def suits(self, spec: DatasetSpec) -> bool:
        """Is there a release of this data set in this layout?"""
        return spec.name in self.datasets

    def recognise(self, folder: Path, spec: DatasetSpec) -> bool:
        """Does the folder look like this layout?"""
        return bool(find_lists(folder)) and bool(self._found(folder))

    def open_release(
        self, folder: Path, spec: DatasetSpec, faults: Faults, feature_set: str | None = None
    ) -> Release:
        """Read the lists and find the files; files that no list names are pieces as well."""
        notes: list[str] = []
        labels, lists = read_lists(folder, spec.name, faults, notes)
        found = self._found(folder)
        order = {label.sample_id: i for i, label in enumerate(labels)}
        pieces: list[Piece] = []
        for modality, place in found.items():
            files = sorted(
                place.glob("*.npy"), key=lambda p: (order.get(p.stem, len(order)), p.name)
            )
            tokens = _tokens(files)
            for first in range(0, len(files), AT_ONCE):
                part = tuple(files[first : first + AT_ONCE])
                size = sum(p.stat().st_size for p in part) // tokens
                key = f"{modality}-{first // AT_ONCE:04d}"
                pieces.append(Piece(key, part, _reader(modality, part), size))
        return Release(
            layout=self.name,
            labels=labels,
            modalities=tuple(m.name for m in spec.modalities if m.name in found),
            pieces=tuple(pieces),
            lists=lists,
            places={m: f"{place.name}/ID.npy" for m, place in found.items()},
            notes=tuple(notes),
        )

    def _found(self, folder: Path) -> dict[str, Path]:
        """Return the folder of each stream."""
        full = [p for p in sorted(folder.iterdir()) if p.is_dir() and any(p.glob("*.npy"))]
        found: dict[str, Path] = {}
        for modality, words in self.folders.items():
            for word in words:
                fits = [p for p in full if word in p.name.lower() and p not in found.values()]
                if fits:
                    found[modality] = fits[0]
                    break
        if not found and len(self.folders) == 1 and full:
            largest = max(full, key=lambda p: sum(1 for _ in p.glob("*.npy")))
            found[next(iter(self.folders))] = largest
        return found


GDLT = NpyFolders(
    "gdlt",
    ("fisv", "rg"),
    {"video": ("swintx_avg_fps25_clip32", "swin", "vst")},
    "train.txt, test.txt and the folder swintx_avg_fps25_clip32 with ID.npy for each video",
)
FS1000 = NpyFolders(
    "fs1000",
    ("fs1000",),
    {
        "video": ("output_feature_fs1000_new", "timesformer", "output", "video", "rgb"),
        "audio": ("ast_feature_fs1000_new", "ast", "audio"),
        "flow": ("i3d_avg_clip8_5s_fs1000", "i3d", "flow"),
    },
    "train_fs1000_new.txt, val_fs1000_new.txt and the folders output_feature_fs1000_new (video), "
    "ast_feature_fs1000_new (audio), i3d_avg_clip8_5s_fs1000 (flow), each with ID.npy",
)
MS_LSTM = NpyFolders(
    "ms-lstm",
    ("fisv-c3d",),
    {"video": ("c3d_feat", "c3d")},
    "train_dataset.txt, test_dataset.txt and a folder with ID.npy for each video",
)


def _reader(modality: str, files: tuple[Path, ...]) -> Callable[[Faults], Arrays]:
    def read(faults: Faults) -> Arrays:
        arrays: Arrays = {modality: {}}
        for path in files:
            try:
                array = load(path)
            except UnsafeFileError as error:
                faults.add(f"{path.parent.name}/{path.name}", reason(error, path))
                continue
            if isinstance(array, np.ndarray):
                arrays[modality][path.stem] = array
            else:
                faults.add(
                    f"{path.parent.name}/{path.name}", "holds a dictionary, expected one array"
                )
        return arrays

    return read


def _tokens(files: list[Path]) -> int:
    """Return how many tokens per clip the first readable file has, to foretell sizes."""
    for path in files[:3]:
        try:
            array = load(path)
        except UnsafeFileError:
            continue
        if isinstance(array, np.ndarray):
            return max(1, int(array.shape[1])) if array.ndim == 3 else 1
    return 1
