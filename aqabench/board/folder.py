"""Runs in a flat folder of records, as ``leaderboards/`` ships them.

``NAME.json`` is a record; ``NAME.predictions.csv.gz`` and ``NAME.curve.jsonl`` beside it are what
the store keeps under other names.  Predictions carry the scores of a data set and may be absent:
then no number is made of the run.  ``verified.json``, beside the folder ``records/``, says which
runs somebody has verified (:mod:`aqabench.runs.verified`); the others are not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from aqabench.disk import replace_file, storing
from aqabench.errors import StoreError, UsageError
from aqabench.runs.index import Summary, summary_of
from aqabench.runs.places import RECORD
from aqabench.runs.record import RunRecord
from aqabench.runs.store import COLUMNS, METRICS, RunStore, read_predictions
from aqabench.runs.store import PREDICTIONS as STORED_PREDICTIONS
from aqabench.runs.verified import VERIFIED, Checks, fingerprint, read_verified

RECORDS = "records"
PREDICTIONS, CURVE = ".predictions.csv.gz", ".curve.jsonl"


@dataclass(frozen=True)
class RecordsFolder:
    """Records in a folder.

    Attributes:
        root: where the files are.
        stems: key of a run -> its files without their endings.
        kept: the records, in the order of their names.
        lacking: keys of finished runs without predictions.
        verified: key of a run -> what was found of it, as far as its files are still those.
    """

    root: Path
    stems: dict[str, Path] = field(repr=False)
    kept: tuple[RunRecord, ...] = field(repr=False)
    lacking: frozenset[str]
    verified: Mapping[str, Checks] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, folder: Path) -> RecordsFolder:
        """Read the records of a folder, or of ``records/`` in it.

        Raises:
            UsageError: there is no such folder, or no record in it.
            StoreError: a file is not a record, or two are of the same run.
        """
        root = folder / RECORDS if (folder / RECORDS).is_dir() else folder
        if not root.is_dir():
            raise UsageError(
                f"There is no folder '{folder}' of records. Name one that has NAME.json files, or "
                "leave --records away to render the store: aqabench board"
            )
        stems: dict[str, Path] = {}
        kept = []
        for path in sorted(root.glob("*.json")):
            if path.name == VERIFIED:
                continue
            record = _record(path)
            if record.key in stems:
                raise StoreError(
                    f"{path} and {stems[record.key].name}.json are the same run {record.key}. "
                    "Move one of them away and type the same command again."
                )
            stems[record.key] = path.with_suffix("")
            kept.append(record)
        if not kept:
            raise UsageError(
                f"There is no record in '{root}': a record is a file NAME.json as 'aqabench run' "
                "writes it. To render the store instead: aqabench board"
            )
        lacking = {
            r.key
            for r in kept
            if r.status == "finished" and not _beside(stems[r.key], PREDICTIONS).is_file()
        }
        found = cls(root, stems, tuple(kept), frozenset(lacking))
        told = read_verified(found.verified_file)
        good = {
            r.key: told[r.key]
            for r in kept
            if r.key in told
            and r.key not in lacking
            and fingerprint(found.files(r)) == told[r.key].files
        }
        return replace(found, verified=good)

    @property
    def verified_file(self) -> Path:
        """Where it is kept what was verified."""
        above = self.root.resolve().name == RECORDS
        return (self.root / ".." if above else self.root).resolve() / VERIFIED

    def files(self, record: RunRecord) -> list[bytes]:
        """Return record, predictions and curve of a run; an absent file is empty."""
        stem = self.stems[record.key]
        paths = [_beside(stem, ending) for ending in (".json", PREDICTIONS, CURVE)]
        return [path.read_bytes() if path.is_file() else b"" for path in paths]

    def records(
        self, protocol: str | None = None, where: Callable[[Summary], bool] | None = None
    ) -> Iterator[RunRecord]:
        """Yield the records, of one protocol or of all; see :meth:`RunStore.records`."""
        for record in self.kept:
            if protocol not in (None, record.identity["protocol"]):
                continue
            place = f"{record.identity['protocol']}/{record.method}/{record.key}"
            if where is None or where(summary_of(place, record)):
                yield record

    def predictions(self, record: RunRecord) -> pd.DataFrame:
        """Return the predictions of a run; no rows where they are absent."""
        if record.key in self.lacking:
            return pd.DataFrame({name: [] for name in COLUMNS})
        return read_predictions(_beside(self.stems[record.key], PREDICTIONS))

    def curve(self, record: RunRecord) -> list[dict[str, Any]]:
        """Return the looks of a run, in order; none where they are absent."""
        path = _beside(self.stems[record.key], CURVE)
        return read_curve(path)

    def record_file(self, record: RunRecord) -> Path:
        """Return the file of a record."""
        return _beside(self.stems[record.key], ".json")

    def protocol_file(self, name: str) -> Path:
        """Return where a protocol of the user's own would lie."""
        return self.root / f"{name}.yaml"


def add_run(folder: Path, record: RunRecord, files: Sequence[bytes]) -> bool:
    """Lay a run into ``records/`` of a folder; return whether it was not there before.

    Args:
        folder: such as ``leaderboards/NAME``; made if need be.
        record: of the run.
        files: its record, predictions and curve, as they are kept.

    Raises:
        StoreError: the disk is full or may not be written, or another run has its place.
    """
    fold = "" if record.fold is None else f"-fold{record.fold}"
    name = f"{record.method}-{record.class_name}-{record.seed}{fold}-{record.key[:8]}"
    stem = folder / RECORDS / name
    place = _beside(stem, ".json")
    if place.is_file():
        if place.read_bytes() == files[0]:
            return False
        raise StoreError(
            f"{place} is there with other content, which stays. Move it away and type the same "
            "command again."
        )
    with storing(place, "Make room or choose another folder"):
        stem.parent.mkdir(parents=True, exist_ok=True)
        endings = (".json", PREDICTIONS, CURVE)
        for ending, content in reversed([*zip(endings, files, strict=True)]):  # the record last
            replace_file(_beside(stem, ending), content)
    return True


def read_curve(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a curve file; none where it is absent.

    Raises:
        StoreError: a line of it is damaged.
    """
    if not path.is_file():
        return []
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise StoreError(
            f"The curve in {path} cannot be read ({error}). Delete the file, and the board is "
            "rendered without it."
        ) from error


def _beside(stem: Path, ending: str) -> Path:
    return stem.with_name(stem.name + ending)


def _record(path: Path) -> RunRecord:
    try:
        return RunRecord.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        first = str(error).splitlines()[0]
        raise StoreError(
            f"{path} is not a run record of this version ({first}). Move it away and type the "
            "same command again."
        ) from error


@dataclass(frozen=True)
class StoredRuns:
    """The runs of a store, seen like those of a folder of records."""

    store: RunStore
    lacking: frozenset[str] = frozenset()
    verified: None = None
    """Runs of one's own are not asked about."""

    @property
    def root(self) -> Path:
        """The folder of the store."""
        return self.store.root

    def records(
        self, protocol: str | None = None, where: Callable[[Summary], bool] | None = None
    ) -> Iterator[RunRecord]:
        """Yield the records; see :meth:`RunStore.records`."""
        return self.store.records(protocol, where)

    def predictions(self, record: RunRecord) -> pd.DataFrame:
        """Return the predictions of a run."""
        return self.store.predictions(record)

    def curve(self, record: RunRecord) -> list[dict[str, Any]]:
        """Return the looks of a run, in order; none where they are absent."""
        return read_curve(self.record_file(record).with_name(METRICS))

    def files(self, record: RunRecord) -> list[bytes]:
        """Return record, predictions and curve of a run; an absent file is empty."""
        folder = self.record_file(record).parent
        paths = [folder / name for name in (RECORD, STORED_PREDICTIONS, METRICS)]
        return [path.read_bytes() if path.is_file() else b"" for path in paths]

    def record_file(self, record: RunRecord) -> Path:
        """Return the file of a record."""
        protocol = str(record.identity["protocol"])
        return self.store.directory(protocol, record.method, record.key) / RECORD

    def protocol_file(self, name: str) -> Path:
        """Return where a protocol of the user's own is kept."""
        return self.store.protocol_file(name)
