"""Rank correlations of many resamples at once, exactly and with ties, by matrix products.

A resample is a vector of multiplicities ``w`` (n,): how often each video was drawn.  With
``S[i, k] = 1[x_k < x_i] + 1/2 1[x_k = x_i]`` the mid-rank of ``x_i`` inside the resample is
``(S w)_i + 1/2``, so no resample is ever sorted; a delete-one jackknife is the same with
``w = 1 - e_i``.  All intermediate numbers are multiples of 1/4 below 2**22 for n <= 256, where
float32 is therefore exact; larger sets use float64.

This file knows numbers only: no ids, no classes, no tests.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from aqabench.stats._checks import FloatArray

__all__ = [
    "bootstrap_rho",
    "draw_counts",
    "jackknife_rho",
    "jackknife_z",
    "mid_ranks",
    "order_matrix",
    "rho_limit",
    "to_z",
]

_EXACT_FLOAT32 = 256
_CHUNK_CELLS = 2_000_000


def mid_ranks(x: npt.ArrayLike) -> FloatArray:
    """Ranks 1..n along the last axis, ties share their mean rank; shape as ``x``."""
    values = np.asarray(x, dtype=np.float64)
    if values.ndim > 1:
        return np.stack([mid_ranks(row) for row in values])
    ordered = np.sort(values)
    below = np.searchsorted(ordered, values, side="left")
    return np.asarray((below + np.searchsorted(ordered, values, side="right") + 1) / 2.0)


def order_matrix(x: FloatArray) -> FloatArray:
    """``S[i, k] = 1[x_k < x_i] + 1/2 1[x_k = x_i]`` for ``x`` (n,); returns (n, n)."""
    ranks = mid_ranks(x)  # (n,); ranks, so that infinite values compare
    return np.asarray(0.5 * (np.sign(ranks[:, None] - ranks[None, :]) + 1.0))


def rho_limit(n: float) -> float:
    """Largest |rho| that enters Fisher z: half-way between 1 and the next attainable value."""
    return 1.0 - 6.0 / (n**3 - n)


def to_z(rho: FloatArray, n: float) -> FloatArray:
    """Fisher z of Spearman correlations of ``n`` videos, clipped at :func:`rho_limit`."""
    limit = rho_limit(n)
    return np.asarray(np.arctanh(np.clip(rho, -limit, limit)))


def _exact(x: FloatArray) -> npt.NDArray[np.float32 | np.float64]:
    """``x`` (..., n) in the fastest float in which the kernel is exact for n videos."""
    return x.astype(np.float32) if x.shape[-1] <= _EXACT_FLOAT32 else x


def _tie_terms(ranks: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Size of each value's tie group (k, n) and the sum of t**3 - t over groups (k,)."""
    ordered = np.sort(ranks, axis=-1)
    if (np.diff(ordered, axis=-1) > 0).all():
        return np.ones_like(ranks), np.zeros(ranks.shape[0])
    sizes = np.empty_like(ranks)
    for row, values in enumerate(ranks):
        _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
        sizes[row] = counts[inverse]
    return sizes, np.asarray((sizes**2 - 1.0).sum(axis=-1))


def jackknife_rho(y: npt.ArrayLike, predictions: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Spearman's rho and its delete-one replicates for many prediction vectors.

    Args:
        y: labels (n,).
        predictions: one prediction vector per row (k, n); no NaN.

    Returns:
        ``rho`` (k,) and ``replicates`` (k, n), where column i leaves out video i.  NaN where
        the (remaining) labels or predictions are constant.
    """
    ry = mid_ranks(y)  # (n,)
    rp = mid_ranks(np.atleast_2d(np.asarray(predictions, dtype=np.float64)))  # (k, n)
    k, n = rp.shape
    ty, sum_y = _tie_terms(ry[None, :])  # (1, n), (1,)
    tp, sum_p = _tie_terms(rp)  # (k, n), (k,)
    centre = (n + 1) / 2
    full = ((rp - centre) @ (ry - centre)) * 12.0  # (k,)
    cube = float(n**3 - n)
    rho = _ratio(full, (cube - sum_y) * (cube - sum_p))
    # column i: ranks of the labels without video i, centred; row i of that column is empty
    yc = ry[:, None] - order_matrix(ry) - n / 2  # (n, n)
    np.fill_diagonal(yc, 0.0)
    cov = (rp - centre) @ yc  # (k, n)
    yc_t, ranks = _exact(np.ascontiguousarray(yc.T)), _exact(rp)
    step = max(1, _CHUNK_CELLS // (n * n))
    for start in range(0, k, step):
        part = ranks[start : start + step]
        above = np.sign(part[:, None, :] - part[:, :, None])  # (b, i, j): p_j above p_i
        cov[start : start + step] -= 0.5 * np.asarray(np.einsum("ij,bij->bi", yc_t, above))
    cube = float((n - 1) ** 3 - (n - 1))
    left_y = cube - (sum_y[:, None] - 3.0 * ty * (ty - 1.0))  # (1, n)
    left_p = cube - (sum_p[:, None] - 3.0 * tp * (tp - 1.0))  # (k, n)
    return rho, _ratio(cov * 12.0, left_y * left_p)


def jackknife_z(y: npt.ArrayLike, predictions: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Fisher z of Spearman's rho and its delete-one replicates.

    Args:
        y: labels (n,).
        predictions: one prediction vector per row (k, n); no NaN.

    Returns:
        ``z`` (k,) and ``replicates`` (k, n); NaN where rho is undefined, clipped as in
        :func:`to_z` (with n - 1 videos for the replicates).
    """
    rho, replicates = jackknife_rho(y, predictions)
    n = replicates.shape[1]
    return to_z(rho, n), to_z(replicates, n - 1)


def draw_counts(rng: np.random.Generator, n_resamples: int, n: int) -> FloatArray:
    """Multiplicities (n_resamples, n) of videos drawn with replacement; each row sums to n."""
    drawn = rng.integers(0, n, size=(n_resamples, n))
    drawn += np.arange(n_resamples)[:, None] * n
    counts = np.bincount(drawn.ravel(), minlength=n_resamples * n)
    return counts.reshape(n_resamples, n).astype(np.float64)


def bootstrap_rho(
    y: npt.ArrayLike, predictions: npt.ArrayLike, counts: npt.ArrayLike
) -> FloatArray:
    """Spearman's rho of every resample, one matrix product per prediction vector.

    Args:
        y: labels (n,).
        predictions: one prediction vector per row (k, n); no NaN.
        counts: multiplicities (b, n), shared by all prediction vectors; rows may have any sum.

    Returns:
        (k, b); NaN where a resample has constant labels or predictions.
    """
    predicted = np.atleast_2d(np.asarray(predictions, dtype=np.float64))  # (k, n)
    weights = np.asarray(counts, dtype=np.float64)  # (b, n)
    k, n = predicted.shape
    w = _exact(weights)
    total = weights.sum(axis=1)  # (b,)
    v = _exact(w @ _exact(order_matrix(np.asarray(y, dtype=np.float64))).T - total[:, None] / 2)
    v = v * w  # (b, n): weighted ranks of the labels, centred
    cubes = total**3  # (b,)
    untied = cubes - np.einsum("bn,bn,bn->b", weights, weights, weights)
    labels = np.asarray(y, dtype=np.float64)
    left_y = cubes - _group_cubes(labels, weights) if np.unique(labels).size < n else untied
    out = np.empty((k, weights.shape[0]))
    product = np.empty_like(w)
    for row, p in enumerate(predicted):
        np.matmul(v, _exact(order_matrix(p)), out=product)
        cov = np.einsum("bn,bn->b", product, w).astype(np.float64)
        tied = np.unique(p).size < n
        left_p = cubes - _group_cubes(p, weights) if tied else untied
        out[row] = _ratio(cov * 12.0, left_y * left_p)
    return out


def _group_cubes(x: FloatArray, weights: FloatArray) -> FloatArray:
    """Sum over tie groups of (total weight of the group)**3; ``weights`` (b, n) -> (b,)."""
    order = np.argsort(x, kind="stable")
    starts = np.flatnonzero(np.r_[True, x[order][1:] != x[order][:-1]])
    groups = np.add.reduceat(weights[:, order], starts, axis=1)  # (b, groups)
    return np.asarray((groups**3).sum(axis=1))


def _ratio(numerator: FloatArray, squares: FloatArray) -> FloatArray:
    """``numerator / sqrt(squares)``, NaN where ``squares`` is 0, kept inside [-1, 1]."""
    with np.errstate(divide="ignore", invalid="ignore"):
        rho = numerator / np.sqrt(squares)
    rho[~(squares > 0)] = np.nan
    return np.asarray(np.clip(rho, -1.0, 1.0))
