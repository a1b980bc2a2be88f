"""The wheel works with the source tree hidden, and so does a raw checkout."""

from __future__ import annotations

import site
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

PROGRAM = """
import sys
sys.path[:0] = {path!r}
import aqabench
assert aqabench.__file__.startswith({start!r}), aqabench.__file__
from aqabench.cli import main
main({arguments!r})
"""


def _run(path: list[str], start: str, arguments: list[str], cwd: Path) -> str:
    """Run a command line without site-packages' own path files, so that no checkout leaks in."""
    program = PROGRAM.format(path=path, start=start, arguments=arguments)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={"AQABENCH_HOME": str(cwd), "XDG_CACHE_HOME": str(cwd), "COLUMNS": "120"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, unpacked where nothing else is."""
    out = tmp_path_factory.mktemp("wheel")
    build = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run(
        [sys.executable, "-c", build, str(out)], cwd=REPOSITORY, check=True, capture_output=True
    )
    (path,) = out.glob("*.whl")
    target = out / "unpacked"
    import zipfile

    with zipfile.ZipFile(path) as archive:
        archive.extractall(target)
    return target


def test_the_wheel_holds_every_method_protocol_and_data_set(wheel: Path) -> None:
    for folder in ("methods", "baselines", "protocols", "leaderboards"):
        shipped = {
            p.relative_to(REPOSITORY / folder)
            for p in (REPOSITORY / folder).rglob("*")
            if p.is_file() and "__pycache__" not in p.parts
        }
        packed = {
            p.relative_to(wheel / "aqabench" / folder)
            for p in (wheel / "aqabench" / folder).rglob("*")
            if p.is_file()
        }
        assert shipped <= packed
    tops = {p.name for p in wheel.iterdir() if not p.name.endswith(".dist-info")}
    assert tops == {"aqabench"}, "no package called methods or baselines may be installed"


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["list", "methods"], "mcmoe-released"),
        (["show", "fisv-missing"], "v a f va vf af vaf"),
        (["check", "constant"], "opted out"),
    ],
    ids=lambda x: "-".join(x) if isinstance(x, list) else "",
)
def test_the_wheel_works_with_the_source_tree_hidden(
    wheel: Path, tmp_path: Path, arguments: list[str], part: str
) -> None:
    packages = [sysconfig.get_path("purelib"), *site.getsitepackages()]
    out = _run([str(wheel), *packages], str(wheel), arguments, tmp_path)
    assert part in " ".join(out.split())


def test_a_raw_checkout_works_without_installation(tmp_path: Path) -> None:
    packages = [sysconfig.get_path("purelib"), *site.getsitepackages()]
    out = _run([str(REPOSITORY), *packages], str(REPOSITORY), ["list", "methods"], tmp_path)
    assert "mcmoe-released" in out
