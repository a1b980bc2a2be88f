"""Started without a stdin, stdout or stderr, as some schedulers start what they run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

RUN = (
    "-m aqabench run -m constant -p fisv-rgb --data simulated --budget quick --class TES --seeds 1"
)


@pytest.mark.slow
@pytest.mark.parametrize("closed", [">&-", "<&- 2>&-"])
def test_runs_are_done_without_streams(tmp_path: Path, closed: str) -> None:
    environment = {**os.environ, "AQABENCH_HOME": str(tmp_path / "home")}
    command = f"exec {sys.executable} {RUN} {closed}"
    done = subprocess.run(["sh", "-c", command], env=environment, check=False)
    assert done.returncode == 0
    (record,) = (tmp_path / "home" / "runs").rglob("record.json")
    assert '"finished"' in record.read_text()


def test_no_file_gets_the_number_of_a_stream(tmp_path: Path) -> None:
    code = (
        "import os, subprocess, sys; from aqabench.cli import _open_streams; _open_streams();"
        "number = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT);"
        "print('lost'); print('lost', file=sys.stderr);"
        "lost = subprocess.run('read word; echo lost && echo lost >&2', shell=True).returncode;"
        "os.write(number, b'%d %d %r' % (number, lost, sys.stdin.read()))"
    )
    command = f'exec {sys.executable} -c "$0" "$1" <&- >&- 2>&-'
    subprocess.run(["sh", "-c", command, code, str(tmp_path / "said")], check=True)
    assert (tmp_path / "said").read_text() == "3 0 ''"
