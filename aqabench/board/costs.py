"""What the methods of a board take: parameters, operations, time, memory, energy.

One rule for each quantity turns the costs of a row's runs (classes, folds, seeds) into one number;
a run without it leaves the row's undefined.  Times depend on where they were taken, so that a row
knows its places.  Nothing is measured here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median
from typing import TYPE_CHECKING

from aqabench.runs.record import Cost, RunRecord

if TYPE_CHECKING:
    from aqabench.board.table import Leaderboard, Row

Rule = Callable[[Sequence[tuple[int, float]]], float]
"""From (seed, cost) of every run to the cost of a row."""


def _largest(costs: Sequence[tuple[int, float]]) -> float:
    return max(cost for _, cost in costs)


def _middle(costs: Sequence[tuple[int, float]]) -> float:
    return median(cost for _, cost in costs)


def _one_seed(costs: Sequence[tuple[int, float]]) -> float:
    """Sum over classes and folds, median over seeds: what one more seed takes."""
    sums: dict[int, float] = {}
    for seed, cost in costs:
        sums[seed] = sums.get(seed, 0.0) + cost
    return median(sums.values())


def _complete(by_subset: Mapping[str, float]) -> float | None:
    """Return the cost of the largest subset, which is called by the symbols of all streams."""
    return by_subset[max(by_subset, key=len)] if by_subset else None


def _mean(by_subset: Mapping[str, float]) -> float | None:
    return fmean(by_subset.values()) if len(by_subset) > 1 else None


@dataclass(frozen=True)
class Quantity:
    """Something that a run takes.

    Attributes:
        title: what it is called.
        unit: unit of the numbers; empty for a count.
        of: its number for one run, None where the record has none.
        rule: how runs become one number.
        timed: it depends on the device and the number of threads.
    """

    title: str
    unit: str
    of: Callable[[Cost], float | None]
    rule: Rule
    timed: bool = False


# a method that computes without torch has no operations that could be counted: 0 is no cost
QUANTITIES: Mapping[str, Quantity] = {
    "params": Quantity("parameters", "", lambda c: c.parameters, _largest),
    "flops": Quantity(
        "FLOPs per sample, all streams", "FLOP", lambda c: _complete(c.flops) or None, _largest
    ),
    "flops-mean": Quantity(
        "FLOPs per sample, mean of subsets", "FLOP", lambda c: _mean(c.flops) or None, _largest
    ),
    "train-time": Quantity("training time", "s", lambda c: c.fit_seconds, _one_seed, timed=True),
    "sample-time": Quantity(
        "time per sample, all streams", "ms", lambda c: _complete(c.milliseconds), _middle, True
    ),
    "sample-time-mean": Quantity(
        "time per sample, mean of subsets", "ms", lambda c: _mean(c.milliseconds), _middle, True
    ),
    "memory": Quantity("peak memory", "B", lambda c: c.peak_memory_bytes, _largest),
    "gpu-memory": Quantity("peak GPU memory", "B", lambda c: c.gpu_memory_bytes, _largest),
    "energy": Quantity("training energy", "J", lambda c: c.energy_joules, _one_seed, timed=True),
}
"""What ``--sort`` and ``--against`` call a quantity -> the quantity."""


def row_costs(records: Iterable[RunRecord]) -> dict[str, float]:
    """Return every quantity of the runs of a row; NaN where a run has none."""
    records = list(records)
    found = {}
    for name, quantity in QUANTITIES.items():
        own = [(r.seed, None if r.cost is None else quantity.of(r.cost)) for r in records]
        known = [(seed, float(cost)) for seed, cost in own if cost is not None]
        found[name] = quantity.rule(known) if known and len(known) == len(own) else math.nan
    return found


def row_places(records: Iterable[RunRecord]) -> tuple[str, ...]:
    """Return where the runs of a row were timed: device, threads and size of the machine."""
    return tuple(sorted({_place(r, r.cost) for r in records if r.cost is not None}))


def _place(record: RunRecord, cost: Cost) -> str:
    device = record.environment.get("gpu", cost.device)
    threads = f"{cost.threads} thread{'s' if cost.threads > 1 else ''}"
    cores = record.environment.get("cores")
    return f"{device}, {threads}" + (f" of {cores} cores" if cores else "")


def known_costs(board: Leaderboard) -> list[str]:
    """Return the quantities that a row of the board has."""
    return [name for name in QUANTITIES if any(math.isfinite(r.costs[name]) for r in board.rows)]


def places(board: Leaderboard) -> dict[str, str]:
    """Return place -> letter, the place of most rows first."""
    counts: dict[str, int] = {}
    for row in board.rows:
        for place in row.places:
            counts[place] = counts.get(place, 0) + 1
    order = sorted(counts, key=lambda place: (-counts[place], place))
    return {place: _letter(number) for number, place in enumerate(order)}


def _letter(number: int) -> str:
    beyond, letter = divmod(number, 26)
    return (_letter(beyond - 1) if beyond else "") + chr(ord("a") + letter)


def mark(board: Leaderboard, row: Row, name: str) -> str:
    """Return the letters of a timed cost's places; empty where all rows share one place."""
    letters = places(board)
    if not QUANTITIES[name].timed or len(letters) < 2:
        return ""
    return "+".join(sorted(letters[place] for place in row.places))


def sort_by_cost(board: Leaderboard, name: str) -> Leaderboard:
    """Return the board with the cheapest method first; undefined costs last, by score."""

    def cost(row: Row) -> float:
        return row.costs[name] if math.isfinite(row.costs[name]) else math.inf

    return replace(board, rows=tuple(sorted(board.rows, key=cost)), sorted_by=name)
