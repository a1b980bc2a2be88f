"""CoRe against a second, slow writing of its equations; its exemplars are training samples."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from aqabench.baselines._imputation import TrainingVideos
from aqabench.data.batch import withhold
from aqabench.errors import CheckpointError, UsageError
from aqabench.method.base import FitContext
from aqabench.methods._core_tree import bounds_of_groups, decode, place, tree_loss
from aqabench.methods.core import CoRe, Leaves, RegressionTree, choose_exemplars, load_official
from tests.baselines.test_fusion import B, T, batch, task
from tests.baselines.test_imputation import TASK, table, training
from tests.methods import _reference_core as reference
from tests.methods import _reference_gdlt as layers

K, LAYERS, DEPTH = 3, 1, 3
"""Exemplars, layers and levels where a second writing of everything is compared with."""


def test_the_tree_has_the_published_names_and_size():
    net = RegressionTree()
    assert sum(p.numel() for p in net.parameters()) == 2_510_382
    expected = reference.random_tree(0)
    assert {k: tuple(v.shape) for k, v in net.state_dict().items()} == {
        k: v.shape for k, v in expected.items()
    }


@pytest.mark.parametrize(
    ("prefix", "width", "hidden", "depth"), [("", 2049, 256, 5), ("module.", 9, 6, 3)]
)
def test_official_weights_of_any_size_give_the_published_outputs(prefix, width, hidden, depth):
    weights = reference.random_tree(1, width, hidden, depth)
    net = load_official({prefix + k: v for k, v in weights.items()})
    pairs = np.random.default_rng(0).normal(size=(2, width))
    with torch.no_grad():
        said = net(pairs)
    for i, pair in enumerate(pairs):
        path, offset = reference.tree(weights, pair, depth)
        np.testing.assert_allclose(said.log_probability[i], path, atol=1e-5)
        np.testing.assert_allclose(said.offset[i], offset, atol=1e-5)
    assert not net.training
    torch.testing.assert_close(said.log_probability.exp().sum(1), torch.ones(2))


def test_weights_that_do_not_fit_are_refused():
    weights = reference.random_tree(3, width=9, hidden=6)
    with pytest.raises(CheckpointError, match=r"'first_layer.0.weight'.*checkpoint\['regressor'\]"):
        load_official({"layer1.weight": weights["reg_layer.weight"]})
    with pytest.raises(CheckpointError, match=r"missing \(reg_layer.bias\)"):
        load_official({k: v for k, v in weights.items() if k != "reg_layer.bias"})
    with pytest.raises(CheckpointError, match=r"'clf_layers.1.weight' is .*expected \(4, 6, 1\)"):
        load_official(weights | {"clf_layers.1.weight": np.zeros((4, 5, 1), np.float32)})


def random_leaves(count, leaves, seed):
    generator = torch.Generator().manual_seed(seed)
    path = torch.randn(count, leaves, generator=generator).log_softmax(-1)
    return Leaves(path, torch.randn(count, leaves, generator=generator))


def test_leaves_loss_and_decoding_equal_the_equations():
    scores = torch.rand(40, generator=torch.Generator().manual_seed(0))
    bounds = bounds_of_groups(scores, 16)
    groups = reference.intervals(scores.tolist())
    np.testing.assert_allclose(bounds, [groups[0][0]] + [r for _, r in groups], atol=1e-7)

    apart = torch.tensor([-0.9, -0.2, -0.01, 0.0, 0.004, 0.3, 0.3, 0.95])
    apart = torch.cat([apart, bounds[[3, 5, 10, 12]]])  # where one interval ends and one begins
    leaf, where = place(apart, bounds)
    exact = [float(b) for b in bounds]
    groups = list(pairwise(exact))
    expected = [reference.place(float(d), groups) for d in apart]
    assert leaf.tolist() == [k for k, _ in expected]
    np.testing.assert_allclose(where, [at for _, at in expected], atol=1e-5)

    said = random_leaves(len(apart), 16, 1)
    each = list(zip(said.log_probability.numpy(), said.offset.numpy(), strict=True))
    terms = tree_loss(said, apart, bounds)
    nll, offset = reference.loss(each, apart.tolist(), groups)
    assert float(terms["leaf"]) == pytest.approx(nll, abs=1e-5)
    assert float(terms["offset"]) == pytest.approx(offset, rel=1e-5)
    for expectation in (False, True):
        got = decode(said, bounds, expectation)
        wanted = [reference.score([x], [0.0], groups, expectation) for x in each]
        np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_ties_and_few_scores_leave_every_difference_a_place():
    tied = bounds_of_groups(torch.tensor([0.25, 0.25, 0.25, 0.25, 0.75]), 16)
    leaf, where = place(torch.tensor([0.0, 0.5, -0.5, 1.0, -1.0]), tied)
    assert bool(torch.isfinite(where).all())
    assert int(leaf[2]) == 15 - int(leaf[1])
    assert (int(leaf[3]), int(leaf[4])) == (15, 0)
    alone = bounds_of_groups(torch.tensor([0.5]), 4)
    torch.testing.assert_close(alone, torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0]))
    many = bounds_of_groups(torch.linspace(0, 1, 9001), 16)  # |Δ| of a uniform: 1 − √(1 − q)
    q = torch.arange(9) / 8
    torch.testing.assert_close(many[8:], 1 - (1 - q).sqrt(), atol=2e-3, rtol=0)


def ready(of, **settings):
    """Return a method with random weights and statistics, K random exemplars, and its weights."""
    method = CoRe(of, {"exemplars": K, "layers": LAYERS, "depth": DEPTH, **settings})
    method.net = method.build(of)
    state = method.net.state_dict()
    weights = layers.fill({k: v.shape for k, v in state.items()}, 7)
    generator = torch.Generator().manual_seed(3)
    weights["bounds"] = bounds_of_groups(torch.rand(30, generator=generator), 2 ** (DEPTH - 1))
    weights["exemplar_score"] = torch.tensor([0.2, 0.5, 0.8])
    weights["exemplar_valid"] = torch.arange(T).expand(K, -1) < torch.tensor([[T], [4], [T]])
    weights["exemplar_available"] = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 1, 0]]).bool()
    for column, width in enumerate(of.modalities.values()):
        x = torch.randn(K, T, width, generator=generator)
        there = weights["exemplar_available"][:, column, None, None]
        weights[f"exemplar{column}"] = torch.where(there, x, 0.0)
    method.load_state(weights)
    return method, weights


def vector(of, weights, streams, shown):
    """Return φ (256,) of one video: symbol -> (L, D), and which streams are shown."""
    steps = len(next(iter(streams.values())))
    encoded = []
    for column, symbol in enumerate(of.symbols.values()):
        h = weights["tokens"][column].expand(1, steps, -1)
        if shown[column]:
            x = layers.stack(weights, f"in_proj.{symbol}", streams[symbol][None])
            w = {k.replace("encoder.", "transformer.encoder.", 1): v for k, v in weights.items()}
            h = layers.encoder(w, x, LAYERS, 2)
        encoded.append(h)
    return layers.stack(weights, "fusion", torch.cat(encoded, -1))[0].mean(0)


def of_batch(of, given, i):
    symbols = of.symbols
    return {symbols[m]: x[i, given.valid[i]] for m, x in given.features.items()}


def of_exemplars(of, weights, k):
    steps = weights["exemplar_valid"][k]
    return {s: weights[f"exemplar{c}"][k, steps] for c, s in enumerate(of.symbols.values())}


def said_of(weights, exemplar, query, known):
    pair = torch.cat([exemplar, query, torch.tensor([known])]).numpy()
    tree = {k.removeprefix("head."): v for k, v in weights.items() if k.startswith("head.")}
    return reference.tree({k: v.numpy() for k, v in tree.items()}, pair, DEPTH)


def groups_of(weights):
    bounds = weights["bounds"].tolist()
    return list(pairwise(bounds))


@pytest.mark.parametrize("settings", [{}, {"exemplar": "complete"}, {"expectation": True}], ids=str)
def test_scores_are_means_over_exemplars_that_show_what_the_query_shows(settings):
    of, given = task(3), batch(task(3))
    method, weights = ready(of, **settings)
    mask = torch.tensor([[1, 0, 1], [0, 1, 0], [1, 1, 1], [0, 0, 1]]).bool()
    got = method.predict(withhold(given, mask))
    known, groups = weights["exemplar_score"].tolist(), groups_of(weights)
    for i in range(B):
        query = vector(of, weights, of_batch(of, given, i), mask[i])
        said = []
        for k in range(K):
            has = weights["exemplar_available"][k]
            both = has & mask[i]
            shown = both if bool(both.any()) and not settings.get("exemplar") else has
            theirs = vector(of, weights, of_exemplars(of, weights, k), shown)
            said.append(said_of(weights, theirs, query, known[k]))
        wanted = reference.score(said, known, groups, settings.get("expectation", False))
        assert float(got[i]) == pytest.approx(wanted, abs=1e-4)
    assert got.std() > 1e-2


@pytest.mark.parametrize("variant", ["shared", "complete"])
def test_a_training_step_compares_each_sample_with_another_both_ways(variant):
    of, given = task(3), batch(task(3), padded=False)
    method, weights = ready(of, exemplar=variant)
    shown = torch.tensor([[1, 0, 1], [0, 1, 0], [1, 1, 1], [0, 0, 1]]).bool()
    there = torch.tensor([[1, 1, 1], [0, 1, 0], [1, 1, 1], [0, 0, 1]]).bool()
    method.shown = lambda batch, generator: shown
    method.net.eval()  # running statistics, no dropout
    with torch.no_grad():
        terms = method.loss(withhold(given, there), torch.Generator().manual_seed(5))
    order = torch.randperm(B, generator=torch.Generator().manual_seed(5))
    partner = dict(zip(order.tolist(), order.roll(1).tolist(), strict=True))
    said, apart = [], []
    for i, j in partner.items():
        assert i != j
        for query, other in ((i, j), (j, i)):
            masks = {i: shown[i], j: shown[i] & there[j]}
            if not bool(masks[j].any()):
                masks[j] = there[j]
            if variant == "complete":
                masks = {query: shown[query], other: there[other]}
            vectors = {k: vector(of, weights, of_batch(of, given, k), masks[k]) for k in masks}
            known = float(given.score[other])
            said.append(said_of(weights, vectors[other], vectors[query], known))
            apart.append(float(given.score[query]) - known)
    leaf, offset = reference.loss(said, apart, groups_of(weights))
    assert float(terms["leaf"]) == pytest.approx(leaf, rel=1e-4)
    assert float(terms["offset"]) == pytest.approx(offset, rel=1e-3)


def test_gradients_are_finite_under_missing_streams():
    of = task(3)
    method, _ = ready(of)
    mask = torch.tensor([[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]]).bool()
    method.net.train()
    sum(method.loss(withhold(batch(of), mask), torch.Generator()).values()).backward()
    found = [p.grad for p in method.net.parameters() if p.grad is not None]
    assert found
    assert all(bool(torch.isfinite(g).all()) for g in found)


def test_exemplars_are_spread_over_the_scores_and_as_complete_as_can_be():
    generator = torch.Generator().manual_seed(0)
    score = torch.rand(50, generator=generator)
    available = torch.ones(50, 3, dtype=torch.bool)
    chosen = [
        choose_exemplars(score, available, 10, torch.Generator().manual_seed(s)) for s in (0, 0, 1)
    ]
    assert torch.equal(chosen[0], chosen[1])
    assert not torch.equal(chosen[0], chosen[2])
    rank = score.argsort().argsort()
    assert (rank[chosen[0]] // 5).tolist() == list(range(10))

    available[torch.rand(50, generator=generator) < 0.9, 0] = False
    chosen = choose_exemplars(score, available, 10, generator)
    for k, row in enumerate(chosen):
        part = rank // 5 == k
        assert available[row].sum() == available[part].sum(1).max()
    few = choose_exemplars(score[:3], available[:3], 10, generator)
    assert sorted(set(few.tolist())) == [0, 1, 2]


def test_exemplars_are_the_centre_windows_of_training_samples_and_nothing_they_lack():
    split = training(table())
    method = CoRe(TASK, {"exemplars": 5, "layers": 1, "batch_size": 8})
    method.fit(split, FitContext(1, 1, 1, lambda _: None, lambda _: None))
    state, videos = method.state(), TrainingVideos(split, TASK.clip_length)
    rows = [split.score.tolist().index(y) for y in state["exemplar_score"].tolist()]
    assert torch.equal(state["exemplar_available"], split.available[rows])
    torch.testing.assert_close(state["bounds"], bounds_of_groups(split.score, 16))
    for column, m in enumerate(TASK.modalities):
        for k, row in enumerate(rows):
            x, length = state[f"exemplar{column}"][k], int(split.lengths[row])
            assert int(state["exemplar_valid"][k].sum()) == min(length, TASK.clip_length)
            if split.available[row, column]:
                there = videos.window(m, row).float()
                assert torch.equal(x[: len(there)], there)
                x = x[len(there) :]
            assert not x.any()


def test_an_unknown_variant_is_refused():
    with pytest.raises(UsageError, match=r"'exemplar' .* core must be shared or complete.*'both'"):
        CoRe(task(), {"exemplar": "both"}).build(task())
