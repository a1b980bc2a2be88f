"""The grammar's kinds and bounds, one by one; properties are in test_grammar_properties."""

from __future__ import annotations

import json
import re

import pytest
from protocol_strategies import KINDS, TRAININGS
from pydantic import TypeAdapter

from aqabench.errors import ProtocolError
from aqabench.protocol.grammar import ScenarioSpec, TrainingSpec
from aqabench.protocol.load import load_model
from aqabench.protocol.schema import DatasetSpec, Protocol
from aqabench.protocol.words import Schemas

HEAD = """\
name: mine
title: t
question: q
dataset: made
classes: [TES]
modalities: [video, audio]
average: {name: A, over: incomplete}
"""
VALID = {"version": "1", "scenarios": "[{kind: subsets}]", "split": "{}", "training": "complete"}


@pytest.mark.parametrize(
    ("field", "value", "key"),
    [
        ("version", "0", "version"),
        ("seeds", "[0, -1]", "seeds[1]"),
        ("seeds", "[]", "seeds"),
        ("scenarios", "[]", "scenarios"),
        ("scenarios", "[{kind: subsets, sizes: [0]}]", "scenarios[0].sizes[0]"),
        *(
            ("scenarios", f"[{{kind: {kind}, {key}: [{bad}]}}]", f"scenarios[0].{key}[0]")
            for key, kinds, values in (
                ("rates", ("rate", "quota"), ("-0.01", "1.0")),
                ("rates", ("frame-iid", "rate-t", "block", "outage"), ("-0.01", "1.01")),
                ("rates", ("prefix", "suffix", "mix, shown: [video]"), ("-0.01", "1.01")),
                ("levels", ("gauss", "channels", "shift", "freeze", "scale"), ("-0.01", "100.5")),
            )
            for kind in kinds
            for bad in values
        ),
        ("scenarios", "[{kind: imbalanced, rates: [[0.5, 1.0]]}]", "scenarios[0].rates[0][1]"),
        ("scenarios", "[{kind: rate, rates: [0.3], draws: 21}]", "scenarios[0].draws"),
        ("scenarios", "[{kind: block, rates: [0.3], draws: 0}]", "scenarios[0].draws"),
        ("scenarios", "[{kind: swap, draws: 21}]", "scenarios[0].draws"),
        ("scenarios", "[{kind: swap, on: []}]", "scenarios[0].on"),
        ("scenarios", "[{kind: mix, shown: [], rates: [0.5]}]", "scenarios[0].shown"),
        ("scenarios", "[{kind: gauss, levels: []}]", "scenarios[0].levels"),
        ("split", "{validation: {fraction: 0.5}}", "split.validation.fraction"),
        ("split", "{validation: {fraction: 0}}", "split.validation.fraction"),
        ("split", "{validation: {strata: 21}}", "split.validation.strata"),
        ("split", "{seed: -1}", "split.seed"),
        ("split", "{skipped: -1}", "split.skipped"),
        ("split", "{scheme: kfold, k: 1}", "split.k"),
        ("split", "{scheme: kfold, k: 21}", "split.k"),
        ("training", "{kind: rate, rate: 1.0}", "training.rate"),
        ("training", "{kind: rate, rate: 0.5, tables: 0}", "training.tables"),
        ("training", "{kind: imbalanced, rates: [0.5, 0.5], tables: 21}", "training.tables"),
        ("training", "{kind: imbalanced, rates: [0.5, 1.0]}", "training.rates[1]"),
        ("training", "{kind: single, modality: video, share: 0}", "training.share"),
        ("training", "{kind: single, modality: video, share: 1.01}", "training.share"),
        ("training", "{kind: single, modality: video, share: 1, tables: 21}", "training.tables"),
        ("training", "{kind: bern, p: 1.0}", "training.p"),
        ("training", "{kind: bern, p: -0.1}", "training.p"),
    ],
)
def test_every_bound_is_held(field: str, value: str, key: str) -> None:
    fields = {**VALID, field: value}
    text = HEAD + "".join(f"{name}: {written}\n" for name, written in fields.items())
    with pytest.raises(ProtocolError) as caught:
        load_model(text, Protocol)
    (fault,) = caught.value.faults
    assert fault.key == key
    assert text.splitlines()[fault.line - 1] == f"{field}: {value}"
    assert fault.problem.startswith("must be a")


@pytest.mark.parametrize(
    ("split", "problem"),
    [
        ("{k: 5}", "scheme 'official' has no 'k'"),
        ("{scheme: kfold, k: 5, group: athlete}", "scheme 'kfold' has no 'group'"),
        ("{scheme: grouped, k: 5, group: event, folds: piece}", "scheme 'grouped' has no 'folds'"),
        ("{scheme: kfold, k: 5, skipped: 1}", "scheme 'kfold' has no list to skip the head of"),
    ],
)
def test_what_a_scheme_has_not_is_named(split: str, problem: str) -> None:
    fields = {**VALID, "split": split}
    text = HEAD + "".join(f"{name}: {written}\n" for name, written in fields.items())
    with pytest.raises(ProtocolError) as caught:
        load_model(text, Protocol)
    (fault,) = caught.value.faults
    assert (fault.key, fault.problem) == ("split", problem)
    assert text.splitlines()[fault.line - 1] == f"split: {split}"


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ("split: {validation: null}", "selection 'val' needs a validation part"),
        ("seeds: [1, 1]", "seeds are listed twice"),
    ],
)
def test_what_does_not_go_together_is_named(more: str, problem: str) -> None:
    text = HEAD + "version: 1\nscenarios: [{kind: subsets}]\n" + more + "\n"
    with pytest.raises(ProtocolError) as caught:
        load_model(text, Protocol)
    (fault,) = caught.value.faults
    assert fault.problem.startswith(problem)


@pytest.mark.parametrize("kind", TRAININGS)
def test_a_kind_of_training_without_its_mapping_shows_how_to_write_it(kind: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        load_model(f"training: {kind}\n", Protocol)
    (fault,) = (fault for fault in caught.value.faults if fault.key == "training")
    assert fault.line == 1
    assert fault.suggestion == f"{{kind: {kind}}}"


def test_complete_training_is_a_word_and_no_mapping() -> None:
    with pytest.raises(ProtocolError) as caught:
        load_model("training: {kind: complete}\n", Protocol)
    (fault,) = (fault for fault in caught.value.faults if fault.key == "training")
    assert fault.problem == "'complete' stands alone, not in a mapping"
    assert fault.suggestion == "training: complete"


@pytest.mark.parametrize(
    ("more", "suggestion"),
    [
        ("levels: 1, on: [each]", "[1]"),
        ("levels: [1.0], on: each", "[each]"),
        ("levels: 101, on: [each]", ""),
        ("levels: [1.0], on: Each one", ""),
        ("levels: true, on: [each]", ""),
    ],
)
def test_a_value_where_its_list_belongs_is_shown_as_a_list(more: str, suggestion: str) -> None:
    text = HEAD + f"version: 1\nscenarios: [{{kind: gauss, {more}}}]\n"
    with pytest.raises(ProtocolError) as caught:
        load_model(text, Protocol)
    (fault,) = caught.value.faults
    assert fault.suggestion == suggestion
    assert fault.problem.startswith("must be a list of at least 1 item, each ")
    assert "^" not in fault.problem, "no pattern is shown to people"


def test_every_pattern_of_the_grammar_is_said_in_words() -> None:
    schema = json.dumps(Protocol.model_json_schema()) + json.dumps(DatasetSpec.model_json_schema())
    patterns = set(re.findall(r'"pattern": "([^"]+)"', schema))
    assert patterns
    for pattern in patterns:
        assert "matches" not in Schemas({"type": "any"}).describe(
            {"type": "str", "pattern": pattern}
        )


def test_the_grammar_has_the_kinds_that_are_tested_here() -> None:
    for spec, kinds in ((ScenarioSpec, KINDS), (TrainingSpec, TRAININGS)):
        mapping = TypeAdapter(spec).json_schema()["discriminator"]["mapping"]
        assert set(mapping) == set(kinds)
