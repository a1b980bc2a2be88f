"""All that a rendered board shows, gathered once: views, tie groups, claims, runs and curves.

A report has one view of the mean over classes and one of each class, each a board of its own made
by the same functions, so that a number is the same in every format.  Nothing is rendered here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from aqabench.board.claims import Published, published_beside
from aqabench.board.costs import row_costs, row_places
from aqabench.board.measures import class_of
from aqabench.board.pairs import Pair, compare_all
from aqabench.board.published.schema import AVERAGE
from aqabench.board.select import Condition, Runs
from aqabench.board.table import Leaderboard, Row, build
from aqabench.protocol.library import Asked
from aqabench.protocol.schema import SelectionRule
from aqabench.runs.record import RunRecord
from aqabench.runs.verified import Checks, state
from aqabench.stats import Cell, Interval, TieGroups, average_ci, tie_groups

ALPHA = 0.05
"""A pair is separated when its adjusted p is below this."""


class Source(Protocol):
    """Where runs are kept: a store, or a folder of records."""

    @property
    def root(self) -> Path:
        """The folder that every place is below."""

    @property
    def lacking(self) -> frozenset[str]:
        """Keys of finished runs without predictions."""

    @property
    def verified(self) -> Mapping[str, Checks] | None:
        """Key of a run -> what somebody found of it; None where nobody is asked."""

    def predictions(self, record: RunRecord) -> pd.DataFrame:
        """Return the stored predictions of a run."""

    def curve(self, record: RunRecord) -> list[dict[str, Any]]:
        """Return the looks of a run, in order."""

    def record_file(self, record: RunRecord) -> Path:
        """Return the file of a record."""


@dataclass(frozen=True)
class View:
    """One board of a report.

    Attributes:
        name: :data:`AVERAGE`, or a class.
        board: its rows.
        pairs: every two methods that can be compared.
        ties: which methods cannot be told apart; None where no method has a score.
        columns: (row, column) -> Spearman of one column with its interval.
    """

    name: str
    board: Leaderboard
    pairs: tuple[Pair, ...]
    ties: TieGroups | None
    columns: Mapping[tuple[str, str], Interval] = field(repr=False)

    @property
    def letters(self) -> dict[str, str]:
        """Return method -> its tie groups, a letter each; methods that share one are tied."""
        found: dict[str, str] = {}
        for number, group in enumerate(self.ties.groups if self.ties else ()):
            for name in group:
                found[name] = found.get(name, "") + _letter(number)
        return found

    @property
    def top(self) -> tuple[str, ...]:
        """Methods that cannot be told apart from the best one."""
        return self.ties.top if self.ties else ()

    @property
    def separated(self) -> tuple[int, int]:
        """How many pairs are told apart, and of how many."""
        known = [p for p in self.pairs if math.isfinite(p.adjusted)]
        return sum(p.separated for p in known), len(known)


@dataclass(frozen=True)
class Report:
    """Everything that is rendered of one board.

    Attributes:
        views: the mean over classes first, then every class; one class alone is one view.
        runs: row -> its runs, failed ones among them.
        files: key of a run -> the file of its record.
        claims: published results beside the measured rows, by name.
        source: where predictions and curves are.
    """

    views: tuple[View, ...]
    runs: Mapping[str, tuple[RunRecord, ...]]
    files: Mapping[str, Path]
    claims: tuple[Published, ...]
    source: Source

    @property
    def board(self) -> Leaderboard:
        """The board of all classes."""
        return self.views[0].board

    @property
    def lacking(self) -> frozenset[str]:
        """Keys of finished runs whose predictions are not at hand."""
        return self.source.lacking

    @property
    def name(self) -> str:
        """A name for files: protocol, data, budget and rule."""
        c = self.board.condition
        return f"{c.protocol}-{c.data_kind}-{c.budget}-{self.board.rule}"

    def keys(self, view: View, row: str) -> list[str]:
        """Return the keys of the runs that the numbers of a row are made of in a view."""
        seeds = next(r.seeds for r in view.board.rows if r.name == row)
        return [
            record.key
            for record in self.runs[row]
            if record.status == "finished"
            and record.seed in seeds
            and record.class_name in view.board.classes
        ]

    def curves(self, row: str) -> Iterator[tuple[RunRecord, list[dict[str, Any]]]]:
        """Yield the finished runs of a row that have looks, with them."""
        for record in self.runs[row]:
            if record.status == "finished" and (looks := self.source.curve(record)):
                yield record, looks


def make_report(
    asked: Asked,
    condition: Condition,
    groups: Sequence[Runs],
    source: Source,
    rule: SelectionRule | None = None,
) -> Report:
    """Build every view of a board; the arguments are those of :func:`build`."""
    whole = _noted_board(asked, condition, groups, source, rule)
    names = (AVERAGE, *whole.classes) if len(whole.classes) > 1 else whole.classes
    views = [_view(names[0], whole)]
    for name in names[1:]:
        own = [
            replace(g, records=kept)
            for g in groups
            if (kept := tuple(r for r in g.records if r.class_name == name))
        ]
        views.append(_view(name, _noted_board(asked, condition, own, source, rule)))
    place = {name: k for k, name in enumerate(asked.protocol.classes)}
    runs = {
        g.name: tuple(
            sorted(g.records, key=lambda r: (place[r.class_name], r.seed, r.fold or 0, r.key))
        )
        for g in groups
    }
    files = {r.key: source.record_file(r) for own in runs.values() for r in own}
    return Report(tuple(views), runs, files, published_beside(whole, runs), source)


def per_seed(board: Leaderboard, row: Row) -> dict[int, float]:
    """Return seed -> the headline average of that seed alone; NaN where undefined."""
    cells = board.cells.get(row.name, [])
    found: dict[int, list[Cell]] = {}
    for cell in cells:
        found.setdefault(cell.seed, []).append(cell)
    return {seed: average_ci(own).estimate for seed, own in sorted(found.items())}


def _noted_board(
    asked: Asked,
    condition: Condition,
    groups: Sequence[Runs],
    source: Source,
    rule: SelectionRule | None,
) -> Leaderboard:
    """Return a board whose rows say what is not verified, and which runs lack predictions."""
    board = build(asked, condition, groups, source, rule)  # type: ignore[arg-type]
    finished = {g.name: g.finished for g in groups}
    if source.verified is not None:
        told = {g: state([r.key for r in own], source.verified) for g, own in finished.items()}
        noted = [replace(row, notes=(*row.notes, told[row.name])) for row in board.rows]
        board = replace(board, rows=tuple(noted))
    if not source.lacking:
        return board
    return replace(
        board,
        rows=tuple(
            _unrecomputed(row, [r for r in finished[row.name] if r.key in source.lacking])
            for row in board.rows
        ),
    )


def _unrecomputed(row: Row, lacking: Sequence[RunRecord]) -> Row:
    """Say of a row that its predictions were not shipped; what it took is still known."""
    if not lacking:
        return row
    notes = [note for note in row.notes if not note.startswith("no finished run")]
    count = f"{len(lacking)} run{'s' if len(lacking) > 1 else ''}"
    notes.append(f"no predictions lie beside the records of {count}: no number is made of them")
    if row.classes:
        return replace(row, notes=tuple(notes))
    costs, places = row_costs(lacking), row_places(lacking)
    return replace(row, notes=tuple(notes), costs=costs, places=places)


def _view(name: str, board: Leaderboard) -> View:
    pairs = tuple(compare_all(board))
    return View(name, board, pairs, _ties(board, pairs), _columns(board))


def _ties(board: Leaderboard, pairs: Sequence[Pair]) -> TieGroups | None:
    rows = [row for row in board.rows if row.overall is not None]
    if not rows:
        return None
    place = {row.name: k for k, row in enumerate(rows)}
    p = np.full((len(rows), len(rows)), np.nan)
    for pair in pairs:
        a, b = place[pair.better], place[pair.worse]
        p[a, b] = p[b, a] = pair.adjusted
    scores = [row.overall.average.estimate for row in rows if row.overall]
    return tie_groups(list(place), scores, p, alpha=ALPHA)


def _columns(board: Leaderboard) -> dict[tuple[str, str], Interval]:
    """Return Spearman and interval of every column, over the classes of the board."""
    found = {}
    for row in board.rows:
        if row.overall is None:
            continue
        by_column: dict[str, list[Cell]] = {}
        column_of = {name: c for c, names in board.columns.items() for name in names}
        for cell in board.tested[row.name]:
            if class_of(cell) in board.classes:
                by_column.setdefault(column_of[cell.scenario], []).append(cell)
        for column, cells in by_column.items():
            found[row.name, column] = average_ci(
                cells, independent_classes=not board.asked.dataset.same_videos
            )
    return found


def _letter(number: int) -> str:
    beyond, letter = divmod(number, 26)
    return chr(ord("a") + letter) + ("'" * beyond)
