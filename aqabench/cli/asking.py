"""What is asked, on which data and with how much training: shared by ``run`` and ``search``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click

from aqabench.cli.options import BUDGET
from aqabench.errors import UsageError

if TYPE_CHECKING:
    from aqabench.data.source import Source
    from aqabench.method.card import Setting
    from aqabench.protocol.library import Asked
    from aqabench.runs.plan import Question

F = TypeVar("F", bound=Callable[..., Any])


def data_options(function: F) -> F:
    """Add ``--data`` and ``--budget``."""
    data = click.option(
        "--data",
        type=click.Choice(["auto", "real", "simulated"]),
        default="auto",
        show_default=True,
        help="auto: the real features where they are installed, else the simulator.",
    )
    budget = click.option(
        "--budget",
        type=BUDGET,
        help="Training effort. Default: quick on simulated data; on real data the protocol's, "
        "else standard.",
    )
    return data(budget(function))


def ask(protocol: str, data: str, budget: str | None) -> tuple[Asked, Source, Question]:
    """Return the protocol, the data it is asked on, and the question with its budget.

    Args:
        protocol: a name, or a file.
        data: auto, real or simulated.
        budget: its name; None for the usual one.

    Raises:
        AqabenchError: there is no such protocol, or the data are not there.
    """
    from aqabench.data.source import choose
    from aqabench.data.store import DataStore
    from aqabench.disk import home
    from aqabench.protocol.library import load_protocol
    from aqabench.protocol.schema import BUDGETS
    from aqabench.runs.plan import Question

    asked = load_protocol(protocol)
    source = choose(asked, data, DataStore(home() / "data"))  # type: ignore[arg-type]
    usual = (asked.protocol.budget or "standard") if source.kind == "real" else "quick"
    return asked, source, Question.of(asked, source, BUDGETS[budget or usual])


def seeds_of(asked: Asked, count: int | None) -> tuple[int, ...] | None:
    """Return the first of a protocol's seeds; None for as many as the budget has.

    Raises:
        UsageError: it has fewer.
    """
    every = asked.protocol.seeds
    if count and count > len(every):
        raise UsageError(
            f"Protocol {asked.protocol.name} has {len(every)} seeds, {count} were asked for. Type "
            f"--seeds {len(every)}, or add seeds to a copy of it."
        )
    return every[:count] if count else None


def settings_of(given: tuple[str, ...]) -> dict[str, Setting]:
    """Read ``NAME=VALUE`` with YAML's idea of a value.

    Raises:
        UsageError: it has another form.
    """
    from aqabench.protocol.yaml12 import scalar

    settings: dict[str, Setting] = {}
    for item in given:
        name, sign, value = item.partition("=")
        if not sign or not name:
            raise UsageError(f"'--set {item}' must be of the form NAME=VALUE, e.g. --set lr=1e-4")
        try:
            settings[name.strip()] = scalar(value.strip())
        except ValueError as error:
            raise UsageError(f"'--set {item}': {error}. Give a plain value.") from error
    return settings
