"""LMAC-Net against a second, slow writing of its equations, and what it may and may not touch."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from aqabench.data.batch import Batch, Split
from aqabench.errors import UsageError
from aqabench.method.base import Task
from aqabench.methods._lmac_losses import LossWeights, Places, attention_terms, places
from aqabench.methods.lmac_net import Choices, LMACNet, LMACNetMethod
from aqabench.nn.masks import subsets
from tests.helpers import small_data, small_spec
from tests.methods import _reference_lmac as reference

PUBLISHED = {"v": 1024, "a": 768, "f": 1024}
STREAMS = {"v": 12, "pop": 7, "cpu": 5, "t": 9, "x": 4}
SMALL = Choices(width=16, queries=4, heads=4, dropout=0.0)
B, T = 5, 6
WEIGHTS = LossWeights(
    lambda1=0.7, lambda2=1.3, rank=0.9, sparse=0.4, consistency=2.0, margin=0.1
)  # fmt: skip


def network(count, choices, dtype=torch.float64, seed=0):
    """Return a network whose every parameter matters, and its weights as a plain dict."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = LMACNet(dict(itertools.islice(STREAMS.items(), count)), choices).to(dtype)
        with torch.no_grad():
            for name, parameter in net.named_parameters():
                if not name.endswith("temperature"):
                    # large enough to tell a forgotten term, small enough for soft attention
                    parameter.add_(0.2 * torch.randn(parameter.shape, dtype=dtype))
    return net, {k: v.detach().clone() for k, v in net.state_dict().items()}


def inputs(count, seed=0, dtype=torch.float64, padding=float("nan")):
    """Features with padding and hidden streams, what is shown and valid, and scores."""
    generator = torch.Generator().manual_seed(seed)
    shown = torch.rand(B, count, generator=generator) < 0.6
    shown[:, 0] |= ~shown.any(1)
    shown[0] = True
    valid = torch.ones(B, T, dtype=torch.bool)
    valid[0, 4:] = valid[3, 3:] = False
    features = {}
    for i, (m, d) in enumerate(itertools.islice(STREAMS.items(), count)):
        x = torch.randn(B, T, d, generator=generator, dtype=torch.float64).to(dtype)
        x[~valid], x[~shown[:, i]] = padding, padding
        features[m] = x
    return features, shown, valid, torch.rand(B, generator=generator, dtype=torch.float64).to(dtype)


FORMS = {
    "as specified": (3, SMALL, WEIGHTS),
    "two streams": (2, SMALL, WEIGHTS),
    "five streams, zeros": (5, replace(SMALL, absent="zeros"), WEIGHTS),
    "tables per layer, first self-attention": (
        3,
        replace(SMALL, query_table_per_layer=True, self_attention_in_first_only=True, layers=3),
        replace(WEIGHTS, positions="valid"),
    ),
    "head per stage, by tau alone": (
        3,
        replace(SMALL, head_per_stage=True, scale_by_width=False),
        replace(WEIGHTS, positions="clips", margin=0.8, consistency_layers="all"),
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_scores_losses_and_gradients_are_those_of_the_equations(form):
    count, choices, weights = FORMS[form]
    net, plain = network(count, choices)
    features, shown, valid, target = inputs(count)
    names = dict(net.named_parameters())
    plain = {k: v.requires_grad_(k in names) for k, v in plain.items()}
    scale = None if choices.scale_by_width else 1
    scores, looks = reference.lmac(
        plain, features, shown, valid, choices.heads, choices.absent, scale
    )
    expected = reference.losses(
        scores, looks, target, valid, weights.margin, weights.positions, weights.consistency_layers
    )
    factor = {
        "task": weights.lambda1,
        "rank": weights.lambda2 * weights.rank,
        "sparse": weights.lambda2 * weights.sparse,
        "consistency": weights.lambda2 * weights.consistency,
    }
    got = net.loss_terms(features, shown, valid, target, weights)
    for term, value in expected.items():
        assert value > 1e-4, term
        torch.testing.assert_close(got[term], factor[term] * value, atol=1e-5, rtol=1e-5, msg=term)

    sum(factor[term] * value for term, value in expected.items()).backward()
    sum(got.values()).backward()
    for name, parameter in names.items():
        slow = plain[name].grad
        if name.endswith("key.bias"):  # softmax does not see it
            assert parameter.grad is None
            assert slow.abs().max() < 1e-12
        elif parameter.grad is None:  # no stream is ever absent, or nothing learned stands for it
            assert name == "absent"
            assert slow is None
        else:
            torch.testing.assert_close(parameter.grad, slow, atol=1e-5, rtol=1e-5, msg=name)
            assert slow.abs().max() > 1e-7, name


@pytest.mark.parametrize("count", [2, 3, 5])
def test_every_subset_scores_as_the_equations_say(count):
    choices = replace(SMALL, absent="zeros" if count == 3 else "learned")
    method = LMACNetMethod(task(count), vars(choices))
    method.net, plain = network(count, choices)
    method.net.eval()
    features, _, valid, _ = inputs(count, padding=1e3)
    table = torch.tensor(subsets(count), dtype=torch.bool)
    with torch.no_grad():
        encoded = {m: method.encode(m, x, valid) for m, x in features.items()}
        at_once = method.score_subsets(encoded, table, valid)
        for mask, shared in zip(table, at_once, strict=True):
            shown = mask.expand(B, -1)
            expected, _ = reference.lmac(  # two samples will do: one with padding, one without
                plain, features, shown[:2], valid, choices.heads, choices.absent
            )
            torch.testing.assert_close(shared[:2], expected, atol=1e-10, rtol=0)
            seen = {m: x for (m, x), there in zip(encoded.items(), mask, strict=True) if there}
            torch.testing.assert_close(method.score(seen, shown, valid), shared)
    assert at_once.std(0).min() > 1e-3


def test_published_size_and_cost_counted_as_published():
    """8.95 M parameters and 0.419 G: linear maps and layer norms, multiply-accumulates, T = 70."""
    net = LMACNet(PUBLISHED, Choices(dropout=0.0)).eval().requires_grad_(False)
    attention = [m for m in net.modules() if isinstance(m, nn.MultiheadAttention)]
    inside = {id(m) for block in attention for m in block.modules()}
    counted = sum(
        p.numel()
        for m in net.modules()
        if isinstance(m, nn.Linear | nn.LayerNorm) and id(m) not in inside
        for p in m.parameters()
    )
    tables = sum(decoder.queries.numel() for decoder in net.decoders.values())
    assert counted == 8_945_153
    assert counted + tables == 8_952_833  # published: 8.95 M
    assert sum(p.numel() for p in net.parameters()) == 15_258_124  # what there is

    x = {m: torch.randn(1, 70, d) for m, d in PUBLISHED.items()}
    shown, valid = torch.ones(1, 3, dtype=torch.bool), torch.ones(1, 70, dtype=torch.bool)
    plain = net.state_dict()
    costs = {}
    for steps in (68, 70):
        count = reference.Count()
        short = {m: f[:, :steps] for m, f in x.items()}
        with torch.no_grad():
            expected, _ = reference.lmac(plain, short, shown, valid[:, :steps], 8, count=count)
        costs[steps] = round(count.linear / 1e9, 3)
    assert costs == {68: 0.408, 70: 0.419}  # published: 0.419

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        states = {m: net.decode(m, f).states for m, f in x.items()}
        got = net.score(states, shown)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
    assert counter.get_total_flops() / 2 < 0.419e9 / 5  # mapping queries instead of clips


def test_what_a_sample_does_not_show_reaches_no_gradient():
    results = []
    for garbage in (float("nan"), 0.0, 1e4):
        net, _ = network(3, SMALL)
        features, shown, valid, target = inputs(3, padding=garbage)
        sum(net.loss_terms(features, shown, valid, target).values()).backward()
        results.append([p.grad for p in net.parameters() if p.grad is not None])
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            assert bool(torch.isfinite(one).all())
            assert torch.equal(one, two)


def test_a_stream_that_nobody_shows_learns_nothing_and_its_stand_in_does():
    net, _ = network(3, SMALL)
    features, shown, valid, target = inputs(3, padding=0.0)
    shown[:] = torch.tensor([True, False, True])
    features["pop"][:] = float("nan")
    terms = net.loss_terms(features, shown, valid, target)
    sum(terms.values()).backward()
    assert all(p.grad is None for p in net.decoders["pop"].parameters())
    learned = net.absent.grad.abs().sum(1) > 0
    assert learned.tolist() == [False, True, False]


def test_consistency_moves_both_streams_and_only_where_both_are_shown():
    generator = torch.Generator().manual_seed(0)
    logits = {m: torch.randn(3, 2, 6, generator=generator).requires_grad_() for m in "ab"}
    shown = {"a": torch.tensor([1, 1, 1, 0]).bool(), "b": torch.tensor([1, 0, 1, 1]).bool()}
    where = places(torch.ones(4, 6, dtype=torch.bool), "batch")
    alpha = {m: [x.softmax(-1)] for m, x in logits.items()}
    attention_terms(alpha, shown, where, LossWeights())["consistency"].backward()
    moved = {m: (x.grad.abs().sum((1, 2)) > 0).tolist() for m, x in logits.items()}
    assert moved == {"a": [True, False, True], "b": [True, True, False]}


def test_one_stream_has_nothing_to_be_consistent_with():
    net, _ = network(1, SMALL)
    features, shown, valid, target = inputs(1)
    assert net.loss_terms(features, shown, valid, target)["consistency"] == 0


@pytest.mark.parametrize(("margin", "rests"), [(0.14, True), (0.16, False)])
def test_a_margin_beyond_the_bound_leaves_hinges_that_cancel(margin, rests):
    stages, steps = 5, 12  # the bound is 11/72 = 0.153
    c = torch.linspace(0.0, 1.0, stages + 2)[1:-1] * (1 - 1 / steps) + 1 / steps  # evenly spread
    alpha = torch.zeros(1, stages, 2, requires_grad=True)
    with torch.no_grad():
        alpha[0, :, 1] = c
    where = Places(torch.tensor([[0.0, 1.0]]), torch.tensor([1 / steps]), torch.ones(1))
    weights = LossWeights(margin=margin)
    rank = attention_terms({"a": [alpha]}, {"a": torch.ones(1).bool()}, where, weights)["rank"]
    assert (rank == 0) == rests
    if not rests:
        rank.backward()
        assert alpha.grad.abs().max() < 1e-6


def task(count):
    some = dict(itertools.islice(STREAMS.items(), count))
    return Task("small", "S", some, {m: m for m in some}, T)


def batch(count):
    features, shown, valid, target = inputs(count, dtype=torch.float32)
    return Batch(tuple("abcde"), features, shown, valid[..., None] & shown[:, None], valid, target)


def test_training_hides_only_when_asked_to():
    found = {}
    for dropped in (False, True):
        method = LMACNetMethod(task(3), {**vars(SMALL), "modality_dropout": dropped})
        method.net, _ = network(3, SMALL, torch.float32)
        found[dropped] = method.loss(batch(3), torch.Generator().manual_seed(0))["task"]
    b = batch(3)
    plain = method.net.loss_terms(b.features, b.available, b.valid, b.score)["task"]
    assert torch.equal(found[False], plain)
    assert not torch.equal(found[True], plain)


@pytest.mark.parametrize(("asked", "start"), [(True, 0.8), (False, 0.5)])
def test_scores_start_where_they_are_asked_to(asked, start):
    spec = small_spec()
    data = small_data(spec)
    data.scores["S"][:] = 8.0  # of 10
    of = Task("small", "S", {"video": 6, "audio": 4}, {"video": "v", "audio": "a"}, 8)
    method = LMACNetMethod(of, {**vars(SMALL), "start_at_mean": asked})
    method.net = method.build(of)
    method.prepare(Split(data, data.rows("S", "train"), spec.classes[0], list(of.modalities)))
    assert method.net.head.bias.item() == pytest.approx(start)


@pytest.mark.parametrize("setting", ["absent", "positions", "consistency_layers"])
def test_a_way_that_there_is_not_is_refused(setting):
    method = LMACNetMethod(task(2), {setting: "best"})
    with pytest.raises(UsageError, match=rf"'{setting}' setting of lmac-net must be .* 'best'"):
        method.build(task(2))
