"""From a protocol's scenarios to tables: the same for every method, order of ids and machine."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest

from aqabench.errors import ProtocolError
from aqabench.protocol.library import Asked, load_protocol, protocol_names
from aqabench.protocol.mask_tables import shares
from aqabench.protocol.noise_laws import damage_digest
from aqabench.protocol.scenarios import (
    availability,
    averaged_scenarios,
    columns,
    compared_scenarios,
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


SPOILT = (
    TEXT.split("scenarios:")[0]
    + """scenarios:
  - {kind: subsets, sizes: [3]}
  - {kind: gauss, levels: [0.0, 0.5], on: [each, all], draws: 2}
  - {kind: shift, levels: [4], on: [flow], draws: 2}
  - {kind: scale, levels: [1.0, 2.0], on: [audio, all], draws: 3}
  - {kind: swap, on: [each], draws: 2}
average: {name: A, over: incomplete}
criterion: complete
"""
)


@pytest.fixture
def spoilt(tmp_path: Path) -> Asked:
    path = tmp_path / "spoilt.yaml"
    path.write_text(SPOILT)
    return load_protocol(str(path))


def test_corruptions_are_named_by_stream_level_and_draw(spoilt: Asked) -> None:
    protocol, dataset = spoilt.protocol, spoilt.dataset
    every = scenarios(protocol, dataset)
    assert list(every) == [
        "vaf",
        "gauss v=0/0", "gauss v=0.5/0", "gauss v=0.5/1", "gauss a=0/0", "gauss a=0.5/0",
        "gauss a=0.5/1", "gauss f=0/0", "gauss f=0.5/0", "gauss f=0.5/1",
        "gauss all=0/0", "gauss all=0.5/0", "gauss all=0.5/1",
        "shift f=4/0", "shift f=4/1",
        "scale a=1/0", "scale a=2/0", "scale all=1/0", "scale all=2/0",
        "swap v/0", "swap v/1", "swap a/0", "swap a/1", "swap f/0", "swap f/1",
    ]  # fmt: skip
    assert every["gauss a=0.5/1"].corrupted == ("audio",)
    assert every["gauss all=0.5/0"].corrupted == ("video", "audio", "flow")
    assert columns(protocol, dataset)["swap f"] == ("swap f/0", "swap f/1")
    nothing = {name for name, scenario in every.items() if scenario.complete}
    assert nothing == {
        *("vaf", "gauss v=0/0", "gauss a=0/0", "gauss f=0/0", "gauss all=0/0"),
        *("scale a=1/0", "scale all=1/0"),
    }
    assert set(averaged_scenarios(protocol, dataset)) == set(every) - nothing
    assert set(compared_scenarios(protocol, dataset)) == nothing
    mean = protocol.model_copy(update={"criterion": "mean"})
    assert compared_scenarios(mean, dataset) == tuple(every)
    assert set(availability(protocol, dataset, IDS)) == {"vaf"}, "nothing is hidden"
    assert observation(protocol, dataset, IDS, [9] * 100) == {}


def test_scenarios_of_one_level_share_a_table(spoilt: Asked) -> None:
    """What is drawn of a stream is the same, whatever else is spoilt beside it."""
    lengths = [5 + i % 7 for i in range(100)]
    found = corruptions(spoilt.protocol, spoilt.dataset, IDS, lengths)
    shared = {(c.damage.kind, c.damage.level, c.draw): c for c in found}
    assert len(shared) == len(found) == 9
    gauss = shared["gauss", 0.5, 1]
    assert dict(gauss.targets) == {
        "gauss v=0.5/1": ("video",),
        "gauss a=0.5/1": ("audio",),
        "gauss f=0.5/1": ("flow",),
        "gauss all=0.5/1": ("video", "audio", "flow"),
    }
    assert set(gauss.damage.tables) == {"video", "audio", "flow"}
    assert set(shared["shift", 4.0, 0].damage.tables) == {"flow"}
    fewer = spoilt.protocol.model_copy(update={"scenarios": spoilt.protocol.scenarios[1:3]})
    alone = corruptions(fewer, spoilt.dataset, IDS, lengths)
    for other in alone:
        same = shared[other.damage.kind, other.damage.level, other.draw]
        for m, table in other.damage.tables.items():
            assert np.array_equal(table, same.damage.tables[m])


def test_damage_follows_the_sample_and_differs_by_draw_part_and_data_set(spoilt: Asked) -> None:
    rng = np.random.default_rng(2)
    lengths, order = rng.integers(3, 30, 100), rng.permutation(100)
    shuffled = [IDS[i] for i in order]

    def digests(part: str, name: str = "fisv", turned: bool = False) -> list[str]:
        dataset = spoilt.dataset.model_copy(update={"name": name})
        ids = shuffled if turned else IDS
        clips = lengths[order].tolist() if turned else lengths.tolist()
        found = corruptions(spoilt.protocol, dataset, ids, clips, part)
        return [damage_digest(c.damage, ids, clips) for c in found]

    first = digests("test")
    assert first == digests("test", turned=True)
    every = corruptions(spoilt.protocol, spoilt.dataset, IDS, lengths.tolist())
    drawn = [i for i, c in enumerate(every) if c.damage.kind != "scale"]
    for other in (digests("val"), digests("test", "other")):
        assert all(first[i] != other[i] for i in drawn)
    shift = [c.damage.tables["flow"] for c in every if c.damage.kind == "shift"]
    assert not np.array_equal(*shift)
    assert {abs(int(steps)) for steps in shift[0]} == {4}
    swaps = next(c.damage.tables["audio"] for c in every if c.damage.kind == "swap")
    assert sorted(swaps.tolist()) == list(range(100))
    assert (swaps != np.arange(100)).all()


def test_symbols_of_several_letters_are_kept_apart(spoilt: Asked) -> None:
    longer = tuple(
        m.model_copy(update={"symbol": symbol})
        for m, symbol in zip(spoilt.dataset.modalities, ("vi", "au", "of"), strict=True)
    )
    dataset = spoilt.dataset.model_copy(update={"modalities": longer})
    every = list(scenarios(spoilt.protocol, dataset))
    assert every[0] == "vi+au+of"
    assert "gauss au=0.5/0" in every


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


def test_the_guide_lists_every_shipped_protocol_with_its_columns() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "protocols.md").read_text(encoding="utf-8")
    section = guide.split("## Shipped protocols")[1].split("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in section.splitlines()
        if line.startswith("| `")
    ]
    said = {pattern.strip("`"): counts for pattern, _, *counts in rows}
    for name in protocol_names():
        asked = load_protocol(name)
        found = len(columns(asked.protocol, asked.dataset))
        if f"`{name}`" in section:
            assert found == 1, name
            continue
        pattern = max((p for p in said if fnmatch(name, p)), key=len)
        assert said[pattern][len(asked.protocol.modalities) - 3] == str(found), name


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
