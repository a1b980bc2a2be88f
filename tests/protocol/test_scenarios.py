"""From a protocol's scenarios to tables: the same for every method, order of ids and machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from aqabench.errors import ProtocolError
from aqabench.protocol.library import Asked, load_protocol, protocol_names
from aqabench.protocol.mask_tables import shares
from aqabench.protocol.scenarios import (
    availability,
    averaged_scenarios,
    columns,
    corruptions,
    masks_digest,
    observation,
    scenarios,
    subset_names,
)

TEXT = """
name: mine
version: 1
title: t
question: q
dataset: fisv
classes: [TES]
modalities: [video, audio, flow]
scenarios:
  - {kind: subsets, sizes: [1, 3]}
  - {kind: rate, rates: [0.0, 0.4], law: keep-one, draws: 3}
  - {kind: quota, rates: [0.3], draws: 2}
  - {kind: imbalanced, rates: [[0.3, 0.5, 0.7]], draws: 2}
average: {name: A, over: incomplete}
"""
IDS = [f"v{i:03d}" for i in range(100)]


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    path = tmp_path / "mine.yaml"
    path.write_text(TEXT)
    return load_protocol(str(path))


def test_names_columns_and_averages(asked: Asked) -> None:
    protocol, dataset = asked.protocol, asked.dataset
    assert list(scenarios(protocol, dataset)) == [
        "v", "a", "f", "vaf", "rate=0/0", "rate=0.4/0", "rate=0.4/1", "rate=0.4/2",
        "quota=0.3/0", "quota=0.3/1", "imbalanced=0.3,0.5,0.7/0", "imbalanced=0.3,0.5,0.7/1",
    ]  # fmt: skip
    assert columns(protocol, dataset)["rate=0.4"] == ("rate=0.4/0", "rate=0.4/1", "rate=0.4/2")
    assert list(subset_names(protocol, dataset)) == ["v", "a", "f", "vaf"]
    left_out = set(scenarios(protocol, dataset)) - set(averaged_scenarios(protocol, dataset))
    assert left_out == {"vaf", "rate=0/0"}


def test_tables_follow_the_sample_and_not_its_place(asked: Asked) -> None:
    order = np.random.default_rng(0).permutation(100)
    first = availability(asked.protocol, asked.dataset, IDS)
    again = availability(asked.protocol, asked.dataset, [IDS[i] for i in order])
    for name, table in first.items():
        assert np.array_equal(table[order], again[name]), name
    assert masks_digest(first, IDS) == masks_digest(again, [IDS[i] for i in order])


def test_draws_parts_and_data_sets_have_tables_of_their_own(asked: Asked) -> None:
    test = availability(asked.protocol, asked.dataset, IDS)
    assert not np.array_equal(test["rate=0.4/0"], test["rate=0.4/1"])
    val = availability(asked.protocol, asked.dataset, IDS, "val")
    assert not np.array_equal(test["rate=0.4/0"], val["rate=0.4/0"])
    other = asked.dataset.model_copy(update={"name": "other"})
    assert masks_digest(availability(asked.protocol, other, IDS), IDS) != masks_digest(test, IDS)


def test_tables_hide_what_they_should(asked: Asked) -> None:
    tables = availability(asked.protocol, asked.dataset, IDS)
    assert all(table.any(axis=1).all() for table in tables.values())
    assert tables["rate=0/0"].all()
    assert shares(tables["quota=0.3/0"]).by_size == (0, 30, 30, 40)
    assert 0.3 < shares(tables["rate=0.4/0"]).realised < 0.5
    assert shares(tables["imbalanced=0.3,0.5,0.7/0"]).complete == pytest.approx(0.1, abs=0.011)


TIMED = (
    TEXT.split("scenarios:")[0]
    + """scenarios:
  - {kind: subsets, sizes: [3]}
  - {kind: frame-iid, rates: [0.0, 0.5], draws: 2}
  - {kind: outage, rates: [0.5], draws: 2}
  - {kind: suffix, rates: [0.5]}
  - {kind: mix, shown: [video, flow], rates: [0.0, 0.5], draws: 1}
average: {name: A, over: incomplete}
"""
)


def test_time_tables_follow_the_sample_and_hide_what_they_should(tmp_path: Path) -> None:
    path = tmp_path / "timed.yaml"
    path.write_text(TIMED)
    asked = load_protocol(str(path))
    rng = np.random.default_rng(1)
    lengths = rng.integers(3, 30, 100)
    tables = observation(asked.protocol, asked.dataset, IDS, lengths.tolist())
    assert list(tables) == [
        "frame-iid=0/0", "frame-iid=0.5/0", "frame-iid=0.5/1", "outage=0.5/0", "outage=0.5/1",
        "suffix=0.5/0", "mix vf=0/0", "mix vf=0.5/0",
    ]  # fmt: skip
    assert set(availability(asked.protocol, asked.dataset, IDS)) == {"vaf"}
    assert all(len(table) == lengths.sum() for table in tables.values())
    assert tables["frame-iid=0/0"].all()
    assert tables["frame-iid=0.5/0"].mean() == pytest.approx(0.5, abs=0.03)
    assert not tables["mix vf=0.5/0"][:, 1].any()
    last = np.cumsum(lengths) - 1
    assert not tables["suffix=0.5/0"][last].any()
    averaged = averaged_scenarios(asked.protocol, asked.dataset)
    assert "frame-iid=0/0" not in averaged
    assert "mix vf=0/0" in averaged
    order = rng.permutation(100)
    again = observation(
        asked.protocol, asked.dataset, [IDS[i] for i in order], lengths[order].tolist()
    )
    for name, table in tables.items():
        pieces = np.split(table, np.cumsum(lengths)[:-1])
        assert np.array_equal(np.concatenate([pieces[i] for i in order]), again[name]), name
    shuffled = masks_digest(again, [IDS[i] for i in order], lengths[order].tolist())
    assert masks_digest(tables, IDS, lengths.tolist()) == shuffled


@pytest.mark.parametrize("name", protocol_names())
def test_every_shipped_protocol_has_tables_for_its_data(name: str) -> None:
    asked = load_protocol(name)
    found = availability(asked.protocol, asked.dataset, IDS[:50])
    timed = observation(asked.protocol, asked.dataset, IDS[:50], [9] * 50)
    spoilt = {
        name
        for corruption in corruptions(asked.protocol, asked.dataset, IDS[:50], [9] * 50)
        for name in corruption.targets
    }
    assert set(scenarios(asked.protocol, asked.dataset)) == {*found, *timed, *spoilt}
    assert set(averaged_scenarios(asked.protocol, asked.dataset)) <= {*found, *timed, *spoilt}
    for table in timed.values():
        assert table.shape == (450, len(asked.protocol.modalities))
    for table in found.values():
        assert table.shape == (50, len(asked.protocol.modalities))
        assert table.any(axis=1).all()


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("[0.0, 0.4]", "[0.0, 0.8]", "at most 0.6667 of the slots can be hidden"),
        ("[0.3]", "[0.35]", "quota is defined for three modalities and the rates 0, 0.1"),
        ("[[0.3, 0.5, 0.7]]", "[[0.3, 0.5]]", "must hold 3 rates, one for each modality, not 2"),
        ("law: keep-one", "law: keepone", "did you mean 'keep-one'"),
        ("kind: quota", "kind: quotas", "did you mean 'quota'"),
        ("draws: 3", "draws: 0", "draws"),
        (
            "{kind: quota, rates: [0.3]",
            "{kind: mix, shown: [vidio], rates: [0.3]",
            "did you mean 'video'",
        ),
        ("{kind: quota, rates: [0.3]", "{kind: rate-t, rates: [0.9]", "at most 0.6667"),
    ],
)
def test_what_cannot_be_meant_is_named_with_its_line(
    tmp_path: Path, old: str, new: str, problem: str
) -> None:
    assert old in TEXT
    path = tmp_path / "mine.yaml"
    path.write_text(TEXT.replace(old, new, 1))
    with pytest.raises(ProtocolError) as caught:
        load_protocol(str(path))
    assert problem in str(caught.value), str(caught.value)
    assert "mine.yaml:" in str(caught.value)
