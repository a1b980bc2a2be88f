"""From the scenarios of a protocol to tables of what they show: data, not a random draw in a loop.

Every method is tested under the same tables, so that all comparisons are paired.  Tables are drawn
over sorted sample ids from named seeds (:mod:`aqabench.protocol.mask_tables`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

import numpy as np
import numpy.typing as npt

from aqabench.protocol.mask_laws import imbalanced, keep_one, keep_one_exact, quota
from aqabench.protocol.mask_tables import table_digest, table_generator
from aqabench.protocol.schema import (
    DatasetSpec,
    ImbalancedScenario,
    Protocol,
    QuotaScenario,
    RateScenario,
    ScenarioSpec,
    SubsetsScenario,
)

Table = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Scenario:
    """One way of showing the test samples.

    Attributes:
        name: unique in the protocol, e.g. ``va`` or ``rate=0.3/2``.
        column: what a board shows it under; the draws of one level share it.
        spec: where in the protocol it comes from.
        level: nominal rate, or one per modality; empty for a subset.
        draw: number of the table drawn at this level.
        shown: for a subset, whether each modality is shown; else None.
    """

    name: str
    column: str
    spec: ScenarioSpec
    level: tuple[float, ...] = ()
    draw: int = 0
    shown: tuple[bool, ...] | None = None

    @property
    def complete(self) -> bool:
        """Does it hide nothing?"""
        return all(self.shown) if self.shown is not None else not any(self.level)


def scenarios(protocol: Protocol, dataset: DatasetSpec) -> dict[str, Scenario]:
    """Return the scenarios of a protocol by name, in its order.

    Subsets come by size, then in the order of the modalities: v, a, f, va, vf, af, vaf; rates in
    the order they are written, each with its draws.
    """
    found: dict[str, Scenario] = {}
    for spec in protocol.scenarios:
        if isinstance(spec, SubsetsScenario):
            for name, shown in _subsets(spec, protocol, dataset).items():
                found[name] = Scenario(name, name, spec, shown=shown)
            continue
        levels: tuple[float | tuple[float, ...], ...] = spec.rates
        for rates in levels:
            level = rates if isinstance(rates, tuple) else (rates,)
            column = f"{spec.kind}={','.join(f'{rate:g}' for rate in level)}"
            for draw in range(spec.draws if any(level) else 1):
                name = f"{column}/{draw}"
                found[name] = Scenario(name, column, spec, level, draw)
    return found


def columns(protocol: Protocol, dataset: DatasetSpec) -> dict[str, tuple[str, ...]]:
    """Return what a board shows: column -> names of its scenarios."""
    found: dict[str, tuple[str, ...]] = {}
    for scenario in scenarios(protocol, dataset).values():
        found[scenario.column] = (*found.get(scenario.column, ()), scenario.name)
    return found


def subset_names(protocol: Protocol, dataset: DatasetSpec) -> dict[str, tuple[bool, ...]]:
    """Return the subsets among the scenarios: name -> whether each modality is shown."""
    every = scenarios(protocol, dataset)
    return {name: s.shown for name, s in every.items() if s.shown is not None}


def availability(
    protocol: Protocol, dataset: DatasetSpec, ids: Sequence[str], part: str = "test"
) -> dict[str, Table]:
    """Return scenario -> (n, M) bool for the samples ``ids``.

    Args:
        protocol: what is asked.
        dataset: on which data set.
        ids: sample ids in any order; a sample gets the row of its place among the sorted ids.
        part: the part of the data they are, e.g. ``test`` or ``val``; parts have tables of their
            own.
    """
    return {
        name: scenario_table(scenario, protocol, dataset, ids, part)
        for name, scenario in scenarios(protocol, dataset).items()
    }


def scenario_table(
    scenario: Scenario, protocol: Protocol, dataset: DatasetSpec, ids: Sequence[str], part: str
) -> Table:
    """Return the (n, M) bool table of one scenario; see :func:`availability`."""
    count, modalities = len(ids), len(protocol.modalities)
    spec = scenario.spec
    if scenario.shown is not None:
        return np.tile(np.asarray(scenario.shown, dtype=bool), (count, 1))
    exact = isinstance(spec, RateScenario) and spec.law == "exact"
    kind = "rate-exact" if exact else spec.kind
    rng = table_generator(dataset.name, part, kind, fmean(scenario.level), scenario.draw)
    match spec:
        case RateScenario():
            law = keep_one_exact if exact else keep_one
            table = law(count, modalities, scenario.level[0], rng)
        case QuotaScenario():
            table = quota(count, modalities, scenario.level[0], rng)
        case ImbalancedScenario():
            table = imbalanced(count, scenario.level, rng)
    place = np.argsort(np.argsort(np.asarray(ids, dtype=str), kind="stable"), kind="stable")
    return table[place]


def masks_digest(tables: Mapping[str, Table], ids: Sequence[str]) -> str:
    """Return sha256 over all tables of a part, in their order; equal for any order of the ids."""
    order = sorted(range(len(ids)), key=lambda i: ids[i])
    side_by_side = np.concatenate(list(tables.values()), axis=1)[order]  # (n, S * M)
    return table_digest(side_by_side, [ids[i] for i in order])


def averaged_scenarios(protocol: Protocol, dataset: DatasetSpec) -> tuple[str, ...]:
    """Return the scenarios that enter the protocol's headline average."""
    every = scenarios(protocol, dataset)
    if protocol.average.over == "all":
        return tuple(every)
    return tuple(name for name, scenario in every.items() if not scenario.complete)


def _subsets(
    spec: SubsetsScenario, protocol: Protocol, dataset: DatasetSpec
) -> dict[str, tuple[bool, ...]]:
    symbols = {m.name: m.symbol for m in dataset.modalities}
    # letters in a row are read at sight; longer symbols need something between them
    between = "" if all(len(symbols[m]) == 1 for m in protocol.modalities) else "+"
    names: dict[str, tuple[bool, ...]] = {}
    for size in range(1, len(protocol.modalities) + 1):
        if spec.sizes is not None and size not in spec.sizes:
            continue
        for subset in combinations(protocol.modalities, size):
            name = between.join(symbols[m] for m in subset)
            names[name] = tuple(m in subset for m in protocol.modalities)
    return names
