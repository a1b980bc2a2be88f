"""Robustness metrics: the worked examples of the specification, laws, and undefined cases."""

from __future__ import annotations

import doctest
import itertools
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate

from aqabench.errors import DataError, UsageError
from aqabench.stats import correlation_ci, fisher_mean, mse, relative_l2
from aqabench.stats._results import Reason
from aqabench.stats.robustness import (
    RobustnessReason,
    Subset,
    Violations,
    area_under_curve,
    drop,
    equity_index,
    learning_index,
    mean_by_size,
    monotonicity_violations,
    retention,
    shapley,
    specialist_retention,
    summarise_subsets,
    worst_subset,
)

NAN = math.nan


def subsets(m: int) -> list[Subset]:
    """All subsets of m modalities by size: v, a, f, va, vf, af, vaf."""
    return [
        tuple(i in chosen for i in range(m))
        for size in range(1, m + 1)
        for chosen in itertools.combinations(range(m), size)
    ]


V, A, F, VA, VF, AF, VAF = subsets(3)
EXAMPLE = dict(zip(subsets(3), (0.70, 0.30, 0.60, 0.75, 0.75, 0.65, 0.80), strict=True))
CURVE = (0.80, 0.79, 0.77, 0.74, 0.70, 0.66, 0.61, 0.57)
RATES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)


@st.composite
def games(draw, low=-1.0, high=1.0, smallest=1):
    keys = subsets(draw(st.integers(smallest, 4)))
    # hundredths: what is 0 is 0 up to rounding, never 1e-12
    worth = st.integers(round(100 * low), round(100 * high)).map(lambda i: i / 100)
    return dict(
        zip(keys, draw(st.lists(worth, min_size=len(keys), max_size=len(keys))), strict=True)
    )


def permuted(game: dict[Subset, float], order: tuple[int, ...]) -> dict[Subset, float]:
    """The same game with modality order[i] at place i."""
    return {tuple(s[i] for i in order): v for s, v in game.items()}


# the worked examples of the specification


def test_relative_l2_and_mse_of_the_example():
    y, p = (10, 12, 15, 20), (11, 12, 13, 19)
    assert relative_l2(y, p, bounds=(5, 25)) == pytest.approx(0.375)
    assert mse(y, p) == pytest.approx(1.5)


def test_averages_of_the_example():
    summary = summarise_subsets(EXAMPLE, symbols="vaf")
    assert summary.average_incomplete == pytest.approx(0.6441, abs=5e-5)
    assert summary.average_all == pytest.approx(0.6711, abs=5e-5)
    assert summary.arithmetic_incomplete == pytest.approx(0.6250)
    assert (summary.full, summary.worst.subset, summary.worst.value) == (0.80, A, 0.30)
    assert summary.by_size[1] == fisher_mean([0.70, 0.30, 0.60])
    assert summary.by_size[2] == fisher_mean([0.75, 0.75, 0.65])
    assert summary.violations == Violations(0, 9, 0.0)
    assert (summary.n_undefined, summary.n_subsets) == (0, 7)


def test_a_summary_can_be_quoted():
    assert str(summarise_subsets(EXAMPLE, symbols="vaf")) == (
        "Avg6 0.644 (arithmetic 0.625); Avg7 0.671; all modalities 0.800; worst a 0.300; "
        "by size 1: 0.553, 2: 0.720, 3: 0.800; violations 0 of 9 steps; "
        "aqabench-MEI 0.927 (shares 0.48, 0.17, 0.35)"
    )


def test_equity_of_the_example():
    equity = equity_index(EXAMPLE)
    assert equity.contributions == pytest.approx((0.3833, 0.1333, 0.2833), abs=5e-5)
    assert float(equity) == pytest.approx(0.9273, abs=5e-5)


@pytest.mark.parametrize(
    ("last", "area", "height"), [(2 / 3, 0.4758, 0.7138), (0.7, 0.4955, 0.7079)]
)
def test_area_of_the_example(last, area, height):
    rates = (*RATES, last)
    assert area_under_curve(rates, CURVE) == pytest.approx(area, abs=5.1e-5)
    assert area_under_curve(rates, CURVE, normalised=True) == pytest.approx(height, abs=5.1e-5)


def test_learning_index_of_the_example():
    assert learning_index([(3, 1, 2)]) == pytest.approx(0.408, abs=5e-4)
    assert learning_index([(3, 1, 2), (5, 5, 5)]) == pytest.approx(0.408 / 2, abs=5e-4)


@pytest.mark.parametrize(
    ("rho", "n", "se"), [(0.7, 50, 0.083), (0.7, 100, 0.058), (0.85, 250, 0.021)]
)
def test_standard_errors_of_the_example(rho, n, se):
    assert correlation_ci(rho, n).se == pytest.approx(se, abs=5e-4)


# against the full model, against specialists


def test_drop_and_retention():
    assert drop(EXAMPLE)[A] == pytest.approx(0.5)
    assert VAF not in drop(EXAMPLE)
    kept = retention(EXAMPLE)
    assert float(kept[V]) == pytest.approx(0.875)
    assert str(kept[V]) == "0.875 (0.700 of 0.800)"
    assert set(kept) == {V, A, F, VA, VF, AF}
    errors = retention({V: 8.0, A: 2.0, (True, True, True): 4.0}, errors=True)
    assert [float(errors[s]) for s in (V, A)] == [0.5, 2.0]


def test_a_weak_full_model_has_no_retention():
    weak = retention({(True, False): 0.19, (False, True): 0.05, (True, True): 0.1999})
    assert all(math.isnan(float(r)) for r in weak.values())
    assert {r.reason for r in weak.values()} == {RobustnessReason.WEAK_REFERENCE}
    assert "weak_reference; 0.190 of 0.200" in str(weak[True, False])
    assert float(retention({(True, False): 0.1, (True, True): 0.2})[True, False]) == 0.5


def test_undefined_retention_has_its_own_reason():
    kept = retention({**EXAMPLE, A: NAN})
    assert kept[A].reason is RobustnessReason.UNDEFINED_CORRELATION
    assert not kept[V].reason
    assert math.isnan(drop({**EXAMPLE, A: NAN})[A])
    assert all(math.isnan(d) for d in drop({**EXAMPLE, VAF: NAN}).values())
    errors = retention({V: 0.0, A: NAN, VAF: 4.0}, errors=True)
    assert errors[V].reason is RobustnessReason.ZERO_ERROR
    assert errors[A].reason is RobustnessReason.UNDEFINED_ERROR


def test_specialists_are_the_reference():
    kept = specialist_retention(EXAMPLE, {V: 0.56, A: 0.1, VAF: 0.8})
    assert float(kept[V]) == pytest.approx(1.25)
    assert kept[A].reason is RobustnessReason.WEAK_REFERENCE
    assert float(kept[VAF]) == 1.0
    with pytest.raises(DataError, match="lacks 010"):
        specialist_retention({V: 0.5}, {V: 0.5, A: 0.5})


# worst, sizes, steps


def test_an_undefined_subset_is_the_worst():
    worst = worst_subset({**EXAMPLE, A: -0.9, VF: NAN})
    assert worst.subset == VF
    assert math.isnan(float(worst))
    tied = dict.fromkeys(reversed(subsets(3)), 0.5)
    assert worst_subset(tied).subset == V


def test_means_by_size_need_a_whole_size():
    assert set(mean_by_size({V: 0.7, A: 0.3, F: 0.6, VAF: 0.8})) == {1, 3}
    with pytest.raises(DataError, match="all 3 subsets of size 1"):
        mean_by_size({V: 0.7, A: 0.3, VAF: 0.8})
    with pytest.raises(DataError, match="all 3 subsets of size 2"):
        summarise_subsets({V: 0.7, A: 0.3, F: 0.6, VF: 0.8})


def test_a_perfect_correlation_is_clipped_with_the_number_of_videos():
    values = {(True, False): 1.0, (False, True): 0.0, (True, True): 0.5}
    assert mean_by_size(values)[1] == 1.0
    assert mean_by_size(values, n_videos=50)[1] == fisher_mean([1.0, 0.0], 50) < 1.0


def test_violations_are_counted_beyond_the_margin():
    worse = {**EXAMPLE, VA: 0.696, VF: 0.66, VAF: 0.63}
    # v -> va loses 0.004 (not counted); the others: v -> vf and three to vaf
    found = monotonicity_violations(worse)
    assert (found.count, found.of) == (4, 9)
    assert found.mean_size == pytest.approx((0.04 + 0.066 + 0.03 + 0.02) / 4)
    assert monotonicity_violations(worse, margin=0.0).count == 5
    assert str(found) == "4 of 9 steps, losing 0.039 on average"
    with pytest.raises(UsageError, match="margin"):
        monotonicity_violations(worse, margin=-0.1)


def test_steps_to_an_undefined_subset_are_not_compared():
    found = monotonicity_violations({**EXAMPLE, VA: NAN})
    assert (found.count, found.of, found.undefined) == (0, 6, 3)
    assert math.isnan(monotonicity_violations({V: 0.5}).mean_size)


@pytest.mark.parametrize("m", [1, 2, 3, 4, 5])
def test_number_of_steps(m):
    assert monotonicity_violations(dict.fromkeys(subsets(m), 0.5)).of == m * 2 ** (m - 1) - m


@settings(deadline=None, max_examples=50)
@given(games())
def test_a_monotone_game_has_no_violation(game):
    monotone = {
        s: max(v for t, v in game.items() if all(b or not a for a, b in zip(t, s, strict=True)))
        for s in game
    }
    assert monotonicity_violations(monotone, margin=0.0).count == 0
    assert min(shapley(monotone)) >= min(0.0, min(monotone.values())) - 1e-12


# Shapley and MEI


@settings(deadline=None, max_examples=50)
@given(games(-5.0, 5.0))
def test_shapley_is_the_mean_over_orders_and_sums_to_the_whole(game):
    m = len(next(iter(game)))
    gain = np.zeros(m)
    orders = list(itertools.permutations(range(m)))
    for order in orders:
        shown, before = [False] * m, 0.0
        for i in order:
            shown[i] = True
            gain[i] += game[tuple(shown)] - before
            before = game[tuple(shown)]
    phi = shapley(game)
    assert phi == pytest.approx(gain / len(orders), abs=1e-9)
    assert sum(phi) == pytest.approx(game[(True,) * m], abs=1e-9)


@settings(deadline=None, max_examples=50)
@given(games(smallest=2), st.randoms(use_true_random=False))
def test_equity_lies_in_the_unit_interval_and_ignores_the_order_of_modalities(game, random):
    m = len(next(iter(game)))
    order = tuple(random.sample(range(m), m))
    other = permuted(game, order)
    equity, moved = equity_index(game), equity_index(other)
    assert moved.contributions == pytest.approx([equity.contributions[i] for i in order], abs=1e-9)
    assert moved.reason == equity.reason
    if not equity.reason:
        assert 0.0 <= float(equity) <= 1.0
        assert float(moved) == pytest.approx(float(equity), abs=1e-6)
        assert sum(equity.shares) == pytest.approx(1.0)
    a, b = summarise_subsets(game), summarise_subsets(other)
    assert a.average_incomplete == pytest.approx(b.average_incomplete, nan_ok=True)
    assert a.worst.value == b.worst.value
    assert a.violations.count == b.violations.count


def test_the_ends_of_equity():
    assert float(equity_index(dict.fromkeys(subsets(3), 0.6))) == pytest.approx(1.0)
    only_video = {s: 0.7 if s[0] else 0.0 for s in subsets(3)}
    assert float(equity_index(only_video)) == 0.0
    assert float(equity_index({s: 0.7 if s[0] else -0.5 for s in subsets(3)})) == 0.0


def test_equity_of_two_modalities_by_hand():
    uneven = equity_index({(True, False): 0.6, (False, True): 0.2, (True, True): 0.6})
    assert uneven.contributions == pytest.approx((0.5, 0.1))
    assert uneven.shares == pytest.approx((5 / 6, 1 / 6))
    assert float(uneven) == pytest.approx(0.6500, abs=5e-5)


def test_what_is_negative_counts_as_nothing():
    wrong = equity_index({(True, False): 0.6, (False, True): -0.4, (True, True): 0.6})
    assert wrong.contributions == pytest.approx((0.6, 0.0))
    harmful = equity_index({(True, False): 0.6, (False, True): 0.0, (True, True): 0.3})
    assert harmful.contributions == pytest.approx((0.45, -0.15))
    assert harmful.shares == (1.0, 0.0)


def test_undefined_equity_is_named():
    nothing = equity_index(dict.fromkeys(subsets(3), -0.2))
    assert math.isnan(float(nothing))
    assert str(nothing) == "aqabench-MEI undefined (no_positive_contribution)"
    lost = equity_index({**EXAMPLE, A: NAN})
    assert lost.reason is RobustnessReason.UNDEFINED_CORRELATION
    assert all(math.isnan(c) for c in lost.contributions)
    assert equity_index({(True,): 0.8}).reason is RobustnessReason.ONE_MODALITY
    with pytest.raises(DataError, match="all 7 subsets"):
        shapley({V: 0.5})


# the summary, where something is undefined or not there


def test_an_undefined_correlation_is_counted_and_never_left_out():
    summary = summarise_subsets({**EXAMPLE, A: NAN}, symbols="vaf")
    assert summary.undefined == (A,)
    for value in (summary.average_incomplete, summary.average_all, summary.arithmetic_incomplete):
        assert math.isnan(value)
    assert math.isnan(summary.by_size[1])
    assert summary.by_size[2] == fisher_mean([0.75, 0.75, 0.65])
    assert (summary.worst.subset, summary.violations.undefined) == (A, 2)
    assert str(summary).endswith("1 of 7 undefined (a)")
    assert "Avg6 undefined (arithmetic undefined)" in str(summary)


def test_averages_can_count_an_undefined_correlation_as_zero_and_say_so():
    summary = summarise_subsets({**EXAMPLE, A: NAN}, undefined_as_zero=True)
    zero = summarise_subsets({**EXAMPLE, A: 0.0})
    assert float(summary.average_incomplete) == float(zero.average_incomplete)
    assert summary.arithmetic_incomplete == zero.arithmetic_incomplete
    assert summary.by_size == zero.by_size
    assert math.isnan(summary.worst.value)
    assert summary.equity.reason is RobustnessReason.UNDEFINED_CORRELATION
    assert str(summary).endswith("1 of 7 undefined (010), 0 in the averages")


def test_grids_that_are_whole_by_size_are_summarised():
    summary = summarise_subsets({V: 0.7, A: 0.3, F: 0.6, VAF: 0.8})
    assert summary.average_incomplete.n == 3
    assert summary.violations.of == 0
    assert summary.equity.reason is RobustnessReason.INCOMPLETE_GRID
    alone = summarise_subsets({(True,): 0.8})
    assert alone.average_incomplete.reason is Reason.TOO_FEW
    assert (alone.full, alone.average_all) == (0.8, pytest.approx(0.8))
    assert math.isnan(summarise_subsets({V: 0.7, A: 0.3, F: 0.6}).full)


def test_the_order_of_the_mapping_and_the_type_of_its_booleans_do_not_matter():
    other = {tuple(np.array(s)): np.float32(v) for s, v in reversed(EXAMPLE.items())}
    assert str(summarise_subsets(other)) == str(summarise_subsets(EXAMPLE))
    copy = pickle.loads(pickle.dumps(summarise_subsets(EXAMPLE)))
    assert copy == summarise_subsets(EXAMPLE)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "at least one subset"),
        ({"va": 0.5}, "Got 'va' instead"),
        ({3: 0.5}, "Got 3 instead"),
        ({(False, False): 0.5}, "show one"),
        ({(True,): 0.5, (True, True): 0.5}, "equally long"),
        ({(2, 0): 0.5}, r"Got \(2, 0\) instead"),
        ({(True, False): 70.0}, "as fractions"),
        ({(True, False): math.inf}, "be finite"),
    ],
)
def test_what_is_no_mapping_of_subsets_is_refused(values, said):
    with pytest.raises(DataError, match=said):
        summarise_subsets(values)


def test_what_lacks_the_full_subset_or_names_wrongly_is_refused():
    with pytest.raises(DataError, match="shows all modalities"):
        retention({V: 0.5})
    with pytest.raises(DataError, match="lie in"):
        retention({V: -1.0, VAF: 2.0}, errors=True)
    with pytest.raises(DataError, match="3 modalities"):
        summarise_subsets(EXAMPLE, symbols="va")


# curves and gradients


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.floats(0, 1, allow_subnormal=False), min_size=2, max_size=8, unique=True), st.data()
)
def test_area_is_the_trapezoid_rule(rates, data):
    rates.sort()
    values = data.draw(st.lists(st.floats(-1, 1), min_size=len(rates), max_size=len(rates)))
    expected = integrate.trapezoid(values, rates)
    assert area_under_curve(rates, values) == pytest.approx(expected, abs=1e-12)


def test_an_undefined_point_makes_the_area_undefined():
    area = area_under_curve((0.0, 0.5, 0.6), (0.8, NAN, 0.7))
    assert math.isnan(area)
    assert area.reason is Reason.CONSTANT_PREDICTIONS
    assert area_under_curve((0.0, 0.5), (0.8, math.inf)).reason is Reason.NON_FINITE


@pytest.mark.parametrize("rates", [(0.0, 0.0), (0.5, 0.1), (0.0, NAN), (0.0, 50.0), (-0.1, 0.5)])
def test_rates_must_increase_in_the_unit_interval(rates):
    with pytest.raises(DataError, match="strictly increasing"):
        area_under_curve(rates, (0.8, 0.7))


def test_a_curve_has_two_points_of_each():
    with pytest.raises(DataError, match="two or more"):
        area_under_curve((0.0,), (0.8,))
    with pytest.raises(DataError, match="as long as"):
        area_under_curve((0.0, 0.1), (0.8,))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0.01, 100), min_size=2, max_size=5), st.floats(0.01, 100))
def test_learning_index_has_no_unit_and_a_known_range(norms, unit):
    index = learning_index([norms])
    assert 0.0 <= index <= math.sqrt(len(norms) - 1)
    assert learning_index([[unit * g for g in norms]]) == pytest.approx(index, abs=1e-9)
    one_learns = [[1.0] + [0.0] * (len(norms) - 1)]
    assert learning_index(one_learns) == pytest.approx(math.sqrt(len(norms) - 1))


def test_undefined_learning_index_is_named():
    assert learning_index([(1, NAN)]).reason is Reason.NON_FINITE
    assert learning_index([(1, 2), (0, 0)]).reason is Reason.NO_VARIATION
    for wrong in ([3.0, 1.0], [[3.0], [1.0]], np.empty((0, 3))):
        with pytest.raises(DataError, match="epochs, modalities"):
            learning_index(wrong)
    with pytest.raises(DataError, match="norms"):
        learning_index([(-1.0, 1.0)])


def test_the_examples_of_the_guide_hold():
    guide = Path(__file__).parents[2] / "docs" / "metrics.md"
    text = guide.read_text(encoding="utf-8").replace("```", "")  # a fence isn't output
    examples = doctest.DocTestParser().get_doctest(text, {}, guide.name, str(guide), 0)
    found = doctest.DocTestRunner().run(examples)
    assert found.attempted > 20
    assert found.failed == 0
