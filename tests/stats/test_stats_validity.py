"""Small simulations that keep the defaults valid: type-I error, coverage, power.

Every bound is the nominal rate plus 3.3 Monte-Carlo standard errors, so that a correct
procedure fails about once in two thousand runs; seeds are fixed, so it fails never or always.
The contrasts show that the simulation can see an invalid procedure, and the last tests break each
default on purpose.  The wide version is ``docs/studies/validity.py``.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as sps

from aqabench.stats import (
    Cell,
    _cells,
    average_ci,
    averages,
    compare_all,
    compare_average,
    compare_choices,
    compare_correlations,
    compare_mean_loss,
    compare_runs,
    compare_spearman,
    correlation_ci,
    cross_check,
    intervals,
    losses,
    multiplicity,
    non_inferiority,
    power,
    prepare,
    separable,
    spearman,
    spearman_ci,
    tost,
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
        result = compare_spearman(y, a, b)
        jackknife += result.significant
        given = (result.estimate_a, result.estimate_b, result.r_ab, n)
        steiger += compare_correlations(*given, "steiger").significant
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
        ci = spearman_ci(y, p)
        short = correlation_ci(ci.estimate, n, "fisher")
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


def test_recipes_whose_seeds_differ():
    sims, n, rng = 400, 100, np.random.default_rng(29)
    ids = [f"{i:03d}" for i in range(n)]
    rejected = 0
    for _ in range(sims):
        y, hard = rng.normal(size=(2, n))
        recipes = []
        for _ in range(2):
            luck = 0.65 * np.exp(0.15 * rng.normal(size=3))  # some seeds are much luckier
            errors = 0.95 * hard + 0.3 * rng.normal(size=(3, n))
            recipes.append(
                [Cell("TES", "full", s, ids, y, y + luck[s] * errors[s]) for s in range(3)]
            )
        rejected += compare_runs(*recipes).significant
    assert rejected < _upper(0.06, sims) * sims


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


def _family(copula, sims, correction, n_seeds=1, differ=0.0):
    """Share of boards of 6 equal methods with any false alarm; ``differ`` is how much seeds do."""
    methods, rng = 6, np.random.default_rng(3)
    ids = [f"{i:03d}" for i in range(60)]
    upper = np.triu_indices(methods, 1)
    found = dict.fromkeys(correction, 0)
    for _ in range(sims):
        y, predictions = copula(rng, 60, (0.8,) * methods, 0.85)
        board = {
            str(k): [
                Cell("TES", "full", s, ids, y, p + skill * y + 0.1 * s * rng.normal(size=60))
                for s, skill in enumerate(differ * rng.normal(size=n_seeds))
            ]
            for k, p in enumerate(predictions)
        }
        table = compare_all(board, n_resamples=299, rng=rng)
        for name in correction:
            found[name] += bool((getattr(table, name)[upper] < 0.05).any())
    return {name: hits / sims for name, hits in found.items()}


def test_family_error_of_max_t_and_holm(copula):
    sims = 200
    found = _family(copula, sims, ("p_raw", "p_max_t", "p_holm"))
    assert found["p_max_t"] < _upper(0.05, sims)
    assert found["p_holm"] < _upper(0.05, sims)
    assert found["p_raw"] > 0.15


def test_family_error_with_seeds(copula):
    assert _family(copula, 150, ("p_max_t",), n_seeds=3)["p_max_t"] < _upper(0.05, 150)


def test_family_error_with_seeds_that_differ_more_than_videos(copula):
    found = _family(copula, 200, ("p_raw", "p_max_t"), n_seeds=3, differ=0.4)
    assert found["p_max_t"] < _upper(0.05, 200)
    assert found["p_raw"] > 0.25


def test_type_one_error_of_mean_losses():
    sims, rng = 1000, np.random.default_rng(4)
    flips = 0
    for _ in range(sims):
        common, a, b = rng.standard_t(5, size=(3, 100))
        losses = (common + 0.6 * a) ** 2, (common + 0.6 * b) ** 2
        flips += compare_mean_loss(*losses, n_resamples=199, rng=rng).significant
    assert flips < _upper(0.055, sims) * sims


def test_coverage_of_mean_losses():
    sims, rng = 1000, np.random.default_rng(14)
    covered = 0
    for _ in range(sims):
        common, a, b = rng.normal(size=(3, 100))
        result = compare_mean_loss((common + 0.6 * a) ** 2, (common + 0.8 * b) ** 2, "t")
        covered += result.low <= 0.36 - 0.64 <= result.high
    assert covered > (1 - _upper(0.055, sims)) * sims


def test_a_claim_needs_both_tests(copula):
    sims, rng = 300, np.random.default_rng(21)
    ids = [f"{i:03d}" for i in range(60)]
    claimed = swapped = 0
    for _ in range(sims):
        y, predictions = copula(rng, 60, (0.8, 0.8), 0.9, 4)
        a, b = (prepare([Cell("TES", "full", 0, ids, y, p)]) for p in predictions)
        swap = cross_check({"a": a, "b": b}, [("a", "b")], n_resamples=201, rng=rng)["a", "b"]
        swapped += swap.significant
        claimed += swap.significant and compare_runs(a, b).significant
    assert swapped < _upper(0.06, sims) * sims
    assert 0 < claimed < _upper(0.05, sims) * sims


@pytest.mark.parametrize("method", ["swap", "swap-linear"])
def test_swaps_of_averages(method):
    sims, rng = 250, np.random.default_rng(22)
    rejected = 0
    for _ in range(sims):
        a, b = _two_scores(rng, 60)
        result = compare_average(a, b, method=method, n_resamples=201, rng=rng)
        rejected += result.significant
    assert 0.01 * sims < rejected < _upper(0.06, sims) * sims


def test_coverage_of_an_average_over_scores_of_the_same_videos():
    sims, rng = 500, np.random.default_rng(23)
    (cell, _), _ = _two_scores(rng, 200_000)
    truth = spearman(cell.y, cell.p)
    joined = apart = 0
    for _ in range(sims):
        cells, _ = _two_scores(rng, 100)
        for own, independent in ((True, False), (False, True)):
            ci = average_ci(cells, independent_classes=independent)
            covers = ci.low <= truth <= ci.high
            joined, apart = joined + (own and covers), apart + (not own and covers)
    assert joined > (1 - _upper(0.055, sims)) * sims
    assert apart < (1 - _upper(0.055, sims)) * sims


def test_coverage_of_a_difference(copula):
    sims, rng = 800, np.random.default_rng(24)
    covered = 0
    for _ in range(sims):
        y, (a, b) = copula(rng, 100, (0.82, 0.76), 0.85)
        result = compare_spearman(y, a, b)
        covered += result.low <= 0.06 <= result.high
    assert (1 - _upper(0.05, sims)) * sims < covered < 0.985 * sims


def test_coverage_of_bonett_and_wright_on_gaussian_data(copula):
    sims, rng = 800, np.random.default_rng(25)
    covered = 0
    for _ in range(sims):
        y, (p,) = copula(rng, 100, (0.8,), 0.8)
        ci = correlation_ci(float(spearman(y, p)), 100)
        covered += ci.low <= 0.8 <= ci.high
    assert covered > (1 - _upper(0.05, sims)) * sims


@pytest.mark.parametrize("n", [50, 100])
def test_as_good_as_at_the_margin(copula, n):
    sims, rng = 600, np.random.default_rng(26)
    shown = same = careless = 0
    for _ in range(sims):
        y, (a, b) = copula(rng, n, (0.77, 0.83), 0.9)
        result = compare_spearman(y, a, b)
        shown += non_inferiority(result, 0.06).shown
        same += tost(result, 0.06).shown
        careless += result.p_value >= 0.05  # "not significantly different" is no such claim
    assert 0.02 * sims < shown < _upper(0.05, sims) * sims
    assert same <= shown
    assert careless > 2 * shown


def test_published_numbers_of_equal_methods_are_not_separated(copula):
    sims, rng = 800, np.random.default_rng(27)
    flags = []
    for _ in range(sims):
        y, (a, b) = copula(rng, 100, (0.8, 0.8), 0.9)
        flags.append(separable(float(spearman(y, a)), float(spearman(y, b)), 100).flag)
    assert flags.count("separated") < 0.02 * sims
    assert flags.count("cannot be separated") > 0.8 * sims


def test_choices_made_in_the_same_runs():
    sims, n, rng = 400, 100, np.random.default_rng(28)
    ids = [f"{i:03d}" for i in range(n)]
    rejected = 0
    for _ in range(sims):
        y, hard = rng.normal(size=(2, n))
        epochs = [
            [Cell(c.class_name, c.scenario, c.seed, ids, y, c.p + 0.2 * rng.normal(size=n))
             for c in runs]
            for runs in [_runs(rng, y, ids, 3, hard)] * 2
        ]  # fmt: skip
        rejected += compare_choices(*epochs).significant
    assert 0.005 * sims < rejected < _upper(0.055, sims) * sims


def test_runs_that_begin_alike_are_paired_by_seed():
    """Seeds of very different luck, which a switch without effect shares but for a little."""
    sims, n, rng = 400, 300, np.random.default_rng(29)
    ids = [f"{i:03d}" for i in range(n)]
    paired = apart = missed = 0
    for _ in range(sims):
        y, hard = rng.normal(size=(2, n))
        usual, equal, worse = [], [], []
        for s in range(3):
            luck = np.exp(0.3 * rng.normal())
            for form, size in ((usual, 1.0), (equal, 1.0), (worse, 1.25)):
                noise = size * luck * np.exp(0.03 * rng.normal())
                error = 0.9 * hard + 0.44 * rng.normal(size=n)
                form.append(Cell("TES", "full", s, ids, y, y + noise * error))
        paired += compare_choices(equal, usual).significant
        apart += compare_runs(equal, usual).significant
        missed += not compare_choices(worse, usual).significant
    assert 0.005 * sims < paired < _upper(0.055, sims) * sims
    assert apart < 0.01 * sims
    assert missed < 0.1 * sims


def _shrunk(real):
    def variance(*args):
        found = real(*args)
        return type(found)(found.variance / 2, found.df, found.dropped)

    return variance


def _meaningless(values, count, rng):
    return rng.random(values.shape[1]) / 2, count, False


@pytest.mark.parametrize(
    ("module", "name", "broken", "check"),
    [
        (averages, "jackknife_variance", _shrunk(averages.jackknife_variance), "default"),
        (intervals, "jackknife_variance", _shrunk(intervals.jackknife_variance), "coverage"),
        (_cells, "seed_excess", lambda *_: 0.0, "seeds"),
        (multiplicity, "adjust", lambda p: p, "families"),
        (multiplicity, "draw_videos", lambda rng, b, at: np.ones((b, at.size)), "families"),
        (losses, "flip_p", _meaningless, "losses"),
    ],
    ids=["test", "interval", "seeds", "holm", "max-t", "losses"],
)
def test_a_broken_default_is_seen(copula, monkeypatch, module, name, broken, check):
    monkeypatch.setattr(module, name, broken)
    checks = {
        "default": lambda: test_type_one_error_of_the_default(copula, 100, math.inf),
        "coverage": lambda: test_coverage_of_the_default(copula, 100, math.inf),
        "seeds": lambda: test_recipes_whose_seeds_differ(),
        "families": lambda: test_family_error_of_max_t_and_holm(copula),
        "losses": lambda: test_type_one_error_of_mean_losses(),
    }
    with pytest.raises(AssertionError):
        checks[check]()


def test_resamples_of_videos_alone_are_seen_where_seeds_differ(copula, monkeypatch):
    def no_seeds(methods, n_resamples, rng, seeds):
        none = np.zeros((len(methods), n_resamples))
        return none, none, np.ones((len(methods), 1))

    monkeypatch.setattr(multiplicity, "_drawn_seeds", no_seeds)
    monkeypatch.setattr(multiplicity, "normal_score", lambda statistic, df: np.abs(statistic))
    with pytest.raises(AssertionError):
        test_family_error_with_seeds_that_differ_more_than_videos(copula)
