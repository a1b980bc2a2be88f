"""Windows, batches, and the withholding of what is missing."""

from __future__ import annotations

import pytest
import torch

from aqabench.data.batch import Split, cover, withhold
from tests.helpers import small_data, small_spec


@pytest.fixture
def split() -> Split:
    spec = small_spec()
    data = small_data(spec)
    return Split(data, data.rows("S", "train"), spec.classes[0], ["video", "audio"])


def test_an_epoch_shows_every_video_once_with_its_own_clips(split: Split) -> None:
    generator = torch.Generator().manual_seed(0)
    seen = []
    for batch in split.random_batches(5, 8, generator):
        seen += batch.ids
        for i, sample in enumerate(batch.ids):
            row = split.ids.index(sample)
            values = batch.features["video"][i, batch.valid[i], 0]
            assert ((values // 100) == row).all()
            assert (values.diff() == 1).all()
            length = int(split.lengths[row])
            assert int(batch.valid[i].sum()) == min(length, 8)
            assert batch.score is not None
            assert batch.score[i] == pytest.approx(split.points[row] / 10, abs=1e-6)
    assert sorted(seen) == sorted(split.ids)


def test_padding_is_zero_at_the_end_and_marked(split: Split) -> None:
    (batch,) = split.fixed_batches("full", 8, 64)
    padded = ~batch.valid
    assert padded.any()
    assert (batch.features["audio"][padded] == 0).all()
    assert not batch.observed[padded].any()
    # once invalid, always invalid: padding stands at the end only
    assert (batch.valid.int().diff(dim=1) <= 0).all()


def test_every_start_is_drawn_the_last_window_too(split: Split) -> None:
    """The published loaders draw the start below L - T, so the last window never comes."""
    generator = torch.Generator().manual_seed(1)
    row = int(split.lengths.argmax())
    room = int(split.lengths[row]) - 8
    starts = set()
    for _ in range(60 * (room + 1)):
        for batch in split.random_batches(64, 8, generator):
            i = batch.ids.index(split.ids[row])
            starts.add(int(batch.features["video"][i, 0, 0]) - 100 * row)
    assert starts == set(range(room + 1))


def test_the_centre_window_is_the_middle(split: Split) -> None:
    batch = split.fixed_batches("centre", 8, 64)[0]
    for i, length in enumerate(split.lengths.tolist()):
        start = max(length - 8, 0) // 2
        assert int(batch.features["video"][i, 0, 0]) == 100 * i + start


def test_a_stride_skips_clips() -> None:
    spec = small_spec()
    data = small_data(spec)
    split = Split(data, data.rows("S", "test"), spec.classes[0], ["video"], stride=3)
    batch = split.fixed_batches("centre", 8, 64)[0]
    assert batch.valid.shape[1] == 3
    assert (batch.features["video"][0, batch.valid[0], 0].diff() == 3).all()


def test_a_last_batch_of_one_joins_the_one_before() -> None:
    spec = small_spec(train=9)
    data = small_data(spec)
    split = Split(data, data.rows("S", "train"), spec.classes[0], ["video"])
    sizes = [len(b) for b in split.random_batches(4, 8, torch.Generator().manual_seed(0))]
    assert sizes == [4, 5]


def test_withheld_values_are_nan_and_both_masks_say_so(split: Split) -> None:
    batch = split.fixed_batches("centre", 8, 4)[0]
    shown = torch.tensor([[True, False], [False, True], [True, True], [True, False]])
    hidden = withhold(batch, shown)
    assert torch.equal(hidden.available, shown)
    assert torch.isnan(hidden.features["audio"][0]).all()
    assert torch.isnan(hidden.features["video"][1]).all()
    assert torch.equal(hidden.features["video"][2], batch.features["video"][2])
    assert not hidden.observed[0, :, 1].any()
    assert torch.isfinite(batch.features["audio"]).all(), "the batch itself must stay whole"


def test_what_does_not_exist_cannot_be_shown(split: Split) -> None:
    batch = split.fixed_batches("centre", 8, 2)[0]
    gone = withhold(batch, torch.tensor([[True, False], [True, False]]))
    again = withhold(gone, torch.ones(2, 2, dtype=torch.bool))
    assert not again.available[:, 1].any()


def test_fixed_batches_are_a_sequence_and_nothing_of_them_is_kept(split: Split) -> None:
    batches = split.fixed_batches("centre", 8, 4)
    whole = split.fixed_batches("centre", 8, 64)[0]
    assert [len(b) for b in batches] == [4] * (len(split) // 4) + [len(split) % 4] * (
        len(split) % 4 > 0
    )
    assert len(batches) == len(list(batches))
    assert [i for b in batches for i in b.ids] == list(split.ids)
    last = batches[-1]
    assert last.ids == split.ids[-len(last) :]
    assert [b.ids for b in batches[1:]] == [b.ids for b in batches][1:]
    assert torch.equal(last.features["video"], whole.features["video"][-len(last) :])
    last.features["video"].zero_()
    assert batches[-1].features["video"].any()
    with pytest.raises(IndexError):
        batches[len(batches)]


def test_a_part_without_its_first_video_is_the_rest(split: Split) -> None:
    rest = split.without_first()
    assert len(rest) == len(split) - 1
    assert rest.ids == split.ids[1:]
    (one,), (all_,) = rest.fixed_batches("full", 8, 64), split.fixed_batches("full", 8, 64)
    assert torch.equal(one.features["video"], all_.features["video"][1:])
    generator = torch.Generator().manual_seed(0)
    scores = {
        i: s
        for b in rest.random_batches(3, 8, generator)
        for i, s in zip(b.ids, b.score.tolist(), strict=True)
    }
    assert scores == dict(zip(split.ids[1:], split.score[1:].tolist(), strict=True))


# --- steps missing inside the samples -------------------------------------------------------------


@pytest.mark.parametrize("window", ["centre", "full"])
@pytest.mark.parametrize("stride", [1, 3])
def test_a_time_table_lies_on_the_clips_it_is_about(window: str, stride: int) -> None:
    spec = small_spec(clip_length=7)
    data = small_data(spec)
    part = Split(data, data.rows("S", "test"), spec.classes[0], ["video", "audio"], stride)
    lengths = part.lengths.tolist()
    clip = torch.cat([torch.arange(n) for n in lengths])
    table = torch.stack([clip % 2 == 0, clip % 3 == 0], dim=1)  # (clips, 2): known by the clip
    batches = part.fixed_batches(window, 7, 5)
    for batch, shown in zip(batches, batches.observed(table), strict=True):
        clips = batch.features["video"][..., 0].long() % 100  # every value names its clip
        assert torch.equal(shown[..., 0], (clips % 2 == 0) & batch.valid)
        assert torch.equal(shown[..., 1], (clips % 3 == 0) & batch.valid)


def test_a_hidden_step_shows_the_filling_and_padding_stays_zero(split: Split) -> None:
    (batch,) = split.fixed_batches("full", 8, 64)
    shown = torch.rand(batch.observed.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    filling = {"video": torch.full((6,), -1.0), "audio": torch.full((4,), -2.0)}
    covered = cover(batch, shown, filling)
    for k, (m, value) in enumerate((("video", -1.0), ("audio", -2.0))):
        hidden = batch.valid & ~shown[..., k]
        assert (covered.features[m][hidden] == value).all()
        assert torch.equal(covered.features[m][~hidden], batch.features[m][~hidden])
    assert torch.equal(covered.observed, shown & batch.valid[..., None])
    assert bool(covered.available.all())
    assert not torch.equal(covered.features["video"], batch.features["video"])


def test_the_filling_is_the_mean_of_the_training_clips(split: Split) -> None:
    clips = torch.cat([
        torch.arange(int(n)) + 100.0 * row for row, n in enumerate(split.lengths.tolist())
    ])  # fmt: skip
    means, _ = split.moments()
    assert means["video"].shape == (6,)
    assert means["audio"].tolist() == pytest.approx([float(clips.mean())] * 4)
