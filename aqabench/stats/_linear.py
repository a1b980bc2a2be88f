"""The linear form of resampling: what each video contributes to an average, resampled as numbers.

Drawing or swapping a video moves the rank of every other video a little.  With some hundred
videos that is a small second-order term, and leaving it out turns a resample of a whole board into
one matrix product.  With fewer videos, use the exact forms.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from aqabench.stats._cells import CellTable
from aqabench.stats._checks import FloatArray
from aqabench.stats._permutation import swap_masks
from aqabench.stats._results import Comparison, Flag

__all__ = ["contributions", "flip_p", "swap_linear"]

_BLOCK = 1000
_FEW = 20
"""Values of which all flips may be tried."""
_TOLERANCE = 1e-10


def contributions(table: CellTable) -> FloatArray:
    """What each video contributes to a method's average z (n,); they sum to it.

    Of m videos that share tests and whose part of the average is t, video i contributes
    ``(t + (m - 1) (mean_j t_(j) - t_(i))) / m``: its pseudo-value over m, centred.

    Source: pseudo-values, Tukey (1958).
    """
    left = table.left_out  # (n,)
    at = table.components
    part = np.zeros(int(at.max()) + 1)
    for test in table.tests:
        part[at[test.columns[0]]] += test.z.mean() / len(table.tests)
    size = np.bincount(at).astype(np.float64)
    mean = np.bincount(at, weights=left) / size
    return np.asarray((part[at] + (size[at] - 1) * (mean[at] - left)) / size[at])


def flip_p(
    values: FloatArray, n_resamples: int, rng: np.random.Generator
) -> tuple[FloatArray, int, bool]:
    """Share of sign flips with a sum at least as far from 0 as that of each column of ``values``.

    Args:
        values: (n, m), a column for each difference; all share their flips.
        n_resamples: flips drawn; all 2**n are used where they are no more.
        rng: where they are drawn from.

    Returns:
        p (m,), the number of flips, and whether these are all there are.
    """
    observed = np.abs(values.sum(axis=0)) * (1.0 - _TOLERANCE)  # (m,)
    first = n_resamples if len(values) <= _FEW else min(n_resamples, _BLOCK)
    masks, exact = swap_masks(rng, len(values), first)
    extreme, count = np.zeros(values.shape[1]), 0
    while True:
        sums = np.abs((1.0 - 2.0 * masks) @ values)  # (b, m)
        extreme += (sums >= observed).sum(axis=0)
        count += len(masks)
        if exact or count >= n_resamples:
            p = extreme / count if exact else (1.0 + extreme) / (1.0 + count)
            return p, count, exact
        masks = rng.random((min(_BLOCK, n_resamples - count), len(values))) < 0.5


def swap_linear(
    a: CellTable, b: CellTable, base: Comparison, n_resamples: int, rng: np.random.Generator
) -> Comparison:
    """Return the swap permutation in its linear form: sign flips of what the videos contribute."""
    values = contributions(a) - contributions(b)
    p, count, exact = flip_p(values[:, None], n_resamples, rng)
    return replace(
        base,
        method="swap-linear",
        p_value=float(p[0]),
        df=math.nan,
        n_resamples=count,
        flags=(*base.flags, Flag.EXACT) if exact else base.flags,
    )
