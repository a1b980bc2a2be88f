"""Pieces of a release that have been read and checked, and the arrays they become.

What is staged below ``.<dataset>.partial`` is used again by a second start, as long as the files
it was read from are unchanged.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from aqabench.data.manifest import SourceFile
from aqabench.data.mapped import save_arrays
from aqabench.data.readers import printable
from aqabench.data.readers.faults import Faults
from aqabench.data.readers.release import Piece, Release
from aqabench.disk import replace_file, sha256_file
from aqabench.errors import UsageError
from aqabench.protocol.schema import DatasetSpec

Array = npt.NDArray[np.generic]


class Stage:
    """Pieces that have been read and checked, one safetensors file each."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        """Open the folder of an earlier start; of another release it is emptied."""
        self.folder = folder
        mark = folder / "release.txt"
        if folder.is_dir() and not (mark.is_file() and mark.read_text() == fingerprint):
            shutil.rmtree(folder)  # of another folder, or a torn start
        folder.mkdir(exist_ok=True)
        if not mark.is_file():
            replace_file(mark, fingerprint.encode())
        self.bytes = sum(p.stat().st_size for p in folder.iterdir())
        self.shapes: dict[str, dict[str, tuple[int, int]]] = {}  # modality -> id -> (T, D)
        self.where: dict[tuple[str, str], tuple[Path, str]] = {}  # file and key
        self.dtypes: dict[str, set[str]] = {}
        self.negative: dict[str, bool] = {}
        self.sources: list[SourceFile] = []
        self.refused: set[str] = set()  # samples and files that were there, but not right

    def take(self, piece: Piece, spec: DatasetSpec, faults: Faults) -> None:
        """Read a piece, unless it is staged and its files are as they were."""
        path = self.folder / f"{piece.key}.safetensors"
        state = [_state(source) for source in piece.sources]
        meta = _staged(path)
        if meta is None or meta["state"] != state:
            before = len(faults.found)
            read = piece.read(faults)
            arrays = {
                (modality, sample): clean
                for modality, samples in read.items()
                for sample, array in samples.items()
                if (clean := checked(array, modality, sample, spec, piece, faults)) is not None
            }
            meta = {
                "state": state,
                "samples": list(arrays),
                "shapes": [(*a.shape, str(a.dtype)) for a in arrays.values()],
                "sources": [],
                "negative": sorted({m for (m, _), a in arrays.items() if a.min() < 0}),
            }
            if len(faults.found) > before:  # what has faults is read again next time
                self.refused |= {source.stem for source in piece.sources}
                self.refused |= {sample for m in read.values() for sample in m}
            else:
                meta["sources"] = [
                    {"name": _name(s), "bytes": s.stat().st_size, "sha256": sha256_file(s)}
                    for s in piece.sources
                ]
                temporary = path.with_suffix(".tmp")
                numbered = {str(i): array for i, array in enumerate(arrays.values())}
                save_arrays(numbered, temporary, {"aqabench": json.dumps(meta)})
                temporary.replace(path)
        self._note(path, meta)

    def _note(self, path: Path, meta: Mapping[str, Any]) -> None:
        pairs = zip(meta["samples"], meta["shapes"], strict=True)
        for number, ((modality, sample), (clips, width, dtype)) in enumerate(pairs):
            self.shapes.setdefault(modality, {})[sample] = (clips, width)
            self.where[modality, sample] = (path, str(number))
            self.dtypes.setdefault(modality, set()).add(dtype)
            negative = modality in meta["negative"]
            self.negative[modality] = self.negative.get(modality, False) or negative
        known = {s.name for s in self.sources}
        self.sources += [SourceFile(**s) for s in meta["sources"] if s["name"] not in known]

    def read(self, modality: str, samples: list[str]) -> dict[str, Array]:
        """Return the staged arrays of samples, opening each file once."""
        by_file: dict[Path, list[tuple[str, str]]] = {}
        for sample in samples:
            path, key = self.where[modality, sample]
            by_file.setdefault(path, []).append((sample, key))
        found: dict[str, Array] = {}
        for path, own in by_file.items():
            with safe_open(path, framework="numpy") as file:
                found |= {sample: file.get_tensor(key) for sample, key in own}
        return found


@dataclass(frozen=True)
class Joined:
    """The staged samples in list order, one contiguous array per stream."""

    spec: DatasetSpec
    release: Release
    stage: Stage
    float16: bool

    @property
    def lengths(self) -> list[int]:
        """Clips of each sample: of its shortest stream, which trimming made common."""
        shapes = self.stage.shapes
        return [
            min(shapes[m][label.sample_id][0] for m in self.release.modalities)
            for label in self.release.labels
        ]

    def join(self, modality: str) -> tuple[Array, float]:
        """Return (total clips, D) and the largest error that float16 made."""
        published = np.result_type(*self.stage.dtypes[modality])
        dtype = np.dtype(np.float16) if self.float16 else published
        width = next(m.width for m in self.spec.modalities if m.name == modality)
        lengths = self.lengths
        out = np.empty((sum(lengths), width), dtype=dtype)
        begin, worst = 0, 0.0
        ids = [label.sample_id for label in self.release.labels]
        for first in range(0, len(ids), 256):
            part = self.stage.read(modality, ids[first : first + 256])
            for i, sample in enumerate(ids[first : first + 256], first):
                whole = part[sample][: lengths[i]]
                end = begin + lengths[i]
                with np.errstate(over="ignore"):  # an overflow is told below
                    out[begin:end] = whole
                if dtype != published:
                    worst = max(worst, float(np.abs(out[begin:end] - whole).max()))
                begin = end
        if not np.isfinite(worst):
            raise UsageError(
                f"The {modality} features of {self.spec.title} are too large for float16 (65504). "
                "Import them without --float16."
            )
        return out, worst


def checked(
    array: Array, modality: str, sample: str, spec: DatasetSpec, piece: Piece, faults: Faults
) -> Array | None:
    """Return (T, D) in float16 or float32, averaged over tokens, or note what is wrong."""
    own = [path for path in piece.sources if path.stem == sample]
    place = _name(own[0]) if own else f"{_name(piece.sources[0])}: {sample}"
    widths = {m.name: m.width for m in spec.modalities}
    expected = f"expected (clips, {widths[modality]}) for {modality}"
    if array.dtype.kind != "f":
        faults.add(place, f"holds {array.dtype} values, expected floating point numbers")
    elif array.ndim not in (2, 3) or 0 in array.shape[1:]:
        faults.add(place, f"has shape {array.shape}, {expected}")
    elif array.shape[0] == 0:
        faults.add(place, f"is empty: it has no clips, {expected}")
    elif array.shape[-1] != widths[modality]:
        twin = [m for m, w in widths.items() if w == array.shape[-1] and m != modality]
        hint = f"; that is the width of {twin[0]}: are the files swapped?" if twin else ""
        faults.add(place, f"is {array.shape[-1]} wide, {expected}{hint}")
    elif not np.isfinite(array).all():
        bad = ~np.isfinite(array).reshape(len(array), -1).all(axis=1)
        faults.add(
            f"{place} (first in clip {int(np.flatnonzero(bad)[0])})",
            "has values that are not finite (NaN or infinite)",
        )
    else:
        small = array.dtype.itemsize == 2
        if array.ndim == 3:
            array = array.mean(axis=1, dtype=np.float64)
        with np.errstate(over="ignore"):  # told right below
            clean = np.ascontiguousarray(array, dtype=np.float16 if small else np.float32)
        if np.isfinite(clean).all():
            return clean
        faults.add(place, "has values beyond float32, which are no features of any network")
    return None


def _staged(path: Path) -> dict[str, Any] | None:
    """Return what was written of a staged piece, or None if it is not whole."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            found: dict[str, Any] = json.loads((file.metadata() or {})["aqabench"])
            return found
    except (SafetensorError, KeyError, ValueError, OSError):
        return None


def _name(path: Path) -> str:
    """Return the last two parts of a path: file names repeat between the streams' folders."""
    return printable(Path(path.parent.name, path.name))


def _state(path: Path) -> list[int | str]:
    at = path.stat()
    return [_name(path), at.st_size, at.st_mtime_ns]
