"""The numbers of ``aqabench data show``: against scipy, plain formulas and planted cases."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.stats import spearmanr

from aqabench.data.features import FeatureSet
from aqabench.data.simulator import simulate
from aqabench.data.summary import (
    oddities,
    round_edges,
    score_edges,
    spread,
    stream_summary,
    summarise,
)
from aqabench.protocol.schema import ClassSpec, DatasetSpec, ModalitySpec
from tests.helpers import small_data, small_spec


def two_class_spec(same_videos: bool = True, test: int = 10) -> DatasetSpec:
    return DatasetSpec(
        name="two",
        version=1,
        title="Two",
        about="for tests",
        modalities=(
            ModalitySpec(name="video", symbol="v", width=5),
            ModalitySpec(name="audio", symbol="a", width=3),
        ),
        classes=tuple(
            ClassSpec(name=n, bounds=(0.0, 10.0), train=20, test=test) for n in ("A", "B")
        ),
        same_videos=same_videos,
        clip_length=8,
    )


def changed(data: FeatureSet, **parts: object) -> FeatureSet:
    return dataclasses.replace(data, **parts)  # type: ignore[arg-type]


def test_stream_statistics_are_those_of_the_plain_formulas() -> None:
    rng = np.random.default_rng(0)
    spec = small_spec()
    data = small_data(spec)
    wave = rng.normal(size=(int(data.offsets[-1]), 6)).cumsum(0).astype(np.float32)
    data = changed(data, features={"video": wave})
    found = stream_summary(data, "video")
    videos = [data.video(i, "video").astype(np.float64) for i in range(len(data.ids))]
    means = np.array([v.mean(0) for v in videos])
    weight = data.lengths / data.lengths.sum()
    between = weight @ (means - weight @ means) ** 2
    moved = sum((v - m).var(0) for v, m in zip(videos, means, strict=True))
    lagged = sum(((v - m)[1:] * (v - m)[:-1]).mean(0) for v, m in zip(videos, means, strict=True))
    assert found.used == len(data.ids)
    assert found.mean == pytest.approx(wave.mean(dtype=np.float64), rel=1e-5)
    assert found.sd == pytest.approx(wave.std(dtype=np.float64), rel=1e-5)
    assert found.negative == pytest.approx((wave < 0).mean())
    assert found.between == pytest.approx(
        np.median(between / wave.astype(np.float64).var(0)), rel=1e-5
    )
    assert found.autocorrelation == pytest.approx(np.median(lagged / moved), rel=1e-4)
    assert found.still == 0


def test_large_streams_are_sampled_and_still_channels_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = small_data(small_spec())
    video = data.features["video"].copy()
    video[:, 2] = 3.5
    monkeypatch.setattr("aqabench.data.summary.VALUES", 6 * 12 * 10)
    found = stream_summary(changed(data, features={"video": video}), "video")
    assert 8 <= found.used < len(data.ids)
    assert found.still == 1


def test_spread_is_that_of_numpy() -> None:
    values = np.random.default_rng(1).normal(size=57)
    found = spread(values)
    assert (found.count, found.mean, found.sd) == (57, values.mean(), values.std(ddof=1))
    assert found.quarter == np.percentile(values, 25)
    assert (found.low, found.median, found.high) == (values.min(), np.median(values), values.max())
    assert spread(values[:1]).sd == 0.0


@pytest.mark.parametrize("scale", [1e-3, 0.3, 1.0, 7.0, 1e6])
@pytest.mark.parametrize("most", [8, 24, 60])
def test_edges_hold_every_value_once_in_at_most_so_many_round_bins(scale: float, most: int) -> None:
    values = np.random.default_rng(2).normal(3, 1, 400) * scale
    edges = round_edges(values, most)
    assert len(edges) - 1 <= most
    assert len(edges) - 1 > most / 4, "bins are not needlessly wide"
    assert np.histogram(values, edges)[0].sum() == 400
    step = edges[1] - edges[0]
    assert np.allclose(np.diff(edges), step)
    assert round(float(step / 10 ** np.floor(np.log10(step) + 1e-9)), 6) in (1, 2, 2.5, 5)


def test_edges_of_whole_numbers_are_whole_and_of_one_value_are_one_bin() -> None:
    lengths = np.array([3, 4, 4, 9])
    edges = round_edges(lengths, 20)
    assert edges.tolist() == [3, 4, 5, 6, 7, 8, 9, 10]
    assert np.histogram(lengths, edges)[0].tolist() == [1, 2, 0, 0, 0, 0, 1]
    assert len(round_edges(np.array([5, 5]), 20)) == 2
    assert len(round_edges(np.array([0.25, 0.25]), 20)) == 2
    lattice = np.arange(0, 11) / 10  # values on edges that binary fractions miss
    assert np.histogram(lattice, round_edges(lattice, 10))[0].tolist() == [1] * 9 + [2]


def test_correlations_are_over_the_samples_with_both_scores() -> None:
    spec = two_class_spec()
    data = simulate(spec)
    scores = {n: s.copy() for n, s in data.scores.items()}
    scores["B"][:7] = np.nan
    (found,) = summarise(changed(data, scores=scores), spec).correlations
    assert found.count == 23
    assert found.value == pytest.approx(spearmanr(scores["A"][7:], scores["B"][7:])[0])


def test_disjoint_classes_have_no_correlations_and_keep_their_own_counts() -> None:
    spec = two_class_spec(same_videos=False)
    found = summarise(simulate(spec), spec)
    assert found.correlations == ()
    assert [(s.class_name, s.split, s.spread.count) for s in found.scores] == [
        ("A", "train", 20), ("A", "test", 10), ("B", "train", 20), ("B", "test", 10),
    ]  # fmt: skip
    assert found.samples == 60


def test_without_a_test_split_there_are_no_test_scores() -> None:
    spec = two_class_spec(test=0)
    assert {s.split for s in summarise(simulate(spec), spec).scores} == {"train"}


def test_groups_count_test_samples_that_share_a_label_within_their_class() -> None:
    spec = small_spec(train=4, test=4)
    data = small_data(spec)
    labels = np.array(["a", "a", "b", "", "a", "b", "c", ""])
    (group,) = summarise(changed(data, groups={"athlete": labels}), spec).groups
    assert (group.labels, group.unlabelled, group.largest, group.size) == (3, 2, "a", 3)
    assert (group.shared, group.test) == (2, 4)
    other = {"S": data.scores["S"].copy(), "T": data.scores["S"].copy()}
    other["S"][:4] = np.nan  # trains T only; the test samples are of S only
    other["T"][4:] = np.nan
    (group,) = summarise(changed(data, scores=other, groups={"athlete": labels}), spec).groups
    assert group.shared == 0


def test_folds_say_their_sizes_and_which_groups_they_keep_whole() -> None:
    spec = small_spec(train=6, test=2)
    data = changed(
        small_data(spec),
        groups={"athlete": np.array(list("aabbccdd")), "event": np.array(list("xyxyxyxy"))},
        folds={"athlete": np.array([0, 0, 1, 1, 2, 2, -1, -1])},
    )
    (fold,) = summarise(data, spec).folds
    assert (fold.sizes, fold.outside, fold.whole) == ((2, 2, 2), 2, ("athlete",))


def test_odd_samples_are_found_and_no_others() -> None:
    spec = small_spec()
    data = small_data(spec)
    assert oddities(data).alike == ()
    assert not oddities(data).constant
    assert not oddities(data).alike_in
    # sample 5 as long as sample 3, and the same; sample 9 the same in audio only; 7 stands still
    lengths = data.lengths.copy()
    lengths[[5, 9]] = lengths[3]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    rng = np.random.default_rng(3)
    features = {
        m: rng.normal(size=(int(offsets[-1]), w)).astype(np.float16)
        for m, w in (("video", 6), ("audio", 4))
    }
    data = changed(data, offsets=offsets, features=features)
    for m in features:
        data.video(5, m)[:] = data.video(3, m)
    data.video(9, "audio")[:] = data.video(3, "audio")
    data.video(7, "video")[:] = data.video(7, "video")[0]
    found = oddities(data)
    assert found.alike == (("s003", "s005"),)
    assert found.constant == {"video": ("s007",)}
    assert found.alike_in == {"audio": (("s003", "s009"),)}, "s005 is as s003, told already"


def test_samples_that_stand_still_alike_are_told_once() -> None:
    clips = np.arange(6, dtype=np.float32)[:, None]
    pair = changed(
        small_data(small_spec()),
        ids=("p", "q"),
        offsets=np.array([0, 3, 6]),
        features={"video": clips, "audio": np.ones((6, 2), dtype=np.float32)},
    )
    found = oddities(pair)
    assert found.constant == {"audio": ("p", "q")}
    assert found.alike_in == {}
    assert found.alike == ()


def test_two_videos_that_agree_only_where_one_looks_first_are_not_alike() -> None:
    clips = np.random.default_rng(4).normal(size=(9, 4)).astype(np.float32)
    other = clips.copy()
    other[2, 1] += 1  # neither the first, the middle nor the last clip
    data = changed(
        small_data(small_spec()),
        ids=("p", "q"),
        offsets=np.array([0, 9, 18]),
        features={"video": np.concatenate([clips, other])},
    )
    assert oddities(data).alike == ()
    same = changed(data, features={"video": np.concatenate([clips, clips])})
    assert oddities(same).alike == (("p", "q"),)


def test_score_edges_are_shared_by_the_splits() -> None:
    data = small_data(small_spec())
    data.scores["S"][0] = np.nan
    edges = score_edges(data, "S", 12)
    counted = sum(
        np.histogram(data.scores["S"][data.rows("S", split)], edges)[0].sum()
        for split in ("train", "test")
    )
    assert counted == len(data.ids) - 1
