"""Non-inferiority and equivalence against statsmodels and against their own intervals."""

from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.weightstats import ttost_paired

from aqabench.errors import UsageError
from aqabench.stats import (
    Flag,
    compare_correlations,
    compare_mean_loss,
    compare_spearman,
    non_inferiority,
    spearman,
    tost,
)
from aqabench.stats._wald import from_z_difference, to_z_difference


def _losses(n=60):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, n)) ** 2
    return a, a + 0.3 * b - 0.25


def _sample(n=100, seed=0, noise=(0.5, 0.5)):
    rng = np.random.default_rng(seed)
    y, common = rng.normal(size=(2, n))
    return y, *(y + 0.6 * common + s * rng.normal(size=n) for s in noise)


@pytest.mark.parametrize("margin", [0.05, 0.1, 0.3])
def test_tost_as_in_statsmodels(margin):
    a, b = _losses()
    p, lower, upper = ttost_paired(a, b, -margin, margin)
    result = tost(compare_mean_loss(a, b, "t"), margin)
    assert result.p_value == pytest.approx(p)
    assert result.p_lower == pytest.approx(lower[1])
    assert result.p_upper == pytest.approx(upper[1])
    assert result.shown == (p < 0.05)


def test_lower_loss_is_better():
    a, b = _losses()
    result = non_inferiority(compare_mean_loss(a, b, "t"), 0.2)
    assert result.lower_is_better
    assert result.p_value == result.p_upper
    assert result.shown == (result.high < 0.2)


@pytest.mark.parametrize("margin", [0.01, 0.03, 0.05, 0.1, 0.3])
def test_shown_exactly_when_the_limit_is_inside(margin):
    for seed in range(10):
        comparison = compare_spearman(*_sample(seed=seed))
        one, two = non_inferiority(comparison, margin), tost(comparison, margin)
        assert one.shown == (one.low > -margin)
        assert two.shown == (two.low > -margin and two.high < margin)


def test_limits_of_given_correlations_are_those_of_the_ninety_percent_interval():
    result = non_inferiority(compare_correlations(0.8, 0.77, 0.9, 100, "steiger"), 0.05)
    ninety = compare_correlations(0.8, 0.77, 0.9, 100, "steiger", level=0.9)
    assert (result.low, result.high) == pytest.approx((ninety.low, ninety.high))


@pytest.mark.parametrize("margin", [0.06, 0.2])
def test_the_margin_is_tested_with_the_error_of_both_correlations(margin):
    """The whole of ``z_a - z_b + edge(margin, (z_a + z_b) / 2)`` is left out one by one again."""
    y, a, b = _sample(n=200, noise=(0.8, 0.2))
    every = np.arange(y.size)

    def tested(rows):
        z_a, z_b = (math.atanh(spearman(y[rows], p[rows])) for p in (a, b))
        return z_a - z_b + to_z_difference(margin, (z_a + z_b) / 2)

    left = np.array([tested(every != i) for i in every])
    error = math.sqrt((y.size - 1) / y.size * ((left - left.mean()) ** 2).sum())
    expected = stats.t.sf(tested(every) / error, y.size - 1)
    result = non_inferiority(compare_spearman(y, a, b), margin)
    assert 0.001 < expected < 0.999
    assert result.p_value == pytest.approx(expected, rel=0.02)


def test_turned_is_what_comparing_the_other_way_round_gives():
    y, a, b = _sample(noise=(0.8, 0.2))
    there, back = compare_spearman(y, a, b), compare_spearman(y, b, a)
    for field in fields(there):
        expected = getattr(back, field.name)
        found = getattr(there.turned, field.name)
        close = isinstance(expected, float)
        assert found == (pytest.approx(expected, nan_ok=True) if close else expected), field.name


def test_a_margin_that_is_too_small_says_so():
    result = tost(compare_spearman(*_sample()), 0.001)
    assert Flag.UNDERPOWERED in result.flags
    assert not result.shown
    assert result.n_required > 10_000
    assert "cannot be shown at this n" in str(result)
    wide = non_inferiority(compare_spearman(*_sample()), 0.6)
    assert wide.flags == ()
    assert wide.shown
    assert str(wide).startswith("non-inferiority shown at margin 0.6")
    # 2.49 SE is what non-inferiority shows with 80 % power
    assert wide.smallest_margin == pytest.approx(2.4865 * _rho_se(), rel=0.02)


def _rho_se():
    c = compare_spearman(*_sample())
    middle = (math.atanh(c.estimate_a) + math.atanh(c.estimate_b)) / 2
    return c.se_z * (1 - math.tanh(middle) ** 2)


def test_identical_methods_are_as_good():
    y, a, _ = _sample()
    for result in (
        non_inferiority(compare_spearman(y, a, a), 0.01),
        tost(compare_spearman(y, a, 2 * a), 0.01),
        tost(compare_mean_loss(a**2, a**2), 0.01),
    ):
        assert result.shown


def test_undefined_comparisons_stay_undefined():
    y, a, _ = _sample()
    result = tost(compare_spearman(y, a, np.ones(100)))
    assert math.isnan(result.p_value)
    assert not result.shown
    assert str(result) == "equivalence undefined (constant_predictions)"


def test_perfect_method_is_not_inferior():
    y, a, _ = _sample()
    assert non_inferiority(compare_spearman(y, y, a), 0.05).shown
    assert not non_inferiority(compare_spearman(y, a, y), 0.05).shown


def test_needs_a_margin_and_a_standard_error():
    comparison = compare_spearman(*_sample())
    for margin in (0.0, -0.1, math.inf):
        with pytest.raises(UsageError, match="margin must be positive"):
            tost(comparison, margin)
    for other in (
        compare_spearman(*_sample(), "swap", n_resamples=99),
        compare_spearman(*_sample(), "bootstrap", n_resamples=99),
        compare_correlations(0.8, 0.7, 0.9, 50, "williams"),
        compare_mean_loss(*_losses(), "wilcoxon"),
    ):
        with pytest.raises(UsageError, match="has no standard error"):
            tost(other)
    assert tost(compare_correlations(0.8, 0.79, 0.95, 5000, "meng"), 0.05).shown


@settings(deadline=None)
@given(st.floats(-4, 4), st.floats(-3, 3))
def test_difference_map_and_its_inverse(d, centre):
    assert to_z_difference(from_z_difference(d, centre), centre) == pytest.approx(d, abs=1e-6)


def test_difference_out_of_reach():
    assert to_z_difference(2.0, 0.3) == math.inf
    assert to_z_difference(-2.5, 0.3) == -math.inf
