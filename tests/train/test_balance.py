"""aqabench-MLI as training records it, against a slow calculation from the gradients themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from aqabench.baselines.early_fusion import EarlyFusion
from aqabench.baselines.late_fusion import LateFusion
from aqabench.baselines.unimodal import Unimodal
from aqabench.data.batch import Split
from aqabench.method.base import FitContext, Task
from aqabench.methods.gdlt import GDLT
from aqabench.methods.mcmoe import MCMoE
from aqabench.train.balance import StreamBalance
from tests.helpers import small_data, small_spec

SETTINGS = {"batch_size": 8, "layers": 1}


def split(exists=None, samples=16):
    spec = small_spec(train=samples)
    data = small_data(spec)
    for values in data.features.values():
        values[:] = np.random.default_rng(0).normal(size=values.shape)
    rows = data.rows("S", "train")
    return Split(data, rows, spec.classes[0], ["video", "audio"], exists=exists)


def train(kind, given, report=lambda _: None, steps=2, **settings):
    """Return the trained method and the index that its training recorded."""
    task = Task("small", "S", given.widths, {"video": "v", "audio": "a"}, 8)
    method = kind(task, settings)
    context = FitContext(0, steps, 1, lambda p: report((method, p)), lambda _: None)
    method.fit(given, context)
    return method, context.learning_index


def set_gradient(layer, weight, gradient):
    with torch.no_grad():
        layer.weight.fill_(weight)
        layer.bias.zero_()
    layer.weight.grad = torch.full_like(layer.weight, gradient)
    layer.bias.grad = None


def test_the_index_is_the_spread_of_the_mean_ratios_of_an_epoch():
    owned = {m: nn.Linear(4, 1) for m in "vaf"}
    balance = StreamBalance(owned)
    for ratios in ((6.0, 1.0, 4.0), (0.0, 1.0, 0.0)):  # means 3, 1, 2
        for layer, ratio in zip(owned.values(), ratios, strict=True):
            set_gradient(layer, 0.5, 0.5 * ratio)
        balance.add(learned=True)
    balance.end_epoch()
    assert balance.index() == pytest.approx(math.sqrt(2 / 3) / 2)  # .408
    for layer in owned.values():
        set_gradient(layer, 0.5, 0.5)
    balance.add(learned=True)
    balance.end_epoch()
    assert balance.index() == pytest.approx(math.sqrt(2 / 3) / 4)  # the mean with a balanced epoch


def test_a_step_without_a_loss_counts_as_zeros_and_not_as_the_gradients_of_the_last_one():
    owned = {m: nn.Linear(4, 1) for m in "va"}
    balance = StreamBalance(owned)
    for ratios, learned in (((1.0, 1.0), True), ((3.0, 1.0), True), (None, False)):
        for layer, ratio in zip(owned.values(), ratios or (), strict=bool(ratios)):
            set_gradient(layer, 0.5, 0.5 * ratio)
        balance.add(learned)
    balance.end_epoch()
    assert balance.epochs == [pytest.approx([4 / 3, 2 / 3])]
    assert balance.index() == pytest.approx(1 / 3)


def test_a_step_without_a_stream_counts_as_zero():
    owned = {m: nn.Linear(4, 1) for m in "va"}
    balance = StreamBalance(owned)
    set_gradient(owned["v"], 0.5, 0.5)
    for gradient in (1.0, None):
        owned["a"].weight.grad = None if gradient is None else torch.full((1, 4), gradient)
        with torch.no_grad():
            owned["a"].weight.fill_(0.5)
            owned["a"].bias.zero_()
        balance.add(learned=True)
    balance.end_epoch()
    assert balance.index() == pytest.approx(0.0, abs=1e-6)  # (2 + 0) / 2 beside (1 + 1) / 2


def test_no_index_without_two_streams_or_without_a_gradient():
    alone = StreamBalance({"v": nn.Linear(4, 1)})
    alone.add(learned=True)
    alone.end_epoch()
    assert alone.index() is None
    idle = StreamBalance({m: nn.Linear(4, 1) for m in "va"})
    assert idle.index() is None
    idle.add(learned=False)
    idle.end_epoch()
    assert idle.index() is None


def slow_norm(tensors):
    return math.sqrt(sum(float(x) ** 2 for t in tensors for x in t.detach().double().flatten()))


@pytest.mark.parametrize("scarce", [False, True], ids=["complete", "audio-in-one-sample"])
@pytest.mark.parametrize("kind", [LateFusion, EarlyFusion])
def test_one_epoch_of_two_steps_against_the_gradients_themselves(kind, scarce):
    exists = np.ones((16, 2), dtype=bool)
    exists[1:, 1] = not scarce
    parameters, ratios = {}, []

    class Watched(kind):
        def prepare(self, train):
            remember(self)

    def remember(method):
        for m, module in method.projections().items():
            parameters[m] = slow_norm(module.parameters())

    def report(seen):
        method, progress = seen
        assert progress.loss
        ratios.append([
            slow_norm([p.grad for p in module.parameters() if p.grad is not None]) / parameters[m]
            for m, module in method.projections().items()
        ])  # fmt: skip
        remember(method)  # what the next step starts from

    _, index = train(Watched, split(exists), report, **SETTINGS)
    assert np.shape(ratios) == (2, 2)
    mean = np.mean(ratios, axis=0)
    assert index == pytest.approx(mean.std() / mean.mean(), rel=1e-4)
    assert index > 1e-4
    if scarce and kind is LateFusion:
        assert [row[1] == 0.0 for row in ratios].count(True) == 1


@pytest.mark.parametrize(
    ("kind", "settings"),
    [(LateFusion, SETTINGS), (EarlyFusion, SETTINGS), (MCMoE, {"batch_size": 8})],
)
def test_measuring_does_not_change_training(kind, settings, monkeypatch):
    measured, index = train(kind, split(), steps=3, **settings)
    monkeypatch.setattr(kind, "projections", lambda self: {})
    plain, nothing = train(kind, split(), steps=3, **settings)
    assert index is not None
    assert nothing is None
    assert 0 < index < 1
    for name, value in plain.state().items():
        assert torch.equal(measured.state()[name], value), name


@pytest.mark.parametrize("kind", [Unimodal, GDLT])
def test_methods_of_one_stream_have_no_index(kind):
    assert train(kind, split(), stream="audio", batch_size=8)[1] is None
