"""Which differences on a board are real: all pairs of methods on the same videos.

The jackknife over videos on Fisher's z is test and interval; its p values are adjusted over the
pairs by max-T, or by Holm where max-T is undefined.  The pairs that it separates are checked by the
swap permutation, and a difference is claimed only where both agree.  Mean squared errors stand
beside it, by sign flips, and decide nothing.

Refuses "as good as" without a margin that was stated beforehand.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from aqabench.board.table import Leaderboard
from aqabench.errors import UnknownNameError
from aqabench.stats import (
    CellTable,
    Comparison,
    Equivalence,
    Flag,
    LossComparison,
    compare_mean_losses,
    cross_check,
    needed_n,
    non_inferiority,
    prepare,
    select_tests,
)
from aqabench.stats import compare_all as compare_methods

RESAMPLES = 1999
"""Bootstrap resamples of max-T: p in steps of 0.0005."""


@dataclass(frozen=True)
class Pair:
    """One difference: the better method first.

    Attributes:
        better: the method with the higher estimate.
        worse: the other one.
        result: the jackknife, as of a pair that stands alone.
        adjusted: p over all pairs of the board; where the cross-check does not agree its p, so that
            it is below the level only where both say so.
        adjusted_by: ``"max-t"``, or ``"holm"``; empty for a pair that stands alone.
        check: the swap permutation; only of pairs that the jackknife separates.
        loss: mean squared error of better minus worse, with the p of a pair that stands alone.
        as_good: is the worse one as good as the better one, within a margin?
    """

    better: str
    worse: str
    result: Comparison
    adjusted: float
    adjusted_by: str = "holm"
    check: Comparison | None = None
    loss: LossComparison | None = None
    as_good: Equivalence | None = None

    @property
    def separated(self) -> bool:
        """May it be claimed that one is better?"""
        return self.adjusted < 1 - self.result.level

    @property
    def disputed(self) -> bool:
        """Does the jackknife separate them, and the swap permutation not?"""
        return self.check is not None and not self.separated

    @property
    def needed(self) -> float:
        """Test videos that would find this difference with 80 % probability, were it true."""
        return needed_n(self.result)

    @property
    def sentence(self) -> str:
        """What may be said of the pair, in a sentence or two that a person can quote."""
        r = self.result
        if math.isnan(r.p_value):
            why = str(r.reason or r.status).replace("_", " ")
            return f"{self.better} and {self.worse} cannot be compared: {why}."
        if math.isnan(r.low):
            same = str(r.status).replace("_", " ")
            return f"{self.better} and {self.worse} cannot be told apart: {same}."
        verdict = (
            f"{self.better} ranks better than {self.worse}"
            if self.separated
            else f"{self.better} and {self.worse} cannot be told apart"
        )
        return (
            f"{verdict}: difference {r.difference:+.3f}, {100 * r.level:.0f} % interval "
            f"{r.low:+.3f} to {r.high:+.3f}, {self._evidence()} ({r.n} test videos, {_seeds(r)}; "
            f"a true difference of {r.detectable:.3f} would be found with 80 % probability)."
            f"{self._margin()}"
        )

    def _evidence(self) -> str:
        p = quoted(self.adjusted)
        kind = "adjusted p" if self.adjusted_by else "p"
        if self.check is None:
            return f"{kind} {p}"
        if self.disputed:
            return (
                f"separated by the jackknife but not by the swap permutation, p {p}, so that "
                "nothing is claimed"
            )
        return f"{kind} {p}, swap permutation p {quoted(self.check.p_value)}"

    def _margin(self) -> str:
        found = self.as_good
        if found is None or math.isnan(found.p_value):
            return ""
        if found.shown:
            return f" {self.worse} is as good within {found.margin:g}, p {quoted(found.p_value)}."
        if self.separated:
            return ""
        text = f" That {self.worse} is as good within {found.margin:g} is not shown"
        if Flag.UNDERPOWERED in found.flags:
            text += f" and cannot be on fewer than about {about(found.n_required)} videos"
        return f"{text}."


def quoted(p: float) -> str:
    """Return ``= 0.012``, or ``< 0.001``."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def about(videos: float) -> str:
    """Return a number of videos with two digits of meaning, for it is no more certain."""
    return f"{round(videos, 2 - len(str(int(videos)))):,.0f}"


def _seeds(r: Comparison) -> str:
    counts = dict.fromkeys((r.n_seeds_a, r.n_seeds_b))
    if list(counts) == [1]:
        return "one seed each, without the luck of training"
    return f"{' and '.join(map(str, counts))} seeds"


def compare_all(
    board: Leaderboard,
    *,
    columns: Collection[str] = (),
    margin: float | None = None,
    n_resamples: int = RESAMPLES,
) -> list[Pair]:
    """Return every pair of methods, best methods first.

    Each method's jackknife is made once, however many pairs it is in.

    Args:
        board: its ``tables`` are compared.
        columns: compare the mean over these columns instead of the board's average.
        margin: the largest difference in Spearman that does not matter, stated beforehand.
        n_resamples: resamples of max-T; 0 for Holm.

    Raises:
        UnknownNameError: a column that the board does not have.
    """
    tables = _tables(board, columns)
    if len(tables) < 2:
        return []
    several = sum(not table.reason for table in tables.values()) > 2
    found = compare_methods(tables, n_resamples=n_resamples if several else 0)
    by = "" if not several else "holm" if np.isnan(found.p_max_t).all() else "max-t"
    # the bootstrap may find a p smaller than that of the pair alone, which no adjustment means
    p = np.fmax(found.p_adjusted, found.p_raw)
    place = {name: k for k, name in enumerate(found.names)}
    losses = compare_mean_losses({name: squared_errors(t) for name, t in tables.items()})
    pairs = [
        Pair(
            better=a,
            worse=b,
            result=result,
            adjusted=float(p[place[a], place[b]]),
            adjusted_by=by,
            loss=losses[a, b],
            as_good=None if margin is None else non_inferiority(result.turned, margin),
        )
        for (a, b), result in found.comparisons.items()
    ]
    return _checked(pairs, tables)


def _checked(pairs: Sequence[Pair], tables: Mapping[str, CellTable]) -> list[Pair]:
    """Cross-check what the jackknife separates, the weakest claim first."""
    claims = sorted((p for p in pairs if p.separated), key=lambda p: -p.result.p_value)
    checks = cross_check(tables, [(p.better, p.worse) for p in claims])
    return [
        replace(
            pair,
            check=check,
            adjusted=pair.adjusted
            if check.p_value < 1 - pair.result.level
            else max(pair.adjusted, check.p_value),
        )
        if (check := checks.get((pair.better, pair.worse))) is not None
        else pair
        for pair in pairs
    ]


def _tables(board: Leaderboard, columns: Collection[str]) -> dict[str, CellTable]:
    """Return what is compared of each method that has an average, best first."""
    for column in columns:
        if column not in board.columns:
            raise UnknownNameError(
                f"scenario of {board.condition.protocol}", column, board.columns,
                f"aqabench show {board.condition.protocol}",
            )  # fmt: skip
    independent = not board.asked.dataset.same_videos
    names = [row.name for row in board.rows if row.overall is not None]
    scenarios = {name for column in columns for name in board.columns[column]}
    tables = {}
    for name in names:
        table = board.tables.get(name)
        if table is None or not scenarios <= set(board.averaged):
            wanted = scenarios or set(board.averaged)
            cells = [cell for cell in board.tested[name] if cell.scenario in wanted]
            table = prepare(cells, independent_classes=independent)
        elif scenarios:
            table = select_tests(table, scenarios=scenarios)
        tables[name] = table

    def rank(name: str) -> float:
        value = float(tables[name].z.mean())
        return -value if math.isfinite(value) else math.inf

    return {name: tables[name] for name in sorted(names, key=rank)}


def squared_errors(table: CellTable) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the squared error of every video (n,), whose mean is that over tests and seeds."""
    out = np.zeros(table.n)
    for test in table.tests:
        share = table.n / (len(table.tests) * test.y.size)
        out[test.columns] += share * ((test.p - test.y) ** 2).mean(axis=0)
    return out
