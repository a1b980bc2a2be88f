"""Ridge against a slow writing of its equations, on complete samples and on samples that lack some.

The slow form pools each video by itself, standardises, and solves the normal equations of every
fold and penalty with a general solver.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from aqabench.baselines.ridge import FEWEST, FOLDS, PENALTIES, Ridge
from aqabench.data.batch import Split
from aqabench.data.features import FeatureSet
from aqabench.method.base import FitContext, Method, Task
from aqabench.nn.masks import subsets
from aqabench.protocol.mask_laws import keep_one, single
from aqabench.protocol.schema import ClassSpec

SPEC = ClassSpec(name="S", bounds=(0.0, 10.0), train=60, test=9)
WIDTHS = {"video": 5, "audio": 3, "flow": 4}
PINNED = [
    [0.3361473083, 0.2601606250, 0.4457744360, 0.6606261730],
    [0.3531306684, 0.2549296618, 0.4643152952, 0.6694687605],
    [0.3418917656, 0.2279182971, 0.4866643846, 0.6975864172],
]
"""Predictions of video, video and audio, and all, by the code that knew complete samples only."""
PINNED_FEW = [0.3822792768, 0.4375378191, 0.5907845497]
TASK = Task("small", "S", WIDTHS, dict(zip(WIDTHS, "vaf", strict=True)), 6)


def data(train=60, test=9):
    rng = np.random.default_rng(3)
    count = train + test
    lengths = rng.integers(3, 9, count)
    quality = rng.normal(size=count)
    return FeatureSet(
        dataset="small",
        kind="simulated",
        digest="",
        ids=tuple(f"s{i:02d}" for i in range(count)),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        features={
            m: (rng.normal(size=(lengths.sum(), width)) + np.repeat(quality, lengths)[:, None])
            .astype(np.float32)
            for m, width in WIDTHS.items()
        },
        scores={"S": np.clip(5 + 1.5 * quality, 0, 10)},
        split=np.array(["train"] * train + ["test"] * test),
    )  # fmt: skip


def split(of, part, exists=None):
    return Split(of, of.rows("S", part), SPEC, list(WIDTHS), exists=exists)


def context():
    return FitContext(1, None, None, lambda _: None, lambda _: None)


def fitted(of, exists=None):
    method = Ridge(TASK)
    method.fit(split(of, "train", exists), context())
    return method


def scores(method, of):
    (batch,) = split(of, "test").fixed_batches("full", 6, 64)
    shown = torch.tensor(subsets(3), dtype=torch.bool)
    return method.predict_scenarios(batch, shown[:, None].expand(-1, len(batch), -1)).numpy()


def pooled(of, part, subset):
    """Return (n, p): each video's means and standard deviations of the subset's channels."""
    rows = of.rows("S", part)
    described = []
    for row in rows:
        clips = [of.video(row, m).astype(np.float64) for m in subset]
        described.append(np.concatenate([np.append(x.mean(0), x.std(0)) for x in clips]))
    return np.stack(described)


def slow(of, subset, having):
    """Regress the training videos that have the subset; return the test videos' predictions."""
    x, y = pooled(of, "train", subset)[having], of.scores["S"][of.rows("S", "train")][having] / 10
    x_test = pooled(of, "test", subset)
    order = torch.randperm(len(having), generator=context().generator("folds")).tolist()
    place = {row: k for k, row in enumerate(r for r in order if having[r])}
    fold = np.array([place[row] % FOLDS for row in np.flatnonzero(having)])
    mean, spread = x.mean(0), x.std(0)
    z, z_test = (x - mean) / spread, (x_test - mean) / spread

    def solved(rows, penalty):
        a, centre = z[rows], y[rows].mean()
        gram = a.T @ a + penalty * np.eye(a.shape[1])
        return np.linalg.solve(gram, a.T @ (y[rows] - centre)), centre

    errors = []
    for penalty in PENALTIES:
        total = 0.0
        for k in range(FOLDS):
            slope, centre = solved(fold != k, penalty)
            total += ((z[fold == k] @ slope + centre - y[fold == k]) ** 2).sum()
        errors.append(total)
    slope, centre = solved(np.ones(len(y), dtype=bool), PENALTIES[int(np.argmin(errors))])
    return z_test @ slope + centre


def names(mask):
    return [m for m, there in zip(WIDTHS, mask, strict=True) if there]


def test_on_complete_samples_every_subset_is_regressed():
    of = data()
    got = scores(fitted(of), of)
    everyone = np.ones(60, dtype=bool)
    for row, mask in zip(got, subsets(3), strict=True):
        assert row == pytest.approx(np.clip(slow(of, names(mask), everyone), 0, 1), abs=1e-5)
    assert got.std(1).min() > 0.05


def test_on_complete_samples_the_numbers_are_those_of_before_incomplete_training():
    of = data()
    assert scores(fitted(of), of)[[0, 3, 6], :4] == pytest.approx(np.array(PINNED), abs=1e-6)
    few = data(train=FEWEST - 4)
    assert scores(fitted(few), few)[6, :3] == pytest.approx(PINNED_FEW, abs=1e-6)


def test_a_subset_is_regressed_on_the_samples_that_have_all_of_it():
    of = data()
    exists = keep_one(60, 3, 0.2, np.random.default_rng(0))
    got = scores(fitted(of, exists), of)
    for row, mask in zip(got, subsets(3), strict=True):
        having = exists[:, np.array(mask, dtype=bool)].all(1)
        assert FEWEST <= having.sum() < 60
        assert row == pytest.approx(np.clip(slow(of, names(mask), having), 0, 1), abs=1e-5)


def test_a_subset_that_few_samples_have_is_the_mean_of_its_streams():
    of = data()
    got = scores(fitted(of, keep_one(60, 3, 2 / 3, np.random.default_rng(0))), of)
    by_mask = dict(zip(subsets(3), got, strict=True))
    singles = np.stack([by_mask[m] for m in ((1, 0, 0), (0, 1, 0), (0, 0, 1))])
    assert singles.std(1).min() > 0.05
    for mask, row in by_mask.items():
        assert row == pytest.approx(singles[np.array(mask, dtype=bool)].mean(0), abs=1e-6)


@pytest.mark.parametrize("both", [19, 20])
def test_a_subset_that_less_than_half_of_the_samples_have_is_the_mean_of_its_streams(both):
    of = data()
    exists = np.ones((60, 3), dtype=bool)
    exists[:, :2] = False
    exists[:40, 0] = True
    exists[40 - both : 80 - both, 1] = True
    assert exists[:, :2].all(1).sum() == both
    by_mask = dict(zip(subsets(3), scores(fitted(of, exists), of), strict=True))
    mean = (by_mask[1, 0, 0] + by_mask[0, 1, 0]) / 2
    own = np.clip(slow(of, ["video", "audio"], exists[:, :2].all(1)), 0, 1)
    assert np.abs(mean - own).max() > 0.01
    assert by_mask[1, 1, 0] == pytest.approx(mean if both < 20 else own, abs=1e-5)


@pytest.mark.parametrize("count", [0, FEWEST - 1, FEWEST])
def test_a_stream_that_few_samples_have_says_the_training_mean(count):
    of = data()
    exists = single(60, 3, 1, count / 60, np.random.default_rng(0))
    assert exists[:, 1].sum() == count
    by_mask = dict(zip(subsets(3), scores(fitted(of, exists), of), strict=True))
    mean = of.scores["S"][:60].mean() / 10
    if count < FEWEST:
        assert by_mask[0, 1, 0] == pytest.approx(mean, abs=1e-6)
        half = (by_mask[1, 0, 0] + mean) / 2
        assert by_mask[1, 1, 0] == pytest.approx(half, abs=1e-6)
    else:
        assert by_mask[0, 1, 0].std() > 0.01
    assert by_mask[1, 0, 1] == pytest.approx(slow(of, names((1, 0, 1)), exists[:, 0]), abs=1e-5)


def test_what_does_not_exist_is_never_pooled(monkeypatch):
    plain = Ridge._pool

    def watched(self, x, valid):
        assert torch.isfinite(x).all()
        return plain(self, x, valid)

    monkeypatch.setattr(Ridge, "_pool", watched)
    of = data()
    exists = keep_one(60, 3, 0.5, np.random.default_rng(0))
    garbage = {m: x.copy() for m, x in of.features.items()}
    for k, m in enumerate(WIDTHS):
        for row in np.flatnonzero(~exists[:, k]):
            garbage[m][of.offsets[row] : of.offsets[row + 1]] = 1e6
    states = [fitted(each, exists).state() for each in (of, replace(of, features=garbage))]
    assert states[0].keys() == states[1].keys()
    for name, weights in states[0].items():
        assert torch.isfinite(weights).all()
        assert torch.equal(weights, states[1][name])


def test_spoilt_streams_are_pooled_once_and_score_as_each_alone(monkeypatch):
    of = data()
    method = fitted(of)
    (batch,) = split(of, "test").fixed_batches("full", 6, 64)
    versions = [
        ({"video": batch.features["video"] + 1}, torch.tensor([[1, 0, 0]]).bool()),
        (
            {m: 2 * x for m, x in batch.features.items()},
            torch.tensor([[1, 0, 0], [0, 1, 0], [1, 1, 1]]).bool(),
        ),
    ]
    one_by_one = Method.predict_corrupted(method, batch, versions)
    pooled_streams = []
    plain = Ridge._pool
    monkeypatch.setattr(
        Ridge, "_pool", lambda self, x, valid: pooled_streams.append(1) or plain(self, x, valid)
    )
    shared = method.predict_corrupted(batch, iter(versions))
    assert len(pooled_streams) == 3 + 1 + 3
    assert shared.shape == (4, len(batch))
    assert torch.equal(shared, one_by_one)
    assert (shared[0] - method.predict(batch)).abs().max() > 0.01
