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

import pytest

from tests.cli.conftest import Run

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
    from aqabench.data import simulator
    from aqabench.protocol.schema import DatasetSpec

    whole = simulator.simulate

    def fewer(spec: DatasetSpec, **options: Any) -> object:
        classes = [c.model_copy(update={"train": 40, "test": 12}) for c in spec.classes]
        return whole(spec.model_copy(update={"classes": tuple(classes)}), **options)

    monkeypatch.setattr(simulator, "simulate", fewer)
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


def test_ctrl_c_says_how_to_go_on(installed: Run, home: Path) -> None:
    """A real SIGINT to the command and its processes, in the middle of a run."""
    command = [sys.executable, "-m", "aqabench", "run", "-m", "gdlt", *REAL]
    process = subprocess.Popen(
        [*command, "--progress", "json"],
        env={**os.environ, "AQABENCH_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    while json.loads(process.stdout.readline())["event"] != "progress":
        pass
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "What was finished is kept; type the same command again to go on" in " ".join(
        said.split()
    )
    deadline = time.monotonic() + 20
    while _alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _alive(process.pid)


def _alive(group: int) -> bool:
    """Is a process of the group left?"""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_killed_process_resumes_and_keeps_what_was_done(
    installed: Run, home: Path, tmp_path: Path
) -> None:
    """SIGKILL in the middle of the second run: the first stays, the second is done again."""
    command = [sys.executable, "-m", "aqabench", "run", "-m", "gdlt", *REAL, "--jobs", "1"]
    environment = {**os.environ, "AQABENCH_HOME": str(home)}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    store = home / "runs" / "fisv-rgb" / "gdlt"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list(store.glob("*/record.json")):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (first,) = store.glob("*/record.json")
    before = {p: p.read_bytes() for p in first.parent.iterdir()}
    # what a kill while writing leaves: a directory without its record
    torn = first.parent.with_name("0" * 16)
    torn.mkdir()
    (torn / "predictions.csv.gz").write_bytes(b"cut off")
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "1 of 2 runs are stored already" in again.stdout
    assert {p: p.read_bytes() for p in first.parent.iterdir()} == before
    assert len(list(store.glob("*/record.json"))) == 2
