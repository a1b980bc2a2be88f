"""What a board says of a method beside Spearman and MSE, and what is undefined in it.

Every measure here is averaged arithmetically: over the cells of a class that enter the protocol's
headline average, then over classes.  Fisher's z is for Spearman alone.  A measure with one
undefined value is undefined; nothing is left out, and nothing counts as zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import fmean

import numpy as np

from aqabench.runs.record import Hidden, RunRecord
from aqabench.stats import Cell, MetricValue, kendall, normalised_mse, relative_l2, spearman

FOLD = " | fold "
"""Between a class and the fold of it that a cell tests."""


@dataclass(frozen=True)
class Ranked:
    """A cell with its Spearman, which is computed once."""

    cell: Cell
    srcc: MetricValue

    @property
    def class_name(self) -> str:
        """The class, without the fold."""
        return class_of(self.cell)


@dataclass(frozen=True)
class Measures:
    """Other measures of one method for one class, or for the mean over classes.

    Attributes:
        arithmetic: arithmetic mean of Spearman.
        kendall: arithmetic mean of Kendall's tau-b.
        normalised_mse: MSE over the variance of the labels of each test; 1 says always the mean.
        relative_l2: R-l2 with the bounds that the data set declares for the class.
        learning_index: aqabench-MLI, mean over runs; NaN where a run has none.
    """

    arithmetic: float
    kendall: float
    normalised_mse: float
    relative_l2: float
    learning_index: float


@dataclass(frozen=True)
class Undefined:
    """Correlations of one method that are undefined; one for each class, fold, scenario and seed.

    Attributes:
        inside: how many of those that enter the average, and of how many.
        beside: how many of the others, and of how many.
        reasons: why, each once.
        where: class -> columns in which one is, in the board's order.
    """

    inside: tuple[int, int]
    beside: tuple[int, int]
    reasons: tuple[str, ...]
    where: Mapping[str, tuple[str, ...]]


def class_of(cell: Cell) -> str:
    """Return the class of a cell, whichever fold it tests."""
    return cell.class_name.split(FOLD)[0]


def ranked(cells: Iterable[Cell]) -> list[Ranked]:
    """Return cells with their Spearman."""
    return [Ranked(cell, spearman(cell.y, cell.p)) for cell in cells]


def measures(
    own: Sequence[Ranked], bounds: tuple[float, float], indices: Sequence[float | None]
) -> Measures:
    """Return the other measures of a class.

    Args:
        own: its cells that enter the average.
        bounds: its declared lowest and highest score.
        indices: aqabench-MLI of its runs; None where a method has none.
    """

    def mean(measure: Callable[[Cell], float]) -> float:
        return float(np.mean([measure(r.cell) for r in own]))

    return Measures(
        arithmetic=float(np.mean([r.srcc for r in own])),
        kendall=mean(lambda c: kendall(c.y, c.p)),
        normalised_mse=mean(lambda c: normalised_mse(c.y, c.p)),
        relative_l2=mean(lambda c: relative_l2(c.y, c.p, bounds)),
        learning_index=fmean(math.nan if i is None else i for i in indices),
    )


def mean_measures(classes: Sequence[Measures]) -> Measures:
    """Return the arithmetic mean over classes of every measure."""
    return Measures(
        **{f.name: fmean(getattr(own, f.name) for own in classes) for f in fields(Measures)}
    )


def undefined(
    cells: Sequence[Ranked], averaged: Sequence[str], columns: Mapping[str, tuple[str, ...]]
) -> Undefined:
    """Count the undefined correlations among a method's cells, and say where and why.

    Args:
        cells: all of the method.
        averaged: the scenarios that enter the average.
        columns: the board's columns, each with its scenarios.
    """
    lost = [r for r in cells if math.isnan(r.srcc)]
    missing = sum(r.cell.scenario in averaged for r in lost)
    entering = sum(r.cell.scenario in averaged for r in cells)
    where = {}
    for name in dict.fromkeys(r.class_name for r in lost):
        own = {r.cell.scenario for r in lost if r.class_name == name}
        where[name] = tuple(c for c, names in columns.items() if own & set(names))
    reasons = dict.fromkeys(str(r.srcc.reason).replace("_", " ") for r in lost)
    return Undefined(
        inside=(missing, entering),
        beside=(len(lost) - missing, len(cells) - entering),
        reasons=tuple(reasons),
        where=where,
    )


def realised(
    records: Iterable[RunRecord], columns: Mapping[str, tuple[str, ...]]
) -> dict[str, Hidden]:
    """Return column -> what its masks hide, mean over its draws and over classes and folds.

    Methods and seeds share their masks, so that each table counts once, however many were run.
    Columns of which no record says it are left out.
    """
    tables: dict[str, dict[tuple[str, int | None], Hidden]] = {}
    for record in records:
        for scenario, hidden in record.hidden.items():
            tables.setdefault(scenario, {})[record.class_name, record.fold] = hidden
    found = {}
    for column, names in columns.items():
        own = [hidden for name in names for hidden in tables.get(name, {}).values()]
        if own:
            found[column] = _mean(own)
    return found


def trained(records: Iterable[RunRecord]) -> Hidden | None:
    """Return what the training tables withhold, mean over tables; None where all is complete."""
    own = {(r.class_name, r.fold, r.seed): r.training for r in records if r.training is not None}
    return _mean(list(own.values())) if own else None


def _mean(tables: Sequence[Hidden]) -> Hidden:
    return Hidden(
        nominal=tables[0].nominal,
        realised=fmean(t.realised for t in tables),
        complete=fmean(t.complete for t in tables),
    )
