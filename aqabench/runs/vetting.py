"""Is a run that somebody else has made whole, and what it says it is?

Every check is on bytes that are in hand; nothing of them is stored or shown before it has passed.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from pydantic_core import from_json

from aqabench.errors import StoreError
from aqabench.protocol.schema import SELECTION_RULES
from aqabench.runs.archive import MEBI
from aqabench.runs.index import summary_of
from aqabench.runs.places import RECORD
from aqabench.runs.record import FORMAT, RunRecord, identity_key
from aqabench.runs.store import METRICS, PREDICTIONS, read_predictions
from aqabench.runs.weights import WEIGHTS, problem_of

if TYPE_CHECKING:
    import pandas as pd

UNPACKED = 64 * MEBI
"""Bytes that predictions may have when they are unpacked."""
LINE = 4096
"""Bytes that a line of them may have."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class RefusedError(StoreError):
    """Why one run is not taken."""


def check_run(place: str, files: Mapping[str, bytes], scratch: Path) -> RunRecord:
    """Return the record of a run after checking everything that can be checked of its files.

    Args:
        place: where it would lie.
        files: its files, as they would be stored.
        scratch: folder to unpack predictions in.

    Raises:
        StoreError: what is wrong, in words that follow the run's name.
    """
    record = _checked_record(place, files.get(RECORD))
    finished = record.status == "finished"
    if finished and not {PREDICTIONS, METRICS} <= set(files):
        raise RefusedError("is finished but lacks its predictions or its curve")
    if not finished and PREDICTIONS in files:
        raise RefusedError("has failed but comes with predictions")
    if not finished and WEIGHTS in files:
        raise RefusedError("has failed but comes with weights")
    if WEIGHTS in files and (problem := problem_of(files[WEIGHTS])):
        raise RefusedError(problem)
    _check_curve(files.get(METRICS, b""))
    if finished:
        _check_packed(files[PREDICTIONS])
        path = scratch / PREDICTIONS
        path.write_bytes(files[PREDICTIONS])
        try:
            frame = read_predictions(path)
        except StoreError as error:
            reason = str(error.__cause__ or "their columns are not those of predictions")
            raise RefusedError(f"has predictions that cannot be read: {reason}") from error
        _check_predictions(frame, record)
    return record


def _checked_record(place: str, text: bytes | None) -> RunRecord:
    protocol, method, key = place.split("/")
    if text is None:
        raise RefusedError("has no record")
    try:
        record = RunRecord.model_validate_json(text)
        summary_of(place, record)
    except (ValidationError, KeyError, TypeError, ValueError) as error:
        raise RefusedError(f"has no record of this version: {_first_line(error)}") from error
    if record.format != FORMAT:
        raise RefusedError(f"has a record of format {record.format}, {FORMAT} is read here")
    if record.identity.get("validation_only"):
        raise RefusedError("is a trial of a search, which was never tested")
    if record.key != key or identity_key(record.identity) != key:
        raise RefusedError("has a key that is not the hash of its identity")
    if (record.identity["protocol"], record.identity["method"]) != (protocol, method):
        raise RefusedError("lies in the folder of another protocol or method")
    told = record.tuned.model_dump(include={"search", "trials"}) if record.tuned else None
    if record.identity.get("tuned") != told:
        raise RefusedError("says of a search what its identity does not")
    if any(_CONTROL.search(text) for text in _texts(record.model_dump(mode="json"))):
        raise RefusedError("holds control characters, which a terminal would obey")
    return record


def _texts(value: Any) -> Iterator[str]:
    """Yield every text in a value, names of keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, part in value.items():
            yield key
            yield from _texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)


def _check_curve(text: bytes) -> None:
    for number, line in enumerate(text.splitlines(), 1):
        try:
            row = from_json(line)
        except ValueError as error:
            raise RefusedError(f"has a curve that cannot be read, line {number}") from error
        if not isinstance(row, dict):
            raise RefusedError(f"has a curve whose line {number} is no look")


def _check_packed(content: bytes) -> None:
    """Refuse gzip content that is damaged or grows beyond measure, without keeping it."""
    total, rest = 0, content
    while rest:
        unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        try:
            while rest and not unpacker.eof:
                piece = unpacker.decompress(rest, MEBI)
                rest = unpacker.unconsumed_tail
                total += len(piece)
                if total > UNPACKED:
                    raise RefusedError(f"has predictions of more than {UNPACKED:,} bytes")
                if max(map(len, piece.split(b"\n"))) > LINE:
                    raise RefusedError("has predictions with lines that are too long")
        except zlib.error as error:
            raise RefusedError(f"has predictions that cannot be unpacked: {error}") from error
        if not unpacker.eof:
            raise RefusedError("has predictions that are cut off")
        rest = unpacker.unused_data


def _check_predictions(frame: pd.DataFrame, record: RunRecord) -> None:
    import numpy as np
    from pandas.api.types import is_numeric_dtype

    if frame.empty:
        raise RefusedError("is finished but has no predictions")
    if not all(is_numeric_dtype(frame[column]) for column in ("score", "prediction")):
        raise RefusedError("has predictions that are no numbers")
    if not np.isfinite(frame["score"]).all():
        raise RefusedError("has judges' scores that are not finite")
    scenarios, rules = (set(frame[name].unique().tolist()) for name in ("scenario", "rule"))
    if not (scenarios <= set(record.scenarios) and rules <= set(SELECTION_RULES)):
        raise RefusedError("has predictions under rules or for scenarios that there are not")
    if frame.duplicated(["rule", "part", "scenario", "sample_id"]).any():
        raise RefusedError("has two predictions of one sample")
    counts = frame.groupby("part")["sample_id"].nunique()
    samples = record.samples or dict(counts)
    if any(samples.get(str(part), 0) < count for part, count in counts.items()):
        raise RefusedError("has predictions of more samples than its record names")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
