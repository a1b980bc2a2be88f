"""MCMoE on streams it was not published with, against the same slow writing of its equations."""

from __future__ import annotations

import itertools

import pytest
import torch

from aqabench.methods.mcmoe import PUBLISHED_MASKS, CompletionNet, MCMoENet, Switches
from aqabench.nn.masks import draw_shown, subsets
from tests.methods import _reference_mcmoe as reference

# 'pop' and 'cpu' are names of methods of a module, and symbols like any other
WIDTHS = {"s": 26, "pop": 10, "cpu": 8, "t": 40}
B, T = 3, 5


def features(seed, widths, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return {m: torch.randn(B, T, d, generator=generator).to(dtype) for m, d in widths.items()}


def some(count):
    """The first streams of ``WIDTHS``."""
    return dict(itertools.islice(WIDTHS.items(), count))


@pytest.fixture(params=[2, 4])
def published(request, monkeypatch):
    """Widths, random weights in float64 and the published form filled with them."""
    widths = some(request.param)
    monkeypatch.setattr(reference, "NAMES", tuple(widths))
    net = CompletionNet(widths, dropout=0.0, switches=Switches.published()).double()
    weights = reference.fill({k: v.shape for k, v in net.state_dict().items()}, 3)
    weights |= {"pos_encoder.pe": reference.sinusoid()}
    weights = {k: v.double() if v.is_floating_point() else v for k, v in weights.items()}
    net.load_state_dict(weights)
    return widths, weights, net.eval()


def test_every_subset_scores_as_the_equations_say(published):
    widths, weights, net = published
    x = features(1, widths, torch.float64)
    table = torch.tensor(subsets(len(widths)), dtype=torch.bool)
    with torch.no_grad():
        encoded = {m: net.encode(m, x[m]) for m in widths}
        at_once = net.score_subsets(encoded, table)
        for mask, shared in zip(table, at_once, strict=True):
            hidden = {
                m: s if there else torch.full_like(s, float("nan"))
                for (m, s), there in zip(x.items(), mask, strict=True)
            }
            expected = reference.predict(weights, x, mask.tolist(), places=range(B))
            torch.testing.assert_close(net.score_features(hidden, mask), expected)
            torch.testing.assert_close(shared, expected)


def test_a_training_step_has_the_loss_and_gradient_of_the_equations(published):
    widths, weights, net = published
    x, score = features(2, widths, torch.float64), torch.tensor([0.2, 0.5, 0.9]).double()
    names = dict(net.train().named_parameters())
    plain = {k: v.clone().requires_grad_(k in names) for k, v in weights.items()}
    mask = [1] + [0] * (len(widths) - 1)
    expected = reference.train(plain, x, score, mask)
    expected.pop("total").backward()
    every = torch.ones(B, len(widths), dtype=torch.bool)
    got = net.loss_terms(x, every, every & torch.tensor(mask).bool(), None, score)
    sum(got.values()).backward()
    for term, value in expected.items():
        torch.testing.assert_close(got[term], value, atol=1e-10, rtol=1e-9)
    for name, parameter in names.items():
        theirs = plain[name].grad
        if theirs is not None:
            torch.testing.assert_close(parameter.grad, theirs, atol=1e-9, rtol=1e-7, msg=name)


def test_more_subsets_than_are_held_at_once_score_as_each_alone():
    torch.manual_seed(0)
    widths = dict.fromkeys("abcde", 6)
    net = CompletionNet(widths).eval()
    x, table = features(3, widths), torch.tensor(subsets(5), dtype=torch.bool)
    with torch.no_grad():
        together = net.score_subsets({m: net.encode(m, x[m]) for m in widths}, table)
        alone = torch.stack([net.score_features(x, mask) for mask in table])
    assert together.shape == (31, B)
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)


def test_three_streams_by_any_name_are_the_published_network():
    ours = CompletionNet({"v": 1024, "a": 768, "f": 1024}, switches=Switches.published())
    theirs = MCMoENet(switches=Switches.published())
    assert list(ours.state_dict()) == list(theirs.state_dict())
    other = CompletionNet({"x": 1024, "y": 768, "z": 1024}, switches=Switches.published())
    assert sum(p.numel() for p in other.parameters()) == 9_384_711


@pytest.mark.parametrize("count", [2, 3, 8])
def test_each_stream_adds_its_own_parts_and_a_route(count):
    widths = dict.fromkeys("abcdefgh"[:count], 1024)
    total = sum(p.numel() for p in CompletionNet(widths).parameters())
    projection, generator, expert = 657_664, 1_972_992 // 3 + 256, 396_672 // 3
    route, fusion = 129, 256 * 512
    shared = 1_975_808 + 2_766_848 + 1024 + 1028 + (526_592 - 3 * fusion) + (33_283 - 3 * route)
    assert total == shared + count * (projection + generator + expert + route + fusion)


def test_published_masks_are_the_incomplete_subsets_of_three():
    assert (*PUBLISHED_MASKS, (1, 1, 1)) == subsets(3)
    assert subsets(2) == ((1, 0), (0, 1), (1, 1))
    assert len(set(subsets(8))) == 255


def test_masks_of_four_streams_are_drawn_evenly_from_what_each_sample_has():
    generator = torch.Generator().manual_seed(0)
    available = torch.tensor([[1, 1, 0, 1], [1, 1, 1, 1]], dtype=torch.bool).repeat(7500, 1)
    shown = draw_shown(available, generator)
    assert not (shown & ~available).any()
    code = (shown * torch.tensor([8, 4, 2, 1])).sum(1)
    for start, expected in ((0, 7500 / 7), (1, 7500 / 15)):
        counts = torch.bincount(code[start::2], minlength=16)
        drawn = counts[counts > 0]
        assert len(drawn) == round(7500 / expected)
        assert (drawn - expected).abs().max() < 5 * expected**0.5
    net = CompletionNet(some(4), switches=Switches(complete_never_shown=True))
    assert not net.draw_shown(available[1::2], generator).all(1).any()
