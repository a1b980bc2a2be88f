"""The file of what a run has learned: its name, its size, and whether it is whole.

``weights.pt`` lies beside the record of a run that was made with ``--keep-weights``.  Nothing of it
is read here, so that no torch is needed: :mod:`aqabench.runs.states` does, without running code.  A
run needs no such file, and none that is torn counts as one.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from aqabench.data.torch_archive import BROKEN_ZIP, RefusalError, check_members

__all__ = ["LIMIT", "WEIGHTS", "is_whole", "problem_of"]

WEIGHTS = "weights.pt"
LIMIT = 512 * 2**20
"""Bytes that such a file may have to be exchanged."""


def is_whole(path: Path) -> bool:
    """Is there a file of weights that was not cut off?  Its content is not looked at."""
    try:
        with zipfile.ZipFile(path) as file:
            return bool(file.infolist())
    except BROKEN_ZIP:
        return False


def problem_of(content: bytes) -> str:
    """Return what is wrong with the form of weights, in words that follow the run's name."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            check_members(file, len(content))
            damaged = file.testzip()
    except RefusalError as refusal:
        return f"has weights that are refused: {refusal.reason}"
    except BROKEN_ZIP as error:
        return f"has weights that are torn or no file of weights ({type(error).__name__})"
    return "has weights that are damaged" if damaged is not None else ""
