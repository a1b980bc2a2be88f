"""MoMKE against a second, slow writing of its equations; its stages and what each may touch."""

from __future__ import annotations

import pytest
import torch

from aqabench.data.batch import withhold
from aqabench.errors import UsageError
from aqabench.method.base import Task
from aqabench.methods.momke import MoMKE
from aqabench.nn.masks import subsets
from tests.baselines.test_fusion import B, batch, ready, task
from tests.methods import _reference_momke as reference

SMALL = {"layers": 1, "expert_layers": 2, "dropout": 0.0}
SOME = torch.tensor([[1, 1, 0], [1, 0, 1], [0, 1, 0], [1, 0, 0]], dtype=torch.bool)


def test_it_has_the_specified_size():
    of = Task("fisv", "TES", {"v": 1024, "a": 768, "f": 1024}, {s: s for s in "vaf"}, 6)
    method = MoMKE(of)
    with torch.device("meta"):
        method.net = method.build(of)
    assert method.parameters() == 9_153_165
    expert = sum(p.numel() for p in method.net.experts["v"].parameters())
    assert expert == 1_315_840


@pytest.mark.parametrize("pre_norm", [True, False])
def test_scores_are_those_of_the_equations(pre_norm):
    of = task(3)
    method, weights = ready(MoMKE, of, **SMALL, pre_norm=pre_norm)
    if not pre_norm:  # nothing bounds random weights then
        weights = {k: 0.5 * v if k.startswith("experts") else v for k, v in weights.items()}
        method.net.load_state_dict(weights)
    given, symbols = batch(of), list(of.symbols.values())
    masks = torch.tensor(subsets(3), dtype=torch.bool)
    got = method.predict_scenarios(given, masks[:, None].expand(-1, B, -1))
    for row, mask in zip(got, masks.tolist(), strict=True):
        for i in (0, 2):
            shown = {
                of.symbols[m]: x[i, given.valid[i]]
                for (m, x), there in zip(given.features.items(), mask, strict=True)
                if there
            }
            expected = reference.score(weights, shown, symbols, 1, 2, 2, pre_norm)
            torch.testing.assert_close(row[i : i + 1], expected, atol=1e-5, rtol=0)
    assert got.std(0).min() > 1e-4  # what is shown matters


def test_stage_one_trains_each_expert_on_the_samples_that_have_its_stream():
    of = task(3)
    method, weights = ready(MoMKE, of, **SMALL, alpha=0.0)
    given = withhold(batch(of), SOME)
    method.begin(0)
    method.stage = 0
    method.net.eval()  # running statistics, as the reference has them
    terms = method.loss(given, torch.Generator())
    for column, (m, x) in enumerate(given.features.items()):
        symbol = of.symbols[m]
        rows = torch.nonzero(SOME[:, column])[:, 0].tolist()
        said = [reference.alone(weights, symbol, x[i, given.valid[i]], 2, 2, True) for i in rows]
        error = 10 / 3 * (torch.cat(said) - given.score[rows]).square().mean()
        torch.testing.assert_close(terms[f"task {symbol}"], error, atol=1e-5, rtol=0)
    sum(terms.values()).backward()
    for name, p in method.net.named_parameters():
        assert (p.grad is not None) == name.startswith(("in_proj", "experts", "own_heads")), name
        assert p.grad is None or bool(torch.isfinite(p.grad).all()), name


def test_stage_two_trains_all_but_the_heads_of_stage_one_on_what_it_shows(monkeypatch):
    of = task(3)
    method, weights = ready(MoMKE, of, **SMALL)
    given = withhold(batch(of), SOME)
    method.begin(1)
    method.net.train()
    monkeypatch.setattr("aqabench.methods.momke.draw_shown", lambda available, _: available)
    sum(method.loss(given, torch.Generator()).values()).backward()
    for name, p in method.net.named_parameters():
        assert (p.grad is None) == name.startswith("own_heads"), name
        assert p.grad is None or bool(torch.isfinite(p.grad).all()), name
    # a batch without a stream leaves its projection's norms alone
    method.net.load_state_dict(weights)
    without = withhold(batch(of), torch.tensor([[1, 0, 1]] * B).bool())
    method.loss(without, torch.Generator())
    after = method.net.state_dict()
    assert torch.equal(after["in_proj.p.1.running_mean"], weights["in_proj.p.1.running_mean"])
    assert not torch.equal(after["fusion.1.running_mean"], weights["fusion.1.running_mean"])


def test_a_training_step_is_that_of_the_test_path():
    of = task(3)
    method, _ = ready(MoMKE, of, **SMALL, condition="s+n")
    given = batch(of)
    method.net.eval()
    loss = method.loss(given, torch.Generator())
    shown = withhold(given, torch.tensor([[1, 0, 1]] * B).bool())
    error = 10 * (method.predict(shown) - given.score).square().mean()
    torch.testing.assert_close(loss["task"].detach(), error)
    # samples that have none of the condition teach nothing
    none = withhold(given, torch.tensor([[0, 1, 0]] * B).bool())
    assert method.loss(none, torch.Generator()) == {}


def test_routers_start_without_a_preference():
    of = task(3)
    net = MoMKE(of, SMALL).build(of)
    share = net.routers["s"](torch.randn(2, 4, 256))
    torch.testing.assert_close(share, torch.full((2, 4, 3), 1 / 3))


def test_a_condition_of_other_streams_is_refused():
    with pytest.raises(UsageError, match=r"names 'q', but small has s, p, n\..*--set condition=s"):
        MoMKE(task(3), {"condition": "s+q"}).build(task(3))
