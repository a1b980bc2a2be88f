"""Command lines whose runs outlive them, and ways to kill the command at a chosen moment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aqabench.data.importer import import_release
from aqabench.data.store import DataStore
from aqabench.protocol.library import load_protocol
from tests.helpers import write_gdlt_release
from tests.runs.sweeps import plugin_file

COUNTING = """
with (HERE / "begun").open("a") as file:
    file.write(f"{me} {os.getpid()} {time.time()}\\n")
"""
UNTIL_GO = """
until = time.monotonic() + 200
while not (HERE / "go").exists() and time.monotonic() < until:
    time.sleep(0.1)
"""
KILLED_AT = """
import os, signal, sys

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

{patch}
from aqabench.cli import main
main(sys.argv[1:])
"""
MOMENTS = {
    "before anything is handed over": "from aqabench.runs.executors.{kind} import {queue}\n"
    "{queue}.submit = die",
    "before there is something to do": "from submitit.core.utils import JobPaths\n"
    "whole = JobPaths.move_temporary_file\n"
    "def move(self, path, name, *rest, **more):\n"
    "    if name == 'submitted_pickle': die()\n"
    "    return whole(self, path, name, *rest, **more)\n"
    "JobPaths.move_temporary_file = move",
    "half way": "from submitit.core.utils import JobPaths\n"
    "whole, seen = JobPaths.move_temporary_file, []\n"
    "def move(self, path, name, *rest, **more):\n"
    "    seen.append(name)\n"
    "    if seen.count('submitted_pickle') == 2: die()\n"
    "    return whole(self, path, name, *rest, **more)\n"
    "JobPaths.move_temporary_file = move",
    "before the ids are written": "from aqabench.runs.executors.ledger import Ledger\n"
    "Ledger.settle = die",
}
"""Code that has the command killed then."""


@dataclass(frozen=True)
class Command:
    """A command line on a small release, with a method that notes what it begins.

    Attributes:
        folder: of a test; the plug-in is there, the home, and a file ``go`` when runs may end.
        arguments: of ``aqabench``.
    """

    folder: Path
    arguments: tuple[str, ...]

    @property
    def store(self) -> Path:
        """Where runs are stored."""
        return self.folder / "home" / "runs"

    @property
    def begun(self) -> Counter[str]:
        """How often each run was begun, by "CLASS SEED"."""
        path = self.folder / "begun"
        lines = path.read_text().splitlines() if path.exists() else []
        return Counter(line.rsplit(" ", 2)[0] for line in lines)

    @property
    def pids(self) -> list[int]:
        """Processes that have begun a run."""
        path = self.folder / "begun"
        return [int(line.split()[2]) for line in path.read_text().splitlines()]

    def start(self, patch: str = "") -> subprocess.Popen[str]:
        """Start it in a process group of its own."""
        program = ["-c", KILLED_AT.format(patch=patch)] if patch else ["-m", "aqabench"]
        environment = {**os.environ, "AQABENCH_HOME": str(self.folder / "home"), "COLUMNS": "100"}
        return subprocess.Popen(
            [sys.executable, *program, *self.arguments],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip

    def killed(self, patch: str) -> None:
        """Run it until it is killed."""
        process = self.start(patch)
        said = process.communicate(timeout=200)
        assert process.returncode == -signal.SIGKILL, said

    def done(self) -> list[dict[str, object]]:
        """Run it to its end and return its events; runs may end once it knows of the first."""
        process = self.start()
        events = []
        assert process.stdout is not None
        for line in process.stdout:
            events.append(json.loads(line))
            if events[-1]["event"] == "started":
                (self.folder / "go").touch()
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        return events


def make_command(folder: Path, *more: str, seeds: int = 3) -> Command:
    """Return a command that does ``seeds`` runs of class TES, each of which waits for a word to go.

    Args:
        folder: of a test.
        more: arguments.
        seeds: number of runs.
    """
    release = write_gdlt_release(folder / "release", train=40, test=16)
    import_release(release, load_protocol("fisv-rgb").dataset, DataStore(folder / "home" / "data"))
    plugin = plugin_file(folder / "own.py", "own", f"{COUNTING}\n{UNTIL_GO}")
    return Command(
        folder,
        (
            "run", "--plugin", str(plugin), "-m", "own", "-p", "fisv-rgb", "--data", "real",
            "--budget", "quick", "--class", "TES", "--seeds", str(seeds), "--progress", "json",
            *more,
        ),
    )  # fmt: skip


def messages(events: Sequence[dict[str, object]]) -> str:
    """Return what a command said of all its runs."""
    return "\n".join(str(e["text"]) for e in events if e["event"] == "message")
