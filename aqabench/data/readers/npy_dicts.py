"""The PAMFN / MCMoE release of Fis-V and RG: one pickled dictionary per stream.

Fis-V: ``FISV_rgb_VST.npy``, ``FISV_audio_AST.npy``, ``FISV_flow_I3D.npy``; RG: the same per
apparatus, ``Ball_rgb_VST.npy`` and so on.  A dictionary maps video ids to (T, D), in feature set 2
(UNMT, I3D, MAST) possibly to (T, tokens, D).  Files are told by the words in their names.  Nothing
is unpickled: :mod:`aqabench.data.safe_npy` reads them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aqabench.data.readers.faults import Faults, printable, reason
from aqabench.data.readers.labels import find_lists, read_lists
from aqabench.data.readers.release import Arrays, Piece, Release
from aqabench.data.safe_npy import load
from aqabench.errors import UnsafeFileError
from aqabench.protocol.schema import DatasetSpec

EXPECTED = (
    "train.txt, test.txt and a folder with one pickled .npy per stream, named like "
    "FISV_rgb_VST.npy, FISV_audio_AST.npy, FISV_flow_I3D.npy (RG: per apparatus, Ball_rgb_VST.npy)"
)
STREAMS = {
    "video": {"rgb", "video", "vst", "unmt", "umt"},
    "audio": {"audio", "ast", "mast"},
    "flow": {"flow", "i3d"},
}
SETS = {"1": {"vst", "ast"}, "2": {"unmt", "umt", "mast"}}
SET_NAMES = {"1": "VST/I3D/AST", "2": "UNMT/I3D/MAST"}


@dataclass(frozen=True)
class _File:
    """A dictionary file and what its name says of it."""

    path: Path
    modality: str
    feature_set: str | None
    apparatus: str | None


def suits(spec: DatasetSpec) -> bool:
    """Is there a release of this data set in this layout?"""
    return spec.name in ("fisv", "rg")


def recognise(folder: Path, spec: DatasetSpec) -> bool:
    """Does the folder look like this layout?"""
    return bool(find_lists(folder)) and bool(_files(folder, spec))


def open_release(
    folder: Path, spec: DatasetSpec, faults: Faults, feature_set: str | None = None
) -> Release:
    """Read the lists and find the dictionaries of one feature set."""
    notes: list[str] = []
    labels, lists = read_lists(folder, spec.name, faults, notes)
    files = _files(folder, spec)
    offered = sorted({f.feature_set for f in files if f.feature_set})
    if feature_set is None and len(offered) > 1:
        names = ", ".join(f"{s} ({SET_NAMES[s]})" for s in offered)
        faults.add(
            folder, f"holds two feature sets, {names}; say which: --feature-set {offered[0]}"
        )
    chosen = feature_set or (offered[0] if offered else None)
    files = [f for f in files if f.feature_set in (chosen, None)]
    apparatus = {None} if spec.same_videos else {c.name for c in spec.classes}
    pieces = []
    for modality in STREAMS:
        own = [f for f in files if f.modality == modality]
        for name in sorted(apparatus, key=str):
            of_name = [f for f in own if f.apparatus == name]
            if len(of_name) > 1:
                for f in of_name[1:]:
                    faults.add(
                        f.path.name,
                        f"is a second file of {modality} beside {printable(of_name[0].path.name)};"
                        " keep one of them in the folder",
                    )
            elif not of_name and own:
                faults.add(f"{name or spec.title} {modality}", "has no file")
            else:
                pieces += [_piece(f) for f in of_name]
    present = {f.modality for f in files}
    places: dict[str, str] = {}
    for f in files:
        shown = printable(f.path.relative_to(folder))
        places[f.modality] = shown.replace(f.apparatus, "*") if f.apparatus else shown
    return Release(
        layout="dicts",
        labels=labels,
        modalities=tuple(m.name for m in spec.modalities if m.name in present),
        pieces=tuple(pieces),
        lists=lists,
        places=places,
        feature_set=SET_NAMES.get(chosen or "", ""),
        notes=tuple(notes),
    )


def _files(folder: Path, spec: DatasetSpec) -> list[_File]:
    """Return the dictionaries in the folder and in the folders right below it."""
    classes = {c.name.lower(): c.name for c in spec.classes}
    found = []
    for path in sorted([*folder.glob("*.npy"), *folder.glob("*/*.npy")]):
        words = set(re.split(r"[^a-z0-9]+", path.stem.lower()))
        modality = next((m for m, own in STREAMS.items() if words & own), None)
        if modality is None:
            continue
        feature_set = next((s for s, own in SETS.items() if words & own), None)
        apparatus = next((name for word, name in classes.items() if word in words), None)
        found.append(_File(path, modality, feature_set, None if spec.same_videos else apparatus))
    return found


def _piece(file: _File) -> Piece:
    key = f"{file.modality}-{file.apparatus or 'all'}"
    return Piece(key, (file.path,), _reader(file), file.path.stat().st_size)


def _reader(file: _File) -> Callable[[Faults], Arrays]:
    def read(faults: Faults) -> Arrays:
        try:
            found = load(file.path)
        except UnsafeFileError as error:
            faults.add(file.path.name, reason(error, file.path))
            return {}
        if not isinstance(found, dict):
            faults.add(file.path.name, "holds one array, expected a dictionary of video ids")
            return {}
        return {file.modality: dict(found)}

    return read
