"""The house rules that a machine can hold."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def _tool(*command: str) -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / command[0]), *command[1:]],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("ruff", "check", "."),
        ("ruff", "format", "--check", "."),
        ("mypy",),
        ("lint-imports",),
    ],
    ids=" ".join,
)
def test_tools_are_content(command: tuple[str, ...]) -> None:
    _tool(*command)


def test_ci_runs_the_command_of_the_readme_and_nothing_else(tmp_path: Path) -> None:
    readme = (REPOSITORY / "README.md").read_text()
    command = readme.split("<!-- test command -->")[1].split("```")[1].strip()
    assert command.endswith("-m pytest")
    (tmp_path / ".ci").mkdir()
    script = (REPOSITORY / ".ci" / "run").read_text()
    (tmp_path / ".ci" / "run").write_text(script.replace('bash -euo pipefail -c "$command"', ""))
    (tmp_path / "README.md").write_text(readme)
    said = subprocess.run(
        ["bash", str(tmp_path / ".ci" / "run")], capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == f"+ {command}"


def test_no_method_is_imported_from_the_top_level() -> None:
    pattern = re.compile(r"^\s*(from|import)\s+(methods|baselines)\b", re.MULTILINE)
    for path in REPOSITORY.rglob("*.py"):
        if ".venv" not in path.parts:
            assert not pattern.search(path.read_text()), path


def test_a_file_stays_readable() -> None:
    """A file does one thing; past 450 lines it does two."""
    for folder in ("aqabench", "methods", "baselines"):
        for path in (REPOSITORY / folder).rglob("*.py"):
            assert len(path.read_text().splitlines()) <= 450, path


def test_shipped_prose_names_no_machine() -> None:
    names = re.compile(r"/root/|/work/|/home/[a-z]|site-packages")
    tracked = subprocess.run(
        ["git", "-C", str(REPOSITORY), "ls-files"], capture_output=True, text=True, check=False
    ).stdout.split()
    for name in tracked:
        path = REPOSITORY / name
        if path.suffix in {".md", ".py", ".yaml", ".toml", ".cff"} and "tests" not in path.parts:
            assert not names.search(path.read_text(encoding="utf-8")), name
