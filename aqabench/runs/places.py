"""Where the runs of a store lie: its folders as they are now, and nothing of what is in the files.

A run lies in ``<root>/<protocol>/<method>/<key>/``; its *place* is ``"protocol/method/key"``.
Folders whose names begin with a dot belong to whoever is moving a run in or out, and are not looked
into.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from aqabench.errors import StoreError

RECORD = "record.json"


def places(root: Path, protocol: str | None = None) -> Iterator[str]:
    """Yield the place of every run, whole or torn, in the order of their paths.

    Raises:
        StoreError: a folder may not be read.
    """
    for name in protocols(root) if protocol is None else [protocol]:
        for method in _below(f"{root}/{name}"):
            for key in _below(f"{root}/{name}/{method}"):
                yield f"{name}/{method}/{key}"


def protocols(root: Path) -> list[str]:
    """Return the names of the folders that hold the runs of a protocol, sorted."""
    return _below(str(root))


def stamps(root: Path, protocol: str | None = None) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the place of every record there is with its stamp, and the places without a record.

    Both are in the order of their paths.

    Raises:
        StoreError: a folder may not be read.
    """
    found, torn = {}, []
    for place in places(root, protocol):
        said = stamp(f"{root}/{place}/{RECORD}")
        if said:
            found[place] = said
        else:
            torn.append(place)
    return found, tuple(torn)


def stamp(path: str) -> str:
    """Return by what a changed file is told, or nothing if there is no file.

    The times of its content and of its entry in nanoseconds, the later one first, and its bytes.
    Strings, because a hundred thousand tuples keep the garbage collector busy.
    """
    try:
        found = os.stat(path)  # noqa: PTH116 - called for every run there is
    except (FileNotFoundError, NotADirectoryError):
        return ""
    written, moved = found.st_mtime_ns, found.st_ctime_ns
    return f"{max(written, moved)} {min(written, moved)} {found.st_size}"


def latest(stamp: str) -> int:
    """Return the later of the times in a stamp, in nanoseconds."""
    return int(stamp.partition(" ")[0])


def size(stamp: str) -> int:
    """Return the bytes in a stamp."""
    return int(stamp.rpartition(" ")[2])


def _below(folder: str) -> list[str]:
    """Return the names of the folders in a folder, sorted; none if it has gone meanwhile."""
    try:
        with os.scandir(folder) as entries:
            return sorted([e.name for e in entries if e.name[0] != "." and e.is_dir()])
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        raise StoreError(
            f"The folder {folder} of the run store cannot be read: {reason}, so that runs would be "
            "left out unseen. Make it readable, or choose another store: --store FOLDER"
        ) from error
