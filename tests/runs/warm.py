"""Commands that start in a tenth of a second, so that a test can kill many of them.

A server process has imported everything and forks for each command line.  What such a command does
is real: it has its own fork server, its own processes for runs, its own process group.  Only
importing is skipped: its fork server is forked as well, and not a fresh interpreter.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import forkserver, util
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil


@dataclass(frozen=True)
class Command:
    """A command line at work.

    Attributes:
        pid: of its process, and of the group that it and its processes make.
        out: file with what it said on the standard output.
        err: the same of the standard error.
    """

    pid: int
    out: Path
    err: Path

    def processes(self) -> list[psutil.Process]:
        """Return all that is alive in its group."""
        found = []
        for process in psutil.process_iter():
            try:
                alive = process.status() != psutil.STATUS_ZOMBIE
                if alive and os.getpgid(process.pid) == self.pid:
                    found.append(process)
            except (psutil.NoSuchProcess, ProcessLookupError):
                continue
        return found

    def workers(self) -> list[psutil.Process]:
        """Return the processes at work on runs: what its fork server, its child, has forked."""
        found = []
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                if self.pid in [p.pid for p in process.parents()][1:]:
                    found.append(process)
        return found

    def kill(self) -> None:
        """SIGKILL the command, not its group."""
        os.kill(self.pid, signal.SIGKILL)


class Commands:
    """The server; used in a ``with`` block."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder, self._count = folder, 0
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.runs.warm"],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait()

    def start(self, arguments: Sequence[object]) -> Command:
        """Start ``aqabench ARGUMENTS``; end it with :meth:`code` before the next."""
        self._count += 1
        files = [self._folder / f"{self._count}.{name}" for name in ("out", "err")]
        for file in files:
            file.touch()
        self._ask([[str(a) for a in arguments], [str(f) for f in files]])
        return Command(int(self._answer()), *files)

    def code(self) -> int:
        """Wait for the end of the command; return its exit code, or minus the signal."""
        return int(self._answer())

    def run(self, arguments: Sequence[object]) -> tuple[int, str, str]:
        """Do a command; return its exit code and what it said."""
        command = self.start(arguments)
        code = self.code()
        return code, command.out.read_text(), command.err.read_text()

    def _ask(self, what: object) -> None:
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(what) + "\n")
        self._server.stdin.flush()

    def _answer(self) -> str:
        assert self._server.stdout is not None
        return self._server.stdout.readline()


def _serve() -> None:
    from aqabench.board import pairs, select, table  # noqa: F401
    from aqabench.board.render import markdown, terminal  # noqa: F401
    from aqabench.cli import compare, run  # noqa: F401
    from aqabench.runs.executors import local

    for name in local.PRELOADED:
        importlib.import_module(name)
    for line in sys.stdin:
        arguments, files = json.loads(line)
        pid = os.fork()
        if not pid:
            os.setpgid(0, 0)
            _be_command(arguments, files)
        with contextlib.suppress(OSError):  # whoever of the two comes first
            os.setpgid(pid, pid)
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _be_command(arguments: list[str], files: list[str]) -> None:
    from aqabench.cli import main

    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for descriptor, file in zip((1, 2), files, strict=True):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT, 0o644), descriptor)
    util.spawnv_passfds = _forked  # type: ignore[attr-defined]
    code: object = 1
    try:
        main(arguments)
    except SystemExit as ended:
        code = ended.code
    except Exception:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


def _forked(_: object, arguments: Sequence[str | bytes], descriptors: Sequence[int]) -> int:
    """Do what ``python -c`` would do, in a fork of this process that has its descriptors only."""
    pid = os.fork()
    if not pid:
        for descriptor in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
            if descriptor not in {0, 1, 2, *descriptors}:
                with contextlib.suppress(OSError):
                    os.close(descriptor)
        forkserver._forkserver._lock = threading.Lock()  # type: ignore[attr-defined]
        try:
            exec(arguments[-1], {})
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(0)
    return pid


if __name__ == "__main__":
    _serve()
