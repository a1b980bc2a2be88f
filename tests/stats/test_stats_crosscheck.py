"""The cross-check of claims, its linear form, and what else a board's pairs are made of."""

from __future__ import annotations

import doctest
import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats as sps

from aqabench.errors import DataError
from aqabench.stats import (
    Cell,
    Flag,
    Status,
    average_ci,
    compare_all,
    compare_average,
    compare_choices,
    compare_mean_loss,
    compare_mean_losses,
    cross_check,
    jackknife_z,
    multiplicity,
    needed_n,
    prepare,
    required_n,
    select_tests,
)
from aqabench.stats._linear import contributions, flip_p
from aqabench.stats._permutation import studentised_z


def made(
    noise, *, n=40, seeds=1, classes=("TES", "PCS"), scenarios=("v", "va"), own=0, shared=True
):
    """Cells of one method, whose errors have a size."""
    labels, errors = np.random.default_rng(3), np.random.default_rng(own)
    base = labels.normal(size=n)
    cells = []
    for name in classes:
        y = base + 0.5 * labels.normal(size=n)
        ids = [f"{'' if shared else name}v{i:03d}" for i in range(n)]
        for scenario in scenarios:
            for seed in range(seeds):
                cells.append(Cell(name, scenario, seed, ids, y, y + noise * errors.normal(size=n)))
    return cells


@pytest.mark.parametrize("shared", [True, False], ids=["same videos", "videos of each class"])
def test_contributions_sum_to_the_average_and_spread_as_the_jackknife(shared):
    table = prepare(made(0.5, seeds=2, shared=shared))
    own = contributions(table)
    assert own.sum() == pytest.approx(table.z.mean())
    # of one component of m videos: sum of squares of what is left of the mean, m / (m - 1)
    spread = 0.0
    for component in np.unique(table.components):
        part = own[table.components == component]
        spread += part.size / (part.size - 1) * ((part - part.mean()) ** 2).sum()
    assert spread == pytest.approx(average_ci(table, seed_term="components").variance_samples)


def test_sign_flips_are_all_tried_where_they_are_few():
    values = np.random.default_rng(0).normal(0.3, 1, size=(11, 2))
    p, count, exact = flip_p(values, 5000, np.random.default_rng(0))
    signs = np.array(list(itertools.product([1, -1], repeat=11)))
    expected = (np.abs(signs @ values) >= np.abs(values.sum(axis=0)) - 1e-9).mean(axis=0)
    assert p == pytest.approx(expected)
    assert (count, exact) == (2**11, True)
    p, count, exact = flip_p(values, 1500, np.random.default_rng(0))
    assert (count, exact) == (1500, False)
    assert p == pytest.approx(expected, abs=0.05)


def test_a_swap_ranks_again():
    rng = np.random.default_rng(2)
    y, a, b = rng.normal(size=(3, 30)).round(1)  # with ties
    b += 50.0  # units do not matter: ranks are exchanged
    masks = rng.random((4, 30)) < 0.5
    found = studentised_z(y, a, b, masks)
    ranks = [sps.rankdata(v) for v in (a, b)]
    for mask, difference in zip(masks, found.difference, strict=True):
        rho = [
            sps.spearmanr(y, np.where(mask, other, mine)).statistic
            for mine, other in (ranks, ranks[::-1])
        ]
        assert difference == pytest.approx(math.atanh(rho[0]) - math.atanh(rho[1]), abs=1e-12)


def test_a_method_with_fewer_seeds_goes_round():
    a, b = made(0.5, seeds=2), made(0.7, own=1)
    twice = [*b, *(cell._replace(seed=1) for cell in b)]
    uneven, even = (compare_average(a, c, method="swap", n_resamples=200) for c in (b, twice))
    assert uneven.p_value == even.p_value
    assert uneven.statistic == pytest.approx(even.statistic)
    assert uneven.n_seeds_b == 1


def test_the_linear_swap_is_near_the_exact_one():
    for own, noise in ((1, 0.55), (3, 0.7)):
        a, b = made(0.5, n=100), made(noise, n=100, own=own)
        exact, linear = (
            compare_average(a, b, method=m, n_resamples=1499) for m in ("swap", "swap-linear")
        )
        assert linear.p_value == pytest.approx(exact.p_value, abs=0.03)
        assert linear.low == exact.low
        assert linear.method == "swap-linear"


def test_claims_are_checked_exactly_while_that_is_cheap():
    tables = {
        name: prepare(made(noise, n=30, own=own))
        for own, (name, noise) in enumerate({"a": 0.3, "b": 0.5, "c": 0.9, "d": 2.0}.items())
    }
    tables["same"] = tables["a"]
    pairs = [("a", "b"), ("a", "c"), ("b", "d"), ("a", "same")]
    cost = 99 * 4 * 30**2  # permutations x cells x videos squared
    found = cross_check(tables, pairs, n_resamples=99, work=1.5 * cost)
    assert list(found) == pairs
    assert [found[p].method for p in pairs[:3]] == ["swap", "swap-linear", "swap-linear"]
    alone = compare_average(tables["a"], tables["b"], method="swap", n_resamples=99)
    assert found["a", "b"] == alone
    assert found["b", "d"].p_value < 0.01
    assert found["b", "d"].n_resamples == 990
    assert found["a", "same"].status is Status.IDENTICAL_RANKINGS
    assert found["a", "same"].p_value == 1.0
    assert cross_check(tables, []) == {}


def test_two_choices_in_the_same_runs():
    early, late = made(0.6, n=60, seeds=4), made(0.5, n=60, seeds=4, own=1)
    # runs that agree in what they gain: seeds differ, the gain does not
    late = [
        c._replace(p=0.6 * np.asarray(e.p) + 0.4 * np.asarray(c.p))
        for e, c in zip(early, late, strict=True)
    ]
    result = compare_choices(late, early)
    a, b = prepare(late), prepare(early)
    z, left = a.z - b.z, a.replicates - b.replicates

    def variance(x):
        return 59 / 60 * ((x - x.mean()) ** 2).sum()

    samples = variance(left.mean(axis=0))
    inside = 4 / 3 * (np.mean([variance(row) for row in left]) - samples)
    assert result.variance_samples == pytest.approx(samples)
    assert result.variance_seeds == pytest.approx(max(0.0, z.var(ddof=1) - inside) / 4)
    assert result.difference == pytest.approx(math.tanh(a.z.mean()) - math.tanh(b.z.mean()))
    turned = [c._replace(seed=3 - c.seed) for c in early]
    other = compare_choices([c._replace(seed=3 - c.seed) for c in late], turned)
    assert other.p_value == pytest.approx(result.p_value), "the order of seeds says nothing"
    assert compare_choices(late, late).status is Status.IDENTICAL_RANKINGS
    with pytest.raises(DataError, match="have the same seeds"):
        compare_choices(late, [c for c in early if c.seed])


def test_a_part_of_a_table_is_the_table_of_a_part():
    cells = made(0.5, seeds=2, shared=False)
    table = prepare(cells)
    for classes, scenarios in ((("TES",), ()), ((), ("va",)), (("PCS",), ("v",))):
        kept = [
            c for c in cells
            if (not classes or c.class_name in classes)
            and (not scenarios or c.scenario in scenarios)
        ]  # fmt: skip
        part = select_tests(table, classes=classes, scenarios=scenarios)
        assert average_ci(part) == average_ci(kept)
        assert part.videos == prepare(kept).videos
    with pytest.raises(DataError, match="no test has the class Hoop"):
        select_tests(table, classes=("Hoop",))


def test_losses_of_all_pairs_by_the_same_flips():
    rng = np.random.default_rng(0)
    losses = {
        name: rng.gamma(2, size=60) + shift for name, shift in (("a", 0), ("b", 0.5), ("c", 0))
    }
    losses["twin"] = losses["c"]
    found = compare_mean_losses(losses, n_resamples=700)
    assert len(found) == 6
    for (a, b), result in found.items():
        assert result == compare_mean_loss(losses[a], losses[b], n_resamples=700)
    assert found["c", "twin"].status is Status.IDENTICAL_LOSSES
    losses["d"] = np.full(60, math.inf)
    undefined = compare_mean_losses(losses, n_resamples=10)["a", "d"]
    assert (undefined.status, undefined.flags) == (Status.UNDEFINED, (Flag.NON_FINITE,))
    with pytest.raises(DataError, match="as long as loss_a"):
        compare_mean_losses({"a": [1.0, 2.0], "b": [1.0]})


def test_videos_that_a_difference_would_need():
    options = {"n": 1500, "classes": ("TES",), "scenarios": ("v",)}
    a, b = made(0.62, **options), made(0.7, own=1, **options)
    pair = compare_average(a, b)
    needed = needed_n(pair)
    middle = (pair.estimate_a + pair.estimate_b) / 2
    assert needed == pytest.approx(required_n(pair.difference, middle, pair.r_ab), rel=0.1)
    assert needed_n(pair, power=0.9) > needed
    assert math.isnan(needed_n(compare_average(a, a)))
    lucky = replace(pair, variance_seeds=(pair.difference_z / 2) ** 2)
    assert needed_n(lucky) == math.inf, "more videos do not help against the luck of training"


def test_max_t_of_large_boards_resamples_contributions(monkeypatch):
    tables = {
        f"m{own}": prepare(made(0.5 + 0.08 * own, n=150, own=own, scenarios=("v",)))
        for own in range(4)
    }
    ranked = compare_all(tables, n_resamples=1999)
    monkeypatch.setattr(multiplicity, "WORK", 0)
    linear = compare_all(tables, n_resamples=1999)
    assert linear.p_max_t == pytest.approx(ranked.p_max_t, abs=0.03, nan_ok=True)
    assert not np.array_equal(linear.p_max_t, ranked.p_max_t, equal_nan=True)


def test_the_jackknife_kernel_on_many_videos_with_heavy_ties():
    rng = np.random.default_rng(4)
    n = 700
    y = rng.integers(0, 9, n).astype(float)
    predictions = np.stack([y + rng.integers(0, 6, n), y + rng.normal(size=n)])
    z, left = jackknife_z(y, predictions)
    for k, i in itertools.product(range(2), range(0, n, 101)):
        rho = sps.spearmanr(np.delete(y, i), np.delete(predictions[k], i)).statistic
        assert left[k, i] == pytest.approx(math.atanh(rho), abs=1e-12)
    assert z[0] == pytest.approx(math.atanh(sps.spearmanr(y, predictions[0]).statistic))


def test_the_examples_of_the_guide_hold():
    guide = Path(__file__).parents[2] / "docs" / "significance.md"
    text = guide.read_text(encoding="utf-8").replace("```", "")  # a fence isn't output
    examples = doctest.DocTestParser().get_doctest(text, {}, guide.name, str(guide), 0)
    found = doctest.DocTestRunner().run(examples)
    assert (found.attempted > 5, found.failed) == (True, 0)
