"""Readers for feature releases: one file per published layout.

A reader turns a folder in exactly one layout into a :class:`Release`, or reports everything that is
wrong with the folder at once.  It drops nothing silently and fills nothing in.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from aqabench.data.readers import gdlt
from aqabench.data.readers.release import Release
from aqabench.errors import DataError
from aqabench.protocol.schema import DatasetSpec

LAYOUTS: dict[str, ModuleType] = {"gdlt": gdlt}


def read_release(
    folder: Path, spec: DatasetSpec, tell: Callable[[int, int], None] = lambda *_: None
) -> Release:
    """Read a folder in whichever published layout it has.

    Args:
        folder: as the authors publish it.
        spec: the data set it should hold.
        tell: called with (files read, files in all).

    Raises:
        DataError: no such folder, no known layout, or a release with faults (all listed).
    """
    if not folder.is_dir():
        raise DataError(
            f"There is no folder {folder}. Give the folder that holds the lists: "
            f"aqabench data import {spec.name} --from FOLDER"
        )
    for layout in LAYOUTS.values():
        if spec.name in layout.DATASETS and layout.recognise(folder):
            release: Release = layout.read(folder, spec, tell)
            return release
    expected = "; ".join(
        f"{name}: {layout.EXPECTED}"
        for name, layout in LAYOUTS.items()
        if spec.name in layout.DATASETS
    )
    found = ", ".join(sorted(p.name for p in folder.iterdir())[:8]) or "nothing"
    raise DataError(
        f"{folder} has none of the layouts that are known for {spec.title} ({expected or 'none'})."
        f" It holds {found}. Give the folder that holds the lists."
    )
