"""Boards and comparisons in a terminal of 80 columns or more."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from aqabench.board.costs import QUANTITIES, mark
from aqabench.board.render.costs import (
    TITLE,
    computing_cells,
    computing_headings,
    cost_cell,
    unit_heading,
)
from aqabench.board.render.lists import (
    COSTS,
    OTHERS,
    cost_cells,
    cost_headings,
    hidden_cell,
    hidden_lines,
    other_cells,
    other_headings,
)
from aqabench.board.render.notes import footnotes
from aqabench.board.render.rules import rules_sheet
from aqabench.board.render.sheet import print_sheet
from aqabench.board.render.text import (
    DASH,
    breakable,
    correlation,
    count,
    duration,
    heading,
    limits,
    seeds,
    signed,
    squared_points,
)
from aqabench.board.table import Leaderboard, Row, Scores
from aqabench.protocol.scenarios import scenarios
from aqabench.stats import fisher_mean

__all__ = ["print_board"]

NAME = 16
"""Columns of a method's name that the summary keeps whole."""
INTERVAL = 13
"""Columns that an interval takes behind a number."""
HEADING = 10
"""Columns above which the words of a heading stand below each other."""
ROOMY = 100
"""From this many columns on, every class of several methods has its interval beside it."""


def print_board(board: Leaderboard, console: Console) -> None:
    """Print the summary, Spearman and MSE by class and scenario, other measures, footnotes."""
    console.print()
    console.print(Text(heading(board), style="bold"))
    console.print(_summary(board, console.width))
    average = board.asked.protocol.average.name
    with_intervals = _need(board, board.columns) + INTERVAL <= console.width
    roomy = with_intervals and (console.width >= ROOMY or len(board.rows) == 1)
    console.print(Text("Spearman by class and scenario (higher is better)", style="italic"))
    columns = _columns(board, console.width)
    average_of = _with_limits if roomy else lambda s: correlation(s.average.estimate)
    for part, last in _parts(board, columns, console.width):
        console.print(
            _grid(
                board,
                part,
                lambda s, names: fisher_mean([s.srcc.get(n, math.nan) for n in names]),
                correlation,
                (average, average_of) if last else None,
                hidden_lines(board),
            )
        )
    console.print(Text("MSE in squared judge points (lower is better)", style="italic"))
    for part, last in _parts(board, columns, console.width):
        console.print(
            _grid(
                board,
                part,
                lambda s, names: fmean(s.mse.get(n, math.nan) for n in names),
                squared_points,
                (average, lambda s: squared_points(s.average_mse)) if last else None,
            )
        )
    console.print(Text(f"{OTHERS}, mean over classes", style="italic"))
    cells = [other_cells(board, r.overall.others if r.overall else None) for r in board.rows]
    for table in _lists(board, other_headings(board), cells, console.width):
        console.print(table)
    costs = cost_headings(board)
    if costs:
        console.print(Text(COSTS, style="italic"))
        cells = [cost_cells(board, row) for row in board.rows]
        for table in _lists(board, costs, cells, console.width):
            console.print(table)
    computing = computing_headings(board)
    if computing:
        console.print(Text(TITLE, style="italic"))
        cells = [computing_cells(board, row) for row in board.rows]
        for table in _lists(board, computing, cells, console.width):
            console.print(table)
    rules = rules_sheet(board)
    if rules is not None:
        print_sheet(rules, console)
    if len(columns) < len(board.columns):
        note = "Columns of one size or kind are averaged to fit; each: --format markdown."
        console.print(Text(f"  {note}", style="dim"))
    for note in footnotes(board):
        console.print(Text(f"  {note}", style="dim"))


def _summary(board: Leaderboard, width: int) -> Table:
    """Return one line per method; the column ``last`` stands aside for names where it is narrow."""
    table = _table()
    average = board.asked.protocol.average.name
    longest = max(len(row.name) for row in board.rows)
    table.add_column("method", overflow="fold", min_width=min(longest, NAME))
    columns: dict[str, Callable[[Row], str]] = {
        average: lambda r: correlation(r.overall.average.estimate) if r.overall else DASH,
        "95 % interval": lambda r: limits(r.overall.average) if r.overall else DASH,
        "gap": lambda r: signed(r.gap),
        "last": lambda r: correlation(r.rules.get("last", math.nan)),
        "MSE": lambda r: squared_points(r.overall.average_mse) if r.overall else DASH,
        "seeds": seeds,
        "params": lambda r: count(r.costs["params"]),
        "time": lambda r: f"{duration(r.costs['train-time'])} {mark(board, r, 'train-time')}",
    }
    if width < ROOMY and longest + len(average) > NAME - 4:
        del columns["last"]
    by = board.sorted_by
    if by in QUANTITIES and by not in ("params", "train-time"):
        if width < ROOMY:
            del columns["time"]
        columns[_broken(unit_heading(board, by))] = lambda r: cost_cell(board, r, by)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for row in board.rows:
        title = Text(breakable(row.name) + (" (FAILED RUNS)" if row.failed else ""))
        table.add_row(title, *(show(row).strip() for show in columns.values()))
    return table


def _broken(heading: str) -> str:
    """Return a heading with its words below each other where it is long."""
    return textwrap.fill(heading, HEADING, break_long_words=False)


def _lists(
    board: Leaderboard, headings: Sequence[str], cells: Sequence[Sequence[str]], width: int
) -> list[Table]:
    """Return the lines of all methods, cut into tables that fit below each other."""
    titles = [_broken(name) for name in headings]
    needs = [
        max(map(len, [*title.split("\n"), *(line[k] for line in cells)]))
        for k, title in enumerate(titles)
    ]
    least = min(max(len(row.name) for row in board.rows), NAME)
    parts: list[list[int]] = [[]]
    for k in range(len(titles)):
        if parts[-1] and least + 2 + sum(needs[i] + 2 for i in (*parts[-1], k)) > width:
            parts.append([])
        parts[-1].append(k)
    tables = []
    for part in parts:
        table = _table()
        table.add_column("method", overflow="fold", min_width=least)
        for k in part:
            table.add_column(titles[k], justify="right", no_wrap=True)
        for row, line in zip(board.rows, cells, strict=True):
            table.add_row(Text(breakable(row.name)), *(line[k] for k in part))
        tables.append(table)
    return tables


def _columns(board: Leaderboard, width: int) -> dict[str, list[str]]:
    """Return heading -> columns: each by itself, or together where that is too wide.

    Subsets come together by size, corruptions by kind.
    """
    each = {name: [name] for name in board.columns}
    if _need(board, each) <= width:
        return each
    every = scenarios(board.asked.protocol, board.asked.dataset)
    narrow: dict[str, list[str]] = {}
    for name, names in board.columns.items():
        scenario = every[names[0]]
        heading = name
        if scenario.shown is not None:
            heading = f"{sum(scenario.shown)} of {len(scenario.shown)}"
        elif scenario.corrupted:
            heading = scenario.spec.kind
        narrow.setdefault(heading, []).append(name)
    return narrow


def _parts(
    board: Leaderboard, columns: Mapping[str, list[str]], width: int
) -> list[tuple[dict[str, list[str]], bool]]:
    """Cut columns into parts that fit below each other; say which part is the last."""
    parts: list[dict[str, list[str]]] = [{}]
    for name, names in columns.items():
        if parts[-1] and _need(board, [*parts[-1], name]) > width:
            parts.append({})
        parts[-1][name] = names
    return [(part, part is parts[-1]) for part in parts]


def _need(board: Leaderboard, names: Iterable[str]) -> int:
    """Return how wide a grid of these columns will be."""
    label = max(len(name) for name in (*board.classes, "method", *hidden_lines(board)))
    headings = (max(map(len, _stacked(name).split("\n"))) for name in names)
    return label + 3 + sum(max(5, width) + 2 for width in (*headings, len("Average")))


def _stacked(name: str) -> str:
    """Return a heading in lines: kind, streams and rates below each other; a size in one."""
    return name if re.fullmatch(r"\d+ of \d+", name) else re.sub("[=, ]", "\n", name)


def _grid(
    board: Leaderboard,
    columns: Mapping[str, list[str]],
    values: Callable[[Scores, list[str]], float],
    show: Callable[[float], str],
    last: tuple[str, Callable[[Scores], str]] | None,
    above: Mapping[str, Mapping[str, float]] | None = None,
) -> Table:
    table = _table()
    several = len(board.rows) > 1
    # a name too long for what the numbers leave is broken, never they
    labels = max(map(len, [*board.classes, *(above or {})])) + 2 * several
    table.add_column("method" if several else "class", overflow="fold", min_width=labels)
    for name in (*columns, *([last[0]] if last else [])):
        table.add_column(_stacked(name), justify="right", no_wrap=True)
    for name, shares in (above or {}).items():
        table.add_row(
            name, *(hidden_cell(shares, names) for names in columns.values()), style="dim"
        )
    for row in board.rows:
        if several:
            table.add_row(Text(breakable(row.name), style="bold"))
        lines: list[tuple[str, Scores]] = list(row.classes.items())
        if row.overall is not None and len(lines) > 1:
            lines.append(("mean", row.overall))
        for name, scores in lines:
            cells = [show(values(scores, names)) for names in columns.values()]
            label = Text(f"  {name}" if several else name)
            style = "bold" if name == "mean" and not several else ""
            table.add_row(label, *cells, *([last[1](scores)] if last else []), style=style)
    return table


def _with_limits(scores: Scores) -> str:
    return f"{correlation(scores.average.estimate)} {limits(scores.average)}"


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
