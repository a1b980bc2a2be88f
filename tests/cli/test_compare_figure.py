"""``aqabench compare --figure`` as it is typed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run


def test_one_board_is_drawn_and_several_are_refused(installed: Run, tmp_path: Path) -> None:
    path = tmp_path / "board.svg"
    run = ("run", "-m", "ridge", "-p", "fisv-rgb", "--seeds", "1")
    assert installed(*run, "--budget", "quick").code == 0
    said = installed("compare", "--figure", path, "--format", "markdown")
    assert said.code == 0
    assert said.out.lstrip().startswith("# Fis-V, RGB only"), "the document is not mixed with talk"
    assert said.err.strip().endswith(f"Drawn: {path}")
    first = path.read_bytes()
    assert "– REAL data".encode() in first
    installed("compare", "--figure", path)
    assert path.read_bytes() == first

    path.unlink()
    assert installed(*run, "--budget", "standard").code == 0
    said = installed("compare", "--figure", path)
    assert said.code == 2
    assert "these are 2. Narrow them down with --budget standard|quick." in said.words
    assert "REAL" not in said.out
    assert not path.exists()
    assert installed("compare", "--figure", path, "--budget", "quick").code == 0
    assert path.read_bytes() == first


def test_nothing_is_drawn_where_methods_share_no_board(installed: Run) -> None:
    for name, budget in (("ridge", "quick"), ("constant", "standard")):
        assert installed("run", "-m", name, "-p", "fisv-rgb", "--budget", budget).code == 0
    said = installed("compare", "ridge", "constant", "--figure", "a.png")
    assert said.code == 2
    assert "ridge and constant cannot be compared, because they are of other budgets" in said.words


@pytest.mark.parametrize(
    ("path", "advice"), [("a.jpg", "Type: --figure 'a.png'"), ("no/a.png", "mkdir -p 'no'")]
)
def test_a_file_that_cannot_be_is_refused_first(aqabench: Run, path: str, advice: str) -> None:
    said = aqabench("compare", "--figure", path)
    assert said.code == 2
    assert advice in said.words


def test_compare_without_a_figure_imports_neither_torch_nor_matplotlib(installed: Run) -> None:
    assert installed("run", "-m", "constant", "-p", "fisv-rgb", "--seeds", "1").code == 0
    for typed in (["compare", "--help"], ["compare"]):
        program = (
            "import sys\nfrom aqabench.cli import main\n"
            f"try:\n    main({typed!r})\n"
            "finally:\n    assert not {'torch', 'matplotlib'} & set(sys.modules)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "constant" in done.stdout or "--figure" in done.stdout


def test_boards_are_sorted_and_drawn_by_cost(installed: Run, tmp_path: Path) -> None:
    for name in ("ridge", "constant"):
        assert installed("run", "-m", name, "-p", "fisv-rgb", "--seeds", "1").code == 0
    by_score = installed("compare", "--format", "markdown").out
    by_params = installed("compare", "--format", "markdown", "--sort", "params").out
    assert by_score.index("| ridge |") < by_score.index("| constant |")
    assert by_params.index("| constant |") < by_params.index("| ridge |")

    said = installed("compare", "--sort", "energy")
    if said.code:  # where the counters may not be read
        assert said.code == 2
        assert "no method here has a training energy in all of its runs" in said.words
        assert "Choose one of: params, train-time, sample-time, memory." in said.words

    path = tmp_path / "cost.svg"
    assert installed("compare", "--figure", path, "--against", "train-time").code == 0
    assert b"training time (" in path.read_bytes()
    said = installed("compare", "--figure", path, "--against", "gpu-memory")
    assert said.code == 2
    assert "--against gpu-memory: no method here has a peak GPU memory" in said.words


def test_a_cost_to_draw_against_needs_a_figure(aqabench: Run) -> None:
    said = aqabench("compare", "--against", "flops")
    assert said.code == 2
    assert "Type: --figure cost.png --against flops" in said.words
