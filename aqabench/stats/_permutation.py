"""The studentised swap permutation: exchange two methods on whole videos, then rank again.

Under the null hypothesis that A and B are exchangeable the test is exact; the studentisation
keeps its level when they are only equally good (Chung & Romano 2013; Konietschke & Pauly 2014).
Nothing is sorted: ranks inside a permutation come from four matrix products, see
:mod:`aqabench.stats._kernel`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from aqabench.errors import DataError
from aqabench.stats._cells import CellTable
from aqabench.stats._checks import FloatArray
from aqabench.stats._kernel import mid_ranks, order_matrix, to_z
from aqabench.stats._results import Comparison, Flag

__all__ = ["Swap", "studentised_z", "swap_average", "swap_masks", "swap_p"]

_BLOCK = 2000
_TOLERANCE = 1e-10


@dataclass(frozen=True, eq=False, slots=True)
class Swap:
    """Differences of z (b,) and their influence values per video (b, n)."""

    difference: FloatArray
    influence: FloatArray


def swap_masks(
    rng: np.random.Generator, n: int, n_resamples: int
) -> tuple[npt.NDArray[np.bool_], bool]:
    """Which videos to swap (b, n), and whether these are all 2**n ways (then exact)."""
    if n <= 20 and 2**n <= n_resamples + 1:
        codes = np.arange(2**n)[:, None] >> np.arange(n)[None, :]
        return (codes & 1).astype(bool), True
    return rng.random((n_resamples, n)) < 0.5, False


def studentised_z(
    y: FloatArray, a: FloatArray, b: FloatArray, masks: npt.NDArray[np.bool_]
) -> Swap:
    """Difference of Fisher z and its influence values after swapping.

    Args:
        y: labels (n,).
        a: predictions of A (n,).
        b: predictions of B (n,); ranks are exchanged, so units may differ.
        masks: (b, n), True where the two methods' ranks are exchanged.
    """
    n = y.size
    ra, rb = mid_ranks(a), mid_ranks(b)
    joint = order_matrix(np.concatenate([ra, rb]))  # (2n, 2n): every rank against every other
    v = (mid_ranks(y) - (n + 1) / 2) / n  # (n,) centred grades of the labels
    above_y = order_matrix(y).T  # [i, k] = 1[y_k > y_i] + ties/2
    m = masks.astype(np.float64)
    z_a, h_a = _one_side(joint, v, above_y, m)
    z_b, h_b = _one_side(joint, v, above_y, 1.0 - m)
    return Swap(z_a - z_b, h_a - h_b)


def _one_side(
    joint: FloatArray, v: FloatArray, above_y: FloatArray, m: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Z (b,) and centred influence of z (b, n) of the method that takes B's ranks where m = 1."""
    n = v.size
    picked = np.concatenate([1.0 - m, m], axis=1)  # (b, 2n): which of the two ranks is in use
    below = picked @ joint.T  # (b, 2n): rank of each candidate among those in use, less 1/2
    ranks = np.where(m > 0, below[:, n:], below[:, :n]) + 0.5  # (b, n)
    u = (ranks - (n + 1) / 2) / n
    squares = (u**2).sum(axis=1) * (v @ v)
    with np.errstate(invalid="ignore", divide="ignore"):
        rho = np.where(squares > 0, (u @ v) / np.sqrt(squares), 0.0)
    weighted = (picked * np.concatenate([v, v])) @ joint  # (b, 2n): sum_k v_k 1[x_k > x_i]
    over_x = np.where(m > 0, weighted[:, n:], weighted[:, :n]) / n
    over_y = (u @ above_y.T) / n
    h = 12.0 * (u * v + over_x + over_y)
    h -= h.mean(axis=1, keepdims=True)
    z = to_z(np.clip(rho, -1.0, 1.0), n)
    return z, h / (1.0 - np.tanh(z)[:, None] ** 2)


def _studentise(difference: FloatArray, influence: FloatArray) -> FloatArray:
    """|difference| over its influence-function SE; 0/0 counts as 0."""
    n = influence.shape[1]
    se = np.sqrt((influence**2).sum(axis=1)) / n
    size = np.abs(difference)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(size <= _TOLERANCE, 0.0, size / se)


def swap_p(observed: float, permuted: FloatArray, exact: bool) -> float:
    """Share of permutations at least as extreme; the observed one counts when they are drawn."""
    extreme = int((permuted >= observed * (1.0 - _TOLERANCE)).sum())
    if exact:
        return extreme / permuted.size
    return (1 + extreme) / (1 + permuted.size)


def swap_average(
    a: CellTable, b: CellTable, base: Comparison, n_resamples: int, rng: np.random.Generator
) -> Comparison:
    """Swap permutation of the average over classes, scenarios and seeds.

    A swapped video is swapped in every cell that contains it.  Networks are exchanged in the
    order of their seeds; which pairs are formed is arbitrary, so this says something about these
    networks only.

    Args:
        a: cells of A.
        b: cells of B on the same tests, with as many seeds.
        base: the jackknife comparison, whose interval is kept.
        n_resamples: permutations.
        rng: where they are drawn from.

    Raises:
        DataError: different numbers of seeds.
    """
    if len(a.seeds) != len(b.seeds):
        raise DataError(
            f"the swap needs as many seeds of A as of B. Got {len(a.seeds)} and {len(b.seeds)} "
            "instead; use method='jackknife', or leave seeds out of both."
        )
    masks, exact = swap_masks(rng, a.n, n_resamples)
    pairs = len(a.tests) * len(a.seeds)
    observed, permuted = math.nan, []
    blocks = [np.zeros((1, a.n), dtype=bool)]
    blocks += [masks[i : i + _BLOCK] for i in range(0, len(masks), _BLOCK)]
    for number, block in enumerate(blocks):
        difference = np.zeros(len(block))
        influence = np.zeros((len(block), a.n))
        for ta, tb in zip(a.tests, b.tests, strict=True):
            size = ta.y.size
            for pa, pb in zip(ta.p, tb.p, strict=True):
                one = studentised_z(ta.y, pa, pb, block[:, ta.columns])
                difference += one.difference / pairs
                # a test holds size of the n videos: its mean is over size, the SE below over n
                influence[:, ta.columns] += one.influence * (a.n / size / pairs)
        values = _studentise(difference, influence)
        if number == 0:
            observed = float(values[0])
            sign = math.copysign(1.0, difference[0])
        else:
            permuted.append(values)
    flags = (*base.flags, Flag.EXACT) if exact else base.flags
    return replace(
        base,
        method="swap",
        p_value=swap_p(observed, np.concatenate(permuted), exact),
        statistic=sign * observed,
        df=math.nan,
        n_resamples=len(masks),
        flags=flags,
    )
