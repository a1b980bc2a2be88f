"""Early and late fusion and the specialists against a second, slow writing of their equations."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from aqabench.baselines._imputation import TrainingVideos
from aqabench.baselines.early_fusion import EarlyFusion, EarlyFusionNet
from aqabench.baselines.late_fusion import LateFusion, held_out_rows
from aqabench.baselines.unimodal import Unimodal
from aqabench.data.batch import Batch, Split, withhold
from aqabench.errors import UsageError
from aqabench.method.base import FitContext, Task
from aqabench.methods.gdlt import GDLT
from aqabench.nn.losses import grade_loss
from aqabench.nn.masks import subsets
from aqabench.nn.specialist import Specialist
from tests.helpers import small_data, small_spec
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
    if "stream_weights" in weights:
        weights["stream_weights"] = weights["stream_weights"].abs() + 0.1
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
    share = dict(zip(of.modalities, weights["stream_weights"], strict=True))
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
        there = [m for m, x in zip(of.modalities, mask, strict=True) if x]
        expected = sum(share[m] * said[m] for m in there) / sum(share[m] for m in there)
        got = method.predict(withhold(given, shown))
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


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


# --- the mean for what is missing -----------------------------------------------------------------


def small_split(train=24, exists=None):
    """Return a training part of two streams, and its task."""
    spec = small_spec(train=train)
    data = small_data(spec)
    split = Split(data, data.rows("S", "train"), spec.classes[0], ["video", "audio"], exists=exists)
    return split, Task("small", "S", split.widths, {"video": "v", "audio": "a"}, spec.clip_length)


@pytest.mark.parametrize("bins", [1, 4])
def test_the_mean_course_stands_before_the_projection(bins):
    split, of = small_split()
    small = {"layers": 1, "dropout": 0.0, "fill": "mean", "bins": bins}
    method = EarlyFusion(of, {**EarlyFusion.card.settings, **small})
    method.net = method.build(of)
    method.prepare(split)
    videos = TrainingVideos(split, of.clip_length)
    given = batch(of)
    net = method.net.eval()
    mask = torch.tensor([[0, 1], [1, 0], [0, 1], [1, 1]], dtype=torch.bool)
    expected = []
    for i, shown in enumerate(mask.tolist()):
        steps = int(given.valid[i].sum())
        course = net.imputer.impute("video", {}, torch.ones(1, steps, dtype=torch.bool), None)
        if bins == 1:  # the plain mean over all steps that there are
            rows = torch.cat([x for _, x in videos.windows("video")])
            torch.testing.assert_close(course[0], rows.mean(0).float().expand(steps, -1))
        streams = {}
        for column, (m, x) in enumerate(given.features.items()):
            own = x[i : i + 1, given.valid[i]]
            if not shown[column]:
                own = net.imputer.impute(m, {}, torch.ones(1, steps, dtype=torch.bool), None)
            streams[of.symbols[m]] = net.encode(of.symbols[m], own, None)
        expected.append(net.grade(streams, None).score)
    some = withhold(given, mask)
    got = method.predict(some)
    torch.testing.assert_close(got, torch.cat(expected), atol=1e-5, rtol=0)
    error = 10 * (got - given.score).square().mean()  # training fills in the same
    torch.testing.assert_close(method.loss(some, torch.Generator())["task"].detach(), error)
    # of one length, one course serves all
    even = withhold(batch(of, padded=False), mask)
    each = torch.cat([method.predict(even.take([i])) for i in range(B)])
    torch.testing.assert_close(method.predict(even), each, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fill": "median"}, r"'fill' .* zero or mean\. Got 'median'.*--set fill=zero"),
        ({"fill": "mean", "zero_at": "enc"}, r"before the projection\. Got zero_at=enc"),
        ({"fill": "mean", "bins": 0}, r"'bins' .* at least 1\. Got 0.*--set bins=20"),
    ],
)
def test_other_fillings_are_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        EarlyFusion(task(), settings).build(task())


# --- the weights of late fusion -------------------------------------------------------------------


def test_what_is_held_out_is_spread_over_the_scores():
    score = torch.rand(100, generator=torch.Generator().manual_seed(0))
    rows = held_out_rows(score, 0.15, torch.Generator().manual_seed(1))
    assert len(set(rows.tolist())) == 15
    place = torch.argsort(torch.argsort(score))[rows].sort().values
    assert all(100 * k // 15 <= p <= 100 * (k + 1) // 15 + 1 for k, p in enumerate(place.tolist()))
    assert not torch.equal(rows, held_out_rows(score, 0.15, torch.Generator().manual_seed(2)))
    assert held_out_rows(score[:3], 0.15, torch.Generator()).tolist() == []


def trained_late_fusion(**settings):
    """Train two steps on 60 videos, of which the third stream's are few."""
    exists = torch.ones(60, 2, dtype=torch.bool)
    exists[::3, 1] = False
    split, of = small_split(60, exists.numpy())
    small = {"layers": 1, "dropout": 0.0, "held_out": 0.4}
    method = LateFusion(of, {**LateFusion.card.settings, **small, **settings})
    read, loss = [], method.loss

    def spied(given, generator):
        read.extend(given.ids)
        return loss(given, generator)

    method.loss = spied
    looks = []
    context = FitContext(1, 2, 1, lambda _: None, lambda _: looks.append(method._weights.tolist()))
    method.fit(split, context)
    return method, split, set(read), looks


def test_streams_weigh_by_their_errors_on_what_trained_nothing():
    method, split, read, looks = trained_late_fusion()
    assert read == set(split.ids)  # two steps are an epoch
    assert len(method._held) == 24
    held = [row for row, sample in enumerate(split.ids) if sample in method._held]
    score = split.score[held]
    for column, m in enumerate(split.modalities):
        errors = []
        for row in held:
            if not split.available[row, column]:
                continue
            start, length = split.cut(torch.tensor([row]), "centre", 8)
            x = split.window(torch.tensor([row]), start, length, split.available[[row]], True)
            said = method.predict(withhold(x, torch.tensor([[k == column for k in range(2)]])))
            errors.append(float((said - split.score[row]).square()))
        assert len(errors) >= 10
        assert method._weights[column] == pytest.approx(len(errors) / sum(errors), rel=1e-4), m
    assert looks == [method._weights.tolist()]  # weighed before it is looked at
    assert score.std() > 0.1


def test_what_is_held_out_teaches_nothing():
    method, split, _, _ = trained_late_fusion()
    held = [row for row, sample in enumerate(split.ids) if sample in method._held]
    start, length = split.cut(torch.tensor(held), "centre", 8)
    given = split.window(torch.tensor(held), start, length, split.available[held], True)
    assert method.loss(given, torch.Generator()) == {}


def test_few_videos_weigh_a_stream_as_if_it_said_the_mean():
    method, split, _, _ = trained_late_fusion(held_out=0.05)
    expected = 1 / float(split.score.double().var(correction=0))
    assert method._weights.tolist() == pytest.approx([expected] * 2)


def test_the_plain_mean_holds_nothing_out():
    method, _, _, _ = trained_late_fusion(weights="mean")
    assert method._held == frozenset()
    assert method._weights.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weights": "nnls"}, r"'weights' .* precision or mean\. Got 'nnls'"),
        ({"held_out": 1.0}, r"'held_out' .* between 0 and 1.*Got 1 .*--set weights=mean"),
    ],
)
def test_other_weights_are_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        LateFusion(task(), settings).build(task())
