"""SIGKILL in the middle of a search, with real processes: nothing kept is lost or done again."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from aqabench.data.importer import import_release
from aqabench.data.store import DataStore
from aqabench.protocol.library import load_protocol
from aqabench.resources import folder
from tests.helpers import write_gdlt_release
from tests.runs.sweeps import wait_for
from tests.runs.warm import Commands
from tests.search.toys import TIMES, TOY

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked at in /proc")

TRIALS = 12  # the last knows of the eleven before


def _trials(store: Path) -> dict[str, dict[str, Any]]:
    """Return what is kept of each trial, without what differs each time."""
    found = {}
    for path in sorted((store / ".search").rglob("trials/*.json")):
        found[path.name] = json.loads(path.read_text())
        for name in TIMES:
            del found[path.name][name]
    return found


def _stamps(store: Path) -> dict[Path, tuple[int, int]]:
    files = (store / ".search").rglob("trials/*.json")
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


def test_a_killed_search_goes_on_where_it_was(tmp_path: Path) -> None:
    release = write_gdlt_release(tmp_path / "release", train=40, test=16)
    data = DataStore(tmp_path / "home" / "data")
    import_release(release, load_protocol("fisv-rgb").dataset, data)
    (tmp_path / "toy.py").write_text(TOY)
    begun = tmp_path / "begun"
    protocol = (folder("protocols") / "fisv-rgb.yaml").read_text()
    assert "classes: [TES, PCS]" in protocol
    protocol = protocol.replace("classes: [TES, PCS]", "classes: [TES]")
    (tmp_path / "own.yaml").write_text(protocol.replace("name: fisv-rgb", "name: own"))

    def line(store: str, jobs: int) -> list[object]:
        return [
            "search", "--plugin", tmp_path / "toy.py", "-m", "toy", "-p", tmp_path / "own.yaml",
            "--budget", "quick", "--trials", TRIALS, "--jobs", jobs, "--store", tmp_path / store,
        ]  # fmt: skip

    environment = {
        "AQABENCH_HOME": str(tmp_path / "home"), "COLUMNS": "100", "TOY_SECONDS": "0.03",
    }  # fmt: skip
    with Commands(tmp_path, environment) as commands:
        code, whole, err = commands.run(line("whole", 2))
        assert code == 0, err
        begun.unlink()
        command = commands.start(line("cut", 1))
        wait_for(lambda: begun.exists() and begun.read_text().count("\n") >= 7)
        time.sleep(0.02)
        command.kill()
        assert commands.code() == -9
        wait_for(lambda: not command.processes())
        kept = _stamps(tmp_path / "cut")
        assert 5 <= len(kept) < TRIALS - 1
        code, out, err = commands.run(line("cut", 2))
        assert code == 0, err
    assert kept.items() <= _stamps(tmp_path / "cut").items(), "nothing kept is written again"
    assert _trials(tmp_path / "cut") == _trials(tmp_path / "whole")
    assert len(_trials(tmp_path / "cut")) == TRIALS
    count = begun.read_text().count("\n")
    assert TRIALS <= count <= TRIALS + 1, "only the run that was on is done again"
    table = [text.split("Written to")[0].split("own ·")[1] for text in (whole, out)]
    assert table[0] == table[1]
