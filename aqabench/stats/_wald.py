"""Standard errors, intervals and p values that follow from jackknife replicates or a known SE.

Knows nothing of videos or classes; every function is a formula.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import special

from aqabench.stats._checks import FloatArray
from aqabench.stats._results import Comparison, Interval

__all__ = [
    "SampleVariance",
    "detectable_z",
    "from_z_difference",
    "jackknife_variance",
    "normal_score",
    "perfect_variance",
    "quantile",
    "satterthwaite",
    "seed_excess",
    "to_z_difference",
    "two_sided_p",
    "wald_comparison",
    "wald_interval",
]

#: more undefined replicates than this share and there is no standard error
MAX_DROPPED = 0.01
#: a variance of Fisher z below this is the rounding error of equal replicates
ROUNDING = 1e-20


@dataclass(frozen=True, slots=True)
class SampleVariance:
    """Jackknife variance, its degrees of freedom, and how many replicates were undefined."""

    variance: float
    df: float
    dropped: int


def jackknife_variance(
    replicates: FloatArray, components: npt.NDArray[np.intp] | None = None
) -> SampleVariance:
    """Variance of a statistic from its delete-one-video replicates.

    Videos that share a test set form a component; components are independent, so their
    variances ``(m - 1)/m * sum (theta_(i) - mean)**2`` add up, and Satterthwaite gives the
    degrees of freedom (n - 1 when there is one component).

    Args:
        replicates: statistic without video i (n,); NaN where undefined.
        components: component of video i (n,), 0-based; one component by default.

    Returns:
        NaN variance when more than 1 % of the replicates are undefined.

    Source: Tukey (1958); Efron & Stein (1981); Satterthwaite (1946).
    """
    defined = np.isfinite(replicates)
    dropped = int((~defined).sum())
    if dropped > MAX_DROPPED * replicates.size:
        return SampleVariance(math.nan, math.nan, dropped)
    labels = np.zeros(replicates.size, dtype=np.intp) if components is None else components
    kept, labels = replicates[defined], labels[defined]
    sizes = np.bincount(labels).astype(np.float64)
    sums = np.bincount(labels, weights=kept)
    means = np.divide(sums, sizes, out=np.zeros_like(sums), where=sizes > 0)
    squares = np.bincount(labels, weights=(kept - means[labels]) ** 2)
    several = sizes > 1
    parts = (sizes[several] - 1) / sizes[several] * squares[several]
    total = float(parts.sum())
    if total < ROUNDING:
        total = 0.0
    df = satterthwaite(list(zip(parts, sizes[several] - 1, strict=True)))
    return SampleVariance(total, df, dropped)


def seed_excess(z: FloatArray, replicates: FloatArray, components: npt.NDArray[np.intp]) -> float:
    """Variance of the seed mean beyond what the samples' jackknife already contains.

    Args:
        z: average of each seed (seeds,).
        replicates: the same without each video (seeds, n).
        components: of the videos (n,).
    """
    n_seeds = len(z)
    if n_seeds < 2:
        return 0.0
    each = [jackknife_variance(row, components).variance for row in replicates]
    mean = jackknife_variance(replicates.mean(axis=0), components).variance
    inside = n_seeds / (n_seeds - 1) * (float(np.mean(each)) - mean)
    return max(0.0, float(z.var(ddof=1)) - inside) / n_seeds


def satterthwaite(parts: list[tuple[float, float]]) -> float:
    """Degrees of freedom of a sum of independent variances, each ``(variance, df)``.

    Falls back to the largest part's df when all variances are 0.
    """
    total = sum(v for v, _ in parts)
    below = sum(v**2 / df for v, df in parts if df > 0)
    if below <= 0.0:
        return float(max((df for _, df in parts), default=math.nan))
    return float(total**2 / below)


def quantile(probability: float, df: float) -> float:
    """Quantile of Student's t; normal for infinite ``df``."""
    infinite = math.isinf(df)
    return float(special.ndtri(probability) if infinite else special.stdtrit(df, probability))


def upper_tail(statistic: float, df: float) -> float:
    """P(T >= statistic) for Student's t; normal for infinite ``df``."""
    infinite = math.isinf(df)
    return float(special.ndtr(-statistic) if infinite else special.stdtr(df, -statistic))


def two_sided_p(statistic: float, df: float) -> float:
    """Two-sided p of a t (or normal) statistic."""
    return min(1.0, 2.0 * upper_tail(abs(statistic), df))


def normal_score(statistic: FloatArray, df: FloatArray) -> FloatArray:
    """Size of the standard normal that has the same p as Student's t; at most 37.

    Beyond that p is smaller than floating point can say.
    """
    return np.asarray(np.minimum(-special.ndtri(special.stdtr(df, -np.abs(statistic))), 37.0))


def from_z_difference(difference_z: float, centre_z: float) -> float:
    """Difference of correlations that a difference of Fisher z means around ``centre_z``."""
    return math.tanh(centre_z + difference_z / 2) - math.tanh(centre_z - difference_z / 2)


def to_z_difference(difference: float, centre_z: float) -> float:
    """Inverse of :func:`from_z_difference` in closed form; infinite where out of reach.

    With ``c = cosh(2 m)`` the forward map is ``2 sinh(d) / (c + cosh(d))``.
    """
    if abs(difference) >= 2.0:
        return math.copysign(math.inf, difference)
    c, t = math.cosh(2.0 * centre_z), abs(difference)
    # 2 sinh d = t (c + cosh d)  ->  (2 - t) x**2 - 2 t c x - (2 + t) = 0 with x = exp(d)
    x = (t * c + math.sqrt(t * t * c * c + 4.0 - t * t)) / (2.0 - t)
    return math.copysign(math.log(x), difference)


def detectable_z(se_z: float, df: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """Difference of Fisher z found with probability ``power`` by a two-sided Wald test."""
    return (quantile(1.0 - alpha / 2.0, df) + quantile(power, df)) * se_z


def perfect_variance(n: int) -> float:
    """Variance of Fisher z at |rho| = 1, where every jackknife replicate is the same.

    Source: Bonett & Wright (2000) at rho = 1, ``(1 + 1/2) / (n - 3)``.
    """
    return 1.5 / (n - 3)


def wald_interval(base: Interval, z: float, se_z: float, df: float) -> Interval:
    """Fill in the interval ``tanh(z +- t SE)`` at the level of ``base``."""
    half = quantile(0.5 + base.level / 2.0, df) * se_z
    estimate = math.tanh(z) if math.isnan(base.estimate) else base.estimate
    return replace(
        base,
        estimate=estimate,
        low=min(math.tanh(z - half), estimate),  # +-1 lies outside of its clipped z
        high=max(math.tanh(z + half), estimate),
        z=z,
        se_z=se_z,
        df=df,
    )


def wald_comparison(base: Comparison, z_a: float, z_b: float, se_z: float, df: float) -> Comparison:
    """Fill in the Wald test of ``z_a - z_b`` and its interval at the level of ``base``."""
    gap, centre = z_a - z_b, (z_a + z_b) / 2.0
    half = quantile(0.5 + base.level / 2.0, df) * se_z
    return replace(
        base,
        difference=from_z_difference(gap, centre),
        low=from_z_difference(gap - half, centre),
        high=from_z_difference(gap + half, centre),
        p_value=two_sided_p(gap / se_z, df),
        statistic=gap / se_z,
        df=df,
        difference_z=gap,
        se_z=se_z,
        low_z=gap - half,
        high_z=gap + half,
        detectable=from_z_difference(detectable_z(se_z, df), centre),
    )
