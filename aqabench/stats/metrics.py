"""The metrics of the field: rank correlations, squared errors, and Fisher-z averages.

Every function returns a :class:`MetricValue`: a float that is NaN, with a reason, where the
metric is undefined.  Refuses to leave out samples and to turn an undefined metric into a zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats as sps

from aqabench.errors import DataError, UsageError
from aqabench.stats._checks import FloatArray, choose, n_tied_pairs, undefined_reason, vectors
from aqabench.stats._kernel import mid_ranks, rho_limit
from aqabench.stats._results import Flag, MetricValue, Reason

__all__ = ["fisher_mean", "kendall", "mse", "normalised_mse", "relative_l2", "spearman"]


def spearman(
    y: npt.ArrayLike,
    p: npt.ArrayLike,
    *,
    ids: Sequence[str] | None = None,
    on_nan: str = "raise",
) -> MetricValue:
    """Spearman's rank correlation, ties by mid-ranks.

    Args:
        y: labels (n,) in judge points.
        p: predictions (n,) in any unit; infinite ones have a rank (flag ``non_finite``).
        ids: sample ids (n,) for messages.
        on_nan: ``"raise"``, or ``"undefined"`` for NaN with the reason ``nan_prediction``.

    Raises:
        DataError: lengths differ, or NaN with ``on_nan="raise"``.

    Source: Spearman (1904); equals ``scipy.stats.spearmanr``.
    """
    return _rank_metric("spearman", y, p, ids, on_nan)


def kendall(
    y: npt.ArrayLike,
    p: npt.ArrayLike,
    *,
    ids: Sequence[str] | None = None,
    on_nan: str = "raise",
) -> MetricValue:
    """Kendall's tau-b; arguments as in :func:`spearman`.

    Source: Kendall (1945), ``(C - D) / sqrt((C + D + Ty) (C + D + Tp))``.
    """
    return _rank_metric("kendall", y, p, ids, on_nan)


def _rank_metric(
    name: str, y: npt.ArrayLike, p: npt.ArrayLike, ids: Sequence[str] | None, on_nan: str
) -> MetricValue:
    choose("on_nan", on_nan, ("raise", "undefined"))
    labels, predictions = vectors(ids, allow_nan=on_nan == "undefined", y=y, p=p)
    n = labels.size
    reason = undefined_reason(labels, predictions)
    if reason:
        return MetricValue(math.nan, name, n, 0, reason)
    ties = max(n_tied_pairs(labels), n_tied_pairs(predictions))
    if name == "spearman":
        value = _rank_correlation(labels, predictions)
    else:
        value = float(sps.kendalltau(mid_ranks(labels), mid_ranks(predictions)).statistic)
    flags: tuple[Flag, ...] = ()
    if not (np.isfinite(labels).all() and np.isfinite(predictions).all()):
        flags += (Flag.NON_FINITE,)
    if ties > 0.05 * n * (n - 1) / 2:
        flags += (Flag.MANY_TIES,)
    return MetricValue(value, name, n, ties, Reason.NONE, flags)


def _rank_correlation(x: FloatArray, y: FloatArray) -> float:
    """Spearman's rho of two vectors (n,) that are known to vary."""
    centre = (x.size + 1) / 2
    a, b = mid_ranks(x) - centre, mid_ranks(y) - centre
    return float(np.clip((a @ b) / math.sqrt((a @ a) * (b @ b)), -1.0, 1.0))


def mse(y: npt.ArrayLike, p: npt.ArrayLike, *, ids: Sequence[str] | None = None) -> MetricValue:
    """Mean squared error in squared judge points.

    Args:
        y: labels (n,) in judge points.
        p: predictions (n,) in judge points.
        ids: sample ids (n,) for messages.

    Returns:
        NaN with the reason ``non_finite`` when a prediction is infinite.
    """
    labels, predictions = vectors(ids, y=y, p=p)
    return _squared("mse", labels, predictions, 1.0)


def normalised_mse(
    y: npt.ArrayLike, p: npt.ArrayLike, *, variance: float | None = None
) -> MetricValue:
    """Mean squared error over the variance of the labels; 1 is the constant mean predictor.

    Args:
        y: labels (n,) in judge points.
        p: predictions (n,) in judge points.
        variance: label variance to divide by, in squared judge points; by default the
            population variance of ``y``.
    """
    labels, predictions = vectors(y=y, p=p)
    scale = float(np.var(labels)) if variance is None and labels.size else (variance or 0.0)
    if scale <= 0.0:
        return MetricValue(
            math.nan, "normalised_mse", labels.size, 0, undefined_reason(labels, predictions)
        )
    return _squared("normalised_mse", labels, predictions, scale)


def relative_l2(y: npt.ArrayLike, p: npt.ArrayLike, bounds: tuple[float, float]) -> MetricValue:
    """Relative L2 distance, ``100 * mean(((p - y) / (high - low))**2)``.

    Args:
        y: labels (n,) in judge points.
        p: predictions (n,) in judge points.
        bounds: declared lowest and highest score of the class, the same for every method and
            every resample.

    Raises:
        UsageError: the bounds are not increasing and finite.

    Source: Yu et al. (2021), Group-aware contrastive regression (R-l2, times 100).
    """
    low, high = float(bounds[0]), float(bounds[1])
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UsageError(
            f"bounds must be (lowest, highest) score. Got ({low}, {high}) instead; take them from "
            "the full label file, e.g. bounds=(labels.min(), labels.max())."
        )
    labels, predictions = vectors(y=y, p=p)
    return _squared("relative_l2", labels, predictions, (high - low) ** 2 / 100.0)


def _squared(name: str, y: FloatArray, p: FloatArray, scale: float) -> MetricValue:
    if not y.size:
        return MetricValue(math.nan, name, 0, 0, Reason.TOO_FEW)
    if not (np.isfinite(y).all() and np.isfinite(p).all()):
        return MetricValue(math.nan, name, y.size, 0, Reason.NON_FINITE, (Flag.NON_FINITE,))
    return MetricValue(float(np.mean((p - y) ** 2)) / scale, name, y.size)


def fisher_mean(
    rhos: npt.ArrayLike, n: npt.ArrayLike | None = None, *, undefined_as_zero: bool = False
) -> MetricValue:
    """Average of correlations on the Fisher z scale, ``tanh(mean(atanh(rho)))``.

    Args:
        rhos: correlations (c,), e.g. one per class.
        n: videos behind each correlation (scalar or (c,)); with it, a perfect correlation is
            clipped at ``1 - 6/(n**3 - n)`` (flag ``clipped``), without it the mean is +-1.
        undefined_as_zero: count an undefined (NaN) correlation as 0 instead of making the
            average undefined.

    Returns:
        NaN when any correlation is NaN: a class that failed is never left out.

    Raises:
        DataError: no correlation, or one outside [-1, 1].

    Source: averaging rule of the published boards, checked on 7 published averages.
    """
    values = np.atleast_1d(np.asarray(rhos, dtype=np.float64)).ravel()
    if values.size == 0:
        raise DataError("fisher_mean needs at least one correlation. Got none; pass e.g. [0.7].")
    if (np.abs(values) > 1.0 + 1e-12).any():
        raise DataError(
            f"rhos must lie in [-1, 1]. Got {values[np.abs(values) > 1][0]} instead; "
            "pass correlations, not percentages."
        )
    name, flags = "fisher_mean", []
    if np.isnan(values).any():
        if not undefined_as_zero:
            return MetricValue(math.nan, name, values.size, 0, Reason.CONSTANT_PREDICTIONS)
        values = np.where(np.isnan(values), 0.0, values)
        flags.append(Flag.UNDEFINED_AS_ZERO)
    if n is not None:
        counts = np.broadcast_to(np.asarray(n, dtype=np.float64), values.shape)
        limits = np.array([rho_limit(float(m)) for m in counts])
        if (np.abs(values) > limits).any():
            flags.append(Flag.CLIPPED)
        values = np.clip(values, -limits, limits)
    with np.errstate(divide="ignore"):
        z = np.arctanh(np.clip(values, -1.0, 1.0))
    if np.isposinf(z).any() and np.isneginf(z).any():
        return MetricValue(math.nan, name, values.size, 0, Reason.INFINITE_Z)
    return MetricValue(float(np.tanh(z.mean())), name, values.size, 0, Reason.NONE, tuple(flags))
