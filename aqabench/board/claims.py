"""Published results that may stand beside the rows of a board.

They are matched by what was shown: the same streams, or the mean over the six incomplete subsets.
They are never ranked and never tested with measured rows; here they come in the order of names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aqabench.board.published.reader import published
from aqabench.board.published.schema import AVERAGE, Claim
from aqabench.board.table import Leaderboard
from aqabench.method.registry import discover
from aqabench.protocol.scenarios import Scenario, scenarios
from aqabench.runs.record import RunRecord

INCOMPLETE = 6
"""Incomplete subsets of three streams, which ``avg6`` of papers averages over."""


@dataclass(frozen=True)
class Published:
    """What papers report for one method.

    Attributes:
        method: its published name.
        year: of publication, where known.
        measured: rows of the board that are this method.
        numbers: (class or ``average``, column or name of the headline average) -> claim.
    """

    method: str
    year: int | None
    measured: tuple[str, ...]
    numbers: Mapping[tuple[str, str], Claim]


def published_beside(
    board: Leaderboard, runs: Mapping[str, Sequence[RunRecord]]
) -> tuple[Published, ...]:
    """Return the published results on what the board shows, in the order of names.

    Args:
        board: its data set, columns and average decide what is comparable in kind.
        runs: row -> runs; their methods' cards name their published rows.
    """
    own = _own_names(runs)
    found: dict[str, dict[tuple[str, str], Claim]] = {}
    classes = {*board.classes, AVERAGE} if len(board.classes) > 1 else set(board.classes)
    for claim in published():
        about = (claim.dataset, claim.metric, claim.role)
        if about != (board.asked.dataset.name, "srcc", "result"):
            continue
        if claim.class_name not in classes:
            continue
        for column in _columns(board, claim):
            found.setdefault(claim.method, {})[claim.class_name, column] = claim
    return tuple(
        Published(method, next(iter(numbers.values())).year, own.get(method, ()), numbers)
        for method, numbers in sorted(found.items(), key=lambda item: item[0].casefold())
    )


def _columns(board: Leaderboard, claim: Claim) -> list[str]:
    """Return the columns that show what a claim is about; the headline average is one."""
    protocol, average = board.asked.protocol, board.asked.protocol.average.name
    if claim.condition == "avg6":
        whole = len(protocol.modalities) == 3 and len(board.averaged) == INCOMPLETE
        incomplete = all(not s.complete for s in _averaged(board))
        return [average] if whole and incomplete else []
    if claim.condition not in ("complete", "subset"):
        return []
    shown = frozenset(claim.modalities.split("+"))
    columns = [column for column, symbols in _shown(board).items() if symbols == shown]
    only = {s.column for s in _averaged(board)}
    return [*columns, *([average] if len(only) == 1 and only <= set(columns) else [])]


def _averaged(board: Leaderboard) -> list[Scenario]:
    every = scenarios(board.asked.protocol, board.asked.dataset)
    return [every[name] for name in board.averaged]


def _shown(board: Leaderboard) -> dict[str, frozenset[str]]:
    """Return column -> symbols of the streams it shows, of those that show them whole."""
    symbols = {m.name: m.symbol for m in board.asked.dataset.modalities}
    own = [symbols[name] for name in board.asked.protocol.modalities]
    found = {}
    for scenario in scenarios(board.asked.protocol, board.asked.dataset).values():
        if scenario.shown is not None:
            found[scenario.column] = frozenset(
                s for s, is_shown in zip(own, scenario.shown, strict=True) if is_shown
            )
        elif scenario.complete:
            found[scenario.column] = frozenset(own)
    return found


def _own_names(runs: Mapping[str, Sequence[RunRecord]]) -> dict[str, tuple[str, ...]]:
    """Return published name -> rows that say on their card that it is theirs."""
    cards = {entry.name: entry.card for entry in discover().entries if entry.card is not None}
    found: dict[str, tuple[str, ...]] = {}
    for row, records in runs.items():
        card = cards.get(records[0].method)
        for name in card.claims if card else ():
            found[name] = (*found.get(name, ()), row)
    return found
