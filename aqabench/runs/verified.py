"""Which runs of a folder of records somebody has verified: ``verified.json`` beside them.

A run is unverified until ``aqabench verify --write`` says otherwise, and again as soon as a byte of
it changes: what was found is bound to the files by their digest.  Nothing of it is in a record,
which is what its maker says of a run, and not what others found.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aqabench.disk import replace_file, storing
from aqabench.errors import StoreError

__all__ = ["VERIFIED", "Checks", "fingerprint", "read_verified", "state", "write_verified"]

VERIFIED = "verified.json"


class Checks(BaseModel):
    """What was found of one run; that its numbers follow from its predictions, at the least."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    files: str = Field(description="sha256 of record, predictions and curve.")
    data: bool = Field(description="Are its videos, scores and masks those of the data set?")
    retrained: bool = Field(description="Did training again give the same predictions?")


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = 1
    runs: dict[str, Checks]


def fingerprint(files: Iterable[bytes]) -> str:
    """Return sha256 over record, predictions and curve, in this order."""
    total = hashlib.sha256()
    for content in files:
        total.update(hashlib.sha256(content).digest())
    return total.hexdigest()


def read_verified(path: Path) -> dict[str, Checks]:
    """Return key of a run -> what was found of it; nothing where there is no such file.

    Raises:
        StoreError: it is not one.
    """
    if not path.is_file():
        return {}
    try:
        return _File.model_validate_json(path.read_bytes()).runs
    except (OSError, ValidationError) as error:
        first = str(error).splitlines()[0]
        raise StoreError(
            f"{path} does not say what was verified ({first}). Delete it and make it anew: "
            f"aqabench verify '{path.parent}' --write"
        ) from error


def write_verified(path: Path, runs: Mapping[str, Checks]) -> None:
    """Write what was found; no run means no file.

    Raises:
        StoreError: the disk is full or may not be written.
    """
    with storing(path, "The records are intact. Make room"):
        if runs:
            content = _File(runs=dict(sorted(runs.items()))).model_dump_json(indent=1)
            replace_file(path, (content + "\n").encode())
        else:
            path.unlink(missing_ok=True)


def state(keys: Iterable[str], verified: Mapping[str, Checks]) -> str:
    """Return in words how far the runs of a row are verified."""
    every = list(keys)
    found = [verified[key] for key in every if key in verified]
    if not found:
        return "unverified: as it was handed in"
    if len(found) < len(every):
        return f"unverified: {len(every) - len(found)} of {len(every)} runs"
    text = "verified: numbers recomputed from predictions"
    if all(one.data for one in found):
        text += ", videos, scores and masks as in the data"
    again = sum(one.retrained for one in found)
    if again:
        text += f"; {again} of {len(found)} runs trained again with the same predictions"
    return text
