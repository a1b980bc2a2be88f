"""The other verbs: list, show, check, compare, data, completion, help."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.test_run import REAL

VERBS = (
    "run", "compare", "board", "power", "list", "show", "check", "data", "protocol", "runs",
    "index", "completion", "search", "ablate", "submit", "verify",
)  # fmt: skip


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(aqabench: Run, verb: str) -> None:
    said = aqabench(verb, "--help")
    assert said.code == 0
    assert "Usage: aqabench " + verb in said.words


def test_help_list_and_compare_do_not_import_torch(installed: Run) -> None:
    assert installed("run", "-m", "constant", "-m", "ridge", *REAL).code == 0
    for arguments in (["--help"], ["list", "protocols"], ["list", "methods"], ["compare"]):
        code = (
            "import sys; from aqabench.cli import main\n"
            f"try: main({arguments!r})\n"
            "except SystemExit as e: assert not e.code, e.code\n"
            "assert 'torch' not in sys.modules"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
        assert done.returncode == 0, (arguments, done.stderr)


def test_compare_finds_the_difference_on_the_same_videos(installed: Run) -> None:
    installed("run", "-m", "ridge", "-m", "constant", "-m", "gdlt", *REAL)
    said = installed("compare")
    assert said.code == 0
    assert "Differences in Avg1 on the same test videos" in said.words
    assert "p: jackknife over test videos." in said.words
    assert "Not compared, because their average is undefined: constant." in said.words
    pair = installed("compare", "ridge", "constant")
    assert "ridge and constant cannot be compared: constant predictions" in pair.words
    two = installed("compare", "ridge", "gdlt")
    assert "constant" not in two.words
    assert installed("compare", "--format", "markdown").out.lstrip().startswith("# Fis-V, RGB only")


def test_compare_never_mixes_data_kinds_or_budgets(installed: Run) -> None:
    installed("run", "-m", "ridge", *REAL)
    installed("run", "-m", "ridge", *REAL[:-1], "standard")
    said = installed("compare")
    assert said.out.count("real data · budget") == 2
    assert installed("compare", "--budget", "quick").out.count("real data · budget") == 1


def test_compare_one_class_only(installed: Run) -> None:
    installed("run", "-m", "ridge", *REAL)
    installed("run", "-m", "constant", *REAL, "--class", "TES")
    both = installed("compare")
    assert "constant: no finished run for PCS" in both.words
    said = installed("compare", "--class", "TES")
    assert "TES only" in said.words
    assert "PCS" not in said.words


def test_compare_with_nothing_to_compare(aqabench: Run) -> None:
    said = aqabench("compare")
    assert said.code == 2
    assert "There are no such runs" in said.words
    assert "aqabench run --method" in said.words


def test_compare_names_the_nearest_stored_method(installed: Run) -> None:
    installed("run", "-m", "ridge", *REAL)
    said = installed("compare", "rigde")
    assert said.code == 2
    assert "Did you mean 'ridge'" in said.words


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("methods", ("mcmoe", "gdlt", "ridge", "constant", "unimodal")),
        ("protocols", ("fisv-missing", "rg-missing", "fs1000-missing", "fisv-rgb")),
        ("datasets", ("fisv", "rg", "fs1000")),
    ],
)
def test_lists(aqabench: Run, what: str, names: tuple[str, ...]) -> None:
    said = aqabench("list", what)
    assert said.code == 0
    assert all(name in said.words for name in names)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (
            ("mcmoe", "--no-cost"),
            ("AAAI 2026", "Q16 padding is data: padding_is_data = True", "avg6 (v+a+f): srcc 0.734",
             "@inproceedings{xu2026mcmoe"),
        ),
        (("gdlt", "--no-cost"), ("published settings",)),
        (
            ("gdlt",),
            ("3.16M parameters on the streams of Fis-V (v 1024, a 768, f 1024); 0.357 GFLOP for "
             "124 clips",),
        ),
        (("fisv-missing",), ("v a f va vf af vaf",)),
        (("fs1000",), ("TimeSformer",)),
    ],
)  # fmt: skip
def test_show(aqabench: Run, arguments: tuple[str, ...], parts: tuple[str, ...]) -> None:
    said = aqabench("show", *arguments)
    assert said.code == 0
    for part in parts:
        assert part in said.words


def test_show_an_unknown_name(aqabench: Run) -> None:
    said = aqabench("show", "fisv-mising")
    assert said.code == 2
    assert "Did you mean 'fisv-missing'" in said.words


def test_check_prints_every_check_and_fails_a_cheat(aqabench: Run, tmp_path: Path) -> None:
    assert aqabench("check", "constant").code == 0
    cheat = tmp_path / "cheat.py"
    cheat.write_text(
        "from aqabench.baselines.constant import Constant\n"
        "from aqabench.method.card import MethodCard\n"
        "class Cheat(Constant):\n"
        "    card = MethodCard(name='cheat', title='C', kind='baseline', summary='s',\n"
        "                      missing='m', opt_outs={'order_cannot_matter': 'no reason'})\n"
        "    def predict(self, batch):\n"
        "        return batch.features['video'].nan_to_num().mean((1, 2)) + len(batch)\n"
    )
    said = aqabench("check", "--plugin", cheat, "cheat")
    assert said.code == 1
    assert "the output depends on hidden values" in said.words
    assert "a sample alone differs by" in said.words
    assert "delete the opt-out" in said.words


def test_data_status_and_import_errors(installed: Run, tmp_path: Path) -> None:
    said = installed("data", "status")
    assert "56 samples (gdlt)" in said.words
    assert installed("data", "import", "fisv", "--from", tmp_path / "absent").code == 1
    assert installed("data", "import", "fis", "--from", tmp_path).code == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(aqabench: Run, shell: str) -> None:
    said = aqabench("completion", shell)
    assert said.code == 0
    assert "_AQABENCH_COMPLETE" in said.out


def test_names_complete_at_run_time(home: Path) -> None:
    import os

    done = subprocess.run(
        [sys.executable, "-m", "aqabench"],
        env={
            **os.environ,
            "_AQABENCH_COMPLETE": "bash_complete",
            "COMP_WORDS": "aqabench run --method mc",
            "COMP_CWORD": "3",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert "mcmoe" in done.stdout
