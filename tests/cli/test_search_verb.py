"""``aqabench search`` and ``run --params``: from the question to a row of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from aqabench.resources import folder
from tests.cli.conftest import Run
from tests.search.toys import TOY

REAL = ("--protocol", "fisv-rgb", "--data", "real", "--budget", "quick", "--jobs", "1")


@pytest.fixture
def toy(tmp_path: Path) -> tuple[str, Path]:
    path = tmp_path / "toy.py"
    path.write_text(TOY)
    return "--plugin", path


def test_help_imports_neither_torch_nor_optuna() -> None:
    code = (
        "import sys; from aqabench.cli import main\n"
        "for typed in (['--help'], ['search', '--help'], ['run', '--help']):\n"
        "    try: main(typed)\n"
        "    except SystemExit as e: assert not e.code, e.code\n"
        "    assert not {'torch', 'optuna'} & set(sys.modules), typed"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Search for settings of a method" in done.stdout


def test_a_search_its_file_and_the_row_that_it_makes(
    installed: Run, home: Path, tmp_path: Path, toy: tuple[str, Path]
) -> None:
    file = tmp_path / "best.json"
    line = ("search", *toy, "-m", "toy", *REAL, "--trials", 3, "-o", file, "--set", "act=relu")
    said = installed(*line)
    assert said.code == 0, said.err
    assert "toy on fisv-rgb · real data · 3 trials of budget quick · Spearman on" in said.words
    for part in (
        "trial mean TES PCS depth lr mix",
        "by class",
        " published",
        "Chosen: ",
    ):
        assert part in said.words, part
    next_line = said.words.split("Next: aqabench ")[1].split()
    assert next_line[-2:] == ["--params", str(file)]
    (kept,) = (home / "runs" / ".search" / "fisv-rgb" / "toy").iterdir()
    assert file.read_bytes() == (kept / "params-3.json").read_bytes()
    assert len(list((kept / "trials").iterdir())) == 3
    again = installed(*line)
    assert "6 of 6 runs are stored already." in again.words
    assert again.out.split("Spearman on")[1] == said.out.split("Spearman on")[1]
    # no run of a trial is a run of the store
    assert "no such runs" in installed("compare").words
    default = installed("run", *toy, "-m", "toy", *REAL)
    tuned = installed(*next_line, "--budget", "quick", "-m", "constant", "--jobs", "1")
    assert default.code == tuned.code == 0
    row = "toy[act=relu] (tuned, 3 trials)"
    said = installed("compare")
    for part in (
        "constant",
        f"{row} ",
        "chosen on validation among 3 trials",
    ):
        assert part in said.words.replace("toy [", "toy["), part
    records = [
        json.loads(p.read_text()) for p in (home / "runs" / "fisv-rgb" / "toy").rglob("record.json")
    ]
    assert len(records) == 4
    chosen = json.loads(file.read_text())
    for record in records:
        if record["tuned"] is not None:
            assert record["tuned"]["search"] == chosen["search"] == kept.name
            assert record["tuned"]["settings"] == chosen["choices"][0]["settings"]
            assert record["tuned"]["budget"] == "quick"
            assert record["identity"]["tuned"] == {"search": kept.name, "trials": 3}
            assert record["overrides"] == {"act": "relu"}
    assert sum(record["tuned"] is not None for record in records) == 2
    assert row in installed("runs", "list").words.replace("toy [", "toy[")


def test_events_have_the_standard_output_for_themselves(
    installed: Run, toy: tuple[str, Path]
) -> None:
    said = installed(
        "search", *toy, "-m", "toy", *REAL, "-n", 2, "--progress", "json", "--set", "breaks=0.8"
    )
    assert said.code == 0
    events = [json.loads(line) for line in said.out.splitlines()]
    ended = [e for e in events if e["event"] == "ended"]
    assert [e["status"] for e in ended] == ["failed", "failed", "finished", "finished"]
    assert {e["run"] for e in ended[:2]} == {
        f"toy[breaks=0.8] trial 0 {c} seed 0" for c in ("TES", "PCS")
    }
    started = [(e["number"], e["total"]) for e in events if e["event"] == "started"]
    assert started == [(n, 4) for n in range(1, 5)]
    assert events[-1]["event"] == "chosen"
    assert events[-1]["choices"][0]["trial"] == 1
    assert Path(events[-1]["file"]).is_file()
    assert "trial 0 FAILED (published settings): " in said.err
    assert "RuntimeError: the mix is too rich" in said.err
    assert "the published settings failed" in said.err


def test_where_all_trials_fail_nothing_is_chosen(installed: Run, toy: tuple[str, Path]) -> None:
    said = installed("search", *toy, "-m", "toy", *REAL, "-n", 2, "--set", "breaks=-0.5")
    assert said.code == 1
    assert "No trial of a fold could be finished, so nothing is chosen." in said.words
    assert "Next:" not in said.words


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("search", "-m", "constant", "-p", "fisv-rgb"), "There is nothing to search for constant"),
        (("search", "-m", "gdlt", "-p", "fisv-paper"), "has no validation part"),
        (("search", "-m", "gdlt", "-p", "fisv-rgb", "-n", "1"), "1 is not in the range x>=2"),
        (("search", "-m", "gdtl", "-p", "fisv-rgb"), "Did you mean 'gdlt'?"),
        (("run", "-m", "gdlt", "-p", "fisv-rgb", "--params", "none.json"), "No such file"),
        (("run", "-m", "gdlt", "-p", "fisv-rgb", "--params", __file__), "no outcome of a search"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    aqabench: Run, arguments: tuple[str, ...], message: str
) -> None:
    said = aqabench(*arguments)
    assert said.code == 2
    assert message in said.words


def test_params_that_do_not_belong_are_refused(
    installed: Run, tmp_path: Path, toy: tuple[str, Path]
) -> None:
    file = tmp_path / "best.json"
    said = installed("search", *toy, "-m", "toy", *REAL, "-n", 2, "-o", file)
    assert said.code == 0
    assert "Chosen: the published settings; no trial was better on validation." in said.words
    run = ("run", *toy, *REAL, "--params", file)
    own = tmp_path / "own.yaml"
    shipped = (folder("protocols") / "fisv-rgb.yaml").read_text()
    own.write_text(shipped.replace("name: fisv-rgb", "name: own"))
    for more, message in (
        (("-m", "constant"), "holds settings of toy, which is not run. Add: --method toy"),
        (("-m", "toy", "--set", "lr=1"), "--set and --params cannot be used together"),
        (("-m", "toy", "--params", file), "--params is given twice for toy"),
        (("-m", "toy", "--data", "simulated"), "here the data is another one"),
        (("-m", "toy", "-p", own), "here the protocol is another one"),
    ):
        said = installed(*run, *more)
        assert said.code == 2, said.out
        assert message in said.words, said.words
