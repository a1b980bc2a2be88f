"""The laws by which streams go wrong without a flag (section 9 of the protocol specification).

A law turns a number of samples, its parameters and a generator into a table that says how each
sample of one modality is spoilt; :func:`damage` draws the tables of all spoilt modalities.  What a
table does to features is in :mod:`aqabench.data.corrupt`: no feature is seen here.

As in :mod:`aqabench.protocol.mask_laws`, row i of a law belongs to the i-th of the *sorted* sample
ids, and nothing is taken from a generator but uniform numbers and raw words, the streams that numpy
fixes for good.  For the same reason normal noise is looked up and not drawn by numpy.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from aqabench.errors import UnknownNameError, UsageError
from aqabench.protocol.mask_laws import Counts, Table, below, checked_share, nearest_whole
from aqabench.protocol.mask_tables import table_generator

DAMAGES = ("gauss", "channels", "shift", "freeze", "swap", "scale")
HASHED_NUMBERS = 64
"""Numbers of noise that enter a digest, so that other noise from the same seeds is noticed."""


@dataclass(frozen=True)
class Damage:
    """How the samples of a part are spoilt.

    Attributes:
        kind: one of :data:`DAMAGES`.
        level: how strong, as a protocol writes it; 1 for swap.
        tables: spoilt modality -> its table of n rows in the order of the ids asked for: gauss (n,)
            uint64, seeds; channels (n, D) bool, True where a channel is kept; shift (n,) int64,
            steps, later if positive; freeze (n, 2) int64, first frozen step and number of them;
            swap (n,) int64, place among these ids of the sample that is shown instead; scale
            (n, 0) bool.
    """

    kind: str
    level: float
    tables: Mapping[str, npt.NDArray[Any]]


def noise_seeds(n: int, rng: np.random.Generator) -> npt.NDArray[np.uint64]:
    """Return (n,) seeds for :func:`normal_noise`, one for each sample."""
    return np.asarray(rng.bit_generator.random_raw(n), dtype=np.uint64)


def normal_noise(seed: int, count: int) -> npt.NDArray[np.float32]:
    """Return (count,) float32, the first numbers of the standard normal noise of one sample.

    Each 16 bits of a raw PCG64 stream, lowest first, are the place of one of 65536 equally likely
    quantiles.  The numbers end at ±4.325 and have variance 1 and kurtosis 2.999.
    """
    if count < 0:
        raise UsageError(f"noise of {count} numbers was asked for: write a number from 0 up")
    words = np.random.PCG64(np.random.SeedSequence(seed)).random_raw(-(-count // 4))
    places = words.astype("<u8", copy=False).view("<u2")[:count]
    # Every place exists; with mode="clip" numpy does not look for those that do not.
    return _quantiles().take(places, mode="clip")


def channels(n: int, width: int, share: float, rng: np.random.Generator) -> Table:
    """Return (n, D) bool, D the width, True where a channel is kept.

    Each sample loses ``round(share D)`` random channels, but keeps one unless share is 1.
    Source: chan(p).
    """
    if width < 1:
        raise UsageError(f"channels got a stream of width {width}: write a width from 1 up")
    lost = int(nearest_whole(width * checked_share("channels", share)))
    lost = lost if share == 1 else min(lost, width - 1)
    order = rng.random((n, width)).argsort(axis=1, kind="stable")
    kept = np.ones((n, width), dtype=bool)
    np.put_along_axis(kept, order[:, :lost], False, axis=1)
    return kept


def shift(n: int, steps: float, rng: np.random.Generator) -> Counts:
    """Return (n,) int64: how far each sample is moved, later if positive.

    That many whole steps, in a direction drawn for each sample.  Source: shift(k).
    """
    if not (0 <= steps <= 10**6 and float(steps).is_integer()):
        raise UsageError(f"shift got {steps:g} steps: write a whole number from 0 up, such as 4")
    return np.where(rng.random(n) < 0.5, -int(steps), int(steps)).astype(np.int64)


def freeze(lengths: npt.ArrayLike, share: float, rng: np.random.Generator) -> Counts:
    """Return (n, 2) int64: the first frozen step s of each sample, and how many c there are.

    ``c = min(round(share T), T - 1)`` of the T clips; s is uniform over 1..T - c, and the steps
    s..s + c - 1 repeat step s - 1.  Source: freeze(p).
    """
    clips = _clips(lengths)
    count = np.minimum(nearest_whole(clips * checked_share("freeze", share)), clips - 1)
    first = 1 + below(rng.random(len(clips)), clips - count)
    return np.stack([first, count], axis=1)


def swap(n: int, rng: np.random.Generator) -> Counts:
    """Return (n,) int64: the row of another sample for each.

    A single cycle through all, every cycle equally likely: nobody keeps its own, and everyone is
    shown once.  Source: swap.
    """
    if n < 2:
        raise UsageError(
            f"swap needs 2 samples or more in every class and got {n}: leave this scenario out"
        )
    order = np.argsort(rng.random(n), kind="stable")
    partner = np.empty(n, dtype=np.int64)
    partner[order] = np.roll(order, -1)
    return partner


def changes_nothing(kind: str, level: float) -> bool:
    """Is a stream after damage of this level what it was before?"""
    _checked_kind(kind)
    return kind != "swap" and level == (1 if kind == "scale" else 0)


def damage(
    kind: str,
    level: float,
    modalities: Mapping[str, int],
    ids: Sequence[str],
    lengths: npt.ArrayLike,
    dataset: str,
    part: str,
    draw: int,
) -> Damage:
    """Draw how the samples of a part are spoilt.

    The table of a modality is drawn over the sorted ids from a stream of its own, and is the same
    whichever other modalities are spoilt and in whatever order the ids come.

    Args:
        kind: one of :data:`DAMAGES`.
        level: a factor (gauss, scale), a share (channels, freeze), whole steps (shift), 1 (swap).
        modalities: name -> width D of the streams to spoil.
        ids: (n,) distinct sample ids of one class.
        lengths: (n,) clips of each.
        dataset: name of the data set; with ``part`` and ``draw`` it seeds the tables.
        part: train, val or test.
        draw: number of the draw, from 0.
    """
    _checked_kind(kind)
    if kind == "swap" and level != 1:
        raise UsageError(f"swap got the level {level:g}: it has none, so write 1")
    order, clips = _sorted(ids, lengths)
    tables = {}
    for name, width in modalities.items():
        rng = table_generator(dataset, part, kind, level, draw, stream=name)
        drawn = _drawn(kind, level, width, clips[order], rng)
        tables[name] = np.empty_like(drawn)
        tables[name][order] = order[drawn] if kind == "swap" else drawn
    return Damage(kind, float(level), tables)


def damage_digest(damage: Damage, ids: Sequence[str], lengths: npt.ArrayLike) -> str:
    """Return the SHA-256 that names a damage; equal for any order of the ids and modalities.

    Hashed are the compact JSON list ``[kind, level, ids, lengths, [[modality, shape], ...]]`` and a
    line feed, then each modality's table in little-endian bytes; ids and rows in sorted order, swap
    partners as places in it, modalities by name.  Gauss tables are followed by the first 64 numbers
    of the first sample's noise, as float32.  ``ids`` (n,) and ``lengths`` (n,), in clips, are those
    that the damage was drawn for.
    """
    order, clips = _sorted(ids, lengths)
    shapes = [[name, list(damage.tables[name].shape)] for name in sorted(damage.tables)]
    if any(shape[0] != len(order) for _, shape in shapes):
        raise UsageError(f"damage of {shapes} does not fit {len(ids)} ids: give those it is for")
    names = [ids[i] for i in order]
    header = [damage.kind, float(damage.level), names, clips[order].tolist(), shapes]
    digest = hashlib.sha256(json.dumps(header, separators=(",", ":")).encode() + b"\n")
    for name in sorted(damage.tables):
        rows = damage.tables[name][order]
        if damage.kind == "swap":
            rows = np.argsort(order)[rows]
        digest.update(rows.astype(rows.dtype.newbyteorder("<")).tobytes())
        if damage.kind == "gauss":
            for seed in rows[:1].tolist():
                digest.update(normal_noise(seed, HASHED_NUMBERS).astype("<f4").tobytes())
    return digest.hexdigest()


@cache
def _quantiles() -> npt.NDArray[np.float32]:
    """Return (65536,) equally likely standard normal numbers, with variance 1."""
    from scipy.special import ndtri  # here, so that only noise has to wait for it

    quantiles = ndtri((np.arange(65536) + 0.5) / 65536)
    spread = math.sqrt(math.fsum((quantiles**2).tolist()) / len(quantiles))
    table: npt.NDArray[np.float32] = (quantiles / spread).astype(np.float32)
    table.setflags(write=False)
    return table


def _drawn(
    kind: str, level: float, width: int, clips: Counts, rng: np.random.Generator
) -> npt.NDArray[Any]:
    """Return the table of one modality, n rows in the order of the sorted ids."""
    n = len(clips)
    if kind == "gauss":
        return noise_seeds(n, rng)
    if kind == "channels":
        return channels(n, width, level, rng)
    if kind == "shift":
        return shift(n, level, rng)
    if kind == "freeze":
        return freeze(clips, level, rng)
    return swap(n, rng) if kind == "swap" else np.zeros((n, 0), dtype=bool)


def _sorted(ids: Sequence[str], lengths: npt.ArrayLike) -> tuple[Counts, Counts]:
    """Return (n,) places of the ids in sorted order, and (n,) clips in the given one."""
    clips = _clips(lengths)
    if len(clips) != len(ids) or len(set(ids)) != len(ids):
        raise UsageError(
            f"damage got {len(ids)} ids, {len(set(ids))} of them distinct, and {len(clips)}"
            " lengths: give each sample once, with its clips"
        )
    return np.array(sorted(range(len(ids)), key=lambda i: ids[i]), dtype=np.int64), clips


def _clips(lengths: npt.ArrayLike) -> Counts:
    clips = np.asarray(lengths)
    if clips.ndim != 1 or not np.issubdtype(clips.dtype, np.integer) or (clips < 1).any():
        raise UsageError(
            "damage needs the clips of each sample as whole numbers from 1 up and got"
            f" {np.array2string(clips, threshold=6)}: leave out samples without clips"
        )
    return clips.astype(np.int64)


def _checked_kind(kind: str) -> None:
    if kind not in DAMAGES:
        raise UnknownNameError("kind of damage", kind, DAMAGES, "aqabench protocol check")
