"""The published score lists: Fis-V, RG and FS1000.

* Fis-V: ``id TES PCS deductions``, no header.  (Several published loaders skip the first line and
  so lose one training and one test video.)
* RG: a header line, then ``id difficulty execution total penalty length``; the class is the id's
  prefix and the target is the total.
* FS1000: no header, ``id TES PCS SS TR PE CO IN factor``; PCS is divided by the programme factor.

A header is told from data by its words, so a list that has one too many or too few is read all the
same, with a note; no line is ever skipped unread.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aqabench.data.readers.faults import Faults
from aqabench.data.readers.release import Label

FISV_COLUMNS = ("TES", "PCS", "deductions")
FS1000_COLUMNS = ("TES", "PCS", "SS", "TR", "PE", "CO", "IN", "factor")
RG_COLUMNS = ("difficulty", "execution", "total", "penalty", "length")
Row = Callable[[list[float], str], dict[str, float]]
LISTS = {
    "train": ("train.txt", "train_dataset.txt", "train_fs1000_new.txt", "train_fs800.txt"),
    "test": ("test.txt", "test_dataset.txt", "val_fs1000_new.txt", "val_fs800.txt"),
}
"""Published names of the lists, by part of the split."""


def find_lists(folder: Path) -> dict[str, Path]:
    """Return the list of each part of the split that the folder has."""
    return {
        split: folder / name
        for split, names in LISTS.items()
        for name in reversed(names)
        if (folder / name).is_file()
    }


def read_lists(
    folder: Path, dataset: str, faults: Faults, notes: list[str]
) -> tuple[tuple[Label, ...], tuple[Path, ...]]:
    """Return the rows of both lists and the files they are from; ids must be unique."""
    lists = find_lists(folder)
    rows: list[Label] = []
    for split, names in LISTS.items():
        path = lists.get(split, folder / names[0])
        rows += READ[dataset](path, split, faults, notes)
    seen: set[str] = set()
    for row in rows:
        if row.sample_id in seen:
            faults.add(row.sample_id, "is listed twice")
        seen.add(row.sample_id)
    return tuple(rows), tuple(lists.values())


def read_fisv(path: Path, split: str, faults: Faults, notes: list[str]) -> list[Label]:
    """Read a Fis-V list; every line is data."""
    source = _Source(path, split, faults, notes)
    return _read(source, FISV_COLUMNS, lambda v, _: {"TES": v[0], "PCS": v[1]}, header=False)


def read_fs1000(path: Path, split: str, faults: Faults, notes: list[str]) -> list[Label]:
    """Read an FS1000 list; every line is data, PCS is per programme factor."""

    def row(values: list[float], _: str) -> dict[str, float]:
        scores = dict(zip(FS1000_COLUMNS, values, strict=True))
        factor = scores.pop("factor")
        scores["PCS"] = scores["PCS"] / factor if factor else math.nan
        return scores

    return _read(_Source(path, split, faults, notes), FS1000_COLUMNS, row, header=False)


def read_rg(path: Path, split: str, faults: Faults, notes: list[str]) -> list[Label]:
    """Read an RG list; the first line is a header, the class is the id's prefix."""
    source = _Source(path, split, faults, notes)
    return _read(source, RG_COLUMNS, lambda v, name: {name.split("_")[0]: v[2]}, header=True)


@dataclass(frozen=True)
class _Source:
    """A list, the part of the split it stands for, and where problems and remarks go."""

    path: Path
    split: str
    faults: Faults
    notes: list[str]


def _read(source: _Source, columns: tuple[str, ...], row: Row, header: bool) -> list[Label]:
    path, split, faults = source.path, source.split, source.faults
    expected = " ".join(("id", *columns))
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        faults.add(path.name, f"is absent; it lists the {split} videos as '{expected}'")
        return []
    except UnicodeDecodeError as error:
        faults.add(
            path.name,
            f"is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8",
        )
        return []
    labels: list[Label] = []
    for number, line in enumerate(text.splitlines(), 1):
        cells = line.replace(",", " ").split()
        if not cells:
            continue
        where = f"{path.name}:{number}"
        numeric = all(_is_number(cell) for cell in cells[1:])
        words = len(cells) > 1 and not any(_is_number(cell) for cell in cells[1:])
        if number == 1 and header != words and (words or numeric):
            source.notes.append(
                f"{path.name} has no header line where the published list has one; its first line "
                "was read as data"
                if header
                else f"{path.name} begins with a header line, which the published list does not"
            )
        if number == 1 and words:
            continue
        if len(cells) != len(columns) + 1 or not numeric:
            faults.add(where, f"expected '{expected}', found '{line.strip()[:60]}'")
            continue
        values = [float(cell) for cell in cells[1:]]
        scores = row(values, cells[0])
        bad = [name for name, value in scores.items() if not math.isfinite(value)]
        if bad:
            faults.add(where, f"the score {', '.join(bad)} is not a finite number")
            continue
        labels.append(Label(cells[0], split, scores))
    if not text.strip():
        faults.add(path.name, f"is empty; expected '{expected}' in every line")
    return labels


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


READ: dict[str, Callable[[Path, str, Faults, list[str]], list[Label]]] = {
    "fisv": read_fisv,
    "fisv-c3d": read_fisv,
    "rg": read_rg,
    "fs1000": read_fs1000,
}
"""How the lists of a data set are read."""
