"""Footnotes: what a reader must know to read a board rightly."""

from __future__ import annotations

import math
from collections.abc import Mapping

from aqabench.board.render.costs import computing_notes
from aqabench.board.render.lists import (
    COMPLETE,
    HIDDEN,
    cost_headings,
    hidden_lines,
    with_learning_index,
)
from aqabench.board.render.rules import known_rules
from aqabench.board.render.text import percent
from aqabench.board.robustness import references, specialists
from aqabench.board.table import SPECIALIST, Leaderboard, Row, honest
from aqabench.protocol.folds import fold_names
from aqabench.protocol.library import shipped_dataset_names
from aqabench.protocol.scenarios import scenarios
from aqabench.stats.robustness import WEAK

LISTED = 8
"""Up to so many columns are named one by one."""


def footnotes(board: Leaderboard) -> list[str]:
    """Return the footnotes: of all numbers, of each list of measures, then of each method."""
    average = board.asked.protocol.average.name
    notes = [
        f"{average}: Fisher-z mean of {_averaged(board)}; [ ]: 95 % interval, jackknife "
        "over test videos"
        + (
            " and seeds."
            if all(len(row.seeds) > 1 for row in board.rows)
            else ". One seed: the interval does not contain the luck of training."
        ),
        f"gap: {average} at the epoch that is best on the test videos, minus {average} "
        + ("here." if board.rule != "oracle" else f"by {honest('oracle', known_rules(board))}."),
        *_of_folds(board),
        *_of_masks(board),
        *_of_others(board),
        *_of_costs(board),
        *computing_notes(board),
    ]
    if board.rule == "oracle":
        notes.append(
            "The epoch is chosen ON THE TEST VIDEOS, as papers do: these are not honest "
            "estimates. The column last has no such choice."
        )
    if board.simulated:
        notes.append(
            "Simulated data show whether a method learns and recovers; they say nothing "
            "about real performances."
        )
    for row in board.rows:
        notes += [f"{row.name}: {note}." for note in (*row.notes, *undefined_note(board, row))]
        notes += [f"{row.name} FAILED {line}" for line in row.failed]
    return notes


FEW = 16
"""Columns up to which those that enter an average are named."""


def _averaged(board: Leaderboard) -> str:
    """Return the columns that enter the average, with their numbers of draws."""
    draws = {
        column: sum(name in board.averaged for name in names)
        for column, names in board.columns.items()
    }
    left_out = [column for column, count in draws.items() if not count]
    if len(draws) > FEW:
        rest = f" but {', '.join(left_out)}" if left_out else ""
        return f"all {len(draws) - len(left_out)} columns{rest}, each with its draws"
    return ", ".join(c if n == 1 else f"{c} ({n} draws)" for c, n in draws.items() if n)


def _of_folds(board: Leaderboard) -> list[str]:
    folds = fold_names(board.asked.protocol.split, board.asked.dataset)
    if len(folds) <= 1:
        return []
    return [
        f"{len(folds)} folds: each sample is tested once, each fold is a test of its own, and "
        "averages are over folds. Their training parts overlap, which the interval does not "
        "contain."
    ]


def _of_masks(board: Leaderboard) -> list[str]:
    notes = []
    every = scenarios(board.asked.protocol, board.asked.dataset).values()
    timed = {s.timed for s in every if s.level and not s.corrupted}
    if any(timed):
        notes.append(
            "Steps that are missing show the mean of the training samples; methods are told "
            "which are real."
        )
    if hidden_lines(board):
        what = ["sample"] * (False in timed) + ["step"] * (True in timed)
        notes.append(
            f"{HIDDEN}: realised share of the slots, one for each stream of a {' or '.join(what)}; "
            f"the heading has the nominal rate. {COMPLETE}: {'s or '.join(what)}s that show every "
            "stream. Means over draws, classes and folds."
        )
    if board.training is not None:
        notes.append(
            f"Trained with {percent(board.training.realised)} % of the slots missing, "
            f"{percent(board.training.complete)} % of the samples complete."
        )
    return notes


def _of_others(board: Leaderboard) -> list[str]:
    dataset = board.asked.dataset
    where = (
        f"protocols/datasets/{dataset.name}.yaml"
        if dataset.name in shipped_dataset_names()
        else f"the file dataset.yaml of {dataset.name}"
    )
    bounds = ", ".join(
        f"{c.name} {c.bounds[0]:g} to {c.bounds[1]:g}"
        for c in dataset.classes
        if c.name in board.classes
    )
    notes = [
        f"Other measures: arithmetic means over what enters {board.asked.protocol.average.name}, "
        "then over classes; the Fisher mean is for Spearman alone. Normalised MSE: 1 says always "
        f"the mean. R-l2: with the bounds that {where} declares: {bounds}."
    ]
    if with_learning_index(board):
        notes.append(
            "MLI: how unevenly the streams are optimised, 0 is evenly (aqabench-MLI); compare "
            "inside one family of networks only."
        )
    return notes


def _of_costs(board: Leaderboard) -> list[str]:
    headings = cost_headings(board)
    if "breaks" not in headings:
        return []
    notes = [
        "kept: rho(S) / rho(all streams) over the incomplete subsets, beside it in brackets "
        f"rho(S) itself; only where rho(all streams) reaches {WEAK:g}.",
    ]
    if "of specialist" in headings:
        notes.append(_of_specialists(board))
    notes.append(
        "breaks: steps at which one stream more made it worse by over 0.005; equity: how "
        "evenly the streams contribute, 1 is evenly (aqabench-MEI). Formulas: docs/metrics.md."
    )
    return notes


def _of_specialists(board: Leaderboard) -> str:
    used, known = references(board), specialists(board)
    weak = [stream for stream in known if stream not in used]
    text = (
        f"of specialist: rho(S) with one stream over that of {SPECIALIST}[stream=S], mean over "
        f"{', '.join(used) or 'no stream'}, beside it in brackets rho(S) itself"
    )
    left_out = f"; specialists below {WEAK:g} say nothing: {', '.join(weak)}" if weak else ""
    return f"{text}{left_out}."


def undefined_note(board: Leaderboard, row: Row) -> list[str]:
    """Say how many correlations of a method are undefined, where and why; nothing if none is."""
    lost = row.undefined
    if not lost.where:
        return []
    (inside, of), (beside, others) = lost.inside, lost.beside
    counts = f"{inside} of {of} correlations of the average"
    if beside:
        counts += f" and {beside} of {others} beside it"
    all_of_them = inside == of and beside in (0, others)
    where = "" if all_of_them else f" in {_places(lost.where, board)}"
    text = f"{counts} are undefined{where} ({', '.join(lost.reasons)})"
    if row.overall is None or math.isfinite(row.overall.average.estimate):
        return [text]
    last = "; it ranks last" if len(board.rows) > 1 and board.sorted_by == "score" else ""
    return [f"{text}, so the average is too{last}"]


def _places(where: Mapping[str, tuple[str, ...]], board: Leaderboard) -> str:
    """Return columns, with their classes where these differ."""
    classes: dict[tuple[str, ...], list[str]] = {}
    for name in board.classes:
        if name in where:
            classes.setdefault(where[name], []).append(name)
    if len(classes) == 1 and len(where) == len(board.classes):
        return _some(next(iter(classes)))
    return " and in ".join(f"{_some(c)} of {', '.join(names)}" for c, names in classes.items())


def _some(columns: tuple[str, ...]) -> str:
    more = len(columns) - LISTED
    return ", ".join(columns[:LISTED]) + (f" and {more} more" if more > 0 else "")
