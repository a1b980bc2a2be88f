"""Every fault that a protocol shows only beside its data set, with its line and nearest word."""

from __future__ import annotations

from pathlib import Path

import pytest

from aqabench.errors import Fault, ProtocolError
from aqabench.protocol.document import Document
from aqabench.protocol.fit import misfits, unknown
from aqabench.protocol.library import load_dataset, load_protocol
from aqabench.protocol.load import load_marked
from aqabench.protocol.schema import Protocol

TEXT = """\
name: mine
version: 1
title: t
question: q
dataset: percepiano
classes:
  - interpretation_doubtful_convincing
modalities: [dynamics, timing, pedal]
split:
  scheme: published-folds
  folds: composition
  validation:
    group: composition
training:
  kind: rate
  rate: 0.5
scenarios:
  - kind: subsets
    sizes: [1, 3]
  - kind: rate
    rates: [0.2, 0.5]
  - kind: quota
    rates: [0.3, 0.7]
  - kind: imbalanced
    rates: [[0.1, 0.2, 0.3]]
  - kind: rate-t
    rates: [0.1, 0.5]
  - kind: mix
    shown: [dynamics, pedal]
    rates: [0.0, 1.0]
  - kind: channels
    levels: [0.5, 1.0] # channels
    on: [each, all]
  - kind: freeze
    levels: [0.5, 1.0] # freeze
    on: [each, timing]
  - kind: shift
    levels: [1.0, 2.0]
  - kind: gauss
    levels: [0.5, 100.0]
average: {name: A, over: incomplete}
criterion: complete
"""
DATASET = load_dataset("percepiano")


def found(text: str) -> list[Fault]:
    protocol, document = load_marked(text, Protocol, name="mine.yaml")
    return misfits(protocol, DATASET, document)


def line_of(text: str, words: str) -> int:
    """Return the line of a text that holds these words, which only one does."""
    (line,) = (i for i, line in enumerate(text.splitlines(), 1) if words in line)
    return line


def test_the_text_itself_has_no_fault() -> None:
    assert found(TEXT) == []


RATE = "  kind: rate\n  rate: 0.5"
STREAMS = "dynamics, timing, pedal, notes"
TOO_MUCH = "with 3 modalities of which one always stays at most 0.6667 of the slots can be hidden"
ROWS = "0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7"


@pytest.mark.parametrize(
    ("old", "new", "key", "problem", "near"),
    [
        (
            "- interpretation_doubtful_convincing",
            "- interpretation_doubtful",
            "classes[0]",
            f"'interpretation_doubtful' is not one of {', '.join(c.name for c in DATASET.classes)}",
            "interpretation_doubtful_convincing",
        ),
        (
            "modalities: [dynamics, timing, pedal]",
            "modalities: [dynamics, timing, note]",
            "modalities[2]",
            f"'note' is not one of {STREAMS}",
            "notes",
        ),
        (
            "modalities: [dynamics, timing, pedal]",
            "modalities: [dynamics, pedal, timing]",
            "modalities",
            "must be in the order of the data set: dynamics, timing, pedal",
            "",
        ),
        (
            "folds: composition",
            "folds: compositions",
            "split.folds",
            f"'compositions' is not one of {', '.join(DATASET.folds)}",
            "composition",
        ),
        (
            "group: composition",
            "group: plaier",
            "split.validation.group",
            f"'plaier' is not one of {', '.join(DATASET.groups)}",
            "player",
        ),
        ("rates: [0.2, 0.5]", "rates: [0.72, 0.5]", "scenarios[1].rates[0]", TOO_MUCH, ""),
        (
            "rates: [0.3, 0.7]",
            "rates: [0.3, 0.75]",
            "scenarios[2].rates[1]",
            f"quota is defined for three modalities and the rates {ROWS}",
            "",
        ),
        (
            "[[0.1, 0.2, 0.3]]",
            "[[0.1, 0.2]]",
            "scenarios[3].rates[0]",
            "must hold 3 rates, one for each modality, not 2",
            "",
        ),
        ("rates: [0.1, 0.5]", "rates: [0.1, 0.9]", "scenarios[4].rates[1]", TOO_MUCH, ""),
        (
            "shown: [dynamics, pedal]",
            "shown: [dynamics, petal]",
            "scenarios[5].shown[1]",
            "'petal' is not one of dynamics, timing, pedal",
            "pedal",
        ),
        (
            "levels: [0.5, 1.0] # channels",
            "levels: [0.5, 1.5] # channels",
            "scenarios[6].levels[1]",
            "channels takes shares from 0 to 1",
            "",
        ),
        (
            "on: [each, all]",
            "on: [each, notes]",  # the data set has it, the protocol does not
            "scenarios[6].on[1]",
            "'notes' is not one of each, all, dynamics, timing, pedal",
            "",
        ),
        (
            "levels: [0.5, 1.0] # freeze",
            "levels: [2.0, 1.0] # freeze",
            "scenarios[7].levels[0]",
            "freeze takes shares from 0 to 1",
            "",
        ),
        (
            "on: [each, timing]",
            "on: [eahc, timing]",
            "scenarios[7].on[0]",
            "'eahc' is not one of each, all, dynamics, timing, pedal",
            "each",
        ),
        (
            "levels: [1.0, 2.0]",
            "levels: [1.0, 2.5]",
            "scenarios[8].levels[1]",
            "shift takes whole numbers of steps",
            "",
        ),
        (
            "- kind: gauss\n    levels: [0.5, 100.0]",
            "- kind: swap",
            "scenarios[9].kind",
            "swap needs complete validation samples: give 'training: complete'",
            "",
        ),
        (
            "  rate: 0.5\n",
            "  rate: 0.75\n",
            "training.rate",
            "with 3 modalities at most 0.6667 can be missing",
            "",
        ),
        (
            RATE,
            "  rates: [0.1, 0.2]\n  kind: imbalanced",
            "training.rates",
            "must hold 3 rates, one for each modality, not 2",
            "",
        ),
        (
            RATE,
            "  modality: pedals\n  kind: single\n  share: 0.5",
            "training.modality",
            "'pedals' is not one of dynamics, timing, pedal",
            "pedal",
        ),
    ],
)
def test_every_fault_has_its_line(old: str, new: str, key: str, problem: str, near: str) -> None:
    assert TEXT.count(old) == 1
    text = TEXT.replace(old, new)
    (fault,) = (f for f in found(text) if f.key == key)
    assert (fault.problem, fault.suggestion) == (problem, near)
    assert fault.line == line_of(text, new.strip().splitlines()[0].lstrip("- ").lstrip())


def test_a_criterion_needs_what_it_compares_by() -> None:
    text = TEXT.replace("sizes: [1, 3]", "sizes: [1, 2]")
    (fault,) = found(text)
    assert fault.problem == "'complete' needs a scenario that hides nothing, and there is none"
    assert (fault.key, fault.line) == ("criterion", line_of(text, "criterion:"))
    assert found(text.replace("rates: [0.2, 0.5]", "rates: [0.0, 0.5]")) == []
    assert found(text.replace("levels: [0.5, 100.0]", "levels: [0.0]")) == []
    assert found(text.replace("criterion: complete", "criterion: mean")) == []


@pytest.mark.parametrize(
    ("old", "new", "got"),
    [
        ("  rate: 0.5\n", "  rate: 0.75\n", "0.75"),
        ("levels: [1.0, 2.0]", "levels: [1.0, 2.5]", "2.5"),
        ("levels: [0.5, 1.0] # channels", "levels: [9, 1.0]", "9"),
    ],
)
def test_numbers_are_repeated(old: str, new: str, got: str) -> None:
    assert [f.got for f in found(TEXT.replace(old, new))] == [got]


def test_a_label_of_seven_tenths_is_two_thirds() -> None:
    text = TEXT.replace("rates: [0.2, 0.5]", "rates: [0.7]")
    assert found(text.replace("  rate: 0.5\n", "  rate: 0.7\n")) == []


def test_quota_needs_three_modalities() -> None:
    text = TEXT.replace("[dynamics, timing, pedal]", "[dynamics, timing]")
    faults = {f.key: f for f in found(text)}
    assert "quota is defined for three modalities" in faults["scenarios[2].rates[0]"].problem
    assert faults["scenarios[2].rates[1]"].line == line_of(text, "rates: [0.3, 0.7]")
    assert faults["scenarios[3].rates[0]"].problem.startswith("must hold 2 rates")
    assert faults["scenarios[5].shown[1]"].problem == "'pedal' is not one of dynamics, timing"


def test_one_modality_cannot_be_missing_in_training() -> None:
    start, end = TEXT.index("scenarios:"), TEXT.index("average:")
    text = TEXT[:start] + "scenarios:\n  - kind: subsets\n" + TEXT[end:]
    text = text.replace("[dynamics, timing, pedal]", "[timing]")
    (fault,) = found(text)
    assert fault.key == "training"
    assert fault.line == line_of(text, "training:")
    assert "write 'complete'" in fault.problem
    assert found(text.replace("  kind: rate\n  rate: 0.5", "  kind: u7")) == [fault]
    assert found(text.replace("training:\n  kind: rate\n  rate: 0.5\n", "")) == []


@pytest.mark.parametrize("training", ["complete", "{kind: u7}", "{kind: bern, p: 0.5}"])
def test_swap_goes_with_samples_that_are_whole(training: str) -> None:
    text = TEXT.replace("training:\n  kind: rate\n  rate: 0.5\n", f"training: {training}\n")
    assert found(text.replace("- kind: gauss\n    levels: [0.5, 100.0]", "- kind: swap")) == []


def test_a_grouped_split_needs_a_group_of_the_data_set() -> None:
    scheme = "scheme: published-folds\n  folds: composition"
    text = TEXT.replace(scheme, "scheme: grouped\n  k: 3\n  group: compositoin")
    (fault,) = found(text)
    assert (fault.key, fault.suggestion) == ("split.group", "composition")
    assert fault.line == line_of(text, "group: compositoin")


def test_a_data_set_that_offers_nothing_says_so() -> None:
    document = Document("mine.yaml", {})
    (fault,) = unknown(document, ("split", "folds"), "player", [])
    assert fault.problem == "'player' is not offered: the data set has none"
    assert unknown(document, ("split", "folds"), "player", ["player"]) == []


def test_all_faults_come_at_once(tmp_path: Path) -> None:
    text = TEXT
    for old, new in {
        "- interpretation_doubtful_convincing": "- interpretation",
        "folds: composition": "folds: composer",
        "  rate: 0.5\n": "  rate: 0.9\n",
        "rates: [0.3, 0.7]": "rates: [0.35, 0.75]",
        "levels: [1.0, 2.0]": "levels: [1.5, 2.5]",
    }.items():
        text = text.replace(old, new)
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ProtocolError) as caught:
        load_protocol(str(path))
    assert {(f.key, f.line) for f in caught.value.faults} == {
        ("classes[0]", line_of(text, "- interpretation")),
        ("split.folds", line_of(text, "folds: composer")),
        ("training.rate", line_of(text, "rate: 0.9")),
        ("scenarios[2].rates[0]", line_of(text, "rates: [0.35")),
        ("scenarios[2].rates[1]", line_of(text, "rates: [0.35")),
        ("scenarios[8].levels[0]", line_of(text, "levels: [1.5")),
        ("scenarios[8].levels[1]", line_of(text, "levels: [1.5")),
    }
    assert "mine.yaml cannot be used. Correct the file" in str(caught.value)


def test_a_data_set_that_there_is_not(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(TEXT.replace("dataset: percepiano", "dataset: percepino"))
    with pytest.raises(ProtocolError) as caught:
        load_protocol(str(path))
    (fault,) = caught.value.faults
    assert (fault.line, fault.key, fault.suggestion) == (5, "dataset", "percepiano")
