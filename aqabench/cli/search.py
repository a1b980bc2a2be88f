"""``aqabench search``: choose settings of a method, on validation alone."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from aqabench.cli.asking import ask, data_options, settings_of
from aqabench.cli.compute import device_options, numerics_of, require_here
from aqabench.cli.executor import executor_options
from aqabench.cli.options import (
    METHOD,
    plugins_option,
    protocol_option,
    store_option,
    watching_options,
)

if TYPE_CHECKING:
    from rich.console import Console

    from aqabench.cli.executor import Executor
    from aqabench.data.source import Source
    from aqabench.runs.listener import Listener
    from aqabench.runs.plan import RunSpec
    from aqabench.runs.resume import Outcome
    from aqabench.search.engine import Search
    from aqabench.search.trials import Trial, TrialStore

TRIALS = 20


@click.command("search")
@plugins_option
@click.option("--method", "-m", type=METHOD, required=True, help="Whose settings are searched.")
@protocol_option
@click.option(
    "--trials",
    "-n",
    type=click.IntRange(min=2),
    default=TRIALS,
    show_default=True,
    help="Settings to try, the published ones first. More later go on from these.",
)
@data_options
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Runs of each trial and class, with the first of the protocol's seeds.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the proposals."
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="A setting that is not searched but has this value in every trial.",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write what was chosen to this file, too.",
)
@watching_options
@device_options
@executor_options
@store_option
def command(
    plugins: tuple[Path, ...],
    method: str,
    protocol: str,
    trials: int,
    data: str,
    budget: str | None,
    seeds: int,
    seed: int,
    settings: tuple[str, ...],
    output: Path | None,
    threads: int,
    progress: str,
    device: str,
    precision: str,
    compiled: bool,
    executor: Executor,
    store_folder: Path | None,
) -> int:
    """Search for settings of a method within the ranges of its card, on validation alone.

    Every trial has the same budget; test videos are not even handed to it. The same command goes
    on after a crash or Ctrl-C. What is chosen is a file for 'aqabench run --params FILE', which
    makes a row of its own.

    Exit code: 0 fine, 1 no trial could be finished, 2 wrong usage.
    """
    from rich.console import Console

    from aqabench.cli.search_table import print_search
    from aqabench.method.registry import discover
    from aqabench.runs.store import RunStore
    from aqabench.search.engine import conclude, make_search
    from aqabench.search.propose import require_optuna
    from aqabench.search.trials import TrialStore, write_params

    # with --progress json the events have the standard output for themselves
    console = Console(stderr=progress == "json")
    require_optuna()
    _, source, question = ask(protocol, data, budget)
    numerics = numerics_of(device, precision, compiled, executor)
    search = make_search(
        question, discover(plugins), method, settings_of(settings), seeds, numerics, seed
    )
    store = RunStore(store_folder) if store_folder else RunStore.default()
    kept = TrialStore.below(store, search.searched)
    console.print(source.remark, highlight=False)
    every = _search(search, trials, kept, source, executor, threads, progress, console)
    params = conclude(search, trials, every)
    written = kept.write_params(params) if params else None
    if params and output is not None:
        written = write_params(output, params)
    print_search(console, search, every, params)
    if params is None or written is None:
        console.print(
            "No trial of a fold could be finished, so nothing is chosen. The reasons are above; "
            f"what the runs said is below {kept.runs.root}.",
            highlight=False,
            soft_wrap=True,
        )
        return 1
    console.print(f"Written to {written}", highlight=False, soft_wrap=True)
    own = [word for path in plugins for word in ("--plugin", str(path))]
    words = ["run", *own, "--method", method, "--protocol", protocol, "--params", str(written)]
    console.print(f"Next: aqabench {shlex.join(words)}", highlight=False, soft_wrap=True)
    if progress == "json":
        chosen = params.model_dump(mode="json", include={"search", "trials", "choices"})
        event = {"event": "chosen", "time": round(time.time(), 3), "file": str(written), **chosen}
        click.echo(json.dumps(event))
    return 0


def _search(
    search: Search,
    trials: int,
    kept: TrialStore,
    source: Source,
    executor: Executor,
    threads: int,
    progress: str,
    console: Console,
) -> Mapping[int | None, Sequence[Trial]]:
    """Do the trials that are not done yet, and show how far they are."""
    from aqabench.cli.display import display_for
    from aqabench.runs.job import jobs_of
    from aqabench.search.engine import run_search

    last = search.plan(trials - 1, search.folds[-1], {})
    prepared = False
    with display_for(progress, console, last * (trials * len(search.folds))) as display:

        def execute(plan: Sequence[RunSpec], listener: Listener) -> Outcome:
            nonlocal prepared
            if not prepared:
                require_here(plan, executor)
                kept.runs.require_writable()
                kept.keep_search(search.searched)
                display.say("preparing the data")
                source.load()  # what is simulated is kept for the processes
                prepared = True
            jobs = jobs_of(plan, source.load, search.registry, kept.runs, threads)
            return executor(jobs, listener, display.say)

        return run_search(search, trials, kept, execute, display)
