"""``aqabench compare``: which stored methods differ, by how much, and is it real?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from aqabench.cli.options import figure_option, rule_option, store_option, stored_runs_options
from aqabench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aqabench.board.select import Condition, Runs
    from aqabench.board.table import Leaderboard


COSTS = (
    "params",
    "flops",
    "flops-mean",
    "train-time",
    "sample-time",
    "sample-time-mean",
    "memory",
    "gpu-memory",
    "energy",
)
"""The names of :data:`aqabench.board.costs.QUANTITIES`, for a help that loads no pandas."""


@click.command("compare")
@click.argument("methods", nargs=-1)
@stored_runs_options
@click.option(
    "--scenario",
    "columns",
    multiple=True,
    metavar="NAME",
    help="Differences in this column alone, such as one subset of streams, instead of the average. "
    "May be repeated: the mean over them.",
)
@click.option(
    "--margin",
    type=click.FloatRange(min=0, max=1, min_open=True, max_open=True),
    metavar="SPEARMAN",
    help="Also ask whether the worse method of each pair is as good: less than this much worse. "
    "Choose it before you look.",
)
@rule_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["terminal", "markdown"]),
    default="terminal",
    show_default=True,
)
@click.option(
    "--sort",
    "order",
    type=click.Choice(["score", *COSTS]),
    default="score",
    metavar="NAME",
    help=f"Best score first, the default, or least cost first: {', '.join(COSTS)}. The -mean ones "
    "are over all subsets of streams, the others show all.",
)
@figure_option("Draw the board: FILE.png, .svg or .pdf. One board only: see -p, --data, --budget.")
@click.option(
    "--against",
    type=click.Choice(COSTS),
    metavar="COST",
    help="With --figure: draw the score against this cost, one of those of --sort, instead of "
    "scenarios.",
)
@store_option
def command(
    methods: tuple[str, ...],
    protocol: str | None,
    data: str | None,
    budget: str | None,
    classes: tuple[str, ...],
    columns: tuple[str, ...],
    margin: float | None,
    rule: str | None,
    form: str,
    order: str,
    figure_path: Path | None,
    against: str | None,
    store_folder: Path | None,
) -> int:
    """Compare what has been run: all METHODS in the store, or the ones you name.

    Differences are paired over the same test videos, each with an interval, p adjusted over all
    pairs, a cross-check of what is claimed, what it would need, and a sentence to quote. Runs are
    compared only where protocol, data and budget agree; each such group is a board of its own.

    Exit code: 0 fine, 1 a shown method has failed runs, 2 wrong usage or nothing to compare.
    """
    from aqabench.board.choose import Wanted, comparable
    from aqabench.board.costs import sort_by_cost
    from aqabench.board.table import build
    from aqabench.runs.store import RunStore

    if against is not None and figure_path is None:
        raise UsageError(
            f"--against {against} says what a figure shows, and there is no figure. Type: "
            f"--figure cost.png --against {against}"
        )
    store = RunStore(store_folder) if store_folder else RunStore.default()
    wanted = Wanted(methods, protocol, data, budget, classes)
    found = comparable(store, wanted, "aqabench compare", lambda text: click.echo(text, err=True))
    if figure_path is not None:
        _one_board([condition for _, condition, _ in found])
    boards = [build(asked, condition, chosen, store, rule) for asked, condition, chosen in found]  # type: ignore[arg-type]
    for option, cost in (("--sort", order), ("--against", against)):
        if cost is not None and cost != "score":
            _require(boards, option, cost)
    for board, (_, _, groups) in zip(boards, found, strict=True):
        shown = board if order == "score" else sort_by_cost(board, order)
        _print(shown, board, groups, columns, margin, form)
        if figure_path is not None:
            _draw(board, against, figure_path)
    return 1 if any(row.failed for board in boards for row in board.rows) else 0


def _print(
    shown: Leaderboard,
    board: Leaderboard,
    groups: Sequence[Runs],
    columns: Sequence[str],
    margin: float | None,
    form: str,
) -> None:
    """Print a board, then the differences of its methods."""
    from rich.console import Console

    from aqabench.board.mixing import incomplete_note
    from aqabench.board.pairs import compare_all
    from aqabench.board.render.markdown import board_markdown
    from aqabench.board.render.pairs import pairs_markdown, print_pairs
    from aqabench.board.render.terminal import print_board

    pairs = compare_all(board, columns=columns, margin=margin)
    if form == "markdown":
        click.echo(board_markdown(shown))
        if pairs:
            click.echo(pairs_markdown(board, pairs, columns))
    else:
        console = Console()
        print_board(shown, console)
        if pairs:
            print_pairs(board, pairs, console, columns)
    note = incomplete_note(board, groups)
    if note:
        click.echo(note, err=True)


def _require(boards: Sequence[Leaderboard], option: str, cost: str) -> None:
    """Refuse a cost that no run has.

    Raises:
        UsageError: with the costs that there are.
    """
    from aqabench.board.costs import QUANTITIES, known_costs

    known = [name for name in COSTS if any(name in known_costs(board) for board in boards)]
    if boards and cost not in known:
        there = f"Choose one of: {', '.join(known)}." if known else "None of them has any cost."
        raise UsageError(
            f"{option} {cost}: no method here has a {QUANTITIES[cost].title} in all of its runs. "
            f"{there}"
        )


def _one_board(conditions: Sequence[Condition]) -> None:
    """Refuse to draw other than one board, and say which options leave one.

    Raises:
        UsageError: there are several boards, or none.
    """
    if len(conditions) == 1:
        return
    if not conditions:
        raise UsageError(
            "There is no board to draw: the named methods have no runs under one protocol, data "
            "and budget. Type aqabench compare without --figure to see what there is."
        )
    options = {
        "-p": [c.protocol for c in conditions],
        "--data": [c.data_kind for c in conditions],
        "--budget": [c.budget for c in conditions],
    }
    apart = [
        f"{option} {'|'.join(dict.fromkeys(values))}"
        for option, values in options.items()
        if len(set(values)) > 1
    ]
    advice = (
        f"Narrow them down with {', '.join(apart)}"
        if apart
        else "They are of different releases of the data: name METHODS that were run on one only"
    )
    raise UsageError(f"--figure draws one board, and these are {len(conditions)}. {advice}.")


def _draw(board: Leaderboard, against: str | None, path: Path) -> None:
    from aqabench.board.figures import draw
    from aqabench.board.tradeoff import draw_against
    from aqabench.figure import write_figure

    write_figure(draw(board) if against is None else draw_against(board, against), path)
    click.echo(f"Drawn: {path}", err=True)
