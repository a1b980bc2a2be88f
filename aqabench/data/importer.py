"""From a release on disk to a checked data set in the store; what was read is never read twice.

Pieces of the release are read, checked and staged one by one below ``.<dataset>.partial``.  A
second start takes staged pieces whose files are unchanged.  Nothing enters the store before every
sample of every stream is there, finite, of the right width and aligned in time.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open

from aqabench.data.manifest import Manifest, SourceFile
from aqabench.data.mapped import save_arrays
from aqabench.data.readers import open_folder, printable
from aqabench.data.readers.faults import Faults
from aqabench.data.readers.release import Label, Piece, Release
from aqabench.data.store import DataStore
from aqabench.disk import DATA, replace_file, sha256_file, storing
from aqabench.errors import DataError, UsageError
from aqabench.protocol.schema import DatasetSpec

Array = npt.NDArray[np.generic]
Tell = Callable[[str, int, int], None]
"""Called with (what is being done, bytes done, bytes in all)."""


@dataclass(frozen=True)
class ImportOptions:
    """What a user may decide.

    Attributes:
        layout: format of the folder; None recognises it.
        feature_set: ``1`` or ``2`` where a folder holds both.
        float16: store half the bytes; the manifest says what that costs in accuracy.
        trim: streams of a sample that differ by at most so many clips are cut to the shortest.
        leave_out_extra: features that no list names are left out instead of refused.
        groups: labels to add to those of the release, see :mod:`aqabench.data.groups`.
        report: where to write every problem as CSV.
    """

    layout: str | None = None
    feature_set: str | None = None
    float16: bool = False
    trim: int = 0
    leave_out_extra: bool = False
    groups: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    report: Path | None = None


def import_release(
    folder: Path,
    spec: DatasetSpec,
    store: DataStore,
    options: ImportOptions | None = None,
    tell: Tell = lambda *_: None,
) -> Manifest:
    """Import a release; nothing in the store changes unless all of it is right.

    Args:
        folder: as the authors publish it.
        spec: the data set it should hold.
        store: where it goes.
        options: choices of the user.
        tell: told of the progress.

    Raises:
        DataError: anything wrong with the folder (all at once), too little space, or another
            import of the same data set is running.
        StoreError: the disk is full or may not be written; what was staged stays.
    """
    options = options or ImportOptions()
    faults = Faults(folder)
    release = open_folder(folder, spec, faults, options.layout, options.feature_set)
    release = replace(
        release,
        labels=tuple(_with_groups(label, options.groups) for label in release.labels),
        notes=(*release.notes, *_count_notes(release, spec)),
    )
    with storing(store.root, DATA):
        store.root.mkdir(parents=True, exist_ok=True)
    lock = FileLock(store.root / f".{spec.name}.lock", timeout=0)
    with storing(store.root, DATA):
        try:
            lock.acquire()
        except Timeout:
            raise DataError(
                f"Another import of {spec.title} into {store.root} is running. Wait for it to "
                "end, then look at: aqabench data status"
            ) from None
    try:
        with storing(store.root, DATA):
            return _import(folder, spec, store, release, options, faults, tell)
    finally:
        lock.release()


def _import(
    folder: Path,
    spec: DatasetSpec,
    store: DataStore,
    release: Release,
    options: ImportOptions,
    faults: Faults,
    tell: Tell,
) -> Manifest:
    stage = _Stage(store.root / f".{spec.name}.partial", _fingerprint(folder, release))
    total = sum(piece.bytes for piece in release.pieces)
    _require_space(store.root, spec, total, stage.bytes)
    done = 0
    for piece in release.pieces:
        tell("reading", done, total)
        stage.take(piece, spec, faults)
        done += piece.bytes
    tell("checking", total, total)
    notes = _cross_check(spec, release, stage, options, faults)
    _write_report(options.report, faults)
    faults.raise_if_any(spec.title, options.report)
    arrays = _Joined(spec, replace(release, notes=notes), stage, options)
    manifest = store.write(
        spec,
        replace(release, notes=notes),
        arrays.lengths,
        arrays.join,
        stage.sources,
        tell=lambda name: tell(f"writing {name}", total, total),
    )
    shutil.rmtree(stage.folder, ignore_errors=True)
    return manifest


class _Stage:
    """Pieces that have been read and checked, one safetensors file each."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
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
                if (clean := _checked(array, modality, sample, spec, piece, faults)) is not None
            }
            meta = {
                "state": state,
                "samples": list(arrays),
                "shapes": [(*a.shape, str(a.dtype)) for a in arrays.values()],
                "sources": [
                    {"name": _name(s), "bytes": s.stat().st_size, "sha256": sha256_file(s)}
                    for s in piece.sources
                ],
                "negative": sorted({m for (m, _), a in arrays.items() if a.min() < 0}),
            }
            if len(faults.found) > before:  # what has faults is read again next time
                self.refused |= {source.stem for source in piece.sources}
                self.refused |= {sample for m in read.values() for sample in m}
            else:
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
class _Joined:
    """The staged samples in list order, one contiguous array per stream."""

    spec: DatasetSpec
    release: Release
    stage: _Stage
    options: ImportOptions

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
        dtype = np.dtype(np.float16) if self.options.float16 else published
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


def _checked(
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
        return np.ascontiguousarray(array, dtype=np.float16 if small else np.float32)
    return None


def _cross_check(
    spec: DatasetSpec, release: Release, stage: _Stage, options: ImportOptions, faults: Faults
) -> tuple[str, ...]:
    """Compare lists and streams with each other; return the notes for the manifest."""
    notes = list(release.notes)
    for class_spec in spec.classes:
        low, high = class_spec.bounds
        for label in release.labels:
            if not low <= label.scores.get(class_spec.name, low) <= high:
                faults.add(
                    f"{label.sample_id} ({label.scores[class_spec.name]:g})",
                    f"has a {class_spec.name} score outside {low:g} to {high:g}",
                )
    listed = [label.sample_id for label in release.labels]
    known = set(listed)
    for modality in release.modalities:
        place, own = release.places[modality], stage.shapes.get(modality, {})
        for sample in listed if own else ():
            if sample not in own and sample not in stage.refused:
                faults.add(sample, f"is listed, but has no features in {place}")
        extra = [sample for sample in own if sample not in known]
        if extra and options.leave_out_extra:
            names = ", ".join(map(printable, extra[:20]))
            notes.append(f"{modality}: {len(extra)} samples in no list were left out: {names}")
        elif extra:
            for sample in extra:
                faults.add(
                    sample,
                    f"has features in {place}, but is in no list (to leave such out: "
                    "--leave-out-extra)",
                )
    if stage.negative.get("flow") and stage.negative.get("video") is False:
        faults.add(
            f"{release.places['video']}, {release.places['flow']}",
            "look swapped: flow features come from a ReLU and are never negative, these are, and "
            "the video features are not",
        )
    notes += _misaligned(release, stage, options, faults)
    absent = [m.name for m in spec.modalities if m.name not in release.modalities]
    if absent:
        notes.append(f"without {', '.join(absent)}: the release has no such stream")
    return tuple(notes)


def _misaligned(
    release: Release, stage: _Stage, options: ImportOptions, faults: Faults
) -> list[str]:
    trimmed, worst = 0, 0
    for label in release.labels:
        lengths = {
            m: stage.shapes[m][label.sample_id][0]
            for m in release.modalities
            if label.sample_id in stage.shapes.get(m, {})
        }
        if len(set(lengths.values())) < 2:
            continue
        apart = max(lengths.values()) - min(lengths.values())
        if apart <= options.trim:
            trimmed, worst = trimmed + 1, max(worst, apart)
        else:
            told = ", ".join(f"{m} {n}" for m, n in lengths.items())
            faults.add(
                f"{label.sample_id} ({told})",
                "is not aligned in time: its streams have different numbers of clips (to cut "
                "small differences at the end: --trim CLIPS)",
            )
    if not trimmed:
        return []
    return [f"{trimmed} samples were cut at the end by up to {worst} clips to align their streams"]


def _count_notes(release: Release, spec: DatasetSpec) -> list[str]:
    """Say where the lists are longer or shorter than the data set's description."""
    notes = []
    for class_spec in spec.classes:
        for split in ("train", "test"):
            found = sum(
                label.split == split and class_spec.name in label.scores for label in release.labels
            )
            expected = getattr(class_spec, split)
            if found != expected:
                notes.append(
                    f"{class_spec.name}: the {split} list has {found} samples, the published data "
                    f"set {expected}"
                )
    return notes


def _with_groups(label: Label, groups: Mapping[str, Mapping[str, str]]) -> Label:
    own = {kind: labels[label.sample_id] for kind, labels in groups.items()}
    return replace(label, groups={**label.groups, **own}) if own else label


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


def _fingerprint(folder: Path, release: Release) -> str:
    text = f"{folder.resolve()}|{release.layout}|{release.feature_set}".encode(
        errors="surrogateescape"
    )
    return hashlib.sha256(text).hexdigest()


def _require_space(root: Path, spec: DatasetSpec, total: int, staged: int) -> None:
    """Refuse before anything is read if the staged and the final copy cannot fit.

    Raises:
        DataError: says what is needed and what is free.
    """
    need = 2 * total + 2**20 - staged
    free = shutil.disk_usage(root).free
    if free < need:
        raise DataError(
            f"Importing {spec.title} needs {need / 2**20:,.0f} MiB below {root} (half of it only "
            f"while it runs), but {free / 2**20:,.0f} MiB are free. Free some space, or set "
            "AQABENCH_HOME to a larger disk."
        )


def _write_report(path: Path | None, faults: Faults) -> None:
    if path is None:
        return
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["where", "problem"])
    writer.writerows(faults.found)
    with storing(path, "Nothing was imported. Choose another --report FILE"):
        path.write_text(text.getvalue(), encoding="utf-8")
