"""Rank-N-Contrast against its worked example and a loop over triples; its views and stages."""

from __future__ import annotations

import math

import pytest
import torch

from aqabench.baselines.rank_n_contrast import RankNContrast, rank_n_contrast
from aqabench.data.batch import withhold
from tests.baselines.test_fusion import B, batch, ready, task

MASK = torch.tensor([[1, 0, 1], [0, 1, 1], [1, 1, 1], [0, 0, 1]]).bool()
SMALL = {"layers": 1, "dropout": 0.0}


def slow(features, labels, temperature):
    """Return the loss, triple by triple."""
    n, total = len(labels), 0.0
    apart = [[math.dist(a, b) for b in features.tolist()] for a in features.tolist()]
    y = labels.tolist()
    for i in range(n):
        for j in range(n):
            if i == j:
                continue
            farther = [k for k in range(n) if k != i and abs(y[i] - y[k]) >= abs(y[i] - y[j])]
            below = sum(math.exp(-apart[i][k] / temperature) for k in farther)
            total += apart[i][j] / temperature + math.log(below)
    return total / (n * (n - 1))


def test_the_worked_example():
    features, labels = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([0.0, 0.5, 1.0])
    assert float(rank_n_contrast(features, labels, 2.0)) == pytest.approx(0.372582, abs=1e-6)


@pytest.mark.parametrize("temperature", [2.0, 0.05])
def test_ties_of_label_distance_are_in_each_others_denominators(temperature):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(24, 5, generator=generator)
    labels = torch.randint(0, 5, (24,), generator=generator) / 4  # quarter points
    got = rank_n_contrast(features, labels, temperature)
    assert float(got) == pytest.approx(slow(features, labels, temperature), rel=1e-5)


def test_equal_views_have_a_finite_gradient():
    features = torch.randn(6, 40, generator=torch.Generator().manual_seed(0))
    features = torch.cat([features, features]).requires_grad_()
    rank_n_contrast(features, torch.rand(6).repeat(2), 2.0).backward()
    assert bool(torch.isfinite(features.grad).all())
    assert bool(features.grad.any())


def losses(method, given, views):
    """Return the loss terms where the views show these masks (B, M)."""
    drawn = iter(views)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aqabench.baselines.rank_n_contrast.draw_shown", lambda *_: next(drawn))
        return method.loss(given, torch.Generator())


@pytest.mark.parametrize("normalise", [False, True])
def test_both_views_are_scored_and_ranked(normalise):
    of = task(3)
    method, _ = ready(RankNContrast, of, normalise=normalise, rank_weight=0.5, **SMALL)
    given = withhold(batch(of), MASK)
    views = [MASK & torch.tensor([1, 0, 1]).bool(), MASK & torch.tensor([0, 1, 1]).bool()]
    net = method.net.eval()
    score, errors, vectors = given.score, [], []
    for view in views:
        shown = withhold(given, view)
        errors.append((method.predict(shown) - score).square())
        streams = method.encode_rows(shown, view)
        symbols = []
        for c, m in enumerate(of.modalities):
            token = net.constant(of.symbols[m]).expand(*given.valid.shape, -1)
            there = view[:, c, None, None]
            symbols.append(torch.where(there, streams[m], token) if m in streams else token)
        joined = torch.cat(symbols, -1)
        for i in range(B):
            memory = net.fusion(joined[i, given.valid[i]])
            mean = memory.mean(0)
            vectors.append(mean / mean.norm() if normalise else mean)
    with torch.no_grad():
        terms = losses(method, given, views)
        wanted = 0.5 * slow(torch.stack(vectors), score.repeat(2), 2.0)
    assert set(terms) == {"task", "diversity", "rank"}
    torch.testing.assert_close(terms["task"], 10 * torch.cat(errors).mean(), rtol=1e-4, atol=1e-6)
    assert float(terms["rank"]) == pytest.approx(wanted, rel=1e-4)


def test_gradients_are_finite_under_missing_streams():
    of = task(3)
    method, _ = ready(RankNContrast, of, **SMALL)
    method.net.train()
    single = torch.tensor([[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 1, 0]]).bool()
    terms = method.loss(withhold(batch(of), single), torch.Generator())
    sum(terms.values()).backward()
    gradients = [p.grad for p in method.net.parameters() if p.grad is not None]
    assert all(bool(torch.isfinite(g).all()) for g in gradients)
    assert method.net.tokens.grad.any(1).tolist() == [True, True, True]


def test_two_stages_learn_the_vectors_first_and_then_the_head():
    of = task(3)
    method, _ = ready(RankNContrast, of, two_stage=True, **SMALL)
    given, learned = withhold(batch(of), MASK), []
    for stage, names in ((0, {"rank"}), (1, {"task", "diversity"})):
        method.stage = stage
        method.begin(stage)
        method.net.train()
        method.net.zero_grad()
        before = {k: v.clone() for k, v in method.net.state_dict().items()}
        terms = method.loss(given, torch.Generator().manual_seed(0))
        assert set(terms) == names
        sum(terms.values()).backward()
        learned.append({k for k, p in method.net.named_parameters() if p.grad is not None})
        moved = {k for k, v in method.net.state_dict().items() if not torch.equal(v, before[k])}
        assert bool(moved) == (stage == 0)  # running statistics rest in the second
    assert not any(k.startswith("head.") for k in learned[0])
    assert all(k.startswith("head.") for k in learned[1])
    assert learned[0]
    assert learned[1]


def test_size():
    of = task(3)
    wide = dict(zip(of.modalities, (1024, 768, 1024), strict=True))
    net = RankNContrast(of).build(type(of)("fisv", "TES", wide, of.symbols, 6))
    assert sum(p.numel() for p in net.parameters()) == 6_981_764 + 3 * 256
