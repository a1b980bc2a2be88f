"""The count-matrix kernel against scipy on every resample, with ties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as sps

from aqabench.stats import bootstrap_rho, draw_counts, jackknife_rho, jackknife_z
from aqabench.stats._kernel import order_matrix, rho_limit


def _scipy(y, p):
    constant = np.ptp(y) == 0 or np.ptp(p) == 0
    return math.nan if constant else sps.spearmanr(y, p).statistic


@pytest.mark.parametrize("levels", [3, 15, 10_000])
@pytest.mark.parametrize("n", [10, 51, 257], ids=["n10", "n51", "n257: float64"])
def test_jackknife_is_exact(n, levels):
    rng = np.random.default_rng(n + levels)
    y = rng.integers(0, levels, n).astype(float)
    predictions = y + rng.integers(0, levels, (3, n))
    rho, replicates = jackknife_rho(y, predictions)
    assert replicates.shape == (3, n)
    for k in range(3):
        assert rho[k] == pytest.approx(_scipy(y, predictions[k]), abs=1e-12)
        for i in range(0, n, max(1, n // 12)):
            left = _scipy(np.delete(y, i), np.delete(predictions[k], i))
            assert replicates[k, i] == pytest.approx(left, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(5, 40), st.integers(2, 50))
def test_bootstrap_is_exact(seed, n, levels):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, levels, n).astype(float)
    p = y + rng.integers(0, levels, n)
    counts = draw_counts(rng, 5, n)
    assert (counts.sum(axis=1) == n).all()
    for count, rho in zip(counts, bootstrap_rho(y, p, counts)[0], strict=True):
        drawn = np.repeat(np.arange(n), count.astype(int))
        assert rho == pytest.approx(_scipy(y[drawn], p[drawn]), abs=1e-12, nan_ok=True)


def test_jackknife_is_the_bootstrap_kernel_with_one_left_out():
    rng = np.random.default_rng(5)
    y, p = rng.normal(size=(2, 40))
    counts = 1.0 - np.eye(40)
    assert bootstrap_rho(y, p, counts)[0] == pytest.approx(jackknife_rho(y, p)[1][0], abs=1e-14)


def test_float32_is_exact_at_its_largest_n():
    rng = np.random.default_rng(9)
    n = 256
    y, p = rng.normal(size=(2, n))
    counts = np.zeros((2, n))
    counts[0, :2] = 128.0, 128.0  # the most extreme weights there can be
    counts[1] = draw_counts(rng, 1, n)
    expected = [_scipy(np.repeat(y, c.astype(int)), np.repeat(p, c.astype(int))) for c in counts]
    assert bootstrap_rho(y, p, counts)[0] == pytest.approx(expected, abs=1e-14)


def test_constant_input_is_nan():
    rho, replicates = jackknife_rho(np.arange(12.0), np.stack([np.ones(12), np.arange(12.0)]))
    assert math.isnan(rho[0])
    assert rho[1] == 1.0
    assert np.isnan(replicates[0]).all()
    almost = np.zeros(12)
    almost[3] = 1.0
    left = jackknife_rho(np.arange(12.0), almost)[1][0]
    assert math.isnan(left[3])
    assert np.isfinite(np.delete(left, 3)).all()


def test_perfect_correlation_is_clipped_half_way_to_the_next_value():
    z, replicates = jackknife_z(np.arange(20.0), np.arange(20.0))
    assert z[0] == pytest.approx(math.atanh(1 - 6 / (20**3 - 20)))
    assert replicates[0] == pytest.approx(np.full(20, math.atanh(rho_limit(19))))
    swapped = np.arange(20.0)
    swapped[:2] = 1, 0  # the largest attainable value below 1
    assert 2 * rho_limit(20) - 1 == pytest.approx(_scipy(np.arange(20.0), swapped))


def test_order_matrix_orders_infinite_values():
    s = order_matrix(np.array([math.inf, 1.0, -math.inf, 1.0]))
    assert s[0].tolist() == [0.5, 1.0, 1.0, 1.0]
    assert s[1].tolist() == [0.0, 0.5, 1.0, 0.5]
