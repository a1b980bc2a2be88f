"""The shipped protocols: valid, frozen in meaning, with a schema that editors can use."""

from __future__ import annotations

from pathlib import Path

import pytest

from aqabench.errors import ProtocolError, UnknownNameError
from aqabench.protocol.json_schema import schema_text
from aqabench.protocol.library import (
    dataset_names,
    load_dataset,
    load_protocol,
    protocol_digest,
    protocol_names,
)
from aqabench.protocol.scenarios import availability, averaged_scenarios, subset_names
from aqabench.protocol.schema import Protocol
from aqabench.resources import folder

SUBSETS = ["v", "a", "f", "va", "vf", "af", "vaf"]


@pytest.mark.parametrize(
    ("name", "classes"),
    [("fisv-missing", 2), ("rg-missing", 4), ("fs1000-missing", 7)],
)
def test_the_missing_protocols_ask_the_seven_subsets(name: str, classes: int) -> None:
    asked = load_protocol(name)
    assert len(asked.protocol.classes) == classes
    assert list(subset_names(asked.protocol, asked.dataset)) == SUBSETS
    assert list(averaged_scenarios(asked.protocol, asked.dataset)) == SUBSETS[:6]
    table = availability(asked.protocol, asked.dataset, ["x", "y"])
    assert table["vf"].tolist() == [[True, False, True]] * 2
    assert asked.protocol.selection == "val"


@pytest.mark.parametrize("name", protocol_names())
def test_every_protocol_loads_and_its_file_is_named_after_it(name: str) -> None:
    assert load_protocol(name).protocol.name == name
    first = (folder("protocols") / f"{name}.yaml").read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=schema.json"


@pytest.mark.parametrize("name", dataset_names())
def test_every_data_set_loads(name: str) -> None:
    assert load_dataset(name).name == name


def test_the_schema_for_editors_is_not_stale() -> None:
    shipped = (folder("protocols") / "schema.json").read_text(encoding="utf-8")
    assert shipped == schema_text(Protocol), (
        "write it again: python -m aqabench.protocol.json_schema > protocols/schema.json"
    )


def test_prose_and_seeds_do_not_change_the_digest_but_questions_do() -> None:
    asked = load_protocol("fisv-missing")
    protocol, dataset = asked.protocol, asked.dataset
    for change in ({"title": "x"}, {"question": "x"}, {"seeds": (0,)}):
        assert protocol_digest(protocol.model_copy(update=change), dataset) == asked.digest
    for change in ({"version": 2}, {"classes": ("TES",)}, {"training": "x"}):
        assert protocol_digest(protocol.model_copy(update=change), dataset) != asked.digest
    longer = dataset.model_copy(update={"clip_length": 125})
    assert protocol_digest(protocol, longer) != asked.digest


def test_names_are_checked_against_the_data_set(tmp_path: Path) -> None:
    text = (folder("protocols") / "fisv-missing.yaml").read_text()
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace("[TES, PCS]", "[TES, PSC]").replace("audio, flow", "audio, flwo"))
    with pytest.raises(ProtocolError) as caught:
        load_protocol(str(path))
    message = str(caught.value)
    assert "did you mean 'PCS'" in message
    assert "did you mean 'flow'" in message
    path.write_text(text.replace("dataset: fisv", "dataset: fsiv"))
    with pytest.raises(ProtocolError, match="did you mean 'fisv'"):
        load_protocol(str(path))
    path.write_text(text.replace("[video, audio, flow]", "[audio, video, flow]"))
    with pytest.raises(ProtocolError, match="in the order of the data set"):
        load_protocol(str(path))


def test_validation_is_needed_to_select_on_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    text = (folder("protocols") / "fisv-missing.yaml").read_text()
    path.write_text(text + "split: {scheme: official, validation: null}\n")
    with pytest.raises(ProtocolError, match="selection 'val' needs a validation part"):
        load_protocol(str(path))


def test_an_unknown_protocol_gets_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'rg-missing'"):
        load_protocol("rg-mising")
