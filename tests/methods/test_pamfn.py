"""PAMFN against a second, slow writing of its equations."""

from __future__ import annotations

import pytest
import torch

from aqabench.errors import CheckpointError
from aqabench.methods.pamfn import PAMFNNet, PublishedPAMFN, Sizes, load_official
from tests.methods import _reference_pamfn as reference
from tests.methods._reference_gdlt import fill

D = {"r": 6, "f": 5, "a": 4}
K = 3
PUBLISHED = [
    (Sizes(networks=10), 22_715_261, 17_319_802),
    (Sizes(networks=6), 17_959_757, 12_564_298),
    (Sizes(networks=6, head_reduction=1, heads_specific=4), 18_058_573, 12_663_114),
    (Sizes(networks=8, head_reduction=1, heads_cross=4), 20_436_325, 15_040_866),
]


@pytest.fixture(scope="module")
def weights():
    """Official names; random values of a scale at which inputs and policy move the score."""
    weights = fill(reference.shapes(D, K, 2), 1) | {"tau": torch.tensor(2.0)}
    for key, value in weights.items():
        if value.dim() > 1:
            value *= 5.0 if key.startswith("fc.5") else 3.0 if "policy" in key else 0.6
        elif key.endswith("running_var"):
            value += 0.8
    weights["fc.5.bias"].fill_(3.0)
    return weights


@pytest.fixture(scope="module")
def official(weights):
    return load_official(weights)


def streams(steps, samples=2, widths=D):
    generator = torch.Generator().manual_seed(steps)
    return [torch.randn(samples, steps, d, generator=generator) for d in widths.values()]


@pytest.mark.parametrize(("sizes", "whole", "mixed"), PUBLISHED)
def test_sizes_are_the_published_ones(sizes, whole, mixed):
    with torch.device("meta"):
        net = PublishedPAMFN({"r": 1024, "f": 1024, "a": 768}, sizes)
    assert sum(p.numel() for p in net.parameters()) == whole
    branches = {m: sum(p.numel() for p in net.branch(m).parameters()) for m in D}
    assert branches == {"r": 1_842_177, "f": 1_842_177, "a": 1_711_105}
    assert whole - sum(branches.values()) == mixed


def test_names_are_the_published_ones():
    with torch.device("meta"):
        net = PublishedPAMFN(D, Sizes(networks=K))
    assert {k: tuple(v.shape) for k, v in net.state_dict().items()} == reference.shapes(D, K, 2)


@pytest.mark.parametrize(("steps", "heads"), [(9, (1, 1)), (15, (2, 4))])
def test_scores_equal_the_equations(weights, steps, heads):
    net = load_official({f"module.{k}": v.numpy() for k, v in weights.items()}, *heads)
    x = streams(steps)
    with torch.no_grad():
        expected = torch.stack(
            [reference.pamfn(weights, own, heads) for own in zip(*x, strict=True)]
        )
        torch.testing.assert_close(net(*x), expected, atol=1e-5, rtol=0)
        crops = [torch.stack([s - 1, s + 1], 2) for s in x]  # whose mean is read
        torch.testing.assert_close(net(*crops), expected, atol=1e-5, rtol=0)
    assert expected.std() > 1e-3
    assert not net.training


def test_missing_streams_and_padding_are_nowhere_read(weights):
    """Any symbols; a sample among longer ones scores as it does alone, and by what it has."""
    names = {"r": "pop", "f": "v", "a": "cpu"}
    net = PAMFNNet({names[m]: d for m, d in D.items()}, Sizes(networks=K)).eval()
    renamed = {
        k.replace(f"model_{m}.", f"model_{n}."): v
        for m, n in names.items()
        for k, v in weights.items()
        if k.startswith(f"model_{m}.") or not k.startswith("model_")
    }
    net.load_state_dict(renamed)
    lengths = torch.tensor([14, 9, 10])
    rows = torch.tensor([[True, True, True], [False, True, True], [False, False, True]])
    keep = torch.arange(14) < lengths[:, None]
    x = streams(14, samples=3)
    with torch.no_grad():
        encoded = {}
        for i, (name, features) in enumerate(zip(names.values(), x, strict=True)):
            spoilt = torch.where(keep[..., None], features, torch.nan)
            pyramid = net.encode(name, spoilt, keep)
            encoded[name] = torch.where(rows[:, i, None, None], pyramid, torch.nan)
        scores = net.score(encoded, rows, 14, keep)
        own = net.grade_alone("v", encoded["v"])
        for i, length in enumerate(lengths):
            has = [s[i, :length] if there else None for s, there in zip(x, rows[i], strict=True)]
            expected = reference.pamfn(weights, has)
            torch.testing.assert_close(scores[i], expected, atol=1e-5, rtol=0)
        expected = reference.alone(weights, "model_f", x[1][0])
        torch.testing.assert_close(own[0], expected, atol=1e-5, rtol=0)
        del encoded["pop"]
        without = net.score(encoded, rows & torch.tensor([False, True, True]), 14, keep)
        torch.testing.assert_close(without[1:], scores[1:])


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_the_shortest_videos_have_a_score(official, steps):
    x = streams(steps)
    with torch.no_grad():
        score = official(*x)
        encoded = {m: official.encode(m, *_padded(s, steps + 3)) for m, s in zip(D, x, strict=True)}
        keep = _padded(x[0], steps + 3)[1]
        rows = torch.ones(2, 3, dtype=torch.bool)
        torch.testing.assert_close(official.score(encoded, rows, steps + 3, keep), score)
    assert torch.isfinite(score).all()


def _padded(x, steps):
    keep = torch.arange(steps).expand(len(x), -1) < x.shape[1]
    return torch.nn.functional.pad(x, (0, 0, 0, steps - x.shape[1])), keep


def test_a_noisy_policy_scores_differently_from_pass_to_pass_and_by_seed(weights, official):
    x = streams(12)
    noisy = load_official(weights | {"tau": torch.tensor(10.0)}, deterministic_policy=False)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        first, second = noisy(*x), noisy(*x)
        torch.manual_seed(0)
        assert torch.equal(noisy(*x), first)
        assert not torch.equal(first, second)
        assert torch.equal(official(*x), official(*x))


def test_a_temperature_below_zero_chooses_the_least_liked_unless_it_is_held(weights, official):
    x = streams(12)
    below = weights | {"tau": torch.tensor(-2.0)}
    with torch.no_grad():
        published = load_official(below)(*x)
        held = PublishedPAMFN(D, Sizes(networks=K)).eval()
        held.load_state_dict(below)
        assert (published - official(*x)).abs().max() > 1e-4
        torch.testing.assert_close(held(*x), official(*x))


def test_the_policy_learns_through_the_choice(official):
    official.zero_grad()
    official(*streams(12)).sum().backward()
    assert official.tau.grad.abs() > 0
    assert official.stage1.f_fusion.policy[0].weight.grad.abs().max() > 0
    assert official.c.grad is None


def test_idle_norms_may_be_elsewhere_or_nowhere(weights, official):
    x = streams(5)
    bare = {k: v for k, v in weights.items() if ".norm." not in k}
    moved = {k.replace("fusion_s.norm", "norm").replace("fusion_f.norm", "norm"): v
             for k, v in weights.items()}  # fmt: skip
    with torch.no_grad():
        expected = official(*x)
        assert torch.equal(load_official(bare)(*x), expected)
        assert torch.equal(load_official(moved)(*x), expected)


def test_weights_that_do_not_fit_are_refused(weights):
    lost = "stage1.f_fusion.policy.0.weight"
    with pytest.raises(CheckpointError, match=f"no PAMFN weights: '{lost}'"):
        load_official({k: v for k, v in weights.items() if k != lost})
    with pytest.raises(CheckpointError, match=r"missing \(tau\)"):
        load_official({k: v for k, v in weights.items() if k != "tau"})
    with pytest.raises(CheckpointError, match=r"1 unexpected \(other\)"):
        load_official(weights | {"other": torch.zeros(2)})
    with pytest.raises(CheckpointError, match="'c' is"):
        load_official(weights | {"c": torch.zeros(3)})
