"""The GDLT release: ``train.txt``, ``test.txt`` and one folder with an ``.npy`` per video.

RGB only: Video-Swin clips, (T, 1024) a video.  The folder of features is found by its contents;
its published name is ``swintx_avg_fps25_clip32``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from aqabench.data.readers import labels
from aqabench.data.readers.release import Faults, Label, Release
from aqabench.data.safe_npy import load
from aqabench.errors import UnsafeFileError
from aqabench.protocol.schema import DatasetSpec

DATASETS = ("fisv", "rg")
EXPECTED = "train.txt, test.txt and one folder with ID.npy for each video"
LISTS = {"train": "train.txt", "test": "test.txt"}
READ_LIST: dict[str, Callable[[Path, str, Faults], list[Label]]] = {
    "fisv": labels.read_fisv,
    "rg": labels.read_rg,
}


def recognise(folder: Path) -> bool:
    """Say whether a folder has this layout."""
    return (folder / LISTS["train"]).is_file() and _feature_folder(folder) is not None


def read(
    folder: Path, spec: DatasetSpec, tell: Callable[[int, int], None] = lambda *_: None
) -> Release:
    """Read the release.

    Args:
        folder: where the lists and the folder of features lie.
        spec: the data set (fisv or rg).
        tell: called with (videos read, videos in all).

    Raises:
        DataError: lists every file that is absent, unlisted, empty, not finite or of wrong shape.
    """
    faults = Faults(folder)
    rows = [r for split, name in LISTS.items() for r in _rows(folder / name, split, spec, faults)]
    features = _feature_folder(folder)
    arrays: dict[str, npt.NDArray[np.floating]] = {}
    sources = [folder / name for name in LISTS.values()]
    seen: set[str] = set()
    for number, row in enumerate(rows, 1):
        if row.sample_id in seen:
            faults.add(row.sample_id, "is listed twice")
            continue
        seen.add(row.sample_id)
        path = (features or folder) / f"{row.sample_id}.npy"
        array = _array(path, spec, faults)
        if array is not None:
            arrays[row.sample_id] = array
            sources.append(path)
        tell(number, len(rows))
    for path in sorted(features.glob("*.npy")) if features else ():
        if path.stem not in seen:
            faults.add(path.name, "is in neither list")
    faults.raise_if_any(spec.name)
    return Release("gdlt", tuple(rows), {"video": arrays}, tuple(sources))


def _rows(path: Path, split: str, spec: DatasetSpec, faults: Faults) -> list[Label]:
    return READ_LIST[spec.name](path, split, faults)


def _feature_folder(folder: Path) -> Path | None:
    """Return the sub-folder with the most ``.npy`` files."""
    counts = {p: sum(1 for _ in p.glob("*.npy")) for p in sorted(folder.iterdir()) if p.is_dir()}
    best = max(counts, key=lambda p: counts[p], default=None)
    return best if best is not None and counts[best] else None


def _array(path: Path, spec: DatasetSpec, faults: Faults) -> npt.NDArray[np.floating] | None:
    width = next(m.width for m in spec.modalities if m.name == "video")
    if not path.is_file():
        faults.add(path.name, "is absent although the video is listed")
        return None
    try:
        array = load(path)
    except UnsafeFileError as error:
        faults.add(path.name, str(error))
        return None
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
        faults.add(path.name, "does not hold one array of floating point numbers")
    elif array.ndim != 2 or array.shape[1] != width or array.shape[0] == 0:
        faults.add(path.name, f"has shape {array.shape}, expected (clips, {width})")
    elif not np.isfinite(array).all():
        steps = np.flatnonzero(~np.isfinite(array).all(axis=1))
        faults.add(path.name, f"has values that are not finite, first in clip {steps[0]}")
    else:
        return array
    return None
