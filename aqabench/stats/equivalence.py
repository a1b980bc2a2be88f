"""Is A as good as B?  Non-inferiority and two one-sided tests against a margin stated beforehand.

"Not significantly different" is no answer to that question, and these functions refuse to give
one without a margin.  Where the margin is too small for the sample, the result says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from aqabench.errors import UsageError
from aqabench.stats._checks import fraction
from aqabench.stats._results import Comparison, Flag, LossComparison, Reason, Status, quote_p
from aqabench.stats._wald import from_z_difference, quantile, to_z_difference, upper_tail

__all__ = ["Equivalence", "non_inferiority", "tost"]

_POWER = 0.8


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
    correlations the limits are those of the Fisher-z test moved to the correlation scale.

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
    gap, se, centre = _gap_and_error(comparison)
    df = comparison.df
    if comparison.status in (
        Status.IDENTICAL_RANKINGS,
        Status.SAME_PREDICTIONS,
        Status.IDENTICAL_LOSSES,
    ):
        gap, se, df = 0.0, 0.0, math.inf
    elif math.isnan(se) or math.isnan(df):
        if comparison.reason is Reason.NONE:
            raise UsageError(
                f"method '{comparison.method}' has no standard error to test a margin with; "
                "compare with method='jackknife' (losses: 't' or 'sign-flip')."
            )
        se = math.nan

    def scale(value: float) -> float:
        return value if centre is None else from_z_difference(value, centre)

    edge = margin if centre is None else to_z_difference(margin, centre)
    low, high, p_lower, p_upper = (math.nan,) * 4
    if se == 0.0:
        low = high = p_lower = p_upper = 0.0
    elif se > 0.0:
        half = quantile(1.0 - alpha, df) * se
        low, high = scale(gap - half), scale(gap + half)
        p_lower, p_upper = upper_tail((gap + edge) / se, df), upper_tail((edge - gap) / se, df)
    p_value = max(p_lower, p_upper) if two_sided else (p_upper if loss else p_lower)
    # a true difference of 0: both tests must reject together for equivalence
    reach = quantile((1.0 + _POWER) / 2.0 if two_sided else _POWER, math.inf)
    smallest = scale((quantile(1.0 - alpha, math.inf) + reach) * se)
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
        n_required=math.ceil(comparison.n * (smallest / margin) ** 2) if se > 0 else math.nan,
        alpha=alpha,
        lower_is_better=loss,
        status=comparison.status,
        reason=comparison.reason,
        flags=(Flag.UNDERPOWERED,) if smallest > margin else (),
    )


def _gap_and_error(
    comparison: Comparison | LossComparison,
) -> tuple[float, float, float | None]:
    """Difference and SE on the scale of the test; the mean z when that scale is Fisher z."""
    if isinstance(comparison, LossComparison):
        return comparison.difference, comparison.se, None
    if math.isnan(comparison.low_z):
        return comparison.difference_z, math.nan, 0.0
    half_gap = comparison.difference_z / 2.0
    # the mean of both z; estimates of +-1 were clipped, so recover it from the finite one
    for estimate, sign in ((comparison.estimate_a, -1.0), (comparison.estimate_b, 1.0)):
        if abs(estimate) < 1.0:
            return comparison.difference_z, comparison.se_z, math.atanh(estimate) + sign * half_gap
    return comparison.difference_z, comparison.se_z, 0.0
