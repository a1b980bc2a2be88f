"""``aqabench run``: train, score all scenarios, store, print the leaderboard."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from aqabench.cli.asking import ask, data_options, seeds_of, settings_of
from aqabench.cli.compute import compute_options, numerics_of
from aqabench.cli.executor import executor_options
from aqabench.cli.options import (
    METHOD,
    class_option,
    plugins_option,
    protocol_option,
    seeds_option,
    store_option,
    watching_options,
)
from aqabench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aqabench.cli.executor import Executor
    from aqabench.method.card import Setting
    from aqabench.method.registry import Registry
    from aqabench.runs.plan import Question, RunSpec
    from aqabench.runs.store import RunStore
    from aqabench.train.numerics import Numerics


@click.command("run")
@plugins_option
@click.option(
    "--method", "-m", "methods", type=METHOD, multiple=True, required=True, help="May be repeated."
)
@protocol_option
@data_options
@class_option
@seeds_option
@click.option(
    "--set", "settings", multiple=True, metavar="NAME=VALUE", help="A setting of the method."
)
@click.option(
    "--params",
    "params_files",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    metavar="FILE",
    help="Settings that 'aqabench search' has chosen for one of the methods; a row of their own. "
    "May be repeated.",
)
@click.option(
    "--keep-weights",
    is_flag=True,
    help="Keep what is learned beside each record, of every epoch that a rule chooses, so that "
    "'aqabench verify --weights' can predict again. Changes no number.",
)
@watching_options
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
    params_files: tuple[Path, ...],
    keep_weights: bool,
    threads: int,
    device: str,
    precision: str,
    compiled: bool,
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
    from aqabench.cli.carry_out import carry_out
    from aqabench.method.registry import discover
    from aqabench.runs.store import RunStore
    from aqabench.runs.tracking import require_trackers

    # with --progress json the events have the standard output for themselves
    console = Console(stderr=progress == "json")
    asked, source, question = ask(protocol, data, budget)
    registry = discover(plugins)
    chosen = seeds_of(asked, seeds)
    require_trackers(track)
    numerics = numerics_of(device, precision, compiled, executor)
    given = settings_of(settings)
    plan = _plan(question, registry, methods, given, params_files, chosen, classes, numerics)
    store = RunStore(store_folder) if store_folder else RunStore.default()
    console.print(source.remark, highlight=False)
    before = _without_weights(plan, store) if keep_weights else ""
    console.print(before, highlight=False, soft_wrap=True, end="")
    outcome = carry_out(
        plan, source, registry, store, executor, threads, track, progress, console, keep_weights
    )
    if keep_weights and (after := _without_weights(plan, store)) != before:
        # another command, which did not keep them, was doing some of these runs
        console.print(after, highlight=False, soft_wrap=True, end="")
    condition = condition_of(outcome.records[0])
    board = build(asked, condition, by_condition(outcome.records)[condition], store)
    print_board(board, console)
    console.print(f"Stored in {store.root / asked.protocol.name}", highlight=False, soft_wrap=True)
    return 1 if outcome.failed else 0


def _without_weights(plan: Sequence[RunSpec], store: RunStore) -> str:
    """Say which runs are not done again although they are stored without weights; or nothing."""
    from aqabench.runs.resume import finished

    stored = [record for spec in plan if (record := finished(spec, store)) is not None]
    lacking = [record for record in stored if store.weights_file(record) is None]
    if not lacking:
        return ""
    return (
        f"Stored without weights: {len(lacking):,} of {len(plan):,} runs, which stay as they are, "
        "because only training again gives weights. To do so, type the same command with another "
        "store: --store FOLDER\n"
    )


def _plan(
    question: Question,
    registry: Registry,
    methods: Sequence[str],
    given: Mapping[str, Setting],
    params_files: Sequence[Path],
    seeds: Sequence[int] | None,
    classes: Sequence[str],
    numerics: Numerics,
) -> list[RunSpec]:
    """Return the runs: of methods as published or as set by hand, and of tuned ones.

    Raises:
        UsageError: settings that do not belong together, or to no method.
    """
    from aqabench.runs.plan import make_plan
    from aqabench.runs.tuning import read_params, tuned_plan

    tuned = [read_params(path) for path in params_files]
    if tuned and given:
        raise UsageError(
            "--set and --params cannot be used together: what is set by hand is a part of the "
            "search. Type: aqabench search --set NAME=VALUE, then run with its --params FILE."
        )
    searched = [params.searched.method for params in tuned]
    for path, name in zip(params_files, searched, strict=True):
        if name not in methods:
            raise UsageError(
                f"'--params {path}' holds settings of {name}, which is not run. Add: --method "
                f"{name}"
            )
        if searched.count(name) > 1:
            raise UsageError(
                f"--params is given twice for {name}. Give one, and type the command again with "
                "the other: each is a row of its own."
            )
    untuned = [name for name in methods if name not in searched]
    plan = make_plan(question, registry, untuned, given, seeds, classes, numerics)
    for params in tuned:
        plan += tuned_plan(params, question, registry, seeds, classes, numerics)
    return plan
