"""What a run took: time and memory."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass
class Stopwatch:
    """Adds up the seconds spent inside ``with watch.running():``."""

    seconds: float = 0.0
    _start: float | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count the time of the block."""
        self._start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds, self._start = self.total, None

    @property
    def total(self) -> float:
        """Seconds so far, those of a block that is still running included."""
        running = 0.0 if self._start is None else time.perf_counter() - self._start
        return self.seconds + running


def peak_memory_bytes() -> int:
    """Return the largest resident size that this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def available_bytes() -> int:
    """Return the memory that new processes may use: what is free, within the group's limit."""
    free = psutil.virtual_memory().available
    limit = Path("/sys/fs/cgroup/memory.max")
    used = Path("/sys/fs/cgroup/memory.current")
    try:
        return min(free, int(limit.read_text()) - int(used.read_text()))
    except (OSError, ValueError):  # no such file, or "max"
        return free


def available_cores(
    groups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> int:
    """Return the processors that this process may keep busy: its own, within its groups' quotas.

    Args:
        groups: where control groups are mounted, of version 2 or 1.
        own: says which group of them this process is in.
    """
    mine = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if mine else os.cpu_count() or 1
    for line in _lines(own):
        _, kinds, path = line.split(":", 2)
        if kinds and "cpu" not in kinds.split(","):
            continue
        group = Path(path)
        # a quota of any group above counts; in a container only some of them can be seen
        for part in (group, *group.parents):
            folder = groups / kinds / part.relative_to("/")
            quota = _lines(folder / "cpu.cfs_quota_us") + _lines(folder / "cpu.cfs_period_us")
            words = quota or [word for line in _lines(folder / "cpu.max") for word in line.split()]
            match words:
                case [share, period] if share.isdigit() and int(period):
                    cores = min(cores, -(-int(share) // int(period)))
    return max(1, cores)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


POWER = Path("/sys/class/powercap")


class EnergyMeter:
    """Reads the processors' energy counters, which many systems let only administrators read.

    The counters are the machine's: what other processes used in the meantime is contained.
    """

    def __init__(self, root: Path = POWER) -> None:
        """Look for the counters of whole processor packages."""
        self._counters = sorted(root.glob("intel-rapl:[0-9]*"))
        self._counters = [c for c in self._counters if c.name.count(":") == 1]
        self._before = self._read()

    def joules(self) -> float | None:
        """Return the energy since the meter was made; None where it cannot be read."""
        now = self._read()
        if not now or len(now) != len(self._before):
            return None
        total = 0
        for counter, before, after in zip(self._counters, self._before, now, strict=True):
            used = after - before
            if used < 0:  # the counter began anew
                used += int((counter / "max_energy_range_uj").read_text())
            total += used
        return total / 1e6

    def _read(self) -> list[int]:
        try:
            return [int((c / "energy_uj").read_text()) for c in self._counters]
        except (OSError, ValueError):
            return []
