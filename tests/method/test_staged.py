"""Two stages share one budget, train what they say, and go on after a crash with equal results."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from aqabench.data.batch import Split
from aqabench.errors import UsageError
from aqabench.method.base import FitContext, Task
from aqabench.method.card import MethodCard
from aqabench.method.staged import StagedMethod
from aqabench.train.checkpoint import Checkpoint
from tests.helpers import small_data, small_spec


class Linear(StagedMethod):
    """Learns a bias first and a slope then, from the mean of the first stream."""

    card = MethodCard(
        name="linear",
        title="Linear",
        kind="baseline",
        summary="s",
        missing="m",
        settings={
            "first_stage": 0.4,
            "optimizer": "adam",
            "lr": 0.01,
            "weight_decay": 0.0,
            "batch_size": 12,
            "epochs": 5,
        },
    )

    def build(self, task):
        return nn.Linear(1, 1)

    def begin(self, stage):
        self.net.weight.requires_grad_(stage == 1)
        self.net.bias.requires_grad_(stage == 0)

    def loss(self, batch, generator):
        x = batch.features["video"].mean((1, 2), keepdim=True)[:, 0] / 1000
        return {"task": (self.net(x)[:, 0] - batch.score).square().mean()}

    def encode(self, modality, features, valid):
        return features

    def score(self, encoded, available, valid):
        return self.net(encoded["video"].mean((1, 2), keepdim=True)[:, 0] / 1000)[:, 0]


class _CutError(Exception):
    pass


def fitted(steps, checkpoint=None, cut=0, **settings):
    """Return the method, what it reported and when it was looked at; cut off at a step."""
    spec = small_spec()
    data = small_data(spec)
    split = Split(data, data.rows("S", "train"), spec.classes[0], ["video", "audio"])  # 24: 2 steps
    symbols = {"video": "v", "audio": "a"}
    method = Linear(
        Task("small", "S", split.widths, symbols, 8), {**Linear.card.settings, **settings}
    )
    seen, looks, stages = [], [], []

    def report(progress):
        seen.append((progress.step, progress.steps, progress.epoch))
        stages.append((method.stage, [p.requires_grad for p in method.net.parameters()]))
        if progress.step == cut:
            raise _CutError

    context = FitContext(1, steps, 2, report, looks.append, checkpoint=checkpoint)
    try:
        method.fit(split, context)
    except _CutError:
        return None
    return method, seen, looks, stages


def test_the_budget_is_shared_and_looks_come_in_the_second_stage():
    method, seen, looks, stages = fitted(10)
    assert [step for step, _, _ in seen] == list(range(1, 11))
    assert {total for _, total, _ in seen} == {10}
    assert [epoch for _, _, epoch in seen] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert looks == [4, 5]
    assert stages == [(0, [False, True])] * 4 + [(1, [True, False])] * 6
    assert method.settings["epochs"] == 5
    assert method.stage == 1


@pytest.mark.parametrize(("steps", "first"), [(1, 0), (2, 1), (3, 1)])
def test_the_smallest_budgets_leave_a_step_for_the_second_stage(steps, first):
    _, seen, looks, stages = fitted(steps)
    assert len(seen) == steps
    assert sum(stage == 0 for stage, _ in stages) == first
    assert looks


def test_published_epochs_are_shared_as_well():
    _, seen, _, stages = fitted(None)
    assert len(seen) == 10
    assert sum(stage == 0 for stage, _ in stages) == 4
    assert {total for _, total, _ in seen} == {10}


def test_each_stage_trains_what_it_says():
    start = fitted(1)[0].net.bias
    method = fitted(10)[0]
    assert not torch.equal(method.net.bias, start)
    assert not torch.equal(fitted(9)[0].net.weight, method.net.weight)


@pytest.mark.parametrize("cut", [2, 4, 5, 8])
def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path, monkeypatch, cut):
    monkeypatch.setattr(Checkpoint, "due", property(lambda self: True))
    checkpoint = Checkpoint(tmp_path / "checkpoint.pt", dict, lambda _: None)
    assert fitted(10, checkpoint, cut) is None
    again, seen, looks, _ = fitted(10, checkpoint)
    whole, _, expected, _ = fitted(10)
    assert seen[-1] == (10, 10, 5)
    assert seen[0][0] == {2: 1, 4: 3, 5: 3, 8: 7}[cut]
    assert looks == expected
    assert all(
        torch.equal(a, b)
        for a, b in zip(again.net.parameters(), whole.net.parameters(), strict=True)
    )


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_that_leaves_a_stage_nothing_is_refused(share):
    with pytest.raises(
        UsageError, match=r"'first_stage' .* between 0 and 1.*--set first_stage=0.4"
    ):
        fitted(4, first_stage=share)
