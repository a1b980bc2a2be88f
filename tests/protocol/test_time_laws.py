"""The laws of missing frames: shares, runs, coincidence, and at least one slot per sample."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aqabench.errors import UsageError
from aqabench.protocol.mask_laws import Table, keep_one
from aqabench.protocol.mask_tables import shares
from aqabench.protocol.time_laws import block, frame_iid, mix, outage, prefix, rate_t, suffix

LENGTHS = np.tile([1, 2, 7, 40, 90], 140)  # 19600 steps in 700 samples
TOTAL = int(LENGTHS.sum())
LONG = np.full(400, 50)
TOTAL_LONG = 20_000


def rng(*axes: int) -> np.random.Generator:
    return np.random.default_rng([44, *axes])


def split(table: Table, lengths: np.ndarray) -> list[Table]:
    """The (T, M) table of each sample."""
    return np.split(table, np.cumsum(lengths)[:-1]) if len(lengths) else []


def hidden_run(shown: np.ndarray) -> tuple[int, int]:
    """Start and length of the only run of hidden steps."""
    hidden = np.flatnonzero(~shown)
    if len(hidden):
        assert (np.diff(hidden) == 1).all()
    return (int(hidden[0]) if len(hidden) else 0), len(hidden)


def near(share: float | np.ndarray, law: float, n: int) -> bool:
    return bool((np.abs(share - law) <= 3 * np.sqrt(law * (1 - law) / n) + 1e-12).all())


@pytest.mark.parametrize("p", [0.0, 0.1, 0.3, 0.5, 0.7, 0.9])
def test_frame_iid_hides_its_share_independently(p: float) -> None:
    table = frame_iid(LONG, 3, p, rng(1, round(10 * p)))
    hidden = ~table
    assert near(hidden.mean(axis=0), p, TOTAL_LONG)
    for one, other in ((0, 1), (0, 2), (1, 2)):  # no coincident masks
        assert near((hidden[:, one] & hidden[:, other]).mean(), p**2, TOTAL_LONG)
    assert near((hidden[1:] & hidden[:-1]).mean(), p**2, 3 * TOTAL_LONG // 2)  # nor in time


def test_frame_iid_at_one_keeps_one_frame_of_one_modality() -> None:
    lengths = np.full(4000, 5)
    kept = np.array(split(frame_iid(lengths, 3, 1.0, rng(2)), lengths))  # (4000, 5, 3)
    assert (kept.sum(axis=(1, 2)) == 1).all()
    assert near(kept.mean(axis=0), 1 / 15, 4000)  # every slot alike


def test_the_guard_shifts_the_share_as_stated() -> None:
    n, slots, p = 20_000, 6, 0.8  # two clips, three modalities
    table = frame_iid(np.full(n, 2), 3, p, rng(3))
    # A sample's hidden share has at most the variance of six independent slots.
    assert near(shares(table).realised, p - p**slots / slots, slots * n)


def test_rate_t_is_keep_one_at_every_step() -> None:
    table = rate_t(LENGTHS, 3, 0.5, rng(4))
    assert (table == keep_one(TOTAL, 3, 0.5, rng(4))).all()
    assert near(shares(table).complete, 0.0625, TOTAL)
    assert table.any(axis=1).all()


@pytest.mark.parametrize("p", [0.0, 0.1, 0.25, 0.5, 0.9])
def test_block_is_one_run_of_the_rounded_length(p: float) -> None:
    table = block(LENGTHS, 3, p, rng(5, round(100 * p)))
    for length, sample in zip(LENGTHS, split(table, LENGTHS), strict=True):
        runs = [hidden_run(sample[:, m])[1] for m in range(3)]
        expected = round(round(p * int(length), 9))
        if expected < length:
            assert runs == [expected] * 3
        else:
            assert sum(runs) == 3 * length - 1  # one slot is shown again


def test_block_starts_are_uniform_and_independent() -> None:
    lengths = np.full(3000, 9)
    starts = np.array(
        [
            [hidden_run(sample[:, m])[0] for m in range(2)]
            for sample in split(block(lengths, 2, 5 / 9, rng(6)), lengths)
        ]
    )
    assert set(starts.ravel()) == set(range(5))
    cells = np.bincount(starts[:, 0] * 5 + starts[:, 1], minlength=25) / len(starts)
    assert near(cells, 1 / 25, len(starts))


@pytest.mark.parametrize("p", [0.0, 0.3, 0.5, 1.0])
def test_outage_is_the_same_run_in_every_modality(p: float) -> None:
    table = outage(LENGTHS, 3, p, rng(7))
    assert (table == table[:, :1]).all()
    for length, sample in zip(LENGTHS, split(table, LENGTHS), strict=True):
        assert hidden_run(sample[:, 0])[1] == min(round(round(p * int(length), 9)), length - 1)


def test_outage_starts_are_uniform() -> None:
    lengths = np.full(4000, 10)
    table = outage(lengths, 2, 0.6, rng(8))
    starts = [hidden_run(sample[:, 0])[0] for sample in split(table, lengths)]
    assert near(np.bincount(starts, minlength=5) / 4000, 1 / 5, 4000)


def test_prefix_and_suffix_by_hand() -> None:
    first = prefix([5, 1, 4], 2, 0.4)
    assert first[:, 0].tolist() == [False, False, True, True, True, True, False, False, True, True]
    last = suffix([5, 1, 4], 2, 0.4)
    assert last[:, 1].tolist() == [True, True, True, False, False, True, True, True, False, False]
    assert (first == first[:, :1]).all()
    assert (last == last[:, :1]).all()
    assert prefix([3], 1, 1.0).ravel().tolist() == [False, False, True]
    assert suffix([3], 1, 1.0).ravel().tolist() == [True, False, False]


def test_mix_hides_frames_inside_the_subset_only() -> None:
    table = mix(LONG, (True, False, True), 0.4, rng(9))
    assert not table[:, 1].any()
    assert near((~table[:, [0, 2]]).mean(axis=0), 0.4, TOTAL_LONG)
    whole = frame_iid(LONG, 3, 0.4, rng(9))
    assert (table[:, [0, 2]] == whole[:, [0, 2]]).all()  # paired with the other subsets


def test_the_guard_of_mix_stays_inside_the_subset() -> None:
    lengths = np.full(1000, 4)
    table = mix(lengths, (False, True, True), 1.0, rng(10))
    assert not table[:, 0].any()
    assert [int(sample.sum()) for sample in split(table, lengths)] == [1] * 1000


LAWS: dict[str, Callable[[np.ndarray, int, float, np.random.Generator], Table]] = {
    "frame-iid": frame_iid,
    "rate-t": lambda lengths, m, p, g: rate_t(lengths, m, p * (1 - 1 / m), g),
    "block": block,
    "outage": outage,
    "prefix": lambda lengths, m, p, g: prefix(lengths, m, p),
    "suffix": lambda lengths, m, p, g: suffix(lengths, m, p),
    "mix": lambda lengths, m, p, g: mix(lengths, [True] + [False] * (m - 1), p, g),
}


@pytest.mark.parametrize("name", LAWS)
@given(
    lengths=st.lists(st.integers(1, 12), max_size=12),
    m=st.integers(1, 8),
    p=st.floats(0, 1) | st.sampled_from([0.0, 0.9, 1.0]),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=40, deadline=None)
def test_no_sample_is_empty_and_the_same_seed_is_the_same_table(
    name: str, lengths: list[int], m: int, p: float, seed: int
) -> None:
    clips = np.array(lengths, dtype=np.int64)
    table = LAWS[name](clips, m, p, rng(seed))
    assert table.shape == (clips.sum(), m)
    assert table.dtype == np.bool_
    assert all(sample.any() for sample in split(table, clips))
    assert (table == LAWS[name](clips, m, p, rng(seed))).all()


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (lambda g: frame_iid([3, 0], 3, 0.5, g), "from 1 up"),
        (lambda g: block([2.5], 3, 0.5, g), "whole numbers"),
        (lambda g: outage([[2]], 3, 0.5, g), "each sample"),
        (lambda g: frame_iid([3], 3, 1.1, g), "from 0 to 1"),
        (lambda g: block([3], 3, -0.1, g), "from 0 to 1"),
        (lambda g: suffix([3], 3, float("nan")), "from 0 to 1"),
        (lambda g: rate_t([3], 3, 0.9, g), "from 0 to 0.6667"),
        (lambda g: mix([3], (False, False), 0.5, g), "at least one modality"),
        (lambda g: block([3], 9, 0.5, g), "1 to 8"),
    ],
)
def test_refusals_say_what_to_write(
    request_: Callable[[np.random.Generator], Table], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        request_(rng(0))
