"""The laws by which whole modalities go missing, and what is said of a drawn table.

A law turns a number of samples, its parameters and a generator into a table: (n, M) bool, True where
a sample shows a modality, at least one True in each row.  Section numbers point to the protocol
specification; the within-sequence laws are in :mod:`aqabench.protocol.time_laws`.

Laws take nothing from a generator but uniform numbers: numpy keeps that stream the same between
releases, which it does not promise for shuffles and integers.  They know no sample: a table belongs
to the *sorted* sample ids, and :func:`table_digest` refuses any other order.  Nothing is read or
stored here, and no law is drawn while a model is evaluated.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from types import MappingProxyType
from zlib import crc32

import numpy as np
import numpy.typing as npt

from aqabench.errors import UnknownNameError, UsageError

__all__ = [
    "KIND_IDS",
    "QUOTAS",
    "Shares",
    "bern",
    "checked_share",
    "imbalanced",
    "keep_one",
    "keep_one_exact",
    "largest_remainder",
    "patterns",
    "quota",
    "shares",
    "single",
    "size",
    "table_digest",
    "table_generator",
    "u6",
    "u7",
]

Table = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

MOST_MODALITIES = 8
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
"""Number of each kind of scenario in the seeds of its tables.  Stable for ever: a new kind takes the
next number, a number is never changed or given again, or published tables could not be redrawn."""

QUOTAS: Mapping[float, tuple[float, float, float]] = MappingProxyType(
    {
        0.0: (0.0, 0.0, 1.0),
        0.1: (0.1, 0.1, 0.8),
        0.2: (0.2, 0.2, 0.6),
        0.3: (0.3, 0.3, 0.4),
        0.4: (0.5, 0.2, 0.3),
        0.5: (0.7, 0.1, 0.2),
        0.6: (0.9, 0.0, 0.1),
        0.7: (1.0, 0.0, 0.0),
    }
)
"""Rate -> shares of samples with two, one and no modality missing, M = 3 (section 4)."""


def keep_one(n: int, m: int, rate: float, rng: np.random.Generator) -> Table:
    """Keep one random modality of each sample and switch on others until ``rate`` is hidden.

    With q = 1 - rate, one modality drawn uniformly is shown, and every slot is also switched on
    with probability ``p = (M q - 1) / (M - 1)``, clipped to 0..1.  The expected hidden share is
    ``rate`` up to the largest possible, ``1 - 1/M``, where exactly one modality is shown; a
    complete sample has probability ``p^(M-1)``.  A rate up to .05 above the largest is read as
    the largest: the label .7 of M = 3 means .6667.

    Source: RATE of section 3, after GCNet and CPM-Net, which draw it anew in each batch.

    Args:
        n: samples.
        m: modalities M.
        rate: share of (sample, modality) slots to hide.
        rng: source of randomness.

    Returns:
        (n, M) bool.
    """
    fill = _fill(m, rate)
    uniform = rng.random((n, 1 + m))
    kept = _below(uniform[:, :1], m)  # (n, 1)
    return (np.arange(m) == kept) | (uniform[:, 1:] < fill)


def keep_one_exact(n: int, m: int, rate: float, rng: np.random.Generator) -> Table:
    """Return a table with the pattern shares that :func:`keep_one` has on average.

    The number of modalities shown is ``1 + Binomial(M - 1, p)`` under the keep-one law; its shares
    become counts by largest remainder.  Samples in random order get the subsets of their size in
    turn, in an order that is random too, so that the counts of two subsets of one size differ by
    at most 1 and no modality is favoured over draws.

    Source: RATE-exact of section 5; removes the noise of the draw from small test sets.

    Args:
        n: samples.
        m: modalities M.
        rate: share of (sample, modality) slots to hide.
        rng: source of randomness.

    Returns:
        (n, M) bool.
    """
    p = _fill(m, rate)
    sizes = np.arange(1, m + 1)
    law = np.array([comb(m - 1, s - 1) * p ** (s - 1) * (1 - p) ** (m - s) for s in sizes])
    every = patterns(m)
    rows = []
    for shown, count in zip(sizes, largest_remainder(n, law), strict=True):
        of_size = every[every.sum(1) == shown]
        turn = _order(len(of_size), rng)
        rows.append(of_size[turn[np.arange(count) % len(turn)]])
    return np.concatenate(rows)[_order(n, rng)]


def quota(n: int, m: int, rate: float, rng: np.random.Generator) -> Table:
    """Hide two, one or no modality in fixed shares of the samples; the subset is random.

    The shares of :data:`QUOTAS` become counts by largest remainder (ties go to the smaller shown
    subset); within a size the shown subset is uniform.  ``(2 two + one) / 3 = rate`` up to .6;
    the label .7 means .6667.

    Source: section 4, after IMDer and DiCMoR, whose quotas are over batches.

    Args:
        n: samples.
        m: modalities; only 3 is defined.
        rate: 0, .1, ..., .7.
        rng: source of randomness.

    Returns:
        (n, 3) bool.
    """
    if m != 3:
        raise UsageError(
            f"quota is defined for 3 modalities only and there are {m}: use the kind 'rate', which"
            " is defined for any number"
        )
    key = round(float(rate), 9) if np.isfinite(rate) else float(rate)
    if key not in QUOTAS:
        near = sorted(sorted(QUOTAS, key=lambda known: abs(known - rate))[:2])
        raise UsageError(
            f"quota has no row for the rate {rate:g}: write {near[0]:g} or {near[1]:g}, or use the"
            " kind 'rate', which takes any rate"
        )
    counts = largest_remainder(n, np.array(QUOTAS[key]))
    shown = np.repeat([1, 2, 3], counts)[_order(n, rng)]  # (n,)
    place = rng.random((n, m)).argsort(axis=1, kind="stable").argsort(axis=1)  # (n, 3)
    return place < shown[:, None]


def imbalanced(n: int, rates: Sequence[float], rng: np.random.Generator) -> Table:
    """Hide each modality at its own rate: exact counts of the independent patterns, shuffled.

    Subset S is shown by ``floor(n prod_{m in S} (1 - r_m) prod_{m not in S} r_m)`` samples; the
    others (the all-missing share and the rounding) are dealt equally to the M single modalities,
    what is left after that to the first ones.  So M r_m of the slots are *not* quite hidden: the
    effective rate of m is ``r_m - prod_j r_j / M``.

    Source: BALM, section 6, which leaves the patterns in blocks; here they are shuffled.

    Args:
        n: samples.
        rates: (M,) nominal share of hidden samples of each modality, 0 <= r < 1.
        rng: source of randomness.

    Returns:
        (n, M) bool.
    """
    hidden = np.array([_rate_below_one("imbalanced", rate) for rate in rates])  # (M,)
    m = len(hidden)
    every = patterns(m)
    law = np.where(every, 1 - hidden, hidden).prod(axis=1)  # (2^M - 1,)
    counts = np.floor(_clean(n * law)).astype(np.int64)
    rest = n - int(counts.sum())
    counts[:m] += rest // m
    counts[: rest % m] += 1
    return np.repeat(every, counts, axis=0)[_order(n, rng)]


def single(n: int, m: int, which: int, share: float, rng: np.random.Generator) -> Table:
    """Show one modality in exactly ``round(share n)`` samples and all others everywhere.

    A half is rounded to the even number.

    Source: T-MISS single-m, section 7, as in SMIL and MM-Align.

    Args:
        n: samples.
        m: modalities M, at least 2.
        which: place of the scarce modality, 0 <= which < M.
        share: share of samples that have it.
        rng: source of randomness.

    Returns:
        (n, M) bool.
    """
    _at_least_two("single", m)
    if not 0 <= which < m:
        raise UsageError(
            f"single got modality number {which}: with {m} modalities write 0 to {m - 1}"
        )
    table = np.ones((n, m), dtype=bool)
    table[_order(n, rng)[round(_clean(n * checked_share("single", share)).item()) :], which] = False
    return table


def u7(n: int, m: int, rng: np.random.Generator) -> Table:
    """Show one of the ``2^M - 1`` non-empty subsets, all equally likely.

    M = 3: hidden share 3/7, complete 1/7; in general hidden ``(2^(M-1) - 1) / (2^M - 1)``.

    Source: U7, section 2 (LIMSSR); equal in law to ``bern(.5)``.

    Args:
        n: samples.
        m: modalities M.
        rng: source of randomness.

    Returns:
        (n, M) bool.
    """
    return _drawn(n, patterns(m), np.ones(2**m - 1), rng)


def u6(n: int, m: int, rng: np.random.Generator) -> Table:
    """Show one of the ``2^M - 2`` incomplete subsets, all equally likely; hidden share 1/2.

    Source: U6, section 2 (MCMoE, which never trains on complete samples).

    Args:
        n: samples.
        m: modalities M, at least 2.
        rng: source of randomness.

    Returns:
        (n, M) bool.
    """
    _at_least_two("u6", m)
    return _drawn(n, patterns(m)[:-1], np.ones(2**m - 2), rng)


def size(n: int, m: int, rng: np.random.Generator) -> Table:
    """Draw how many modalities are shown, 1 to M equally likely, then which.

    Subset S has probability ``1 / (M C(M, |S|))``; hidden share ``(M - 1) / (2 M)``, complete 1/M.

    Source: size, section 2.

    Args:
        n: samples.
        m: modalities M.
        rng: source of randomness.

    Returns:
        (n, M) bool.
    """
    every = patterns(m)
    return _drawn(n, every, np.array([1 / comb(m, shown) for shown in every.sum(1)]), rng)


def bern(n: int, m: int, p: float, rng: np.random.Generator) -> Table:
    """Hide each modality with probability p, independently; empty rows are drawn again.

    Subset S has probability ``p^(M-|S|) (1-p)^|S| / (1 - p^M)``; hidden share
    ``(p - p^M) / (1 - p^M)``, complete ``(1-p)^M / (1 - p^M)``.

    Source: bern, section 2, and the third column of section 5.

    Args:
        n: samples.
        m: modalities M.
        p: probability of being hidden, 0 <= p < 1.
        rng: source of randomness.

    Returns:
        (n, M) bool.
    """
    p = _rate_below_one("bern", p)
    every = patterns(m)
    shown = every.sum(axis=1)
    # Conditioning on a non-empty row is what drawing again does, without a loop that p near 1
    # would keep busy.  Counted from single modalities so that no weight underflows.
    return _drawn(n, every, p ** (m - shown) * (1 - p) ** (shown - 1.0), rng)


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
        realised=1 - float(table.mean()),
        complete=float(by_size[-1] / len(table)),
        by_size=tuple(int(count) for count in by_size),
    )


def table_generator(
    dataset: str, part: str, kind: str, level: float, draw: int
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
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))


def table_digest(table: Table, ids: Sequence[str], lengths: Sequence[int] | None = None) -> str:
    """Return the SHA-256 that names a table: over its shape, lengths, ids and packed bits.

    Args:
        table: (n, M) bool, or (sum of lengths, M) bool.
        ids: (n,) sample ids, sorted and distinct.
        lengths: (n,) clips of each sample, for a time table.

    Returns:
        64 hexadecimal digits.
    """
    if table.dtype != np.bool_:
        raise UsageError(f"a mask table holds True and False, not {table.dtype}: compare it with 0")
    if any(first >= second for first, second in zip(ids, ids[1:], strict=False)):
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


def patterns(m: int) -> Table:
    """Return (2^M - 1, M) bool: every non-empty subset, by size, then in modality order."""
    if not 1 <= m <= MOST_MODALITIES:
        raise UsageError(f"mask tables got {m} modalities: write 1 to {MOST_MODALITIES}")
    chosen = [subset for shown in range(1, m + 1) for subset in combinations(range(m), shown)]
    return np.array([[place in subset for place in range(m)] for subset in chosen])


def largest_remainder(total: int, law: Floats) -> Counts:
    """Return counts that sum to ``total`` and are ``total * law`` rounded down or up.

    What rounding down leaves goes one each to the largest remainders, ties to the first.

    Args:
        total: number to divide.
        law: (k,) shares, not all 0.
    """
    quotas = _clean(total * law / law.sum())
    counts = np.floor(quotas).astype(np.int64)
    order = np.argsort(-_clean(quotas - counts), kind="stable")
    counts[order[: total - int(counts.sum())]] += 1
    return counts


def checked_share(kind: str, share: float) -> float:
    """Return ``share`` where it is one, 0 to 1."""
    if not 0 <= share <= 1:
        raise UsageError(f"{kind} got the share {share:g}: write a number from 0 to 1")
    return float(share)


def _rate_below_one(kind: str, rate: float) -> float:
    if not 0 <= rate < 1:
        raise UsageError(
            f"{kind} got the rate {rate:g}: write a number from 0 to below 1; to hide a modality"
            " everywhere use the kind 'subsets'"
        )
    return float(rate)


def _at_least_two(kind: str, m: int) -> None:
    if not 2 <= m <= MOST_MODALITIES:
        raise UsageError(f"{kind} got {m} modalities: write 2 to {MOST_MODALITIES}")


def _fill(m: int, rate: float) -> float:
    """Return the p of the keep-one law."""
    if not 1 <= m <= MOST_MODALITIES:
        raise UsageError(f"mask tables got {m} modalities: write 1 to {MOST_MODALITIES}")
    largest = 1 - 1 / m
    if not 0 <= rate <= largest + 0.05:
        raise UsageError(
            f"rate got {rate:g}, but with {m} modalities of which one is always shown at most"
            f" {largest:.4g} can be hidden: write a number from 0 to {largest:.4g}"
        )
    return float(np.clip((m * (1 - rate) - 1) / (m - 1), 0, 1)) if m > 1 else 1.0


def _drawn(n: int, rows: Table, weights: Floats, rng: np.random.Generator) -> Table:
    """Draw (n, M) rows with probabilities in proportion to (k,) ``weights``."""
    steps = np.cumsum(weights)
    return rows[np.searchsorted(steps / steps[-1], rng.random(n), side="right")]


def _order(n: int, rng: np.random.Generator) -> Counts:
    """Return a random permutation of 0..n-1."""
    return np.argsort(rng.random(n), kind="stable")


def _below(uniform: Floats, count: int | Counts) -> Counts:
    """Turn uniform numbers into whole numbers 0..count-1; never ``count`` itself."""
    return np.floor(uniform * count).astype(np.int64)


def _clean(quotas: npt.ArrayLike) -> Floats:
    """Take away the dirt of binary fractions: .29 * 100 is 29, not a little less."""
    return np.round(np.asarray(quotas, dtype=np.float64), 9)
