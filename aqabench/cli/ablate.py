"""``aqabench ablate``: throw every switch of a method, one at a time, and say what changes."""

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
    figure_option,
    plugins_option,
    protocol_option,
    seeds_option,
    store_option,
    watching_options,
)

if TYPE_CHECKING:
    from aqabench.cli.executor import Executor


@click.command("ablate")
@plugins_option
@click.option("--method", "-m", type=METHOD, required=True, help="Whose switches are thrown.")
@protocol_option
@data_options
@class_option
@seeds_option
@click.option(
    "--switch",
    "only",
    multiple=True,
    metavar="NAME",
    help="Only this one, as 'aqabench show METHOD' calls it; its first word is enough. May be "
    "repeated.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="A setting of all runs; switches that would change it are left out.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["terminal", "markdown"]),
    default="terminal",
    show_default=True,
)
@figure_option("Draw the differences with their intervals: FILE.png, .svg or .pdf.")
@watching_options
@compute_options
@executor_options
@store_option
def command(
    plugins: tuple[Path, ...],
    method: str,
    protocol: str,
    data: str,
    budget: str | None,
    classes: tuple[str, ...],
    seeds: int | None,
    only: tuple[str, ...],
    settings: tuple[str, ...],
    form: str,
    figure_path: Path | None,
    threads: int,
    device: str,
    precision: str,
    compiled: bool,
    track: tuple[str, ...],
    progress: str,
    executor: Executor,
    store_folder: Path | None,
) -> int:
    """Measure what each switch of a method changes: published defects, or their remedies.

    Runs the method as it is and once more for each switch, then tells the differences with their
    intervals. What is stored is not run again. A method that names no switches has its yes-or-no
    settings turned over.

    Exit code: 0 fine, 1 a run failed, 2 wrong usage.
    """
    from rich.console import Console

    from aqabench.board.ablation import effects
    from aqabench.board.render.ablation import ablation_sheet
    from aqabench.board.render.sheet import markdown, print_sheet
    from aqabench.board.select import by_condition, condition_of
    from aqabench.board.table import build
    from aqabench.cli.carry_out import carry_out
    from aqabench.method.registry import discover
    from aqabench.runs.ablation import ablation_plan, switches_of
    from aqabench.runs.store import RunStore
    from aqabench.runs.tracking import require_trackers

    # what is not the table goes where it can be told from it
    console = Console(stderr=progress == "json" or form == "markdown")
    asked, source, question = ask(protocol, data, budget)
    registry = discover(plugins)
    given = settings_of(settings)
    card = registry.get(method).card
    assert card is not None
    switches = switches_of(card, given, only)
    numerics = numerics_of(device, precision, compiled, executor)
    chosen = seeds_of(asked, seeds)
    require_trackers(track)
    base, thrown = ablation_plan(
        question, registry, method, given, switches, chosen, classes, numerics
    )
    plan = base + [spec for specs in thrown.values() for spec in specs]
    store = RunStore(store_folder) if store_folder else RunStore.default()
    console.print(source.remark, highlight=False)
    outcome = carry_out(plan, source, registry, store, executor, threads, track, progress, console)
    condition = condition_of(outcome.records[0])
    board = build(asked, condition, by_condition(outcome.records)[condition], store)
    found = effects(board, base[0].row, {name: specs[0].row for name, specs in thrown.items()})
    idle = [name for name in switches if name not in thrown]
    sheet = ablation_sheet(board, base[0].row, found, idle)
    if form == "markdown":
        click.echo(markdown(sheet))
    else:
        print_sheet(sheet, console)
    if figure_path is not None:
        from aqabench.board.ablation_figure import draw_effects
        from aqabench.figure import write_figure

        write_figure(draw_effects(board, base[0].row, found), figure_path)
        click.echo(f"Drawn: {figure_path}", err=True)
    return 1 if outcome.failed else 0
