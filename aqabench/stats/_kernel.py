"""Rank correlations of many resamples at once, exactly and with ties, by matrix products.

A resample is a vector of multiplicities ``w`` (n,): how often each video was drawn.  With
``S[i, k] = 1[x_k < x_i] + 1/2 1[x_k = x_i]`` the mid-rank of ``x_i`` inside the resample is
``(S w)_i + 1/2``, so no resample is ever sorted.  A delete-one jackknife is the same with
``w = 1 - e_i``; there the products collapse to sums over the videos above and below each one,
which take n sqrt(n) steps instead of n squared.  All intermediate numbers are multiples of 1/4
below 2**22 for n <= 256, where float32 is therefore exact; larger sets use float64.

This file knows numbers only: no ids, no classes, no tests.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from aqabench.stats._checks import FloatArray

__all__ = [
    "bootstrap_rho",
    "draw_counts",
    "exact_float",
    "jackknife_rho",
    "jackknife_z",
    "mid_ranks",
    "order_matrix",
    "rho_limit",
    "to_z",
]

Positions = npt.NDArray[np.intp]

_EXACT_FLOAT32 = 256
_INT16 = 32_000
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


def exact_float(x: FloatArray, n: int | None = None) -> npt.NDArray[np.float32 | np.float64]:
    """``x`` (..., n) in the fastest float in which the kernel is exact for n videos."""
    few = (x.shape[-1] if n is None else n) <= _EXACT_FLOAT32
    return x.astype(np.float32) if few else x


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
    n = ry.size
    ty, sum_y = _tie_terms(ry[None, :])  # (1, n), (1,)
    tp, sum_p = _tie_terms(rp)  # (k, n), (k,)
    yc, pc = ry - (n + 1) / 2, rp - (n + 1) / 2  # centred
    full = pc @ yc  # (k,)
    cube = float(n**3 - n)
    rho = _ratio(full * 12.0, (cube - sum_y) * (cube - sum_p))
    # without video i the ranks of those above it fall by 1, of those tied with it by 1/2
    start, end = _positions(ry, ty[0])  # (n,), of each tie group of the labels
    order = np.argsort(ry, kind="stable")
    by_y = _signed_sum(pc[:, order], start, end)  # sum_j pc_j sign(y_j - y_i)
    low, high = _positions(rp, tp)
    by_p = _signed_sum(yc[np.argsort(rp, axis=-1, kind="stable")], low, high)
    both = _concordance(low[:, order], low, rp, start, end)  # sum_j sign(y_j - y_i) sign(p_j - p_i)
    cov = full[:, None] - pc * yc - 0.5 * (by_y + by_p) + 0.25 * both  # (k, n)
    cube = float((n - 1) ** 3 - (n - 1))
    left_y = cube - (sum_y[:, None] - 3.0 * ty * (ty - 1.0))  # (1, n)
    left_p = cube - (sum_p[:, None] - 3.0 * tp * (tp - 1.0))  # (k, n)
    return rho, _ratio(cov * 12.0, left_y * left_p)


def _positions(ranks: FloatArray, ties: FloatArray) -> tuple[Positions, Positions]:
    """First and one past the last sorted position of each value's tie group; shapes as given."""
    first = (ranks - (ties + 1.0) / 2.0).astype(np.intp)
    return first, first + ties.astype(np.intp)


def _signed_sum(ordered: FloatArray, start: Positions, end: Positions) -> FloatArray:
    """``sum_j v_j sign(x_j - x_i)`` for ``v`` in the order of ``x`` (k, n), which sums to 0."""
    sums = np.zeros((ordered.shape[0], ordered.shape[1] + 1))
    np.cumsum(ordered, axis=1, out=sums[:, 1:])
    if start.ndim == 1:
        return np.asarray(-sums[:, start] - sums[:, end])
    return np.asarray(-np.take_along_axis(sums, start, 1) - np.take_along_axis(sums, end, 1))


def _concordance(
    ordered: Positions, low: Positions, rp: FloatArray, start: Positions, end: Positions
) -> FloatArray:
    """``sum_j sign(y_j - y_i) sign(p_j - p_i)`` of every video, without looking at every pair.

    Let ``f(q, i) = sum (1 + sign(p_i - p_j))`` over the first ``q`` videos in the order of y.
    It is read from a table at every block of about sqrt(n) videos, and counted inside a block.

    Args:
        ordered: values of p below each (k, n), in the order of y.
        low: the same, in the order of the videos.
        rp: mid-ranks of p (k, n).
        start: videos with smaller y (n,).
        end: videos with y at most that of the video (n,).
    """
    k, n = ordered.shape
    block = max(1, math.isqrt(n))
    step = max(1, _CHUNK_CELLS // (n * (block + n // block + 1)))
    out = np.empty((k, n))
    tied = bool((end - start > 1).any())
    for at in range(0, k, step):
        rows, own = ordered[at : at + step], low[at : at + step]
        table = _table(rows, block)
        before = _below(table, rows, own, start, block)
        # the video itself adds 1 where nothing else shares its label
        through = _below(table, rows, own, end, block) if tied else before + 1
        above = n - end - (2.0 * rp[at : at + step] - 1.0) + through
        out[at : at + step] = above - (start - before)
    return out


def _table(rows: Positions, block: int) -> npt.NDArray[np.int32]:
    """``[k, b, c]``: how many of the first ``b`` blocks of ``rows`` (k, n) are less than ``c``."""
    k, n = rows.shape
    blocks = n // block + 1
    cell = (np.arange(k)[:, None] * blocks + np.arange(n) // block) * (n + 1) + rows + 1
    drawn = np.bincount(cell.ravel(), minlength=k * blocks * (n + 1)).astype(np.int32)
    table = np.zeros((k, blocks, n + 1), dtype=np.int32)
    np.cumsum(drawn.reshape(k, blocks, n + 1)[:, :-1], axis=1, out=table[:, 1:])
    return np.asarray(np.cumsum(table, axis=2, out=table))


def _below(
    table: npt.NDArray[np.int32], rows: Positions, own: Positions, q: Positions, block: int
) -> npt.NDArray[np.int64]:
    """``f(q_i, i)`` of :func:`_concordance`; ``rows`` and ``own`` (k, n), ``q`` (n,) -> (k, n)."""
    k, n = rows.shape
    flat = table.reshape(k, -1)
    at = (q // block) * (n + 1) + own  # (k, n)
    found = np.take_along_axis(flat, at, 1) + np.take_along_axis(flat, at + 1, 1)
    kind = np.int16 if n < _INT16 else np.int32
    padded = np.full((k, table.shape[1] * block), n + 1, dtype=kind)
    padded[:, :n] = rows
    inside = padded.reshape(k, -1, block)[:, q // block]  # (k, n, block)
    inside[:, np.arange(block) >= (q % block)[:, None]] = n + 1  # counts as above everything
    mine = own[:, :, None].astype(kind)
    fewer, most = (np.count_nonzero(c, axis=2) for c in (inside < mine, inside <= mine))
    return np.asarray(found + fewer + most)


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
    w = exact_float(weights)
    total = weights.sum(axis=1)  # (b,)
    v = exact_float(
        w @ exact_float(order_matrix(np.asarray(y, dtype=np.float64))).T - total[:, None] / 2
    )
    v = v * w  # (b, n): weighted ranks of the labels, centred
    cubes = total**3  # (b,)
    untied = cubes - np.einsum("bn,bn,bn->b", weights, weights, weights)
    labels = np.asarray(y, dtype=np.float64)
    left_y = cubes - _group_cubes(labels, weights) if np.unique(labels).size < n else untied
    out = np.empty((k, weights.shape[0]))
    product = np.empty_like(w)
    for row, p in enumerate(predicted):
        np.matmul(v, exact_float(order_matrix(p)), out=product)
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
