"""What may go from a store: failed runs, torn folders, runs of older versions of a method.

A finished run of the current version is never chosen.  Nothing outside the store is touched, not
even by way of a link, and nothing that has changed since it was chosen or that a process is at work
on.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from aqabench.disk import storing
from aqabench.runs.claim import GLANCE, claim_soon, claimed
from aqabench.runs.index import Summary
from aqabench.runs.places import RECORD, stamp
from aqabench.runs.store import CHECKPOINT, RunStore

LEFTOVER = re.compile(
    r"\.(record\.json|predictions\.csv\.gz|metrics\.jsonl|weights\.pt|protocol\.yaml|index\.sqlite)"
    r"\.[0-9a-f]{32}|\.probe-[0-9a-f]{32}"
)
"""Names under which files are written before they are renamed into place."""
LEFTOVER_AGE = 3600.0
"""Seconds after which nobody is still writing such a file."""

AT_WORK = "a process is at work on it"


@dataclass(frozen=True)
class Doomed:
    """Something that may go.

    Attributes:
        path: a run's folder, or a file that was never renamed into place.
        kind: failed, older, torn or leftover.
        label: what people call it.
        bytes: that it takes.
        stamp: of the record when it was chosen; empty where there was none.
    """

    path: Path
    kind: str
    label: str
    bytes: int
    stamp: str


@dataclass(frozen=True)
class Kept:
    """Something that was chosen, or would have been, and stays."""

    path: Path
    reason: str


def choose(
    store: RunStore,
    *,
    failed: bool = False,
    older: bool = False,
    torn: bool = False,
    protocol: str | None = None,
    where: Callable[[Summary], bool] = lambda summary: True,
    torn_where: Callable[[str], bool] = lambda place: True,
) -> tuple[list[Doomed], list[Kept]]:
    """Return what may go, and what stays though it was asked for.

    Args:
        store: where.
        failed: runs that ended with an error.
        older: finished runs of a method of which a newer version has finished runs in the same
            comparison; failed ones of those versions, too.
        torn: folders without a record, and files that a killed process did not rename.
        protocol: only its runs.
        where: only runs that it says yes to.
        torn_where: only torn places that it says yes to.
    """
    found = store.summaries(protocol)
    chosen: dict[str, tuple[str, str]] = {}
    if older:
        chosen |= {s.place: ("older", _label(s)) for s in _older(found.summaries) if where(s)}
    if failed:
        own = (s for s in found.summaries if s.status == "failed" and where(s))
        chosen |= {s.place: ("failed", f"{_label(s)}: {s.error}") for s in own}
    if torn:
        chosen |= {
            place: ("torn", _torn_label(store, place)) for place in found.torn if torn_where(place)
        }
    doomed, kept = [], []
    for place, (kind, label) in chosen.items():
        folder = store.root / place
        if folder.resolve() != store.root.resolve() / place:
            kept.append(Kept(folder, "it is or lies behind a link"))
            continue
        if claimed(folder):
            kept.append(Kept(folder, AT_WORK))
            continue
        doomed.append(
            Doomed(folder, kind, label, folder_bytes(folder), stamp(f"{folder}/{RECORD}"))
        )
    if torn:
        doomed += _leftovers(store.root, protocol)
    return doomed, kept


def delete(doomed: Iterable[Doomed]) -> Iterator[Kept | None]:
    """Delete what was chosen; yield for each None, or why it stays.

    Raises:
        StoreError: something may not be deleted.
    """
    for one in doomed:
        if one.kind == "leftover":
            with storing(one.path):
                one.path.unlink(missing_ok=True)
            yield None
            continue
        if not one.path.is_dir():  # somebody else was quicker
            yield None
            continue
        with claim_soon(one.path, GLANCE) as held:
            done = _delete_run(one) if held else Kept(one.path, AT_WORK)
        yield done


def folder_bytes(folder: Path) -> int:
    """Return the bytes of all files in a folder; links count as themselves."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += Path(where, name).lstat().st_size
    return total


def _delete_run(one: Doomed) -> Kept | None:
    record = one.path / RECORD
    if stamp(str(record)) != one.stamp:
        return Kept(one.path, "it has changed since it was chosen")
    with storing(one.path):
        # the record first: what is left of a run whose deletion is cut off is no run
        record.unlink(missing_ok=True)
        shutil.rmtree(one.path)
    return None


def _older(summaries: Iterable[Summary]) -> list[Summary]:
    """Return the runs of versions that are older than the newest one with finished runs."""
    groups: dict[tuple[str, ...], list[Summary]] = {}
    for one in summaries:
        condition = (one.protocol, one.protocol_digest, one.data_kind, one.data_digest, one.budget)
        groups.setdefault((*condition, one.row), []).append(one)
    return [one for own in groups.values() for one in _older_of(own)]


def _older_of(summaries: list[Summary]) -> Iterator[Summary]:
    finished = [one for one in summaries if one.status == "finished"]
    if not finished:
        return
    current = max(finished, key=lambda one: one.started).source_digest
    last: Mapping[str, str] = _last_start(summaries)
    for one in summaries:
        # a version that was tried later and has only failed is newer, not older
        if one.source_digest != current and last[one.source_digest] < last[current]:
            yield one


def _last_start(summaries: Iterable[Summary]) -> dict[str, str]:
    last: dict[str, str] = {}
    for one in summaries:
        last[one.source_digest] = max(one.started, last.get(one.source_digest, ""))
    return last


def _label(one: Summary) -> str:
    fold = "" if one.fold is None else f" fold {one.fold}"
    return f"{one.protocol}: {one.row} {one.class_name} seed {one.seed}{fold}"


def _torn_label(store: RunStore, place: str) -> str:
    protocol, method, _ = place.split("/")
    more = ", could go on from its checkpoint" if (store.root / place / CHECKPOINT).exists() else ""
    return f"{protocol}: {method}{more}"


def _leftovers(root: Path, protocol: str | None) -> Iterator[Doomed]:
    """Yield files that were to be renamed into place and never were."""
    top = root if protocol is None else root / protocol
    if top.resolve() != root.resolve() / (protocol or ""):
        return
    before = time.time() - LEFTOVER_AGE
    for where, _, names in os.walk(top):
        for name in filter(LEFTOVER.fullmatch, names):
            path = Path(where, name)
            with suppress(FileNotFoundError):
                found = path.lstat()
                if found.st_mtime < before:
                    yield Doomed(path, "leftover", name, found.st_size, "")
