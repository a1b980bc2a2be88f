"""``aqabench run``: the board, resuming, and every way of getting it wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.cli.conftest import Run
from tests.runs.sweeps import plugin_file

REAL = ("--protocol", "fisv-rgb", "--data", "real", "--threads", "1", "--budget", "quick")

FAILING = """
from aqabench.baselines.constant import Constant
from aqabench.method.card import MethodCard

class Failing(Constant):
    card = MethodCard(name="failing", title="F", kind="baseline", summary="s", missing="m",
                      settings={"broken": True})

    def fit(self, train, context):
        if self.settings["broken"] and self.task.class_name == "PCS":
            raise RuntimeError("out of luck")
        super().fit(train, context)
"""


def test_a_board_with_everything_it_promises(installed: Run) -> None:
    said = installed("run", "-m", "ridge", "-m", "constant", *REAL)
    assert said.code == 0
    for part in (
        "real video features (gdlt release)",
        "real data · budget quick · epoch chosen by val",
        "ridge",
        "constant",
        "TES",
        "PCS",
        "mean",
        "95 % interval",
        "gap",
        "seeds",
        "params",
        "MSE in squared judge points",
        "Stored in",
    ):
        assert part in said.words, part


def test_a_second_call_is_served_from_the_store(installed: Run) -> None:
    first = installed("run", "-m", "ridge", *REAL)
    again = installed("run", "-m", "ridge", *REAL)
    assert "All 2 runs are stored already" in again.words
    assert again.out.split("Fis-V, RGB only")[1] == first.out.split("Fis-V, RGB only")[1]


def test_without_data_it_says_so_in_one_line(
    aqabench: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aqabench.data import simulated
    from aqabench.protocol.schema import DatasetSpec

    whole = simulated.simulate

    def fewer(spec: DatasetSpec, **options: Any) -> object:
        classes = [c.model_copy(update={"train": 40, "test": 12}) for c in spec.classes]
        return whole(spec.model_copy(update={"classes": tuple(classes)}), **options)

    monkeypatch.setattr(simulated, "simulate", fewer)
    said = aqabench("run", "-m", "constant", "-p", "fisv-missing", "--class", "TES")
    line = next(x for x in said.out.splitlines() if "SIMULATED" in x)
    assert line == "Fis-V: running on SIMULATED data (the Fis-V features are not installed)."


def test_real_data_that_are_not_there_are_refused(aqabench: Run, installed: Run) -> None:
    said = installed("run", "-m", "constant", "-p", "fisv-missing", "--data", "real")
    assert said.code == 1
    assert "Fis-V features (audio, flow) that protocol fisv-missing needs are not installed" in (
        said.words
    )
    assert "aqabench data import fisv --from FOLDER" in said.words


def test_a_failed_run_is_a_row_and_only_it_is_repeated(
    installed: Run, home: Path, tmp_path: Path
) -> None:
    plugin = tmp_path / "failing.py"
    plugin.write_text(FAILING)
    said = installed("run", "--plugin", plugin, "-m", "failing", *REAL)
    assert said.code == 1
    assert "failing FAILED PCS seed 0: RuntimeError: out of luck" in said.words
    assert "no finished run for PCS" in said.words
    records = {p: p.stat().st_mtime_ns for p in (home / "runs").rglob("record.json")}
    states = {json.loads(p.read_text())["status"] for p in records}
    assert states == {"finished", "failed"}
    again = installed("run", "--plugin", plugin, "-m", "failing", *REAL)
    assert again.code == 1
    assert "1 of 2 runs are stored already" in again.words
    changed = [p for p, before in records.items() if p.stat().st_mtime_ns != before]
    assert [json.loads(p.read_text())["status"] for p in changed] == ["failed"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-m", "mcmeo", "-p", "fisv-missing"), "Did you mean 'mcmoe'?"),
        (("-m", "mcmoe", "-p", "fisv-mising"), "Did you mean 'fisv-missing'?"),
        (("-m", "ridge", "-p", "fisv-rgb", "--class", "TSE"), "has no class 'TSE'"),
        (("-m", "ridge", "-p", "fisv-rgb", "--set", "lr"), "must be of the form NAME=VALUE"),
        (("-m", "gdlt", "-p", "fisv-rgb", "--set", "lrr=1"), "no setting 'lrr'. Did you mean 'lr'"),
        (
            ("-m", "unimodal", "-p", "fisv-rgb", "--set", "stream=audio"),
            "unimodal reads the stream 'audio', but protocol fisv-rgb has video",
        ),
        (("-m", "mcmoe", "-p", "fisv-rgb"), "needs at least 2 modalities"),
        (("-m", "ridge", "-p", "fisv-rgb", "--seeds", "9"), "has 5 seeds, 9 were asked for"),
        (("-m", "ridge"), "--protocol"),
        (("-m", "ridge", "--protcol", "x"), "--protocol"),
        (("-m", "ridge", "-p", "nowhere.yaml"), "nowhere.yaml"),
    ],
)
def test_wrong_usage_is_code_2_and_one_helpful_sentence(
    aqabench: Run, arguments: tuple[str, ...], message: str
) -> None:
    said = aqabench("run", *arguments)
    assert said.code == 2
    assert message in said.words
    assert "Traceback" not in said.words


def test_a_malformed_protocol_lists_all_its_faults(aqabench: Run, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: mine\nversion: one\ntitle: t\nquestion: q\ndataset: fisv\n"
        "clases: [TES]\nmodalities: [video]\n"
        "scenarios:\n  - {kind: subset}\naverage: {name: A, over: all}\n"
    )
    said = aqabench("run", "-m", "ridge", "-p", path)
    assert said.code == 2
    for part in ("mine.yaml:2:10", "mine.yaml:6:1", "did you mean 'classes'", "mine.yaml:9"):
        assert part in said.words, said.words


def test_a_store_that_cannot_be_written_loses_nothing(
    installed: Run, home: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    said = installed("run", "-m", "constant", *REAL, "--store", tmp_path / "file" / "runs")
    assert said.code == 1
    assert "Cannot write to" in said.words
    assert "--store FOLDER" in said.words


SLOW = """
(HERE / f"{me}.begun").touch()
from threadpoolctl import threadpool_info
threads = {pool["user_api"]: pool["num_threads"] for pool in threadpool_info()}
assert threads == {"blas": 1, "openmp": 1}, threads
context.report(Progress(1, 2, 1, {"loss": 1.0}))
end = time.monotonic() + 120  # nobody waits for it if the test has failed
while me == "PCS 0" and not (HERE / "go").exists() and time.monotonic() < end:
    time.sleep(0.05)
"""


@pytest.fixture
def slow(home: Path, tmp_path: Path) -> tuple[list[str], dict[str, str]]:
    """A command line of which one run goes on until there is a file "go", and its environment."""
    plugin = plugin_file(tmp_path / "slow.py", "slow", SLOW)
    line = ["run", "--plugin", str(plugin), "-m", "slow", *REAL, "--jobs", "2"]
    # what --threads says counts, also for libraries that read the environment
    libraries = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "2")
    return line, {**os.environ, **libraries, "AQABENCH_HOME": str(home)}


def start(line: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    """Start a command in a process group of its own and wait until one of two runs has ended."""
    process = subprocess.Popen(
        [sys.executable, "-m", "aqabench", *line, "--progress", "json"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    heard: list[tuple[str, str]] = []
    while not {("ended", "slow TES seed 0"), ("progress", "slow PCS seed 0")} <= {*heard}:
        event = json.loads(process.stdout.readline())
        heard.append((event["event"], event.get("run", "")))
        assert event.get("error", "") == ""
    return process


def gone(group: int) -> bool:
    """Is no process of the group left, some seconds after its command has ended?"""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        alive = [p for p in psutil.process_iter(["status"]) if p.info["status"] != "zombie"]
        if not any(_group(p.pid) == group for p in alive):
            return True
        time.sleep(0.05)
    return False


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0


def test_ctrl_c_says_how_to_go_on(
    installed: Run, slow: tuple[list[str], dict[str, str]], tmp_path: Path
) -> None:
    """A real SIGINT, to the command and all its processes, in the middle of a run."""
    process = start(*slow)
    maps = Path(f"/proc/{process.pid}/maps")
    if maps.exists():
        assert "libtorch" not in maps.read_text(), "the command itself never imports torch"
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert [line for line in err.splitlines() if line][1:] == [
        "Stopped. What was finished is kept; type the same command again to go on."
    ], "and no process says more"
    assert "failed" not in out
    assert gone(process.pid)
    (tmp_path / "go").touch()
    again = installed(*slow[0])
    assert again.code == 0
    assert "1 of 2 runs are stored already." in again.out
    assert "[2/2] slow PCS seed 0: done in" in again.out


def test_a_killed_command_takes_its_processes_along_and_keeps_what_was_done(
    installed: Run, slow: tuple[list[str], dict[str, str]], home: Path, tmp_path: Path
) -> None:
    """SIGKILL of the command alone: the finished run stays, the other is done again."""
    process = start(*slow)
    process.kill()
    process.wait()
    assert gone(process.pid)
    store = home / "runs" / "fisv-rgb" / "slow"
    (first,) = store.glob("*/record.json")
    before = {p: p.read_bytes() for p in first.parent.iterdir()}
    # what a kill while writing leaves: a directory without its record
    torn = first.parent.with_name("0" * 16)
    torn.mkdir()
    (torn / "predictions.csv.gz").write_bytes(b"cut off")
    (tmp_path / "go").touch()
    again = installed(*slow[0])
    assert again.code == 0, again.words
    assert "1 of 2 runs are stored already" in again.out
    assert {p: p.read_bytes() for p in first.parent.iterdir()} == before
    assert len(list(store.glob("*/record.json"))) == 2
