"""Small simulations that keep the defaults valid: type-I error, coverage, power.

Every bound is the nominal rate plus 3.3 Monte-Carlo standard errors, so that a correct
procedure fails about once in two thousand runs; seeds are fixed, so it fails never or always.
The contrasts show that the simulation can see an invalid procedure.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as sps

from aqabench.stats import (
    Cell,
    average_ci,
    compare_all,
    compare_average,
    compare_mean_loss,
    compare_runs,
    compare_spearman,
    power,
    spearman,
    spearman_ci,
)

pytestmark = pytest.mark.slow


def _upper(rate, sims):
    return rate + 3.3 * math.sqrt(rate * (1 - rate) / sims)


@pytest.mark.parametrize("n", [50, 100])
@pytest.mark.parametrize("tail", [math.inf, 4], ids=["gaussian", "t4"])
def test_type_one_error_of_the_default(copula, n, tail):
    sims, rng = 800, np.random.default_rng(n)
    jackknife = steiger = 0
    for _ in range(sims):
        y, (a, b) = copula(rng, n, (0.8, 0.8), 0.9, tail)
        jackknife += compare_spearman(y, a, b).significant
        steiger += compare_spearman(y, a, b, "steiger").significant
    assert 0.015 * sims < jackknife < _upper(0.05, sims) * sims
    if tail == 4:
        assert steiger > _upper(0.05, sims) * sims


@pytest.mark.parametrize("tail", [math.inf, 4], ids=["gaussian", "t4"])
def test_type_one_error_of_the_swap(copula, tail):
    sims, rng = 400, np.random.default_rng(1)
    rejected = 0
    for _ in range(sims):
        y, (a, b) = copula(rng, 50, (0.8, 0.8), 0.9, tail)
        result = compare_spearman(y, a, b, "swap", n_resamples=199, rng=rng)
        rejected += result.significant
    assert 0.015 * sims < rejected < _upper(0.06, sims) * sims


@pytest.mark.parametrize("n", [50, 100])
@pytest.mark.parametrize("tail", [math.inf, 4], ids=["gaussian", "t4"])
def test_coverage_of_the_default(copula, n, tail):
    sims, rng = 800, np.random.default_rng(n + 1)
    y, (p,) = copula(rng, 400_000, (0.8,), 0.8, tail)
    truth = spearman(y, p)
    jackknife = fisher = 0
    for _ in range(sims):
        y, (p,) = copula(rng, n, (0.8,), 0.8, tail)
        ci, short = spearman_ci(y, p), spearman_ci(y, p, "fisher")
        jackknife += ci.low <= truth <= ci.high
        fisher += short.low <= truth <= short.high
    assert jackknife > (1 - _upper(0.05, sims)) * sims
    assert jackknife < 0.985 * sims
    assert fisher < jackknife


@pytest.mark.parametrize(("n", "delta"), [(100, 0.06), (250, 0.03)])
def test_power_formula_is_the_power_of_the_default(copula, n, delta):
    sims, rng = 500, np.random.default_rng(n)
    found = 0
    for _ in range(sims):
        y, (a, b) = copula(rng, n, (0.8 + delta / 2, 0.8 - delta / 2), 0.9)
        found += compare_spearman(y, a, b).significant
    expected = power(n, 0.8, 0.9, delta)
    error = math.sqrt(expected * (1 - expected) / sims)
    assert found / sims == pytest.approx(expected, abs=3.3 * error + 0.02)


def _two_scores(rng, n):
    """Cells of two equal methods on two scores of the same videos (labels correlate .8)."""
    talent, hard = rng.normal(size=(2, n))
    ids = [f"{i:03d}" for i in range(n)]
    cells = {"a": [], "b": []}
    own = {name: rng.normal(size=n) for name in cells}
    for score in ("TES", "PCS"):
        y = talent + 0.5 * rng.normal(size=n)
        for name in cells:
            p = y + 0.6 * hard + 0.4 * own[name] + 0.3 * rng.normal(size=n)
            cells[name].append(Cell(score, "full", 0, ids, y, p))
    return cells["a"], cells["b"]


def test_scores_of_the_same_videos_are_not_independent():
    sims, rng = 500, np.random.default_rng(5)
    joined = apart = 0
    for _ in range(sims):
        a, b = _two_scores(rng, 100)
        joined += compare_average(a, b).significant
        apart += compare_average(a, b, independent_classes=True).significant
    assert joined < _upper(0.055, sims) * sims
    assert apart > _upper(0.055, sims) * sims


def _runs(rng, y, ids, seeds, hard):
    """Runs of one recipe; the recipe's own errors are shared by its seeds."""
    own = rng.normal(size=y.size)
    cells = []
    for s in range(seeds):
        noise = 0.65 * (1 + 0.03 * rng.normal())  # some seeds are luckier on any videos
        error = 0.85 * hard + 0.42 * own + 0.3 * rng.normal(size=y.size)
        cells.append(Cell("TES", "full", s, ids, y, y + noise * error))
    return cells


@pytest.mark.parametrize("seeds", [3, 5])
def test_recipes_on_new_videos(seeds):
    sims, n, rng = 400, 100, np.random.default_rng(seeds)
    ids = [f"{i:03d}" for i in range(n)]
    runs = over_seeds = 0
    for _ in range(sims):
        y, hard = rng.normal(size=(2, n))
        a, b = _runs(rng, y, ids, seeds, hard), _runs(rng, y, ids, seeds, hard)
        runs += compare_runs(a, b).significant
        rhos = [[spearman(c.y, c.p) for c in cells] for cells in (a, b)]
        over_seeds += sps.ttest_ind(*rhos, equal_var=False).pvalue < 0.05
    assert 0.01 * sims < runs < _upper(0.055, sims) * sims
    assert over_seeds > 0.12 * sims


def test_coverage_of_an_average_over_seeds():
    sims, n, rng = 500, 100, np.random.default_rng(8)
    big, hard = rng.normal(size=(2, 60_000))
    names = [str(i) for i in range(big.size)]
    truth = np.mean(
        [math.atanh(spearman(c.y, c.p)) for _ in range(8) for c in _runs(rng, big, names, 5, hard)]
    )
    ids = [f"{i:03d}" for i in range(n)]
    covered = 0
    for _ in range(sims):
        y, hard = rng.normal(size=(2, n))
        ci = average_ci(_runs(rng, y, ids, 3, hard))
        covered += ci.low <= math.tanh(truth) <= ci.high
    assert covered > (1 - _upper(0.055, sims)) * sims


def test_family_error_of_max_t(copula):
    sims, methods, rng = 200, 6, np.random.default_rng(3)
    ids = [f"{i:03d}" for i in range(60)]
    upper = np.triu_indices(methods, 1)
    raw = stepped = 0
    for _ in range(sims):
        y, predictions = copula(rng, 60, (0.8,) * methods, 0.85)
        board = {str(k): [Cell("TES", "full", 0, ids, y, p)] for k, p in enumerate(predictions)}
        table = compare_all(board, n_resamples=299, rng=rng)
        raw += (table.p_raw[upper] < 0.05).any()
        stepped += (table.p_max_t[upper] < 0.05).any()
    assert stepped < _upper(0.05, sims) * sims
    assert raw > 0.15 * sims


def test_type_one_error_of_mean_losses():
    sims, rng = 1000, np.random.default_rng(4)
    flips = 0
    for _ in range(sims):
        common, a, b = rng.standard_t(5, size=(3, 100))
        losses = (common + 0.6 * a) ** 2, (common + 0.6 * b) ** 2
        flips += compare_mean_loss(*losses, n_resamples=199, rng=rng).significant
    assert flips < _upper(0.055, sims) * sims
