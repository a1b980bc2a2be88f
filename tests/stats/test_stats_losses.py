"""Mean losses against scipy, R and full enumeration."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as sps

from aqabench.stats import Flag, Reason, Status, compare_mean_loss

# R: Hollander and Wolfe's depression data, and a sample with ties and a zero
A, B = (
    (1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30),
    (0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29),
)
TIED = (
    (125, 115, 130, 140, 140, 115, 140, 125, 140, 135),
    (110, 122, 125, 120, 140, 124, 123, 137, 135, 145),
)


def _losses(n, seed=0):
    rng = np.random.default_rng(seed)
    common = rng.normal(size=n)
    return (common + rng.normal(size=n)) ** 2, (common + 0.8 * rng.normal(size=n)) ** 2


def test_paired_t_as_in_r():
    result = compare_mean_loss(A, B, "t")
    assert result.statistic == pytest.approx(3.0353754156485913)
    assert result.p_value == pytest.approx(0.0161766274349081)
    assert (result.low, result.high) == pytest.approx((0.1037787122721685, 0.7599990655056093))


def test_wilcoxon_as_in_r():
    exact = compare_mean_loss(A, B, "wilcoxon")
    assert (exact.statistic, exact.p_value) == pytest.approx((40, 0.0390625))
    assert Flag.EXACT in exact.flags
    tied = compare_mean_loss(*TIED, "wilcoxon")
    assert (tied.statistic, tied.p_value) == pytest.approx((27, 0.635289318835207))
    assert Flag.EXACT not in tied.flags
    assert tied.share_a_better == pytest.approx(0.45)
    assert "A's typical error is smaller on 45 % of videos" in str(tied)
    assert math.isnan(tied.low)


@pytest.mark.parametrize("n", [4, 9, 13])
def test_sign_flips_are_enumerated(n):
    a, b = _losses(n, seed=n)

    def mean(x, y):
        return np.mean(x - y)

    reference = sps.permutation_test((a, b), mean, permutation_type="samples", n_resamples=np.inf)
    result = compare_mean_loss(a, b)
    assert result.p_value == pytest.approx(reference.pvalue)
    assert result.n_resamples == 2**n


def test_sign_flips_at_random_are_near_t():
    a, b = _losses(200)
    flips, t = compare_mean_loss(a, b), compare_mean_loss(a, b, "t")
    assert flips.p_value == pytest.approx(t.p_value, abs=0.02)
    assert (flips.low, flips.high) == (t.low, t.high)
    assert flips == compare_mean_loss(a, b)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["sign-flip", "t", "wilcoxon"]))
def test_antisymmetric_and_blind_to_order(seed, method):
    a, b = _losses(12, seed)
    order = np.random.default_rng(seed).permutation(12)
    one = compare_mean_loss(a, b, method)
    other = compare_mean_loss(b, a, method)
    moved = compare_mean_loss(7 * a[order], 7 * b[order], method)
    assert other.difference == pytest.approx(-one.difference)
    assert other.p_value == pytest.approx(one.p_value)
    assert other.log_ratio == pytest.approx(-one.log_ratio)
    assert moved.p_value == pytest.approx(one.p_value)
    assert moved.log_ratio_p == pytest.approx(one.log_ratio_p)


def test_log_ratio_is_a_jackknife():
    a, b = _losses(40)
    left = [math.log(np.delete(a, i).mean() / np.delete(b, i).mean()) for i in range(40)]
    se = math.sqrt(39 / 40 * np.sum((left - np.mean(left)) ** 2))
    ratio = math.log(a.mean() / b.mean())
    result = compare_mean_loss(a, b)
    assert result.log_ratio == pytest.approx(ratio)
    assert result.log_ratio_p == pytest.approx(2 * sps.t.sf(abs(ratio) / se, 39))


def test_influence_of_the_worst_videos():
    a, b = np.ones(50), np.ones(50) + np.linspace(-0.01, 0.01, 50)
    a[:3] = 100.0
    result = compare_mean_loss(a, b)
    assert result.difference > 5
    assert abs(result.difference_without_worst) < 0.01


@pytest.mark.parametrize("method", ["sign-flip", "t", "wilcoxon"])
def test_undefined_cases_are_named(method):
    a, b = _losses(40)
    same = compare_mean_loss(a, a, method)
    assert (same.difference, same.p_value, same.status) == (0, 1, Status.IDENTICAL_LOSSES)
    infinite = compare_mean_loss(np.where(np.arange(40) == 2, math.inf, a), b, method)
    assert (infinite.status, infinite.reason) == (Status.UNDEFINED, Reason.NON_FINITE)
    assert "undefined (non_finite" in str(infinite)
    assert compare_mean_loss([1.0], [2.0], method).reason is Reason.TOO_FEW


def test_constant_difference_has_no_t():
    result = compare_mean_loss(np.arange(20.0) + 1, np.arange(20.0), "t")
    assert result.reason is Reason.NO_VARIATION
    assert math.isnan(result.p_value)
    assert compare_mean_loss(np.arange(20.0) + 1, np.arange(20.0)).p_value < 0.001


def test_a_constant_difference_is_constant_in_spite_of_rounding():
    # as R: t.test(a, a + 1, paired = TRUE) stops with "data are essentially constant"
    a = np.random.default_rng(0).normal(size=40) ** 2
    assert len(set(a - (a + 1))) > 1
    result = compare_mean_loss(a, a + 1, "t")
    assert result.reason is Reason.NO_VARIATION
    assert math.isnan(result.p_value)
    assert math.isnan(result.statistic)
    nearly = compare_mean_loss(a, a + 1 + 1e-12 * np.arange(40), "t")
    assert nearly.p_value < 1e-100
    assert compare_mean_loss(a, a + 1).p_value < 0.001
