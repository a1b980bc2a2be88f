"""Is a row whole, so that it may be handed in for a leaderboard, and what is handed in with it?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product

from aqabench.board.mixing import rerun
from aqabench.board.select import Condition, Runs
from aqabench.errors import UsageError
from aqabench.method.registry import Registry, source_digest
from aqabench.protocol.folds import fold_names
from aqabench.protocol.library import Asked
from aqabench.protocol.schema import BUDGETS
from aqabench.runs.archive import origin_members
from aqabench.runs.record import RunRecord
from aqabench.runs.store import RunStore

__all__ = ["Cell", "Heavy", "origins", "packed_weights", "require_whole"]

Cell = tuple[str, int, int | None]
"""Class, seed and fold of a run."""
SHOWN = 6


def require_whole(asked: Asked, condition: Condition, groups: Sequence[Runs], extra: str) -> None:
    """Refuse rows that lack a class, a seed or a fold of the protocol under the budget.

    Args:
        asked: the protocol.
        condition: what the runs share.
        groups: the rows.
        extra: what else to type behind ``aqabench run``, such as ``--plugin FILE``.

    Raises:
        UsageError: says what is missing, and the command that makes it.
    """
    seeds = asked.protocol.seeds[: BUDGETS[condition.budget].seeds]
    folds = fold_names(asked.protocol.split, asked.dataset)
    grid: list[Cell] = list(product(asked.protocol.classes, seeds, folds))
    for group in groups:
        there = {(r.class_name, r.seed, r.fold) for r in group.finished}
        failed = {(r.class_name, r.seed, r.fold) for r in group.failed}
        missing = [cell for cell in grid if cell not in there]
        if not missing:
            continue
        some = ", ".join(_words(cell, cell in failed) for cell in missing[:SHOWN])
        more = f" and {len(missing) - SHOWN:,} more" if len(missing) > SHOWN else ""
        older = (
            f" {group.older} runs of older versions of its source do not count."
            if group.older
            else ""
        )
        classes = [c for c in asked.protocol.classes if any(c == cell[0] for cell in missing)]
        only = classes if len(classes) < len(asked.protocol.classes) else []
        (command,) = rerun([group], condition, only)
        raise UsageError(
            f"{group.name} has {len(grid) - len(missing)} of the {len(grid)} finished runs that "
            f"{condition.protocol} asks for under the budget {condition.budget}; missing: {some}"
            f"{more}.{older} Run: {command}{extra}"
        )


def origins(
    condition: Condition, groups: Sequence[Runs], registry: Registry, extra: str
) -> dict[str, bytes]:
    """Return card and source file of every method, as members of a file of runs.

    Raises:
        UsageError: the method is not known here, or the runs were made from another version of it.
    """
    found: dict[str, bytes] = {}
    for group in groups:
        record = group.records[0]
        if record.method not in {entry.name for entry in registry.entries}:
            raise UsageError(
                f"The source of {record.method} is not known here, and it is handed in with the "
                "runs. Name its file: --plugin FILE.py"
            )
        entry = registry.get(record.method)
        assert entry.card is not None
        if source_digest(entry) != record.identity["source_digest"]:
            (command,) = rerun([group], condition)
            raise UsageError(
                f"The runs of {group.name} were made from another version of {entry.path.name}, or "
                f"of aqabench, than the one here. Run them again: {command}{extra}"
            )
        card = json.dumps(asdict(entry.card), sort_keys=True, indent=1, ensure_ascii=False) + "\n"
        source = (entry.path.name, entry.path.read_bytes())
        found |= origin_members(condition.protocol, record.method, card.encode(), source)
    return found


@dataclass(frozen=True)
class Heavy:
    """What is decided on weights.

    Attributes:
        packed: are they handed in?
        bytes: that they take.
        remark: what there is to say if they are not.
    """

    packed: bool
    bytes: int = 0
    remark: str = ""


def packed_weights(store: RunStore, records: Sequence[RunRecord], wanted: bool | None) -> Heavy:
    """Decide whether weights are handed in with runs.

    Args:
        store: where the runs are.
        records: of the runs.
        wanted: by whoever submits; None for: if every run has them.

    Raises:
        UsageError: they are wanted, and some runs have none.
    """
    if wanted is False:
        return Heavy(False)
    found = [path for record in records if (path := store.weights_file(record)) is not None]
    if len(found) == len(records):
        return Heavy(True, sum(path.stat().st_size for path in found))
    lacking = len(records) - len(found)
    how = (
        "Weights are kept by 'aqabench run --keep-weights'; runs that are stored without them are "
        "done again in a store of their own: --store FOLDER"
    )
    if wanted:
        raise UsageError(
            f"{lacking} of {len(records)} runs have no weights. {how}. Or leave --weights away."
        )
    if not found:
        return Heavy(False)
    return Heavy(
        False, remark=f"No weights are in it: {lacking} of {len(records)} runs have none. {how}"
    )


def _words(cell: Cell, failed: bool) -> str:
    class_name, seed, fold = cell
    text = f"{class_name} seed {seed}" + ("" if fold is None else f" fold {fold}")
    return f"{text} (failed)" if failed else text
