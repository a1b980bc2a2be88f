"""MCMoE trained on samples that lack streams: what its losses may read, against slow equations.

In evaluation mode no norm mixes samples, so that every sample can be written out by itself, with
its own streams and its own mask; in training mode what does not exist must not matter at all.
"""

from __future__ import annotations

import copy
import functools

import pytest
import torch

from aqabench.data.batch import Batch
from aqabench.errors import MethodError
from aqabench.method.base import Task
from aqabench.methods.mcmoe import CompletionNet, MCMoE, Switches
from aqabench.nn.masks import subsets
from tests.methods import _reference_mcmoe as reference

WIDTHS = {"v": 20, "a": 12, "f": 16}
B, T = 5, 4
MIXED = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 1, 0], [0, 1, 1], [1, 1, 0]], dtype=torch.bool)
ONE_EACH = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0]], dtype=torch.bool)
NO_AUDIO = torch.tensor([[1, 0, 1], [1, 0, 0], [0, 0, 1], [1, 0, 1], [1, 0, 0]], dtype=torch.bool)
SHOWN = torch.tensor([[0, 1, 0], [1, 0, 0], [1, 1, 0], [0, 1, 1], [1, 0, 1]], dtype=torch.bool)
"""Of MIXED: hides two, one and none of what there is, and shows two that are not there."""

PER_SAMPLE = Switches.published(one_mask_per_batch=False)
PLAIN = Switches(constant_generator=True, query_positions=False, elementwise_kl=False)
"""The form whose generator and queries the reference has, detached and summed over channels."""
FORMS = {
    "published": PER_SAMPLE,
    "corrected": Switches(),
    "never-complete": Switches(complete_never_shown=True),
    "attached": Switches(attached_teachers=True),
    "teacher-statistics": Switches(teacher_statistics=True),
    "constant-generator": Switches(constant_generator=True),
    "summed": Switches(summed_reconstruction=True),
}


def network(switches):
    """Return a float64 network without dropout, and its random weights."""
    net, weights = _network(switches)
    return copy.deepcopy(net), weights


@functools.cache
def _network(switches):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = CompletionNet(WIDTHS, dropout=0.0, switches=switches).double()
    shapes = {k: v.shape for k, v in net.state_dict().items() if k != "pos_encoder.pe"}
    weights = reference.fill(shapes, 3) | {"pos_encoder.pe": reference.sinusoid()}
    weights = {k: v.double() if v.is_floating_point() else v for k, v in weights.items()}
    net.load_state_dict(weights)
    return net, weights


def draw(available, garbage=float("nan"), seed=0):
    generator = torch.Generator().manual_seed(seed)
    features = {m: torch.randn(B, T, d, generator=generator).double() for m, d in WIDTHS.items()}
    for i, m in enumerate(WIDTHS):
        features[m][~available[:, i]] = garbage
    return features, torch.rand(B, generator=generator).double()


def slow_terms(w, features, score, available, shown, switches):
    """Every sample by itself: (task, diversity, reconstruction, alignment), unit weights."""
    attached = switches.attached_teachers
    grades, queries = [], []
    misses = {m: [] for m in WIDTHS}
    drifts = {m: [] for m in WIDTHS}
    for i in range(B):
        has = dict(zip(WIDTHS, available[i].tolist(), strict=True))
        sees = dict(zip(WIDTHS, (available & shown)[i].tolist(), strict=True))
        h = {m: reference.encode(w, m, x[i : i + 1]) for m, x in features.items() if has[m]}
        place = i if switches.batch_positions else 0
        y, z, made, mixed = reference.finish(w, h | dict.fromkeys(WIDTHS.keys() - h), [
            sees[m] for m in WIDTHS
        ], [place], False)  # fmt: skip
        grades.append(y)
        queries.append(z)
        for m in h:
            truth = h[m] if attached else h[m].detach()
            view = reference.expert(w, m, truth, False)
            p = reference.softmax(view if attached else view.detach())
            drifts[m].append((p * (p.log() - reference.softmax(mixed[m]).log())).mean())
            if not sees[m]:
                misses[m].append(((made[m] - truth) ** 2).mean())
    missed = [torch.stack(x) for x in misses.values() if x]
    alignment = sum(torch.stack(x).mean() for x in drifts.values() if x)
    return {
        "task": ((torch.cat(grades) - score) ** 2).mean(),
        "diversity": reference.triplet(torch.cat(queries)),
        "reconstruction": sum(x.mean() for x in missed)
        if switches.summed_reconstruction
        else torch.cat(missed).mean(),
        "alignment": alignment if switches.elementwise_kl else 256 * alignment,
    }


@pytest.mark.parametrize("switches", [PLAIN, PER_SAMPLE], ids=["corrected", "published"])
def test_losses_and_gradients_are_those_of_what_each_sample_has(switches):
    net, weights = network(switches)
    features, score = draw(MIXED)
    names = dict(net.eval().named_parameters())
    plain = {k: v.clone().requires_grad_(k in names) for k, v in weights.items()}
    expected = slow_terms(plain, features, score, MIXED, SHOWN, switches)
    got = net.loss_terms(features, MIXED, SHOWN, None, score)
    scale = {"task": 10.0}
    for term, value in expected.items():
        torch.testing.assert_close(got[term], scale.get(term, 1.0) * value, msg=term)
        assert value.item() > 1e-3
    sum(scale.get(term, 1.0) * value for term, value in expected.items()).backward()
    sum(got.values()).backward()
    for name, parameter in names.items():
        if parameter.grad is None:
            assert plain[name].grad is None, name
        else:
            torch.testing.assert_close(parameter.grad, plain[name].grad, msg=name)


CASES = [
    *((form, MIXED, padded) for form in FORMS for padded in (False, True)),
    *((form, a, False) for form in ("published", "corrected") for a in (ONE_EACH, NO_AUDIO)),
]


@pytest.mark.parametrize(("form", "available", "padded"), CASES)
def test_what_does_not_exist_reaches_no_loss_no_gradient_and_no_statistic(form, available, padded):
    valid = torch.ones(B, T, dtype=torch.bool)
    if padded:
        valid[1, 2:] = valid[4, 1:] = False
    outcomes = []
    for garbage in (float("nan"), 1e3):
        net, _ = network(FORMS[form])
        features, score = draw(available, garbage)
        shown = net.train().draw_shown(available, torch.Generator().manual_seed(1))
        assert not (shown & ~available).any()
        terms = net.loss_terms(features, available, shown, valid, score)
        sum(terms.values()).backward()
        gradients = {n: p.grad for n, p in net.named_parameters() if p.grad is not None}
        outcomes.append((terms, gradients, net.state_dict()))
    for first, second in zip(*outcomes, strict=True):
        assert first.keys() == second.keys()
        for name, value in first.items():
            assert torch.isfinite(value).all(), name
            assert torch.equal(value, second[name]), name
    terms, gradients, _ = outcomes[0]
    if available is ONE_EACH:  # nothing can be hidden
        assert terms["reconstruction"].item() == 0.0
    if available is NO_AUDIO:
        assert not any(name.startswith("in_proj.a.") for name in gradients)
        assert any(name.startswith("generators.a.") for name in gradients)


def test_a_form_with_one_mask_per_batch_says_that_it_needs_complete_samples():
    net, _ = network(Switches.published())
    with pytest.raises(MethodError, match="one_mask_per_batch needs training samples with all"):
        net.draw_shown(MIXED, torch.Generator())


def test_masks_that_are_never_complete_still_show_all_that_an_incomplete_sample_has():
    net, _ = network(Switches(complete_never_shown=True))
    available = torch.tensor(subsets(3), dtype=torch.bool).repeat(60, 1)
    shown = net.draw_shown(available, torch.Generator().manual_seed(0))
    assert shown.any(1).all()
    assert not (shown & ~available).any()
    assert not shown.all(1).any()
    for mask in torch.tensor(subsets(3), dtype=torch.bool)[:-1]:
        rows = (available == mask).all(1)
        assert (shown[rows] == mask).all(1).any()


def test_the_method_learns_from_a_batch_in_which_no_sample_is_complete():
    of = Task("small", "S", {"video": 20, "audio": 12, "flow": 16}, dict(zip(
        ("video", "audio", "flow", "depth"), "vafd", strict=True)), T)  # fmt: skip
    method = MCMoE(of)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        method.net = method.build(of).train()
    features, score = draw(ONE_EACH)
    valid = torch.ones(B, T, dtype=torch.bool)
    batch = Batch(
        ids=tuple("abcde"),
        features={m: features[s].float() for m, s in zip(of.modalities, "vaf", strict=True)},
        available=ONE_EACH,
        observed=valid[..., None] & ONE_EACH[:, None],
        valid=valid,
        score=score.float(),
    )
    with torch.random.fork_rng():
        terms = method.loss(batch, torch.Generator().manual_seed(0))
    sum(terms.values()).backward()
    owned = method.projections()
    assert list(owned) == ["video", "audio", "flow"]
    for m, projection in owned.items():
        assert projection.first.in_channels == of.modalities[m]
        assert all(bool(torch.isfinite(p.grad).all()) for p in projection.parameters())
