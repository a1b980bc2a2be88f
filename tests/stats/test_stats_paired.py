"""A against B: worked examples from the literature, literal recomputation, invariances."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as sps

from aqabench.errors import DataError, UsageError
from aqabench.stats import Flag, Reason, Status, compare_correlations, compare_spearman, spearman

CLOSED = ("williams", "steiger", "dunn-clark", "meng", "zou", "zou-bw")
ALL = ("jackknife", "swap", "bootstrap", *CLOSED)


def _sample(n, seed=0, noise=(0.6, 0.8)):
    rng = np.random.default_rng(seed)
    y, common = rng.normal(size=(2, n))
    return y, *(y + s * (0.7 * common + 0.7 * rng.normal(size=n)) for s in noise)


# ---- published examples -------------------------------------------------------------------


def test_meng_rosenthal_rubin_1992():
    # r = .63 and -.03 with 15 subjects, -.19 between the predictors: Z = 1.68
    result = compare_correlations(0.63, -0.03, -0.19, 15, "meng")
    assert round(result.statistic, 2) == 1.68
    assert result.p_value / 2 == pytest.approx(0.0465, abs=5e-4)
    assert result.low_z == pytest.approx(0.7714 - 1.96 * 0.7714 / 1.6794, abs=1e-3)


def test_zou_2007_overlapping():
    # r12 = .396, r13 = .179, r23 = .088, n = 66: (-0.093, 0.517)
    result = compare_correlations(0.396, 0.179, 0.088, 66, "zou")
    assert (round(result.low, 3), round(result.high, 3)) == (-0.093, 0.517)
    assert math.isnan(result.statistic)


def test_steiger_1980_case_a_by_williams():
    # R psych, r.test(n = 103, r12 = .4, r13 = .5, r23 = .1)
    result = compare_correlations(0.4, 0.5, 0.1, 103, "williams")
    assert result.statistic == pytest.approx(-0.891279904760541, abs=1e-12)
    assert result.p_value == pytest.approx(0.374918517491256, abs=1e-12)
    assert result.df == 100


@pytest.mark.parametrize(
    ("method", "statistic"),
    [("williams", -4.4950), ("dunn-clark", -4.4412), ("steiger", -4.4152), ("meng", -4.3899)],
)
def test_the_example_of_cocor_by_hand(method, statistic):
    # age with intelligence .2, with shoe size .5, both .1, n = 315: evaluated from the papers'
    # formulas in fractions, not from this code
    from fractions import Fraction as F

    a, b, r, n = F(1, 5), F(1, 2), F(1, 10), 315
    z = math.atanh(a) - math.atanh(b)
    if method == "williams":
        det = 1 + 2 * a * b * r - a**2 - b**2 - r**2
        below = 2 * F(n - 1, n - 3) * det + ((a + b) / 2) ** 2 * (1 - r) ** 3
        expected = float(a - b) * math.sqrt((n - 1) * (1 + r) / below)
    elif method == "meng":
        q = (a**2 + b**2) / 2
        f = min(F(1), (1 - r) / (2 * (1 - q)))
        expected = z * math.sqrt((n - 3) / (2 * (1 - r) * (1 - f * q) / (1 - q)))
    else:
        if method == "steiger":
            a = b = (a + b) / 2
        c = (r * (1 - a**2 - b**2) - a * b / 2 * (1 - a**2 - b**2 - r**2)) / (
            (1 - a**2) * (1 - b**2)
        )
        expected = z * math.sqrt(n - 3) / math.sqrt(2 - 2 * c)
    result = compare_correlations(0.2, 0.5, 0.1, 315, method)
    assert result.statistic == pytest.approx(expected, abs=1e-10)
    assert round(result.statistic, 4) == statistic


# ---- properties of the closed forms -------------------------------------------------------


@settings(deadline=None)
@given(st.floats(-0.95, 0.95), st.floats(-0.95, 0.95), st.floats(0, 1), st.sampled_from(CLOSED))
def test_closed_forms_are_antisymmetric_and_agree_with_their_interval(a, b, share, method):
    middle, half = a * b, math.sqrt((1 - a * a) * (1 - b * b))
    r = middle + (2 * share - 1) * 0.95 * half
    one, other = (compare_correlations(*v, r, 80, method) for v in ((a, b), (b, a)))
    assert other.p_value == pytest.approx(one.p_value, abs=1e-9)
    assert (other.low, other.high) == pytest.approx((-one.high, -one.low), abs=1e-9)
    if abs(one.p_value - 0.05) > 1e-6:
        assert (one.low > 0 or one.high < 0) == (one.p_value < 0.05)


def test_zou_p_is_the_level_at_which_the_interval_touches_zero():
    p = compare_correlations(0.8, 0.7, 0.85, 100, "zou").p_value
    touching = compare_correlations(0.8, 0.7, 0.85, 100, "zou", level=1 - p)
    assert touching.low == pytest.approx(0.0, abs=1e-9)
    assert compare_correlations(0.99, -0.9, -0.8, 400, "zou").p_value < 1e-12
    assert compare_correlations(0.5, 0.5, 0.3, 40, "zou").p_value == 1.0


def test_given_correlations_at_the_edges():
    same = compare_correlations(0.8, 0.8, 1.0, 50)
    assert (same.difference, same.p_value, same.status) == (0, 1, Status.IDENTICAL_RANKINGS)
    assert compare_correlations(0.8, 0.7, 0.9, 3).reason is Reason.TOO_FEW
    assert compare_correlations(math.nan, 0.7, 0.9, 50).status is Status.UNDEFINED
    assert Flag.CLIPPED in compare_correlations(1.0, 0.7, 0.7, 50).flags
    assert Flag.IMPOSSIBLE in compare_correlations(0.9, 0.2, 0.99, 50).flags
    for method in CLOSED:
        assert compare_correlations(0.8, 0.7, 1.0, 50, method).reason in ("no_variation", "")
    with pytest.raises(UsageError, match="r_ab must lie in"):
        compare_correlations(0.8, 0.7, 90, 50)
    with pytest.raises(UsageError, match="method must be one of steiger"):
        compare_correlations(0.8, 0.7, 0.9, 50, "hotelling")


# ---- predictions --------------------------------------------------------------------------


def test_jackknife_is_the_textbook_one():
    y, a, b = _sample(45)

    def gap(rows):
        return math.atanh(sps.spearmanr(y[rows], a[rows]).statistic) - math.atanh(
            sps.spearmanr(y[rows], b[rows]).statistic
        )

    everyone = np.arange(45)
    left = [gap(np.delete(everyone, i)) for i in everyone]
    se = math.sqrt(44 / 45 * np.sum((left - np.mean(left)) ** 2))
    result = compare_spearman(y, a, b)
    assert result.se_z == pytest.approx(se)
    assert result.statistic == pytest.approx(gap(everyone) / se)
    assert result.df == pytest.approx(44)
    assert result.p_value == pytest.approx(2 * sps.t.sf(abs(gap(everyone) / se), 44))
    assert result.difference == pytest.approx(spearman(y, a) - spearman(y, b))
    assert result.r_ab == pytest.approx(spearman(a, b))


def test_interval_excludes_zero_exactly_when_p_is_small():
    for seed in range(30):
        for method in ("jackknife", "steiger", "meng"):
            result = compare_spearman(*_sample(40, seed, (0.5, 0.9)), method)
            assert (result.low > 0 or result.high < 0) == (result.p_value < 0.05)


@pytest.mark.parametrize("method", CLOSED)
def test_closed_forms_use_rank_correlations(method):
    y, a, b = _sample(60, 4)
    result = compare_spearman(y, a, b, method)
    given = compare_correlations(spearman(y, a), spearman(y, b), spearman(a, b), 60, method)
    assert result.p_value == given.p_value
    assert (result.low, result.high) == (given.low, given.high)


def _swap_by_hand(y, a, b):
    """All 2**n swaps with scipy's ranks and a literal influence function."""
    n = len(y)
    ra, rb, ry = sps.rankdata(a), sps.rankdata(b), sps.rankdata(y)

    def side(x):
        u, v = (sps.rankdata(x) - (n + 1) / 2) / n, (ry - (n + 1) / 2) / n
        above = lambda t: (np.sign(t[None, :] - t[:, None]) + 1) / 2  # noqa: E731
        h = 12 * (u * v + above(u) @ v / n + above(v) @ u / n)
        rho = np.corrcoef(u, v)[0, 1]
        return math.atanh(rho), (h - h.mean()) / (1 - rho**2)

    def t(swap):
        (za, ha), (zb, hb) = side(np.where(swap, rb, ra)), side(np.where(swap, ra, rb))
        return abs(za - zb) / (math.sqrt(((ha - hb) ** 2).sum()) / n)

    observed = t(np.zeros(n, bool))
    swaps = [t(np.array(s)) for s in itertools.product([False, True], repeat=n)]
    return observed, np.mean([s >= observed * (1 - 1e-9) for s in swaps])


def test_swap_is_exact_by_enumeration():
    y, a, b = _sample(10, seed=12, noise=(0.3, 1.5))
    observed, p = _swap_by_hand(y, a, b)
    result = compare_spearman(y, a, b, "swap", n_resamples=1023)
    assert Flag.EXACT in result.flags
    assert result.n_resamples == 1024
    assert abs(result.statistic) == pytest.approx(observed)
    assert result.p_value == pytest.approx(p)


def test_swap_by_random_draws_approaches_the_enumeration():
    y, a, b = _sample(12, seed=2, noise=(0.3, 1.5))
    exact = compare_spearman(y, a, b, "swap", n_resamples=4095).p_value
    drawn = compare_spearman(y, a, b, "swap", n_resamples=4000)
    assert Flag.EXACT not in drawn.flags
    assert drawn.p_value == pytest.approx(exact, abs=4 * math.sqrt(exact / 4000))


def test_influence_error_is_near_the_jackknife():
    y, a, b = _sample(250, 7)
    jackknife = compare_spearman(y, a, b)
    swap = compare_spearman(y, a, b, "swap", n_resamples=99)
    assert swap.statistic == pytest.approx(jackknife.statistic, rel=0.05)


def test_bootstrap_agrees_with_scipy():
    y, a, b = _sample(60, 5, (0.4, 0.9))

    def gap(u, v, w):
        return sps.spearmanr(u, v).statistic - sps.spearmanr(u, w).statistic

    reference = sps.bootstrap(
        (y, a, b), gap, paired=True, vectorized=False, method="percentile", n_resamples=600,
        rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    result = compare_spearman(y, a, b, "bootstrap", n_resamples=20_000)
    assert (result.low, result.high) == pytest.approx((reference.low, reference.high), abs=0.03)
    assert (result.p_value < 0.05) == (result.low > 0 or result.high < 0)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(ALL))
def test_antisymmetric_and_blind_to_units_and_order(seed, method):
    y, a, b = _sample(24, seed)
    order = np.random.default_rng(seed).permutation(24)
    options = {"method": method, "n_resamples": 200}
    result = compare_spearman(y, a, b, **options)
    swapped = compare_spearman(y, b, a, **options)
    assert swapped.difference == pytest.approx(-result.difference, abs=1e-12)
    assert swapped.p_value == pytest.approx(result.p_value, abs=1e-9)
    assert swapped.low == pytest.approx(-result.high, abs=1e-9)
    scaled = compare_spearman(3 * y - 1, np.exp(a), b**3, **options)
    assert scaled.p_value == pytest.approx(result.p_value, abs=1e-9)
    if method not in ("swap", "bootstrap"):
        moved = compare_spearman(y[order], a[order], b[order], **options)
        assert moved.p_value == pytest.approx(result.p_value, abs=1e-9)


@pytest.mark.parametrize("method", ALL)
def test_undefined_cases_are_named(method):
    y, a, b = _sample(50)
    same = compare_spearman(y, a, np.exp(a), method)
    assert (same.difference, same.p_value) == (0.0, 1.0)
    assert same.status == "identical_rankings"
    constant = compare_spearman(y, a, np.ones(50), method)
    assert constant.status is Status.UNDEFINED
    assert constant.reason == "constant_predictions"
    assert math.isnan(constant.p_value)
    assert math.isnan(constant.difference)
    few = compare_spearman(y[:9], a[:9], b[:9], method)
    assert few.reason is Reason.TOO_FEW
    assert math.isfinite(few.difference)
    assert math.isnan(few.p_value)
    tiny = compare_spearman(y[:3], a[:3], b[:3], method)
    assert tiny.reason is Reason.TOO_FEW
    assert few.method == tiny.method == constant.method == same.method == method
    assert not few.significant
    with pytest.raises(DataError, match="nan_prediction: p_b holds NaN for positions 3"):
        compare_spearman(y, a, np.where(np.arange(50) == 3, math.nan, b), method)


def test_flags():
    y, a, b = _sample(50)
    infinite = np.where(np.arange(50) == 3, math.inf, b)
    assert Flag.NON_FINITE in compare_spearman(y, a, infinite).flags
    assert Flag.SMALL_N in compare_spearman(y[:20], a[:20], b[:20]).flags
    assert Flag.CLIPPED in compare_spearman(y, y, b).flags
    assert Flag.MANY_TIES in compare_spearman(np.round(y), a, b).flags
    nearly = np.arange(1000.0)
    other = nearly.copy()
    other[[4, 5]] = 5, 4
    labels = np.random.default_rng(0).permutation(1000)
    assert compare_spearman(labels, nearly, other).status is Status.SAME_PREDICTIONS
    both = compare_spearman(y, y, -y)
    assert Flag.ANALYTIC_SE in both.flags
    assert both.p_value < 1e-4


def test_sentence():
    text = str(compare_spearman(*_sample(100)))
    assert text.startswith("difference +0.")
    for part in ("95 % interval", "p ", "n = 100 videos", "predictions correlate", "four times"):
        assert part in text
