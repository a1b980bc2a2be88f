"""Where and when a run happened: versions, machine, commit, time."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess

import aqabench
from aqabench.resources import PACKAGE

PACKAGES = ("torch", "numpy", "scipy", "pandas")


def now() -> str:
    """Return the time (UTC, ISO 8601) to the millisecond: quick runs have a newest one, too."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


def environment() -> dict[str, str]:
    """Return versions, operating system, processor and, in a checkout, the commit."""
    found = {
        "aqabench": aqabench.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": str(os.cpu_count()),
    }
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "absent"
    commit = _git("rev-parse", "HEAD")
    if commit:
        found["commit"] = commit + ("+changes" if _git("status", "--porcelain") else "")
    return found


def _git(*arguments: str) -> str:
    if not (PACKAGE.parent / ".git").exists():
        return ""
    try:
        done = subprocess.run(
            ["git", "-C", str(PACKAGE.parent), *arguments],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
