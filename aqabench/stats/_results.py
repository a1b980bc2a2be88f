"""Frozen result objects of the statistics, each with a sentence that a person can quote.

An undefined case is a named outcome here (``status`` and ``reason``), never a zero and never an
exception from the depths.  This file computes nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Self

__all__ = ["Comparison", "Flag", "Interval", "LossComparison", "MetricValue", "Reason", "Status"]

_NAN = math.nan


class Status(StrEnum):
    """What kind of answer this is."""

    OK = "ok"
    UNDEFINED = "undefined"
    IDENTICAL_RANKINGS = "identical_rankings"
    SAME_PREDICTIONS = "same_predictions"
    IDENTICAL_LOSSES = "identical_losses"


class Reason(StrEnum):
    """Why a number is undefined."""

    NONE = ""
    CONSTANT_PREDICTIONS = "constant_predictions"
    CONSTANT_LABELS = "constant_labels"
    NAN_PREDICTION = "nan_prediction"
    NON_FINITE = "non_finite"
    TOO_FEW = "too_few"
    UNDEFINED_RESAMPLES = "undefined_resamples"
    INFINITE_Z = "infinite_z"
    NO_VARIATION = "no_variation"


class Flag(StrEnum):
    """A warning that travels with a number that is still defined."""

    SMALL_N = "small_n"
    CLIPPED = "clipped"
    NON_FINITE = "non_finite"
    MANY_TIES = "many_ties"
    ANALYTIC_SE = "analytic_se"
    SINGLE_SEED = "single_seed"
    UNDEFINED_AS_ZERO = "undefined_as_zero"
    DROPPED_RESAMPLES = "dropped_resamples"
    EXACT = "exact"
    IMPOSSIBLE = "impossible_correlations"
    UNDERPOWERED = "underpowered"


class MetricValue(float):
    """One metric: a float (NaN when undefined) that also says what it is made of.

    Attributes:
        name: e.g. ``"spearman"``.
        n: number of test videos (of correlations, for ``fisher_mean``).
        n_ties: tied pairs in labels or predictions (whichever has more).
        reason: why the value is NaN, or ``""``.
        flags: warnings, e.g. ``non_finite``.
    """

    __slots__ = ("flags", "n", "n_ties", "name", "reason")

    name: str
    n: int
    n_ties: int
    reason: Reason
    flags: tuple[Flag, ...]

    def __new__(
        cls,
        value: float,
        name: str = "",
        n: int = 0,
        n_ties: int = 0,
        reason: Reason = Reason.NONE,
        flags: tuple[Flag, ...] = (),
    ) -> Self:
        """Build the float and its companions."""
        self = super().__new__(cls, value)
        for key, item in (
            ("name", name),
            ("n", n),
            ("n_ties", n_ties),
            ("reason", reason),
            ("flags", flags),
        ):
            object.__setattr__(self, key, item)
        return self

    @property
    def estimate(self) -> float:
        """The plain number."""
        return float(self)

    @property
    def status(self) -> Status:
        """``ok`` or ``undefined``."""
        return Status.UNDEFINED if math.isnan(self) else Status.OK

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse: results are frozen."""
        raise AttributeError(f"MetricValue is frozen; {name} cannot be set")

    def __getnewargs__(self) -> tuple[Any, ...]:
        """Let copies and pickles keep the companions."""
        return (float(self), self.name, self.n, self.n_ties, self.reason, self.flags)

    def __getstate__(self) -> None:
        """Everything is in the arguments of ``__new__``."""
        return

    def __str__(self) -> str:
        """Return e.g. ``spearman 0.812 (n = 100)``."""
        value = f"undefined ({self.reason})" if math.isnan(self) else f"{float(self):.3f}"
        return f"{self.name} {value} (n = {self.n}){_also(self.flags)}".strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A correlation (one, or an average) and its confidence interval.

    Attributes:
        estimate: the correlation, back-transformed from Fisher z.
        low: lower limit on the correlation scale.
        high: upper limit.
        level: nominal coverage.
        method: how the interval was made.
        n: number of distinct test videos.
        z: Fisher z of the estimate (clipped, see ``flags``).
        se_z: standard error of ``z``.
        df: degrees of freedom of the t quantile (infinite: normal; NaN: resampling).
        n_seeds: training seeds averaged.
        n_classes: classes averaged.
        n_scenarios: scenarios averaged.
        seed_sd: standard deviation over seeds of the correlation, NaN for one seed.
        variance_samples: part of ``se_z**2`` that comes from the test videos.
        variance_seeds: excess part that comes from training again.
        dropped: undefined resamples left out.
        status: ``ok`` or ``undefined``.
        reason: why it is undefined.
        flags: warnings.
    """

    estimate: float
    low: float = _NAN
    high: float = _NAN
    level: float = 0.95
    method: str = "jackknife"
    n: int = 0
    z: float = _NAN
    se_z: float = _NAN
    df: float = _NAN
    n_seeds: int = 1
    n_classes: int = 1
    n_scenarios: int = 1
    seed_sd: float = _NAN
    variance_samples: float = _NAN
    variance_seeds: float = 0.0
    dropped: int = 0
    status: Status = Status.OK
    reason: Reason = Reason.NONE
    flags: tuple[Flag, ...] = ()

    @property
    def se(self) -> float:
        """Standard error on the correlation scale, ``se_z (1 - rho^2)``."""
        return self.se_z * (1.0 - self.estimate**2)

    def __str__(self) -> str:
        """Return e.g. ``0.812 (95 % interval 0.731 to 0.871; n = 100 videos, jackknife)``."""
        if math.isnan(self.estimate):
            return f"undefined ({self.reason}; n = {self.n} videos)"
        what = f"n = {self.n} videos{_seeds(self.n_seeds)}, {self.method}{_also(self.flags)}"
        if math.isnan(self.low):
            return f"{self.estimate:.3f} (no interval: {self.reason}; {what})"
        limits = f"{percent(self.level)} interval {self.low:.3f} to {self.high:.3f}"
        return f"{self.estimate:.3f} ({limits}; {what})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Method A against method B: a difference of correlations on the same videos.

    The test is made on Fisher z.  The limits on the correlation scale are the z limits moved
    through ``d -> tanh(m + d/2) - tanh(m - d/2)`` with ``m`` the mean of both z, so that the
    interval excludes 0 exactly when the test rejects.

    Attributes:
        difference: correlation of A minus correlation of B.
        low: lower limit of the difference.
        high: upper limit.
        p_value: two-sided.
        statistic: t or z of the method (NaN for the percentile bootstrap).
        df: degrees of freedom (infinite: normal; NaN: resampling).
        method: the test.
        n: number of distinct test videos.
        estimate_a: correlation of A.
        estimate_b: correlation of B.
        r_ab: rank correlation between the two methods' predictions (mean over cells).
        difference_z: difference on the Fisher z scale.
        se_z: its standard error.
        low_z: lower limit on the Fisher z scale.
        high_z: upper limit on the Fisher z scale.
        level: nominal coverage of the interval.
        detectable: smallest true difference found with 80 % probability at this n.
        n_seeds_a: seeds of A.
        n_seeds_b: seeds of B.
        n_classes: classes averaged.
        n_scenarios: scenarios averaged.
        variance_samples: part of ``se_z**2`` that comes from the test videos.
        df_samples: degrees of freedom of that part.
        variance_seeds: excess part that comes from training again.
        variance_a: of A's own Fisher z, videos and seeds (NaN: not known).
        variance_b: of B's.
        n_resamples: permutations or bootstrap draws.
        dropped: undefined resamples left out.
        status: ``ok``, ``identical_rankings``, ``same_predictions`` or ``undefined``.
        reason: why it is undefined.
        flags: warnings.
    """

    difference: float
    low: float = _NAN
    high: float = _NAN
    p_value: float = _NAN
    statistic: float = _NAN
    df: float = _NAN
    method: str = "jackknife"
    n: int = 0
    estimate_a: float = _NAN
    estimate_b: float = _NAN
    r_ab: float = _NAN
    difference_z: float = _NAN
    se_z: float = _NAN
    low_z: float = _NAN
    high_z: float = _NAN
    level: float = 0.95
    detectable: float = _NAN
    n_seeds_a: int = 1
    n_seeds_b: int = 1
    n_classes: int = 1
    n_scenarios: int = 1
    variance_samples: float = _NAN
    df_samples: float = _NAN
    variance_seeds: float = 0.0
    variance_a: float = _NAN
    variance_b: float = _NAN
    n_resamples: int = 0
    dropped: int = 0
    status: Status = Status.OK
    reason: Reason = Reason.NONE
    flags: tuple[Flag, ...] = ()

    @property
    def estimate(self) -> float:
        """The same as ``difference``."""
        return self.difference

    @property
    def turned(self) -> Comparison:
        """B against A."""
        return replace(
            self,
            difference=-self.difference,
            low=-self.high,
            high=-self.low,
            statistic=-self.statistic,
            estimate_a=self.estimate_b,
            estimate_b=self.estimate_a,
            difference_z=-self.difference_z,
            low_z=-self.high_z,
            high_z=-self.low_z,
            n_seeds_a=self.n_seeds_b,
            n_seeds_b=self.n_seeds_a,
            variance_a=self.variance_b,
            variance_b=self.variance_a,
        )

    @property
    def significant(self) -> bool:
        """Whether p is below ``1 - level``; an undefined p is not."""
        return self.p_value < 1.0 - self.level

    def __str__(self) -> str:
        """Return one sentence: difference, interval, p, n, seeds, overlap, what can be seen."""
        where = f"n = {self.n} videos"
        if self.n_seeds_a > 1 or self.n_seeds_b > 1:
            where += f", {self.n_seeds_a} and {self.n_seeds_b} seeds"
        if not math.isnan(self.r_ab):
            where += f", predictions correlate {self.r_ab:.2f}"
        where += f", {self.method}{_also(self.flags)}"
        both = f"{self.estimate_a:.3f} against {self.estimate_b:.3f}"
        if math.isnan(self.difference):
            return f"the difference is undefined ({self.reason}; {where})"
        if self.status is Status.IDENTICAL_RANKINGS:
            return f"identical rankings: difference 0, p = 1 ({both}; {where})"
        if self.status is Status.SAME_PREDICTIONS:
            return f"the same predictions in all but name ({both}; {where})"
        if math.isnan(self.p_value):
            return f"difference {self.difference:+.3f}, no test ({self.reason}; {both}; {where})"
        text = f"difference {self.difference:+.3f} ({both})"
        if not math.isnan(self.low):
            text += f", {percent(self.level)} interval {self.low:+.3f} to {self.high:+.3f}"
        text += f", {quote_p(self.p_value)} ({where})"
        if not math.isnan(self.detectable):
            text += (
                f"; this test finds a true difference of {self.detectable:.3f} four times in five"
            )
        return text


@dataclass(frozen=True, slots=True, kw_only=True)
class LossComparison:
    """Mean loss of A minus mean loss of B over the same videos; negative favours A.

    Attributes:
        difference: mean of ``loss_a - loss_b``.
        low: lower limit (paired t).
        high: upper limit.
        p_value: two-sided.
        statistic: paired t statistic, or the signed-rank sum V for ``wilcoxon``.
        df: degrees of freedom of the t interval.
        method: the test.
        n: number of videos.
        mean_a: mean loss of A.
        mean_b: mean loss of B.
        se: standard error of the mean difference.
        level: nominal coverage.
        share_a_better: share of videos on which A's loss is the smaller (ties count half).
        log_ratio: log of mean loss A over mean loss B.
        log_ratio_p: two-sided jackknife p of ``log_ratio``; an MSE claim needs this one too.
        difference_without_worst: the difference without the 3 most influential videos.
        n_resamples: sign flips tried.
        status: ``ok``, ``identical_losses`` or ``undefined``.
        reason: why it is undefined.
        flags: warnings.
    """

    difference: float
    low: float = _NAN
    high: float = _NAN
    p_value: float = _NAN
    statistic: float = _NAN
    df: float = _NAN
    method: str = "sign-flip"
    n: int = 0
    mean_a: float = _NAN
    mean_b: float = _NAN
    se: float = _NAN
    level: float = 0.95
    share_a_better: float = _NAN
    log_ratio: float = _NAN
    log_ratio_p: float = _NAN
    difference_without_worst: float = _NAN
    n_resamples: int = 0
    status: Status = Status.OK
    reason: Reason = Reason.NONE
    flags: tuple[Flag, ...] = ()

    @property
    def estimate(self) -> float:
        """The same as ``difference``."""
        return self.difference

    @property
    def significant(self) -> bool:
        """Whether p is below ``1 - level``; an undefined p is not."""
        return self.p_value < 1.0 - self.level

    def __str__(self) -> str:
        """Return one sentence with difference, interval, p and the share of videos."""
        where = f"n = {self.n} videos, {self.method}{_also(self.flags)}"
        if math.isnan(self.difference):
            return f"the difference in loss is undefined ({self.reason}; {where})"
        text = f"mean loss {self.mean_a:.4g} against {self.mean_b:.4g}"
        if self.method == "wilcoxon":
            text += f": A's typical error is smaller on {100 * self.share_a_better:.0f} % of videos"
        else:
            text += f", difference {self.difference:+.4g}"
            if not math.isnan(self.low):
                text += f" ({percent(self.level)} interval {self.low:+.4g} to {self.high:+.4g})"
        test = "no test" if math.isnan(self.p_value) else quote_p(self.p_value)
        return f"{text}, {test} ({where})"


def percent(level: float) -> str:
    """Write 0.95 as ``95 %``."""
    return f"{100 * level:.4g} %"


def quote_p(p: float) -> str:
    """Write a p value with two leading digits, never as zero."""
    return "p < 0.0001" if p < 1e-4 else f"p = {p:.2g}"


def _seeds(n_seeds: int) -> str:
    return f", {n_seeds} seeds" if n_seeds > 1 else ""


def _also(flags: tuple[Flag, ...]) -> str:
    return "".join(f", {flag}" for flag in flags)
