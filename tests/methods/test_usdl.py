"""USDL's heads against a second, slow writing of their equations."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from aqabench.data.batch import withhold
from aqabench.errors import CheckpointError
from aqabench.methods.usdl import USDL, DistributionHead, distribution_loss, load_official
from tests.baselines.test_fusion import batch, ready, task
from tests.methods import _reference_usdl as reference

X = np.random.default_rng(0).normal(size=(4, 1024))


def test_the_head_has_the_published_names_and_size():
    head = DistributionHead()
    assert sum(p.numel() for p in head.parameters()) == 308_325
    expected = {k: v.shape for k, v in reference.random_head(0).items()}
    assert {k: tuple(v.shape) for k, v in head.state_dict().items()} == expected


@pytest.mark.parametrize("prefix", ["", "module.", "evaluator.", "evaluator.module."])
def test_official_weights_give_the_published_distribution(prefix):
    weights = reference.random_head(1)
    head = load_official({prefix + k: v for k, v in weights.items()})
    with torch.no_grad():
        got = head(X)
        points = head.points(X)
    wanted = np.stack([reference.distribution(weights, x) for x in X])
    np.testing.assert_allclose(got, wanted, atol=1e-6)
    np.testing.assert_allclose(points, wanted.argmax(1) * 104.5 / 100, rtol=1e-6)
    assert not head.training


def test_seven_judges_give_seven_distributions_and_the_middle_three_count():
    weights = {}
    for judge in range(7):
        weights |= reference.random_head(judge, bins=21, prefix=f"{judge}.")
    heads = load_official({f"evaluator.{k}": v for k, v in weights.items()})
    difficulty = torch.tensor([1.0, 2.5, 3.0, 3.2])
    with torch.no_grad():
        got = heads(X)
        points = heads.points(X, difficulty)
    wanted = np.array([[reference.distribution(weights, x, f"{j}.") for j in range(7)] for x in X])
    np.testing.assert_allclose(torch.stack(got, 1), wanted, atol=1e-6)
    for i, judges in enumerate(wanted):
        middle = sorted(p.argmax() / 2 for p in judges)[2:5]
        assert float(points[i]) == pytest.approx(sum(middle) * float(difficulty[i]))


def test_weights_that_do_not_fit_are_refused():
    weights = reference.random_head(2)
    with pytest.raises(CheckpointError, match=r"'layer2.weight' is missing.*checkpoint\['evalua"):
        load_official({k: v for k, v in weights.items() if k != "layer2.weight"})
    with pytest.raises(CheckpointError, match=r"missing \(layer3.bias\)"):
        load_official({k: v for k, v in weights.items() if k != "layer3.bias"})
    one = reference.random_head(2, bins=21)
    with pytest.raises(CheckpointError, match=r"'1.layer1.weight' is missing"):
        load_official({f"{j}.{k}": v for j in (0, 2) for k, v in one.items()})


def test_the_loss_is_the_divergence_from_the_gaussian():
    logits = 4 * torch.randn(5, 101, generator=torch.Generator().manual_seed(0))
    score = torch.tensor([0.0, 0.013, 0.5, 0.777, 1.0])
    said = torch.softmax(logits.double(), -1).numpy()
    each = [
        reference.divergence(reference.target(float(y), 101, 0.05), p)
        for y, p in zip(score, said, strict=True)
    ]
    assert float(distribution_loss(logits, score, 0.05)) == pytest.approx(np.mean(each), rel=1e-5)
    averaged = float(distribution_loss(logits, score, 0.05, mean_over_bins=True))
    assert averaged == pytest.approx(np.mean(each) / 101, rel=1e-5)
    # a bin whose probability underflows costs much, and not infinitely much
    assert bool(torch.isfinite(distribution_loss(1e4 * logits, score, 0.05)))


def test_the_score_is_the_mean_of_the_distribution_or_its_likeliest_bin():
    of = task(3)
    method, weights = ready(USDL, of, layers=1)
    mask = torch.tensor([[1, 0, 1], [0, 1, 0], [1, 1, 1], [0, 0, 1]]).bool()
    given = withhold(batch(of), mask)
    head = {k.removeprefix("head."): v.numpy() for k, v in weights.items() if k[:5] == "head."}
    method.net.eval()
    with torch.no_grad():
        encoded = method.by_symbol(method.encode_rows(given, mask))
        vectors = method.net.pool(encoded, mask, given.valid)
    said = np.stack([reference.distribution(head, x) for x in vectors])
    np.testing.assert_allclose(method.predict(given), said @ np.linspace(0, 1, 101), atol=1e-5)
    method.settings["argmax"] = True
    np.testing.assert_allclose(method.predict(given), said.argmax(1) / 100, atol=1e-6)
    # what a training step does with samples that show everything they have is the same function
    method.settings["modality_dropout"] = False
    with torch.no_grad():
        loss = method.loss(given, torch.Generator())["task"]
    each = [
        reference.divergence(reference.target(float(y), 101, 0.05), p)
        for y, p in zip(given.score, said, strict=True)
    ]
    assert float(loss) == pytest.approx(np.mean(each), rel=1e-4)


def test_a_token_is_learned_from_the_samples_that_lack_its_stream():
    of = task(3)
    method, _ = ready(USDL, of, layers=1, dropout=0.0, modality_dropout=False)
    method.net.train()
    shown = withhold(batch(of), torch.tensor([[1, 1, 0], [1, 0, 1], [1, 1, 0], [1, 0, 1]]).bool())
    sum(method.loss(shown, torch.Generator()).values()).backward()
    gradient = method.net.tokens.grad
    assert [bool(row.any()) for row in gradient] == [False, True, True]
    assert all(bool(torch.isfinite(p.grad).all()) for p in method.net.parameters())


def test_the_head_starts_at_the_distribution_of_training_scores():
    train = SimpleNamespace(score=torch.tensor([0.2, 0.3, 0.3, 0.6]))
    starts = []
    for at_prior in (True, False):
        method, weights = ready(USDL, task(), layers=1, start_at_prior=at_prior)
        method.prepare(train)
        starts.append(torch.equal(method.net.head.layer3.bias, weights["head.layer3.bias"]))
        if at_prior:
            said = torch.softmax(method.net.head.layer3.bias.detach(), -1)
    assert starts == [False, True]
    wanted = np.mean([reference.target(y, 101, 0.05) for y in train.score.tolist()], 0)
    wanted = np.maximum(wanted, 0.1 / 101)
    np.testing.assert_allclose(said, wanted / wanted.sum(), atol=1e-6)
