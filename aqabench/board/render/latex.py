r"""Boards as LaTeX: a table in the style of booktabs.

Bold marks the whole top tie group of a column, never one number alone.  Published claims stand
below a rule in italics, in the order of names.  Needs ``\usepackage{booktabs}``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from aqabench.board.claims import Published
from aqabench.board.published.schema import AVERAGE
from aqabench.board.render.text import correlation, heading, limits, seeds, signed
from aqabench.board.report import Report, View
from aqabench.board.table import Row

_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "^": r"\textasciicircum{}", "_": r"\_", "~": r"\textasciitilde{}", "%": r"\%", "–": "--",
    "·": r"\textperiodcentered{}", "ρ": r"$\rho$", "<": r"\textless{}", ">": r"\textgreater{}",
    "[": "{[}", "]": "{]}", "+": "$+$", "×": r"$\times$",
}  # fmt: skip
_SIGN = re.compile("|".join(map(re.escape, _SPECIAL)))


def boards_latex(reports: Sequence[Report]) -> str:
    """Return a table for each board."""
    return "\n".join(board_latex(report) for report in reports)


def board_latex(report: Report) -> str:
    """Return a ``table`` with the score of every class, the average, its interval and the gap."""
    board = report.board
    whole, *classes = report.views
    average = board.asked.protocol.average.name
    mean = average if whole.name == AVERAGE else f"{average}, {whole.name}"
    heads = [*(v.name for v in classes), mean, "95 % interval", "ties", "gap", "seeds"]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_caption(report)}}}",
        rf"\label{{tab:{report.name}}}",
        rf"\begin{{tabular}}{{l{'r' * len(heads)}}}",
        r"\toprule",
        _line(["Method", *map(escaped, heads)]),
        r"\midrule",
        *(_line(_cells(row, whole, classes)) for row in board.rows),
    ]
    claims = [c for c in report.claims if any(n == average for _, n in c.numbers)]
    if claims:
        columns = [*(v.name for v in classes), whole.name]
        lines += [
            r"\midrule",
            rf"\multicolumn{{{len(heads) + 1}}}{{l}}{{\itshape As published, by name; neither "
            r"measured nor ranked here}\\",
            *(_line(_claim_cells(c, columns, average, len(heads))) for c in claims),
        ]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def escaped(text: str) -> str:
    """Return text in which nothing is a command of LaTeX."""
    return _SIGN.sub(lambda found: _SPECIAL[found[0]], text)


def _caption(report: Report) -> str:
    said = (
        "Spearman's rank correlation. Bold: the whole top tie group, which cannot be told apart "
        "from the best method (adjusted p < 0.05); methods that share a letter under ties cannot "
        "be told apart. gap: what choosing the epoch on the test videos would have added."
    )
    return escaped(f"{heading(report.board)}. {said}")


def _cells(row: Row, whole: View, classes: Sequence[View]) -> list[str]:
    scores = [_score(view, row.name) for view in (*classes, whole)]
    interval = limits(row.overall.average) if row.overall else "–"
    ties = whole.letters.get(row.name, "–")
    own = [*scores, *map(escaped, (interval, ties, signed(row.gap), seeds(row)))]
    return [escaped(row.name), *own]


def _score(view: View, name: str) -> str:
    """Return a method's score in a view; bold if it is in the top tie group."""
    rows = [row for row in view.board.rows if row.name == name and row.overall is not None]
    value = rows[0].overall.average.estimate if rows and rows[0].overall else math.nan
    text = escaped(correlation(value))
    return rf"\textbf{{{text}}}" if name in view.top else text


def _claim_cells(claim: Published, columns: Sequence[str], average: str, width: int) -> list[str]:
    year = f" ({claim.year})" if claim.year else ""
    cells = [rf"\textit{{{escaped(claim.method + year)}}}"]
    for name in columns:
        one = claim.numbers.get((name, average))
        cells.append(rf"\textit{{{correlation(one.value)}}}" if one else "")
    return [*cells, *[""] * (width + 1 - len(cells))]


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r"\\"
