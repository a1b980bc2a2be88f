"""The command line: one short file per verb.  Nothing is imported before it is needed."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import rich_click as click

import aqabench
from aqabench.cli.lazy import LazyGroup
from aqabench.errors import AqabenchError

VERBS = {
    "run": "aqabench.cli.run",
    "search": "aqabench.cli.search",
    "ablate": "aqabench.cli.ablate",
    "compare": "aqabench.cli.compare",
    "board": "aqabench.cli.board",
    "submit": "aqabench.cli.submit",
    "verify": "aqabench.cli.verify",
    "power": "aqabench.cli.power",
    "list": "aqabench.cli.listing",
    "show": "aqabench.cli.show",
    "check": "aqabench.cli.check",
    "data": "aqabench.cli.data",
    "protocol": "aqabench.cli.protocol",
    "runs": "aqabench.cli.runs",
    "index": "aqabench.cli.index",
    "completion": "aqabench.cli.completion",
}
INTERRUPTED = 130


@click.group(cls=LazyGroup, verbs=VERBS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(aqabench.__version__, "-V", "--version", prog_name="aqabench")
def cli() -> None:
    """Which incomplete-multimodal AQA method is better, by how much, and is it real?

    Start here:  aqabench run --method mcmoe --protocol fisv-missing
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exit code 0 fine, 1 failed runs or data, 2 usage, 130 Ctrl-C."""
    _open_streams()
    try:
        done: Any = cli.main(arguments, prog_name="aqabench", standalone_mode=False)
        sys.exit(done if isinstance(done, int) else 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except AqabenchError as error:
        click.secho(f"Error: {error}", err=True, fg="red")
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.secho(
            "Stopped. What was finished is kept; type the same command again to go on.", err=True
        )
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # the reader of our output (head, less) has gone: not an error of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _open_streams() -> None:
    """Replace streams that we were started without, so that no file or pipe gets their numbers."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            stream = Path(os.devnull).open("w" if number else "r")  # noqa: SIM115
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)
