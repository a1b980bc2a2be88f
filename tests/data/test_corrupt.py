"""Damaged streams, against a slow plain statement of each damage, sample by sample."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from aqabench.data.batch import Split
from aqabench.data.corrupt import Moments, damaged_batches
from aqabench.data.features import FeatureSet
from aqabench.errors import DataError, UsageError
from aqabench.protocol.noise_laws import Damage, damage, normal_noise
from tests.helpers import small_data, small_spec

CUTS = [("centre", 7, 1), ("centre", 7, 2), ("full", 7, 1), ("full", 7, 2)]
DAMAGES = [
    ("gauss", 0.5), ("gauss", 2), ("channels", 0.3), ("channels", 1), ("shift", 2), ("shift", 40),
    ("freeze", 0.4), ("freeze", 1), ("swap", 1), ("scale", 0.5), ("scale", 2),
]  # fmt: skip


def features(half: bool = False, shortest: int = 1) -> FeatureSet:
    """Return random features, so that no two clips or channels are alike."""
    data = small_data(small_spec(), shortest=shortest)
    g = np.random.default_rng(6)
    values = {m: g.normal(3, 2, x.shape).astype(np.float32) for m, x in data.features.items()}
    if half:
        values = {m: x.astype(np.float16) for m, x in values.items()}
    return replace(data, features=values)


def part(stride: int = 1, half: bool = False, data: FeatureSet | None = None) -> Split:
    data = data or features(half)
    rows = np.random.default_rng(7).permutation(data.rows("S", "test"))
    return Split(data, rows, small_spec().classes[0], ["video", "audio"], stride)


def spoil(split: Split, kind: str, level: float, *names: str, draw: int = 0) -> Damage:
    widths = {m: split.widths[m] for m in names or split.modalities}
    lengths = split.lengths.numpy()
    return damage(kind, level, widths, split.ids, lengths, "small", "test", draw)


@pytest.fixture
def moments() -> Moments:
    data = features()
    train = Split(data, data.rows("S", "train"), small_spec().classes[0], ["video", "audio"])
    return Moments(*train.moments())


def plainly(video: np.ndarray, i: int, of: Damage, m: str, at: Moments, split: Split) -> np.ndarray:
    """Damage the (L, D) clips of sample i, one step and channel at a time."""
    table, level = of.tables[m], of.level
    mean, spread = at.mean[m].numpy(), at.spread[m].numpy()
    clips, width = video.shape
    spoilt = video.copy()
    noise = normal_noise(int(table[i]), clips * width) if of.kind == "gauss" else np.empty(0)
    for t in range(clips):
        for d in range(width):
            z = (float(video[t, d]) - float(mean[d])) / float(spread[d])
            if of.kind == "gauss":
                z += level * float(noise[t * width + d])
            elif of.kind == "channels":
                z = z if table[i, d] else 0.0
            elif of.kind == "scale":
                z *= level
            else:
                continue
            spoilt[t, d] = z * float(spread[d]) + float(mean[d])
        if of.kind == "shift":
            spoilt[t] = video[min(max(t - int(table[i]), 0), clips - 1)]
        elif of.kind == "freeze" and table[i, 0] <= t < table[i, 0] + table[i, 1]:
            spoilt[t] = spoilt[t - 1]
        elif of.kind == "swap":
            other = int(table[i])
            length, begin = int(split.lengths[other]), int(split.begin[other])
            spoilt[t] = split.flat[m][begin + min(t, length - 1)].float().numpy()
    return spoilt


@pytest.mark.parametrize(("window", "clip_length", "stride"), CUTS)
@pytest.mark.parametrize(("kind", "level"), DAMAGES)
def test_each_damage_is_what_its_plain_statement_says(
    kind: str, level: float, window: str, clip_length: int, stride: int, moments: Moments
) -> None:
    split = part(stride)
    of = spoil(split, kind, level)
    batches = split.fixed_batches(window, clip_length, 5)
    found = list(damaged_batches(of, moments, split.fixed_batches(window, clip_length, 5)))
    assert [len(x["video"]) for x in found] == [len(batch) for batch in batches] == [5, 5, 2]
    for batch, streams in zip(batches, found, strict=True):
        assert list(streams) == ["video", "audio"]
        for m, x in streams.items():
            assert x.dtype == torch.float32
            assert x.shape == batch.features[m].shape
            assert (x[~batch.valid] == 0).all()
            for k, name in enumerate(batch.ids):
                i = split.ids.index(name)
                length, begin = int(split.lengths[i]), int(split.begin[i])
                whole = split.flat[m][begin : begin + length].float().numpy()
                start = max(length - clip_length, 0) // 2 if window == "centre" else 0
                stop = start + clip_length if window == "centre" else length
                expected = plainly(whole, i, of, m, moments, split)[start:stop:stride]
                shown = x[k, batch.valid[k]].numpy()
                assert shown.shape == expected.shape
                assert shown == pytest.approx(expected, rel=1e-5, abs=1e-5)
                if kind in ("shift", "freeze", "swap"):
                    assert (shown == expected).all()


@pytest.mark.parametrize(("kind", "level"), DAMAGES)
def test_something_is_damaged_and_nothing_else(kind: str, level: float, moments: Moments) -> None:
    split = part()
    clean = [batch.features["audio"].clone() for batch in split.fixed_batches("full", 7, 5)]
    alone = list(
        damaged_batches(
            spoil(split, kind, level, "audio"), moments, split.fixed_batches("full", 7, 5)
        )
    )
    both = list(
        damaged_batches(spoil(split, kind, level), moments, split.fixed_batches("full", 7, 5))
    )
    for before, one, two in zip(clean, alone, both, strict=True):
        assert list(one) == ["audio"]
        assert torch.equal(one["audio"], two["audio"])
        assert not torch.equal(one["audio"], before)
    kept = [batch.features["audio"] for batch in split.fixed_batches("full", 7, 5)]
    assert all(torch.equal(a, b) for a, b in zip(clean, kept, strict=True))


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(
    ("kind", "level"), [("gauss", 0), ("channels", 0), ("shift", 0), ("freeze", 0), ("scale", 1)]
)
def test_a_level_that_changes_nothing_gives_the_same_bits(
    kind: str, level: float, half: bool, moments: Moments
) -> None:
    split = part(half=half)
    found = damaged_batches(spoil(split, kind, level), moments, split.fixed_batches("full", 7, 5))
    for batch, streams in zip(split.fixed_batches("full", 7, 5), found, strict=True):
        for m, x in streams.items():
            assert x.numpy().tobytes() == batch.features[m].numpy().tobytes()


@pytest.mark.parametrize(("kind", "level"), DAMAGES)
def test_a_clip_is_damaged_alike_in_every_window_and_batch(
    kind: str, level: float, moments: Moments
) -> None:
    whole, wide = part(), part(stride=2)
    of = spoil(whole, kind, level, "video")
    (full,) = damaged_batches(of, moments, whole.fixed_batches("full", 7, 64))
    (skipped,) = damaged_batches(of, moments, wide.fixed_batches("full", 7, 64))
    assert torch.equal(skipped["video"], full["video"][:, ::2])
    single = [x["video"] for x in damaged_batches(of, moments, whole.fixed_batches("centre", 7, 1))]
    for i, (x, length) in enumerate(zip(single, whole.lengths.tolist(), strict=True)):
        start, shown = max(length - 7, 0) // 2, min(length, 7)
        assert torch.equal(x[0, :shown], full["video"][i, start : start + shown])


def test_by_hand(moments: Moments) -> None:
    """Three samples of 1, 3 and 4 clips whose values are 0, then 10.., then 20..."""
    values = np.array([0, 10, 11, 12, 20, 21, 22, 23], dtype=np.float32)
    data = replace(
        features(),
        ids=("a", "b", "c"),
        offsets=np.array([0, 1, 4, 8]),
        features={"audio": values[:, None]},
        scores={"S": np.ones(3)},
        groups={},
        split=np.array(["test"] * 3),
    )
    split = Split(data, np.arange(3), small_spec().classes[0], ["audio"])

    def audio(kind: str, table: list[object]) -> list[list[float]]:
        of = Damage(kind, 1 if kind == "swap" else 0.5, {"audio": np.array(table)})
        (x,) = damaged_batches(of, moments, split.fixed_batches("full", 7, 5))
        return x["audio"][..., 0].tolist()

    assert audio("shift", [1, 1, -2]) == [[0, 0, 0, 0], [10, 10, 11, 0], [22, 23, 23, 23]]
    assert audio("shift", [9, -9, 9]) == [[0, 0, 0, 0], [12, 12, 12, 0], [20, 20, 20, 20]]
    assert audio("freeze", [(1, 0), (1, 1), (2, 2)]) == [
        [0, 0, 0, 0], [10, 10, 12, 0], [20, 21, 21, 21]
    ]  # fmt: skip
    assert audio("swap", [1, 2, 0]) == [[10, 0, 0, 0], [20, 21, 22, 0], [0, 0, 0, 0]]


def test_noise_is_in_standard_deviations_of_the_training_clips(moments: Moments) -> None:
    split = part()
    of = spoil(split, "gauss", 2.0)
    (batch,) = split.fixed_batches("full", 7, 64)
    (streams,) = damaged_batches(of, moments, split.fixed_batches("full", 7, 64))
    for m, x in streams.items():
        added = ((x - batch.features[m]) / moments.spread[m])[batch.valid]  # (clips, D)
        n = added.numel()
        assert abs(float(added.mean())) < 3 * 2 / n**0.5
        assert abs(float(added.std()) - 2) < 3 * 2 / (2 * n) ** 0.5


def test_the_damage_must_be_of_these_samples_and_streams(moments: Moments) -> None:
    split = part()
    of = spoil(split, "shift", 2)
    fewer = Damage(of.kind, of.level, {m: table[:-1] for m, table in of.tables.items()})
    strange = Damage(of.kind, of.level, {"flow": of.tables["video"]})
    for wrong in (fewer, strange):
        with pytest.raises(UsageError, match="draw it for the ids and modalities"):
            next(damaged_batches(wrong, moments, split.fixed_batches("full", 7, 5)))


def test_in_an_incomplete_part_what_is_missing_stays_missing_and_nothing_is_swapped(
    moments: Moments,
) -> None:
    data = features()
    rows = data.rows("S", "test")
    exists = np.ones((len(rows), 2), dtype=bool)
    exists[3, 1] = False
    split = Split(data, rows, small_spec().classes[0], ["video", "audio"], exists=exists)
    with pytest.raises(DataError, match="training: complete"):
        next(damaged_batches(spoil(split, "swap", 1), moments, split.fixed_batches("full", 7, 5)))
    for kind, level in (("gauss", 1.0), ("channels", 0.5), ("shift", 2), ("freeze", 0.5)):
        batch = next(
            damaged_batches(spoil(split, kind, level), moments, split.fixed_batches("full", 7, 5))
        )
        valid = split.fixed_batches("full", 7, 5)[0].valid
        assert torch.isnan(batch["audio"][3]).all()
        assert torch.isfinite(batch["audio"][:3][valid[:3]]).all()
        assert torch.isfinite(batch["video"]).all()
