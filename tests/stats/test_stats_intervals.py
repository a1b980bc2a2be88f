"""Intervals of one correlation: published examples, a literal jackknife, coverage by name."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as sps

from aqabench.errors import UsageError
from aqabench.stats import Flag, Reason, Status, correlation_ci, spearman_ci

METHODS = ("jackknife", "bonett-wright", "fieller", "fisher", "bootstrap")
Y = (21, 4, 9, 12, 35, 18, 10, 22, 24, 1, 6, 8, 13, 16, 19)
X = (67, 28, 30, 28, 52, 40, 25, 37, 44, 10, 14, 20, 28, 40, 51)


def _sample(n, seed=0, noise=0.6):
    rng = np.random.default_rng(seed)
    y = rng.normal(size=n)
    return y, y + noise * rng.normal(size=n)


def test_bonett_wright_example_with_ties():
    # statpsych 1.x, ci.spear(.05, y, x): 0.8699639 0.08241326 0.5840951 0.9638297
    ci = spearman_ci(Y, X, "bonett-wright")
    assert ci.estimate == pytest.approx(0.8699639, abs=5e-8)
    assert ci.se == pytest.approx(0.08241326, abs=5e-9)
    assert (ci.low, ci.high) == pytest.approx((0.5840951, 0.9638297), abs=5e-8)
    assert correlation_ci(ci.estimate, 15).low == ci.low


@pytest.mark.parametrize(("method", "factor"), [("fisher", 1.0), ("fieller", 1.06)])
def test_analytic_formulas(method, factor):
    ci = correlation_ci(0.8, 100, method, level=0.9)
    half = sps.norm.ppf(0.95) * math.sqrt(factor / 97)
    assert ci.low == pytest.approx(math.tanh(math.atanh(0.8) - half))
    assert ci.high == pytest.approx(math.tanh(math.atanh(0.8) + half))
    # Fisher's interval is the one that scipy gives for Pearson's r
    ranks_y, ranks_p = (sps.rankdata(v) for v in _sample(60))
    reference = sps.pearsonr(ranks_y, ranks_p).confidence_interval()
    assert spearman_ci(ranks_y, ranks_p, "fisher").low == pytest.approx(reference.low)


def test_jackknife_is_the_textbook_one():
    y, p = _sample(40)
    left = [
        math.atanh(sps.spearmanr(np.delete(y, i), np.delete(p, i)).statistic) for i in range(40)
    ]
    se = math.sqrt(39 / 40 * np.sum((left - np.mean(left)) ** 2))
    z = math.atanh(sps.spearmanr(y, p).statistic)
    half = sps.t.ppf(0.975, 39) * se
    ci = spearman_ci(y, p)
    assert (ci.method, ci.df, ci.n) == ("jackknife", pytest.approx(39), 40)
    assert ci.se_z == pytest.approx(se)
    assert (ci.low, ci.high) == pytest.approx((math.tanh(z - half), math.tanh(z + half)))


def test_bootstrap_agrees_with_scipy():
    y, p = _sample(50, seed=3)

    def statistic(a, b):
        return sps.spearmanr(a, b).statistic

    reference = sps.bootstrap(
        (y, p), statistic, paired=True, vectorized=False, method="percentile", n_resamples=600,
        rng=np.random.default_rng(1),
    )  # fmt: skip
    ci = spearman_ci(y, p, "bootstrap", n_resamples=20_000)
    assert ci.low == pytest.approx(reference.confidence_interval.low, abs=0.03)
    assert ci.high == pytest.approx(reference.confidence_interval.high, abs=0.015)
    again = spearman_ci(y, p, "bootstrap")  # as text, because NaN is not equal to NaN
    assert repr(spearman_ci(y, p, "bootstrap")) == repr(again)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(METHODS[:4]))
def test_invariance(seed, method):
    y, p = _sample(30, seed)
    order = np.random.default_rng(seed).permutation(30)
    ci = spearman_ci(y, p, method)
    for other in (
        spearman_ci(y[order], p[order], method),
        spearman_ci(np.exp(y), p**3, method),
        spearman_ci(p, y, method),
    ):
        assert (other.low, other.high) == pytest.approx((ci.low, ci.high), abs=1e-12)
    mirrored = spearman_ci(y, -p, method)
    assert (mirrored.low, mirrored.high) == pytest.approx((-ci.high, -ci.low), abs=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_undefined_cases_are_named(method):
    y, p = _sample(50)
    constant = spearman_ci(y, np.ones(50), method)
    assert (constant.status, constant.reason) == (Status.UNDEFINED, "constant_predictions")
    assert math.isnan(constant.estimate)
    assert "undefined (constant_predictions" in str(constant)
    few = spearman_ci(y[:9], p[:9], method)
    assert few.reason is Reason.TOO_FEW
    assert math.isfinite(few.estimate)
    assert math.isnan(few.low)
    assert "no interval: too_few" in str(few)
    assert Flag.SMALL_N in spearman_ci(y[:10], p[:10], method).flags
    assert Flag.SMALL_N not in spearman_ci(y[:30], p[:30], method).flags


@pytest.mark.parametrize("method", METHODS[:4])
@pytest.mark.parametrize("sign", [1, -1])
def test_perfect_correlation_keeps_an_honest_interval(method, sign):
    y = _sample(50)[0]
    ci = spearman_ci(y, sign * y, method)
    assert Flag.CLIPPED in ci.flags
    assert ci.estimate == sign
    assert math.isfinite(ci.z)
    assert ci.high - ci.low > 1e-6
    assert (Flag.ANALYTIC_SE in ci.flags) == (method == "jackknife")


def test_undefined_replicates_take_the_interval_away():
    p = np.zeros(20)
    p[4] = 1.0  # without video 4 the predictions are constant
    ci = spearman_ci(np.arange(20.0), p)
    assert (ci.reason, ci.dropped) == (Reason.UNDEFINED_RESAMPLES, 1)
    assert math.isnan(ci.low)
    assert spearman_ci(np.arange(20.0), p, "bootstrap").reason is Reason.UNDEFINED_RESAMPLES


def test_given_correlations():
    assert correlation_ci(0.8, 3).reason is Reason.TOO_FEW
    assert correlation_ci(math.nan, 30).status is Status.UNDEFINED
    assert correlation_ci(1.0, 50).flags == (Flag.CLIPPED,)
    with pytest.raises(UsageError, match="percentage"):
        correlation_ci(81.0, 50)
    with pytest.raises(UsageError, match="method must be one of bonett-wright"):
        correlation_ci(0.8, 50, "bca")
    with pytest.raises(UsageError, match="level must lie between 0 and 1"):
        correlation_ci(0.8, 50, level=95)


def test_sentence():
    text = str(spearman_ci(*_sample(100)))
    assert text.endswith("n = 100 videos, jackknife)")
    assert "(95 % interval 0." in text
