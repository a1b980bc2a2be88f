"""Textbook tests of two dependent correlations that share a variable (here: the labels).

They are theory for Pearson's r of normal data; on ranks they reject 6 to 25 % of true null
hypotheses.  They are here for published numbers and for reference, never as a decision rule.

Notation: ``a`` = r_a, ``b`` = r_b, ``r`` = r_ab, all of n videos.
"""

from __future__ import annotations

import math
from dataclasses import replace

from scipy.optimize import brentq

from aqabench.stats._results import Comparison, Reason, Status
from aqabench.stats._wald import quantile, two_sided_p, wald_comparison

__all__ = ["CLOSED_FORMS", "closed_form", "covariance", "determinant", "steiger_se"]

_EQUAL = 1e-12
_WIDEST = 30.0  # normal quantile; its p of 1e-197 stands for smaller ones

CLOSED_FORMS = ("steiger", "williams", "dunn-clark", "meng", "zou", "zou-bw")


def determinant(a: float, b: float, r: float) -> float:
    """Determinant of the 3 x 3 correlation matrix; negative means an impossible triple."""
    return 1.0 + 2.0 * a * b * r - a * a - b * b - r * r


def covariance(a: float, b: float, r: float) -> float:
    """Correlation between the Fisher z of two correlations that share a variable.

    Source: Dunn & Clark (1969), JASA 64, 366-377; Steiger (1980), Eq. 3 and 11.
    """
    above = r * (1 - a * a - b * b) - 0.5 * a * b * (1 - a * a - b * b - r * r)
    return above / ((1 - a * a) * (1 - b * b))


def steiger_se(a: float, b: float, r: float, m: float) -> float:
    """Standard error of ``z_a - z_b`` with pooled covariance and ``m = n - 3``; NaN if none.

    Source: Steiger (1980), Psychological Bulletin 87, 245-251, Eq. 14.
    """
    mean = (a + b) / 2
    return _root((2.0 - 2.0 * covariance(mean, mean, r)) / m)


def closed_form(base: Comparison, a: float, b: float, r: float, n: int, method: str) -> Comparison:
    """Fill in one of :data:`CLOSED_FORMS`; undefined (``no_variation``) where its SE is 0."""
    z_a, z_b = math.atanh(a), math.atanh(b)
    if method == "williams":
        return _williams(base, a, b, r, n)
    if method.startswith("zou"):
        return _zou(base, a, b, r, n, bonett_wright=method == "zou-bw")
    if method == "steiger":
        se = steiger_se(a, b, r, n - 3)
    elif method == "dunn-clark":
        se = _root((2.0 - 2.0 * covariance(a, b, r)) / (n - 3))
    else:
        se = _meng_se(a, b, r, n)
    if not se > 0.0:
        return _no_variation(base)
    return wald_comparison(base, z_a, z_b, se, math.inf)


def _williams(base: Comparison, a: float, b: float, r: float, n: int) -> Comparison:
    """Williams (1959), JRSS B 21, 396-399, in the form of Steiger (1980), Eq. 7: t, n - 3 df."""
    mean = (a + b) / 2
    below = 2 * (n - 1) / (n - 3) * determinant(a, b, r) + mean**2 * (1 - r) ** 3
    se = _root(below / ((n - 1) * (1 + r))) if r > -1 else math.nan
    if not se > 0.0:
        return _no_variation(base)
    gap, df = a - b, float(n - 3)
    half = quantile(0.5 + base.level / 2, df) * se
    return replace(
        base,
        difference=gap,
        low=gap - half,
        high=gap + half,
        p_value=two_sided_p(gap / se, df),
        statistic=gap / se,
        df=df,
        difference_z=math.atanh(a) - math.atanh(b),
    )


def _meng_se(a: float, b: float, r: float, n: int) -> float:
    """Meng, Rosenthal & Rubin (1992), Psychological Bulletin 111, 172-175, Eq. 1-3."""
    square = (a * a + b * b) / 2
    f = min(1.0, (1 - r) / (2 * (1 - square)))
    h = (1 - f * square) / (1 - square)
    return _root(2 * (1 - r) * h / (n - 3))


def _zou(
    base: Comparison, a: float, b: float, r: float, n: int, *, bonett_wright: bool
) -> Comparison:
    """Zou (2007), Psychological Methods 12, 399-413; p by inverting the interval."""
    low, high = _zou_limits(a, b, r, n, quantile(0.5 + base.level / 2, math.inf), bonett_wright)
    if not low < high:
        return _no_variation(base)

    def nearest_limit(q: float) -> float:
        lower, upper = _zou_limits(a, b, r, n, q, bonett_wright)
        return lower if a > b else -upper

    # the interval of half width 0 starts at |a - b| and the widest contains 0, mostly
    if abs(a - b) < _EQUAL:
        touching = 0.0
    elif nearest_limit(_WIDEST) > 0.0:
        touching = _WIDEST
    else:
        touching = float(brentq(nearest_limit, 0.0, _WIDEST, xtol=1e-13))
    p_value = two_sided_p(touching, math.inf)
    return replace(
        base,
        difference=a - b,
        low=low,
        high=high,
        p_value=p_value,
        difference_z=math.atanh(a) - math.atanh(b),
    )


def _zou_limits(
    a: float, b: float, r: float, n: int, q: float, bonett_wright: bool
) -> tuple[float, float]:
    low_a, high_a = _single(a, n, q, bonett_wright)
    low_b, high_b = _single(b, n, q, bonett_wright)
    c = covariance(a, b, r)
    down = (a - low_a) ** 2 + (high_b - b) ** 2 - 2 * c * (a - low_a) * (high_b - b)
    up = (high_a - a) ** 2 + (b - low_b) ** 2 - 2 * c * (high_a - a) * (b - low_b)
    return a - b - math.sqrt(max(down, 0.0)), a - b + math.sqrt(max(up, 0.0))


def _single(rho: float, n: int, q: float, bonett_wright: bool) -> tuple[float, float]:
    factor = 1.0 + rho**2 / 2 if bonett_wright else 1.0
    half = q * math.sqrt(factor / (n - 3))
    return math.tanh(math.atanh(rho) - half), math.tanh(math.atanh(rho) + half)


def _root(square: float) -> float:
    return math.sqrt(square) if square > 0.0 else math.nan


def _no_variation(base: Comparison) -> Comparison:
    return replace(base, status=Status.UNDEFINED, reason=Reason.NO_VARIATION)
