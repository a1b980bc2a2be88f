"""The tables of a page: what stands in each cell, how it sorts, and where it leads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from aqabench.board.claims import Published
from aqabench.board.costs import QUANTITIES
from aqabench.board.published.schema import AVERAGE
from aqabench.board.render.costs import cost_cell, unit_heading
from aqabench.board.render.rules import gap_limits, known_rules
from aqabench.board.render.text import (
    DASH,
    correlation,
    limits,
    seeds,
    signed,
    squared_points,
)
from aqabench.board.report import Report, View
from aqabench.board.table import Row
from aqabench.stats import Interval

HEATS = 8
"""Shades of a table that is read by colour, too."""
COSTS = ("params", "train-time")
"""Costs in the table of scores, where they are known; charts and JSON have the others."""


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: what is read.
        key: what it sorts by; None comes last either way.
        link: where it leads, an id of the page; empty for nowhere.
        title: what is said of it on hovering.
        look: names of classes of the style sheet.
        strip: places of low, estimate and high from 0 to 100, where an interval is drawn.
    """

    text: str
    key: float | str | None = None
    link: str = ""
    title: str = ""
    look: str = ""
    strip: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Line:
    """One row of a table: its heading and its cells."""

    head: Cell
    cells: Sequence[Cell]
    top: bool = False


@dataclass(frozen=True)
class Grid:
    """A table: headings with what they mean, measured rows, and published ones below them."""

    caption: str
    heads: Sequence[tuple[str, str]]
    lines: Sequence[Line]
    published: Sequence[Line] = ()


def score_grid(report: Report, view: View) -> Grid:
    """Return the table of scores of a view."""
    average = view.board.asked.protocol.average.name
    rules = known_rules(view.board)
    costs = [n for n in COSTS if any(math.isfinite(r.costs[n]) for r in view.board.rows)]
    heads = [
        ("ties", "Methods that share a letter cannot be told apart"),
        (average, f"Spearman, {average} of the protocol"),
        ("95 % interval", "Jackknife over test videos and, with several, seeds"),
        *((rule, f"{average} at the epoch chosen by {rule}") for rule in rules),
        ("gap", "Optimism gap: what choosing the epoch on the test videos would have added"),
        ("MSE", "Mean squared error in squared judge points; lower is better"),
        ("R-l2", "Relative L2 distance times 100; lower is better"),
        ("seeds", "Training runs that every class has"),
        *((unit_heading(view.board, n), QUANTITIES[n].title) for n in costs),
    ]
    low, high = _span([row.overall.average for row in view.board.rows if row.overall])
    lines = []
    for number, row in _numbered(report, view):
        link = runs_id(report, number, view.name)
        lines.append(
            Line(
                _name(number, row),
                [
                    _ties(view, row),
                    _score(row, link),
                    _interval(row, link, low, high),
                    *(_number(correlation, row.rules.get(rule, math.nan), link) for rule in rules),
                    _gap(row, link),
                    _number(squared_points, row.overall.average_mse if row.overall else None, link),
                    _number(
                        squared_points,
                        row.overall.others.relative_l2 if row.overall else None,
                        link,
                    ),
                    Cell(seeds(row), float(len(row.seeds)) or None, link),
                    *(_cost(view, row, name, link) for name in costs),
                ],
                row.name in view.top,
            )
        )
    width = len(heads)
    published = []
    for place, claim in enumerate(report.claims):
        one = claim.numbers.get((view.name, average))
        if one is not None:
            cells = [Cell("")] * width
            cells[1] = _claimed(claim, view.name, average, place)
            published.append(Line(_published_name(claim, place), cells))
    return Grid(f"Scores, {title(view)}", heads, lines, published)


def column_grid(report: Report, view: View) -> Grid | None:
    """Return Spearman by what is shown; None where there is one column only."""
    board = view.board
    if len(board.columns) < 2:
        return None
    values = [view.columns[key].estimate for key in view.columns]
    finite = [v for v in values if math.isfinite(v)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    high = max(high, low + 0.05)
    lines = [
        Line(
            _name(number, row),
            [
                _shaded(
                    view.columns.get((row.name, column)),
                    low,
                    high,
                    runs_id(report, number, view.name),
                )
                for column in board.columns
            ],
            row.name in view.top,
        )
        for number, row in _numbered(report, view)
    ]
    published = []
    for place, claim in enumerate(report.claims):
        cells = [_claimed(claim, view.name, column, place) for column in board.columns]
        if any(cell.text for cell in cells):
            published.append(Line(_published_name(claim, place), cells))
    heads = [(column, f"Spearman where {column} is shown") for column in board.columns]
    return Grid(f"Spearman by what is shown, {title(view)}", heads, lines, published)


def pair_grid(report: Report, view: View) -> Grid | None:
    """Return the differences of every two methods, row minus column; None without pairs."""
    known = {(p.better, p.worse): p for p in view.pairs}
    if not known:
        return None
    names = list(dict.fromkeys(name for pair in known for name in pair))
    rows = [row for row in view.board.rows if row.name in names]
    numbers = {row.name: number for number, row in _numbered(report, view)}
    place = {key: k for k, key in enumerate(known)}
    lines = []
    for row in rows:
        cells = []
        for other in rows:
            key = (row.name, other.name)
            pair = known.get(key) or known.get(key[::-1])
            if pair is None:
                cells.append(Cell("", look="self"))
                continue
            sign = 1 if key in known else -1
            look = ("better" if sign > 0 else "worse") if pair.separated else "tied"
            at = place[key if key in known else key[::-1]]
            difference = sign * pair.result.difference
            cells.append(
                Cell(
                    signed(difference),
                    _key(difference),
                    pair_id(report, view, at),
                    pair.sentence,
                    look,
                )
            )
        lines.append(Line(_name(numbers[row.name], row), cells))
    heads = [(row.name, f"minus {row.name}") for row in rows]
    return Grid(f"Row minus column, {title(view)}", heads, lines)


def title(view: View) -> str:
    """Return what a view is of, in words."""
    return "mean over classes" if view.name == AVERAGE else view.name


def runs_id(report: Report, number: int, class_name: str) -> str:
    """Return the id of the runs of a method, of all classes or of one; a name may be no id."""
    if class_name == AVERAGE:
        return f"runs-{number}"
    return f"runs-{number}-{report.board.classes.index(class_name)}"


def view_id(report: Report, view: View) -> str:
    """Return a short id of a view."""
    return str([own.name for own in report.views].index(view.name))


def pair_id(report: Report, view: View, place: int) -> str:
    """Return the id of what may be said of a pair."""
    return f"pair-{view_id(report, view)}-{place}"


def numbers_of(report: Report) -> dict[str, int]:
    """Return method -> its number in the page."""
    return {row.name: number for number, row in enumerate(report.board.rows)}


def _numbered(report: Report, view: View) -> list[tuple[int, Row]]:
    numbers = numbers_of(report)
    return [(numbers[row.name], row) for row in view.board.rows]


def _name(number: int, row: Row) -> Cell:
    failed = f"{len(row.failed)} failed runs" if row.failed else ""
    look = "failed" if row.failed else ""
    return Cell(row.name, row.name.casefold(), f"method-{number}", failed, look)


def _published_name(claim: Published, place: int) -> Cell:
    year = f" ({claim.year})" if claim.year else ""
    here = f"Measured here as {', '.join(claim.measured)}" if claim.measured else ""
    return Cell(claim.method + year, link=f"claim-{place}", title=here)


def _claimed(claim: Published, class_name: str, column: str, place: int) -> Cell:
    one = claim.numbers.get((class_name, column))
    if one is None:
        return Cell("")
    mark = "*" if one.conflict else ""
    return Cell(correlation(one.value) + mark, link=f"claim-{place}", title=str(one))


def _ties(view: View, row: Row) -> Cell:
    letters = view.letters.get(row.name, "")
    return Cell(letters or DASH, letters or None, look="ties")


def _score(row: Row, link: str) -> Cell:
    if row.overall is None:
        return Cell(DASH)
    average = row.overall.average
    return Cell(correlation(average.estimate), _key(average.estimate), link, str(average), "score")


def _interval(row: Row, link: str, low: float, high: float) -> Cell:
    if row.overall is None or not math.isfinite(row.overall.average.low):
        return Cell(DASH, look="interval")
    own = row.overall.average
    strip = tuple(
        round(100 * (value - low) / (high - low), 1) for value in (own.low, own.estimate, own.high)
    )
    return Cell(limits(own), own.low, link, str(own), "interval", strip)  # type: ignore[arg-type]


def _number(show: object, value: float | None, link: str, look: str = "") -> Cell:
    value = math.nan if value is None else value
    text = show(value)  # type: ignore[operator]
    return Cell(text, _key(value), link if math.isfinite(value) else "", look=look)


def _gap(row: Row, link: str) -> Cell:
    """Return the optimism gap; marked where its interval is above 0."""
    known = math.isfinite(row.gap)
    above = row.optimism is not None and row.optimism.low > 0
    said = f"95 % interval {gap_limits(row)}" if known else ""
    return Cell(signed(row.gap), _key(row.gap), link if known else "", said, "gap" if above else "")


def _cost(view: View, row: Row, name: str, link: str) -> Cell:
    key = _key(row.costs[name])
    return Cell(cost_cell(view.board, row, name), key, link if key is not None else "")


def _shaded(interval: Interval | None, low: float, high: float, link: str) -> Cell:
    if interval is None or not math.isfinite(interval.estimate):
        return Cell(DASH, look="undefined")
    share = (interval.estimate - low) / (high - low)
    shade = min(HEATS - 1, int(HEATS * share))
    return Cell(
        correlation(interval.estimate), interval.estimate, link, str(interval), f"heat{shade}"
    )


def _span(intervals: Sequence[Interval]) -> tuple[float, float]:
    """Return the limits of the strips: those of all intervals."""
    ends = [v for i in intervals for v in (i.low, i.high) if math.isfinite(v)]
    return (min(ends), max(ends)) if ends and max(ends) > min(ends) else (0.0, 1.0)


def _key(value: float) -> float | None:
    return round(value, 9) if math.isfinite(value) else None
