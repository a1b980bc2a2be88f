"""From a release on disk to a checked data set in the store; what was read is never read twice.

Pieces of the release are read, checked and staged one by one.  Nothing enters the store before
every sample of every stream is there, finite, of the right width and aligned in time.
"""

from __future__ import annotations

import csv
import hashlib
import io
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from filelock import FileLock, Timeout

from aqabench.data.groups import read_groups
from aqabench.data.manifest import Manifest
from aqabench.data.readers import open_folder, printable
from aqabench.data.readers.faults import Faults
from aqabench.data.readers.release import Label, Release
from aqabench.data.staging import Joined, Stage
from aqabench.data.store import DataStore
from aqabench.disk import DATA, storing
from aqabench.errors import DataError
from aqabench.protocol.schema import DatasetSpec

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
        groups_file: labels to add to those of the release, see :mod:`aqabench.data.groups`.
        group_columns: kind of group -> columns of that file; by default they are found.
        report: where to write every problem as CSV.
    """

    layout: str | None = None
    feature_set: str | None = None
    float16: bool = False
    trim: int = 0
    leave_out_extra: bool = False
    groups_file: Path | None = None
    group_columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
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
    groups: Mapping[str, Mapping[str, str]] = {}
    if options.groups_file is not None:
        ids = [label.sample_id for label in release.labels]
        groups = read_groups(options.groups_file, spec, ids, options.group_columns)
    release = replace(
        release,
        labels=tuple(_with_groups(label, groups) for label in release.labels),
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
    stage = Stage(store.root / f".{spec.name}.partial", _fingerprint(folder, release))
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
    arrays = Joined(spec, release, stage, options.float16)
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


def _cross_check(
    spec: DatasetSpec, release: Release, stage: Stage, options: ImportOptions, faults: Faults
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
    release: Release, stage: Stage, options: ImportOptions, faults: Faults
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
