"""Which differences on a board are real: all pairs of methods on the same videos.

The default is the jackknife over videos on Fisher's z with Holm's adjustment over the pairs shown
(:func:`aqabench.stats.compare_runs`).  Another test takes its place by passing ``test``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

from aqabench.board.table import Leaderboard
from aqabench.stats import CellTable, Comparison, adjust, compare_runs, prepare

Test = Callable[[CellTable, CellTable], Comparison]


@dataclass(frozen=True)
class Pair:
    """One difference: the better method first."""

    better: str
    worse: str
    result: Comparison
    adjusted: float

    @property
    def sentence(self) -> str:
        """What may be said of the pair, in a sentence a person can quote."""
        r = self.result
        if math.isnan(r.p_value):
            why = str(r.reason or r.status).replace("_", " ")
            return f"{self.better} and {self.worse} cannot be compared: {why}."
        verdict = (
            f"{self.better} ranks better than {self.worse}"
            if self.adjusted < 1 - r.level
            else f"{self.better} and {self.worse} cannot be told apart"
        )
        return (
            f"{verdict}: difference {r.difference:+.3f}, {100 * r.level:.0f} % interval "
            f"{r.low:+.3f} to {r.high:+.3f}, adjusted p = {self.adjusted:.3g} "
            f"({r.n} test videos; a true difference of {r.detectable:.3f} would be found with "
            "80 % probability)."
        )


def compare_all(board: Leaderboard, test: Test = compare_runs) -> list[Pair]:
    """Return every pair of methods that can be compared, in the board's order.

    Each method's jackknife is made once, however many pairs it is in.
    """
    independent = not board.asked.dataset.same_videos
    tables = {n: prepare(c, independent_classes=independent) for n, c in board.cells.items()}
    found = [(a, b, test(tables[a], tables[b])) for a, b in combinations(tables, 2)]
    if not found:
        return []
    adjusted = adjust([result.p_value for _, _, result in found], method="holm")
    return [Pair(a, b, result, float(p)) for (a, b, result), p in zip(found, adjusted, strict=True)]
