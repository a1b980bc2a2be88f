"""Labels of who performs, from a CSV beside the release."""

from __future__ import annotations

from pathlib import Path

import pytest

from aqabench.data.groups import read_groups
from aqabench.errors import DataError, UsageError
from aqabench.protocol.library import load_dataset

SPEC = load_dataset("fisv")


def _file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "groups.csv"
    path.write_text(text)
    return path


@pytest.mark.parametrize("heading", ["group", "athlete", "athlete_group", "group.athlete"])
def test_the_usual_names_of_the_column_are_found(tmp_path: Path, heading: str) -> None:
    path = _file(tmp_path, f"sample_id,{heading}\n1,ann\n2,bea\n3,ann\n")
    found = read_groups(path, SPEC, ["3", "1"])
    assert found == {"athlete": {"3": "ann", "1": "ann"}}


def test_columns_may_be_named_and_joined(tmp_path: Path) -> None:
    path = _file(tmp_path, "sample_id,who,cup,year\n1,7,NHK,2015\n2,8,NHK,2016\n")
    found = read_groups(path, SPEC, ["1", "2"], {"athlete": ["who"], "event": ["cup", "year"]})
    assert found == {
        "athlete": {"1": "7", "2": "8"},
        "event": {"1": "NHK 2015", "2": "NHK 2016"},
    }


def test_samples_without_a_label_are_listed(tmp_path: Path) -> None:
    path = _file(tmp_path, "sample_id,group\n1,ann\n2,\n")
    with pytest.raises(DataError, match="has no athlete label") as caught:
        read_groups(path, SPEC, ["1", "2", "3"])
    assert "2, 3" in str(caught.value)


def test_a_file_of_another_kind_says_what_to_type(tmp_path: Path) -> None:
    path = _file(tmp_path, "id,skater\n1,ann\n")
    with pytest.raises(UsageError, match="--group-column athlete=COLUMN"):
        read_groups(path, SPEC, ["1"])
    with pytest.raises(UsageError, match="no column year"):
        read_groups(
            _file(tmp_path, "sample_id,cup\n1,NHK\n"), SPEC, ["1"], {"event": ["cup", "year"]}
        )
    with pytest.raises(DataError, match="cannot be read"):
        read_groups(tmp_path / "absent.csv", SPEC, ["1"])


def test_the_labels_at_hand_fit_fisv(shared_data: Path) -> None:
    path = shared_data / "labels_fisv.csv"
    if not path.is_file():
        pytest.skip(f"the labels are absent: {path}")
    ids = [str(i) for i in range(1, 501)]
    found = read_groups(path, SPEC, ids, {"athlete": ["athlete_group"]})
    assert len(set(found["athlete"].values())) == 148
