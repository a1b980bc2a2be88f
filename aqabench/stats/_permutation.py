"""The studentised swap permutation: exchange two methods on whole videos, then rank again.

Under the null hypothesis that A and B are exchangeable the test is exact; the studentisation
keeps its level when they are only equally good (Chung & Romano 2013; Konietschke & Pauly 2014).
Nothing is sorted: ranks inside a permutation come from matrix products, see
:mod:`aqabench.stats._kernel`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from aqabench.stats._cells import CellTable
from aqabench.stats._checks import FloatArray
from aqabench.stats._kernel import exact_float, mid_ranks, order_matrix, to_z
from aqabench.stats._results import Comparison, Flag

__all__ = [
    "Swap",
    "studentised_z",
    "swap_average",
    "swap_masks",
    "swap_p",
]

Floats = npt.NDArray[np.float32 | np.float64]

_BLOCK = 1000
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
    centre = (n + 1) / 2
    joint = exact_float(order_matrix(np.concatenate([mid_ranks(a), mid_ranks(b)])), n)  # (2n, 2n)
    v = exact_float(mid_ranks(y) - centre, n)  # (n,)
    above_y = exact_float(order_matrix(y), n)  # [k, i] = 1[y_k > y_i] + ties/2
    m = masks.astype(joint.dtype)
    picked = np.concatenate([1 - m, m], axis=1)  # (b, 2n): which of the two ranks A has
    both = np.concatenate([v, v])
    below = picked @ joint.T  # (b, 2n): rank of each candidate among those that A has, less 1/2
    over = (picked * both) @ joint  # (b, 2n): sum_k v_k 1[x_k > x_i] over those that A has
    z_a, h_a = _one_side(below, over, v, above_y, masks)
    # B has the other rank of every video
    z_b, h_b = _one_side(joint.sum(axis=1) - below, both @ joint - over, v, above_y, ~masks)
    return Swap(z_a - z_b, h_a - h_b)


def _one_side(
    below: Floats, over: Floats, v: Floats, above_y: Floats, masks: npt.NDArray[np.bool_]
) -> tuple[FloatArray, FloatArray]:
    """Z (b,) and centred influence of z (b, n) of the method that has B's ranks in ``masks``."""
    n = v.size
    u = np.where(masks, below[:, n:], below[:, :n]) - v.dtype.type(n / 2)  # (b, n) centred ranks
    labels = v.astype(np.float64)
    ranks = u.astype(np.float64)
    squares = np.einsum("bn,bn->b", ranks, ranks) * (labels @ labels)
    with np.errstate(invalid="ignore", divide="ignore"):
        rho = np.where(squares > 0, (ranks @ labels) / np.sqrt(squares), 0.0)
    h = (u * v + np.where(masks, over[:, n:], over[:, :n]) + u @ above_y).astype(np.float64)
    h -= h.mean(axis=1, keepdims=True)
    z = to_z(np.clip(rho, -1.0, 1.0), n)
    return z, h * (12.0 / n**2 / (1.0 - np.tanh(z)[:, None] ** 2))


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
    order of their seeds, and go round where one method has fewer, so that each counts as often as
    the others of its method; which pairs are formed is arbitrary, so this says something about
    these networks only.

    Args:
        a: cells of A.
        b: cells of B on the same tests.
        base: the jackknife comparison, whose interval is kept.
        n_resamples: permutations.
        rng: where they are drawn from.
    """
    masks, exact = swap_masks(rng, a.n, n_resamples)
    rounds = math.lcm(len(a.seeds), len(b.seeds))
    pairs = len(a.tests) * rounds
    observed, permuted = math.nan, []
    blocks = [np.zeros((1, a.n), dtype=bool)]
    blocks += [masks[i : i + _BLOCK] for i in range(0, len(masks), _BLOCK)]
    for number, block in enumerate(blocks):
        difference = np.zeros(len(block))
        influence = np.zeros((len(block), a.n))
        for ta, tb in zip(a.tests, b.tests, strict=True):
            size = ta.y.size
            for at in range(rounds):
                pa, pb = ta.p[at % len(ta.p)], tb.p[at % len(tb.p)]
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
