"""Can two *published* correlations be told apart?  Only rho and n are known.

The answer depends on how much the two methods' predictions overlap, which no paper reports, so
the test is run over every possible overlap.  Refuses to call anything separated that is so only
for a lucky overlap.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.optimize import brentq

from aqabench.errors import UsageError
from aqabench.stats._checks import MIN_SE, fraction
from aqabench.stats._closed_form import steiger_se
from aqabench.stats._kernel import rho_limit
from aqabench.stats._results import Flag, Reason, quote_p
from aqabench.stats._wald import two_sided_p

__all__ = ["Separability", "separable"]

SEPARATED = "separated"
DEPENDS = "depends on overlap"
CANNOT = "cannot be separated"
UNDEFINED = "undefined"


@dataclass(frozen=True, slots=True, kw_only=True)
class Separability:
    """Whether two published correlations can be told apart.

    Attributes:
        flag: ``separated``, ``depends on overlap``, ``cannot be separated`` or ``undefined``.
        rho_a: first correlation.
        rho_b: second correlation.
        difference: first minus second.
        p_independent: p when the errors are independent given the score, ``r = rho_a rho_b``.
        p_high: p at the largest overlap thought possible.
        r_star: overlap of predictions above which the difference is significant; at the bound
            when it always is, NaN when it never is.
        r_low: lowest overlap considered, ``rho_a rho_b``.
        r_high: largest overlap considered.
        m: effective n - 3.
        alpha: two-sided level.
        reason: why it is undefined.
        flags: ``clipped`` when a correlation of +-1 was.
    """

    flag: str
    rho_a: float
    rho_b: float
    difference: float
    p_independent: float
    p_high: float
    r_star: float
    r_low: float
    r_high: float
    m: float
    alpha: float
    reason: Reason = Reason.NONE
    flags: tuple[Flag, ...] = ()

    def __str__(self) -> str:
        """Return e.g. ``0.842 against 0.765: separated (p = 0.0097, …)``."""
        head = f"{self.rho_a:.3f} against {self.rho_b:.3f}: {self.flag}"
        if self.flag == DEPENDS:
            head += f" (r* = {self.r_star:.2f})"
        if self.reason:
            return f"{head} ({self.reason})"
        return (
            f"{head}; {quote_p(self.p_independent)} with independent errors, "
            f"{quote_p(self.p_high)} if predictions correlate {self.r_high:.2f}"
        )


def separable(
    rho_a: float,
    rho_b: float,
    n: int,
    *,
    n_classes: int = 1,
    shared: float = 0.0,
    r_high: float = 0.95,
    seed_sd: float = 0.0,
    n_seeds: int = 1,
    alpha: float = 0.05,
) -> Separability:
    """Flag a pair of published correlations.

    Steiger's test as a function of the unknown overlap r, with
    ``m = C (n - 3) / (1 + (C - 1) c)`` in the place of n - 3.  ``separated`` if significant even
    at ``r = rho_a rho_b``, ``cannot be separated`` if not even at ``r_high``, otherwise
    ``depends on overlap`` with ``r_star``, the root of ``p(r) = alpha``.  Steiger's test rejects
    too often on ranks, so ``cannot be separated`` is safe and ``separated`` should be read at
    p < 0.01.

    Args:
        rho_a: published Spearman correlation (or Fisher-z average) of A.
        rho_b: of B.
        n: test videos per class.
        n_classes: classes averaged.
        shared: correlation between the classes' differences, 0 for different videos (RG), about
            .5 for Fis-V's two scores and .6 for FS1000's seven.
        r_high: largest overlap thought possible between different methods.
        seed_sd: published standard deviation over seeds, in correlation units (0: unknown).
        n_seeds: seeds behind each number; with ``seed_sd`` adds
            ``2 seed_sd^2 / n_seeds / (1 - rho^2)^2`` to the variance.
        alpha: two-sided level.

    Returns:
        ``undefined`` with a reason for a NaN correlation (a constant prediction has none) and
        below 4 videos; a correlation of +-1 is clipped (flag ``clipped``).

    Raises:
        UsageError: correlations outside [-1, 1], or other numbers that cannot be.
    """
    fraction("alpha", alpha)
    for name, value in (("rho_a", rho_a), ("rho_b", rho_b)):
        if abs(value) > 1.0:
            raise UsageError(
                f"{name} must lie in [-1, 1]. Got {value} instead; pass correlations, not "
                "percentages."
            )
    if not abs(r_high) < 1.0:
        raise UsageError(
            f"r_high must lie in (-1, 1). Got {r_high} instead; pass e.g. r_high=0.95."
        )
    if n_classes < 1 or n_seeds < 1 or not 0.0 <= shared <= 1.0 or not seed_sd >= 0.0:
        raise UsageError(
            "separable needs n_classes and n_seeds >= 1, shared in [0, 1] and seed_sd >= 0. Got "
            f"{n_classes}, {n_seeds}, {shared} and {seed_sd} instead."
        )
    undefined = math.isnan(rho_a) or math.isnan(rho_b)
    if undefined or n < MIN_SE:
        return Separability(
            flag=UNDEFINED, rho_a=rho_a, rho_b=rho_b, difference=rho_a - rho_b,
            p_independent=math.nan, p_high=math.nan, r_star=math.nan, r_low=rho_a * rho_b,
            r_high=r_high, m=math.nan, alpha=alpha,
            reason=Reason.CONSTANT_PREDICTIONS if undefined else Reason.TOO_FEW,
        )  # fmt: skip
    given, limit = (rho_a, rho_b), rho_limit(n)
    rho_a, rho_b = (min(max(value, -limit), limit) for value in given)
    flags = () if (rho_a, rho_b) == given else (Flag.CLIPPED,)
    m = n_classes * (n - 3) / (1.0 + (n_classes - 1) * shared)
    mean = (rho_a + rho_b) / 2.0
    seeds = 2.0 * seed_sd**2 / n_seeds / (1.0 - mean**2) ** 2
    gap = math.atanh(rho_a) - math.atanh(rho_b)

    def p(r: float) -> float:
        se = math.hypot(steiger_se(rho_a, rho_b, r, m), math.sqrt(seeds))
        return 1.0 if gap == 0.0 else two_sided_p(gap / se, math.inf) if se > 0.0 else math.nan

    r_low = rho_a * rho_b
    widest = r_low + math.sqrt((1.0 - rho_a**2) * (1.0 - rho_b**2))
    top = max(r_low, min(r_high, widest))
    p_low, p_top = p(r_low), p(top)
    if p_low < alpha:
        flag, r_star = SEPARATED, r_low
    elif p_top < alpha:
        flag, r_star = DEPENDS, float(brentq(lambda r: p(r) - alpha, r_low, top, xtol=1e-10))
    else:
        flag, r_star = CANNOT, math.nan
    return Separability(
        flag=flag,
        rho_a=given[0],
        rho_b=given[1],
        difference=given[0] - given[1],
        p_independent=p_low,
        p_high=p_top,
        r_star=r_star,
        r_low=r_low,
        r_high=top,
        m=m,
        alpha=alpha,
        flags=flags,
    )
