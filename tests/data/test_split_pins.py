"""What the split rules draw, pinned: a change here means new versions of the protocols.

``protocols/lock.json`` pins mask tables; who is in which part depends on the data, so the rules are
pinned on reference data instead.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from aqabench.data.features import FeatureSet
from aqabench.data.splits import split_rows
from aqabench.protocol.schema import (
    ClassSpec,
    DatasetSpec,
    ModalitySpec,
    SplitSpec,
    ValidationSpec,
)

COUNT = 200
SPEC = DatasetSpec(
    name="pinned",
    version=1,
    title="Pinned",
    about="for the pins",
    modalities=(ModalitySpec(name="video", symbol="v", width=1),),
    classes=(ClassSpec(name="S", bounds=(0.0, 1.0), train=150, test=50),),
    same_videos=True,
    clip_length=1,
    groups=("athlete",),
)
GROUPED = ValidationSpec(group="athlete")
PINS = {
    "official": (SplitSpec(), None, "a88d480882c4ddd3"),
    "skipped": (SplitSpec(skipped=1), None, "5b8f79538528a1ef"),
    "whole": (SplitSpec(validation=None), None, "e34792104fbbffac"),
    "grouped validation": (SplitSpec(validation=GROUPED), None, "119a04c9f1574001"),
    "kfold": (SplitSpec(scheme="kfold", k=5), 2, "1bc05ed2f0daf676"),
    "grouped": (
        SplitSpec(scheme="grouped", k=5, group="athlete", validation=GROUPED),
        2,
        "de6a2d7927b259df",
    ),
}


@pytest.fixture(scope="module")
def data() -> FeatureSet:
    """Samples whose scores, ids and athletes follow from their number."""
    numbers = np.arange(COUNT)
    return FeatureSet(
        dataset="pinned",
        kind="simulated",
        digest="0" * 64,
        ids=tuple(f"{7 * i % COUNT:03d}" for i in numbers),
        offsets=np.arange(COUNT + 1),
        features={"video": np.zeros((COUNT, 1), dtype=np.float32)},
        scores={"S": (37 * numbers % 101) / 101},
        split=np.where(numbers < 150, "train", "test"),
        groups={"athlete": np.array([f"a{i * i % 41}" for i in numbers])},
    )


@pytest.mark.parametrize("name", PINS)
def test_a_rule_draws_what_it_always_drew(data: FeatureSet, name: str) -> None:
    spec, fold, pin = PINS[name]
    parts = split_rows(data, SPEC, SPEC.classes[0], spec, fold)
    text = ";".join(
        f"{part}:{','.join(sorted(data.ids[int(i)] for i in rows))}" for part, rows in parts.items()
    )
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == pin


def test_the_head_of_each_official_list_can_be_left_out(data: FeatureSet) -> None:
    parts = split_rows(data, SPEC, SPEC.classes[0], SplitSpec(validation=None, skipped=1))
    assert len(parts["train"]) == 149
    assert len(parts["test"]) == 49
    assert 0 not in parts["train"]
    assert 150 not in parts["test"]
