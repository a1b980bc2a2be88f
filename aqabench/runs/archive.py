"""A zip of runs: written so that equal runs give equal bytes, read as if a stranger had made it.

Members are ``<protocol>/<method>/<key>/<file of a run>``, ``<protocol>/protocol.yaml``, of what
is submitted ``<protocol>/<method>/card.json`` and ``<protocol>/<method>/source/<file>.py``, and
nothing else.  A file with any other member, a link, a path that leads elsewhere, an encrypted or
repeated member, or one that unpacks to more than a run can hold is refused as a whole.  Nothing is
ever unpacked to a path that the file names, and source is text to read: it is never run.
"""

from __future__ import annotations

import io
import os
import re
import stat
import uuid
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from aqabench.data.torch_archive import BROKEN_ZIP
from aqabench.disk import storing
from aqabench.errors import StoreError
from aqabench.runs.places import RECORD
from aqabench.runs.store import METRICS, PREDICTIONS, PROTOCOL
from aqabench.runs.weights import LIMIT, WEIGHTS

MEBI = 2**20
LIMITS = {
    RECORD: 4 * MEBI, METRICS: 16 * MEBI, PREDICTIONS: 16 * MEBI, WEIGHTS: LIMIT, PROTOCOL: MEBI,
}  # fmt: skip
"""Bytes that a file of each kind may have."""
MOST_RUNS = 200_000
MOST_READ = 64 * MEBI
"""Bytes that are read at once; the list of members is, so this limits their number."""
PIECE = 4 * MEBI
"""Bytes of a member that are read at once."""
_NAME = r"[^./\\:\x00-\x1f\x7f-\x9f][^/\\:\x00-\x1f\x7f-\x9f]{0,127}"
_RUN = re.compile(
    rf"(?P<place>{_NAME}/{_NAME}/[0-9a-f]{{16}})/"
    rf"(?P<file>{'|'.join(map(re.escape, (RECORD, METRICS, PREDICTIONS, WEIGHTS)))})"
)
_PROTOCOL = re.compile(rf"(?P<name>{_NAME})/{re.escape(PROTOCOL)}")
_CARD, _SOURCE = "card.json", "source"
_ORIGIN = re.compile(
    rf"(?P<owner>{_NAME}/{_NAME})/"
    rf"(?P<file>{re.escape(_CARD)}|{_SOURCE}/[A-Za-z0-9_][A-Za-z0-9_.-]{{0,99}}\.py)"
)
_PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True)
class RunArchive:
    """An open archive whose members have been checked; their contents have not.

    Attributes:
        path: of the file.
        runs: place -> name of file -> member.
        protocols: name -> member.
        origins: ``protocol/method`` -> ``card.json`` or ``source/<file>.py`` -> member.
    """

    path: Path
    runs: Mapping[str, Mapping[str, zipfile.ZipInfo]]
    protocols: Mapping[str, zipfile.ZipInfo]
    origins: Mapping[str, Mapping[str, zipfile.ZipInfo]]
    _zip: zipfile.ZipFile

    @property
    def size(self) -> int:
        """Bytes that all members take when they are unpacked."""
        groups = (*self.runs.values(), *self.origins.values())
        own = [info for files in groups for info in files.values()]
        return sum(info.file_size for info in (*own, *self.protocols.values()))

    def read(self, member: zipfile.ZipInfo) -> bytes:
        """Return the content of a member.

        Raises:
            StoreError: it is damaged.
        """
        try:
            with self._zip.open(member) as file:
                left, pieces = member.file_size + 1, []
                while left and (piece := file.read(min(left, PIECE))):
                    pieces.append(piece)
                    left -= len(piece)
                content = b"".join(pieces)
        except BROKEN_ZIP as error:
            raise _refused(
                self.path, f"'{_shown(member.filename)}' is damaged ({error})"
            ) from error
        if len(content) != member.file_size:
            raise _refused(self.path, f"'{_shown(member.filename)}' is not of the size it claims")
        return content


@contextmanager
def open_archive(path: Path) -> Iterator[RunArchive]:
    """Open an archive and check every member's name, kind and size.

    Raises:
        StoreError: it is not one, or not to be trusted.
    """
    if not path.is_file():
        raise StoreError(f"There is no file {path}. Check the path.")
    with _Frugal(path) as file:
        try:
            archive = zipfile.ZipFile(cast(BinaryIO, file))
        except BROKEN_ZIP as error:
            raise _refused(path, f"it cannot be read as a zip file ({error})") from error
        with archive:
            yield RunArchive(path, *_members(path, archive), archive)


def write_archive(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    """Write an archive; the file appears when it is whole.

    Args:
        path: of the file; one that is there is replaced.
        members: names and contents, in the order in which they are written.

    Raises:
        StoreError: the disk is full or may not be written.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with storing(path, "Make room or choose another place for the file"):
        try:
            with zipfile.ZipFile(temporary, "x") as archive:
                for name, content in members:
                    info = zipfile.ZipInfo(name)  # dated 1980, so that equal runs are equal bytes
                    info.external_attr = (stat.S_IFREG | 0o644) << 16
                    info.create_system = 3
                    packed = name.endswith((".gz", WEIGHTS))  # nothing would be gained
                    info.compress_type = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
                    archive.writestr(info, content)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def is_run_file(name: str) -> bool:
    """May an archive hold a member of this name?"""
    return bool(_RUN.fullmatch(name) or _PROTOCOL.fullmatch(name))


def origin_members(
    protocol: str, method: str, card: bytes, source: tuple[str, bytes]
) -> dict[str, bytes]:
    """Return the members that say what method runs are of: its card, and its source file."""
    owner = f"{protocol}/{method}"
    found = {f"{owner}/{_CARD}": card, f"{owner}/{_SOURCE}/{source[0]}": source[1]}
    for name in found:
        if not _ORIGIN.fullmatch(name):
            raise StoreError(
                f"'{_shown(name)}' cannot be put into a file of runs. Name the method, and its "
                "source file, with letters, digits, - and _ only."
            )
    return found


_Groups = dict[str, dict[str, zipfile.ZipInfo]]


def _members(
    path: Path, archive: zipfile.ZipFile
) -> tuple[_Groups, dict[str, zipfile.ZipInfo], _Groups]:
    runs: _Groups = {}
    origins: _Groups = {}
    protocols: dict[str, zipfile.ZipInfo] = {}
    seen: set[str] = set()
    for info in archive.infolist():
        name = info.filename
        run, protocol = _RUN.fullmatch(name), _PROTOCOL.fullmatch(name)
        origin = _ORIGIN.fullmatch(name)
        problem = _problem(info, name in seen)
        if problem or not (run or protocol or origin):
            raise _refused(path, f"'{_shown(name)}' {problem or 'is no file of a run'}")
        seen.add(name)
        if run:
            runs.setdefault(run["place"], {})[run["file"]] = info
        elif protocol:
            protocols[protocol["name"]] = info
        elif origin:
            origins.setdefault(origin["owner"], {})[origin["file"]] = info
        if len(runs) > MOST_RUNS:
            raise _refused(path, f"it holds more than {MOST_RUNS:,} runs")
    return runs, protocols, origins


def _problem(info: zipfile.ZipInfo, twice: bool) -> str:
    """Return what is wrong with a member, whatever its name."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    limit = LIMITS.get(info.filename.rpartition("/")[2], MEBI)
    if info.orig_filename != info.filename:
        return "has a name that hides another"
    if kind not in (0, stat.S_IFREG):
        return "is a link or no file"
    if twice:
        return "is there twice"
    if info.flag_bits & 0x1:
        return "is encrypted"
    if info.compress_type not in _PLAIN:
        return "is packed in a way that is not read here"
    if info.file_size > limit:
        return f"unpacks to {info.file_size:,} bytes, {limit:,} are allowed"
    return ""


def _refused(path: Path, problem: str) -> StoreError:
    return StoreError(
        f"{path} is not taken: {problem}. Nothing of it was imported. Ask for a file that "
        "'aqabench runs export' has made."
    )


def _shown(name: str) -> str:
    """Return a name that a terminal may show."""
    return ascii(name)[1:-1][:120]


class _Frugal(io.FileIO):
    """A file that refuses to be read in very large pieces, so that no list of members fills RAM."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._size = path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        rest = max(0, self._size - self.tell())
        wanted = rest if size is None or size < 0 else min(size, rest)
        if wanted > MOST_READ:
            raise zipfile.BadZipFile("its list of members is too long")
        return super().read(wanted) or b""
