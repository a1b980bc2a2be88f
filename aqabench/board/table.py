"""From stored predictions to the numbers of a leaderboard.

Every number is recomputed from predictions.  Spearman is averaged by Fisher z, MSE arithmetically;
seeds are averaged, never picked.  An undefined correlation stays undefined and ranks last.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from aqabench.board.costs import row_costs, row_places
from aqabench.board.measures import (
    FOLD,
    Measures,
    Ranked,
    Undefined,
    mean_measures,
    measures,
    ranked,
    realised,
    trained,
    undefined,
)
from aqabench.board.select import Condition, Runs
from aqabench.board.tuned import tuned_notes
from aqabench.protocol.folds import fold_names
from aqabench.protocol.library import Asked
from aqabench.protocol.scenarios import averaged_scenarios, columns
from aqabench.protocol.schema import SelectionRule
from aqabench.runs.record import Hidden, RunRecord
from aqabench.runs.store import RunStore
from aqabench.stats import (
    Cell,
    CellTable,
    Comparison,
    Interval,
    average_ci,
    compare_choices,
    fisher_mean,
    mse,
    prepare,
    select_tests,
)

SPECIALIST = "unimodal"
"""The method that trains on one stream alone, which its setting ``stream`` names."""


@dataclass(frozen=True)
class Scores:
    """Numbers of one method for one class, or for the mean over classes.

    Attributes:
        srcc: column -> Spearman, mean over seeds and draws by Fisher z; NaN where undefined.
        mse: column -> MSE in squared judge points, mean over seeds and draws.
        average: the protocol's headline average with its 95 % interval.
        average_mse: arithmetic mean of MSE over the same scenarios.
        others: other measures over the same scenarios.
    """

    srcc: Mapping[str, float]
    mse: Mapping[str, float]
    average: Interval
    average_mse: float
    others: Measures


@dataclass(frozen=True)
class Row:
    """One method on the board.

    Attributes:
        name: the method's name, with settings given by hand.
        classes: class -> numbers.
        overall: numbers over all classes, or None while a class is missing.
        rules: selection rule -> headline average under it (NaN where undefined).
        gap: oracle minus the board's rule: what choosing on test would have added; where the board
            itself chooses on test, what it did add to val, or to last where there is no val.
        seeds: seeds that every class has.
        undefined: correlations that are undefined, of the average and beside it.
        specialist: the stream it was trained on alone, or an empty text.
        costs: what its runs took, by the names of :data:`aqabench.board.costs.QUANTITIES`; all
            NaN while a class is missing, since sums over fewer classes look cheap.
        places: the devices and threads that its times were taken on.
        failed: one line per failed run.
        notes: what a reader must know (opt-outs, older runs left out, missing classes).
        optimism: the test behind ``gap``, with its interval; None where a rule is missing.
    """

    name: str
    classes: Mapping[str, Scores]
    overall: Scores | None
    rules: Mapping[str, float]
    gap: float
    seeds: tuple[int, ...]
    undefined: Undefined
    specialist: str
    costs: Mapping[str, float]
    places: tuple[str, ...]
    failed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    optimism: Comparison | None = None


@dataclass(frozen=True)
class Leaderboard:
    """All methods that were run under one condition, best first unless ``sorted_by`` is a cost.

    ``classes`` are those of the protocol that any of the runs is about; an average is over them.
    ``columns`` are what is shown beside each other: scenarios, the draws of one level together.
    ``hidden`` says of columns what share their masks hide, ``training`` what training went without
    (None: nothing); records of older runs do not know.  ``tested`` are all cells of each method,
    ``tables`` those of its average with their jackknife, made once.
    """

    asked: Asked
    condition: Condition
    rule: SelectionRule
    classes: tuple[str, ...]
    columns: Mapping[str, tuple[str, ...]]
    averaged: tuple[str, ...]
    hidden: Mapping[str, Hidden]
    training: Hidden | None
    rows: tuple[Row, ...]
    tested: Mapping[str, list[Cell]] = field(repr=False)
    sorted_by: str = "score"
    tables: Mapping[str, CellTable] = field(default_factory=dict, repr=False)

    @property
    def cells(self) -> dict[str, list[Cell]]:
        """The cells that enter the average, of methods that have one."""
        return {
            row.name: [cell for cell in self.tested[row.name] if cell.scenario in self.averaged]
            for row in self.rows
            if row.overall is not None
        }

    @property
    def simulated(self) -> bool:
        """Do the numbers come from the simulator?"""
        return self.condition.data_kind == "simulated"


def build(
    asked: Asked,
    condition: Condition,
    groups: Sequence[Runs],
    store: RunStore,
    rule: SelectionRule | None = None,
) -> Leaderboard:
    """Recompute a board from the predictions of the given runs.

    Args:
        asked: the protocol; its digest must be the condition's.
        condition: what the runs share.
        groups: runs per method.
        store: where the predictions are.
        rule: which selection rule ranks; the protocol's own by default.
    """
    chosen: SelectionRule = rule or asked.protocol.selection
    averaged = averaged_scenarios(asked.protocol, asked.dataset)
    tried = {r.class_name for group in groups for r in group.records}
    classes = tuple(c for c in asked.protocol.classes if c in tried)
    shown = columns(asked.protocol, asked.dataset)
    tested: dict[str, list[Cell]] = {}
    prepared: dict[str, CellTable] = {}
    rows = []
    for group in groups:
        seeds = _common_seeds(group, classes, asked)
        tables = {
            (r.class_name, r.seed, r.fold): _test_predictions(store, r)
            for r in group.finished
            if r.seed in seeds
        }
        own = {r: _cells(tables, r) for r in ("val", "last", "oracle")}
        table = _prepared(own[chosen], averaged, asked)
        row = _row(asked, shown, classes, group, seeds, own, chosen, averaged, table)
        rows.append(row)
        tested[row.name] = own[chosen]
        if table is not None and row.overall is not None:
            prepared[row.name] = table
    finished = [r for group in groups for r in group.finished]
    return Leaderboard(
        asked=asked,
        condition=condition,
        rule=chosen,
        classes=classes,
        columns=shown,
        averaged=averaged,
        hidden=realised(finished, shown),
        training=trained(finished),
        rows=tuple(sorted(rows, key=_rank)),
        tested=tested,
        tables=prepared,
    )


def _common_seeds(group: Runs, classes: Sequence[str], asked: Asked) -> tuple[int, ...]:
    """Seeds with all folds of every class that has any, so that averages are over full grids."""
    folds = fold_names(asked.protocol.split, asked.dataset)
    done: dict[str, dict[int, set[int | None]]] = {}
    for record in group.finished:
        done.setdefault(record.class_name, {}).setdefault(record.seed, set()).add(record.fold)
    whole = [{s for s, own in done[c].items() if own >= set(folds)} for c in classes if c in done]
    return tuple(sorted(set.intersection(*whole))) if whole else ()


def _test_predictions(store: RunStore, record: RunRecord) -> pd.DataFrame:
    frame = store.predictions(record)
    return frame[frame["part"] == "test"]


def _cells(tables: Mapping[tuple[str, int, int | None], pd.DataFrame], rule: str) -> list[Cell]:
    """Return a cell per class, fold, scenario and seed; each fold is a test of its own."""
    cells = []
    for (class_name, seed, fold), frame in tables.items():
        test = class_name if fold is None else f"{class_name}{FOLD}{fold}"
        for scenario, part in frame[frame["rule"] == rule].groupby("scenario", sort=False):
            ids = part["sample_id"].tolist()
            scores, predictions = part["score"].to_numpy(), part["prediction"].to_numpy()
            cells.append(Cell(test, str(scenario), seed, ids, scores, predictions))
    return cells


def _prepared(cells: Sequence[Cell], averaged: Sequence[str], asked: Asked) -> CellTable | None:
    """Jackknife what enters the average; None where there is nothing."""
    inside = [cell for cell in cells if cell.scenario in averaged]
    independent = not asked.dataset.same_videos
    return prepare(inside, independent_classes=independent) if inside else None


def honest(rule: str, rules: Collection[str]) -> str:
    """Return the rule that oracle is held against: the board's own, unless that is oracle."""
    return rule if rule != "oracle" else "val" if "val" in rules else "last"


def _optimism(
    cells: Mapping[str, list[Cell]],
    rule: str,
    table: CellTable | None,
    averaged: Sequence[str],
    asked: Asked,
) -> Comparison | None:
    """Compare the epochs chosen on test with those chosen honestly, of the same runs."""
    other = honest(rule, [r for r, own in cells.items() if own])
    if table is None or not cells["oracle"] or not cells[other]:
        return None
    tables = {
        r: table
        if r == rule or _same(cells[r], cells[rule])
        else _prepared(cells[r], averaged, asked)
        for r in ("oracle", other)
    }
    a, b = tables["oracle"], tables[other]
    return None if a is None or b is None else compare_choices(a, b)


def _same(a: Sequence[Cell], b: Sequence[Cell]) -> bool:
    """Are these the same predictions, as of a method that has no epochs to choose from?"""
    return len(a) == len(b) and all(
        x[:3] == y[:3] and np.array_equal(np.asarray(x.p), np.asarray(y.p))
        for x, y in zip(a, b, strict=True)
    )


def _row(
    asked: Asked,
    shown: Mapping[str, tuple[str, ...]],
    classes: tuple[str, ...],
    group: Runs,
    seeds: tuple[int, ...],
    cells: Mapping[str, list[Cell]],
    rule: SelectionRule,
    averaged: tuple[str, ...],
    table: CellTable | None,
) -> Row:
    chosen = ranked(cells[rule])
    used = [r for r in group.finished if r.seed in seeds]
    bounds = {c.name: c.bounds for c in asked.dataset.classes}
    by_class = {
        name: _scores(
            shown, own, averaged, table, bounds[name],
            [r.learning_index for r in used if r.class_name == name],
        )
        for name in classes
        if (own := [r for r in chosen if r.class_name == name])
    }  # fmt: skip
    whole = len(by_class) == len(classes)
    inside = [r for r in chosen if r.cell.scenario in averaged]
    rules = {
        r: _headline(inside if r == rule else ranked(c for c in own if c.scenario in averaged))
        for r, own in cells.items()
        if own and whole
    }
    optimism = _optimism(cells, rule, table, averaged, asked) if whole else None
    notes = [
        f"fails '{check}' by design: {why}" for check, why in group.records[0].opt_outs.items()
    ]
    if group.older:
        notes.append(f"{group.older} runs of an older version of its source are left out")
    notes += tuned_notes(group.records)
    absent = [c for c in classes if c not in by_class]
    if absent:
        notes.append(f"no finished run for {', '.join(absent)}: no average is made")
    return Row(
        name=group.name,
        classes=by_class,
        overall=_overall(by_class, table) if whole and table is not None else None,
        rules=rules,
        gap=rules.get("oracle", math.nan) - rules.get(honest(rule, rules), math.nan),
        seeds=seeds,
        undefined=undefined(chosen, averaged, shown),
        specialist=_specialist(group.records[0]),
        costs=row_costs(used if whole else ()),
        places=row_places(used),
        failed=tuple(f"{_run_name(r)}: {r.error}" for r in group.failed),
        notes=tuple(notes),
        optimism=optimism,
    )


def _specialist(record: RunRecord) -> str:
    """Return the stream of a run that was trained on it alone, with no other setting by hand."""
    alone = record.method == SPECIALIST and set(record.overrides) == {"stream"}
    alone = alone and record.tuned is None
    return str(record.overrides["stream"]) if alone else ""


def _scores(
    shown: Mapping[str, tuple[str, ...]],
    cells: list[Ranked],
    averaged: tuple[str, ...],
    table: CellTable | None,
    bounds: tuple[float, float],
    indices: Sequence[float | None],
) -> Scores:
    srcc: dict[str, float] = {}
    errors: dict[str, float] = {}
    for column, names in shown.items():
        own = [r for r in cells if r.cell.scenario in names]
        srcc[column] = float(fisher_mean([r.srcc for r in own]))
        errors[column] = float(np.mean([mse(r.cell.y, r.cell.p) for r in own]))
    inside = [r for r in cells if r.cell.scenario in averaged]
    assert table is not None  # some of it is of this class
    tests = {r.cell.class_name for r in inside}
    return Scores(
        srcc=srcc,
        mse=errors,
        average=average_ci(select_tests(table, classes=tests)),
        average_mse=float(np.mean([mse(r.cell.y, r.cell.p) for r in inside])),
        others=measures(inside, bounds, indices),
    )


def _overall(by_class: Mapping[str, Scores], table: CellTable) -> Scores:
    scenarios = next(iter(by_class.values())).srcc
    return Scores(
        srcc={s: float(fisher_mean([b.srcc[s] for b in by_class.values()])) for s in scenarios},
        mse={s: float(np.mean([b.mse[s] for b in by_class.values()])) for s in scenarios},
        average=average_ci(table),
        average_mse=float(np.mean([b.average_mse for b in by_class.values()])),
        others=mean_measures([b.others for b in by_class.values()]),
    )


def _headline(inside: Sequence[Ranked]) -> float:
    return float(fisher_mean([r.srcc for r in inside]))


def _run_name(record: RunRecord) -> str:
    fold = "" if record.fold is None else f" fold {record.fold}"
    return f"{record.class_name} seed {record.seed}{fold}"


def _rank(row: Row) -> tuple[float, str]:
    value = row.overall.average.estimate if row.overall else math.nan
    return (-value if math.isfinite(value) else math.inf, row.name)
