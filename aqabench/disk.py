"""Writing to disk so that a crash, a full disk or Ctrl-C loses nothing that was there before."""

from __future__ import annotations

import errno
import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from aqabench.errors import StoreError


def home() -> Path:
    """Return the folder of everything aqabench keeps: ``$AQABENCH_HOME`` or the user's data."""
    given = os.environ.get("AQABENCH_HOME")
    return Path(given).expanduser() if given else platformdirs.user_data_path("aqabench")


RUNS = "Runs stored before are intact. Make room or choose another place with --store FOLDER"
DATA = "What was stored before is intact. Make room, or set AQABENCH_HOME to another disk"


@contextmanager
def storing(place: Path, advice: str = RUNS) -> Iterator[None]:
    """Turn what an operating system says of a full or closed disk into one clear sentence.

    Args:
        place: what was to be written.
        advice: what is safe, and what the user may do.

    Raises:
        StoreError: the disk is full or may not be written.
    """
    try:
        yield
    except OSError as error:
        reason = {
            errno.ENOSPC: "the disk is full",
            errno.EDQUOT: "the disk quota is used up",
            errno.EFBIG: "the file is larger than the disk or your limits allow",
            errno.EROFS: "the disk is read-only",
            errno.EACCES: "permission denied",
            errno.EPERM: "permission denied",
            errno.ENOTDIR: "a part of the path is a file, not a folder",
        }.get(error.errno or 0, str(error))
        raise StoreError(
            f"Cannot write to {place}: {reason}. {advice}, then type the same command again."
        ) from error


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that it is either the old one or the whole new one."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sha256_file(path: Path) -> str:
    """Return the sha256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
