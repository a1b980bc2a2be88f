"""A home of its own for every test, and a small release of real layout imported into it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from aqabench.cli import main
from tests.helpers import write_gdlt_release


@dataclass(frozen=True)
class Said:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def words(self) -> str:
        """Both streams with line breaks and frames taken out, so that wrapping does not matter."""
        return " ".join((self.out + " " + self.err).replace("│", " ").split())


Run = Callable[..., Said]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AQABENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path / "home"


@pytest.fixture
def aqabench(home: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command line in this process."""

    def run(*arguments: object) -> Said:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(a) for a in arguments])
        said = capsys.readouterr()
        code = ended.value.code
        return Said(code if isinstance(code, int) else 1, said.out, said.err)

    return run


@pytest.fixture
def installed(aqabench: Run, tmp_path: Path) -> Run:
    """The same, with 40 training and 16 test videos of Fis-V RGB in the store."""
    folder = write_gdlt_release(tmp_path / "release", train=40, test=16)
    assert aqabench("data", "import", "fisv", "--from", folder).code == 0
    return aqabench
