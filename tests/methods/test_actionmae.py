"""ActionMAE against a second, slow writing of its equations, corrected and with each error."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch

from aqabench.data.batch import withhold
from aqabench.errors import UsageError
from aqabench.method.base import Task
from aqabench.methods.actionmae import ActionMAE, pack_left
from aqabench.nn.masks import subsets
from tests.baselines.test_fusion import B, batch, ready, task
from tests.methods import _reference_actionmae as reference

SMALL = {"layers": 1, "dropout": 0.0}
SWITCHES = [
    {},
    {"left_packed": True},
    {"no_positions": True},
    {"recon_observed": True},
    {"recon_observed": True, "reads_memory": True},
]


def test_it_has_the_specified_size():
    of = Task("fisv", "TES", {"v": 1024, "a": 768, "f": 1024}, {s: s for s in "vaf"}, 6)
    with torch.device("meta"):
        net = ActionMAE(of).build(of)
    assert sum(p.numel() for p in net.parameters()) == 10_209_668


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
def test_scores_are_those_of_the_equations(switches):
    of = task(3)
    method, weights = ready(ActionMAE, of, **SMALL, **switches)
    given, symbols = batch(of), list(of.symbols.values())
    masks = torch.tensor(subsets(3), dtype=torch.bool)
    rows = [given.take([i]) for i in (1, 2)]
    for mask in masks.tolist() if not switches else [[0, 0, 1], [1, 0, 1], [1, 1, 1]]:
        for one in rows:
            steps = one.valid[0]
            shown = {
                of.symbols[m]: x[0, steps]
                for (m, x), there in zip(one.features.items(), mask, strict=True)
                if there
            }
            if switches.get("reads_memory") and all(mask) and not bool(steps.all()):
                continue  # how far padding shifts what is misread is nobody's specification
            expected = reference.score(weights, shown, symbols, 1, 2, **switches)
            got = method.predict(withhold(one, torch.tensor([mask])))
            torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


def test_each_error_changes_what_it_should_and_nothing_else():
    of = task(3)
    fixed, weights = ready(ActionMAE, of, **SMALL)
    given = batch(of, padded=False)
    masks = torch.tensor(subsets(3), dtype=torch.bool)
    scenarios = masks[:, None].expand(-1, B, -1)
    sound = fixed.predict_scenarios(given, scenarios)
    prefix = {(1, 0, 0), (1, 1, 0), (1, 1, 1)}
    changed = {
        "left_packed": [m for m in subsets(3) if m not in prefix],
        "no_positions": [m for m in subsets(3) if sum(m) < 3],
        "reads_memory": [(1, 1, 1)],
        "recon_observed": list(subsets(3)),
        "attached_targets": [],
    }
    for name, expected in changed.items():
        method = ActionMAE(of, {**SMALL, name: True})
        method.net = method.build(of)
        method.net.load_state_dict(weights)
        moved = (method.predict_scenarios(given, scenarios) - sound).abs().amax(1) > 1e-4
        assert [m for m, yes in zip(subsets(3), moved.tolist(), strict=True) if yes] == expected


def test_what_is_written_stands_in_the_slot_of_what_is_hidden():
    """Hiding another stream fills another slot, and two that are hidden are not written alike."""
    of = task(3)
    method, _ = ready(ActionMAE, of, **SMALL)
    h, valid = torch.randn(2, 3, 4, 256), torch.ones(2, 4, dtype=torch.bool)
    net = method.net.eval()
    for some in combinations(range(3), 2):
        shown = torch.tensor([[m in some for m in range(3)]] * 2)
        slots, _ = net.complete(torch.where(shown[..., None, None], h, 0.0), shown, valid)
        for m in range(3):
            assert torch.equal(slots[:, m], h[:, m]) == (m in some)
    one = torch.tensor([[False, True, False]] * 2)
    alone = torch.where(one[..., None, None], h, 0.0)
    _, z = net.complete(alone, one, valid)
    assert (z[:, 0] - z[:, 2]).abs().max() > 0.1
    net.mae.positions = False
    _, z = net.complete(alone, one, valid)
    torch.testing.assert_close(z[:, 0], z[:, 2])


def test_packing_to_the_left_keeps_the_order():
    h = torch.arange(3.0).view(1, 3, 1, 1).expand(2, 3, 2, 1)
    moved, shown = pack_left(h, torch.tensor([[1, 0, 1], [0, 1, 1]]).bool())
    assert shown.tolist() == [[True, True, False]] * 2
    assert moved[:, :2, 0, 0].tolist() == [[0, 2], [1, 2]]


def test_it_learns_to_write_what_it_hid_and_never_what_does_not_exist(monkeypatch):
    of = task(3)
    method, weights = ready(ActionMAE, of, **SMALL)
    exists = torch.tensor([[1, 1, 1], [1, 1, 0], [0, 1, 0], [1, 1, 1]], dtype=torch.bool)
    shown = torch.tensor([[1, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 1]], dtype=torch.bool)
    given = withhold(batch(of), exists)
    monkeypatch.setattr("aqabench.methods.actionmae.draw_shown", lambda *_: shown)
    method.net.eval()
    monkeypatch.setattr(method.net, "train", lambda mode=True: method.net)  # norms at rest
    terms = method.loss(given, torch.Generator())
    errors = []
    for i in range(B):
        whole = {
            k: reference.encode(weights, of.symbols[m], given.features[m][i, given.valid[i]], 1, 2)
            for k, m in enumerate(of.modalities)
            if exists[i, k]
        }
        if len(whole) == 3 and not bool(shown[i].all()):
            steps = int(given.valid[i].sum())
            errors.append(reference.reconstruction(weights, whole, {0}, steps).flatten())
        if len(whole) == 2:  # the third does not exist: nothing of it is compared
            z, _ = reference.write(weights, {0: whole[0]}, 3, 6)
            errors.append((z[1] - reference.bare_norm(whole[1])).square().flatten())
    torch.testing.assert_close(
        terms["reconstruction"], torch.cat(errors).mean(), atol=1e-4, rtol=1e-5
    )
    error = 10 * (method.predict(withhold(given, shown)) - given.score).square().mean()
    torch.testing.assert_close(terms["task"].detach(), error)


@pytest.mark.parametrize("attached", [False, True])
def test_targets_are_not_trained_unless_attached(attached, monkeypatch):
    of = task(3)
    method, weights = ready(ActionMAE, of, **SMALL, attached_targets=attached)
    shown = torch.tensor([[1, 0, 1]] * B, dtype=torch.bool)
    monkeypatch.setattr("aqabench.methods.actionmae.draw_shown", lambda *_: shown)
    method.net.train()
    given = withhold(batch(of), torch.tensor([[1, 1, 1], [1, 0, 1], [1, 1, 1], [1, 1, 1]]).bool())
    sum(method.loss(given, torch.Generator()).values()).backward()
    assert method.net.training
    hidden = {n: p.grad for n, p in method.net.named_parameters() if n.startswith("in_proj.p")}
    assert all((g is not None) == attached for g in hidden.values())
    gradients = [p.grad for p in method.net.parameters() if p.grad is not None]
    assert all(bool(torch.isfinite(g).all()) for g in gradients)
    moved = method.net.in_proj["p"][1].running_mean
    assert torch.equal(moved, weights["in_proj.p.1.running_mean"]) != attached


def test_another_policy_is_refused():
    with pytest.raises(UsageError, match=r"'policy' .* uniform or size\. Got 'u7'"):
        ActionMAE(task(), {"policy": "u7"}).build(task())
