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

__all__ = ["claim", "claim_soon", "claimed"]

GLANCE = 0.05
"""Seconds that somebody may hold a lock who only looks whether it is held."""
POLL = 0.2
"""Seconds between two tries for a lock that another process holds for long."""


@contextmanager
def claim(folder: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold a run's folder; wait while another process does.

    A process that holds it may claim it again.

    Args:
        folder: of the run; it is made.
        waiting: called once if there is somebody to wait for.

    Raises:
        StoreError: the folder cannot be made.
    """
    lock = _lock(folder)
    if not _acquired(lock, folder, GLANCE):
        waiting()
        _acquired(lock, folder, -1)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def claim_soon(folder: Path, patience: float) -> Iterator[bool]:
    """Hold a run's folder if no other process does for so many seconds; say whether it is held.

    Raises:
        StoreError: the folder cannot be made.
    """
    lock = _lock(folder)
    held = _acquired(lock, folder, patience)
    try:
        yield held
    finally:
        if held:
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


def _lock(folder: Path) -> FileLock:
    return FileLock(folder / LOCK, is_singleton=True)


def _acquired(lock: FileLock, folder: Path, timeout: float) -> bool:
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=timeout, poll_interval=POLL if timeout < 0 else timeout / 5)
        except Timeout:
            return False
    return True
