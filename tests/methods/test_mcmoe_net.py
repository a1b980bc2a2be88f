"""The MCMoE network against a second, slow writing of its equations, and its corrected form."""

from __future__ import annotations

import copy
import itertools
from dataclasses import fields

import numpy as np
import pytest
import torch

from aqabench.errors import CheckpointError, MethodError, UsageError
from aqabench.methods._mcmoe_blocks import divergence
from aqabench.methods.mcmoe import (
    PUBLISHED_MASKS,
    MCMoENet,
    Switches,
    load_official,
    loss,
)
from tests.methods import _reference_mcmoe as reference

SUBSETS = [m for m in itertools.product((0, 1), repeat=3) if any(m)]
WIDTHS = {"v": 1024, "a": 768, "f": 1024}
B, T = 4, 6


def draw(seed=0, batch=B, steps=T, video_width=1024, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    widths = WIDTHS | {"v": video_width}
    return {
        m: torch.randn(batch, steps, d, generator=generator).to(dtype) for m, d in widths.items()
    }


@pytest.fixture(scope="module", params=[1024, 768])
def official(request):
    """Video width, official weights and the network filled with them."""
    weights = reference.random_mcmoe(5, request.param)
    return request.param, weights, load_official(weights, request.param)


@pytest.fixture(scope="module")
def doubles():
    """Official weights of the narrow form in float64, where only real differences remain."""
    weights = reference.random_mcmoe(6, 768)
    return {k: v.double() if v.is_floating_point() else v for k, v in weights.items()}


@pytest.fixture(scope="module")
def corrected(doubles):
    """A float64 network in the corrected form, with statistics that matter."""
    return fresh(doubles).eval()


def fresh(weights, **switches):
    """Return a float64 network with these weights, in training mode."""
    with torch.random.fork_rng():
        torch.manual_seed(0)  # the generators' tokens are not among the official weights
        net = MCMoENet(768, dropout=0.0, switches=Switches(**switches)).double()
    net.load_state_dict(weights, strict=False)
    return net


@pytest.mark.parametrize(("width", "parameters"), [(1024, 9_384_711), (768, 9_122_183)])
def test_names_and_sizes_are_the_published_ones(width, parameters):
    net = MCMoENet(width, switches=Switches.published())
    state = net.state_dict()
    assert sum(p.numel() for p in net.parameters()) == parameters
    assert len(state) == 230
    expected = reference.random_mcmoe(0, width)
    assert {k: v.shape for k, v in state.items()} == {k: v.shape for k, v in expected.items()}
    torch.testing.assert_close(state["pos_encoder.pe"], expected["pos_encoder.pe"])


def test_the_corrected_form_adds_three_tokens():
    assert sum(p.numel() for p in MCMoENet(1024).parameters()) == 9_384_711 + 3 * 256


@pytest.mark.parametrize("subset", SUBSETS)
def test_scores_equal_the_equations_at_every_batch_position(official, subset):
    width, weights, net = official
    features = draw(1, video_width=width)
    hidden = {
        m: x if there else torch.full_like(x, float("nan"))
        for (m, x), there in zip(features.items(), subset, strict=True)
    }
    with torch.no_grad():
        expected = reference.predict(weights, features, subset)
        got = net(*hidden.values(), torch.tensor([subset] * B, dtype=torch.bool))
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
    assert expected.std() > 1e-3  # a constant would pass above


def test_rows_of_a_batch_may_differ_in_what_they_have(official):
    width, weights, net = official
    features = draw(2, batch=7, video_width=width)
    with torch.no_grad():
        expected = torch.stack(
            [reference.predict(weights, features, s)[i] for i, s in enumerate(SUBSETS)]
        )
        got = net(*features.values(), torch.tensor(SUBSETS))
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


def test_without_batch_positions_every_sample_is_scored_as_if_alone(official):
    width, weights, on = official
    off = load_official(weights, width, batch_positions=False)
    features = draw(3, video_width=width)
    mask = (0, 1, 1)
    with torch.no_grad():
        got = off(*features.values(), torch.tensor(mask))
        expected = reference.predict(weights, features, mask, places=[0] * B)
        alone = torch.cat(
            [on(*(x[i : i + 1] for x in features.values()), torch.tensor([mask])) for i in range(B)]
        )
        together = on(*features.values(), torch.tensor(mask))
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(got, alone, atol=1e-5, rtol=0)
    assert (together - got)[1:].abs().max() > 1e-3  # Q1 is visible


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_short_sequences_are_scored_as_published(official, steps):
    width, weights, net = official
    features = draw(4, steps=steps, video_width=width)
    with torch.no_grad():
        expected = reference.predict(weights, features, (0, 1, 0))
        got = net(None, features["a"], None, torch.tensor([0, 1, 0]))
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("mask", PUBLISHED_MASKS)
def test_a_training_step_has_the_published_loss_gradient_and_statistics(doubles, mask):
    weights = doubles
    features = draw(5, batch=3, video_width=768, dtype=torch.float64)
    score = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    net = load_official(weights, 768).train()
    names = dict(net.named_parameters())
    plain = {k: v.clone().requires_grad_(k in names) for k, v in weights.items()}

    expected = reference.train(plain, features, score, mask, alpha=0.5)
    expected["total"].backward()
    got = net.training_loss(*features.values(), score, mask, alpha=0.5)
    got["total"].backward()

    for term, value in expected.items():
        torch.testing.assert_close(got[term], value, atol=1e-10, rtol=1e-9)
    theirs = {k: plain[k].grad for k in names if plain[k].grad is not None}
    ours = {k: p.grad for k, p in names.items() if p.grad is not None}
    assert ours.keys() == theirs.keys()
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, atol=1e-9, rtol=1e-7, msg=name)
    norm = torch.stack([g.norm() for g in theirs.values()]).norm()
    torch.testing.assert_close(torch.stack([g.norm() for g in ours.values()]).norm(), norm)
    for m, shown in zip("vaf", mask, strict=True):  # Q3: the first query map is dead
        if not shown:
            assert not ours[f"generators.{m}.cross_attn.0.in_proj_weight"][:256].any()
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, plain[name].detach(), atol=1e-9, rtol=1e-9)
    assert int(net.state_dict()["experts.a.1.num_batches_tracked"]) == 7 + 4  # Q15


def test_the_loss_of_module_and_method_agree_in_float32(official):
    width, weights, _ = official
    features = draw(6, video_width=width)
    score = torch.rand(B)
    expected = reference.train(dict(weights), features, score, (1, 0, 1))
    net = load_official(weights, width).train()
    got = loss(net, *features.values(), score, (1, 0, 1))
    torch.testing.assert_close(got, expected["total"], atol=1e-5, rtol=1e-5)


def test_the_width_of_video_is_read_from_the_weights(official):
    _, weights, net = official
    found = load_official(weights)
    assert all(torch.equal(x, net.state_dict()[k]) for k, x in found.state_dict().items())
    for weight in ({}, {"in_proj.v.0.weight": torch.zeros(3)}):
        lost = {k: v for k, v in weights.items() if k != "in_proj.v.0.weight"} | weight
        with pytest.raises(CheckpointError, match=r"in_proj\.v\.0\.weight"):
            load_official(lost)


def test_arrays_whole_numbers_and_prefixes_are_taken(official):
    width, weights, net = official
    features = draw(7, video_width=width)
    arrays = {f"module.{k}": v.numpy() for k, v in weights.items() if k != "pos_encoder.pe"}
    again = load_official(arrays, width)
    with torch.no_grad():
        got = again(*(x.double().numpy() for x in features.values()), np.array([[1, 1, 0]] * B))
        expected = net(*features.values(), torch.tensor([1, 1, 0]))
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)  # the table is computed here
    assert not again.training


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda w: w.pop("prototype.weight"), r"1 missing \(prototype.weight\)"),
        (lambda w: w.update(extra=torch.zeros(1)), r"1 unexpected \(extra\)"),
        (lambda w: w.update({"regressor.bias": torch.zeros(5)}), r"'regressor.bias' is \(5,\)"),
        (lambda w: w["regressor.bias"].fill_(float("nan")), "not finite at regressor.bias"),
        (lambda w: w.update({"regressor.bias": {}}), "must map names to arrays"),
    ],
)
def test_weights_that_do_not_fit_are_refused(official, spoil, message):
    width, weights, _ = official
    weights = {k: v.clone() for k, v in weights.items()}
    spoil(weights)
    with pytest.raises(CheckpointError, match=message):
        load_official(weights, width)


def test_the_wrong_video_width_is_refused(official):
    width, weights, _ = official
    with pytest.raises(CheckpointError, match=r"in_proj.v.0.weight"):
        load_official(weights, 1792 - width)


def test_requests_that_cannot_be_meant_are_refused(official):
    width, weights, net = official
    features = draw(8, video_width=width)
    with pytest.raises(UsageError, match="no switch 'batch_position'"):
        load_official(weights, width, batch_position=False)
    with pytest.raises(UsageError, match="one positional code"):
        Switches(batch_positions=True)
    with pytest.raises(UsageError, match="Got none in row 2"):
        net(*features.values(), torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 0], [1, 1, 1]]))
    with pytest.raises(UsageError, match="modality 'f'"):
        net(features["v"], features["a"], None, torch.tensor([1, 0, 1]))
    with pytest.raises(UsageError, match=r"shape \(4, 3\)"):
        net(*features.values(), torch.ones(3, 3))
    with pytest.raises(UsageError, match="up to 136 samples"):
        net(torch.zeros(137, 1, width), None, None, torch.tensor([1, 0, 0]))


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("published", [False, True])
def test_sharing_between_subsets_changes_no_score(doubles, corrected, published, padded):
    net = load_official(doubles, 768) if published else corrected
    features = draw(9, video_width=768, dtype=torch.float64)
    valid = torch.ones(B, T, dtype=torch.bool)
    if padded:
        valid[1, 4:] = valid[3, 2:] = False
    subsets = torch.tensor(SUBSETS, dtype=torch.bool)
    with torch.no_grad():
        encoded = {m: net.encode(m, x, valid) for m, x in features.items()}
        shared = net.score_subsets(encoded, subsets, valid)
        for row, subset in zip(shared, subsets, strict=True):
            one = net.score(encoded, subset, valid)
            whole = net(*features.values(), subset, valid)
            torch.testing.assert_close(row, one, atol=1e-12, rtol=0)
            torch.testing.assert_close(row, whole, atol=1e-12, rtol=0)


def test_corrected_scores_do_not_depend_on_order_or_neighbours(corrected):
    features = draw(10, batch=7, video_width=768, dtype=torch.float64)
    available = torch.tensor(SUBSETS)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        together = corrected(*features.values(), available)
        permuted = corrected(*(x[order] for x in features.values()), available[order])
        alone = torch.cat(
            [corrected(*(x[i : i + 1] for x in features.values()), available[i]) for i in range(7)]
        )
    torch.testing.assert_close(permuted, together[order], atol=1e-12, rtol=0)
    torch.testing.assert_close(alone, together, atol=1e-12, rtol=0)


@pytest.mark.parametrize("available", [SUBSETS, [(1, 1, 1)] * 7, [(0, 1, 0)] * 7])
def test_corrected_scores_do_not_depend_on_padding(corrected, available):
    features = draw(11, batch=7, video_width=768, dtype=torch.float64)
    available = torch.tensor(available)
    longer = {m: torch.cat([x, torch.full_like(x, float("nan"))], 1) for m, x in features.items()}
    valid = torch.arange(2 * T).expand(7, -1) < T
    with torch.no_grad():
        short = corrected(*features.values(), available)
        padded = corrected(*longer.values(), available, valid)
    torch.testing.assert_close(padded, short, atol=1e-12, rtol=0)


def test_published_scores_do_depend_on_padding(official):
    width, _, net = official
    features = draw(11, video_width=width)
    longer = {m: torch.cat([x, torch.zeros_like(x)], 1) for m, x in features.items()}
    valid = torch.arange(2 * T).expand(B, -1) < T
    with torch.no_grad():
        short = net(*features.values(), torch.tensor([1, 1, 1]))
        padded = net(*longer.values(), torch.tensor([1, 1, 1]), valid)
    assert (padded - short).abs().max() > 1e-4


def test_what_is_missing_reaches_neither_scores_nor_gradients(corrected):
    available = torch.tensor([[1, 1, 1], [1, 1, 0], [0, 1, 1], [1, 0, 0]], dtype=torch.bool)
    shown = torch.tensor([[1, 0, 1], [0, 1, 0], [0, 1, 1], [1, 0, 0]], dtype=torch.bool)
    valid = torch.ones(B, T, dtype=torch.bool)
    valid[0, 5:] = valid[3, 3:] = False
    outcomes = []
    for garbage in (float("nan"), 0.0, 1e3):
        features = draw(12, video_width=768, dtype=torch.float64)
        for i, m in enumerate(features):
            features[m][~available[:, i]] = garbage
            features[m][~valid] = garbage
        net = copy.deepcopy(corrected).train()
        terms = net.loss_terms(features, available, shown, valid, torch.linspace(0, 1, B).double())
        sum(terms.values()).backward()
        gradient = torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])
        state = torch.cat([x.flatten().double() for x in net.state_dict().values()])
        outcomes.append((torch.stack(list(terms.values())), gradient, state))
    for terms, gradient, state in outcomes:
        assert torch.isfinite(gradient).all()
        assert torch.equal(terms, outcomes[0][0])
        assert torch.equal(gradient, outcomes[0][1])
        assert torch.equal(state, outcomes[0][2])


def test_projection_statistics_come_from_shown_rows_and_real_steps_only(corrected):
    net = copy.deepcopy(corrected)
    features = draw(13, video_width=768, dtype=torch.float64)
    available = torch.ones(B, 3, dtype=torch.bool)
    shown = torch.tensor([[1, 0, 1], [0, 1, 0], [0, 1, 1], [1, 0, 0]], dtype=torch.bool)
    valid = torch.ones(B, T, dtype=torch.bool)
    valid[0, 4:] = False
    net.train().loss_terms(features, available, shown, valid, torch.rand(B).double())
    first = net.in_proj["v"][0]
    rows = features["v"][shown[:, 0, None] & valid] @ first.weight[..., 0].T + first.bias
    expected = 0.9 * corrected.state_dict()["in_proj.v.1.running_mean"] + 0.1 * rows.mean(0)
    torch.testing.assert_close(net.in_proj["v"][1].running_mean, expected)


def test_losses_use_only_what_exists(corrected):
    """Reconstruction needs available and hidden; alignment needs available."""
    net = copy.deepcopy(corrected)
    features = draw(14, video_width=768, dtype=torch.float64)
    score = torch.rand(B).double()
    some = torch.tensor([[1, 0, 1]] * B, dtype=torch.bool)
    terms = net.train().loss_terms(features, some, some, None, score)
    assert terms["reconstruction"].item() == 0.0
    assert terms["alignment"].item() > 0.0
    every = torch.ones_like(some)
    assert net.loss_terms(features, every, some, None, score)["reconstruction"].item() > 0.0


def test_corrected_teachers_are_detached_and_published_ones_are_not(doubles):
    features = draw(15, video_width=768, dtype=torch.float64)
    available = torch.ones(B, 3, dtype=torch.bool)
    shown = torch.tensor([[1, 1, 0]] * B, dtype=torch.bool)
    for attached in (False, True):
        net = fresh(doubles, attached_teachers=attached)
        score = torch.rand(B).double()
        net.loss_terms(features, available, shown, None, score)["reconstruction"].backward()
        gradient = net.in_proj["f"][0].weight.grad
        assert (gradient is not None) == attached
        assert net.training
        assert all(part.training for part in net.modules())


def test_the_corrected_generator_makes_a_sequence_and_the_published_one_a_constant(
    doubles, corrected
):
    context = torch.randn(2, 5, 256).double()
    with torch.no_grad():
        published = fresh(doubles, constant_generator=True).generators["v"](context, steps=T)
        ours = corrected.generators["v"](context, steps=T)
    assert published.shape == (2, 1, 256)
    assert ours.shape == (2, T, 256)
    assert ours.std(1).mean() > 1e-4


def test_divergence_and_its_gradients_are_those_of_the_formula():
    torch.manual_seed(0)
    guess, target = (torch.randn(3, 4, 6).double().requires_grad_() for _ in range(2))
    known = torch.softmax(target, -1)
    gap = torch.log_softmax(target, -1) - torch.log_softmax(guess, -1)
    assert torch.allclose(divergence(guess, target), (known * gap).sum())
    assert torch.autograd.gradcheck(divergence, (guess, target))
    assert torch.autograd.gradcheck(lambda g: divergence(g, target.detach()), (guess,))


@pytest.mark.parametrize("subset", [(1, 1, 0), (1, 1, 1), (0, 1, 0)])
def test_a_stream_that_sums_to_zero_is_absent_only_with_q4(doubles, subset):
    """And stays where nothing else would be left, where the official code ends."""
    net = load_official(doubles, 768, zero_sum_absence=True).double()
    usual = load_official(doubles, 768).double()
    shown = torch.tensor(subset).bool().expand(4, -1)
    streams = {m: torch.randn(4, 5, 256).double() for m in net.modalities}
    a = net.modalities[1]
    streams[a] = torch.stack([streams[a][0], -streams[a][0]] * 2)  # cancels exactly
    assert float(streams[a].sum()) == 0.0
    less = shown.clone()
    less[:, 1] = False
    left = less if less.any() else shown
    assert torch.equal(net.score(streams, shown), usual.score(streams, left))
    found = net.score_subsets(streams, shown[:1])[0]
    torch.testing.assert_close(found, usual.score_subsets(streams, left[:1])[0])
    if subset == (1, 1, 0):
        assert not torch.allclose(usual.score(streams, shown), usual.score(streams, less))


def test_alignment_summed_over_channels_is_256_times_as_strong(doubles):
    features = draw(16, video_width=768, dtype=torch.float64)
    every = torch.ones(B, 3, dtype=torch.bool)
    score = torch.rand(B).double()
    nets = fresh(doubles), fresh(doubles, elementwise_kl=False)
    with torch.no_grad():
        usual, strong = (n.loss_terms(features, every, every, None, score) for n in nets)
    torch.testing.assert_close(strong["alignment"], 256 * usual["alignment"])
    others = usual.keys() - {"alignment"}
    assert all(torch.equal(strong[term], usual[term]) for term in others)


def training_step(net):
    """Return the masks that are drawn, and statistics and gradients after a step."""
    features = draw(17, video_width=768, dtype=torch.float64)
    drawn = net.draw_shown(torch.ones(64, 3, dtype=torch.bool), torch.Generator().manual_seed(0))
    shown = torch.tensor([[1, 0, 0], [0, 1, 1], [1, 1, 1], [0, 0, 1]], dtype=torch.bool)
    valid = torch.ones(B, T, dtype=torch.bool)
    valid[1, 4:] = False
    every = torch.ones_like(shown)
    terms = net.loss_terms(features, every, shown, valid, torch.linspace(0, 1, B).double())
    sum(terms.values()).backward()
    grown = [p.grad.flatten() for p in net.parameters() if p.grad is not None]
    means = [x.flatten() for name, x in net.state_dict().items() if "running" in name]
    return torch.cat([drawn.double().flatten(), *means, *grown])


@pytest.mark.parametrize("name", [f.name for f in fields(Switches) if f.name != "zero_sum_absence"])
def test_no_switch_is_idle(doubles, name):
    """A switch that changes nothing would stand in a table as a harmless defect."""
    usual = Switches()
    flip = {name: not getattr(usual, name)}
    if name == "batch_positions":
        flip["query_positions"] = False
    a = training_step(fresh(doubles))
    b = training_step(fresh(doubles, **flip))
    assert len(a) != len(b) or not torch.allclose(a, b, rtol=1e-9, atol=0)
    torch.testing.assert_close(training_step(fresh(doubles)), a, msg="the step itself is random")


def test_two_hidden_streams_weigh_twice_only_as_published(doubles):
    features = draw(17, video_width=768, dtype=torch.float64)
    every = torch.ones(B, 3, dtype=torch.bool)
    shown = torch.tensor([[1, 0, 0]] * B, dtype=torch.bool)
    score = torch.zeros(B).double()
    values = {}
    for summed in (False, True):
        net = fresh(doubles, summed_reconstruction=summed)
        with torch.no_grad():
            values[summed] = net.loss_terms(features, every, shown, None, score)["reconstruction"]
    torch.testing.assert_close(values[True], 2 * values[False])


def test_masks_are_drawn_per_sample_from_what_exists(corrected):
    generator = torch.Generator().manual_seed(0)
    shown = corrected.draw_shown(torch.ones(7000, 3, dtype=torch.bool), generator)
    counts = torch.bincount((shown * torch.tensor([4, 2, 1])).sum(1), minlength=8)
    assert counts[0] == 0
    assert (counts[1:] - 1000).abs().max() < 150  # five standard deviations
    available = torch.tensor(SUBSETS, dtype=torch.bool).repeat(50, 1)
    some = corrected.draw_shown(available, generator)
    assert not (some & ~available).any()
    assert some.any(1).all()


def test_published_masks_are_one_of_six_per_batch_and_need_complete_data():
    net = MCMoENet(768, switches=Switches.published())
    every = torch.ones(5, 3, dtype=torch.bool)
    generator, twin = torch.Generator().manual_seed(4), torch.Generator().manual_seed(4)
    for _ in range(20):
        shown = net.draw_shown(every, generator)
        mask = PUBLISHED_MASKS[int(torch.randint(0, 6, (1,), generator=twin))]
        assert shown.tolist() == [[bool(x) for x in mask]] * 5
    with pytest.raises(MethodError, match="one_mask_per_batch"):
        net.draw_shown(torch.tensor([[True, False, True]]), generator)
