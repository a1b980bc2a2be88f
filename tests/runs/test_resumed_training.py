"""A training that was cut off goes on from its checkpoint with equal results."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from aqabench.data.features import FeatureSet
from aqabench.method.registry import discover
from aqabench.runs.execute import execute
from aqabench.runs.plan import Question, RunSpec, make_plan
from aqabench.runs.store import CHECKPOINT, METRICS, PREDICTIONS, RunStore
from aqabench.train.checkpoint import Checkpoint
from aqabench.train.context import Progress
from aqabench.train.numerics import USUAL, Numerics
from tests.runs.conftest import Counting

STEPS = 9  # of two a epoch


class Cut(Counting):
    """Is gone at a step."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def run_progress(self, spec: RunSpec, progress: Progress) -> None:
        super().run_progress(spec, progress)
        if progress.step == self.at:
            raise KeyboardInterrupt


@pytest.fixture
def plan(asked: tuple[Question, FeatureSet]) -> list[RunSpec]:
    question, _ = asked
    budget = question.budget.model_copy(update={"steps": STEPS, "evaluations": None})
    longer = replace(question, budget=budget)
    return make_plan(longer, discover(), ["early-fusion"], {}, classes=["TES"])


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint after every epoch."""
    monkeypatch.setattr(Checkpoint, "due", property(lambda self: True))


def _files(store: RunStore, spec: RunSpec) -> dict[str, bytes]:
    folder = store.directory(spec.question.protocol.name, spec.method, spec.key)
    return {name: (folder / name).read_bytes() for name in (PREDICTIONS, METRICS)}


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize(
    ("at", "numerics"),
    [
        (4, USUAL),
        pytest.param(7, USUAL, marks=pytest.mark.slow),
        pytest.param(4, Numerics(precision="bfloat16"), marks=pytest.mark.slow),
    ],
)
def test_a_resumed_training_equals_an_uninterrupted_one(
    tmp_path: Path,
    asked: tuple[Question, FeatureSet],
    plan: list[RunSpec],
    at: int,
    numerics: Numerics,
) -> None:
    torch.set_num_threads(1)
    plan = [replace(spec, numerics=numerics) for spec in plan]
    (spec,), data, registry = plan, asked[1], discover()
    whole, cut = RunStore(tmp_path / "whole"), RunStore(tmp_path / "cut")
    (undisturbed,) = execute(plan, data, registry, whole, Counting()).records
    with pytest.raises(KeyboardInterrupt):
        execute(plan, data, registry, cut, Cut(at))
    folder = cut.directory(spec.question.protocol.name, spec.method, spec.key)
    assert (folder / CHECKPOINT).is_file()
    rest = Counting()
    (resumed,) = execute(plan, data, registry, cut, rest).records
    assert rest.steps == STEPS - (at - 1) // 2 * 2  # epochs are two steps long
    assert _files(cut, spec) == _files(whole, spec)
    assert resumed.selected_epochs == undisturbed.selected_epochs
    assert resumed.learning_index == undisturbed.learning_index
    assert resumed.cost is not None
    assert resumed.cost.fit_seconds > 0
    assert not (folder / CHECKPOINT).exists()


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("content", [b"no checkpoint", pytest.param(None, marks=pytest.mark.slow)])
def test_a_damaged_checkpoint_means_beginning_anew(
    tmp_path: Path,
    asked: tuple[Question, FeatureSet],
    plan: list[RunSpec],
    content: bytes | None,
) -> None:
    torch.set_num_threads(1)
    (spec,), data, registry = plan, asked[1], discover()
    store = RunStore(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        execute(plan, data, registry, store, Cut(5))
    path = store.directory(spec.question.protocol.name, spec.method, spec.key) / CHECKPOINT
    path.write_bytes(path.read_bytes()[:-100] if content is None else content)
    rest = Counting()
    (record,) = execute(plan, data, registry, store, rest).records
    assert record.status == "finished"
    assert rest.steps == STEPS


def test_short_trainings_write_no_checkpoint(
    tmp_path: Path, asked: tuple[Question, FeatureSet], plan: list[RunSpec]
) -> None:
    torch.set_num_threads(1)
    store = RunStore(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        execute(plan, asked[1], discover(), store, Cut(5))
    assert not list(tmp_path.rglob(CHECKPOINT))
