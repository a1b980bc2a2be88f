"""What each switch of a method changes in the headline average, on the same test videos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aqabench.board.table import Leaderboard
from aqabench.stats import Comparison, adjust, compare_choices, compare_runs


@dataclass(frozen=True)
class Effect:
    """One switch against the usual form.

    Attributes:
        switch: what a table calls it.
        result: with the switch thrown minus without, of the protocol's average; None where a
            class has no finished run.
        adjusted: p by Holm over all switches of the table; NaN without a result.
        failed: why runs with it failed.
        paired: whether seeds are compared with themselves; not where one of a pair is lacking.
    """

    switch: str
    result: Comparison | None
    adjusted: float = float("nan")
    failed: tuple[str, ...] = ()
    paired: bool = True

    @property
    def real(self) -> bool:
        """Can the change be told from none?"""
        return self.result is not None and self.adjusted < 1 - self.result.level


def effects(board: Leaderboard, usual: str, thrown: Mapping[str, str]) -> list[Effect]:
    """Compare every row with a switch thrown to the usual one, paired over videos and seeds.

    Args:
        board: of all the runs.
        usual: the row of the usual form.
        thrown: switch -> its row.
    """
    tables = board.tables
    there = [(switch, row) for switch, row in thrown.items() if {row, usual} <= tables.keys()]
    paired = {switch: set(tables[row].seeds) == set(tables[usual].seeds) for switch, row in there}
    results: dict[str, Comparison] = {}
    for switch, row in there:
        # runs of one seed begin with equal weights and batches
        compare = compare_choices if paired[switch] else compare_runs
        results[switch] = compare(tables[row], tables[usual])
    by_switch: dict[str, float] = {}
    if results:
        adjusted = adjust([r.p_value for r in results.values()], method="holm")
        by_switch = dict(zip(results, map(float, adjusted), strict=True))
    failed = {row.name: row.failed for row in board.rows}
    return [
        Effect(
            switch,
            results.get(switch),
            by_switch.get(switch, float("nan")),
            failed[row],
            paired.get(switch, True),
        )
        for switch, row in thrown.items()
    ]


def unpaired(found: Sequence[Effect]) -> str:
    """Return a sentence on switches whose seeds are not compared with themselves, or nothing."""
    apart = [effect.switch for effect in found if not effect.paired]
    return f"Seeds apart, because runs are lacking: {'; '.join(apart)}." if apart else ""
