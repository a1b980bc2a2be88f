"""The published lists, each on a small file in exactly its layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from aqabench.data.readers.faults import Faults
from aqabench.data.readers.labels import read_fisv, read_fs1000, read_rg
from aqabench.errors import DataError

FISV = "1 28.71 29.36 1\n3 28.79 27.89 1\n5 32.2 28.9 0\n"
RG = (
    "id difficulty execution total penalty length\n"
    "Ball_001 10.5 8.3 18.8 0.0 92\n"
    "Ribbon_017 7.2 4.2 10.8 0.6 93\n"
)
FS1000 = "12 80.89 81.78 8.21 7.96 8.04 8.32 8.36 2.0\n40 61.64 40.68 8.43 8.11 7.96 8.18 8.0 1.0\n"


def _write(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "train.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_the_first_line_of_fisv_is_data(tmp_path: Path) -> None:
    faults = Faults(tmp_path)
    rows = read_fisv(_write(tmp_path, FISV), "train", faults, [])
    assert not faults.found
    assert [(r.sample_id, r.scores) for r in rows] == [
        ("1", {"TES": 28.71, "PCS": 29.36}),
        ("3", {"TES": 28.79, "PCS": 27.89}),
        ("5", {"TES": 32.2, "PCS": 28.9}),
    ]


def test_the_first_line_of_rg_is_a_header(tmp_path: Path) -> None:
    faults = Faults(tmp_path)
    rows = read_rg(_write(tmp_path, RG), "train", faults, [])
    assert not faults.found
    assert [(r.sample_id, r.scores) for r in rows] == [
        ("Ball_001", {"Ball": 18.8}),
        ("Ribbon_017", {"Ribbon": 10.8}),
    ]


def test_pcs_of_fs1000_is_divided_by_the_factor(tmp_path: Path) -> None:
    faults = Faults(tmp_path)
    rows = read_fs1000(_write(tmp_path, FS1000), "test", faults, [])
    assert not faults.found
    assert rows[0].scores["PCS"] == pytest.approx(40.89)
    assert rows[0].scores["PCS"] == pytest.approx(sum(list(rows[0].scores.values())[2:]))
    assert rows[1].scores["PCS"] == pytest.approx(40.68)
    assert rows[0].scores["TES"] == 80.89
    assert set(rows[0].scores) == {"TES", "PCS", "SS", "TR", "PE", "CO", "IN"}


def test_windows_line_ends_byte_order_mark_and_commas_are_fine(tmp_path: Path) -> None:
    faults = Faults(tmp_path)
    text = b"\xef\xbb\xbf" + FISV.replace(" ", ",").replace("\n", "\r\n").encode()
    assert len(read_fisv(_write(tmp_path, text), "train", faults, [])) == 3
    assert not faults.found


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1 28.71 29.36\n", "expected 'id TES PCS deductions'"),
        ("1 28.71 nan 0\n", "the score PCS is not a finite number"),
        ("1 28.71 many 0\n2 1 1 0\n", "found '1 28.71 many 0'"),
        (b"1 28.71 29.36 1\n\xff\xfe", "not UTF-8"),
        ("", "is empty"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(
    tmp_path: Path, text: str | bytes, problem: str
) -> None:
    faults = Faults(tmp_path)
    read_fisv(_write(tmp_path, text), "train", faults, [])
    with pytest.raises(DataError, match="nothing was imported") as caught:
        faults.raise_if_any("fisv")
    assert problem in str(caught.value)
    assert "type the same command again" in str(caught.value)


def test_a_header_too_few_loses_no_line_and_is_noted(tmp_path: Path) -> None:
    faults, notes = Faults(tmp_path), []
    rows = read_rg(_write(tmp_path, RG.split("\n", 1)[1]), "train", faults, notes)
    assert [r.sample_id for r in rows] == ["Ball_001", "Ribbon_017"]
    assert not faults.found
    assert notes == [
        "train.txt has no header line where the published list has one; its first line was read "
        "as data"
    ]


def test_a_header_too_many_is_told_from_data_and_noted(tmp_path: Path) -> None:
    faults, notes = Faults(tmp_path), []
    text = "id TES PCS deductions\n" + FISV
    assert len(read_fisv(_write(tmp_path, text), "train", faults, notes)) == 3
    assert notes == ["train.txt begins with a header line, which the published list does not"]
    assert not faults.found
