"""A table of what switches change, for a terminal or Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence

from aqabench.board.ablation import Effect, unpaired
from aqabench.board.render.sheet import Sheet
from aqabench.board.render.text import DASH, correlation, heading, seeds, signed
from aqabench.board.table import Leaderboard
from aqabench.stats import Status

_ALIKE = (Status.IDENTICAL_RANKINGS, Status.SAME_PREDICTIONS)


def ablation_sheet(
    board: Leaderboard, usual: str, found: Sequence[Effect], idle: Sequence[str] = ()
) -> Sheet:
    """Return the table.

    Args:
        board: of all the runs.
        usual: the row of the usual form.
        found: the effects.
        idle: switches that change nothing on this data set.
    """
    average = board.asked.protocol.average.name
    row = next(r for r in board.rows if r.name == usual)
    own = row.overall.average if row.overall else None
    rows = [(f"{usual} as it is", correlation(own.estimate) if own else DASH, "", "", "")]
    rows += [_cells(effect) for effect in found]
    notes = [
        f"Difference in {average} with the switch thrown minus without, 95 % interval by the "
        "jackknife over test videos and over pairs of runs of one seed, p by Holm over the "
        "switches.",
    ]
    results = [e.result for e in found if e.result is not None]
    if results:
        size = f"{results[0].n} test videos, {seeds(row)} seed{'' if len(row.seeds) == 1 else 's'}"
        least = [r.detectable for r in results if math.isfinite(r.detectable)]
        if least:
            ends = " to ".join(dict.fromkeys(f"{r:.3f}" for r in (min(least), max(least))))
            size += f"; true differences of {ends} would be found with 80 % probability"
        notes.append(f"{size}.")
    if apart := unpaired(found):
        notes.append(apart)
    told = [e.switch for e in found if e.real]
    notes.append(
        f"Told from no change: {'; '.join(told)}." if told else "None can be told from no change."
    )
    alike = [e.switch for e in found if e.result is not None and e.result.status in _ALIKE]
    if alike:
        notes.append(f"The videos are ranked as without it in every run: {'; '.join(alike)}.")
    if idle:
        notes.append(f"Change nothing on this data set: {'; '.join(idle)}.")
    notes += [f"{e.switch}: {line}" for e in found for line in e.failed[:1]]
    return Sheet(
        title=heading(board),
        names=("switch",),
        heads=(average, "difference", "95 % interval", "p adjusted"),
        rows=rows,
        notes=tuple(notes),
    )


def _cells(effect: Effect) -> tuple[str, str, str, str, str]:
    result = effect.result
    if result is None:
        return effect.switch, DASH, "failed" if effect.failed else DASH, DASH, DASH
    limits = f"{signed(result.low)} to {signed(result.high)}"
    p = DASH if math.isnan(effect.adjusted) else f"{effect.adjusted:.2g}"
    return (
        effect.switch, correlation(result.estimate_a), signed(result.difference), limits, p
    )  # fmt: skip
