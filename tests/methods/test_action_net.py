"""ACTION-NET against a second, slow writing of its equations, and what it does with streams."""

from __future__ import annotations

import pytest
import torch

from aqabench.data.batch import Batch
from aqabench.errors import CheckpointError, UsageError
from aqabench.method.base import Task
from aqabench.methods._action_net_blocks import Head, adjacency
from aqabench.methods.action_net import ActionNet, ActionNetMethod, ContextNet, load_official
from tests.methods import _reference_action_net as reference

NAN = float("nan")


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def task(**widths):
    return Task("rg", "Ball", widths, {m: m[0] for m in widths}, 12)


def test_names_and_sizes_are_the_published_ones():
    net = ActionNet()
    state, expected = net.state_dict(), reference.random_action_net(0)
    assert {k: v.shape for k, v in state.items()} == {k: v.shape for k, v in expected.items()}
    assert sum(p.numel() for p in net.parameters()) == 3_549_863
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == 3_542_787


@pytest.mark.parametrize("steps", [1, 7, 26])
def test_the_graph_equals_its_definition(steps):
    torch.testing.assert_close(adjacency(steps), reference.graph(steps))


@pytest.mark.parametrize(("widths", "steps"), [((1024, 2048), (26, 80)), ((64, 40), (5, 9))])
def test_scores_of_published_weights_equal_the_equations(widths, steps):
    weights = reference.random_action_net(1, widths, steps)
    net = load_official({f"module.{k}": v.numpy() for k, v in weights.items()})
    dynamic, static = draw(2, steps[0], widths[0]), draw(2, steps[1], widths[1], seed=1)
    with torch.no_grad():
        expected = reference.action_net(weights, dynamic, static)
        torch.testing.assert_close(net(dynamic, static), expected, atol=1e-5, rtol=0)
        again = net(dynamic.double().numpy(), static.numpy())
        torch.testing.assert_close(again, expected, atol=1e-5, rtol=0)
    assert expected.std() > 1e-3
    assert not net.training


def test_a_stream_with_gaps_at_the_end_is_a_shorter_one():
    weights = reference.random_action_net(2, (40, 36), (6, 6))
    net = ContextNet({"v": 40, "a": 36}, 0.5).eval()
    ours = {
        k.replace("d_ct", "contexts.v").replace("s_ct", "contexts.a"): v
        for k, v in weights.items()
        if not k.startswith("adj")
    }
    net.load_state_dict(net.state_dict() | ours)
    x = draw(2, 6, 40)
    padded = torch.cat([x, torch.full((2, 3, 40), NAN)], 1)
    valid = torch.arange(9).expand(2, -1) < torch.tensor([[6], [4]])
    with torch.no_grad():
        expected = [
            reference.context(weights, "d_ct", x[i, :n], reference.graph(n))
            for i, n in ((0, 6), (1, 4))
        ]
        torch.testing.assert_close(
            net.pool("v", padded, valid), torch.stack(expected), atol=1e-5, rtol=0
        )
        whole = net.pool("v", x, torch.ones(2, 6, dtype=torch.bool))
        torch.testing.assert_close(whole[0], expected[0], atol=1e-5, rtol=0)

        shown = torch.tensor([[True, False], [True, False]])
        both = [whole[0], net.absent[1]]
        score = net.score({"v": whole, "a": torch.full((2, 512), NAN)}, shown)
        torch.testing.assert_close(score[0], reference.head(weights, both), atol=1e-6, rtol=0)


@pytest.mark.parametrize("number", [1, 2, 3, 5])
def test_any_number_of_streams_trains_the_vectors_of_absent_ones(number):
    names = ("video", "audio", "flow", "text", "pose")[:number]
    widths = {m: 6 + i for i, m in enumerate(names)}
    method = ActionNetMethod(task(**widths), {"modality_dropout": False})
    method.net = method.build(method.task)
    available = torch.eye(number, dtype=torch.bool).repeat(2, 1)
    features = {
        m: torch.where(available[:, i, None, None], draw(2 * number, 5, d), NAN)
        for i, (m, d) in enumerate(widths.items())
    }
    valid = torch.ones(2 * number, 5, dtype=torch.bool)
    observed = valid[..., None] & available[:, None]
    ids = tuple(map(str, range(2 * number)))
    batch = Batch(ids, features, available, observed, valid, draw(2 * number).sigmoid())
    sum(method.loss(batch, torch.Generator()).values()).backward()
    for name, parameter in method.net.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
    assert bool(method.net.absent.grad.abs().sum(1).gt(0).all()) == (number > 1)


def test_the_head_learns_five_times_as_fast():
    contexts, target = draw(8, 512), draw(8, seed=1).sigmoid()
    scores = []
    for rate, lr in ((5.0, 0.01), (1.0, 0.05)):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            head = Head(1, 0.0, rate)
        optimiser = torch.optim.SGD(head.parameters(), lr=lr, momentum=0.9)
        for _ in range(5):
            optimiser.zero_grad()
            (head(contexts) - target).square().mean().backward()
            optimiser.step()
        scores.append(head(contexts).detach())
    torch.testing.assert_close(*scores)
    assert (scores[0] - 0.5).abs().max() > 1e-2


def test_settings_name_the_streams():
    three = task(video=5, audio=6, flow=7)
    assert ActionNetMethod(three).streams == ["video", "audio", "flow"]
    chosen = ActionNetMethod(three, {"dynamic": "flow", "static": "video"})
    assert chosen.streams == ["flow", "video"]
    assert list(chosen.build(three).contexts) == ["f", "v"]
    chosen.net = chosen.build(three)
    only_audio = torch.tensor([[False, True, False]])
    said = chosen.score({"audio": torch.zeros(1, 1)}, only_audio, torch.ones(1, 4).bool())
    torch.testing.assert_close(said, torch.tensor([0.5]))
    for wrong in ({"dynamic": "text"}, {"static": "text"}, {"static": "video"}):
        with pytest.raises(UsageError, match="which has video, audio, flow"):
            ActionNetMethod(three, wrong).build(three)
    with pytest.raises(UsageError, match="head_rate"):
        ActionNetMethod(three, {"head_rate": 0.0}).build(three)


def test_what_does_not_fit_is_refused():
    weights = reference.random_action_net(3, (8, 6), (4, 5))
    for name in ("adj2", "d_ct.embedding.0.weight"):
        with pytest.raises(CheckpointError, match=f"no ACTION-NET weights: '{name}'"):
            load_official({k: v for k, v in weights.items() if k != name})
    with pytest.raises(CheckpointError, match=r"missing \(fc.3.bias\)"):
        load_official({k: v for k, v in weights.items() if k != "fc.3.bias"})
    with pytest.raises(CheckpointError, match=r"1 unexpected \(other\)"):
        load_official(weights | {"other": torch.zeros(2)})
    with pytest.raises(CheckpointError, match=r"'adj1' is \(4, 3\)"):
        load_official(weights | {"adj1": torch.zeros(4, 3)})
    net = load_official(weights)
    with pytest.raises(UsageError, match=r"static stream .* 5 steps.*Got \(2, 6, 6\)"):
        net(draw(2, 4, 8), draw(2, 6, 6))
