"""Why runs may not be compared, and the command that makes those that may.

Runs are comparable where protocol digest, data and budget agree (:class:`Condition`).  Nothing here
makes an exception: it only says what differs.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields

from aqabench.board.select import Condition, Runs
from aqabench.board.table import Leaderboard

WORDS = {
    "protocol": "protocols",
    "protocol_digest": "versions of the protocol",
    "data_kind": "kinds of data",
    "data_digest": "releases of the data",
    "budget": "budgets",
}


def nothing_shared(
    names: Sequence[str],
    conditions: Mapping[Condition, Sequence[Runs]],
    outdated: Iterable[Condition] = (),
    classes: Sequence[str] = (),
) -> str:
    """Say why methods share no board, and what to run to give them one.

    Args:
        names: the methods, two or more.
        conditions: what was run under each, newest first.
        outdated: those whose protocol has changed since.
        classes: the classes asked for; none for all.
    """
    own = {name: [c for c in conditions if name in _names(conditions[c])] for name in names}
    old = set(outdated)
    target = max(conditions, key=lambda c: _worth(c, names, conditions, old))
    other = [found[0] for found in own.values() if target not in found]
    differ = [
        WORDS[f.name]
        for f in fields(Condition)
        if any(getattr(c, f.name) != getattr(target, f.name) for c in other)
    ]
    where = "; ".join(f"{name}: {_some(found)}" for name, found in own.items())
    why = f"they are of other {_and(differ)}" if differ else "their protocol has changed since"
    lacking = [name for name in names if target in old or target not in own[name]]
    runs = {r.name: r for found in conditions.values() for r in found}
    commands = rerun([runs[name] for name in lacking], target, classes)
    return (
        f"{_and(list(names))} cannot be compared, because {why} ({where}). Run again: "
        f"{' && '.join(commands)}"
    )


def rerun(groups: Sequence[Runs], condition: Condition, classes: Sequence[str] = ()) -> list[str]:
    """Return what to type to run methods under a condition, those with settings one by one."""
    rest = f"-p {condition.protocol} --data {condition.data_kind} --budget {condition.budget}"
    rest += "".join(f" --class {shlex.quote(name)}" for name in classes)
    plain, special = [], []
    for group in groups:
        record = group.records[0]
        given = [f"--set {shlex.quote(f'{k}={v}')}" for k, v in record.overrides.items()]
        given += ["--params FILE"] * (record.tuned is not None)
        if given:
            special.append(f"aqabench run -m {record.method} {' '.join(given)} {rest}")
        else:
            plain.append(f"-m {record.method}")
    first = [f"aqabench run {' '.join(plain)} {rest}"] if plain else []
    return [*first, *special]


def outdated_note(groups: Sequence[Runs], condition: Condition) -> str:
    """Say that runs of another version of a protocol are left out, and how to get them back."""
    count = sum(len(r.records) for r in groups)
    commands = " && ".join(rerun(groups, condition))
    return (
        f"{condition.protocol}: {count} runs of another version of this protocol are left out. "
        f"Run them again to compare them: {commands}"
    )


def incomplete_note(board: Leaderboard, groups: Sequence[Runs]) -> str:
    """Say which methods lack classes, and what to type; empty where all have an average."""
    lacking = [row.name for row in board.rows if row.overall is None]
    if not lacking or len(board.rows) < 2:
        return ""
    absent = sorted({c for row in board.rows for c in board.classes if c not in row.classes})
    shared = [c for c in board.classes if all(c in row.classes for row in board.rows)]
    again = rerun([g for g in groups if g.name in lacking], board.condition, absent)
    text = f"{_and(lacking)}: no difference, for want of {_and(absent)}. Run: {' && '.join(again)}"
    return (
        f"{text}; or compare what all have: --class {' --class '.join(shared)}" if shared else text
    )


def _names(groups: Sequence[Runs]) -> list[str]:
    return [group.name for group in groups]


def _worth(
    condition: Condition,
    names: Sequence[str],
    conditions: Mapping[Condition, Sequence[Runs]],
    old: set[Condition],
) -> tuple[bool, int, bool]:
    """Rank conditions by how little is missing there: current, most methods, real data."""
    has = sum(name in _names(conditions[condition]) for name in names)
    return condition not in old, has, condition.data_kind == "real"


def _some(conditions: Sequence[Condition]) -> str:
    said = [
        f"{c.protocol} {c.protocol_digest[:8]}, {c.data_kind} data {c.data_digest[:8]}, {c.budget}"
        for c in conditions[:2]
    ]
    more = len(conditions) - len(said)
    return " and ".join(said) + (f" and {more} more" if more else "")


def _and(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
