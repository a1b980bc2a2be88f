"""Boards as Markdown, for ``leaderboards/`` and for pasting into an issue."""

from __future__ import annotations

import math
from collections.abc import Iterable

from aqabench.board.costs import mark
from aqabench.board.render.costs import TITLE, computing_cells, computing_headings
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
from aqabench.board.render.rules import known_rules, rules_sheet
from aqabench.board.render.sheet import markdown
from aqabench.board.render.text import (
    DASH,
    correlation,
    count,
    duration,
    heading,
    limits,
    seeds,
    signed,
    squared_points,
)
from aqabench.board.table import Leaderboard


def board_markdown(board: Leaderboard) -> str:
    """Return the board as a Markdown document."""
    average = board.asked.protocol.average.name
    lines = [f"# {heading(board)}", ""]
    head = ["method", average, "95 % interval", *known_rules(board), "gap", "MSE", "seeds"]
    lines += _table(
        [*head, "params", "time"],
        (
            [
                row.name,
                correlation(row.overall.average.estimate) if row.overall else DASH,
                limits(row.overall.average) if row.overall else DASH,
                *(correlation(row.rules.get(rule, math.nan)) for rule in known_rules(board)),
                signed(row.gap),
                squared_points(row.overall.average_mse) if row.overall else DASH,
                seeds(row),
                count(row.costs["params"]),
                f"{duration(row.costs['train-time'])} {mark(board, row, 'train-time')}".strip(),
            ]
            for row in board.rows
        ),
    )
    rules = rules_sheet(board)
    if rules is not None:
        lines += ["", markdown(rules)]
    shares = [
        [name, "", *(hidden_cell(own, [column]) for column in board.columns)]
        for name, own in hidden_lines(board).items()
    ]
    for title, field, show, above in (
        ("Spearman", "srcc", correlation, shares),
        ("MSE (squared judge points)", "mse", squared_points, []),
    ):
        lines += ["", f"## {title}", ""]
        lines += _table(
            ["method", "class", *board.columns],
            (
                *above,
                *(
                    [row.name, name, *(show(getattr(scores, field)[s]) for s in board.columns)]
                    for row in board.rows
                    for name, scores in row.classes.items()
                ),
            ),
        )
    others = other_headings(board)
    lines += ["", f"## {OTHERS}, mean over classes", ""]
    lines += _table(
        ["method", *others],
        (
            [row.name, *other_cells(board, row.overall.others if row.overall else None)]
            for row in board.rows
        ),
    )
    if len(board.classes) > 1:
        lines += ["", f"## {OTHERS} by class", ""]
        lines += _table(
            ["method", "class", *others],
            (
                [row.name, name, *other_cells(board, scores.others)]
                for row in board.rows
                for name, scores in row.classes.items()
            ),
        )
    costs = cost_headings(board)
    if costs:
        lines += ["", f"## {COSTS}", ""]
        rows = ([row.name, *cost_cells(board, row)] for row in board.rows)
        lines += _table(["method", *costs], rows)
    computing = computing_headings(board)
    if computing:
        lines += ["", f"## {TITLE}", ""]
        rows = ([row.name, *computing_cells(board, row)] for row in board.rows)
        lines += _table(["method", *computing], rows)
    lines += ["", *(f"- {note}" for note in footnotes(board)), ""]
    return "\n".join(lines)


def _table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return ["| " + " | ".join(cells) + " |" for cells in lines]
