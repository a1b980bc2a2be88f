"""Mean squared (or any per-video) loss of A against B.

The default, sign flips of the paired differences, is level for symmetric differences; the
percentile and BCa bootstrap are not, and are refused.  Wilcoxon's test answers another question
(the typical error, not the mean) and says so in its sentence.  Before an MSE claim look also at
``log_ratio_p`` and at ``difference_without_worst``: a few videos can carry a mean.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy import stats as sps

from aqabench.stats._checks import SMALL, FloatArray, choose, fraction, vectors
from aqabench.stats._linear import flip_p
from aqabench.stats._results import Flag, LossComparison, Reason, Status
from aqabench.stats._wald import jackknife_variance, quantile, two_sided_p

__all__ = ["compare_mean_loss", "compare_mean_losses"]

_CONSTANT = 10 * float(np.finfo(np.float64).eps)
"""Differences whose SE is below this share of their mean are the same but for rounding, as in R."""
_WORST = 3
_EXACT_WILCOXON = 50


def compare_mean_loss(
    loss_a: npt.ArrayLike,
    loss_b: npt.ArrayLike,
    method: str = "sign-flip",
    *,
    level: float = 0.95,
    n_resamples: int = 9999,
    rng: np.random.Generator | None = None,
    ids: Sequence[str] | None = None,
) -> LossComparison:
    """Compare the mean losses of two methods on the same videos.

    ``sign-flip``: the sign of each paired difference is flipped at random (all 2**n ways where
    they are few enough); p is the share with at least the observed |mean|, which orders the
    flips exactly as the studentised mean does.  ``t``: paired t.  ``wilcoxon``: signed ranks,
    zeros left out, exact below 50 untied differences, else normal with continuity correction.

    Args:
        loss_a: loss of A per video (n,), e.g. squared errors in squared judge points.
        loss_b: loss of B per video (n,).
        method: ``"sign-flip"``, ``"t"`` or ``"wilcoxon"``.
        level: nominal coverage of the paired-t interval (none for ``wilcoxon``).
        n_resamples: sign flips.
        rng: generator for them; a fixed one (seed 0) by default.
        ids: sample ids (n,) for messages.

    Returns:
        Undefined with ``non_finite`` losses and below 2 videos; identical losses give p = 1;
        a constant nonzero difference has no t test (``no_variation``).

    Raises:
        DataError: lengths differ, or NaN.

    Source: Fisher (1935), Pitman (1937) (sign flips); Wilcoxon (1945).
    """
    choose("method", method, ("sign-flip", "t", "wilcoxon"))
    fraction("level", level)
    a, b = vectors(ids, loss_a=loss_a, loss_b=loss_b)
    base, d = _describe(method, level, a, b)
    if base.status is not Status.OK:
        return base
    if method == "wilcoxon":
        return _wilcoxon(base, d)
    if method == "sign-flip":
        return _flipped([base], [d], n_resamples, rng or np.random.default_rng(0))[0]
    if math.isnan(base.statistic):
        return replace(base, low=math.nan, high=math.nan, reason=Reason.NO_VARIATION)
    return replace(base, p_value=two_sided_p(base.statistic, base.df))


def compare_mean_losses(
    losses: Mapping[str, npt.ArrayLike],
    *,
    level: float = 0.95,
    n_resamples: int = 9999,
    rng: np.random.Generator | None = None,
    ids: Sequence[str] | None = None,
) -> dict[tuple[str, str], LossComparison]:
    """Compare the mean losses of every pair of methods by the same sign flips.

    Args:
        losses: loss per video (n,) by name of the method.
        level: see :func:`compare_mean_loss`, as all others.
        n_resamples: sign flips, drawn once for all pairs.
        rng: generator for them; a fixed one (seed 0) by default.
        ids: sample ids (n,) for messages.

    Returns:
        (A, B) -> comparison, the names in the order given.  The p values are not adjusted.

    Raises:
        DataError: lengths differ, or NaN.
    """
    fraction("level", level)
    values = list(losses.values())
    arrays = [vectors(ids, loss_a=values[0], loss_b=v)[1] for v in values]
    found: dict[tuple[str, str], LossComparison] = {}
    tested: dict[tuple[str, str], FloatArray] = {}
    for (name_a, a), (name_b, b) in combinations(zip(losses, arrays, strict=True), 2):
        found[name_a, name_b], d = _describe("sign-flip", level, a, b)
        if found[name_a, name_b].status is Status.OK:
            tested[name_a, name_b] = d
    if tested:
        bases, generator = [found[pair] for pair in tested], rng or np.random.default_rng(0)
        flipped = _flipped(bases, list(tested.values()), n_resamples, generator)
        found.update(zip(tested, flipped, strict=True))
    return found


def _describe(
    method: str, level: float, a: FloatArray, b: FloatArray
) -> tuple[LossComparison, FloatArray]:
    """Return everything but the test, and the paired differences (n,)."""
    n = a.size
    with np.errstate(invalid="ignore"):  # infinite losses are undefined, see below
        d = a - b
    base = LossComparison(difference=math.nan, method=method, n=n, level=level)
    undefined = replace(base, status=Status.UNDEFINED)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return replace(undefined, reason=Reason.NON_FINITE, flags=(Flag.NON_FINITE,)), d
    if n < 2:
        return replace(undefined, reason=Reason.TOO_FEW), d
    base = replace(
        base,
        difference=float(d.mean()),
        mean_a=float(a.mean()),
        mean_b=float(b.mean()),
        share_a_better=float((d < 0).mean() + 0.5 * (d == 0).mean()),
        flags=(Flag.SMALL_N,) if n < SMALL else (),
    )
    if not d.any():
        done = replace(base, difference=0.0, se=0.0, p_value=1.0, status=Status.IDENTICAL_LOSSES)
        return done, d
    base = _diagnose(base, a, b, d)
    if base.method == "wilcoxon":
        return base, d
    se, df = float(d.std(ddof=1)) / math.sqrt(n), float(n - 1)
    half = quantile(0.5 + base.level / 2.0, df) * se
    constant = se < _CONSTANT * abs(base.difference)
    statistic = math.nan if constant else base.difference / se
    base = replace(base, se=se, df=df, low=base.difference - half, high=base.difference + half)
    return replace(base, statistic=statistic), d


def _flipped(
    bases: Sequence[LossComparison],
    differences: Sequence[FloatArray],
    n_resamples: int,
    rng: np.random.Generator,
) -> list[LossComparison]:
    p, count, exact = flip_p(np.stack(differences, axis=1), n_resamples, rng)
    return [
        replace(
            base,
            p_value=float(own),
            n_resamples=count,
            flags=(*base.flags, Flag.EXACT) if exact else base.flags,
        )
        for base, own in zip(bases, p, strict=True)
    ]


def _wilcoxon(base: LossComparison, d: FloatArray) -> LossComparison:
    nonzero = d[d != 0]
    ranks = sps.rankdata(np.abs(nonzero))
    untied = np.unique(np.abs(nonzero)).size == nonzero.size == d.size
    exact = untied and d.size < _EXACT_WILCOXON
    result = sps.wilcoxon(nonzero, correction=not exact, method="exact" if exact else "approx")
    return replace(
        base,
        statistic=float(ranks[nonzero > 0].sum()),
        p_value=min(1.0, float(result.pvalue)),
        flags=(*base.flags, Flag.EXACT) if exact else base.flags,
    )


def _diagnose(base: LossComparison, a: FloatArray, b: FloatArray, d: FloatArray) -> LossComparison:
    """Log ratio of the mean losses with its jackknife p, and the mean without the worst videos."""
    n = a.size
    if n > _WORST:
        kept = np.argsort(np.abs(d - d.mean()))[: n - _WORST]
        base = replace(base, difference_without_worst=float(d[kept].mean()))
    left_a, left_b = (a.sum() - a) / (n - 1), (b.sum() - b) / (n - 1)  # (n,)
    if min(left_a.min(), left_b.min(), a.min(), b.min()) < 0 or not (left_a * left_b).all():
        return base
    log_ratio = math.log(base.mean_a / base.mean_b)
    samples = jackknife_variance(np.log(left_a / left_b))
    if not samples.variance > 0.0:
        return replace(base, log_ratio=log_ratio)
    p = two_sided_p(log_ratio / math.sqrt(samples.variance), samples.df)
    return replace(base, log_ratio=log_ratio, log_ratio_p=p)
