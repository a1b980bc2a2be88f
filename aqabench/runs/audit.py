"""Everything that can be checked of runs that somebody hands in, and what cannot be checked here.

Predictions are the ground that every number stands on.  Whether they came out of the method only
training again can show; whether they are whole, belong to the data and give the numbers that are
told of them is found out here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pandas as pd
from pydantic_core import from_json

from aqabench.data.source import Source, choose
from aqabench.data.store import DataStore
from aqabench.disk import home
from aqabench.errors import DataError, StoreError
from aqabench.method.registry import Entry, Registry, source_digest
from aqabench.protocol.library import Asked
from aqabench.runs.archive import open_archive
from aqabench.runs.places import RECORD
from aqabench.runs.recompute import recheck
from aqabench.runs.record import RunRecord
from aqabench.runs.store import METRICS, PREDICTIONS, read_predictions
from aqabench.runs.vetting import check_run

if TYPE_CHECKING:
    from aqabench.data.features import FeatureSet

__all__ = ["Finding", "Ground", "audit", "ground_of", "source_remarks"]


@dataclass(frozen=True)
class Ground:
    """The data that runs are checked against, or why they cannot be.

    Attributes:
        source: what the data are; None where they are not here.
        remark: why not.
    """

    source: Source | None
    remark: str = ""

    def load(self) -> FeatureSet | None:
        """Read or simulate the data."""
        return self.source.load() if self.source is not None else None


@dataclass(frozen=True)
class Finding:
    """What was found of a run.

    Attributes:
        record: of the run.
        numbers: how many were recomputed.
        data: were its videos, scores and masks compared with the data?
        problems: what is wrong, in words that follow the run's name.
    """

    record: RunRecord
    numbers: int
    data: bool
    problems: tuple[str, ...]


def ground_of(record: RunRecord, asked: Asked) -> Ground:
    """Return the data of a run, if they are here."""
    try:
        source = choose(asked, record.data_kind, DataStore(home() / "data"))
    except DataError:
        return Ground(
            None,
            f"videos and scores are not checked: {asked.dataset.title} is not installed here. To "
            f"check them: aqabench data import {asked.dataset.name} --from FOLDER",
        )
    if source.digest != record.identity["data_digest"]:
        return Ground(
            None,
            f"videos and scores are not checked: the runs are on another release of "
            f"{asked.dataset.title} ({record.identity['data_digest'][:12]}) than the one here "
            f"({source.digest[:12]})",
        )
    return Ground(source)


def audit(
    record: RunRecord, files: Sequence[bytes], asked: Asked, ground: Ground, data: FeatureSet | None
) -> Finding:
    """Check a finished run.

    Args:
        record: of the run.
        files: its record, predictions and curve.
        asked: its protocol.
        ground: what its data are.
        data: the data; None where they are not here.
    """
    place = f"{record.identity['protocol']}/{record.method}/{record.key}"
    named = dict(zip((RECORD, PREDICTIONS, METRICS), files, strict=True))
    with TemporaryDirectory() as scratch:
        try:
            check_run(place, named, Path(scratch))
        except StoreError as error:
            return Finding(record, 0, False, (str(error),))
        frame = read_predictions(Path(scratch) / PREDICTIONS)
    curve = [from_json(line) for line in named[METRICS].splitlines()]
    count, problems = recheck(record, frame, curve, asked)
    if problems or data is None or ground.source is None:
        return Finding(record, count, False, tuple(problems))
    return Finding(record, count, True, tuple(_of_data(record, frame, asked, ground.source, data)))


def _of_data(
    record: RunRecord, frame: pd.DataFrame, asked: Asked, source: Source, data: FeatureSet
) -> list[str]:
    from aqabench.runs.verify import recheck_data  # torch; only where there are data

    try:
        return recheck_data(record, frame, asked, source, data)
    except DataError as error:
        return [f"cannot be compared with its data: {error}"]


def source_remarks(
    path: Path, digests: Mapping[str, set[str]], registry: Registry
) -> Iterator[str]:
    """Say of each method in an archive whether its source file is the one of its runs.

    Args:
        path: of the archive.
        digests: ``protocol/method`` -> source digests of its runs.
        registry: of the methods here.
    """
    with open_archive(path) as archive, TemporaryDirectory() as scratch:
        for owner, wanted in sorted(digests.items()):
            method = owner.partition("/")[2]
            members = archive.origins.get(owner, {})
            texts = {n: archive.read(m) for n, m in members.items() if n.endswith(".py")}
            if len(texts) != 1:
                yield f"{method}: no source file comes with it"
                continue
            ((name, text),) = texts.items()
            copy = Path(scratch) / Path(name).name
            copy.write_bytes(text)
            found = {source_digest(Entry(method, copy, ""))}
            for entry in registry.entries:
                if entry.name == method and not entry.error and entry.path.read_bytes() == text:
                    found.add(source_digest(entry))
            yield (
                f"{method}: its source file {copy.name} is what its runs were made from"
                if wanted <= found
                else f"{method}: its source file {copy.name} gives another digest than its runs "
                "have: they are of another version of it, or of aqabench"
            )
