"""The index of a store: what its records say, in one file, so that 100,000 of them are no work.

Derived, and never believed over the records: the folders are listed whenever the index is used, and
of each record the stamp of its file (times and size) must be what it was when it was read, or the
file is read anew.  So the index may be absent, old, cut off or of another version, or hold other
runs than there are: everything works, only slower.

``<root>/index.sqlite`` is written whole under another name and renamed into place, and opened as a
file that nobody changes (``immutable``).  SQLite therefore takes no locks, which network disks
often lack; two processes write two whole files, of which the later stays; and in a folder that may
not be written there simply is no new one.  A run that ends touches no index: what it lacks is read
from the files until that is worth a new index.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from aqabench.errors import StoreError
from aqabench.runs.places import RECORD, latest, size, stamps
from aqabench.runs.record import RunRecord

INDEX = "index.sqlite"
FORMAT = 1
"""Of the tables below and of what :func:`summary_of` makes of a record."""
MANY = 1000
"""Records from which on an index is made without being asked for; fewer are read at once."""
CHANGES = 200
"""Changes that are read from the files, rather than writing the index again; or ..."""
SHARE = 50
"""... one in so many of what it holds."""
SETTLED = 2 * 10**9
"""Nanoseconds after which a file that changes again is sure to get another time."""
ROOM = 4
"""An index is made by itself only if so many times what it may need is free on the disk."""
TABLES = """
CREATE TABLE runs (
    place TEXT PRIMARY KEY, protocol TEXT NOT NULL, stamp TEXT NOT NULL,
    summary TEXT NOT NULL, problem TEXT NOT NULL
);
CREATE INDEX of_protocol ON runs (protocol);
CREATE TABLE texts (place TEXT PRIMARY KEY, text BLOB NOT NULL);
CREATE TABLE version (version TEXT NOT NULL);
"""


class Summary(NamedTuple):
    """What is listed and filtered of a run.

    Attributes:
        protocol, method, key: its place.
        row: the method with the settings that were given by hand.
        fold: None for a single split.
        budget: its name.
        error: first line of what went wrong; empty for a finished run.
        started: UTC, ISO 8601.
    """

    protocol: str
    method: str
    key: str
    status: str
    row: str
    class_name: str
    seed: int
    fold: int | None
    dataset: str
    data_kind: str
    budget: str
    error: str
    started: str
    protocol_digest: str
    data_digest: str
    source_digest: str

    @property
    def place(self) -> str:
        """Where the run lies below the root."""
        return f"{self.protocol}/{self.method}/{self.key}"


Said = Summary | str
"""What a record says, or what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A record that is there.

    Attributes:
        place: where.
        chosen: the index knows it, and what was asked for applies to it.
        text: returns the record's text, from the index if it can.
    """

    place: str
    chosen: bool
    text: Callable[[], bytes]


@dataclass(frozen=True)
class Found:
    """What there is, in the order of the paths.

    Attributes:
        summaries: of the records.
        unreadable: files that are no records of this version, with the reason.
        torn: places without a record: a run is at work there, or was cut off.
    """

    summaries: tuple[Summary, ...]
    unreadable: tuple[tuple[Path, str], ...]
    torn: tuple[str, ...]


@dataclass(frozen=True)
class RunIndex:
    """The index of the store below one folder; there may be no file of it."""

    root: Path

    @property
    def path(self) -> Path:
        """Return where the index lies or would lie."""
        return self.root / INDEX

    def entries(
        self, protocol: str | None = None, where: Callable[[Summary], bool] | None = None
    ) -> Iterator[Entry]:
        """Yield the records there are, of one protocol or of all, in the order of their paths.

        Args:
            protocol: only records of this one.
            where: leaves out records that the index knows; others are for the caller to judge.

        Raises:
            StoreError: a folder may not be read.
        """
        there, _, known = self._look(protocol)
        chosen = {}
        if where is not None:
            said = _decoded(known).items()
            chosen = {p: where(summary) for p, summary in said if isinstance(summary, Summary)}
        with closing(_Reader(self.root)) as reader:
            for place in there:
                if chosen.get(place, True):
                    text = reader.text if place in known else reader.file
                    yield Entry(place, place in chosen, functools.partial(text, place))

    def summaries(self, protocol: str | None = None) -> Found:
        """Return what is to be listed of the records there are.

        Raises:
            StoreError: a folder may not be read.
        """
        there, torn, known = self._look(protocol)
        decoded = _decoded(known)
        found, unreadable = [], []
        for place in there:
            said = decoded.get(place) or _read(self.root, place)
            if isinstance(said, Summary):
                found.append(said)
            elif said is not None:
                unreadable.append((self.root / place / RECORD, said))
        return Found(tuple(found), tuple(unreadable), torn)

    def rebuild(self) -> int:
        """Make the index anew from the records alone; return how many it holds.

        Those that were written this very moment are not among them.

        Raises:
            StoreError: a folder may not be read, or the index cannot be written.
        """
        now, (there, _) = time.time_ns(), stamps(self.root)
        settled = {p: s for p, s in there.items() if _settled(s, now)}
        try:
            self._write(settled, (), anew=True)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(
                f"The index {self.path} cannot be written ({error}). Nothing is lost: everything "
                "works without it, only slower. Make room or get write access, then type the same "
                "command again."
            ) from error
        return len(settled)

    def _look(self, protocol: str | None) -> tuple[dict[str, str], tuple[str, ...], _Rows]:
        """Return the records there are, the places without, and what the index knows of the former.

        Renews the index if that is worth it.
        """
        now, (there, torn) = time.time_ns(), stamps(self.root, protocol)
        rows = _load(self.path, protocol)
        known = _matching(rows, there)
        changed = {p: s for p, s in there.items() if p not in known and _settled(s, now)}
        gone = [place for place in rows or () if place not in there]
        enough = MANY if rows is None else max(CHANGES, len(rows) // SHARE)
        if len(changed) + len(gone) >= enough and self._has_room(there):
            with suppress(OSError, sqlite3.Error):
                self._write(changed, gone, anew=rows is None)
                known = _matching(_load(self.path, protocol), there)
        return there, torn, known

    def _has_room(self, there: Mapping[str, str]) -> bool:
        need = sum(map(size, there.values()))
        with suppress(OSError):
            need += self.path.stat().st_size
        try:
            return shutil.disk_usage(self.root).free > ROOM * need
        except OSError:
            return False

    def _write(self, changed: Mapping[str, str], gone: Iterable[str], anew: bool) -> None:
        """Write the index with these records read anew and those left out."""
        temporary = self.path.with_name(f".{INDEX}.{uuid.uuid4().hex}")
        try:
            if anew:
                temporary.touch(exist_ok=False)
            else:
                shutil.copyfile(self.path, temporary)
            with closing(_connect(temporary, "nolock=1")) as db:
                # nobody else sees this file, and one that is not whole is thrown away
                db.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")
                if anew:
                    db.executescript(TABLES)
                    db.execute("INSERT INTO version VALUES (?)", (_version(),))
                db.execute("BEGIN")
                for place in (*gone, *changed):
                    db.execute("DELETE FROM texts WHERE place = ?", (place,))
                    db.execute("DELETE FROM runs WHERE place = ?", (place,))
                for place, stamp in changed.items():
                    _insert(db, self.root, place, stamp)
                db.execute("COMMIT")
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(self.path)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


class _Reader:
    """Texts of records, out of the index or, if anything is wrong with it, out of their files."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._db: sqlite3.Connection | None = None
        with suppress(sqlite3.Error):
            self._db = _connect(root / INDEX, "mode=ro&immutable=1")

    def text(self, place: str) -> bytes:
        """Return the text of a record whose stamp was found to agree."""
        if self._db is not None:
            with suppress(sqlite3.Error):
                select = "SELECT text FROM texts WHERE place = ?"
                found = self._db.execute(select, (place,)).fetchone()
                if found is not None and isinstance(found[0], bytes):
                    return found[0]
        return self.file(place)

    def file(self, place: str) -> bytes:
        """Return what is in the file."""
        with open(f"{self._root}/{place}/{RECORD}", "rb") as file:  # noqa: PTH123 - quick
            return file.read()

    def close(self) -> None:
        """Let go of the file."""
        if self._db is not None:
            self._db.close()


def summary_of(place: str, record: RunRecord) -> Summary:
    """Return what is listed of a record.

    Raises:
        KeyError, TypeError, ValueError: the identity lacks something.
    """
    identity = record.identity
    protocol, method, key = place.split("/")
    return Summary(
        protocol,
        method,
        key,
        status=record.status,
        row=record.row,
        class_name=record.class_name,
        seed=record.seed,
        fold=record.fold,
        dataset=record.dataset,
        data_kind=str(identity["data_kind"]),
        budget=str(identity["budget"]["name"]),
        error=record.error.partition("\n")[0],
        started=record.started,
        protocol_digest=str(identity["protocol_digest"]),
        data_digest=str(identity["data_digest"]),
        source_digest=str(identity["source_digest"]),
    )


def _summarised(place: str, text: bytes) -> Said:
    try:
        return summary_of(place, RunRecord.model_validate_json(text))
    except ValidationError as error:
        return str(error).splitlines()[0]
    except (KeyError, TypeError, ValueError) as error:
        return f"its identity is not that of a run: {type(error).__name__} {error}"


def _read(root: Path, place: str) -> Said | None:
    """Return what a record's file says or what is wrong with it; None if it has gone."""
    try:
        return _summarised(place, (root / place / RECORD).read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        return str(error)


_Rows = dict[str, tuple[str, str, str]]
"""Place -> stamp, summary as JSON, problem."""


def _load(path: Path, protocol: str | None) -> _Rows | None:
    """Return what the index holds, or None if there is none that can be used."""
    if not path.is_file():
        return None
    select = "SELECT place, stamp, summary, problem FROM runs"
    only = () if protocol is None else (protocol,)
    try:
        with closing(_connect(path, "mode=ro&immutable=1")) as db:
            if db.execute("SELECT version FROM version").fetchone() != (_version(),):
                return None
            rows = db.execute(select + " WHERE protocol = ?" * len(only), only)
            return {place: (stamp, summary, problem) for place, stamp, summary, problem in rows}
    except (sqlite3.Error, UnicodeError):  # cut off, or no index at all
        return None


def _matching(rows: _Rows | None, there: Mapping[str, str]) -> _Rows:
    """Return what the index holds of the files that are as they were when it read them."""
    return {place: row for place, row in (rows or {}).items() if there.get(place) == row[0]}


def _decoded(rows: _Rows) -> dict[str, Said]:
    """Return what the records say; nothing if the index does not make sense."""
    try:
        # one long list is read several times faster than many short ones
        summaries = json.loads(f"[{','.join([summary for _, summary, _ in rows.values()])}]")
        return {
            place: problem or Summary(*summary)
            for (place, (_, _, problem)), summary in zip(rows.items(), summaries, strict=True)
        }
    except (ValueError, TypeError):
        return {}


def _insert(db: sqlite3.Connection, root: Path, place: str, stamp: str) -> None:
    try:
        text = (root / place / RECORD).read_bytes()
    except OSError:  # gone meanwhile, or not to be read: the file will say so when it is wanted
        return
    said = _summarised(place, text)
    known = isinstance(said, Summary)
    problem = "" if known else str(said)
    row = (place, place.partition("/")[0], stamp, json.dumps(said if known else None), problem)
    db.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?)", row)
    if known:
        db.execute("INSERT INTO texts VALUES (?, ?)", (place, text))


def _connect(path: Path, how: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, isolation_level=None)


def _settled(stamp: str, now: int) -> bool:
    """Is a file so old that changing it again would be seen?"""
    return latest(stamp) < now - SETTLED


@functools.cache
def _version() -> str:
    """Return what an index must have been made by: these tables, and this form of a record."""
    schema = json.dumps(RunRecord.model_json_schema(), sort_keys=True)
    return f"{FORMAT} {hashlib.sha256(schema.encode()).hexdigest()[:16]}"
