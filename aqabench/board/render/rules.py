"""Selection rules side by side: what choosing the epoch on the test videos adds."""

from __future__ import annotations

import math

from aqabench.board.render.sheet import Sheet
from aqabench.board.render.text import DASH, breakable, correlation, signed
from aqabench.board.table import Leaderboard, Row, honest

RULES = ("val", "last", "oracle")


def rules_sheet(board: Leaderboard) -> Sheet | None:
    """Return the headline average under every rule, and the optimism gap with its interval.

    Nothing where no method has a test that was chosen on, beside one that was not.
    """
    rules = known_rules(board)
    rows = [row for row in board.rows if row.optimism is not None]
    if not rows or "oracle" not in rules or len(rules) < 2:
        return None
    other = honest(board.rule, rules)
    cells = [
        (
            breakable(row.name),
            *(correlation(row.rules.get(rule, math.nan)) for rule in rules),
            signed(row.gap),
            gap_limits(row),
        )
        for row in rows
    ]
    chosen = "val: the epoch that is best on held-out training videos; " if "val" in rules else ""
    notes = (
        f"{chosen}last: the last epoch; oracle: the one that is best ON THE TEST VIDEOS.",
        "Interval: jackknife over test videos"
        + (" and seeds" if any(len(row.seeds) > 1 for row in rows) else "")
        + f" of the same runs' difference, both epochs as they were chosen; {DASH}: both rules "
        "rank the videos alike, or there are too few.",
    )
    return Sheet(
        title=f"Selection rules side by side: {board.asked.protocol.average.name}, and the "
        "optimism gap",
        names=("method",),
        heads=(*rules, f"gap, oracle - {other}", "95 % interval, of the gap"),
        rows=cells,
        notes=notes,
    )


def known_rules(board: Leaderboard) -> list[str]:
    """Return the rules that any of the rows has."""
    return [r for r in RULES if any(r in row.rules for row in board.rows)]


def gap_limits(row: Row) -> str:
    """Return the interval of the optimism gap, or a dash."""
    found = row.optimism
    if found is None or not math.isfinite(found.low):
        return DASH
    return f"[{found.low:+.3f}, {found.high:+.3f}]"
