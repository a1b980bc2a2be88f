"""Metrics against scipy, R and hand calculation; undefined cases are named."""

from __future__ import annotations

import copy
import json
import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats as sps

from aqabench.errors import DataError, UsageError
from aqabench.stats import (
    Flag,
    MetricValue,
    Reason,
    Status,
    fisher_mean,
    kendall,
    mse,
    normalised_mse,
    relative_l2,
    spearman,
)

# the example of statpsych's ci.spear; R: cor(y, x, method = ...)
Y = (21, 4, 9, 12, 35, 18, 10, 22, 24, 1, 6, 8, 13, 16, 19)
X = (67, 28, 30, 28, 52, 40, 25, 37, 44, 10, 14, 20, 28, 40, 51)

small_integers = hnp.arrays(np.int64, st.integers(3, 30), elements=st.integers(-5, 5))


def test_ties_as_in_r():
    assert spearman(Y, X) == pytest.approx(0.869963904042688, abs=1e-14)
    assert kendall(Y, X) == pytest.approx(0.728292649884324, abs=1e-14)


@settings(deadline=None)
@given(small_integers, st.randoms(use_true_random=False))
def test_equal_scipy_with_ties(y, random):
    p = np.array([random.choice(range(4)) for _ in y])
    if np.ptp(y) == 0 or np.ptp(p) == 0:
        assert math.isnan(spearman(y, p))
        return
    assert spearman(y, p) == pytest.approx(sps.spearmanr(y, p).statistic, abs=1e-12)
    assert kendall(y, p) == pytest.approx(sps.kendalltau(y, p).statistic, abs=1e-12)


@settings(deadline=None)
@given(small_integers, st.integers(0, 2**32 - 1))
def test_rank_metrics_see_only_the_order(y, seed):
    rng = np.random.default_rng(seed)
    p = rng.integers(-3, 4, size=y.size).astype(float)
    order = rng.permutation(y.size)
    for metric in (spearman, kendall):
        value = metric(y, p)
        assert metric(y[order], p[order]) == pytest.approx(value, abs=1e-12, nan_ok=True)
        assert metric(np.exp(y / 2), p**3) == pytest.approx(value, abs=1e-12, nan_ok=True)
        assert metric(y, -p) == pytest.approx(-value, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("metric", [spearman, kendall])
def test_constant_predictions_are_undefined_not_zero(metric):
    value = metric([1, 2, 3, 4], [5, 5, 5, 5])
    assert math.isnan(value)
    assert value.reason == "constant_predictions"
    assert value.status is Status.UNDEFINED
    assert metric([2, 2, 2], [1, 2, 3]).reason is Reason.CONSTANT_LABELS
    assert metric([1], [1]).reason is Reason.TOO_FEW
    assert "undefined (constant_predictions)" in str(value)


def test_nan_is_an_error_that_names_the_videos():
    with pytest.raises(DataError, match=r"nan_prediction.*ids b, d \(2 of 4\)"):
        spearman([1, 2, 3, 4], [1, math.nan, 3, math.nan], ids=["a", "b", "c", "d"])
    with pytest.raises(DataError, match="positions 1"):
        mse([1, 2, 3], [1, math.nan, 3])
    asked = spearman([1, 2, 3, 4], [1, math.nan, 3, 4], on_nan="undefined")
    assert asked.reason is Reason.NAN_PREDICTION


def test_infinite_predictions_have_ranks_but_no_error():
    rho = spearman([1, 2, 3, 4], [0, 1, 2, math.inf])
    assert rho == 1.0
    assert rho.flags == (Flag.NON_FINITE,)
    error = mse([1, 2, 3, 4], [0, 1, 2, math.inf])
    assert math.isnan(error)
    assert error.reason is Reason.NON_FINITE


def test_shapes_are_checked():
    with pytest.raises(DataError, match=r"p must be as long as y \(3\). Got 2"):
        spearman([1, 2, 3], [1, 2])
    with pytest.raises(DataError, match=r"one-dimensional \(n,\). Got shape \(1, 3\)"):
        spearman([[1, 2, 3]], [1, 2, 3])
    with pytest.raises(UsageError, match="on_nan must be one of raise, undefined"):
        spearman([1, 2], [1, 2], on_nan="omit")


def test_squared_errors():
    y, p = np.array([1.0, 2.0, 4.0]), np.array([1.0, 4.0, 3.0])
    assert mse(y, p) == pytest.approx(5 / 3)
    assert normalised_mse(y, p) == pytest.approx(5 / 3 / np.var(y))
    assert normalised_mse(y, np.full(3, y.mean())) == pytest.approx(1.0)
    assert normalised_mse(y, p, variance=2.0) == pytest.approx(5 / 6)
    assert relative_l2(y, p, (0, 10)) == pytest.approx(100 * np.mean(((p - y) / 10) ** 2))
    assert normalised_mse([2, 2, 2], [1, 2, 3]).reason is Reason.CONSTANT_LABELS
    with pytest.raises(UsageError, match="bounds must be"):
        relative_l2(y, p, (10, 0))


@pytest.mark.parametrize(
    ("rhos", "average"),
    [([0.757, 0.825, 0.836, 0.846], 0.819), ([0.685, 0.820], 0.761)],
    ids=["PAMFN on RG", "GDLT on Fis-V"],
)
def test_fisher_mean_gives_published_averages(rhos, average):
    assert round(fisher_mean(rhos), 3) == average


def test_fisher_mean_at_the_edges():
    undefined = fisher_mean([0.8, math.nan])
    assert math.isnan(undefined)
    assert undefined.reason is Reason.CONSTANT_PREDICTIONS
    zero = fisher_mean([0.8, math.nan], undefined_as_zero=True)
    assert zero == pytest.approx(math.tanh(math.atanh(0.8) / 2))
    assert zero.flags == (Flag.UNDEFINED_AS_ZERO,)
    assert fisher_mean([1.0, 0.2]) == 1.0
    assert fisher_mean([1.0, -1.0]).reason is Reason.INFINITE_Z
    clipped = fisher_mean([1.0, 0.2], n=50)
    limit = 1 - 6 / (50**3 - 50)
    assert clipped == pytest.approx(math.tanh((math.atanh(limit) + math.atanh(0.2)) / 2))
    assert clipped.flags == (Flag.CLIPPED,)
    with pytest.raises(DataError, match="percentages"):
        fisher_mean([81.9])
    with pytest.raises(DataError, match="at least one"):
        fisher_mean([])


def test_metric_value_is_a_frozen_float():
    value = spearman(Y, X)
    assert isinstance(value, float)
    assert value + 1 == pytest.approx(1.869963904)
    assert json.dumps({"rho": value}) == f'{{"rho": {value.estimate!r}}}'
    for other in (copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
        assert type(other) is MetricValue
        assert (other, other.n, other.n_ties, other.name) == (value, 15, value.n_ties, "spearman")
    with pytest.raises(AttributeError, match="frozen"):
        value.n = 3
    assert str(value).startswith("spearman 0.870 (n = 15)")


def test_many_ties_are_flagged():
    assert Flag.MANY_TIES in spearman([1, 1, 1, 2, 2, 3], [1, 2, 3, 4, 5, 6]).flags
    assert spearman(Y, Y).n_ties == 0
