"""Readers for feature releases: one file per kind of layout.

A reader opens a folder in exactly one layout, or says what it lacks.  It drops nothing silently
and fills nothing in.
"""

from __future__ import annotations

from pathlib import Path

from aqabench.data.readers import converted, npy_dicts, npy_folders, percepiano, tidy
from aqabench.data.readers.faults import Faults, printable
from aqabench.data.readers.release import Layout, Release
from aqabench.errors import DataError, UnknownNameError
from aqabench.protocol.schema import DatasetSpec

__all__ = ["LAYOUTS", "open_folder", "printable"]

LAYOUTS: dict[str, Layout] = {
    "dicts": npy_dicts,
    "fs1000": npy_folders.FS1000,
    "gdlt": npy_folders.GDLT,
    "ms-lstm": npy_folders.MS_LSTM,
    "percepiano-midi": percepiano,
    "converted": converted,
    "tidy": tidy,
}


def open_folder(
    folder: Path,
    spec: DatasetSpec,
    faults: Faults,
    layout: str | None = None,
    feature_set: str | None = None,
) -> Release:
    """Open a release in whichever layout the folder has, or in the one that is named.

    Raises:
        DataError: no such folder, or none of the layouts of this data set.
        UnknownNameError: there is no layout of that name.
    """
    if layout is not None and layout not in LAYOUTS:
        raise UnknownNameError("format", layout, LAYOUTS, "aqabench data import --help")
    if not folder.is_dir():
        raise DataError(
            f"There is no folder {printable(folder)}. Give the folder that holds the lists: "
            f"aqabench data import {spec.name} --from FOLDER"
        )
    fits = {n: known for n, known in LAYOUTS.items() if known.suits(spec)}
    for name, known in fits.items():
        if layout == name or (layout is None and known.recognise(folder, spec)):
            return known.open_release(folder, spec, faults, feature_set)
    if layout is not None:
        raise DataError(
            f"{spec.title} is not published in the format '{layout}'. Its formats: "
            f"{', '.join(fits)}. Leave --format out to have it recognised."
        )
    raise DataError(_unknown_layout(folder, spec, fits))


def _unknown_layout(folder: Path, spec: DatasetSpec, fits: dict[str, Layout]) -> str:
    """Say what was expected and found, and point to a neighbouring folder that would do."""
    near = [p for p in (folder.parent, *sorted(folder.iterdir())) if p.is_dir()]
    better = next((p for p in near for k in fits.values() if k.recognise(p, spec)), None)
    if better is not None:
        return (
            f"{printable(folder)} is not a {spec.title} release, but {printable(better)} is one. "
            f"Type: aqabench data import {spec.name} --from '{printable(better)}'"
        )
    held = ", ".join(printable(p.name) for p in sorted(folder.iterdir())[:8]) or "nothing"
    expected = "".join(f"\n  {name}: {known.EXPECTED}" for name, known in fits.items())
    return (
        f"{printable(folder)} has none of the layouts of {spec.title}. It holds {held}. Expected "
        f"one of:{expected}\nTo see what to get and where: aqabench data status {spec.name}"
    )
