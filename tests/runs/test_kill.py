"""Nothing finished is lost, nothing unfinished is counted: kills, full and closed disks, clocks."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from aqabench.data.importer import import_release
from aqabench.data.store import DataStore
from aqabench.protocol.library import load_protocol
from aqabench.runs.executors import local
from aqabench.runs.executors.local import execute_processes
from aqabench.runs.store import METRICS, PREDICTIONS, RunStore
from tests.helpers import write_gdlt_release
from tests.runs.sweeps import Heard, plugin_file, small_jobs
from tests.runs.warm import Command, Commands

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked at in /proc")

RECORD = "record.json"
SWEEP = (
    "--protocol", "fisv-rgb", "--data", "real", "--budget", "quick", "--seeds", "4",
    "--jobs", "2", "--progress", "json",
)  # fmt: skip
RUNS = 2 * 2 * 4
GONE_WITHIN = 5.0
"""Seconds that a process may outlive the command that started it."""

BRIEF = """
with (HERE / "begun").open("a") as file:
    file.write(me + "\\n")
if not (HERE / "undisturbed").exists():
    # writing takes as long as training, so that kills meet both
    sync, rename = os.fsync, Path.replace
    def slow_sync(descriptor):
        time.sleep(0.02)
        sync(descriptor)
    def slow_rename(path, target):
        time.sleep(0.02)
        renamed = rename(path, target)
        time.sleep(0.02)
        return renamed
    os.fsync, Path.replace = slow_sync, slow_rename
    for step in range(1, 9):
        time.sleep(0.02)
        context.report(Progress(step, 8, 1, {"loss": 1.0}))
self.seed = context.seed
"""

PREDICTS = """
def _predict(self, batch):
    there = batch.features["video"][:, :, self.seed].mean(1)
    return (there - there.min()) / (there.max() - there.min() + 1)
Own.predict = _predict
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with two methods, and a home with data."""
    release = write_gdlt_release(tmp_path / "release", train=40, test=16)
    data = DataStore(tmp_path / "home" / "data")
    import_release(release, load_protocol("fisv-rgb").dataset, data)
    plugin_file(tmp_path / "brief.py", "brief", BRIEF, PREDICTS)
    plugin_file(tmp_path / "briefer.py", "briefer", BRIEF)
    return tmp_path


@pytest.fixture
def commands(place: Path) -> Iterator[Commands]:
    environment = {"AQABENCH_HOME": str(place / "home"), "COLUMNS": "100"}
    with Commands(place, environment) as found:
        yield found


def sweep(place: Path, store: Path, *more: object) -> list[object]:
    """Return the command line of a sweep of RUNS runs."""
    plugins = [x for name in ("brief", "briefer") for x in ("--plugin", place / f"{name}.py")]
    methods = ["-m", "brief", "-m", "briefer"]
    return ["run", *plugins, *methods, *SWEEP, "--store", store, *more]


@dataclass
class Watched:
    """A store between kills: what is finished stays as it is."""

    root: Path
    finished: dict[Path, dict[str, tuple[bytes, int, int]]] = field(default_factory=dict)

    def look(self) -> None:
        """Compare what was finished with what it was, and take in what is finished now."""
        for folder, before in self.finished.items():
            assert _contents(folder) == before, folder
        for path in self.root.rglob(RECORD):
            record = json.loads(path.read_text())
            if record["status"] == "finished" and path.parent not in self.finished:
                self.finished[path.parent] = _contents(path.parent)
            elif record["status"] == "failed":
                assert "SIGKILL" in record["error"]
        store = RunStore(self.root)
        for record in store.records():
            if record.status == "finished":
                assert len(store.predictions(record)) == 3 * (16 + 6)
                assert len(store.curve(record)) == 2


def _contents(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    """Return each file with its inode and time of writing: an equal one written anew is seen."""
    files = [folder / name for name in (PREDICTIONS, METRICS, RECORD)]
    return {p.name: (p.read_bytes(), p.stat().st_ino, p.stat().st_mtime_ns) for p in files}


def _events(command: Command) -> list[dict[str, Any]]:
    """Return what a command has said; its last line may be cut off."""
    return [json.loads(line) for line in command.out.read_text().split("\n")[:-1]]


def _stage(root: Path, command: Command) -> str:
    """Say what the kill of a command has cut off."""
    events = _events(command)
    ended = {e["key"] for e in events if e["event"] == "ended"}
    on = {e["key"] for e in events if e["event"] == "started"} - ended
    for folder in [found for key in on for found in root.rglob(key)]:
        names = {path.name for path in folder.iterdir()}
        of_before = RECORD in names and '"failed"' in (folder / RECORD).read_text()
        temporary = {name.split(".")[1] for name in names if re.search(r"\.[0-9a-f]{32}$", name)}
        if "record" in temporary or (RECORD in names and not of_before):
            return "writing the record"
        if temporary:
            return "writing the numbers"
    return "training" if on else "starting"


def _wait_till_gone(command: Command) -> None:
    """Wait for the end of all processes of a command that has ended or was killed."""
    start = time.monotonic()
    while left := command.processes():
        assert time.monotonic() - start < GONE_WITHIN, left
        time.sleep(0.02)


def _begun(place: Path) -> int:
    path = place / "begun"
    return path.read_text().count("\n") if path.exists() else 0


def _on(command: Command) -> bool:
    try:
        return psutil.Process(command.pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _kill_somewhere(
    commands: Commands, place: Path, store: Path, rng: random.Random
) -> Iterator[str]:
    """Start a sweep and kill it, or before that some of its processes.

    Yields:
        What each kill has met, or "ended" if all was done before.
    """
    command = commands.start(sweep(place, store))
    while True:
        if rng.random() < 0.2:  # while it starts
            time.sleep(rng.uniform(0, 0.4))
        else:
            goal = _begun(place) + rng.randrange(1, 3)
            while _begun(place) < goal and _on(command):
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.5))
        workers = command.workers() if rng.random() < 0.3 else []
        if not workers:
            break
        with contextlib.suppress(psutil.NoSuchProcess):
            rng.choice(workers).kill()
            yield "one process"
    with contextlib.suppress(ProcessLookupError):
        command.kill()
    code = commands.code()
    starts = Counter(e["run"] for e in _events(command) if e["event"] == "started")
    assert set(starts.values()) <= {1}, "a command starts no run twice"
    if code == -signal.SIGKILL:
        _wait_till_gone(command)
        yield _stage(store, command)
    else:
        assert code in (0, 1), command.err.read_text()
        if code == 0:
            yield "ended"


def _board(commands: Commands, store: Path) -> str:
    """Return the board with everything but what it cost."""
    code, text, err = commands.run(["compare", "--format", "markdown", "--store", store])
    assert code == 0, err
    lines = text.splitlines()
    assert lines[2].endswith("| time |")
    first, cost = lines.index("## Spearman"), lines.index("## What they take")
    notes = next(i for i in range(cost, len(lines)) if lines[i].startswith("- "))
    summary = [re.sub(r"[^|]*\|$", "", x) for x in lines[:first]]
    return "\n".join([*summary, *lines[first:cost], *lines[notes:]])


def _numbers(root: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(root)): p.read_bytes()
        for p in root.rglob("*")
        if p.name in {PREDICTIONS, METRICS}
    }


def _calmly(commands: Commands, place: Path, store: Path) -> None:
    """Do what is left of a sweep, without waiting on purpose."""
    (place / "undisturbed").touch()
    code, _, err = commands.run(sweep(place, store))
    (place / "undisturbed").unlink()
    assert code == 0, err


@pytest.mark.timeout(600)
def test_kills_at_fifty_random_moments_lose_nothing(commands: Commands, place: Path) -> None:
    """Sweeps are killed again and again, finished, and compared with one that was left alone."""
    _calmly(commands, place, place / "calm")
    numbers, board = _numbers(place / "calm"), _board(commands, place / "calm")
    assert len(numbers) == 2 * RUNS
    rng, met = random.Random(20261122), Counter[str]()
    while met.total() < 50:
        watched = Watched(place / f"store-{met.total()}")
        ended = False
        while met.total() < 50 and not ended:
            for stage in _kill_somewhere(commands, place, watched.root, rng):
                watched.look()
                ended = stage == "ended"
                met.update([] if ended else [stage])
        _calmly(commands, place, watched.root)
        watched.look()
        assert len(watched.finished) == RUNS
        assert _numbers(watched.root) == numbers
        assert _board(commands, watched.root) == board
        for folder in watched.finished:
            # of a process that was killed between its record and its end, an empty log may stay
            names = {path.name for path in folder.iterdir() if path.stat().st_size}
            assert names == {PREDICTIONS, METRICS, RECORD}
    # which of the short moments of writing are met depends on the machine
    assert met.total() >= 50
    assert met["training"], met


def _last_words(said: str) -> str:
    return " ".join(said.split())


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 20 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no small disk can be mounted here: that takes a superuser and his leave")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


def test_a_disk_that_fills_up_or_closes_stops_the_sweep_and_keeps_what_is_there(
    commands: Commands, place: Path, disk: Path
) -> None:
    fill = """
    self.seed = context.seed
    if me == "PCS 1" and not (HERE / "freed").exists():
        with (HERE / "disk" / "filler").open("wb", buffering=0) as file:
            while file.write(bytes(4096)) == 4096:
                pass
    """
    plugin = plugin_file(place / "filling.py", "filling", _suppressed(fill), PREDICTS)
    line = ["run", "--plugin", plugin, "-m", "filling", *SWEEP, "--store", disk / "runs"]
    line[line.index("--jobs") + 1] = "1"
    command = commands.start(line)
    code, said = commands.code(), _last_words(command.err.read_text())
    assert code == 1
    assert "Error: Cannot write to" in said
    assert "the disk is full. Runs stored before are intact. Make room or choose another" in said
    assert "Traceback" not in said
    _wait_till_gone(command)
    watched = Watched(disk / "runs")
    watched.look()
    assert len(watched.finished) == 5, "four of TES, one of PCS"

    (disk / "filler").unlink()
    (place / "freed").touch()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    code, _, err = commands.run(line)
    assert (code, "the disk is read-only" in _last_words(err)) == (1, True), err
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    code, _, err = commands.run(line)
    assert code == 0, err
    watched.look()
    assert len(watched.finished) == 8
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    code, _, err = commands.run(line)
    assert code == 0, "what is stored is shown from a read-only disk"
    assert "All 8 runs are stored already" in err
    watched.look()


def test_a_clock_that_jumps_back_costs_nothing_but_the_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every look at a clock finds it an hour earlier, in the run and in the command."""
    monkeypatch.setenv("AQABENCH_HOME", str(tmp_path / "home"))
    jump = """
    import itertools
    back = itertools.count()
    for name in ("time", "monotonic", "perf_counter"):
        setattr(time, name, lambda: 1e9 - 3600.0 * next(back))
    for step in range(1, 4):
        context.report(Progress(step, 3, 1, {"loss": 1.0}))
    """
    plugin = plugin_file(tmp_path / "jumping.py", "jumping", _suppressed(jump))
    jobs = small_jobs(tmp_path / "runs", ["jumping"], plugin)
    calm = execute_processes(small_jobs(tmp_path / "calm", ["constant"]), 1, Heard())
    back = itertools.count()
    with monkeypatch.context() as patched:
        patched.setattr(local.time, "monotonic", lambda: 1e9 - 3600.0 * next(back))
        heard = Heard()
        outcome = execute_processes(jobs, 2, heard)
    assert [r.error for r in outcome.records] == ["", ""]
    assert heard.steps["jumping TES seed 0"] == [1, 2, 3]
    for jumped, usual in zip(outcome.records, calm.records, strict=True):
        stores = RunStore(tmp_path / "runs"), RunStore(tmp_path / "calm")
        frames = [s.predictions(r) for s, r in zip(stores, (jumped, usual), strict=True)]
        assert frames[0].equals(frames[1])


def _suppressed(text: str) -> str:
    """Take the indent off lines, and let a full disk not end them."""
    body = textwrap.indent(textwrap.dedent(text).strip("\n"), "    ")
    return f"import contextlib\nwith contextlib.suppress(OSError):\n{body}"
