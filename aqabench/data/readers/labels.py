"""The published score lists: Fis-V, RG and FS1000.

* Fis-V: ``id TES PCS deductions``, no header.  (Several published loaders skip the first line and
  so lose one training and one test video.)
* RG: a header line, then ``id difficulty execution total penalty length``; the class is the id's
  prefix and the target is the total.
* FS1000: no header, ``id TES PCS SS TR PE CO IN factor``; PCS is divided by the programme factor.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from aqabench.data.readers.release import Faults, Label

FISV_COLUMNS = ("TES", "PCS", "deductions")
FS1000_COLUMNS = ("TES", "PCS", "SS", "TR", "PE", "CO", "IN", "factor")
RG_COLUMNS = ("difficulty", "execution", "total", "penalty", "length")
Row = Callable[[list[float], str], dict[str, float]]


def read_fisv(path: Path, split: str, faults: Faults) -> list[Label]:
    """Read a Fis-V list; every line is data."""
    return _read(
        path, split, faults, FISV_COLUMNS, lambda v, _: {"TES": v[0], "PCS": v[1]}, header=False
    )


def read_fs1000(path: Path, split: str, faults: Faults) -> list[Label]:
    """Read an FS1000 list; every line is data, PCS is per programme factor."""

    def row(values: list[float], _: str) -> dict[str, float]:
        scores = dict(zip(FS1000_COLUMNS, values, strict=True))
        factor = scores.pop("factor")
        scores["PCS"] = scores["PCS"] / factor if factor else math.nan
        return scores

    return _read(path, split, faults, FS1000_COLUMNS, row, header=False)


def read_rg(path: Path, split: str, faults: Faults) -> list[Label]:
    """Read an RG list; the first line is a header, the class is the id's prefix."""
    return _read(
        path,
        split,
        faults,
        RG_COLUMNS,
        lambda v, sample: {sample.split("_")[0]: v[2]},
        header=True,
    )


def _read(
    path: Path, split: str, faults: Faults, columns: tuple[str, ...], row: Row, header: bool
) -> list[Label]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        faults.add(path.name, f"is absent; it lists the {split} videos")
        return []
    except UnicodeDecodeError as error:
        faults.add(path.name, f"is not UTF-8 text ({error.reason} at byte {error.start})")
        return []
    labels: list[Label] = []
    expected = " ".join(("id", *columns))
    for number, line in enumerate(text.splitlines(), 1):
        cells = line.replace(",", " ").split()
        if not cells:
            continue
        where = f"{path.name}:{number}"
        numeric = all(_is_number(cell) for cell in cells[1:])
        if number == 1 and header != (not numeric):
            faults.add(
                where,
                f"should be a header ({expected})"
                if header
                else f"looks like a header; this list has none ({expected})",
            )
        if number == 1 and (header or not numeric):
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
    if not labels and text.strip() == "":
        faults.add(path.name, "is empty")
    return labels


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
