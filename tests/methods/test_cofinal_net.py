"""The CoFInAl network against a second, slow writing of its equations."""

from __future__ import annotations

import pytest
import torch

from aqabench.errors import CheckpointError, UsageError
from aqabench.method.base import Task
from aqabench.methods._cofinal_net import fine_labels, simplex
from aqabench.methods.cofinal import CoFInAl, CoFInAlNet, load_official
from tests.methods import _reference_cofinal as reference


def clips(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_names_and_sizes_are_the_published_ones():
    net = CoFInAlNet()
    state, expected = net.state_dict(), reference.random_cofinal(0)
    assert sum(p.numel() for p in net.parameters()) == 3_715_692
    assert {k: v.shape for k, v in state.items()} == {k: v.shape for k, v in expected.items()}


def test_the_frame_is_a_simplex():
    frame = simplex().double()
    gram = frame.T @ frame
    expected = torch.full((100, 100), -1 / 99, dtype=torch.float64).fill_diagonal_(1.0)
    torch.testing.assert_close(gram, expected, atol=1e-6, rtol=0)
    assert torch.equal(simplex(), simplex())


@pytest.mark.parametrize("values", [0, 1, 2, 3])
def test_scores_of_published_weights_equal_the_equations(values):
    weights = reference.random_cofinal(1)
    net = load_official({f"module.{k}": v.numpy() for k, v in weights.items()}, values)
    video = clips(3, 7, 1024)
    with torch.no_grad():
        expected, _, (_, _, fine) = reference.cofinal(weights, video, values)
        torch.testing.assert_close(net(video), expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(net.read(net.decode(video)).fine, fine, atol=1e-5, rtol=0)
    assert expected.std() > 1e-3
    assert not net.training


def test_repaired_scores_equal_the_equations_and_do_not_depend_on_company():
    weights = reference.random_cofinal(2, 768)
    net = load_official(weights, mix_samples=False, argmax_over_batch=False)
    video = clips(4, 6, 768)
    with torch.no_grad():
        expected, *_ = reference.cofinal(weights, video, mixed=False, whole_batch=False)
        torch.testing.assert_close(net(video), expected, atol=1e-5, rtol=0)
        alone = torch.cat([net(x[None]) for x in video])
        torch.testing.assert_close(net(video), alone, atol=1e-6, rtol=0)


def test_each_released_error_is_a_switch():
    weights, video = reference.random_cofinal(3), clips(5, 6, 1024)
    with torch.no_grad():
        mixed = load_official(weights, argmax_over_batch=False)
        together, alone = mixed.read(mixed.decode(video)), mixed.read(mixed.decode(video[:1]))
        assert (together.fine[:1] - alone.fine).abs().max() > 1e-3
        torch.testing.assert_close(together.coarse[:1], alone.coarse)

        flat = load_official(weights, mix_samples=False)
        repaired = load_official(weights, mix_samples=False, argmax_over_batch=False)
        added = flat(video) - flat.read(flat.decode(video)).coarse / 2
        own = repaired(video) - repaired.read(repaired.decode(video)).coarse / 2
        assert (added - own).max() > 0.01  # places beyond 100 cannot be classes
        torch.testing.assert_close(flat(video[:1]), repaired(video[:1]))


def test_labels_that_float32_cuts_off_are_rounded():
    score = torch.tensor([0.236, 0.59, 0.0, 1.0])
    coarse, label = fine_labels(score, truncate=False)
    torch.testing.assert_close(coarse, torch.tensor([0.23, 0.59, 0.0, 1.0]))
    assert label.tolist() == [60, 0, 0, 0]
    every = torch.arange(501) / 500  # multiples of 0.05 points of 25
    off = fine_labels(every, truncate=True)[1] != fine_labels(every, truncate=False)[1]
    assert 1 <= int(off.sum()) <= 100


@pytest.mark.parametrize("own_labels", [False, True])
def test_a_training_step_has_the_loss_and_gradients_of_the_equations(own_labels):
    weights = {
        k: v.double() if v.is_floating_point() else v
        for k, v in reference.random_cofinal(4).items()
    }
    net = load_official(weights).train()
    names = dict(net.named_parameters())
    plain = {k: v.clone().requires_grad_(k in names) for k, v in weights.items()}
    video, score = clips(3, 5, 1024).double(), torch.tensor([0.1234, 0.4, 0.871]).double()

    _, z, answers = reference.cofinal(plain, video, training=True)
    total = reference.loss(plain, answers, z, score, 0.5, own_labels)
    total.backward()
    got = sum(net.loss_terms(video, score, None, 0.5, own_labels).values())
    got.backward()

    torch.testing.assert_close(got, total, atol=1e-7, rtol=1e-7)  # values are float32
    for name, parameter in names.items():
        torch.testing.assert_close(parameter.grad, plain[name].grad, atol=1e-6, rtol=1e-5, msg=name)


def test_masked_padding_does_not_matter():
    net, video = load_official(reference.random_cofinal(5)), clips(2, 5, 1024)
    padded = torch.cat([video, torch.full((2, 4, 1024), float("nan"))], 1)
    valid = torch.arange(9).expand(2, -1) < 5
    with torch.no_grad():
        torch.testing.assert_close(net(padded, valid), net(video), atol=1e-6, rtol=0)


def test_what_does_not_fit_is_refused():
    weights = reference.random_cofinal(6)
    with pytest.raises(CheckpointError, match=r"no CoFInAl weights: 'etf_vec1'"):
        load_official({k: v for k, v in weights.items() if k != "etf_vec1"})
    with pytest.raises(CheckpointError, match=r"missing \(regi.0.out_proj.bias\)"):
        load_official({k: v for k, v in weights.items() if k != "regi.0.out_proj.bias"})
    with pytest.raises(CheckpointError, match=r"1 unexpected \(other\)"):
        load_official(weights | {"other": torch.zeros(2)})
    with pytest.raises(CheckpointError, match=r"'regressor.bias' is \(5,\)"):
        load_official(weights | {"regressor.bias": torch.zeros(5)})
    with pytest.raises(UsageError, match="sets 0 to 3"):
        load_official(weights, values=4)
    task = Task("rg", "Ball", {"video": 8}, {"video": "v"}, 12)
    with pytest.raises(UsageError, match="sets 0 to 3"):
        CoFInAl(task, {"values": -1}).build(task)
    with pytest.raises(UsageError, match="multiple of its heads"):
        CoFInAl(task, {"heads": 3}).build(task)


def test_the_published_width_of_fisv_builds():
    task = Task("fisv", "TES", {"video": 64}, {"video": "v"}, 12)
    net = CoFInAl(task).build(task).eval()
    assert net.prototype.weight.shape == (4, 448)
    assert load_official({k: v for k, v in net.state_dict().items() if k != "fallback"}, heads=7)
    with torch.no_grad():
        assert net(clips(2, 5, 64)).shape == (2,)
