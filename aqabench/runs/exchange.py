"""Runs from one store to another, by way of a file that may come from anybody.

What is imported is what :mod:`aqabench.runs.archive` lets through, and then only runs that this
version reads, whose key is the hash of their identity, whose predictions the store's own reader
takes, and whose protocol can be used here.  That shows that a run is whole; whether its numbers are
honest no file can show.  A run enters as a whole, its record last; what is stored here is never
replaced.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from zipfile import ZipInfo

from pydantic_core import from_json

from aqabench.disk import replace_file, storing
from aqabench.errors import AqabenchError, StoreError
from aqabench.runs.archive import LIMITS, MEBI, RunArchive, is_run_file, open_archive, write_archive
from aqabench.runs.claim import GLANCE, claim_soon
from aqabench.runs.index import Summary
from aqabench.runs.places import RECORD, stamp
from aqabench.runs.store import (
    CHECKPOINT,
    LOG,
    METRICS,
    PREDICTIONS,
    PROTOCOL,
    RunStore,
)
from aqabench.runs.vetting import RefusedError, check_run
from aqabench.runs.weights import WEIGHTS, is_whole

SPARE = 64 * MEBI
"""Bytes that an import leaves free on the disk."""


@dataclass(frozen=True)
class Exported:
    """What an export wrote, and the places of runs that it left out with the reason."""

    runs: int
    bytes: int
    left_out: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Imported:
    """What an import did.

    Attributes:
        new: places of the runs that are in the store now and were not before.
        equal: places of the runs that were there, byte for byte.
        refused: places with the reason.
        protocols: names of the protocol files that were added.
    """

    new: tuple[str, ...]
    equal: tuple[str, ...]
    refused: tuple[tuple[str, str], ...]
    protocols: tuple[str, ...]


def export_runs(
    store: RunStore,
    summaries: Iterable[Summary],
    path: Path,
    origins: Mapping[str, bytes] = MappingProxyType({}),
    weights: bool = True,
) -> Exported:
    """Write runs and their protocols into a zip.

    Args:
        store: where they are.
        summaries: which.
        path: of the file; one that is there is replaced.
        origins: what else says where runs are from; see :func:`archive.origin_members`.
        weights: are the weights taken along, of runs that have them?

    Raises:
        StoreError: the file cannot be written.
    """
    places = sorted(one.place for one in summaries)
    left_out: list[tuple[str, str]] = []

    def members() -> Iterator[tuple[str, bytes]]:
        for name in sorted({place.partition("/")[0] for place in places}):
            with suppress(FileNotFoundError):
                yield f"{name}/{PROTOCOL}", store.protocol_file(name).read_bytes()
        yield from sorted(origins.items())
        for place in places:
            files = _files(store.root / place, weights)
            problem = _not_exported(place, files)
            if problem:
                left_out.append((place, problem))
                continue
            for file, content in files.items():
                yield f"{place}/{file}", content

    write_archive(path, members())
    return Exported(len(places) - len(left_out), path.stat().st_size, tuple(left_out))


def import_runs(
    store: RunStore, path: Path, report: Callable[[int, int], None] = lambda done, total: None
) -> Imported:
    """Take runs out of a zip into a store.

    Args:
        store: where they go.
        path: of the file.
        report: told how many runs have been looked at, and of how many.

    Raises:
        StoreError: the file as a whole is not to be trusted, or the store cannot be written.
    """
    new: list[str] = []
    equal: list[str] = []
    refused: list[tuple[str, str]] = []
    protocols: list[str] = []
    usable: dict[str, str] = {}
    with open_archive(path) as archive, tempfile.TemporaryDirectory() as scratch:
        _require_room(store, archive)
        for number, (place, members) in enumerate(archive.runs.items()):
            report(number, len(archive.runs))
            name = place.partition("/")[0]
            try:
                files = _unpacked(archive, members)
                if _is_here(store, place, files):
                    equal.append(place)
                    continue
                check_run(place, files, Path(scratch))
                if name not in usable:
                    usable[name] = _bring_protocol(store, archive, name, protocols)
                if usable[name]:
                    raise RefusedError(usable[name])
                (new if _bring_run(store, place, files) else equal).append(place)
            except RefusedError as error:
                refused.append((place, str(error)))
    return Imported(tuple(new), tuple(equal), tuple(refused), tuple(protocols))


def _unpacked(archive: RunArchive, members: Mapping[str, ZipInfo]) -> dict[str, bytes]:
    try:
        return {name: archive.read(member) for name, member in members.items()}
    except StoreError as error:
        raise RefusedError(str(error)) from error


def _bring_protocol(store: RunStore, archive: RunArchive, name: str, added: list[str]) -> str:
    """Make sure that the protocol of a run can be used here; return why it cannot, if so."""
    from aqabench.protocol.library import load_protocol, protocol_names

    own = store.protocol_file(name)
    member = archive.protocols.get(name)
    shipped = name in protocol_names()
    if own.is_file() or (shipped and member is None):
        return ""
    if member is None:
        return f"is of protocol {name}, which is not shipped, and the file does not bring it"
    text = _unpacked(archive, {PROTOCOL: member})[PROTOCOL]
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / PROTOCOL
        path.write_bytes(text)
        try:
            brought = load_protocol(str(path)).protocol.name
        except AqabenchError as error:
            reason = " ".join(line.strip() for line in str(error).splitlines()[1:] or [str(error)])
            return f"is of a protocol that cannot be used here: {reason}"
    if brought != name:
        return f"is of protocol {name}, and the file brings one called {brought} instead"
    store.keep_protocol(name, text.decode())
    added.append(name)
    return ""


def _bring_run(store: RunStore, place: str, files: Mapping[str, bytes]) -> bool:
    """Store a run; return whether it is new.

    Raises:
        RefusedError: another run of this key is here, or being done.
        StoreError: the store cannot be written.
    """
    folder = store.root / place
    with claim_soon(folder, GLANCE) as held:
        if not held:
            raise RefusedError("is being done here at this moment")
        if _is_here(store, place, files):
            return False
        protocol, method, key = place.split("/")
        store.discard_torn(protocol, method, key)
        with storing(folder):
            # the record last: then it is complete
            for name in (PREDICTIONS, METRICS, WEIGHTS, RECORD):
                if name in files:
                    replace_file(folder / name, files[name])
            for name in (CHECKPOINT, LOG):  # of a run cut off here, which need not go on
                (folder / name).unlink(missing_ok=True)
    return True


def _is_here(store: RunStore, place: str, files: Mapping[str, bytes]) -> bool:
    """Is this very run stored?  With or without weights: what is here stays as it is.

    Raises:
        RefusedError: one with other content is, or the folder is elsewhere.
    """
    folder = store.root / place
    if folder.resolve() != store.root.resolve() / place:
        raise RefusedError("would lie behind a link")
    if not (folder / RECORD).is_file():
        return False
    here = _files(folder, weights=False)
    if here == {name: content for name, content in files.items() if name != WEIGHTS}:
        return True
    if from_json(here[RECORD]).get("status") == "failed":
        raise RefusedError(
            "has failed here, which stays; to take it first type: aqabench runs prune --failed"
        )
    raise RefusedError(
        "is stored here with other content, which stays; to see in what they differ, import it "
        f"into another store and type: aqabench runs diff {folder.name} --other-store FOLDER"
    )


def _files(folder: Path, weights: bool) -> dict[str, bytes]:
    """Return the files of a run that are exchanged, all of one state of it; no torn weights."""
    taken = (RECORD, METRICS, PREDICTIONS)
    found: dict[str, bytes] = {}
    before, now = None, stamp(f"{folder}/{RECORD}")
    while before != now:  # a run that had failed may be done again meanwhile
        found = {}
        for name in (*taken, WEIGHTS) if weights and is_whole(folder / WEIGHTS) else taken:
            with suppress(FileNotFoundError):
                found[name] = (folder / name).read_bytes()
        before, now = now, stamp(f"{folder}/{RECORD}")
    return found


def _not_exported(place: str, files: Mapping[str, bytes]) -> str:
    """Return why a run would not be taken by an import, as far as is quickly seen."""
    if not all(is_run_file(f"{place}/{name}") for name in files):
        return "its folder is not named as one of a run"
    if RECORD not in files:
        return "it was deleted meanwhile"
    for name, content in files.items():
        if len(content) > LIMITS[name]:
            return f"its {name} has {len(content):,} bytes, {LIMITS[name]:,} are allowed"
    return ""


def _require_room(store: RunStore, archive: RunArchive) -> None:
    with storing(store.root):
        store.root.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(store.root).free
    if archive.size + SPARE > free:
        raise StoreError(
            f"{archive.path} unpacks to {archive.size / MEBI:,.0f} MiB, but only "
            f"{free / MEBI:,.0f} MiB are free below {store.root}. Nothing was imported. Make room "
            "or choose another place: --store FOLDER"
        )
