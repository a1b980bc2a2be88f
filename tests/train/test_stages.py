"""Stages are one training to the runner: budgets, looks, and going on after a crash."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from aqabench.data.batch import Split
from aqabench.method.base import FitContext, Task
from aqabench.methods.pamfn import PAMFN
from aqabench.train.checkpoint import Checkpoint
from aqabench.train.stages import Stage, share_steps, train_in_stages
from tests.helpers import small_data, small_spec

STREAMS = ["video", "audio"]


def training_part():
    spec = small_spec()
    data = small_data(spec)
    return Split(data, data.rows("S", "train"), spec.classes[0], STREAMS)  # 24 samples


@pytest.mark.parametrize(
    ("steps", "epochs", "expected"),
    [
        (60, [250, 500], [20, 40]),
        (2000, [250, 400], [769, 1231]),
        (3, [1, 1000], [1, 2]),
        (2, [250, 500], [1, 1]),
        (1, [250, 500], [0, 1]),
        (10, [0, 5], [0, 10]),
        (12, [1, 2, 3], [2, 4, 6]),
    ],
)
def test_a_budget_is_shared_in_the_proportion_of_the_epochs(steps, epochs, expected):
    assert share_steps(steps, epochs) == expected


class Line(PAMFN):
    """A line in two stages, small enough for many trainings."""

    stage_of = 1

    def loss(self, batch, generator):
        x = batch.features["video"].mean((1, 2), keepdim=True)[:, 0] / 1000  # (B, 1)
        own = self.net[0](x) if self.stage_of == 0 else self.net[1](self.net[0](x).detach())
        return {"task": (own[:, 0] - batch.score).square().mean()}

    def projections(self):
        return {"video": self.net[0], "audio": self.net[1]} if self.stage_of == 0 else {}


class CutError(Exception):
    pass


def lines(steps, checkpoint=None, cut=0):
    """Train in two stages; return the weights, what was reported, and the looks."""
    split = training_part()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    stages = []
    for stage, epochs in enumerate((2, 3)):
        method = Line(
            Task("small", "S", split.widths, {"video": "v", "audio": "a"}, 8),
            {**PAMFN.card.settings, "batch_size": 12, "epochs": epochs, "lr": 0.1},
        )
        method.net, method.stage_of = net, stage
        stages.append(method)
    seen, looks = [], []

    def report(progress):
        seen.append((progress.step, progress.steps, progress.epoch))
        if progress.step == cut:
            raise CutError

    context = FitContext(1, steps, None, report, looks.append, checkpoint=checkpoint)
    try:
        train_in_stages([Stage(method) for method in stages], split, context)
    except CutError:
        return None
    return [p.detach().clone() for p in net.parameters()], seen, looks


@pytest.mark.parametrize("steps", [None, 10])
def test_to_the_runner_it_is_one_training(steps):
    _, seen, looks = lines(steps)
    assert seen == [(k, 10, (k + 1) // 2) for k in range(1, 11)]
    assert looks == [3, 4, 5]


@pytest.mark.parametrize("cut", [1, 3, 5, 6, 9])
def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path, monkeypatch, cut):
    monkeypatch.setattr(Checkpoint, "due", property(lambda self: True))
    checkpoint = Checkpoint(tmp_path / "checkpoint", dict, lambda _: None)
    whole, _, _ = lines(None)
    assert lines(None, checkpoint, cut) is None
    weights, seen, _ = lines(None, checkpoint)
    # the last epoch of a stage leaves no checkpoint of its own
    assert seen[0][0] == {1: 1, 3: 3, 5: 3, 6: 3, 9: 9}[cut]
    assert all(torch.equal(a, b) for a, b in zip(weights, whole, strict=True))
