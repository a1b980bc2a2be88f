"""Each imputer against a slow writing of its equations, on videos that lack streams and padding.

The slow forms know no folds of sums, no batches and no torch: loops over videos in numpy float64.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from aqabench.baselines._imputation import TrainingVideos, courses, overlaps
from aqabench.baselines.impute_knn import ImputeNeighbours, NeighbourImputer
from aqabench.baselines.impute_mean import ImputeMean, MeanImputer
from aqabench.baselines.impute_ridge import PENALTIES, ImputeRidge, RidgeImputer, folds
from aqabench.data.batch import Split, withhold
from aqabench.data.features import FeatureSet
from aqabench.errors import UsageError
from aqabench.method.base import FitContext, Task
from aqabench.nn.masks import subsets
from aqabench.protocol.schema import ClassSpec

SPEC = ClassSpec(name="S", bounds=(0.0, 10.0), train=23, test=5)
WIDTHS = {"video": 5, "audio": 3, "flow": 4}
TASK = Task("small", "S", WIDTHS, dict(zip(WIDTHS, "vaf", strict=True)), 7)
TRAIN, TEST = 23, 5
SMALL = {"layers": 1, "batch_size": 8}
KINDS = [ImputeMean, ImputeRidge, ImputeNeighbours]


def data(scores=None):
    rng = np.random.default_rng(5)
    count = TRAIN + TEST
    lengths = rng.integers(3, 10, count)
    look = rng.normal(size=(lengths.sum(), 3)) + np.repeat(rng.normal(size=(count, 3)), lengths, 0)
    return FeatureSet(
        dataset="small",
        kind="simulated",
        digest="",
        ids=tuple(f"s{i:02d}" for i in range(count)),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        features={
            m: (3 + look @ rng.normal(size=(3, d)) + 0.3 * rng.normal(size=(len(look), d)))
            .astype(np.float32)
            for m, d in WIDTHS.items()
        },
        scores={"S": rng.uniform(0, 10, count) if scores is None else scores},
        split=np.array(["train"] * TRAIN + ["test"] * TEST),
    )  # fmt: skip


def table():
    """Return (23, 3): most have all, the others miss one or two, nobody nothing."""
    masks = np.array(subsets(3), dtype=bool)
    return masks[np.random.default_rng(1).choice(len(masks), TRAIN, p=[0.06] * 6 + [0.64])]


def training(exists):
    of = data()
    return Split(of, of.rows("S", "train"), SPEC, list(WIDTHS), exists=exists)


def window(split, m, row):
    """Return (L, D) float64, the middle 7 clips of a video."""
    length = int(split.lengths[row])
    begin = int(split.begin[row]) + max(0, length - 7) // 2
    return split.flat[m][begin : begin + min(length, 7)].numpy().astype(float)


def fitted(imputer, split):
    imputer.fit(TrainingVideos(split, 7))
    return imputer


def queries(split):
    """Return features (4, 7, D) with zeros on padding, valid (4, 7), and lengths."""
    rng, lengths = np.random.default_rng(8), [7, 4, 1, 6]
    valid = torch.tensor([[t < n for t in range(7)] for n in lengths])
    made = {
        m: torch.from_numpy(rng.normal(3, 2, (4, 7, d)).astype(np.float32)) * valid[..., None]
        for m, d in WIDTHS.items()
    }
    return made, valid, lengths


def cells():
    """Yield every set of streams with every stream outside it."""
    names = list(WIDTHS)
    for mask in subsets(3)[:-1]:
        given = [m for m, there in zip(names, mask, strict=True) if there]
        for wanted in set(names) - set(given):
            yield given, wanted


def slow_bins(x, bins):
    """Return (bins, D): means over equal parts of time, step by step on a fine grid."""
    fine = np.repeat(x, bins, axis=0)  # every step stands for as many instants as there are parts
    return fine.reshape(bins, len(x), -1).mean(1)


def slow_stretch(course, length):
    """Return (length, D) by numpy's interpolation of each channel."""
    at, middle = (np.arange(length) + 0.5) / length, (np.arange(len(course)) + 0.5) / len(course)
    return np.stack([np.interp(at, middle, c) for c in course.T], axis=1)


def agree(imputed, expected, lengths):
    for row, length in enumerate(lengths):
        np.testing.assert_allclose(imputed[row, :length].numpy(), expected[row], atol=1e-5)


@pytest.mark.parametrize("bins", [1, 3, 20])
@pytest.mark.parametrize("steps", [1, 6, 33])
def test_parts_of_time_and_back(bins, steps):
    x = np.random.default_rng(0).normal(size=(steps, 2))
    np.testing.assert_allclose(overlaps(steps, bins) @ torch.from_numpy(x), slow_bins(x, bins))
    valid = torch.ones(1, steps, dtype=torch.bool)
    course = np.random.default_rng(1).normal(size=(bins, 2))
    got = courses(bins, valid)[0].double().numpy() @ course
    np.testing.assert_allclose(got, slow_stretch(course, steps), atol=1e-5)


@pytest.mark.parametrize("bins", [1, 4])
def test_mean_imputation_is_the_average_course(bins):
    exists = table()
    split = training(exists)
    imputer = fitted(MeanImputer(WIDTHS, bins), split)
    given, valid, lengths = queries(split)
    for column, m in enumerate(WIDTHS):
        videos = [window(split, m, row) for row in np.flatnonzero(exists[:, column])]
        weights = [len(x) for x in videos]
        course = np.average([slow_bins(x, bins) for x in videos], axis=0, weights=weights)
        if bins == 1:  # the plain mean over all steps
            np.testing.assert_allclose(course[0], np.concatenate(videos).mean(0))
        expected = [slow_stretch(course, length) for length in lengths]
        agree(imputer.impute(m, given, valid, None), expected, lengths)


def slow_ridge(split, exists, given, wanted, fold):
    """Return weights of all videos, those without each fold, and the moments."""
    names = list(WIDTHS)
    moments = {}
    for column, m in enumerate(names):
        steps = np.concatenate([window(split, m, r) for r in np.flatnonzero(exists[:, column])])
        moments[m] = steps.mean(0), steps.std(0)
    both = [r for r in range(TRAIN) if all(exists[r, names.index(m)] for m in (*given, wanted))]

    def stack(rows, streams):
        parts = [np.concatenate([(window(split, m, r) - moments[m][0]) / moments[m][1]
                                 for r in rows]) for m in streams]  # fmt: skip
        return np.concatenate(parts, axis=1)

    def solve(rows, penalty):
        x, z = stack(rows, given), stack(rows, [wanted])
        gram = x.T @ x
        return np.linalg.solve(gram + penalty * np.trace(gram) / len(gram) * np.eye(len(gram)),
                               x.T @ z)  # fmt: skip

    inside = [[r for r in both if fold[r] == k] for k in range(5)]
    outside = [[r for r in both if fold[r] != k] for k in range(5)]
    errors = [
        sum(np.square(stack(a, given) @ solve(b, p) - stack(a, [wanted])).sum()
            for a, b in zip(inside, outside, strict=True) if a)
        for p in PENALTIES
    ]  # fmt: skip
    best = PENALTIES[int(np.argmin(errors))]
    assert min(errors) < np.square(stack(both, [wanted])).sum()
    return solve(both, best), [solve(rows, best) for rows in outside], moments


def test_ridge_imputation_is_ridge_with_folds_of_videos():
    exists = table()
    split = training(exists)
    imputer = fitted(RidgeImputer(WIDTHS, 256), split)
    given, valid, lengths = queries(split)
    fold = folds(split.ids)
    assert sorted(fold.count(k) for k in range(5)) == [4, 4, 5, 5, 5]
    own = torch.tensor([3, 0, 11, 7])
    for known, wanted in cells():
        weights, without, moments = slow_ridge(split, exists, known, wanted, fold)
        shown = {m: given[m] for m in known}
        z = [
            np.concatenate([(given[m][i, :n].double().numpy() - moments[m][0]) / moments[m][1]
                            for m in known], axis=1)
            for i, n in enumerate(lengths)
        ]  # fmt: skip
        mean, spread = moments[wanted]
        agree(imputer.impute(wanted, shown, valid, None),
              [mean + x @ weights * spread for x in z], lengths)  # fmt: skip
        agree(imputer.impute(wanted, shown, valid, own),
              [mean + x @ without[fold[int(r)]] * spread for x, r in zip(z, own, strict=True)],
              lengths)  # fmt: skip


def test_fewer_components_than_channels_are_the_leading_ones():
    """What three factors made is imputed about as well from three components as from all."""
    split = training(None)
    whole, few = (fitted(RidgeImputer(WIDTHS, rank), split) for rank in (256, 3))
    assert few.get_buffer("basis0").shape == (5, 3)
    x = {m: torch.from_numpy(window(split, m, 0)).float()[None] for m in WIDTHS}
    valid = torch.ones(x["video"].shape[:2], dtype=torch.bool)
    full, reduced = (i.impute("flow", {"video": x["video"]}, valid, None) for i in (whole, few))
    assert (full - reduced).square().mean() < 0.1 * (full - full.mean(1)).square().mean()


def test_streams_that_are_never_together_are_imputed_by_their_mean():
    exists = np.eye(3, dtype=bool)[np.arange(TRAIN) % 3]
    split = training(exists)
    imputer = fitted(RidgeImputer(WIDTHS, 256), split)
    given, valid, _ = queries(split)
    imputed = imputer.impute("audio", {"video": given["video"]}, valid, None)
    mean = np.concatenate([window(split, "audio", r) for r in range(1, TRAIN, 3)]).mean(0)
    np.testing.assert_allclose(imputed.numpy(), np.broadcast_to(mean, imputed.shape), atol=1e-5)


def test_a_set_of_streams_never_seen_with_the_wanted_one_takes_the_mean_of_the_single_maps():
    pairs = np.array([[1, 1, 0], [1, 0, 1], [0, 1, 1]], dtype=bool)
    split = training(pairs[np.arange(TRAIN) % 3])
    imputer = fitted(RidgeImputer(WIDTHS, 256), split)
    given, valid, _ = queries(split)
    for own in (None, torch.tensor([3, 0, 11, 7])):
        both, video, audio = (
            imputer.impute("flow", {m: given[m] for m in known}, valid, own)
            for known in (("video", "audio"), ("video",), ("audio",))
        )
        torch.testing.assert_close(both, (video + audio) / 2)


def slow_neighbours(split, exists, given, wanted, x, length, own):
    """Return (length, D): the three most similar donors, weighted."""
    names = list(WIDTHS)
    moments = {}
    for column, m in enumerate(names):
        steps = np.concatenate([window(split, m, r) for r in np.flatnonzero(exists[:, column])])
        moments[m] = steps.mean(0), steps.std(0)

    def key(m, steps):
        k = ((steps - moments[m][0]) / moments[m][1]).mean(0)
        return k / np.linalg.norm(k)

    found = []
    for row in range(TRAIN):
        shared = [m for m in given if exists[row, names.index(m)]]
        if row == own or not shared or not exists[row, names.index(wanted)]:
            continue
        cosines = [key(m, x[m][:length]) @ key(m, window(split, m, row)) for m in shared]
        found.append((np.mean(cosines), slow_bins(window(split, wanted, row), 4)))
    found = sorted(found, key=lambda pair: -pair[0])[:3]
    weights = np.exp([similarity / 0.05 for similarity, _ in found])
    course = np.average([course for _, course in found], axis=0, weights=weights)
    return slow_stretch(course, length)


def test_borrowed_streams_are_those_of_the_most_similar_others():
    exists = table()
    split = training(exists)
    imputer = fitted(NeighbourImputer(WIDTHS, 4, 3, 0.05), split)
    row = int(np.flatnonzero(exists.all(1))[0])
    own_window = {m: window(split, m, row) for m in WIDTHS}
    length = len(own_window["video"])
    given, valid, lengths = queries(split)
    lengths[0] = length
    for m, x in given.items():  # the first query is a training video itself
        x[0] = 0.0
        x[0, :length] = torch.from_numpy(own_window[m]).float()
    valid[0] = torch.arange(7) < length
    for known, wanted in cells():
        shown = {m: given[m] for m in known}
        for own in (None, torch.tensor([row] * 4)):
            expected = [
                slow_neighbours(split, exists, known, wanted,
                                {m: x[i].double().numpy() for m, x in shown.items()}, n,
                                None if own is None else row)
                for i, n in enumerate(lengths)
            ]  # fmt: skip
            agree(imputer.impute(wanted, shown, valid, own), expected, lengths)


def test_without_a_donor_that_shares_a_stream_the_average_is_taken():
    exists = np.eye(3, dtype=bool)[np.arange(TRAIN) % 3]
    exists[0] = [True, False, False]
    split = training(exists)
    imputer = fitted(NeighbourImputer(WIDTHS, 4, 3, 0.05), split)
    given, valid, lengths = queries(split)
    bank = [slow_bins(window(split, "flow", r), 4) for r in np.flatnonzero(exists[:, 2])]
    expected = [slow_stretch(np.mean(bank, axis=0), n) for n in lengths]
    agree(imputer.impute("flow", {"video": given["video"]}, valid, None), expected, lengths)


def fit(kind, split, **settings):
    method = kind(TASK, SMALL | settings)
    method.fit(split, FitContext(1, 3, 1, lambda _: None, lambda _: None))
    return method


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_never_used_to_impute(kind):
    learned = []
    for scores in (None, np.linspace(10, 0, TRAIN + TEST)):
        of = data(scores)
        method = kind(TASK, SMALL)
        method.net = method.build(TASK)
        method.prepare(Split(of, of.rows("S", "train"), SPEC, list(WIDTHS), exists=table()))
        learned.append(method.net.imputer.state_dict())
    assert learned[0].keys() == learned[1].keys()
    assert learned[0]
    assert all(torch.equal(value, learned[1][name]) for name, value in learned[0].items())


@pytest.mark.parametrize("kind", KINDS)
def test_an_imputer_comes_back_with_the_weights(kind):
    split = training(table())
    method = fit(kind, split)
    again = kind(TASK, SMALL)
    again.load_state(method.state())
    (batch,) = Split(data(), np.arange(TRAIN, TRAIN + TEST), SPEC, list(WIDTHS)).fixed_batches(
        "centre", 7, 64
    )
    shown = torch.tensor(subsets(3), dtype=torch.bool)[:, None].expand(-1, TEST, -1)
    assert torch.equal(
        method.predict_scenarios(batch, shown), again.predict_scenarios(batch, shown)
    )
    assert method.predict_scenarios(batch, shown).std(0).min() > 1e-5  # what is shown matters


@pytest.mark.parametrize("kind", KINDS)
def test_imputed_rows_move_no_norm_and_teach_no_nan(kind):
    split = training(None)
    method = kind(TASK, SMALL | {"dropout": 0.0, "modality_dropout": False})
    method.net = method.build(TASK)
    method.prepare(split)
    method.net.train()
    shown = torch.tensor([[1, 0, 1], [0, 0, 1], [1, 0, 0], [1, 0, 1]], dtype=torch.bool)
    generator = torch.Generator().manual_seed(0)
    given = withhold(next(iter(split.random_batches(4, 7, generator))), shown)
    before = method.net.state_dict()
    before = {name: value.clone() for name, value in before.items()}
    sum(method.loss(given, generator).values()).backward()
    for name, parameter in method.net.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name
    after = method.net.state_dict()
    moved = {n for n in before if "running" in n and not torch.equal(after[n], before[n])}
    assert {n.split(".")[1] for n in moved if n.startswith("in_proj")} == {"v", "f"}
    conv = before["in_proj.v.0.weight"][..., 0], before["in_proj.v.0.bias"]
    rows = given.features["video"][shown[:, 0, None] & given.valid]
    expected = 0.1 * (rows @ conv[0].T + conv[1]).mean(0)  # 0.9 of a mean of 0
    torch.testing.assert_close(after["in_proj.v.1.running_mean"], expected)


@pytest.mark.parametrize("kind", KINDS)
def test_training_on_what_is_missing_is_the_test_path_with_norms_at_rest(kind):
    """Own rows aside (samples of no fold, no donors of themselves), both are one function."""
    split = training(None)
    method = kind(TASK, SMALL | {"dropout": 0.0, "modality_dropout": False})
    method.net = method.build(TASK)
    method.prepare(split)
    method.net.eval()
    plain = method.net.imputer.impute
    method.net.imputer.impute = lambda m, given, valid, own: plain(m, given, valid, None)
    shown = torch.tensor([[1, 1, 0], [0, 1, 1], [1, 0, 0], [1, 1, 1]], dtype=torch.bool)
    given = withhold(next(iter(split.random_batches(4, 7, torch.Generator()))), shown)
    error = 10 * (method.predict(given) - given.score).square().mean()
    torch.testing.assert_close(method.loss(given, torch.Generator())["task"].detach(), error)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (ImputeMean, {"bins": 0}, r"'bins' setting of impute-mean must be at least 1. Got 0"),
        (ImputeRidge, {"rank": -1}, r"'rank' setting of impute-ridge .* --set rank=256"),
        (ImputeNeighbours, {"neighbours": 0}, r"'neighbours' setting .* --set neighbours=3"),
        (ImputeNeighbours, {"temperature": 0.0}, r"must be positive\. Got 0 instead"),
    ],
)
def test_settings_that_impute_nothing_are_refused(kind, settings, message):
    with pytest.raises(UsageError, match=message):
        kind(TASK, settings).build(TASK)
