"""What a protocol can see: power, detectable difference and sample size of the default test.

The default test is Wald on Fisher z, so its power follows from the standard error of
``z_a - z_b``.  That error is computed from the influence function of Spearman's rho under a
Gaussian copula, not from Pearson's normal theory, which is too small for ranks.

``rho`` is the *mean* of both methods' Spearman correlations, ``r`` the Spearman correlation of
their predictions, ``delta`` their true difference.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy import special
from scipy.optimize import brentq

from aqabench.errors import UsageError
from aqabench.stats._checks import MIN_SE, FloatArray, fraction
from aqabench.stats._results import Comparison
from aqabench.stats._wald import quantile, upper_tail

__all__ = ["detectable_difference", "difference_sd", "needed_n", "power", "required_n"]

_NODES = 24
_GRID = np.linspace(-9.0, 9.0, 6001)


def power(
    n: int,
    rho: float,
    r: float,
    delta: float,
    *,
    alpha: float = 0.05,
    n_classes: int = 1,
    shared: float = 0.0,
) -> float:
    """Probability that the default test finds a true difference ``delta``.

    ``P(|t| > t_{1-alpha/2}) `` with ``t`` centred at ``(z_a - z_b) / SE``, of long test lists: the
    study in ``docs/studies/validity.md`` finds 9 points less at 50 to 100 videos, 2 at 250.

    Args:
        n: test videos (per class, where classes are averaged).
        rho: mean Spearman correlation of both methods, in (-1, 1).
        r: Spearman correlation of their predictions; lowered to the largest possible value
            where ``delta`` rules it out.
        delta: true difference of the correlations.
        alpha: two-sided level.
        n_classes: classes averaged.
        shared: mean correlation between the classes' differences: 0 for different videos (RG),
            about .5 for Fis-V's two and .6 for FS1000's seven scores of the same videos.

    Raises:
        UsageError: n below 4, or correlations that cannot be.
    """
    return _power(n, rho, r, delta, alpha, n_classes, shared)


def detectable_difference(
    n: int,
    rho: float,
    r: float,
    power: float = 0.8,
    *,
    alpha: float = 0.05,
    n_classes: int = 1,
    shared: float = 0.0,
) -> float:
    """Smallest true difference that the default test finds with probability ``power``.

    Args:
        n: test videos (per class, where classes are averaged).
        rho: mean Spearman correlation of both methods.
        r: Spearman correlation of their predictions.
        power: probability to find it.
        alpha: two-sided level.
        n_classes: see :func:`power`.
        shared: see :func:`power`.

    Returns:
        NaN where even the largest possible difference is found less often.
    """
    fraction("power", power)
    _check(n, rho, r, alpha, n_classes, shared)

    def shortfall(delta: float) -> float:
        found = _power(n, rho, r, delta, alpha, n_classes, shared)
        return found - power

    if power <= alpha:
        return 0.0
    largest = 2.0 * (1.0 - abs(rho)) * 0.999
    if shortfall(largest) < 0.0:
        return math.nan
    return float(brentq(shortfall, 0.0, largest, xtol=1e-7))


def required_n(
    delta: float,
    rho: float,
    r: float,
    power: float = 0.8,
    *,
    alpha: float = 0.05,
    n_classes: int = 1,
    shared: float = 0.0,
) -> int:
    """Test videos (per class) at which ``delta`` is found with probability ``power``.

    Args:
        delta: true difference, not 0.
        rho: mean Spearman correlation of both methods.
        r: Spearman correlation of their predictions.
        power: probability to find it, above ``alpha``.
        alpha: two-sided level.
        n_classes: see :func:`power`.
        shared: see :func:`power`.

    Raises:
        UsageError: delta is 0, or power is not above alpha.
    """
    fraction("power", power)
    if delta == 0.0 or power <= alpha:
        raise UsageError(
            f"a sample size needs a difference other than 0 and power above alpha. Got delta = "
            f"{delta}, power = {power}, alpha = {alpha}; pass e.g. delta=0.02, power=0.8."
        )
    low, high = MIN_SE, 2 * MIN_SE

    def enough(n: int) -> bool:
        return _power(n, rho, r, delta, alpha, n_classes, shared) >= power

    if enough(low):
        return low
    while not enough(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def needed_n(comparison: Comparison, power: float = 0.8, *, alpha: float = 0.05) -> float:
    """Test videos at which the difference that was measured would be found, were it the true one.

    The variance from the videos shrinks with their number, that from the seeds does not:
    ``n V_samples / ((d_z / (u_{1-alpha/2} + u_power))^2 - V_seeds)``.  The overlap of predictions,
    classes and scenarios are as measured, which :func:`required_n` has to assume.

    Args:
        comparison: a Wald comparison.
        power: probability to find it.
        alpha: two-sided level.

    Returns:
        Distinct videos, rounded up; infinite where more videos would not do without more seeds, or
        where the difference is 0; NaN where the comparison has no standard error.
    """
    fraction("power", power)
    fraction("alpha", alpha)
    if math.isnan(comparison.se_z):
        return math.nan
    reach = quantile(1.0 - alpha / 2.0, math.inf) + quantile(power, math.inf)
    room = (comparison.difference_z / reach) ** 2 - comparison.variance_seeds
    if room <= 0.0:
        return math.inf
    return float(math.ceil(comparison.n * comparison.variance_samples / room))


def _power(
    n: int, rho: float, r: float, delta: float, alpha: float, n_classes: int, shared: float
) -> float:
    _check(n, rho, r, alpha, n_classes, shared)
    if not abs(delta) / 2.0 < 1.0 - abs(rho):
        raise UsageError(
            f"delta must leave both correlations inside (-1, 1) around rho = {rho}. Got {delta} "
            f"instead; pass less than {2 * (1 - abs(rho)):.3g}."
        )
    factor = (1.0 + (n_classes - 1) * shared) / n_classes
    df = (n - 1) / factor
    delta = abs(delta)  # which of the two is better makes no difference
    gap = math.atanh(rho + delta / 2.0) - math.atanh(rho - delta / 2.0)
    shift = gap / (difference_sd(rho, r, delta) * math.sqrt(factor / n))
    critical = quantile(1.0 - alpha / 2.0, df)
    return upper_tail(critical - shift, df) + upper_tail(critical + shift, df)


def _check(n: int, rho: float, r: float, alpha: float, n_classes: int, shared: float) -> None:
    fraction("alpha", alpha)
    if n < MIN_SE or n_classes < 1 or not 0.0 <= shared <= 1.0:
        raise UsageError(
            f"power needs n >= {MIN_SE}, n_classes >= 1 and shared in [0, 1]. Got {n}, "
            f"{n_classes} and {shared} instead."
        )
    if not (abs(rho) < 1.0 and abs(r) <= 1.0):
        raise UsageError(
            f"rho must lie in (-1, 1) and r in [-1, 1]. Got {rho} and {r} instead; pass "
            "correlations, not percentages."
        )
    if r < 2.0 * rho * rho - 1.0:
        raise UsageError(
            f"two methods at rho = {rho} cannot have predictions that correlate {r}; pass r of "
            f"at least {2 * rho * rho - 1:.2f}, e.g. {rho * rho:.2f} for independent errors."
        )


@lru_cache(maxsize=4096)
def difference_sd(rho: float, r: float, delta: float = 0.0) -> float:
    """Standard deviation s of the influence of one video: ``SE(z_a - z_b) = s / sqrt(n)``.

    ``IF(rho; y, a) = 12 [(F(y) - 1/2)(F(a) - 1/2) + G(y) + G(a)] - const`` with
    ``G(t) = E[1(Y >= t) (F(A) - 1/2)]``, for a Gaussian copula whose Pearson parameters are
    ``2 sin(pi rho / 6)``, integrated by Gauss-Hermite quadrature.

    Args:
        rho: mean Spearman correlation of both methods.
        r: Spearman correlation of their predictions.
        delta: difference of the two correlations.

    Source: influence function of Spearman's rho, Croux & Dehon (2010), Stat. Methods Appl. 19.
    """
    rho_a, rho_b = rho + delta / 2.0, rho - delta / 2.0
    a, b, ab = (2.0 * math.sin(math.pi * v / 6.0) for v in (rho_a, rho_b, r))
    rest_a, rest_b = math.sqrt(1.0 - a * a), math.sqrt(1.0 - b * b)
    link = min(1.0, max(-1.0, (ab - a * b) / (rest_a * rest_b)))  # of the two methods' errors
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    weights = weights / weights.sum()
    y = nodes[:, None, None]
    e = nodes[None, :, None]
    f = link * e + math.sqrt(1.0 - link * link) * nodes[None, None, :]
    h = _influence(a, rho_a, y, a * y + rest_a * e) - _influence(b, rho_b, y, b * y + rest_b * f)
    mass = weights[:, None, None] * weights[None, :, None] * weights[None, None, :]
    mean = float((mass * h).sum())
    return math.sqrt(float((mass * (h - mean) ** 2).sum()))


def _influence(pearson: float, rho: float, y: FloatArray, p: FloatArray) -> FloatArray:
    """Influence of (y, p), standard normal scores, on Fisher z; constant left out."""
    slope = pearson / math.sqrt(2.0 - pearson * pearson)
    density = (special.ndtr(slope * _GRID) - 0.5) * np.exp(-(_GRID**2) / 2.0)
    step = (_GRID[1] - _GRID[0]) / math.sqrt(2.0 * math.pi)
    below = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2.0) * step])
    above = below[-1] - below
    tails = np.interp(y, _GRID, above) + np.interp(p, _GRID, above)
    product = (special.ndtr(y) - 0.5) * (special.ndtr(p) - 0.5)
    return np.asarray(12.0 * (product + tails) / (1.0 - rho * rho))
