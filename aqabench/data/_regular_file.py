"""Opening a file that may be anything: never waits on a pipe, never touches a device."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

from aqabench.data._refusal import RefusalError

__all__ = ["MAX_FILE_BYTES", "open_regular"]

MAX_FILE_BYTES = 16 * 2**30
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_regular(path: str | os.PathLike[str], max_bytes: int) -> io.FileIO:
    """Open a regular file; look before opening, since opening a device can have effects.

    Args:
        path: a file, or a link to one.
        max_bytes: size above which it is refused.

    Raises:
        RefusalError: a folder, pipe, socket or device, or too large.
        OSError: there is no such file, or it cannot be opened.
    """
    _check_regular(Path(path).stat(), max_bytes)
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    raw = io.FileIO(os.open(path, flags | getattr(os, "O_CLOEXEC", 0)), "rb")
    try:
        _check_regular(os.fstat(raw.fileno()), max_bytes)  # it may have been exchanged meanwhile
    except RefusalError:
        raw.close()
        raise
    return raw


def _check_regular(status: os.stat_result, max_bytes: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "no regular file")
        raise RefusalError(f"it is {kind}, not a file", "give the path of a .npy file")
    if status.st_size > max_bytes:
        raise RefusalError(
            f"it has {status.st_size} bytes, {max_bytes} at most",
            "to allow more pass max_bytes=...",
        )
