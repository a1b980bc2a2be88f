"""Early and late fusion and the specialists against a second, slow writing of their equations."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from aqabench.baselines.early_fusion import EarlyFusion, EarlyFusionNet
from aqabench.baselines.late_fusion import LateFusion
from aqabench.baselines.unimodal import Unimodal
from aqabench.data.batch import Batch, withhold
from aqabench.errors import UsageError
from aqabench.method.base import Task
from aqabench.methods.gdlt import GDLT
from aqabench.nn.losses import grade_loss
from aqabench.nn.masks import subsets
from aqabench.nn.specialist import Specialist
from tests.methods import _reference_gdlt as reference

STREAMS = {"spectral": ("s", 26), "prosody": ("p", 10), "pron": ("n", 8), "text": ("t", 40)}
B, T = 4, 6


def task(count=4):
    chosen = dict(list(STREAMS.items())[:count])
    return Task(
        "small",
        "S",
        {m: w for m, (_, w) in chosen.items()},
        {m: s for m, (s, _) in chosen.items()},
        T,
    )


def batch(of, seed=0, padded=True):
    generator = torch.Generator().manual_seed(seed)
    valid = torch.ones(B, T, dtype=torch.bool)
    if padded:
        valid[0, 4:] = valid[2, 2:] = False
    available = torch.ones(B, len(of.modalities), dtype=torch.bool)
    return Batch(
        ids=tuple("abcd"),
        features={m: torch.randn(B, T, d, generator=generator) for m, d in of.modalities.items()},
        available=available,
        observed=valid[..., None] & available[:, None],
        valid=valid,
        score=torch.rand(B, generator=generator),
    )


def ready(kind, of, **settings):
    """Return a method whose network has random weights and statistics that matter, and both."""
    method = kind(of, settings)
    method.net = method.build(of)
    state = method.net.state_dict()
    weights = reference.fill({k: v.shape for k, v in state.items()}, 7)
    method.net.load_state_dict(weights)
    return method, weights


def under(weights, prefix, **renamed):
    """Return the part of a state dict under a prefix, by the names the reference knows."""
    part = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
    for old, new in renamed.items():
        part = {
            new + k.removeprefix(f"{old}.") if k.startswith(f"{old}.") else k: v
            for k, v in part.items()
        }
    return part


def grade(weights, memory):
    """Grade one sequence (1, T, 256) with the head's weights."""
    w = under(weights, "head.", decoder="transformer.decoder.")
    return reference.grade(w, reference.decoder(w, w["prototype.weight"][None], memory, 3, 2))


def encode(weights, x):
    return reference.encoder(under(weights, "", encoder="transformer.encoder."), x, 3, 2)


def specialist(weights, x):
    return grade(weights, encode(weights, reference.stack(weights, "in_proj", x)))


@pytest.mark.parametrize(("width", "parameters"), [(1024, 5_402_372), (768, 5_139_844)])
def test_a_specialist_has_the_specified_size(width, parameters):
    assert sum(p.numel() for p in Specialist(width).parameters()) == parameters


def test_early_fusion_has_the_size_of_the_core():
    net = EarlyFusionNet({"v": 1024, "a": 768, "f": 1024}, 3, 2, 0.3, "raw")
    assert sum(p.numel() for p in net.parameters()) == 6_981_764


def test_late_fusion_is_three_specialists():
    of = Task("fisv", "TES", {"v": 1024, "a": 768, "f": 1024}, {s: s for s in "vaf"}, T)
    net = LateFusion(of).build(of)
    assert sum(p.numel() for p in net.parameters()) == 2 * 5_402_372 + 5_139_844


@pytest.mark.parametrize("stream", ["", "pron"])
def test_unimodal_reads_its_stream_and_nothing_else(stream):
    of = task()
    method, weights = ready(Unimodal, of, stream=stream)
    chosen, given = stream or "spectral", batch(of)
    scores = method.predict(given)
    for i in range(B):
        alone = given.features[chosen][i : i + 1, given.valid[i]]
        torch.testing.assert_close(scores[i : i + 1], specialist(weights, alone), atol=1e-5, rtol=0)
    shown = torch.tensor([m == chosen for m in of.modalities]).expand(B, -1)
    assert torch.equal(method.predict(withhold(given, shown)), scores)
    assert (method.predict(withhold(given, ~shown)) == method.net.fallback).all()
    assert scores.std() > 1e-3


def test_a_stream_that_the_task_does_not_have_is_refused():
    with pytest.raises(UsageError, match=r"'tempo', but small has spectral.*--set stream=spectral"):
        Unimodal(task(), {"stream": "tempo"}).build(task())


@pytest.mark.parametrize("count", [2, 4])
def test_late_fusion_averages_the_specialists_that_see_something(count):
    of = task(count)
    method, weights = ready(LateFusion, of)
    given = batch(of)
    said = {
        m: torch.cat(
            [
                specialist(
                    under(weights, f"{of.symbols[m]}."),
                    given.features[m][i : i + 1, given.valid[i]],
                )
                for i in range(B)
            ]
        )
        for m in of.modalities
    }
    for mask in subsets(count):
        shown = torch.tensor(mask, dtype=torch.bool).expand(B, -1)
        there = [said[m] for m, x in zip(of.modalities, mask, strict=True) if x]
        got = method.predict(withhold(given, shown))
        torch.testing.assert_close(got, torch.stack(there).mean(0), atol=1e-5, rtol=0)


def test_training_late_fusion_is_training_each_specialist_by_itself():
    """The gradient of the sum of losses is, part by part, that of each loss."""
    of = task(3)
    method, weights = ready(LateFusion, of, dropout=0.0)
    available = torch.tensor([[1, 1, 0], [1, 1, 1], [1, 1, 1], [1, 0, 1]], dtype=torch.bool)
    given = withhold(batch(of), available)
    sum(method.loss(given, torch.Generator()).values()).backward()
    for column, m in enumerate(of.modalities):
        rows, symbol = available[:, column], of.symbols[m]
        net = Specialist(of.modalities[m]).train()
        net.load_state_dict(under(weights, f"{symbol}."))
        valid = given.valid[rows]
        grades = net.grade(net.encode(given.features[m][rows], valid), valid)
        sum(grade_loss(grades, given.score[rows], 10.0, 1.0).values()).backward()
        for name, parameter in net.named_parameters():
            ours = method.net[symbol].get_parameter(name)
            torch.testing.assert_close(ours.grad, parameter.grad, msg=name)
            assert torch.isfinite(ours.grad).all()


def early(weights, of, x, mask, zero_at):
    """Score one sample (1, T, D) per stream, with zeros where the mask is 0."""
    encoded = []
    for (m, width), there in zip(of.modalities.items(), mask, strict=True):
        steps = next(iter(x.values())).shape[1]
        source = x[m] if there else torch.zeros(1, steps, width)
        projected = reference.stack(weights, f"in_proj.{of.symbols[m]}", source)
        if not there and zero_at != "raw":
            projected = torch.zeros_like(projected)
        encoded.append(encode(weights, projected))
        if not there and zero_at == "enc":
            encoded[-1] = torch.zeros_like(encoded[-1])
    return grade(weights, reference.stack(weights, "fusion", torch.cat(encoded, -1)))


@pytest.mark.parametrize("zero_at", ["raw", "proj", "enc"])
def test_early_fusion_puts_its_zeros_where_the_setting_says(zero_at):
    of = task(3)
    method, weights = ready(EarlyFusion, of, zero_at=zero_at)
    given = batch(of)
    masks = torch.tensor(subsets(3), dtype=torch.bool)
    expected = torch.stack(
        [
            torch.cat(
                [
                    early(
                        weights,
                        of,
                        {m: x[i : i + 1, given.valid[i]] for m, x in given.features.items()},
                        mask,
                        zero_at,
                    )
                    for i in range(B)
                ]
            )
            for mask in masks.tolist()
        ]
    )
    got = method.predict_scenarios(given, masks[:, None].expand(-1, B, -1))
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
    assert expected.std(0).min() > 1e-4  # what is shown matters


def test_another_place_for_zeros_is_refused():
    with pytest.raises(UsageError, match=r"raw, proj or enc\. Got 'mid'.*--set zero_at=raw"):
        EarlyFusion(task(), {"zero_at": "mid"}).build(task())


@pytest.mark.parametrize("zero_at", ["raw", "proj", "enc"])
def test_a_training_step_is_that_of_the_test_path_where_streams_are_missing(zero_at):
    """With norms at rest, training and testing are one function, whatever lies in hidden rows."""
    of = task(3)
    method, _ = ready(EarlyFusion, of, zero_at=zero_at, dropout=0.0)
    available = torch.tensor([[1, 1, 0], [0, 1, 1], [1, 0, 0], [1, 1, 1]], dtype=torch.bool)
    given = withhold(batch(of), available)
    method.net.eval()
    loss = method.loss(given, torch.Generator())
    error = 10 * (method.predict(given) - given.score).square().mean()
    torch.testing.assert_close(loss["task"].detach(), error)


@pytest.mark.parametrize("zero_at", ["raw", "proj", "enc"])
def test_modality_dropout_keeps_hidden_rows_out_of_the_projections_norms(zero_at):
    of = task(3)
    method, weights = ready(EarlyFusion, of, zero_at=zero_at, modality_dropout=True, dropout=0.0)
    given = batch(of)
    shown = withhold(given, torch.tensor([[1, 0, 1], [0, 1, 0], [0, 1, 1], [1, 0, 0]]).bool())
    plain, _ = ready(EarlyFusion, of, zero_at=zero_at, dropout=0.0)
    plain.net.train()
    plain.loss(shown, torch.Generator())  # nothing drawn: these samples are incomplete themselves
    conv = weights["in_proj.s.0.weight"][..., 0], weights["in_proj.s.0.bias"]
    rows = given.features["spectral"][shown.available[:, 0, None] & given.valid]
    mean = (rows @ conv[0].T + conv[1]).mean(0)
    expected = 0.9 * weights["in_proj.s.1.running_mean"] + 0.1 * mean
    torch.testing.assert_close(plain.net.in_proj["s"][1].running_mean, expected)

    losses = []
    for seed in (3, 3, 4):
        method.net.load_state_dict(weights)
        terms = method.loss(given, torch.Generator().manual_seed(seed))
        losses.append(sum(terms.values()))
    assert torch.equal(losses[0], losses[1])
    assert not torch.equal(losses[0], losses[2])
    losses[2].backward()
    gradient = torch.cat([p.grad.flatten() for p in method.net.parameters() if p.grad is not None])
    assert torch.isfinite(gradient).all()


# --- training samples that lack streams -----------------------------------------------------------


def gradients(method):
    return {n: p.grad for n, p in method.net.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kind", [Unimodal, GDLT])
def test_one_stream_is_learned_from_the_samples_that_have_it(kind):
    of = task(3)
    method, weights = ready(kind, of, stream="prosody", dropout=0.0)
    method.net.train()
    given, rows = batch(of), [0, 2, 3]
    some = withhold(given, torch.tensor([[1, 1, 0], [1, 0, 1], [0, 1, 0], [0, 1, 1]]).bool())
    terms = method.loss(some, torch.Generator())
    sum(terms.values()).backward()
    found = gradients(method)
    method.net.load_state_dict(weights)
    method.net.zero_grad()
    alone = method.loss(given.take(rows), torch.Generator())
    sum(alone.values()).backward()
    for name, term in alone.items():
        assert torch.equal(terms[name], term)
    for name, gradient in gradients(method).items():
        assert torch.equal(found[name], gradient), name


@pytest.mark.parametrize("kind", [Unimodal, GDLT])
def test_a_batch_without_the_stream_teaches_nothing(kind):
    of = task(3)
    method, weights = ready(kind, of, stream="prosody")
    method.net.train()
    without = withhold(batch(of), torch.tensor([[1, 0, 1]] * B).bool())
    assert method.loss(without, torch.Generator()) == {}
    after = method.net.state_dict()
    assert all(torch.equal(after[name], value) for name, value in weights.items())


def test_a_specialist_has_no_term_in_a_batch_without_its_stream():
    of = task(3)
    method, weights = ready(LateFusion, of)
    method.net.train()
    without = withhold(batch(of), torch.tensor([[1, 0, 1], [1, 0, 0], [1, 0, 1], [1, 0, 0]]).bool())
    terms = method.loss(without, torch.Generator())
    assert {name.split()[1] for name in terms} == {"s", "n"}
    sum(terms.values()).backward()
    found = gradients(method)
    assert {name.split(".")[0] for name in found} == {"s", "n"}
    assert all(bool(torch.isfinite(g).all()) for g in found.values())
    after = method.net.state_dict()
    idle = [name for name in weights if name.startswith("p.")]
    assert idle
    assert all(torch.equal(after[name], weights[name]) for name in idle)
    nothing = withhold(batch(of), torch.zeros(B, 3, dtype=torch.bool))
    assert method.loss(nothing, torch.Generator()) == {}


@pytest.mark.parametrize("zero_at", ["raw", "proj", "enc"])
def test_a_batch_without_a_stream_leaves_its_projections_norms_alone(zero_at):
    of = task(3)
    method, weights = ready(EarlyFusion, of, zero_at=zero_at)
    method.net.train()
    without = withhold(batch(of), torch.tensor([[1, 0, 1], [1, 0, 0], [0, 0, 1], [1, 0, 0]]).bool())
    sum(method.loss(without, torch.Generator()).values()).backward()
    found = gradients(method)
    assert all(bool(torch.isfinite(g).all()) for g in found.values())
    after = method.net.state_dict()
    moved = {n for n in weights if "running" in n and not torch.equal(after[n], weights[n])}
    assert {".".join(n.split(".")[:2]) for n in moved if n.startswith("in_proj")} == {
        "in_proj.s",
        "in_proj.n",
    }
    assert all(bool(torch.isfinite(after[n]).all()) for n in moved)


@pytest.mark.parametrize("kind", [EarlyFusion, LateFusion])
def test_each_stream_owns_its_projection(kind):
    of = task(3)
    wider = replace(of, symbols={m: s for m, (s, _) in STREAMS.items()})  # the data set has four
    method, _ = ready(kind, wider)
    owned = method.projections()
    assert list(owned) == list(of.modalities)
    for m, width in of.modalities.items():
        assert owned[m].first.in_channels == width
    parameters = [id(p) for module in owned.values() for p in module.parameters()]
    assert len(set(parameters)) == len(parameters) == 3 * 8
    assert set(parameters) <= {id(p) for p in method.net.parameters()}
