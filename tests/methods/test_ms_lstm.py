"""MS-LSTM against a second, slow writing of its equations."""

from __future__ import annotations

import pytest
import torch

from aqabench.data.batch import Batch
from aqabench.errors import CheckpointError
from aqabench.method.base import Task
from aqabench.methods._ms_lstm_skip import SkipLSTM
from aqabench.methods.ms_lstm import MSLSTM, MSLSTMNet, load_official
from tests.methods import _reference_ms_lstm as reference


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_names_and_sizes_are_the_published_ones():
    net = MSLSTMNet()
    state, expected = net.state_dict(), reference.random_ms_lstm(0)
    assert {k: v.shape for k, v in state.items()} == {k: v.shape for k, v in expected.items()}
    assert sum(p.numel() for p in net.parameters()) == 3_054_724
    assert state["scale1.lstm.bias_uh"].tolist() == [1.0]


@pytest.mark.parametrize(("width", "steps", "skip"), [(96, 30, 0.0), (64, 21, 1.2), (64, 5, 0.0)])
def test_scores_of_published_weights_equal_the_equations(width, steps, skip):
    weights = reference.random_ms_lstm(1, width, skip)
    net = load_official({f"module.{k}": v.numpy() for k, v in weights.items()})
    video = draw(2, steps, width)
    with torch.no_grad():
        expected, penalty, moves = reference.ms_lstm(weights, video)
        torch.testing.assert_close(net(video), expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(net(video.double().numpy()), expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(net.summarise(video).penalty, penalty, atol=1e-4, rtol=1e-5)
    assert expected.std() > 1e-3
    assert not net.training
    if skip:
        assert 0.2 < sum(moves[0]) / len(moves[0]) < 0.95  # gates that do something


def test_masked_padding_does_not_matter_and_unmasked_padding_does():
    weights = reference.random_ms_lstm(2, 32, 1.2)
    net, lengths = load_official(weights), (17, 6, 1)
    padded = draw(3, 20, 32)
    valid = torch.arange(20) < torch.tensor(lengths)[:, None]
    zeros = torch.where(valid[..., None], padded, 0.0)
    padded[~valid] = float("nan")
    with torch.no_grad():
        own = [reference.ms_lstm(weights, padded[i, :n][None])[0] for i, n in enumerate(lengths)]
        torch.testing.assert_close(net(padded, valid), torch.cat(own), atol=1e-5, rtol=0)
        assert (net(zeros) - torch.cat(own)).abs().max() > 1e-3


@pytest.mark.parametrize("frozen", [False, True])
def test_the_gradients_written_by_hand_are_those_of_the_equations(frozen):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = SkipLSTM(5, 6, frozen, False).double()
    torch.nn.init.constant_(layer.bias_uh, -0.2)
    weights = {f"x.{k}": v.detach().clone().requires_grad_() for k, v in layer.named_parameters()}
    x, lengths, chosen = draw(4, 9, 5).double(), torch.tensor([9, 4, 1, 7]), draw(4, 6, seed=1)
    ours, plain = x.clone().requires_grad_(), x.clone().requires_grad_()

    got = layer(ours, lengths)
    (got * chosen).sum().backward()
    both = [
        reference.skip_lstm(weights, "x", plain[i, :n], not frozen)
        for i, n in enumerate(lengths.tolist())
    ]
    expected = torch.stack([state for state, _ in both])
    (expected * chosen).sum().backward()

    assert any(not move for _, moved in both for move in moved)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(ours.grad, plain.grad, atol=1e-12, rtol=1e-9)
    for name, parameter in layer.named_parameters():
        if frozen and name.endswith("_uh"):
            assert parameter.grad is None
        else:
            torch.testing.assert_close(
                parameter.grad, weights[f"x.{name}"].grad, atol=1e-12, rtol=1e-9
            )


def test_gradients_fade_to_zero_and_not_to_numbers_that_processors_are_slow_with():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = SkipLSTM(4, 8, False, False)
    torch.nn.init.constant_(layer.bias_ih[0], -2.0)  # forgets fast
    x = draw(2, 300, 4).requires_grad_()
    layer(x).sum().backward()
    size = x.grad.abs().amax((0, 2))
    assert size[-1] > 1e-3
    assert size[0] == 0
    assert not ((size > 0) & (size < torch.finfo(torch.float32).tiny)).any()


def test_random_states_are_a_switch():
    weights, video = reference.random_ms_lstm(3, 16), draw(2, 3, 16)
    zeros, released = load_official(weights), load_official(weights, random_states=True)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        assert torch.equal(zeros(video), zeros(video))
        assert (released(video) - released(video)).abs().max() > 1e-4


def test_loss_is_in_judge_points_and_only_the_released_gate_is_frozen():
    task = Task("fisv", "TES", {"video": 6}, {"video": "v"}, 12)
    valid = torch.ones(3, 12, dtype=torch.bool)
    score = torch.tensor([0.2, 0.5, 0.9])
    batch = Batch(
        tuple("abc"), {"video": draw(3, 12, 6)}, valid[:, :1], valid[..., None], valid, score
    )
    for frozen in (False, True):
        method = MSLSTM(task, {"frozen_gate": frozen, "penalty": 0.5})
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            method.net = method.build(task)
        method.net.span.fill_(45.0)
        terms = method.loss(batch, torch.Generator())
        found = method.net.summarise(batch.features["video"])
        points = 45 * (method.net.regress(found.branches) - score)
        torch.testing.assert_close(terms["task"], points.square().mean())
        torch.testing.assert_close(terms["penalty"], 0.5 * found.penalty)
        assert 20 < float(found.penalty.detach()) < 60  # about 50 at the start
        sum(terms.values()).backward()
        gate = method.net.scale1.lstm.weight_uh.grad
        assert (gate is None) if frozen else bool(gate.abs().sum() > 0)


def test_what_does_not_fit_is_refused():
    weights = reference.random_ms_lstm(4, 8)
    with pytest.raises(CheckpointError, match=r"no MS-LSTM weights: 'conv.0.weight'"):
        load_official({k: v for k, v in weights.items() if k != "conv.0.weight"})
    with pytest.raises(CheckpointError, match=r"missing \(cls.bias\)"):
        load_official({k: v for k, v in weights.items() if k != "cls.bias"})
    with pytest.raises(CheckpointError, match=r"1 unexpected \(other\)"):
        load_official(weights | {"other": torch.zeros(2)})
    with pytest.raises(CheckpointError, match=r"'cls.bias' is \(2,\)"):
        load_official(weights | {"cls.bias": torch.zeros(2)})
