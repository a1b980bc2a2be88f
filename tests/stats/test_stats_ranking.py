"""Tie groups by hand; Friedman and Nemenyi against scipy, R, Demsar and scikit-posthocs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as sps

from aqabench.errors import DataError
from aqabench.stats import friedman_nemenyi, tie_groups

# Demsar (2006), Table 6: AUC of C4.5, C4.5+m, C4.5+cf, C4.5+m+cf on 14 data sets; the two last of
# "voting" differ in a digit that the table rounds away but ranks
AUC = np.array(
    [
        [0.763, 0.768, 0.771, 0.798], [0.599, 0.591, 0.590, 0.569], [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657], [0.882, 0.888, 0.886, 0.898], [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685], [0.583, 0.583, 0.563, 0.625], [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000], [0.940, 0.962, 0.965, 0.962], [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9751, 0.975], [0.957, 0.978, 0.946, 0.970],
    ]
)  # fmt: skip


def test_demsar_2006():
    result = friedman_nemenyi(AUC)
    assert result.mean_ranks == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=5e-4)
    assert result.statistic_uncorrected == pytest.approx(9.28, abs=5e-3)
    assert result.f_uncorrected == pytest.approx(3.69, abs=5e-3)
    assert result.critical_difference == pytest.approx(1.25, abs=5e-3)
    # the paper: the largest gap, 1.18, is below 1.25 at 5 % but above 1.12 at 10 %
    assert 0.05 < result.pairwise[0, 3] < 0.10
    assert friedman_nemenyi(AUC, alpha=0.1).critical_difference == pytest.approx(1.12, abs=5e-3)


def test_chi_square_as_in_scipy_and_r():
    result = friedman_nemenyi(AUC)
    reference = sps.friedmanchisquare(*AUC.T)
    assert result.statistic == pytest.approx(reference.statistic)
    assert result.p_value == pytest.approx(reference.pvalue)
    # R: friedman.test(RoundingTimes), Hollander and Wolfe (1973)
    times = np.array(
        [
            5.40, 5.50, 5.55, 5.85, 5.70, 5.75, 5.20, 5.60, 5.50, 5.55, 5.50, 5.40, 5.90, 5.85,
            5.70, 5.45, 5.55, 5.60, 5.40, 5.40, 5.35, 5.45, 5.50, 5.35, 5.25, 5.15, 5.00, 5.85,
            5.80, 5.70, 5.25, 5.20, 5.10, 5.65, 5.55, 5.45, 5.60, 5.35, 5.45, 5.05, 5.00, 4.95,
            5.50, 5.50, 5.40, 5.45, 5.55, 5.50, 5.55, 5.55, 5.35, 5.45, 5.50, 5.55, 5.50, 5.45,
            5.25, 5.65, 5.60, 5.40, 5.70, 5.65, 5.55, 6.30, 6.30, 6.25,
        ]
    ).reshape(22, 3)  # fmt: skip
    result = friedman_nemenyi(times, higher_is_better=False)
    assert result.statistic == pytest.approx(11.14285714285714)
    assert result.p_value == pytest.approx(0.00380504077551136)
    assert "mean ranks must differ by" in str(result)


def test_nemenyi_as_in_scikit_posthocs():
    posthocs = pytest.importorskip("scikit_posthocs")
    reference = posthocs.posthoc_nemenyi_friedman(AUC).to_numpy()
    assert friedman_nemenyi(AUC).pairwise == pytest.approx(reference, abs=1e-9)


@pytest.mark.parametrize(("k", "n", "cd"), [(20, 3, 17.1), (20, 13, 8.2), (5, 3, 3.52)])
def test_critical_differences_separate_nothing_here(k, n, cd):
    scores = np.random.default_rng(0).normal(size=(n, k))
    digits = 2 if cd < 5 else 1
    assert round(friedman_nemenyi(scores).critical_difference, digits) == cd


def test_friedman_at_the_edges():
    tied = friedman_nemenyi(np.ones((4, 3)))
    assert math.isnan(tied.statistic)
    assert (tied.pairwise == 1).all()
    agreed = friedman_nemenyi(np.tile([3.0, 2.0, 1.0], (5, 1)))
    assert agreed.f_statistic == math.inf
    assert agreed.mean_ranks.tolist() == [1, 2, 3]
    with pytest.raises(DataError, match="at least 2 of each and no NaN"):
        friedman_nemenyi([[0.1, math.nan], [0.2, 0.3]])


def _matrix(k, apart):
    p = np.ones((k, k))
    for i, j in apart:
        p[i, j] = p[j, i] = 0.01
    return p


def test_overlapping_groups():
    groups = tie_groups(["a", "b", "c"], [0.9, 0.85, 0.8], _matrix(3, [(0, 2)]))
    assert groups.groups == (("a", "b"), ("b", "c"))
    assert groups.top == ("a", "b")
    assert groups.best_rank == {"a": 1, "b": 1, "c": 2}
    assert groups.worst_rank == {"a": 2, "b": 3, "c": 3}
    assert str(groups) == "{a, b} {b, c}; top: a, b"


def test_a_pair_apart_inside_a_tied_span_is_not_glued_together():
    # the best and the second differ, the third is too uncertain to differ from either
    groups = tie_groups(["a", "b", "c"], [0.9, 0.85, 0.84], _matrix(3, [(0, 1)]))
    assert groups.groups == (("a", "c"), ("b", "c"))
    assert groups.top == ("a", "c")


def test_undefined_scores_come_last_and_tie_with_nobody():
    groups = tie_groups(["x", "y", "z"], [math.nan, 0.2, 0.5], _matrix(3, []))
    assert groups.order == ("z", "y", "x")
    assert groups.undefined == ("x",)
    assert groups.groups == (("z", "y"),)
    assert "undefined: x" in str(groups)
    lower = tie_groups(["y", "z"], [0.2, 0.5], _matrix(2, []), higher_is_better=False)
    assert lower.order == ("y", "z")
    p = _matrix(2, [])
    p[0, 1] = p[1, 0] = math.nan
    assert tie_groups(["y", "z"], [0.2, 0.5], p).groups == (("z", "y"),)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_groups_are_the_maximal_tied_sets(k, seed):
    rng = np.random.default_rng(seed)
    p = rng.random((k, k)) * 0.1
    p = (p + p.T) / 2
    names = [f"m{i}" for i in range(k)]
    groups = tie_groups(names, rng.random(k), p)
    sets = [{names.index(n) for n in group} for group in groups.groups]
    tied = {(i, j) for i in range(k) for j in range(k) if i == j or p[i, j] >= 0.05}
    assert set().union(*sets) == set(range(k))
    for group in sets:
        assert all((i, j) in tied for i in group for j in group)
        assert not any(all((i, j) in tied for j in group) for i in set(range(k)) - group)
    assert {(i, j) for g in sets for i in g for j in g} == tied


def test_bad_input():
    with pytest.raises(DataError, match="k distinct names"):
        tie_groups(["a", "a"], [1, 2], np.ones((2, 2)))
    with pytest.raises(DataError, match="asymmetric"):
        tie_groups(["a", "b"], [1, 2], [[1, 0.1], [0.2, 1]])
