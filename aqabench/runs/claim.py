"""One process at a time does a run, also when two commands work on one store.

The lock belongs to the operating system, so a killed process leaves none behind; its empty file
stays in the run's folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from aqabench.disk import storing
from aqabench.runs.store import LOCK

__all__ = ["claim", "claimed"]


@contextmanager
def claim(folder: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold a run's folder; wait while another process does.

    Args:
        folder: of the run; it is made.
        waiting: called once if there is somebody to wait for.

    Raises:
        StoreError: the folder cannot be made.
    """
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            waiting()
            lock.acquire(poll_interval=0.2)
    try:
        yield
    finally:
        lock.release()


def claimed(folder: Path) -> bool:
    """Is a process at work on the run?"""
    if not (folder / LOCK).exists():
        return False
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError):
        return True
    lock.release()
    return False
