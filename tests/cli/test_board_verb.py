"""``aqabench board``: formats, files, and what it says when there is nothing to show."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aqabench.protocol.library import load_protocol
from aqabench.runs.store import RunStore
from tests.board.made import put
from tests.cli.conftest import Run


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = RunStore(tmp_path_factory.mktemp("made") / "runs")
    put(store, load_protocol("fisv-rgb"), "ridge", 8.0, seeds=(0,), data="real", curves=False)
    put(store, load_protocol("fisv-rgb"), "gdlt", 30.0, seeds=(0,), data="real", curves=False)
    put(store, load_protocol("fisv-rgb-paper"), "ridge", 8.0, seeds=(0,), curves=False)
    return store.root


def test_the_screen_shows_ties_then_everything(aqabench: Run, root: Path) -> None:
    said = aqabench("board", "--store", root, "-p", "fisv-rgb")
    assert said.code == 0
    assert "1 of 1 pair can be told apart. Top: ridge alone." in said.words
    assert "Methods that share a letter cannot be told apart" in said.words
    assert "Published, not measured here" in said.words


def test_options_choose_as_compare_does(aqabench: Run, root: Path) -> None:
    rows = aqabench(
        "board", "--store", root, "--format", "csv", "--class", "TES", "-p", "fisv-rgb"
    ).out
    found = list(csv.DictReader(io.StringIO(rows)))
    assert {r["class"] for r in found} == {"TES"}
    assert {r["protocol"] for r in found} == {"fisv-rgb"}
    both = aqabench("board", "--store", root, "--format", "json").out
    assert {b["protocol"] for b in json.loads(both)["boards"]} == {"fisv-rgb", "fisv-rgb-paper"}
    real = aqabench("board", "--store", root, "--format", "json", "--data", "real").out
    assert {b["data_kind"] for b in json.loads(real)["boards"]} == {"real"}
    one = aqabench("board", "gdlt", "--store", root, "--format", "csv", "--rule", "last").out
    found = list(csv.DictReader(io.StringIO(one)))
    assert {r["method"] for r in found if r["kind"] == "measured"} == {"gdlt"}
    assert {r["rule"] for r in found} == {"last"}


@pytest.mark.parametrize(
    ("name", "begin"),
    [("b.md", "# Fis-V"), ("b.csv", "protocol,"), ("b.json", "{"), ("b.tex", r"\begin{table}"),
     ("b.txt", "\nFis-V")],
)  # fmt: skip
def test_the_ending_of_the_file_says_the_format(
    aqabench: Run, root: Path, tmp_path: Path, name: str, begin: str
) -> None:
    said = aqabench("board", "--store", root, "-p", "fisv-rgb", "--output", tmp_path / name)
    assert said.code == 0
    assert said.out == ""
    assert f"Written: {tmp_path / name}" in said.words
    assert (tmp_path / name).read_text().startswith(begin)


def test_a_folder_takes_a_file_for_each_board(aqabench: Run, root: Path, tmp_path: Path) -> None:
    target = tmp_path / "boards"
    said = aqabench("board", "--store", root, "--format", "latex", "--output", target)
    assert said.code == 0
    assert sorted(p.name for p in target.iterdir()) == [
        "fisv-rgb-paper-simulated-quick-oracle.tex", "fisv-rgb-real-quick-val.tex",
    ]  # fmt: skip


def test_another_process_writes_the_same_page_without_torch(
    aqabench: Run, root: Path, tmp_path: Path
) -> None:
    options = ("board", "ridge", "--store", str(root), "--data", "real", "--class", "TES", "-o")
    first, second = tmp_path / "a.html", tmp_path / "b.html"
    assert aqabench(*options, first).code == 0
    code = (
        "import sys; from aqabench.cli import main\n"
        f"try: main({[*options, str(second)]!r})\n"
        "except SystemExit as e: assert not e.code, e.code\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "77"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert first.read_bytes() == second.read_bytes()


def test_the_shipped_records_are_shown_without_numbers(aqabench: Run) -> None:
    folder = Path(__file__).resolve().parents[2] / "leaderboards" / "fisv-rgb"
    said = aqabench("board", "--records", folder, "-p", "fisv-rgb", "--format", "csv")
    assert said.code == 0
    rows = list(csv.DictReader(io.StringIO(said.out)))
    measured = [r for r in rows if r["kind"] == "measured"]
    assert {r["method"] for r in measured} == {"gdlt", "ridge", "constant"}
    assert {r["value"] for r in measured} == {""}
    assert all("no predictions lie beside the records" in r["note"] for r in measured)


def test_what_cannot_be_is_refused_with_a_way_out(
    aqabench: Run, root: Path, tmp_path: Path
) -> None:
    store = ("--store", root)
    for arguments, words in (
        (("--store", tmp_path / "none"), "There are no such runs"),
        ((*store, "rigde"), "Did you mean 'ridge'?"),
        ((*store, "--format", "pdf"), "'pdf' is not one of"),
        ((*store, "--format", "html"), "Type: --format html --output board.html"),
        ((*store, "--output", tmp_path / "b.docx"), "says no format"),
        ((*store, "--output", tmp_path / "no" / "b.md"), "Make it first"),
        ((*store, "--output", tmp_path / "b.html"), "Narrow them down with -p"),
        (("--records", tmp_path / "nowhere"), "There is no folder"),
    ):
        said = aqabench("board", *arguments)
        assert said.code == 2, arguments
        assert words in said.words, said.words
    assert not list(tmp_path.iterdir()) or {p.name for p in tmp_path.iterdir()} <= {"home", "cache"}


def test_a_place_that_cannot_be_written_is_an_error(
    aqabench: Run, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    target = tmp_path / "file" / "boards"
    said = aqabench("board", "--store", root, "--format", "csv", "--output", target)
    assert said.code == 1
    assert "Cannot write to" in said.words
    assert "--output" in said.words
    assert (tmp_path / "file").read_text() == "mine"


def test_a_failed_run_is_shown_and_ends_with_1(aqabench: Run, tmp_path: Path) -> None:
    store = RunStore(tmp_path / "runs")
    put(store, load_protocol("fisv-rgb"), "ridge", 8.0, seeds=(0,), curves=False)
    one = next(iter(store.records()))
    lost = {"key": "f" * 16, "status": "failed", "error": "out of memory", "selected_epochs": {}}
    store.write(one.model_copy(update={**lost, "identity": {**one.identity, "seed": 5}}), None, [])
    said = aqabench(
        "board", "--store", store.root, "--class", one.class_name, "-o", tmp_path / "b.html"
    )
    assert said.code == 1
    page = (tmp_path / "b.html").read_text()
    assert "1 run FAILED" in page
    assert "out of memory" in page
    said = aqabench("board", "--store", store.root, "--format", "markdown")
    assert said.code == 1
    assert "FAILED" in said.words
