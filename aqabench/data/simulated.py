"""Simulated data, made once and then mapped from a cache on disk.

The cache is named by the recipe's digest, holds one file per stream, and never grows beyond
``LIMIT``: what was used longest ago goes first.  Where the disk is full or closed, the data are
made anew each time, and nothing is lost but seconds.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
import numpy.typing as npt

from aqabench.data.features import FeatureSet
from aqabench.data.mapped import map_array, save_arrays
from aqabench.data.simulator import simulate, simulation_digest
from aqabench.disk import home
from aqabench.errors import DataError
from aqabench.protocol.schema import DatasetSpec

ARRAY = "features"
LIMIT = 4 * 2**30
"""Bytes that all simulated data sets together may take."""


def cache_folder() -> Path:
    """Return where simulated data are kept; it may be deleted at any time."""
    return home() / "cache" / "simulated"


def load_simulated(spec: DatasetSpec, seed: int, modalities: Collection[str]) -> FeatureSet:
    """Return a simulated data set with the given streams, from the cache where it has them."""
    folder = cache_folder() / simulation_digest(spec, seed)[:32]

    def keep(
        modality: str, shape: tuple[int, int], make: Callable[[], npt.NDArray[np.float16]]
    ) -> npt.NDArray[np.floating]:
        path = folder / f"{modality}.safetensors"
        if path.is_file():
            try:
                return map_array(path, ARRAY, shape, "float16")
            except DataError:  # not whole: made again
                path.unlink(missing_ok=True)
        return _store(path, make())

    data = simulate(spec, seed=seed, modalities=modalities, keep=keep)
    if folder.is_dir():
        os.utime(folder)
    return data


def _store(path: Path, array: npt.NDArray[np.float16]) -> npt.NDArray[np.floating]:
    """Put an array into the cache and return it mapped, or as it is where that is not possible."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _make_room(array.nbytes, path.parent)
        if shutil.disk_usage(path.parent).free < 4 * array.nbytes:
            return array
        save_arrays({ARRAY: array}, temporary)
        temporary.replace(path)
        return map_array(path, ARRAY, (len(array), array.shape[1]), "float16")
    except (OSError, DataError):
        return array
    finally:
        temporary.unlink(missing_ok=True)


def _make_room(need: int, current: Path) -> None:
    """Delete the data sets used longest ago until ``need`` more bytes stay within the limit."""
    folders = sorted(
        (p for p in cache_folder().iterdir() if p.is_dir()), key=lambda p: p.stat().st_mtime
    )
    sizes = {p: sum(f.stat().st_size for f in p.iterdir()) for p in folders}
    for folder in folders:
        if sum(sizes.values()) + need <= LIMIT:
            return
        if folder != current:
            shutil.rmtree(folder, ignore_errors=True)
            del sizes[folder]
