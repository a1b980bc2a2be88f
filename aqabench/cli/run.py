"""``aqabench run``: train, score all scenarios, store, print the leaderboard."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from aqabench.cli.compute import compute_options, numerics_of, require_here
from aqabench.cli.executor import executor_options
from aqabench.cli.options import METHOD, PROTOCOL, plugins_option, store_option
from aqabench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from aqabench.cli.executor import Executor
    from aqabench.data.source import Source
    from aqabench.method.card import Setting
    from aqabench.method.registry import Registry
    from aqabench.runs.plan import RunSpec
    from aqabench.runs.resume import Outcome
    from aqabench.runs.store import RunStore


@click.command("run")
@plugins_option
@click.option(
    "--method", "-m", "methods", type=METHOD, multiple=True, required=True, help="May be repeated."
)
@click.option(
    "--protocol", "-p", type=PROTOCOL, required=True, help="A name, or a YAML file of your own."
)
@click.option(
    "--data",
    type=click.Choice(["auto", "real", "simulated"]),
    default="auto",
    show_default=True,
    help="auto: the real features where they are installed, else the simulator.",
)
@click.option(
    "--budget",
    type=click.Choice(["quick", "standard", "paper"]),
    help="Training effort. Default: quick on simulated data; on real data the protocol's, else "
    "standard.",
)
@click.option("--class", "classes", multiple=True, help="Only this class. May be repeated.")
@click.option("--seeds", type=click.IntRange(min=1), help="How many of the protocol's seeds.")
@click.option(
    "--set", "settings", multiple=True, metavar="NAME=VALUE", help="A setting of the method."
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Torch threads of a run. Another number changes the last digits.",
)
@click.option(
    "--progress",
    type=click.Choice(["auto", "plain", "json"]),
    default="auto",
    show_default=True,
    help="auto draws bars in a terminal and writes plain lines elsewhere; json: a line per event.",
)
@compute_options
@executor_options
@store_option
def command(
    plugins: tuple[Path, ...],
    methods: tuple[str, ...],
    protocol: str,
    data: str,
    budget: str | None,
    classes: tuple[str, ...],
    seeds: int | None,
    settings: tuple[str, ...],
    threads: int,
    device: str,
    precision: str,
    track: tuple[str, ...],
    progress: str,
    executor: Executor,
    store_folder: Path | None,
) -> int:
    """Train and score methods under a protocol, then print the leaderboard.

    Runs that are stored already are not repeated, so the same command goes on after a crash or
    Ctrl-C and is instant once everything is there.

    Exit code: 0 fine, 1 a run failed, 2 wrong usage.
    """
    from rich.console import Console

    from aqabench.board.render.terminal import print_board
    from aqabench.board.select import by_condition, condition_of
    from aqabench.board.table import build
    from aqabench.data.source import choose
    from aqabench.data.store import DataStore
    from aqabench.disk import home
    from aqabench.method.registry import discover
    from aqabench.protocol.library import load_protocol
    from aqabench.protocol.schema import BUDGETS
    from aqabench.runs.plan import Question, make_plan
    from aqabench.runs.store import RunStore
    from aqabench.runs.tracking import require_trackers

    # with --progress json the events have the standard output for themselves
    console = Console(stderr=progress == "json")
    asked = load_protocol(protocol)
    registry = discover(plugins)
    source = choose(asked, data, DataStore(home() / "data"))  # type: ignore[arg-type]
    usual = (asked.protocol.budget or "standard") if source.kind == "real" else "quick"
    effort = BUDGETS[budget or usual]
    question = Question(
        asked.protocol,
        asked.dataset,
        asked.digest,
        source.kind,
        source.digest,
        effort,
        source.groups,
        source.groups_digest,
    )
    chosen = asked.protocol.seeds[:seeds] if seeds else None
    if seeds and seeds > len(asked.protocol.seeds):
        raise UsageError(
            f"Protocol {asked.protocol.name} has {len(asked.protocol.seeds)} seeds, {seeds} were "
            f"asked for. Type --seeds {len(asked.protocol.seeds)}, or add seeds to a copy of it."
        )
    require_trackers(track)
    numerics = numerics_of(device, precision, executor)
    plan = make_plan(question, registry, methods, _settings(settings), chosen, classes, numerics)
    store = RunStore(store_folder) if store_folder else RunStore.default()
    console.print(source.remark, highlight=False)
    outcome = _execute(plan, source, registry, store, executor, threads, track, progress, console)
    condition = condition_of(outcome.records[0])
    board = build(asked, condition, by_condition(outcome.records)[condition], store)
    print_board(board, console)
    console.print(f"Stored in {store.root / asked.protocol.name}", highlight=False, soft_wrap=True)
    return 1 if outcome.failed else 0


def _execute(
    plan: Sequence[RunSpec],
    source: Source,
    registry: Registry,
    store: RunStore,
    executor: Executor,
    threads: int,
    track: tuple[str, ...],
    progress: str,
    console: Console,
) -> Outcome:
    """Do what is not stored, each run in a process of its own, here or elsewhere."""
    from aqabench.protocol.load import dump
    from aqabench.runs.resume import stored_outcome

    outcome = stored_outcome(plan, store)
    if outcome is not None:
        console.print(f"All {len(plan)} runs are stored already.", highlight=False)
        return outcome
    require_here(plan, executor)
    store.require_writable()
    protocol = plan[0].question.protocol
    store.keep_protocol(protocol.name, dump(protocol))
    from aqabench.cli.display import display_for
    from aqabench.runs.job import jobs_of

    with display_for(progress, console, plan) as display:
        display.say("preparing the data")
        source.load()  # what is simulated is kept for the processes
        return executor(jobs_of(plan, source.load, registry, store, threads, track), display)


def _settings(given: tuple[str, ...]) -> dict[str, Setting]:
    """Read ``NAME=VALUE`` with YAML's idea of a value."""
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
