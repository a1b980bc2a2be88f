"""``aqabench power`` as it is typed, and docs/power.md as it prints it."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from aqabench.protocol import library
from tests.cli.conftest import Run

REPOSITORY = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"<!-- aqabench (power.*?) -->\n(.*?)\n<!-- end -->", re.DOTALL)
ONE = ("--rho", "0.8", "-r", "0.9")


def test_a_protocol_with_its_claims_fits_a_terminal(
    aqabench: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    said = aqabench("power", "-p", "rg-missing", "--published")
    assert said.code == 0
    assert max(map(len, said.out.splitlines())) <= 80
    assert re.search(r"RG +mean of 4 +4 x 50 +0\.091 +0\.066 +0\.047 +0\.075 +0\.055", said.out)
    assert re.search(r"MCMoE +0\.842 +CaFlow +0\.841 +0\.001 +cannot be separated", said.out)
    assert "depends on overlap, r* 0.87" in said.words
    assert "separated (p 0.005)" in said.words
    assert "Pairs at most 0.02 apart: all 20 cannot be separated." in said.words
    assert "VATP-Net printed 0.800" in said.words
    assert "PercePiano" not in said.words


def test_a_test_set_of_ones_own(aqabench: Run) -> None:
    said = aqabench("power", "-n", 100, "-n", "400", *ONE, "--power", "0.9", "--alpha", "0.01")
    assert "Two-sided test at alpha 0.01, found with 90 % probability." in said.words
    hundred, four_hundred = (float(x) for x in re.findall(r"^[14]00 +(0\.\d+)", said.out, re.M))
    assert 0.1 < hundred < 0.12
    assert hundred / four_hundred == pytest.approx(2, abs=0.1)


def test_many_levels_stand_below_each_other(aqabench: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    levels = [part for rho in (0.5, 0.6, 0.7, 0.8, 0.81, 0.82, 0.83) for part in ("--rho", rho)]
    said = aqabench("power", "-n", 100, *levels, "-r", 0.8)
    assert max(map(len, said.out.splitlines())) <= 80
    assert said.out.count("The smallest difference") == 2


def test_json_and_csv_hold_the_numbers_of_the_tables(aqabench: Run) -> None:
    asked = ("power", "-p", "fs1000-missing", "--published", "records", *ONE)
    tables = json.loads(aqabench(*asked, "--format", "json").out)
    assert list(tables) == ["detectable", "sizes", "published"]
    mean = tables["detectable"][-1]
    assert (mean["n"], mean["correlations_averaged"], mean["shared"]) == (357, 7, 0.6)
    assert mean["detectable"] == pytest.approx(0.034, abs=5e-4)
    newest = tables["published"][0]
    assert (newest["better"], newest["worse"]) == ("LIMSSR", "MCMoE")
    assert newest["flag"] == "cannot be separated"
    assert newest["r_star"] is None
    rows = list(csv.DictReader(io.StringIO(aqabench(*asked, "--format", "csv").out)))
    assert [row["better"] for row in rows] == [row["better"] for row in tables["published"]]
    sizes = aqabench("power", "-n", 50, "-n", 60, *ONE, "--format", "csv").out
    assert [row["n"] for row in csv.DictReader(io.StringIO(sizes))] == ["50", "60"]


def test_one_class_of_published_numbers(aqabench: Run) -> None:
    said = aqabench("power", "-p", "rg-paper", "--published", "--class", "Ball", *ONE)
    assert "Published on RG, Ball, all streams: " in said.words
    said = aqabench("power", "-p", "rg-paper", "--published", "--class", "Rope", *ONE)
    assert said.code == 2
    assert "for the class 'Rope' of rg. Choose one of: average, Ball, Clubs" in said.words


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (("-p", "rg-mising"), "Did you mean 'rg-missing'?"),
        (("--power", "0.04"), "Type: --power 0.8 --alpha 0.05"),
        (("--class", "TES"), "Type: --published --class TES"),
        (("-p", "percepiano-missing", "--published"), "there are numbers for fisv, fs1000, rg"),
        (("-n", "100", "--rho", "0.95", "-r", "0.7"), "pass r of at least 0.80"),
        (("--rho", "1"), "is not in the range -1<x<1"),
        (("-n", "3"), "is not in the range x>=10"),
        (("--published", "best"), "'best' is not one of 'neighbours', 'records', 'all'"),
        (("--figure", "no/power.png"), "mkdir -p 'no'"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    aqabench: Run, arguments: tuple[str, ...], advice: str
) -> None:
    said = aqabench("power", *arguments)
    assert said.code == 2
    assert advice in said.words
    assert said.out == ""


def test_the_figure_is_the_same_every_time(aqabench: Run, tmp_path: Path) -> None:
    path = tmp_path / "power.svg"
    typed = ("power", "-p", "rg-missing", "--published", *ONE, "--figure", path)
    said = aqabench(*typed, "--format", "markdown")
    assert said.code == 0
    assert said.out.startswith("**The smallest difference"), "the document is not mixed with talk"
    assert said.err.strip().endswith(f"Drawn: {path}")
    first = path.read_bytes()
    for text in ("RG mean of 4", "published gaps", "cannot be separated", "ρ = 0.8"):
        assert text.encode() in first
    aqabench(*typed)
    assert path.read_bytes() == first


def test_power_imports_neither_torch_nor_pandas_nor_matplotlib() -> None:
    program = (
        "import sys\nfrom aqabench.cli import main\n"
        "try:\n    main(['power', '-n', '100', '-r', '0.9', '--rho', '0.8'])\n"
        "except SystemExit as e:\n    assert not e.code, e.code\n"
        "loaded = {'torch', 'pandas', 'matplotlib'} & set(sys.modules)\nassert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_has_examples(aqabench: Run) -> None:
    said = aqabench("power", "--help")
    assert said.code == 0
    assert "aqabench power -p rg-missing --published" in said.words
    assert "power" in aqabench("--help").words


def test_the_documentation_shows_what_the_command_prints(
    aqabench: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "load_protocol", cache(library.load_protocol))  # read once
    text = (REPOSITORY / "docs" / "power.md").read_text(encoding="utf-8")
    blocks = BLOCK.findall(text)
    assert {typed for typed, _ in blocks} == {
        "power --format markdown",
        "power -p rg-missing --format markdown",
        "power --published --format markdown",
        "power --published records --format markdown",
    }
    for typed, block in blocks:
        printed = aqabench(*typed.split()).out
        for table in re.split(r"\n\n(?=\*\*)", block):
            assert table in printed, f"docs/power.md is stale; paste from: aqabench {typed}"
