"""PAMFN's two stages: what learns in which."""

from __future__ import annotations

import pytest
import torch

from aqabench.data.batch import Split
from aqabench.method.base import FitContext, Task
from aqabench.methods.pamfn import PAMFN
from tests.helpers import small_data, small_spec

STREAMS = ["video", "audio"]


def training_part():
    spec = small_spec()
    data = small_data(spec)
    return Split(data, data.rows("S", "train"), spec.classes[0], STREAMS)  # 24 samples


def method_of(split, **settings):
    symbols = {"video": "v", "audio": "a"}
    task = Task("small", "S", split.widths, symbols, 8)
    small = {"networks": 1, "batch_size": 12, "unimodal_epochs": 1, "epochs": 1}
    return PAMFN(task, {**PAMFN.card.settings, **small, **settings})


@pytest.fixture(scope="module")
def trained():
    """A method after one step of each stage, what it reported, and when it was looked at."""
    split, seen, looks = training_part(), [], []
    method = method_of(split)
    method.fit(split, FitContext(1, 2, 1, seen.append, looks.append))
    return split, method, seen, looks


def learners(method, split, stage):
    """Return what gets a gradient in a stage, by the first part of its name, and the terms."""
    view = method._in_stage(stage)
    view.net.train()
    view.net.zero_grad(set_to_none=True)
    batch = next(split.random_batches(12, 8, torch.Generator().manual_seed(0)))
    terms = view.loss(batch, torch.Generator().manual_seed(0))
    sum(terms.values()).backward()
    named = view.net.named_parameters()
    return {k.split(".")[0] for k, p in named if p.grad is not None}, set(terms)


def test_branches_learn_first_and_the_mixed_branch_is_looked_at(trained):
    _, method, seen, looks = trained
    assert [set(p.loss) for p in seen] == [{"v", "a"}, {"task"}]
    assert looks == [2]
    view = method._in_stage("unimodal")
    assert (view.settings["lr"], view.settings["optimizer"]) == (1e-2, "sgd")
    assert method.settings["lr"] == 8e-4
    assert set(view.projections()) == set(method.projections()) == set(STREAMS)


def test_what_learns_in_which_stage(trained):
    split, method, _, _ = trained
    mixed = {"tau", "stage1", "stage2", "stage3", "fc"}
    assert learners(method, split, "unimodal") == ({"model_v", "model_a"}, {"v", "a"})
    assert learners(method, split, "fusion") == ({"model_a", *mixed}, {"task"})
    method.settings["audio_branch_learns"] = False
    assert learners(method, split, "fusion") == (mixed, {"task"})
    method.settings["audio_branch_learns"] = True


@pytest.mark.parametrize("drift", [False, True])
def test_statistics_of_frozen_branches_stand_still_unless_they_drift(trained, drift):
    split, method, _, _ = trained
    method.settings["frozen_branches_drift"] = drift
    statistics = {m: method.net.branch(m).embedding[1].running_mean for m in ("v", "a")}
    before = {m: x.clone() for m, x in statistics.items()}
    learners(method, split, "fusion")
    moved = {m: not torch.equal(x, before[m]) for m, x in statistics.items()}
    assert moved == {"v": drift, "a": True}  # audio goes on learning
