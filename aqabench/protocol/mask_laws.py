"""The laws by which whole modalities go missing.

A law turns a number of samples, its parameters and a generator into a table: (n, M) bool, True
where a sample shows a modality, at least one True in each row.  Section numbers point to the
protocol specification.  Laws inside a sequence are in :mod:`aqabench.protocol.time_laws`, the seed
and the digest of a table in :mod:`aqabench.protocol.mask_tables`.

Laws take nothing from a generator but uniform numbers, the plain top 53 bits of a stream that numpy
fixes for good; what its shuffles and whole numbers make of the stream may change with a release.
They know no sample: row i belongs to the i-th of the *sorted* sample ids.  Nothing is read, stored
or seeded here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import comb
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from aqabench.errors import UsageError

__all__ = [
    "QUOTAS",
    "below",
    "bern",
    "checked_modalities",
    "checked_share",
    "imbalanced",
    "keep_one",
    "keep_one_exact",
    "largest_remainder",
    "nearest_whole",
    "patterns",
    "quota",
    "single",
    "size",
    "u6",
    "u7",
]

Table = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

MOST_MODALITIES = 8
LABEL_SLACK = 0.05
"""How far a rate's label may lie above the largest possible: .7 is written where .6667 is meant."""
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
    kept = below(uniform[:, :1], m)  # (n, 1)
    table: Table = (np.arange(m) == kept) | (uniform[:, 1:] < fill)
    return table


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
    what is left after that to the first ones.  The effective rate of m is therefore
    ``r_m - prod_j r_j / M``, and a sample is complete with ``prod_j (1 - r_j)``.

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
    checked_modalities(m, least=2)
    if not 0 <= which < m:
        raise UsageError(
            f"single got modality number {which}: with {m} modalities write 0 to {m - 1}"
        )
    table = np.ones((n, m), dtype=bool)
    having = int(nearest_whole(n * checked_share("single", share)))
    table[_order(n, rng)[having:], which] = False
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
    checked_modalities(m, least=2)
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


def patterns(m: int) -> Table:
    """Return (2^M - 1, M) bool: every non-empty subset, by size, then in modality order."""
    checked_modalities(m)
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


def below(uniform: Floats, count: int | Counts) -> Counts:
    """Turn uniform numbers of [0, 1) into whole numbers 0..count-1, never ``count`` itself."""
    return np.floor(uniform * count).astype(np.int64)


def nearest_whole(quotas: npt.ArrayLike) -> Counts:
    """Round to whole numbers, a half to the even one."""
    return np.rint(_clean(quotas)).astype(np.int64)


def checked_modalities(m: int, least: int = 1) -> int:
    """Return ``m`` where a law can have so many modalities."""
    if not least <= m <= MOST_MODALITIES:
        raise UsageError(
            f"a mask table got {m} modalities where {least} to {MOST_MODALITIES} are possible: name"
            " as many under 'modalities'"
        )
    return m


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


def _fill(m: int, rate: float) -> float:
    """Return the p of the keep-one law."""
    checked_modalities(m)
    largest = 1 - 1 / m
    if not 0 <= rate <= largest + LABEL_SLACK:
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


def _clean(quotas: npt.ArrayLike) -> Floats:
    """Take away the dirt of binary fractions: .29 * 100 is 29, not a little less."""
    return np.asarray(quotas, dtype=np.float64).round(9)
