"""What is said of a mask table beside its bits: seed, digest, and what it really hides.

Makes no table and stores none: the laws are in :mod:`aqabench.protocol.mask_laws` and
:mod:`aqabench.protocol.time_laws`.  Nothing here is drawn while a model is evaluated.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from zlib import crc32

import numpy as np

from aqabench.errors import UnknownNameError, UsageError
from aqabench.protocol.mask_laws import Table

__all__ = ["KIND_IDS", "Shares", "shares", "table_digest", "table_generator"]

ROOT_SEED = 20260
KIND_IDS: Mapping[str, int] = MappingProxyType(
    {
        "rate": 1,
        "rate-exact": 2,
        "quota": 3,
        "imbalanced": 4,
        "single": 5,
        "u7": 6,
        "u6": 7,
        "size": 8,
        "bern": 9,
        "frame-iid": 10,
        "rate-t": 11,
        "block": 12,
        "outage": 13,
        "prefix": 14,
        "suffix": 15,
        "mix": 16,
        "gauss": 17,
        "channels": 18,
        "shift": 19,
        "freeze": 20,
        "swap": 21,
        "scale": 22,
    }
)
"""Number of each kind of scenario in the seeds of its tables.  Stable for ever: a new kind takes
the next number, and no number is changed or given again, or published tables could not be redrawn.
"""


@dataclass(frozen=True)
class Shares:
    """What a table really hides; printed beside every nominal rate (section 5).

    Attributes:
        rows: samples, or time steps of a flat table.
        realised: share of hidden slots.
        complete: share of rows that show every modality.
        by_size: (M + 1,) rows that show 0, 1, ..., M modalities; place 0 can be positive only in
            time tables.
    """

    rows: int
    realised: float
    complete: float
    by_size: tuple[int, ...]


def shares(table: Table) -> Shares:
    """Count what a table hides.

    Args:
        table: (n, M) bool of samples, or (sum of lengths, M) bool of time steps, where the realised
            rate is that of the (t, m) slots and long samples weigh more.
    """
    if table.ndim != 2 or 0 in table.shape:
        raise UsageError(
            f"a mask table of shape {table.shape} has no shares: give samples (or steps) x"
            " modalities, at least one of each"
        )
    by_size = np.bincount(table.sum(axis=1), minlength=table.shape[1] + 1)
    return Shares(
        rows=len(table),
        realised=float((~table).mean()),
        complete=float(by_size[-1] / len(table)),
        by_size=tuple(int(count) for count in by_size),
    )


def table_generator(
    dataset: str, part: str, kind: str, level: float, draw: int, stream: str = ""
) -> np.random.Generator:
    """Return the generator of one table (section 0).

    ``Generator(PCG64(SeedSequence([20260, crc32(dataset), crc32(part), KIND_IDS[kind],
    round(1000 level), draw])))`` with the names in UTF-8.  Laws with more parameters than one
    level share a stream between these: what differs in them only is drawn from equal numbers.

    Args:
        dataset: name of the data set.
        part: train, val or test.
        kind: a key of :data:`KIND_IDS`.
        level: rate or severity; told apart to three decimals.
        draw: number of the draw, from 0.
        stream: a modality that has a table of its own; its crc32 then ends the words of the seed.
    """
    if kind not in KIND_IDS:
        raise UnknownNameError("kind of mask table", kind, KIND_IDS, "aqabench protocol check")
    if not (np.isfinite(level) and level >= 0 and draw >= 0):
        raise UsageError(
            f"the seed of a '{kind}' table got level {level:g} and draw {draw}: write numbers from"
            " 0 up"
        )
    names = [crc32(name.encode()) for name in (dataset, part)]
    entropy = [ROOT_SEED, *names, KIND_IDS[kind], round(1000 * level), draw]
    if stream:
        entropy.append(crc32(stream.encode()))
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))


def table_digest(table: Table, ids: Sequence[str], lengths: Sequence[int] | None = None) -> str:
    """Return the SHA-256 that names a table: over its shape, lengths, ids and packed bits.

    Hashed are the compact JSON list ``[shape, lengths or null, ids]``, a line feed, and the rows
    one after the other as bits, the first the highest of its byte.

    Args:
        table: (n, M) bool, or (sum of lengths, M) bool.
        ids: (n,) sample ids, sorted and distinct.
        lengths: (n,) clips of each sample, for a time table.

    Returns:
        64 hexadecimal digits.
    """
    if table.dtype != np.bool_:
        raise UsageError(f"a mask table holds True and False, not {table.dtype}: compare it with 0")
    if any(first >= second for first, second in pairwise(ids)):
        raise UsageError(
            "the ids of a mask table must be distinct and sorted: sort them, and its rows with them"
        )
    rows = len(ids) if lengths is None else sum(int(length) for length in lengths)
    if len(table) != rows or (lengths is not None and len(lengths) != len(ids)):
        raise UsageError(
            f"a mask table of {len(table)} rows does not fit {len(ids)} ids, which need {rows}:"
            " give one row for each id, or the lengths of a time table"
        )
    clips = None if lengths is None else [int(length) for length in lengths]
    header = json.dumps([list(table.shape), clips, list(ids)], separators=(",", ":"))
    return hashlib.sha256(header.encode() + b"\n" + np.packbits(table).tobytes()).hexdigest()
