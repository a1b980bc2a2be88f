"""The GDLT network against a second, slow writing of its equations."""

from __future__ import annotations

import pytest
import torch

from aqabench.errors import CheckpointError
from aqabench.methods.gdlt import GDLTNet, load_official
from tests.methods import _reference_gdlt as reference

SIZES = [(1, 51, 2_241_284), (2, 69, 3_163_396), (3, 87, 4_085_508)]


@pytest.mark.parametrize(("layers", "tensors", "parameters"), SIZES)
def test_names_and_sizes_are_the_published_ones(layers, tensors, parameters):
    net = GDLTNet(decoder_layers=layers)
    state = net.state_dict()
    assert sum(p.numel() for p in net.parameters()) == parameters
    assert len(state) == tensors
    expected = reference.random_gdlt(0, decoder_layers=layers)
    assert {k: v.shape for k, v in state.items()} == {k: v.shape for k, v in expected.items()}


@pytest.mark.parametrize(("width", "layers"), [(1024, 2), (768, 3)])
def test_scores_equal_the_equations(width, layers):
    weights = reference.random_gdlt(1, width, layers)
    net = load_official({k: v.numpy() for k, v in weights.items()})
    video = torch.randn(4, 7, width, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, _ = reference.gdlt(weights, video, layers)
        torch.testing.assert_close(net(video), expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(net(video.double().numpy()), expected, atol=1e-5, rtol=0)
    assert expected.std() > 1e-3
    assert not net.training


def test_a_training_step_has_the_published_loss_and_gradients():
    weights = {
        k: v.double() if v.is_floating_point() else v for k, v in reference.random_gdlt(2).items()
    }
    net = load_official(weights).train()
    names = dict(net.named_parameters())
    plain = {k: v.clone().requires_grad_(k in names) for k, v in weights.items()}
    generator = torch.Generator().manual_seed(0)
    video = torch.randn(3, 5, 1024, generator=generator).double()
    score = torch.tensor([0.1, 0.4, 0.8], dtype=torch.float64)

    expected, queries = reference.gdlt(plain, video, training=True)
    total = ((expected - score) ** 2).mean() + 0.5 * reference.triplet(queries)
    total.backward()
    got = sum(net.loss_terms(video, score, alpha=0.5).values())
    got.backward()

    torch.testing.assert_close(got, total, atol=1e-10, rtol=1e-10)
    for name, parameter in names.items():
        torch.testing.assert_close(parameter.grad, plain[name].grad, atol=1e-9, rtol=1e-7, msg=name)
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, plain[name].detach(), atol=1e-9, rtol=1e-9)


def test_masked_padding_does_not_matter_and_unmasked_padding_does():
    net = load_official(reference.random_gdlt(3))
    video = torch.randn(2, 5, 1024, generator=torch.Generator().manual_seed(1))
    valid = torch.arange(9).expand(2, -1) < 5
    with torch.no_grad():
        short = net(video)
        nan = torch.cat([video, torch.full((2, 4, 1024), float("nan"))], 1)
        torch.testing.assert_close(net(nan, valid), short, atol=1e-6, rtol=0)
        zeros = torch.cat([video, torch.zeros(2, 4, 1024)], 1)
        assert (net(zeros) - short).abs().max() > 1e-4


def test_weights_that_do_not_fit_are_refused():
    weights = reference.random_gdlt(4)
    with pytest.raises(CheckpointError, match=r"no GDLT weights: 'prototype.weight'"):
        load_official({k: v for k, v in weights.items() if k != "prototype.weight"})
    with pytest.raises(CheckpointError, match=r"missing \(regressor.bias\)"):
        load_official({k: v for k, v in weights.items() if k != "regressor.bias"})
    with pytest.raises(CheckpointError, match=r"1 unexpected \(other\)"):
        load_official(weights | {"other": torch.zeros(2)})
