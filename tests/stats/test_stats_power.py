"""Power against the specification's simulations; published pairs against its flags."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aqabench.errors import UsageError
from aqabench.stats import (
    detectable_difference,
    difference_sd,
    power,
    required_n,
    separable,
)


@pytest.mark.parametrize(
    ("rho", "r", "se"),
    [
        (0.7, 0.8, 0.0462), (0.7, 0.9, 0.0334), (0.7, 0.95, 0.0239),
        (0.8, 0.8, 0.0380), (0.8, 0.9, 0.0281), (0.8, 0.95, 0.0203),
    ],
)  # fmt: skip
def test_standard_error_of_a_difference_at_100_videos(rho, r, se):
    # simulated, +- 0.5 %
    assert difference_sd(rho, r) * (1 - rho**2) / 10 == pytest.approx(se, rel=5e-3)


def test_standard_error_against_the_sample_covariance(copula):
    # influence values of a large sample, literally
    rng = np.random.default_rng(0)
    n = 200_000
    y, (a, b) = copula(rng, n, (0.8, 0.7), 0.85)

    def influence(x, rho):
        order_x, order_y = np.argsort(x), np.argsort(y)
        u, v = np.empty(n), np.empty(n)
        u[order_x] = v[order_y] = (np.arange(n) + 0.5) / n - 0.5
        above_x, above_y = np.empty(n), np.empty(n)
        above_x[order_x] = np.cumsum(v[order_x][::-1])[::-1] / n
        above_y[order_y] = np.cumsum(u[order_y][::-1])[::-1] / n
        return 12 * (u * v + above_x + above_y) / (1 - rho**2)

    expected = np.std(influence(a, 0.8) - influence(b, 0.7))
    assert difference_sd(0.75, 0.85, 0.1) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize(
    ("n", "rho", "r", "delta", "found"),
    [
        (100, 0.7, 0.8, 0.05, 0.186), (100, 0.7, 0.9, 0.05, 0.295), (100, 0.8, 0.9, 0.06, 0.576),
        (250, 0.7, 0.8, 0.05, 0.411), (250, 0.7, 0.9, 0.05, 0.663), (250, 0.8, 0.9, 0.03, 0.387),
        (250, 0.8, 0.95, 0.03, 0.629), (250, 0.8, 0.9, 0.06, 0.955),
    ],
)  # fmt: skip
def test_power_of_the_default_test_as_simulated(n, rho, r, delta, found):
    # 1500 simulations of the jackknife test: +- 2.6 points, and it is a little conservative
    assert power(n, rho, r, delta) == pytest.approx(found, abs=0.045)


def test_detectable_difference_inverts_power():
    for n, rho, r in ((50, 0.7, 0.8), (100, 0.8, 0.9), (250, 0.8, 0.98)):
        delta = detectable_difference(n, rho, r)
        assert power(n, rho, r, delta) == pytest.approx(0.8, abs=1e-4)
        needed = required_n(delta, rho, r)
        assert abs(needed - n) <= 1
    assert power(100, 0.8, 0.9, 0.0) == pytest.approx(0.05)
    assert detectable_difference(100, 0.8, 0.9, power=0.04) == 0.0
    assert math.isnan(detectable_difference(4, 0.9, 0.8, power=0.9999))


def test_required_n_of_small_gains():
    # 2.80 SD / delta squared: 3,243 and 6,211 videos for a gain of .01
    assert required_n(0.01, 0.8, 0.95) == pytest.approx(3243, rel=0.01)
    assert required_n(0.01, 0.8, 0.9) == pytest.approx(6211, rel=0.01)


@settings(max_examples=30, deadline=None)
@given(st.integers(10, 400), st.floats(0.3, 0.9), st.floats(0, 1), st.floats(0.01, 0.08))
def test_power_grows_with_n_delta_and_overlap(n, rho, share, delta):
    low = rho**2  # errors that are independent given the score
    r = low + share * (0.97 - low)
    value = power(n, rho, r, delta)
    assert 0.05 - 1e-9 <= value <= 1
    assert power(n, rho, r, -delta) == pytest.approx(value)
    assert power(n + 50, rho, r, delta) > value - 1e-9
    assert power(n, rho, r, delta * 1.2) > value - 1e-9
    assert power(n, rho, min(0.98, r + 0.01), delta) > value - 1e-9


def test_averages():
    # four independent classes of 50 are like one class of 200, but for t
    assert power(50, 0.8, 0.9, 0.04, n_classes=4) == pytest.approx(
        power(200, 0.8, 0.9, 0.04), abs=0.005
    )
    one = power(100, 0.8, 0.9, 0.04)
    assert power(100, 0.8, 0.9, 0.04, n_classes=7, shared=1.0) == pytest.approx(one)
    assert power(100, 0.8, 0.9, 0.04, n_classes=2, shared=0.5) > one
    # simulated: RG average .057 at rho .8, r .89
    assert detectable_difference(50, 0.8, 0.89, n_classes=4) == pytest.approx(0.057, abs=0.004)


def test_impossible_questions():
    with pytest.raises(UsageError, match=r"cannot have predictions that correlate 0\.1"):
        power(100, 0.8, 0.1, 0.05)
    with pytest.raises(UsageError, match="n >= 4"):
        power(3, 0.8, 0.9, 0.05)
    with pytest.raises(UsageError, match="delta must leave"):
        power(100, 0.9, 0.9, 0.2)
    with pytest.raises(UsageError, match="not percentages"):
        detectable_difference(100, 80, 0.9)
    with pytest.raises(UsageError, match="difference other than 0"):
        required_n(0.0, 0.8, 0.9)


# ---- published numbers ----------------------------------------------------------------------


def test_separable_on_rhythmic_gymnastics():
    # MCMoE .842 against GDLT .765, four classes of 50
    result = separable(0.842, 0.765, 50, n_classes=4)
    assert result.flag == "separated"
    assert result.m == 188
    assert result.p_independent == pytest.approx(0.0097, abs=5e-5)
    assert result.r_star == pytest.approx(0.6441, abs=5e-5)
    near = separable(0.842, 0.836, 50, n_classes=4)
    assert near.flag == "cannot be separated"
    assert math.isnan(near.r_star)
    assert "cannot be separated; p = " in str(near)


def test_effective_sample_sizes():
    assert separable(0.8, 0.7, 100, n_classes=2, shared=0.5).m == pytest.approx(129.3, abs=0.05)
    assert separable(0.8, 0.7, 250, n_classes=7, shared=0.6).m == pytest.approx(375.9, abs=0.05)


def test_r_star_is_where_the_test_turns():
    result = separable(0.82, 0.76, 100, n_classes=2, shared=0.5)
    assert result.flag == "depends on overlap"
    assert result.r_low < result.r_star < result.r_high
    above = separable(0.82, 0.76, 100, n_classes=2, shared=0.5, r_high=result.r_star + 1e-6)
    below = separable(0.82, 0.76, 100, n_classes=2, shared=0.5, r_high=result.r_star - 1e-6)
    assert above.p_high < 0.05 < below.p_high
    assert "(r* = 0." in str(result)


@pytest.mark.parametrize(("r", "gap"), [(0.8, 0.039), (0.9, 0.031), (0.95, 0.023)])
def test_just_significant_gap_above_the_record(r, gap):
    # rhythmic gymnastics, a successor of .842
    narrow, wide = (
        separable(0.842 + gap + e, 0.842, 50, n_classes=4, r_high=r).p_high for e in (-1e-3, 1e-3)
    )
    assert wide < 0.05 < narrow


def test_seeds_widen():
    plain = separable(0.842, 0.765, 50, n_classes=4)
    seeded = separable(0.842, 0.765, 50, n_classes=4, seed_sd=0.02, n_seeds=3)
    assert seeded.p_independent > plain.p_independent
    assert separable(0.8, 0.8, 50).flag == "cannot be separated"
    assert separable(0.7, 0.8, 50).p_high == pytest.approx(separable(0.8, 0.7, 50).p_high)
    with pytest.raises(UsageError, match="rho_a must lie in"):
        separable(84.2, 76.5, 50)
    with pytest.raises(UsageError, match="n_seeds >= 1"):
        separable(0.8, 0.7, 50, n_seeds=0)


def test_published_numbers_at_the_edges():
    for few in (separable(0.8, 0.7, 3), separable(math.nan, 0.7, 50)):
        assert few.flag == "undefined"
        assert math.isnan(few.p_high)
        assert math.isnan(few.r_star)
    assert separable(0.8, 0.7, 3).reason == "too_few"
    none = separable(0.7, math.nan, 50)
    assert none.reason == "constant_predictions"
    assert str(none) == "0.700 against nan: undefined (constant_predictions)"
    perfect = separable(1.0, 0.8, 50)
    assert (perfect.flag, perfect.flags, perfect.rho_a) == ("separated", ("clipped",), 1.0)
    assert separable(1.0, 1.0, 50).flag == "cannot be separated"
    assert separable(0.9, 0.8, 50).flags == ()


def test_no_published_gap_of_two_points_is_separable(shared_data):
    """Published averages at most .02 apart cannot be separated, whatever the overlap."""
    designs = {"RG": (50, 4, 0.0), "Fis-V": (100, 2, 0.5), "FS1000": (250, 7, 0.6)}
    values: dict[str, set[float]] = {name: set() for name in designs}
    with (shared_data / "published_results.csv").open(newline="") as rows:
        for row in csv.DictReader(rows):
            full = row["modalities_available"] in ("v+a+f", "v")[: 1 + (row["dataset"] != "FS1000")]
            if row["class"] == "average" and row["metric"] == "SRCC" and full:
                values[row["dataset"]].add(float(row["value"]))
    pairs = [
        (name, high, low)
        for name, found in values.items()
        for low in found
        for high in found
        if 0 < high - low <= 0.0201
    ]
    assert len(pairs) > 50
    for name, high, low in pairs:
        n, classes, shared = designs[name]
        result = separable(high, low, n, n_classes=classes, shared=shared)
        assert result.flag == "cannot be separated", (name, high, low)
