"""Executing: the same key gives the same numbers, and the test part never trains or selects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from aqabench.data.features import FeatureSet
from aqabench.method.registry import discover
from aqabench.protocol.library import load_protocol
from aqabench.runs.execute import execute
from aqabench.runs.plan import Question, make_plan
from aqabench.runs.store import RunStore
from tests.runs.conftest import Counting


def test_one_run_twice_gives_equal_predictions_under_every_rule_and_subset(
    tmp_path: Path, asked: tuple[Question, FeatureSet]
) -> None:
    torch.set_num_threads(1)
    question, data = asked
    registry, frames = discover(), []
    plan = make_plan(question, registry, ["mcmoe"], {}, classes=["TES"])
    for name in "ab":
        listener = Counting()
        outcome = execute(plan, data, registry, RunStore(tmp_path / name), listener)
        assert not outcome.failed, outcome.failed[0].traceback
        assert listener.steps == 6
        frames.append(RunStore(tmp_path / name).predictions(outcome.records[0]))
    assert frames[0].equals(frames[1])
    frame, record = frames[0], outcome.records[0]
    assert set(frame["rule"]) == {"val", "last", "oracle"}
    assert set(frame["scenario"]) == {"v", "a", "f", "va", "vf", "af", "vaf"}
    assert record.samples == {"train": 51, "val": 9, "test": 20}
    test = frame[(frame["part"] == "test") & (frame["rule"] == "val")]
    assert len(test) == 7 * 20
    assert np.isfinite(test["prediction"]).all()
    assert record.cost is not None
    assert record.cost.parameters
    assert record.selected_epochs["last"] == 1 or record.selected_epochs["last"] >= 3


def test_selection_uses_validation_and_oracle_uses_test(
    tmp_path: Path, asked: tuple[Question, FeatureSet]
) -> None:
    question, data = asked
    registry, store = discover(), RunStore(tmp_path)
    plan = make_plan(question, registry, ["unimodal"], {"stream": "video"}, classes=["PCS"])
    (record,) = execute(plan, data, registry, store, Counting()).records
    curve = store.curve(record)
    for rule, part in (("val", "val"), ("oracle", "test")):
        rows = [r for r in curve if r["part"] == part]
        best = max(rows, key=lambda r: r["criterion"])
        assert record.selected_epochs[rule] == best["epoch"]


def test_a_protocol_without_validation_has_no_val_rule(
    tmp_path: Path, asked: tuple[Question, FeatureSet]
) -> None:
    from dataclasses import replace

    question, data = asked
    split = question.protocol.split.model_copy(update={"validation": None})
    protocol = question.protocol.model_copy(update={"split": split, "selection": "last"})
    plan = make_plan(replace(question, protocol=protocol), discover(), ["ridge"], {})[:1]
    store = RunStore(tmp_path)
    (record,) = execute(plan, data, discover(), store, Counting()).records
    assert record.samples == {"train": 60, "test": 20}
    assert set(store.predictions(record)["rule"]) == {"last", "oracle"}


@pytest.mark.parametrize(
    "method",
    ["ridge", "unimodal", *(pytest.param(m, marks=pytest.mark.slow) for m in ("mcmoe", "kd"))],
)
def test_steps_missing_inside_the_samples_need_nothing_of_a_method(
    tmp_path: Path, asked: tuple[Question, FeatureSet], method: str
) -> None:
    from dataclasses import replace

    question, data = asked
    timed = load_protocol("fisv-temporal").protocol
    kinds = tuple(s.model_copy(update={"draws": 1}) for s in timed.scenarios[:3])
    whole = load_protocol("fisv-missing").protocol.scenarios
    protocol = timed.model_copy(update={"scenarios": (*whole, *kinds)})
    plan = make_plan(replace(question, protocol=protocol), discover(), [method], {})[:1]
    store = RunStore(tmp_path)
    (record,) = execute(plan, data, discover(), store, Counting()).records
    assert record.error == ""
    frame = store.predictions(record)
    last = frame[(frame["rule"] == "last") & (frame["part"] == "test")]
    by_name = {name: own["prediction"].to_numpy() for name, own in last.groupby("scenario")}
    assert set(by_name) == set(record.scenarios)
    assert by_name["frame-iid=0/0"] == pytest.approx(by_name["vaf"], abs=1e-4)
    assert not np.allclose(by_name["frame-iid=0.9/0"], by_name["vaf"], atol=1e-4)
    assert not np.allclose(by_name["block=0.5/0"], by_name["outage=0.5/0"], atol=1e-5)
    assert len(record.masks["test"]) == 64
