"""Is A as good as B?  Non-inferiority and two one-sided tests against a margin stated beforehand.

"Not significantly different" is no answer to that question, and these functions refuse to give
one without a margin.  Where the margin is too small for the sample, the result says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.optimize import brentq

from aqabench.errors import UsageError
from aqabench.stats._checks import fraction
from aqabench.stats._results import Comparison, Flag, LossComparison, Reason, Status, quote_p
from aqabench.stats._wald import from_z_difference, quantile, to_z_difference, upper_tail

__all__ = ["Equivalence", "non_inferiority", "tost"]

_POWER = 0.8
_WIDEST = 2.0 - 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Equivalence:
    """Answer to "as good as, within the margin".

    Attributes:
        question: ``"non-inferiority"`` or ``"equivalence"``.
        shown: whether the claim is shown at ``alpha``.
        difference: A minus B, in the unit of the margin.
        low: lower one-sided limit at ``1 - alpha`` (a ``1 - 2 alpha`` interval with ``high``).
        high: upper one-sided limit.
        margin: what counts as as good as.
        p_value: one-sided; for equivalence the larger of the two.
        p_lower: of the test against "A is worse by the margin or more".
        p_upper: of the test against "A is better by the margin or more".
        smallest_margin: margin that a true difference of 0 would meet with 80 % power.
        n: videos.
        n_required: videos that this margin would need for the same.
        alpha: one-sided level.
        lower_is_better: whether A and B are losses.
        status: as in the comparison.
        reason: why there is no answer.
        flags: ``underpowered`` when the margin is below ``smallest_margin``.
    """

    question: str
    shown: bool
    difference: float
    low: float
    high: float
    margin: float
    p_value: float
    p_lower: float
    p_upper: float
    smallest_margin: float
    n: int
    n_required: float
    alpha: float
    lower_is_better: bool = False
    status: Status = Status.OK
    reason: Reason = Reason.NONE
    flags: tuple[Flag, ...] = ()

    def __str__(self) -> str:
        """Return one sentence with the limits, the margin and what the margin would need."""
        if math.isnan(self.p_value):
            return f"{self.question} undefined ({self.reason})"
        verdict = "shown" if self.shown else "not shown"
        text = (
            f"{self.question} {verdict} at margin {self.margin:g}: difference "
            f"{self.difference:+.3f}, limits {self.low:+.3f} and {self.high:+.3f}, "
            f"{quote_p(self.p_value)} (n = {self.n} videos)"
        )
        if Flag.UNDERPOWERED in self.flags:
            text += (
                f"; {self.question} cannot be shown at this n: the margin needs about "
                f"{self.n_required:.0f} videos, this test can show {self.smallest_margin:.3f}"
            )
        return text


def non_inferiority(
    comparison: Comparison | LossComparison, margin: float = 0.05, *, alpha: float = 0.05
) -> Equivalence:
    """Test that A is worse than B by less than the margin.

    Shown when the one-sided ``1 - alpha`` limit of the difference stays inside the margin.  For
    correlations the test is that of Fisher z, with the error of the mean of both correlations,
    on which the margin's distance of z depends.

    Args:
        comparison: a Wald comparison (jackknife, averages, runs, given correlations), or a
            comparison of mean losses, where *lower* is better.
        margin: largest difference that does not matter, > 0, in correlation or loss units;
            state it before looking.
        alpha: one-sided level.

    Raises:
        UsageError: the margin is not positive, or the comparison has no standard error.

    Source: Schuirmann (1987), J. Pharmacokinet. Biopharm. 15, 657-680.
    """
    return _test(comparison, margin, alpha, two_sided=False)


def tost(
    comparison: Comparison | LossComparison, margin: float = 0.05, *, alpha: float = 0.05
) -> Equivalence:
    """Two one-sided tests that A and B differ by less than the margin; see the one-sided one.

    Args:
        comparison: as in :func:`non_inferiority`.
        margin: largest difference that does not matter, > 0.
        alpha: level of each one-sided test.

    Raises:
        UsageError: the margin is not positive, or the comparison has no standard error.

    Source: Schuirmann (1987).
    """
    return _test(comparison, margin, alpha, two_sided=True)


def _test(
    comparison: Comparison | LossComparison, margin: float, alpha: float, two_sided: bool
) -> Equivalence:
    fraction("alpha", alpha)
    if not (margin > 0 and math.isfinite(margin)):
        raise UsageError(
            f"margin must be positive. Got {margin} instead; state the largest difference that "
            "does not matter, e.g. margin=0.05."
        )
    loss = isinstance(comparison, LossComparison)
    scale = _scale(comparison)
    df = comparison.df
    if comparison.status in (
        Status.IDENTICAL_RANKINGS,
        Status.SAME_PREDICTIONS,
        Status.IDENTICAL_LOSSES,
    ):
        scale, df = _Scale(0.0, 0.0), math.inf
    elif math.isnan(scale.se) or math.isnan(df):
        if comparison.reason is Reason.NONE:
            raise UsageError(
                f"method '{comparison.method}' has no standard error to test a margin with; "
                "compare with method='jackknife' (losses: 't' or 'sign-flip')."
            )
        scale = _Scale(math.nan, math.nan)
    low, high, p_lower, p_upper = (math.nan,) * 4
    if scale.se == 0.0:
        low = high = p_lower = p_upper = 0.0
    elif scale.se > 0.0:
        t = quantile(1.0 - alpha, df)
        low, high = scale.limit(t), scale.limit(-t)
        p_lower = upper_tail(scale.statistic(-margin), df)
        p_upper = upper_tail(-scale.statistic(margin), df)
    p_value = max(p_lower, p_upper) if two_sided else (p_upper if loss else p_lower)
    # a true difference of 0: both tests must reject together for equivalence
    reach = quantile((1.0 + _POWER) / 2.0 if two_sided else _POWER, math.inf)
    smallest = scale.difference((quantile(1.0 - alpha, math.inf) + reach) * scale.se)
    return Equivalence(
        question="equivalence" if two_sided else "non-inferiority",
        shown=p_value < alpha,
        difference=comparison.difference,
        low=low,
        high=high,
        margin=margin,
        p_value=p_value,
        p_lower=p_lower,
        p_upper=p_upper,
        smallest_margin=smallest,
        n=comparison.n,
        n_required=math.ceil(comparison.n * (smallest / margin) ** 2) if scale.se > 0 else math.nan,
        alpha=alpha,
        lower_is_better=loss,
        status=comparison.status,
        reason=comparison.reason,
        flags=(Flag.UNDERPOWERED,) if smallest > margin else (),
    )


@dataclass(frozen=True, slots=True)
class _Scale:
    """A difference where it is tested: as it is, or between Fisher z around a centre.

    A margin of correlations is another distance of z around another centre, and the centre is an
    estimate too: its variance and its covariance with the gap belong to the error of the test.
    """

    gap: float
    se: float
    centre: float | None = None  # mean of both z; None for losses
    spread: float = 0.0  # variance of the centre
    lean: float = 0.0  # its covariance with the gap

    def difference(self, gap: float) -> float:
        """Return what a gap means in the unit of the margin."""
        return gap if self.centre is None else from_z_difference(gap, self.centre)

    def statistic(self, difference: float) -> float:
        """Return how many standard errors the gap lies above a true difference."""
        if self.centre is None:
            return (self.gap - difference) / self.se
        edge = to_z_difference(difference, self.centre)
        # the edge moves by so much with the centre: it keeps tanh(c + e/2) - tanh(c - e/2)
        above, below = (1.0 / math.cosh(self.centre + way * edge / 2.0) ** 2 for way in (1, -1))
        slope = -2.0 * (above - below) / (above + below)
        variance = self.se**2 - 2.0 * slope * self.lean + slope**2 * self.spread
        return (self.gap - edge) / math.sqrt(variance)

    def limit(self, t: float) -> float:
        """Return the true difference above which the gap lies ``t`` standard errors."""
        if self.centre is None:
            return self.gap - t * self.se
        ends = -_WIDEST, _WIDEST
        if self.statistic(ends[0]) <= t:
            return ends[0]
        if self.statistic(ends[1]) >= t:
            return ends[1]
        return float(brentq(lambda d: self.statistic(d) - t, *ends, xtol=1e-12))


def _scale(comparison: Comparison | LossComparison) -> _Scale:
    if isinstance(comparison, LossComparison):
        return _Scale(comparison.difference, comparison.se)
    if math.isnan(comparison.low_z):
        return _Scale(comparison.difference_z, math.nan)
    gap, se = comparison.difference_z, comparison.se_z
    # the mean of both z; estimates of +-1 were clipped, so recover it from the finite one
    centre = 0.0
    for estimate, sign in ((comparison.estimate_a, -1.0), (comparison.estimate_b, 1.0)):
        if abs(estimate) < 1.0:
            centre = math.atanh(estimate) + sign * gap / 2.0
            break
    a, b = comparison.variance_a, comparison.variance_b
    if math.isnan(a) or math.isnan(b):  # given correlations
        return _Scale(gap, se, centre)
    return _Scale(gap, se, centre, max(0.0, (2.0 * (a + b) - se**2) / 4.0), (a - b) / 2.0)
