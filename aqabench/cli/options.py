"""Options that several verbs share, and names that complete and suggest at run time."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import rich_click as click
from click.shell_completion import CompletionItem

from aqabench.errors import UnknownNameError

F = TypeVar("F", bound=Callable[..., Any])


class Name(click.ParamType):  # type: ignore[type-arg]
    """A name that exists: completed with TAB, and suggested when misspelt."""

    def __init__(self, kind: str, known: Callable[[], list[str]], paths: bool = False) -> None:
        """Keep how the names are found; ``paths`` lets a YAML file through."""
        self.name, self.known, self.paths = kind, known, paths

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the name, or fail with the nearest one."""
        plugged = ctx is not None and bool(ctx.params.get("plugins"))
        if value in self.known() or plugged or (self.paths and str(value).endswith("ml")):
            return value
        verb = f"aqabench list {self.name.replace(' ', '')}s"
        return self.fail(str(UnknownNameError(self.name, value, self.known(), verb)), param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the names that begin like this."""
        return [CompletionItem(name) for name in self.known() if name.startswith(incomplete)]


def method_names() -> list[str]:
    """Return every method's name, broken ones included: their own error says more."""
    from aqabench.method.registry import discover

    return sorted({entry.name for entry in discover().entries})


def protocol_names() -> list[str]:
    """Return the shipped protocols."""
    from aqabench.protocol import library

    return library.protocol_names()


def dataset_names() -> list[str]:
    """Return the data sets."""
    from aqabench.protocol import library

    return library.dataset_names()


METHOD = Name("method", method_names)
PROTOCOL = Name("protocol", protocol_names, paths=True)
DATASET = Name("dataset", dataset_names)


BUDGET = click.Choice(["quick", "standard", "paper"])
"""The names of :data:`aqabench.protocol.schema.BUDGETS`, for a help that loads no pydantic."""

protocol_option = click.option(
    "--protocol", "-p", type=PROTOCOL, required=True, help="A name, or a YAML file of your own."
)
class_option = click.option(
    "--class", "classes", multiple=True, help="Only this class. May be repeated."
)
seeds_option = click.option(
    "--seeds", type=click.IntRange(min=1), help="How many of the protocol's seeds."
)
stored_data_option = click.option(
    "--data", type=click.Choice(["real", "simulated"]), help="Only runs on data of this kind."
)
stored_budget_option = click.option("--budget", type=BUDGET, help="Only this one.")
rule_option = click.option(
    "--rule",
    type=click.Choice(["val", "last", "oracle"]),
    help="How the epoch is chosen. Default: the protocol's own rule.",
)


def stored_runs_options(function: F) -> F:
    """Add ``--protocol``, ``--data``, ``--budget`` and ``--class`` of runs that are stored."""
    protocol = click.option(
        "--protocol", "-p", type=PROTOCOL, help="Default: every protocol that has runs."
    )
    return protocol(stored_data_option(stored_budget_option(class_option(function))))


def plugins_option(function: F) -> F:
    """Add ``--plugin``; it is read before the names that it may add."""
    return click.option(
        "--plugin",
        "plugins",
        type=click.Path(path_type=Path),
        multiple=True,
        is_eager=True,
        help="A method file of your own; its methods are known to this command. May be repeated.",
    )(function)


def plugin_words(plugins: Iterable[Path]) -> str:
    """Return ``--plugin FILE`` for each, to be typed again; each begins with a space."""
    return "".join(f" --plugin {shlex.quote(str(path))}" for path in plugins)


def store_option(function: F) -> F:
    """Add ``--store``."""
    return click.option(
        "--store",
        "store_folder",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="AQABENCH_STORE",
        help="Folder of runs. Default: runs/ below $AQABENCH_HOME, or below your user data folder.",
    )(function)


def figure_option(what: str) -> Callable[[F], F]:
    """Return what adds ``--figure``; a file that could not be written is refused at once.

    Args:
        what: the help: what is drawn, and into which kinds of file.
    """

    def check(_: click.Context, __: click.Parameter, path: Path | None) -> Path | None:
        from aqabench.figure import check_path

        if path is not None:
            check_path(path)
        return path

    return click.option(
        "--figure",
        "figure_path",
        type=click.Path(path_type=Path),
        metavar="FILE",
        callback=check,
        help=what,
    )


def watching_options(function: F) -> F:
    """Add ``--threads`` and ``--progress``."""
    threads = click.option(
        "--threads",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Torch threads of a run. Another number changes the last digits.",
    )
    progress = click.option(
        "--progress",
        type=click.Choice(["auto", "plain", "json"]),
        default="auto",
        show_default=True,
        help="auto draws bars in a terminal and writes plain lines elsewhere; json: a line per "
        "event.",
    )
    return threads(progress(function))
