"""The tables of ``aqabench protocol show``: shares that are hidden, and how streams are spoilt."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from statistics import fmean

from rich import box
from rich.console import JustifyMethod
from rich.table import Table as RichTable

from aqabench.protocol.grammar import (
    BernTraining,
    CorruptionScenario,
    ImbalancedTraining,
    RateTraining,
    SingleTraining,
    SwapScenario,
    TableTraining,
)
from aqabench.protocol.library import Asked
from aqabench.protocol.mask_tables import shares
from aqabench.protocol.noise_laws import changes_nothing
from aqabench.protocol.scenarios import Scenario, Table, columns, scenarios
from aqabench.protocol.schema import Protocol
from aqabench.protocol.training import training_table

MOST_TABLES = 4
"""Tables of training up to which each has a line; of more only their mean is shown."""
NUMBERS = frozenset({"level", "draws", "samples", "nominal", "realised", "complete"})
"""Headings of columns that stand on the right."""
DONE = {
    "gauss": "noise of standard deviation {level:g} is added",
    "channels": "{percent:g} % of the channels show their mean",
    "shift": "early or late by {level:g} step{s}",
    "freeze": "one step is repeated for {percent:g} % of the steps",
    "swap": "that of another sample",
    "scale": "distance from the mean times {level:g}",
}


def share_table(asked: Asked, tables: Mapping[str, Table]) -> RichTable:
    """Return the table of nominal and realised shares of the scenarios that hide something.

    Args:
        asked: the protocol.
        tables: scenario -> (n, M) bool.
    """
    every = scenarios(asked.protocol, asked.dataset)
    shown = _table("scenario", "draws", "nominal", "realised", "complete")
    for column, names in columns(asked.protocol, asked.dataset).items():
        if every[names[0]].corrupted:
            continue
        level = every[names[0]].level
        counted = _means([tables[name] for name in names])
        nominal = f"{fmean(level):.4f}" if level else "–"
        shown.add_row(column, str(len(names)), nominal, *counted)
    return shown


def training_tables(
    asked: Asked, ids: Mapping[str, Sequence[str]]
) -> dict[str, dict[tuple[int, ...], Table]]:
    """Return part -> seeds -> (n, M) bool, what the samples have; empty where that is everything.

    Seeds that share a table are together; of a law that is drawn anew only the first seed's draw is
    there.

    Args:
        asked: the protocol.
        ids: part -> ids, ``train`` and ``val``.
    """
    protocol, spec = asked.protocol, asked.protocol.training
    sharing: dict[int, tuple[int, ...]] = {}
    for seed in protocol.seeds if isinstance(spec, TableTraining) else protocol.seeds[:1]:
        number = seed % spec.tables if isinstance(spec, TableTraining) else 0
        sharing[number] = (*sharing.get(number, ()), seed)
    found: dict[str, dict[tuple[int, ...], Table]] = {}
    for part, own in ids.items():
        for _, seeds in sorted(sharing.items()):
            table = training_table(protocol, asked.dataset, own, part, seeds[0])
            if table is not None:
                found.setdefault(part, {})[seeds] = table
    return found


def training_shares(
    asked: Asked, tables: Mapping[str, Mapping[tuple[int, ...], Table]]
) -> RichTable:
    """Return the table of what training goes without; see :func:`training_tables`."""
    nominal = nominal_training(asked.protocol)
    said = "–" if nominal is None else f"{nominal:.4f}"
    shown = _table("part", "seeds", "samples", "nominal", "realised", "complete")
    for part, own in tables.items():
        groups = [(" ".join(map(str, seeds)), [table]) for seeds, table in own.items()]
        if len(own) > MOST_TABLES:
            groups = [(f"mean of {len(own)} tables", list(own.values()))]
        for seeds, drawn in groups:
            shown.add_row(part, seeds, str(len(drawn[0])), said, *_means(drawn))
    return shown


def nominal_training(protocol: Protocol) -> float | None:
    """Return the rate that training is called by; None where the protocol names none."""
    match protocol.training:
        case RateTraining(rate=rate):
            return rate
        case ImbalancedTraining(rates=rates):
            return fmean(rates)
        case SingleTraining(share=share):
            return (1 - share) / len(protocol.modalities)
        case BernTraining(p=p):
            return p
        case _:
            return None


def corruption_table(asked: Asked) -> RichTable:
    """Return what is done to streams: a line for each kind and level, with the streams."""
    shown = _table("kind", "level", "streams", "draws", "what is done")
    every = scenarios(asked.protocol, asked.dataset)
    grouped: dict[tuple[str, float, int], list[str]] = {}
    for names in columns(asked.protocol, asked.dataset).values():
        first = every[names[0]]
        if first.corrupted:
            key = (first.spec.kind, first.level[0], len(names))
            grouped.setdefault(key, []).append(_streams(first))
    for (kind, level, draws), streams in grouped.items():
        done = DONE[kind].format(level=level, percent=100 * level, s="s" * (level != 1))
        shown.add_row(
            kind,
            "–" if kind == "swap" else f"{level:g}",
            " ".join(streams),
            str(draws),
            "nothing" if changes_nothing(kind, level) else done,
        )
    return shown


def brief(asked: Asked, wanted: Collection[str] | None = None) -> list[str]:
    """Return the columns of a board in few lines: the levels of a corruption are said together.

    Args:
        asked: the protocol.
        wanted: only these columns; None for all.
    """
    every = scenarios(asked.protocol, asked.dataset)
    grouped: dict[int, list[Scenario]] = {}
    for column, names in columns(asked.protocol, asked.dataset).items():
        if wanted is None or column in wanted:
            first = every[names[0]]
            grouped.setdefault(id(first.spec), []).append(first)
    lines = []
    for own in grouped.values():
        spec = own[0].spec
        if isinstance(spec, CorruptionScenario | SwapScenario):
            streams = ", ".join(dict.fromkeys(map(_streams, own)))
            levels = ", ".join(dict.fromkeys(f"{s.level[0]:g}" for s in own))
            of = f" = {levels}" if isinstance(spec, CorruptionScenario) else ""
            lines.append(f"{spec.kind} {streams}{of}")
        else:
            lines.append(" ".join(s.column for s in own))
    return lines


def _streams(scenario: Scenario) -> str:
    """Return how the column of a corruption calls the streams it spoils."""
    return scenario.column.removeprefix(f"{scenario.spec.kind} ").split("=")[0]


def _means(tables: Sequence[Table]) -> tuple[str, str]:
    """Return the realised and the complete share, means over tables."""
    counted = [shares(table) for table in tables]
    return (
        f"{fmean(share.realised for share in counted):.4f}",
        f"{fmean(share.complete for share in counted):.4f}",
    )


def _table(*headings: str) -> RichTable:
    """Return an empty table."""
    table = RichTable(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for heading in headings:
        justify: JustifyMethod = "right" if heading in NUMBERS else "left"
        table.add_column(heading, overflow="fold", justify=justify)
    return table
