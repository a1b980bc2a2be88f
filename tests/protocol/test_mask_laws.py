"""The laws of whole-modality missingness keep what they state: shares, sums, no empty row."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from math import comb, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aqabench.errors import UsageError
from aqabench.protocol.mask_laws import (
    QUOTAS,
    Table,
    below,
    bern,
    imbalanced,
    keep_one,
    keep_one_exact,
    largest_remainder,
    patterns,
    quota,
    single,
    size,
    u6,
    u7,
)
from aqabench.protocol.mask_tables import shares, table_generator

N = 20_000
SIZES_OF_KEEP_ONE = {  # complete / one missing / two missing, as simulated for the specification
    0.1: (0.724, 0.254, 0.022),
    0.3: (0.302, 0.497, 0.202),
    0.5: (0.062, 0.375, 0.563),
    0.6: (0.010, 0.180, 0.810),
    0.7: (0.0, 0.0, 1.0),
}
SIZES_OF_QUOTA = {
    0.1: (0.8, 0.1, 0.1),
    0.3: (0.4, 0.3, 0.3),
    0.5: (0.2, 0.1, 0.7),
    0.6: (0.1, 0.0, 0.9),
    0.7: (0.0, 0.0, 1.0),
}
SIZES_OF_IID_REDRAWN = {  # and the realised rate
    0.1: (0.730, 0.243, 0.027, 0.099),
    0.3: (0.352, 0.454, 0.194, 0.280),
    0.5: (0.143, 0.429, 0.429, 0.429),
    0.6: (0.082, 0.367, 0.550, 0.489),
    0.7: (0.041, 0.288, 0.671, 0.543),
}
SIZES_OF_IID_GIVEN_ONE = {
    0.1: (0.729, 0.243, 0.028, 0.100),
    0.3: (0.343, 0.441, 0.216, 0.291),
    0.5: (0.124, 0.374, 0.501, 0.459),
    0.6: (0.064, 0.288, 0.647, 0.528),
    0.7: (0.027, 0.190, 0.783, 0.585),
}


def rng(*axes: int) -> np.random.Generator:
    return np.random.default_rng([4, *axes])


def by_size(table: Table) -> np.ndarray:
    """Shares of complete, one missing, ..., all but one missing."""
    counts = np.array(shares(table).by_size)
    assert counts[0] == 0
    return counts[:0:-1] / len(table)


def near(share: float | np.ndarray, law: float | np.ndarray, n: int = N) -> bool:
    """Are shares of n independent rows within three standard deviations of the law?"""
    law = np.asarray(law)
    return bool((np.abs(share - law) <= 3 * np.sqrt(law * (1 - law) / n) + 1e-12).all())


def near_printed(share: np.ndarray, printed: tuple[float, ...], noise: float) -> bool:
    """As near, with the noise of the printed 400k rows and their three decimals added."""
    law = np.array(printed)
    slack = 3 * np.sqrt(law * (1 - law) * (noise + 1 / 400_000)) + 0.0006
    return bool((np.abs(share - law) <= slack).all())


def counts_of_patterns(table: Table) -> np.ndarray:
    every = patterns(table.shape[1])
    return np.array([(table == row).all(axis=1).sum() for row in every])


@pytest.mark.parametrize("rate", SIZES_OF_KEEP_ONE)
def test_keep_one_has_the_printed_shares(rate: float) -> None:
    table = keep_one(N, 3, rate, table_generator("rg", "test", "rate", rate, 0))
    assert near_printed(by_size(table), SIZES_OF_KEEP_ONE[rate], 1 / N)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 2 / 3, 0.7])
def test_keep_one_has_the_closed_form_and_no_favourite(rate: float) -> None:
    p = max((3 * (1 - rate) - 1) / 2, 0)
    table = keep_one(N, 3, rate, rng(1, round(1000 * rate)))
    assert near(by_size(table), np.array([p**2, 2 * p * (1 - p), (1 - p) ** 2]))
    assert near(1 - table.mean(axis=0), min(rate, 2 / 3))  # each modality
    singles = counts_of_patterns(table)[:3] / N
    assert near(singles, (1 - p) ** 2 / 3)


def test_complete_share_of_keep_one_falls_as_listed() -> None:
    listed = [0.7225, 0.49, 0.3025, 0.16, 0.0625, 0.01, 0]
    for tenths, complete in enumerate(listed, start=1):
        table = keep_one_exact(10_000, 3, tenths / 10, rng(2))
        assert shares(table).complete == pytest.approx(complete, abs=1e-4)


@pytest.mark.parametrize("m", [1, 2, 4, 8])
def test_keep_one_for_other_numbers_of_modalities(m: int) -> None:
    rate = 0.6 * (1 - 1 / m)
    p = 0.4  # of the other modalities, for this rate
    law = [comb(m - 1, k) * p**k * (1 - p) ** (m - 1 - k) for k in range(m)]
    table = keep_one(N, m, rate, rng(3, m))
    if m == 1:
        assert table.all()
        return
    assert near(by_size(table)[::-1], np.array(law))
    assert near(1 - table.mean(axis=0), rate)
    assert (keep_one(500, m, 1 - 1 / m, rng(3, m)).sum(axis=1) == 1).all()


@given(
    n=st.integers(0, 120),
    m=st.integers(2, 8),
    part=st.floats(0, 1),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=60, deadline=None)
def test_keep_one_exact_is_the_law_to_one_sample(n: int, m: int, part: float, seed: int) -> None:
    rate = part * (1 - 1 / m)
    p = (m * (1 - rate) - 1) / (m - 1)
    table = keep_one_exact(n, m, rate, rng(4, seed))
    assert table.shape == (n, m)
    counts, every = counts_of_patterns(table), patterns(m)
    assert counts.sum() == n  # no row is empty
    for shown in range(1, m + 1):
        of_size = counts[every.sum(axis=1) == shown]
        law = n * comb(m - 1, shown - 1) * p ** (shown - 1) * (1 - p) ** (m - shown)
        assert abs(of_size.sum() - law) < 1 + 1e-6
        assert np.ptp(of_size) <= 1
    assert len(table) == 0 or abs((~table).mean() - rate) <= m / n


def test_keep_one_exact_favours_no_modality_over_draws() -> None:
    first = [
        counts_of_patterns(keep_one_exact(4, 3, 0.667, rng(5, draw)))[:3] for draw in range(400)
    ]
    assert np.ptp(first, axis=1).max() == 1  # 2, 1, 1 in some order
    twice = (np.array(first) == 2).mean(axis=0)
    assert near(twice, 1 / 3, 400)
    places = [keep_one_exact(8, 2, 0.25, rng(6, draw)).all(axis=1) for draw in range(400)]
    assert near(np.mean(places, axis=0), 0.5, 400)  # complete rows stand anywhere


@pytest.mark.parametrize("rate", SIZES_OF_QUOTA)
def test_quota_has_the_printed_shares_exactly(rate: float) -> None:
    table = quota(N, 3, rate, rng(7, round(1000 * rate)))
    assert by_size(table) == pytest.approx(SIZES_OF_QUOTA[rate], abs=1e-12)
    assert (~table).mean() == pytest.approx(min(rate, 2 / 3), abs=1e-12)
    singles = counts_of_patterns(table)[:3]
    assert near(singles / singles.sum(), 1 / 3, singles.sum())
    pairs = counts_of_patterns(table)[3:6]
    assert pairs.sum() == 0 or near(pairs / pairs.sum(), 1 / 3, pairs.sum())


def test_quota_rows_sum_to_their_rate() -> None:
    for rate, (two, one, none) in QUOTAS.items():
        assert two + one + none == pytest.approx(1)
        assert (2 * two + one) / 3 == pytest.approx(min(rate, 2 / 3))


@given(n=st.integers(0, 400), rate=st.sampled_from(sorted(QUOTAS)))
@settings(max_examples=40, deadline=None)
def test_quota_counts_are_the_largest_remainders(n: int, rate: float) -> None:
    tenths = [round(10 * share) for share in QUOTAS[rate]]
    expected = [n * part // 10 for part in tenths]  # in whole numbers, without floats
    left = sorted(range(3), key=lambda i: -(n * tenths[i] % 10))[: n - sum(expected)]
    expected = [count + (i in left) for i, count in enumerate(expected)]
    assert list(shares(quota(n, 3, rate, rng(8))).by_size[1:] if n else (0, 0, 0)) == expected


@given(
    total=st.integers(0, 5000),
    law=st.lists(st.floats(0, 1), min_size=1, max_size=9).filter(lambda w: sum(w) > 1e-3),
)
@settings(max_examples=100, deadline=None)
def test_largest_remainder_sums_and_stays_within_one(total: int, law: list[float]) -> None:
    weights = np.array(law)
    counts = largest_remainder(total, weights)
    assert counts.sum() == total
    assert (np.abs(counts - total * weights / weights.sum()) < 1 + 1e-6).all()


@pytest.mark.parametrize(
    ("total", "law", "counts"),
    [
        (100, [0.29, 0.57, 0.14], [29, 57, 14]),  # .29 * 100 is below 29 in floats
        (10, [1 / 3, 1 / 3, 1 / 3], [4, 3, 3]),  # ties go to the first
        (7, [0.5, 0.3, 0.2], [4, 2, 1]),  # 3.5, 2.1, 1.4
    ],
)
def test_largest_remainder_by_hand(total: int, law: list[float], counts: list[int]) -> None:
    assert largest_remainder(total, np.array(law)).tolist() == counts


@pytest.mark.parametrize("rates", list(permutations((0.3, 0.5, 0.7))))
def test_balm_counts_and_effective_rates(rates: tuple[float, float, float]) -> None:
    table = imbalanced(N, rates, rng(9))
    effective = np.array(rates) - 0.105 / 3
    assert sorted(effective) == pytest.approx([0.265, 0.465, 0.665])
    assert (~table).mean(axis=0) == pytest.approx(effective, abs=1e-9)
    assert shares(table).realised == pytest.approx(0.465)
    assert shares(table).complete == pytest.approx(0.105)


def test_balm_is_shuffled_and_deals_the_rest_to_single_modalities() -> None:
    table = imbalanced(N, (0.3, 0.5, 0.7), rng(10))
    halves = [(~table[part]).mean(axis=0) for part in (slice(0, N // 2), slice(N // 2, N))]
    assert np.abs(halves[0] - halves[1]).max() < 3 * sqrt(1 / N)
    # 12 samples: 2.94, 1.26, .54, 2.94, 1.26, .54, 1.26 rounded down leave 5 of them
    v, a, f, va, vf, af, vaf = counts_of_patterns(imbalanced(12, (0.3, 0.5, 0.7), rng(10)))
    assert (va, vf, af, vaf) == (2, 1, 0, 1)
    assert (v, a, f) == (2 + 2, 1 + 2, 0 + 1)


def test_the_equal_rate_partner_of_balm() -> None:
    assert shares(imbalanced(N, (0.5089,) * 3, rng(11))).realised == pytest.approx(0.465, abs=2e-4)


@pytest.mark.parametrize("rate", SIZES_OF_IID_GIVEN_ONE)
def test_equal_balm_rates_are_iid_with_empty_rows_given_one(rate: float) -> None:
    table = imbalanced(N, (rate,) * 3, rng(12))
    realised = np.array([*by_size(table), shares(table).realised])
    assert near_printed(realised, SIZES_OF_IID_GIVEN_ONE[rate], 0)
    assert realised[3] == pytest.approx(rate - rate**3 / 3, abs=2e-4)


@pytest.mark.parametrize("rate", SIZES_OF_IID_REDRAWN)
def test_bern_is_iid_with_empty_rows_drawn_again(rate: float) -> None:
    table = bern(N, 3, rate, rng(13, round(1000 * rate)))
    realised = np.array([*by_size(table), shares(table).realised])
    assert near_printed(realised, SIZES_OF_IID_REDRAWN[rate], 1 / N)
    hidden = (rate - rate**3) / (1 - rate**3)
    assert near(1 - table.mean(axis=0), hidden)
    assert near(by_size(table)[0], (1 - rate) ** 3 / (1 - rate**3))


@pytest.mark.parametrize(
    ("law", "weights"),
    [
        (u7, [1 / 7] * 7),
        (u6, [1 / 6] * 6 + [0]),
        (size, [1 / 9] * 6 + [1 / 3]),
        (lambda n, m, g: bern(n, m, 0.5, g), [1 / 7] * 7),
        (lambda n, m, g: bern(n, m, 0.2, g), np.array([4, 4, 4, 16, 16, 16, 64]) / 124),
    ],
)
def test_policies_give_every_subset_its_probability(
    law: Callable[[int, int, np.random.Generator], Table], weights: list[float]
) -> None:
    table = law(N, 3, rng(14))
    assert near(counts_of_patterns(table) / N, np.array(weights))


def test_policies_have_the_listed_hidden_shares() -> None:
    for law, hidden in ((u7, 3 / 7), (u6, 1 / 2), (size, 1 / 3)):
        assert near(1 - law(N, 3, rng(15)).mean(axis=0), hidden)
    assert near(1 - u7(N, 5, rng(16)).mean(axis=0), 15 / 31)
    assert near(1 - size(N, 5, rng(17)).mean(axis=0), 4 / 10)


def test_u7_is_bern_of_one_half_row_for_row() -> None:
    for m in (2, 3, 4):
        assert (u7(N, m, rng(18)) == bern(N, m, 0.5, rng(18))).all()


@pytest.mark.parametrize("p", [0.0, 1e-300, 0.999999])
def test_bern_at_the_ends(p: float) -> None:
    shown = bern(200, 3, p, rng(19)).sum(axis=1)
    assert (shown == (1 if p > 0.5 else 3)).mean() > 0.99


@given(n=st.integers(0, 300), share=st.floats(0, 1), m=st.integers(2, 8), data=st.data())
@settings(max_examples=40, deadline=None)
def test_single_shows_one_modality_in_so_many(
    n: int, share: float, m: int, data: st.DataObject
) -> None:
    which = data.draw(st.integers(0, m - 1))
    table = single(n, m, which, share, rng(20))
    assert table[:, which].sum() == round(round(share * n, 9))
    assert np.delete(table, which, axis=1).all()


def test_single_takes_any_sample() -> None:
    assert [int(single(250, 3, 1, x, rng(21))[:, 1].sum()) for x in (0.1, 0.25, 0.5)] == [
        25,
        62,
        125,
    ]
    kept = np.mean([single(10, 3, 2, 0.3, rng(22, draw))[:, 2] for draw in range(400)], axis=0)
    assert near(kept, 0.3, 400)


LAWS: dict[str, Callable[[int, int, float, np.random.Generator], Table]] = {
    "keep_one": lambda n, m, x, g: keep_one(n, m, x * (1 - 1 / m), g),
    "keep_one_exact": lambda n, m, x, g: keep_one_exact(n, m, x * (1 - 1 / m), g),
    "imbalanced": lambda n, m, x, g: imbalanced(n, [x * 0.99] * m, g),
    "single": lambda n, m, x, g: single(n, m, m - 1, x, g),
    "bern": lambda n, m, x, g: bern(n, m, x * 0.999, g),
    "u7": lambda n, m, x, g: u7(n, m, g),
    "u6": lambda n, m, x, g: u6(n, m, g),
    "size": lambda n, m, x, g: size(n, m, g),
}


@pytest.mark.parametrize("name", LAWS)
@given(n=st.integers(0, 60), m=st.integers(2, 8), x=st.floats(0, 1), seed=st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_no_row_is_empty_and_the_same_seed_is_the_same_table(
    name: str, n: int, m: int, x: float, seed: int
) -> None:
    table = LAWS[name](n, m, x, rng(seed))
    assert table.shape == (n, m)
    assert table.dtype == np.bool_
    assert table.any(axis=1).all()
    assert (table == LAWS[name](n, m, x, rng(seed))).all()


def test_below_never_reaches_its_end() -> None:
    largest = np.full(4000, 1 - 2.0**-53)
    ends = np.arange(1, 4001)
    assert (below(largest, ends) == ends - 1).all()


def test_patterns_come_by_size_in_modality_order() -> None:
    names = ["".join(np.array(list("vaf"))[row]) for row in patterns(3)]
    assert names == ["v", "a", "f", "va", "vf", "af", "vaf"]


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (lambda g: keep_one(5, 3, 0.72, g), ("0.72", "3 modalities", "from 0 to 0.6667")),
        (lambda g: keep_one(5, 2, 0.7, g), ("0.7", "2 modalities", "from 0 to 0.5")),
        (lambda g: keep_one(5, 3, -0.1, g), ("-0.1", "from 0 to")),
        (lambda g: keep_one(5, 3, float("nan"), g), ("nan", "from 0 to")),
        (lambda g: keep_one_exact(5, 4, 0.9, g), ("0.9", "from 0 to 0.75")),
        (lambda g: keep_one(5, 9, 0.1, g), ("9 modalities", "1 to 8")),
        (lambda g: u7(5, 0, g), ("0 modalities", "1 to 8")),
        (lambda g: u6(5, 1, g), ("1 modalities", "2 to 8")),
        (lambda g: quota(5, 2, 0.1, g), ("3 modalities only", "'rate'")),
        (lambda g: quota(5, 3, 0.25, g), ("0.25", "0.2 or 0.3")),
        (lambda g: quota(5, 3, 0.9, g), ("0.9", "0.6 or 0.7")),
        (lambda g: quota(5, 3, float("nan"), g), ("nan",)),
        (lambda g: imbalanced(5, (0.5, 1.0), g), ("rate 1", "below 1", "subsets")),
        (lambda g: bern(5, 3, 1.0, g), ("rate 1", "below 1")),
        (lambda g: single(5, 3, 3, 0.5, g), ("number 3", "0 to 2")),
        (lambda g: single(5, 3, 0, 1.5, g), ("1.5", "from 0 to 1")),
        (lambda g: single(5, 1, 0, 0.5, g), ("1 modalities", "2 to 8")),
    ],
)
def test_refusals_say_what_to_write(
    request_: Callable[[np.random.Generator], Table], words: tuple[str, ...]
) -> None:
    with pytest.raises(UsageError) as refusal:
        request_(rng(0))
    for word in words:
        assert word in str(refusal.value)
