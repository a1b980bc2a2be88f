"""The drawings of ``aqabench protocol show``: one character for a sample, a step or a channel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from aqabench.protocol.library import Asked
from aqabench.protocol.noise_laws import Damage, changes_nothing
from aqabench.protocol.scenarios import Corruption, Table, columns, scenarios

T = TypeVar("T")
SHOWN, HIDDEN, FROZEN = "█", "·", "="
EARLY, LATE = "<", ">"
DRAWN = 24
"""Characters in a line."""
MOST_DRAWN = 8
WHAT = {
    "channels": f"channels of one sample, {SHOWN} as they are, {HIDDEN} mean",
    "shift": f"samples, {EARLY} early, {LATE} late",
    "freeze": f"steps of one sample, {SHOWN} as they are, {FROZEN} frozen",
    "swap": "numbers of the samples shown in place of the first ones, counted from 0",
}
"""Kind -> what a character of its drawing is."""


def symbols(asked: Asked) -> dict[str, str]:
    """Return name -> symbol of the protocol's modalities."""
    used = asked.protocol.modalities
    return {m.name: m.symbol for m in asked.dataset.modalities if m.name in used}


def drawings(asked: Asked, tables: Mapping[str, Table], clips: int) -> dict[str, str]:
    """Return column -> picture of its first table; of many levels some, the ends among them.

    The first samples are drawn, or steps spread over the first sample.  Subsets are the same for
    every sample and are not drawn.

    Args:
        asked: the protocol.
        tables: scenario -> (n, M) bool, or (clips of all samples, M) bool.
        clips: length of the first sample.
    """
    every = scenarios(asked.protocol, asked.dataset)
    firsts = {
        column: every[names[0]]
        for column, names in columns(asked.protocol, asked.dataset).items()
        if every[names[0]].shown is None and not every[names[0]].corrupted
    }
    pictures = {}
    for column in spread(list(firsts), MOST_DRAWN):
        table = tables[firsts[column].name]
        rows = spread(range(clips), DRAWN) if firsts[column].timed else range(len(table))[:DRAWN]
        pictures[column] = picture(table[list(rows)], list(symbols(asked).values()))
    return pictures


def training_drawings(asked: Asked, tables: Mapping[tuple[int, ...], Table]) -> dict[str, str]:
    """Return a picture of the first training samples under each table, or some of many.

    Args:
        asked: the protocol.
        tables: seeds -> (n, M) bool.
    """
    return {
        f"seed{'s' * (len(seeds) > 1)} {' '.join(map(str, seeds))}": picture(
            tables[seeds][:DRAWN], list(symbols(asked).values())
        )
        for seeds in spread(list(tables), MOST_DRAWN)
    }


def damage_drawings(
    asked: Asked, corruptions: Sequence[Corruption], clips: int
) -> dict[str, tuple[str, str]]:
    """Return kind and level -> what one character is, and a picture of the first table.

    Each kind is drawn at its strongest level; noise and scaling are no pictures.

    Args:
        asked: the protocol.
        corruptions: of a part.
        clips: length of the first sample.
    """
    strongest: dict[str, Damage] = {}
    for corruption in corruptions:
        damage = corruption.damage
        if corruption.draw == 0 and not changes_nothing(damage.kind, damage.level):
            held = strongest.get(damage.kind)
            if held is None or damage.level > held.level:
                strongest[damage.kind] = damage
    short, found = symbols(asked), {}
    for kind, damage in strongest.items():
        if kind in WHAT:
            title = kind if kind == "swap" else f"{kind}={damage.level:g}"
            lines = {short[m]: _line(damage, table, clips) for m, table in damage.tables.items()}
            found[title] = (WHAT[kind], _beside(lines))
    return found


def picture(table: Table, names: Sequence[str]) -> str:
    """Return one line per modality with one character for each row of the table.

    Args:
        table: (n, M) bool.
        names: (M,) how the lines begin.
    """
    return _beside(
        {
            name: "".join(SHOWN if on else HIDDEN for on in row)
            for name, row in zip(names, table.T, strict=True)
        }
    )


def spread(items: Sequence[T], most: int) -> Sequence[T]:
    """Return at most ``most`` items at even distances, the first and the last among them."""
    if len(items) <= most:
        return items
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def _line(damage: Damage, table: npt.NDArray[Any], clips: int) -> str:
    """Return what is drawn of one modality.

    Args:
        damage: of which kind.
        table: (n, …), the table of the modality.
        clips: length of the first sample.
    """
    match damage.kind:
        case "channels":
            kept = table[0, list(spread(range(table.shape[1]), DRAWN))]
            return "".join(SHOWN if on else HIDDEN for on in kept)
        case "shift":
            return "".join(LATE if steps > 0 else EARLY for steps in table[:DRAWN])
        case "freeze":
            first, count = (int(number) for number in table[0])
            steps = np.asarray(spread(range(clips), DRAWN))
            frozen = (steps >= first) & (steps < first + count)
            return "".join(FROZEN if on else SHOWN for on in frozen)
        case "swap":
            wide = len(str(len(table) - 1)) + 1
            return "".join(f"{row:{wide}}" for row in table[: DRAWN // wide])
        case _:
            return ""


def _beside(lines: Mapping[str, str]) -> str:
    width = max(map(len, lines))
    return "\n".join(f"{name:<{width}} {line}" for name, line in lines.items())
