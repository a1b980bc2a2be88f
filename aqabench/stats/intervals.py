"""Confidence interval of one Spearman correlation.

The default is the jackknife on Fisher z: it kept 93.5 to 96.5 % coverage where the textbook
intervals fell to 86 %.  The analytic intervals are for published numbers, where only rho and n
are known.  Refuses the basic and the BCa bootstrap, which cover too little here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from aqabench.errors import UsageError
from aqabench.stats._checks import (
    MIN_SE,
    MIN_TEST,
    SMALL,
    choose,
    fraction,
    pair_flags,
    undefined_reason,
    vectors,
)
from aqabench.stats._kernel import bootstrap_rho, draw_counts, jackknife_z, rho_limit, to_z
from aqabench.stats._results import Flag, Interval, Reason, Status
from aqabench.stats._wald import MAX_DROPPED, jackknife_variance, perfect_variance, wald_interval
from aqabench.stats.metrics import spearman

__all__ = ["correlation_ci", "spearman_ci"]

_ANALYTIC = ("bonett-wright", "fieller", "fisher")


def correlation_ci(
    rho: float, n: int, method: str = "bonett-wright", *, level: float = 0.95
) -> Interval:
    """Interval of a Spearman correlation of which only its value and n are known.

    ``tanh(atanh(rho) +- q SE)`` with the normal quantile q and
    ``SE^2 = (1 + rho^2 / 2) / (n - 3)`` (bonett-wright), ``1.06 / (n - 3)`` (fieller) or
    ``1 / (n - 3)`` (fisher, right for Pearson's r and too short for ranks).

    Args:
        rho: correlation in [-1, 1]; NaN gives an undefined interval.
        n: number of videos; below 4 there is no interval.
        method: ``"bonett-wright"``, ``"fieller"`` or ``"fisher"``.
        level: nominal coverage.

    Source: Bonett & Wright (2000), Psychometrika 65, 23-28; Fieller, Hartley & Pearson (1957),
    Biometrika 44, 470-481; Fisher (1921).
    """
    choose("method", method, _ANALYTIC)
    fraction("level", level)
    if abs(rho) > 1.0:
        raise UsageError(
            f"rho must lie in [-1, 1]. Got {rho} instead; pass a correlation, not a percentage."
        )
    base = Interval(estimate=rho, level=level, method=method, n=n)
    if math.isnan(rho):
        return replace(base, status=Status.UNDEFINED, reason=Reason.CONSTANT_PREDICTIONS)
    if n < MIN_SE:
        return replace(base, reason=Reason.TOO_FEW)
    if abs(rho) > rho_limit(n):
        base = replace(base, flags=(Flag.CLIPPED,))
    if method == "bonett-wright":
        factor = 1.0 + rho**2 / 2.0
    else:
        factor = 1.06 if method == "fieller" else 1.0
    z = float(to_z(np.asarray(rho), n))
    variance = factor / (n - 3)
    return wald_interval(replace(base, variance_samples=variance), z, math.sqrt(variance), math.inf)


def spearman_ci(
    y: npt.ArrayLike,
    p: npt.ArrayLike,
    method: str = "jackknife",
    *,
    level: float = 0.95,
    n_resamples: int = 9999,
    rng: np.random.Generator | None = None,
    ids: Sequence[str] | None = None,
) -> Interval:
    """Interval of Spearman's rho of one prediction vector.

    ``jackknife``: ``tanh(z +- t_{n-1} SE)`` with ``SE^2 = (n-1)/n sum (z_(i) - mean)^2`` over
    delete-one-video replicates.  ``bootstrap``: percentiles over resampled videos, ranks
    recomputed in each.  The analytic methods are those of :func:`correlation_ci`.

    Args:
        y: labels (n,) in judge points.
        p: predictions (n,).
        method: ``"jackknife"``, ``"bonett-wright"``, ``"fieller"``, ``"fisher"`` or
            ``"bootstrap"``.
        level: nominal coverage.
        n_resamples: bootstrap resamples.
        rng: generator for the bootstrap; a fixed one (seed 0) by default.
        ids: sample ids (n,) for messages.

    Returns:
        Undefined when rho is; only the estimate (``too_few``) below 10 videos.  At
        |rho| = 1 all replicates agree, so the Bonett-Wright variance stands in (flags
        ``clipped`` and ``analytic_se``).

    Source: Tukey (1958); Efron & Tibshirani (1993), ch. 11 and 13.
    """
    choose("method", method, ("jackknife", *_ANALYTIC, "bootstrap"))
    fraction("level", level)
    labels, predictions = vectors(ids, y=y, p=p)
    n = labels.size
    base = Interval(estimate=math.nan, level=level, method=method, n=n)
    reason = undefined_reason(labels, predictions)
    if reason:
        return replace(base, status=Status.UNDEFINED, reason=reason)
    rho = float(spearman(labels, predictions))
    base = replace(base, estimate=rho, flags=pair_flags(labels, predictions))
    if n < MIN_TEST:
        return replace(base, reason=Reason.TOO_FEW)
    if n < SMALL:
        base = replace(base, flags=(Flag.SMALL_N, *base.flags))
    if method in _ANALYTIC:
        analytic = correlation_ci(rho, n, method, level=level)
        return replace(analytic, flags=(*base.flags, *analytic.flags))
    if abs(rho) > rho_limit(n):
        base = replace(base, flags=(*base.flags, Flag.CLIPPED))
    if method == "bootstrap":
        counts = draw_counts(rng or np.random.default_rng(0), n_resamples, n)
        return _percentile(base, bootstrap_rho(labels, predictions, counts)[0])
    z, replicates = jackknife_z(labels, predictions)
    samples = jackknife_variance(replicates[0])
    base = replace(base, dropped=samples.dropped)
    if math.isnan(samples.variance):
        return replace(base, reason=Reason.UNDEFINED_RESAMPLES)
    variance = samples.variance
    if variance <= 0.0:
        variance = perfect_variance(n)
        base = replace(base, flags=(*base.flags, Flag.ANALYTIC_SE))
    base = replace(base, variance_samples=variance)
    return wald_interval(base, float(z[0]), math.sqrt(variance), samples.df)


def _percentile(base: Interval, rhos: npt.NDArray[np.float64]) -> Interval:
    defined = rhos[np.isfinite(rhos)]
    dropped = rhos.size - defined.size
    base = replace(base, dropped=dropped)
    if dropped:
        base = replace(base, flags=(*base.flags, Flag.DROPPED_RESAMPLES))
    if dropped > MAX_DROPPED * rhos.size:
        return replace(base, reason=Reason.UNDEFINED_RESAMPLES)
    z = to_z(defined, base.n)
    tail = (1.0 - base.level) / 2.0
    low, high = np.quantile(defined, [tail, 1.0 - tail])
    return replace(
        base,
        low=float(low),
        high=float(high),
        z=float(to_z(np.asarray(base.estimate), base.n)),
        se_z=float(z.std(ddof=1)),
    )
