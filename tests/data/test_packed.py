"""Scoring samples of like lengths together: the same scores, less padding."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from aqabench.data import batch as module
from aqabench.data.batch import FixedBatches, Split
from tests.helpers import small_data, small_spec

STEPS = 40


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STEPS_TO_FILL", STEPS)


def _split(stride: int = 1, shortest: int = 2, clip_length: int = 8, n: int = 40) -> Split:
    spec = small_spec(clip_length=clip_length, test=n)
    data = small_data(spec, shortest=shortest)
    return Split(data, data.rows("S", "test"), spec.classes[0], ["video", "audio"], stride)


def _packed(split: Split, window: str, clip_length: int = 8, size: int = 6) -> FixedBatches:
    return split.fixed_batches(window, clip_length, size, packed=True)


@pytest.mark.parametrize("window", ["centre", "full"])
@pytest.mark.parametrize("stride", [1, 3])
def test_every_sample_is_there_once_with_the_steps_it_has_in_list_order(
    window: str, stride: int
) -> None:
    split = _split(stride)
    expected = {}
    for batch in split.fixed_batches(window, 8, 6):
        for i, sample in enumerate(batch.ids):
            expected[sample] = batch.features["audio"][i, batch.valid[i]]
    seen = []
    batches = _packed(split, window)
    for rows, batch in zip(batches.rows, batches, strict=True):
        assert batch.ids == tuple(split.ids[i] for i in rows)
        for i, sample in enumerate(batch.ids):
            assert torch.equal(batch.features["audio"][i, batch.valid[i]], expected[sample])
        seen += batch.ids
    assert sorted(seen) == sorted(split.ids)


@pytest.mark.parametrize("window", ["centre", "full"])
def test_a_batch_ends_with_its_longest_sample(window: str) -> None:
    batches = _packed(_split(), window)
    longest = [int(batch.valid.sum(1).max()) for batch in batches]
    assert [batch.valid.shape[1] for batch in batches] == longest
    assert longest == sorted(longest)
    assert longest[0] < longest[-1]


def test_short_samples_fill_a_batch_and_long_ones_keep_its_size() -> None:
    few = 3
    batches = list(_packed(_split(clip_length=16, n=80), "full", size=few))
    shapes = [tuple(batch.valid.shape) for batch in batches]
    assert all(count <= few or count * steps <= STEPS for count, steps in shapes)
    assert max(count for count, _ in shapes) > few
    assert max(steps for _, steps in shapes) * few > STEPS
    for now, after in itertools.pairwise(batches):  # one more would have been too many
        steps = int(after.valid[0].sum())
        assert (len(now) + 1) * steps > max(STEPS, few * steps)


def test_a_time_table_follows_the_samples() -> None:
    split = _split(stride=3)
    clip = torch.cat([torch.arange(n) for n in split.lengths.tolist()])
    table = torch.stack([clip % 2 == 0, clip % 5 == 0], 1)
    batches = _packed(split, "centre")
    for batch, shown in zip(batches, batches.observed(table), strict=True):
        clips = batch.features["video"][..., 0].long() % 100  # every value names its clip
        assert torch.equal(shown[..., 0], (clips % 2 == 0) & batch.valid)
        assert torch.equal(shown[..., 1], (clips % 5 == 0) & batch.valid)


def test_list_order_is_kept_unless_asked() -> None:
    split = _split()
    batches = split.fixed_batches("centre", 8, 6)
    assert [s for batch in batches for s in batch.ids] == list(split.ids)
    assert {batch.valid.shape[1] for batch in batches} == {8}
    assert np.concatenate([r.numpy() for r in batches.rows]).tolist() == list(range(len(split)))
