"""Reads ``leaderboards/published``: a file per data set, one for costs, one of sources.

Everything wrong is listed at once, each with its file and line.  Nothing is ever dropped in
silence: a file is good as a whole or not at all.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from aqabench.board.published.schema import AVERAGE, COSTS, TEXT, Claim, Source
from aqabench.errors import DataError, Fault, UnknownNameError, nearest
from aqabench.protocol.library import load_dataset, shipped_dataset_names
from aqabench.resources import folder

COLUMNS = (
    "class", "method", "year", "modalities", "condition", "metric", "value", "role", "averaging",
    "source", "place", "conflict", "note",
)  # fmt: skip
SOURCE_COLUMNS = ("key", "title", "address", "seen")
COST_FILE, SOURCE_FILE = "costs.csv", "sources.csv"
_CLAIM, _SOURCE = TypeAdapter(Claim), TypeAdapter(Source)


def published() -> tuple[Claim, ...]:
    """Return everything that is shipped, in the order of the files.

    Raises:
        DataError: a file is wrong; lists all faults.
    """
    return _shipped(folder("leaderboards") / "published")


def read(place: Path) -> tuple[Claim, ...]:
    """Return the claims of a folder.

    Raises:
        DataError: a file is wrong or absent; lists all faults.
    """
    faults: list[Fault] = []
    sources = _sources(place / SOURCE_FILE, faults)
    claims = [
        claim
        for path in sorted(place.glob("*.csv"))
        if path.name != SOURCE_FILE
        for claim in _claims(path, sources, faults)
    ]
    faults.extend(_doubles(claims))
    if faults:
        listed = "".join(f"\n  {fault}" for fault in faults)
        raise DataError(
            f"What is published cannot be read from {place}; correct these lines and type the "
            f"same command again:{listed}"
        )
    return tuple(claims)


def claims_of(names: Iterable[str]) -> tuple[Claim, ...]:
    """Return what is published under any of these names of a method.

    Raises:
        UnknownNameError: nothing is published under one of them; carries the nearest.
    """
    wanted, known = set(names), {claim.method for claim in published()}
    for name in sorted(wanted - known):
        hint = "the column 'method' in leaderboards/published"
        raise UnknownNameError("published method", name, known, hint)
    return tuple(claim for claim in published() if claim.method in wanted)


def published_rows(dataset: str, class_name: str = AVERAGE) -> tuple[Claim, ...]:
    """Return the scores of a data set's class, for a board to show beside its own rows."""
    return tuple(c for c in published() if (c.dataset, c.class_name) == (dataset, class_name))


def published_datasets() -> list[str]:
    """Return the data sets that anything is published for, sorted."""
    return sorted({claim.dataset for claim in published()} - {""})


@lru_cache(maxsize=1)
def _shipped(place: Path) -> tuple[Claim, ...]:
    return read(place)


def _lines(
    path: Path, columns: Sequence[str], faults: list[Fault]
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield line number and cells of every row that has as many cells as the heading."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        faults.append(Fault(path.name, 1, 1, "", f"cannot be read: {error}"))
        return
    rows = csv.reader(text.splitlines(keepends=True), strict=True)
    try:
        for number, row in enumerate(rows):
            line = rows.line_num
            if number == 0 and tuple(row) != tuple(columns):
                expected = ",".join(columns)
                faults.append(
                    Fault(path.name, 1, 1, "", f"the heading must be {expected}", ",".join(row))
                )
                return
            if len(row) != len(columns):
                problem = f"{len(columns)} cells are needed"
                faults.append(Fault(path.name, line, 1, "", problem, str(len(row))))
            elif number:
                yield line, dict(zip(columns, row, strict=True))
    except csv.Error as error:
        faults.append(Fault(path.name, rows.line_num, 1, "", f"is no CSV: {error}"))


def _sources(path: Path, faults: list[Fault]) -> dict[str, Source]:
    found: dict[str, Source] = {}
    for line, cells in _lines(path, SOURCE_COLUMNS, faults):
        source = _checked(_SOURCE, cells, cells, path, line, faults)
        if source is not None and source.key in found:
            faults.append(Fault(path.name, line, 1, "key", "stands there twice", source.key))
        elif source is not None:
            found[source.key] = source
    return found


def _claims(path: Path, sources: dict[str, Source], faults: list[Fault]) -> Iterator[Claim]:
    dataset = "" if path.name == COST_FILE else path.stem
    if dataset and dataset not in shipped_dataset_names():
        near = nearest(dataset, shipped_dataset_names()) or ""
        faults.append(Fault(path.name, 1, 1, "", "is called like no data set", dataset, near))
        return
    classes, symbols = {""}, {""}
    if dataset:
        spec = load_dataset(dataset)
        classes = {AVERAGE, *(c.name for c in spec.classes)}
        symbols = {"", TEXT, *(m.symbol for m in spec.modalities)}
    for line, cells in _lines(path, COLUMNS, faults):
        known = {"class": ([cells["class"]], classes), "source": ([cells["source"]], sources)}
        known["modalities"] = (cells["modalities"].split("+"), symbols)
        unknown = [
            Fault(path.name, line, COLUMNS.index(key) + 1, key, "is not known", repr(value),
                  nearest(value, have) or "")
            for key, (values, have) in known.items()
            for value in values
            if value not in have
        ]  # fmt: skip
        faults.extend(unknown)
        if unknown:
            continue
        given: dict[str, Any] = {
            **cells, "dataset": dataset, "class_name": cells["class"], "file": path.name,
            "line": line, "source": sources[cells["source"]],
        }  # fmt: skip
        del given["class"]
        claim = _checked(_CLAIM, given, cells, path, line, faults)
        if claim is not None:
            yield claim


def _checked(
    adapter: TypeAdapter[Any],
    given: dict[str, Any],
    cells: dict[str, str],
    path: Path,
    line: int,
    faults: list[Fault],
) -> Any:
    """Return the object, or None after adding what is wrong with the line."""
    try:
        return adapter.validate_python(given)
    except ValidationError as error:
        for fault in error.errors():
            key = str(fault["loc"][0]) if fault["loc"] else ""
            column = list(cells).index(key) + 1 if key in cells else 1
            problem = fault["msg"].removeprefix("Value error, ")
            got = repr(cells[key]) if key in cells else ""
            faults.append(Fault(path.name, line, column, key, problem, got))
        return None


def _doubles(claims: Sequence[Claim]) -> Iterator[Fault]:
    """Yield numbers that stand there twice, and second results of a method."""
    seen: dict[tuple[object, ...], Claim] = {}
    for claim in claims:
        what = (claim.dataset, claim.class_name, claim.method, claim.condition, claim.metric)
        streams = claim.modalities if claim.condition == "subset" else ""
        keys: list[tuple[object, ...]] = [
            (*what, claim.modalities, claim.source.key, claim.place, claim.value)
        ]
        if claim.role == "result" and claim.metric not in COSTS:
            keys.append((*what, streams))
        for key in keys:
            first = seen.setdefault(key, claim)
            if first is not claim:
                problem = f"has its like in line {first.line}; a method has one result"
                yield Fault(claim.file, claim.line, 1, claim.method, problem)
                break
