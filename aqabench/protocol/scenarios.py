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

from aqabench.protocol.grammar import (
    CorruptionScenario,
    FrameScenario,
    ImbalancedScenario,
    MixScenario,
    QuotaScenario,
    RateScenario,
    ScenarioSpec,
    SubsetsScenario,
    SwapScenario,
)
from aqabench.protocol.mask_laws import imbalanced, keep_one, keep_one_exact, quota
from aqabench.protocol.mask_tables import table_digest, table_generator
from aqabench.protocol.noise_laws import Damage, changes_nothing, damage
from aqabench.protocol.schema import DatasetSpec, Protocol
from aqabench.protocol.time_laws import block, frame_iid, mix, outage, prefix, rate_t, suffix

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
        corrupted: the modalities that a corruption spoils.
    """

    name: str
    column: str
    spec: ScenarioSpec
    level: tuple[float, ...] = ()
    draw: int = 0
    shown: tuple[bool, ...] | None = None
    corrupted: tuple[str, ...] = ()

    @property
    def timed(self) -> bool:
        """Are steps inside the samples missing, not whole modalities?"""
        return isinstance(self.spec, FrameScenario | MixScenario)

    @property
    def complete(self) -> bool:
        """Does it leave everything as it is?"""
        if self.shown is not None:
            return all(self.shown)
        if self.corrupted:
            return changes_nothing(self.spec.kind, *self.level)
        return not any(self.level) and not isinstance(self.spec, MixScenario)


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
        if isinstance(spec, CorruptionScenario | SwapScenario):
            found |= _corruptions(spec, protocol, dataset)
            continue
        levels: tuple[float | tuple[float, ...], ...] = spec.rates
        for rates in levels:
            level = rates if isinstance(rates, tuple) else (rates,)
            of = f" {_join(spec.shown, protocol, dataset)}" if isinstance(spec, MixScenario) else ""
            column = f"{spec.kind}{of}={','.join(f'{rate:g}' for rate in level)}"
            drawn = any(level) and spec.kind not in ("prefix", "suffix")
            for draw in range(spec.draws if drawn else 1):
                name = f"{column}/{draw}"
                found[name] = Scenario(name, column, spec, level, draw)
    return found


def _corruptions(
    spec: CorruptionScenario | SwapScenario, protocol: Protocol, dataset: DatasetSpec
) -> dict[str, Scenario]:
    """Return the scenarios of a corruption: target by target, level by level, draw by draw."""
    found: dict[str, Scenario] = {}
    levels = spec.levels if isinstance(spec, CorruptionScenario) else (1.0,)
    for title, targets in _targets(spec.on, protocol, dataset).items():
        for level in levels:
            stem = f"{spec.kind} {title}"
            column = f"{stem}={level:g}" if isinstance(spec, CorruptionScenario) else stem
            drawn = spec.kind != "scale" and not changes_nothing(spec.kind, level)
            for draw in range(spec.draws if drawn else 1):
                name = f"{column}/{draw}"
                found[name] = Scenario(name, column, spec, (level,), draw, corrupted=targets)
    return found


def _targets(
    on: Sequence[str], protocol: Protocol, dataset: DatasetSpec
) -> dict[str, tuple[str, ...]]:
    """Return how a column calls what is spoilt -> the modalities."""
    found: dict[str, tuple[str, ...]] = {}
    for word in on:
        if word == "all":
            found[word] = protocol.modalities
        else:
            for m in protocol.modalities if word == "each" else (word,):
                found[_join([m], protocol, dataset)] = (m,)
    return found


def true_rate(scenario: Scenario, protocol: Protocol) -> float:
    """Return the rate of a ``rate`` or ``quota`` scenario; a label above 1 - 1/M means that."""
    return min(scenario.level[0], 1 - 1 / len(protocol.modalities))


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


def all_subsets(protocol: Protocol, dataset: DatasetSpec) -> dict[str, tuple[bool, ...]]:
    """Return every non-empty subset of the modalities, whether it is a scenario or not."""
    return _subsets(SubsetsScenario(kind="subsets"), protocol, dataset)


def availability(
    protocol: Protocol, dataset: DatasetSpec, ids: Sequence[str], part: str = "test"
) -> dict[str, Table]:
    """Return scenario -> (n, M) bool for the samples ``ids``: whole modalities that are missing.

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
        if not scenario.timed and not scenario.corrupted
    }


def observation(
    protocol: Protocol,
    dataset: DatasetSpec,
    ids: Sequence[str],
    lengths: Sequence[int],
    part: str = "test",
) -> dict[str, Table]:
    """Return timed scenario -> (sum of lengths, M) bool, the samples one after the other.

    Args:
        protocol: what is asked.
        dataset: on which data set.
        ids: (n,) sample ids in any order.
        lengths: (n,) clips of each.
        part: as in :func:`availability`.
    """
    return {
        name: _time_table(scenario, protocol, dataset, ids, lengths, part)
        for name, scenario in scenarios(protocol, dataset).items()
        if scenario.timed
    }


@dataclass(frozen=True)
class Corruption:
    """One drawn table of a corruption, and the scenarios that show some of it.

    Attributes:
        damage: of every modality that one of the scenarios spoils.
        draw: number of the table drawn at this level.
        targets: scenario -> the modalities that it shows spoilt; the others are as they are.
    """

    damage: Damage
    draw: int
    targets: Mapping[str, tuple[str, ...]]


def corruptions(
    protocol: Protocol,
    dataset: DatasetSpec,
    ids: Sequence[str],
    lengths: Sequence[int],
    part: str = "test",
) -> list[Corruption]:
    """Return the corruptions of a part, each with all its scenarios, so that these share work.

    Args:
        protocol: what is asked.
        dataset: on which data set.
        ids: (n,) sample ids in any order.
        lengths: (n,) clips of each.
        part: as in :func:`availability`.
    """
    grouped: dict[tuple[str, float, int], dict[str, tuple[str, ...]]] = {}
    for name, scenario in scenarios(protocol, dataset).items():
        if scenario.corrupted:
            key = (scenario.spec.kind, scenario.level[0], scenario.draw)
            grouped.setdefault(key, {})[name] = scenario.corrupted
    widths = {m.name: m.width for m in dataset.modalities}
    found = []
    for (kind, level, draw), targets in grouped.items():
        spoilt = {m for own in targets.values() for m in own}
        chosen = {m: widths[m] for m in protocol.modalities if m in spoilt}
        drawn = damage(kind, level, chosen, ids, lengths, dataset.name, part, draw)
        found.append(Corruption(drawn, draw, targets))
    return found


def _time_table(
    scenario: Scenario,
    protocol: Protocol,
    dataset: DatasetSpec,
    ids: Sequence[str],
    lengths: Sequence[int],
    part: str,
) -> Table:
    count, spec, level = len(protocol.modalities), scenario.spec, scenario.level[0]
    rng = table_generator(dataset.name, part, spec.kind, level, scenario.draw)
    order = sorted(range(len(ids)), key=lambda i: ids[i])
    clips = np.asarray(lengths, dtype=np.int64)[order]
    if isinstance(spec, MixScenario):
        table = mix(clips, [m in spec.shown for m in protocol.modalities], level, rng)
    elif spec.kind == "prefix" or spec.kind == "suffix":
        table = (prefix if spec.kind == "prefix" else suffix)(clips, count, level)
    else:
        laws = {"frame-iid": frame_iid, "rate-t": rate_t, "block": block, "outage": outage}
        table = laws[spec.kind](clips, count, level, rng)
    pieces = np.split(table, np.cumsum(clips)[:-1])
    return np.concatenate([pieces[k] for k in np.argsort(order, kind="stable")])


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
        case _:
            raise AssertionError(f"{spec.kind} hides steps, not whole modalities")
    place = np.argsort(np.argsort(np.asarray(ids, dtype=str), kind="stable"), kind="stable")
    return table[place]


def masks_digest(
    tables: Mapping[str, Table], ids: Sequence[str], lengths: Sequence[int] | None = None
) -> str:
    """Return sha256 over all tables of a part, in their order; equal for any order of the ids.

    Args:
        tables: of :func:`availability`, or with ``lengths`` of :func:`observation`.
        ids: (n,) sample ids.
        lengths: (n,) clips of each, for time tables.

    Returns:
        64 hexadecimal digits, or an empty text where there is no table.
    """
    if not tables:
        return ""
    order = sorted(range(len(ids)), key=lambda i: ids[i])
    beside = np.concatenate(list(tables.values()), axis=1)  # (n or clips, S * M)
    names = [ids[i] for i in order]
    if lengths is None:
        return table_digest(beside[order], names)
    pieces = np.split(beside, np.cumsum(lengths)[:-1])
    clips = [int(lengths[i]) for i in order]
    return table_digest(np.concatenate([pieces[i] for i in order]), names, clips)


def averaged_scenarios(protocol: Protocol, dataset: DatasetSpec) -> tuple[str, ...]:
    """Return the scenarios that enter the protocol's headline average."""
    every = scenarios(protocol, dataset)
    if protocol.average.over == "all":
        return tuple(every)
    return tuple(name for name, scenario in every.items() if not scenario.complete)


def compared_scenarios(protocol: Protocol, dataset: DatasetSpec) -> tuple[str, ...]:
    """Return the scenarios by whose mean Spearman the rules val and oracle compare epochs."""
    every = scenarios(protocol, dataset)
    if protocol.criterion == "mean":
        return tuple(every)
    return tuple(name for name, scenario in every.items() if scenario.complete)


def _subsets(
    spec: SubsetsScenario, protocol: Protocol, dataset: DatasetSpec
) -> dict[str, tuple[bool, ...]]:
    names: dict[str, tuple[bool, ...]] = {}
    for size in range(1, len(protocol.modalities) + 1):
        if spec.sizes is not None and size not in spec.sizes:
            continue
        for subset in combinations(protocol.modalities, size):
            names[_join(subset, protocol, dataset)] = tuple(
                m in subset for m in protocol.modalities
            )
    return names


def _join(subset: Sequence[str], protocol: Protocol, dataset: DatasetSpec) -> str:
    """Return the name of a subset: letters in a row, longer symbols with a sign between them."""
    symbols = {m.name: m.symbol for m in dataset.modalities}
    short = all(len(symbols[m]) == 1 for m in protocol.modalities)
    return ("" if short else "+").join(symbols[m] for m in subset)
