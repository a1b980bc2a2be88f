"""Mask tables beside the runs that were tested under them, for people and other frameworks.

``<store>/<protocol>/masks/<first 16 digits of the digest>.npz`` holds for one part of one class:
``ids`` (n,) in the order of the predictions, ``lengths`` (n,) clips, ``modalities`` (M,), and

- ``exists``: (n, M) bool, what the samples have, where training goes without something;
- ``available/SCENARIO``: (n, M) bool, what a scenario shows;
- ``observed/SCENARIO``: (sum of lengths, M) bool, the samples one after the other;
- ``damage/KIND=LEVEL/DRAW/MODALITY``: the table of a corruption (see
  :mod:`aqabench.protocol.noise_laws`).

Readable with ``numpy.load(file)``; nothing in it is pickled.  A run never reads it: tables are
drawn again from their seeds, and their digest is compared.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt

from aqabench.disk import replace_file, storing
from aqabench.train.evaluate import Part

__all__ = ["FOLDER", "keep_masks"]

FOLDER = "masks"


def keep_masks(folder: Path, part: Part, digest: str) -> Path:
    """Write the tables of a part, unless they are there already.

    Args:
        folder: of the protocol in the store.
        part: with its tables.
        digest: of these tables, as the record has it.

    Raises:
        StoreError: the disk is full or may not be written.
    """
    target = folder / FOLDER / f"{digest[:16]}.npz"
    if target.is_file():
        return target
    split = part.split
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "ids": np.asarray(split.ids),
        "lengths": split.lengths.numpy(),
        "modalities": np.asarray(split.modalities),
    }
    if not bool(split.available.all()):
        arrays["exists"] = split.available.numpy()
    arrays |= {f"available/{name}": table for name, table in part.available.items()}
    arrays |= {f"observed/{name}": table for name, table in part.observed.items()}
    for corruption in part.corruptions:
        damage = corruption.damage
        for m, table in damage.tables.items():
            stem = f"damage/{damage.kind}={damage.level:g}/{corruption.draw}"
            arrays[f"{stem}/{m}"] = table
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    with storing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_file(target, buffer.getvalue())
    return target
