"""Properties of the laws by way of any protocol: nobody is left with nothing, rows follow ids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations, product
from math import comb, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from protocol_strategies import asked

from aqabench.protocol.grammar import (
    BernTraining,
    ImbalancedScenario,
    ImbalancedTraining,
    MixScenario,
    QuotaScenario,
    RateScenario,
    RateTraining,
    RedrawnTraining,
    SingleTraining,
    TableTraining,
)
from aqabench.protocol.library import Asked
from aqabench.protocol.mask_laws import QUOTAS
from aqabench.protocol.scenarios import availability, corruptions, observation, scenarios
from aqabench.protocol.training import training_table

Table = npt.NDArray[Any]
Law = Mapping[tuple[bool, ...], float]
"""Pattern -> probability."""
THOROUGH = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SIGMAS = 5
"""Not 3: of the hundreds of random tables that are looked at, some lie beyond that by chance."""


def every_table(question: Asked, ids: list[str], lengths: list[int]) -> dict[str, list[Table]]:
    """Return what is drawn -> its rows, sample by sample; swaps are told by the partner's id."""
    protocol, dataset = question.protocol, question.dataset
    found: dict[str, list[Table]] = {}
    for part in ("test", "val"):
        for name, table in availability(protocol, dataset, ids, part).items():
            found[f"{part} {name}"] = list(table)
        for name, table in observation(protocol, dataset, ids, lengths, part).items():
            found[f"{part} {name}"] = np.split(table, np.cumsum(lengths)[:-1])
        for corruption in corruptions(protocol, dataset, ids, lengths, part):
            damage = corruption.damage
            for m, table in damage.tables.items():
                rows = np.asarray(ids)[table] if damage.kind == "swap" else table
                found[f"{part} {damage.kind} {damage.level} {corruption.draw} {m}"] = list(rows)
    for part, seed in product(("train", "val", "test"), (0, 1)):
        drawn = training_table(protocol, dataset, ids, part, seed)
        if drawn is not None:
            found[f"training {part} {seed}"] = list(drawn)
    return found


def samples(draw: st.DataObject, most: int = 20) -> tuple[list[str], list[int]]:
    """Return ids in any order, and a number of clips for each."""
    ids = draw.draw(st.permutations([f"s{i}" for i in range(draw.draw(st.integers(2, most)))]))
    lengths = st.lists(st.integers(1, 9), min_size=len(ids), max_size=len(ids))
    return ids, draw.draw(lengths)


@THOROUGH
@given(asked(), st.data())
def test_no_sample_is_left_with_nothing(question: Asked, draw: st.DataObject) -> None:
    ids, lengths = samples(draw)
    count = len(question.protocol.modalities)
    every = scenarios(question.protocol, question.dataset)
    for name, rows in every_table(question, ids, lengths).items():
        scenario = every.get(name.split(" ", 1)[1])
        assert len(rows) == len(ids)
        if scenario is None and not name.startswith("training"):
            continue  # a corruption hides nothing
        timed = scenario is not None and scenario.timed
        for row, clips in zip(rows, lengths, strict=True):
            assert row.shape == ((clips, count) if timed else (count,))
            assert row.any(), name


@THOROUGH
@given(asked(), st.data())
def test_rows_follow_the_ids(question: Asked, draw: st.DataObject) -> None:
    ids, lengths = samples(draw)
    order = draw.draw(st.permutations(range(len(ids))))
    first = every_table(question, ids, lengths)
    again = every_table(question, [ids[i] for i in order], [lengths[i] for i in order])
    assert list(first) == list(again)
    for name, rows in first.items():
        for i, row in zip(order, again[name], strict=True):
            assert np.array_equal(rows[i], row), name


def drawn_kinds(question: Asked) -> Iterator[tuple[str, int]]:
    """Yield the stem of a name and the number of draws, where a law draws something."""
    one = len(question.protocol.modalities) == 1
    for scenario in scenarios(question.protocol, question.dataset).values():
        kind = scenario.spec.kind
        nothing = ("subsets", "prefix", "suffix", "scale")
        fixed = one and kind in ("rate", "rate-t", "imbalanced")
        if scenario.complete or kind in nothing or fixed or scenario.draw:
            continue
        if not scenario.corrupted:
            yield scenario.name.removesuffix("/0"), scenario.spec.draws  # type: ignore[union-attr]


@THOROUGH
@given(asked(plain=True))
def test_draws_and_parts_have_tables_of_their_own(question: Asked) -> None:
    ids, lengths = [f"s{i}" for i in range(60)], [9] * 60
    found = every_table(question, ids, lengths)
    for stem, draws in drawn_kinds(question):
        names = [f"{part} {stem}/{draw}" for part in ("test", "val") for draw in range(draws)]
        for a, b in combinations(names, 2):
            if a in found and b in found:
                assert not np.array_equal(found[a], found[b]), (a, b)
    spoilt: dict[str, list[str]] = {}
    for name in found:
        kind, *rest = name.split(" ")[1:]
        if kind in ("gauss", "channels", "shift", "freeze", "swap"):
            level, _, m = rest
            spoilt.setdefault(f"{kind} {level} {m}", []).append(name)
    training = [name for name in found if name.startswith("training")]
    for names in (*spoilt.values(), training):
        for a, b in combinations(names, 2):
            assert not np.array_equal(found[a], found[b]), (a, b)


def weighted(law: Law) -> Law:
    total = sum(law.values())
    return {pattern: weight / total for pattern, weight in law.items()}


def keep_one_law(count: int, rate: float) -> Law:
    """One of M is kept; each of the others is on with p."""
    p = min(max((count * (1 - rate) - 1) / (count - 1), 0), 1) if count > 1 else 1.0
    return {
        pattern: sum(pattern) / count * p ** (sum(pattern) - 1) * (1 - p) ** (count - sum(pattern))
        for pattern in product((False, True), repeat=count)
        if any(pattern)
    }


def redrawn_law(kind: str, count: int, p: float = 0.5) -> Law:
    """U7, U6, size and bern, for any number of streams."""
    weight = {
        "u7": lambda shown: 1.0,
        "u6": lambda shown: float(shown < count),
        "size": lambda shown: 1 / comb(count, shown),
        "bern": lambda shown: p ** (count - shown) * (1 - p) ** shown,
    }[kind]
    patterns = [x for x in product((False, True), repeat=count) if any(x)]
    return weighted({pattern: weight(sum(pattern)) for pattern in patterns})


def follows(table: Table, law: Law) -> bool:
    """Do the pattern shares, the hidden and the complete share lie within their spread?"""
    n, count = table.shape
    wanted = {pattern: p for pattern, p in law.items() if p > 0}
    found = dict.fromkeys(wanted, 0)
    for row in map(tuple, table.tolist()):
        if row not in wanted:
            return False
        found[row] += 1
    hidden = {pattern: 1 - sum(pattern) / count for pattern in wanted}
    mean = sum(p * hidden[x] for x, p in wanted.items())
    spread = sqrt(max(sum(p * hidden[x] ** 2 for x, p in wanted.items()) - mean**2, 0) / n)
    realised = sum(found[x] * hidden[x] for x in wanted) / n
    shares = all(
        abs(found[x] / n - p) <= SIGMAS * sqrt(p * (1 - p) / n) + 1 / n for x, p in wanted.items()
    )
    return shares and abs(realised - mean) <= SIGMAS * spread + 1 / n


def exactly(table: Table, rate: float) -> bool:
    """Are the counts of each size those of the law, and equal within a size?"""
    n, count = table.shape
    for shown in range(1, count + 1):
        law = keep_one_law(count, rate)
        expected = n * sum(p for pattern, p in law.items() if sum(pattern) == shown)
        rows = table[table.sum(1) == shown]
        each = np.unique(rows, axis=0, return_counts=True)[1]
        if abs(len(rows) - expected) >= 1 + 1e-6 or (len(each) and each.max() - each.min() > 1):
            return False
    return True


def unequally(table: Table, rates: tuple[float, ...]) -> bool:
    """Is each stream hidden at its rate, less its part of what would lose all?"""
    n, count = table.shape
    expected = np.asarray(rates) - np.prod(rates) / count
    return bool((np.abs((~table).mean(0) - expected) <= 2**count / n).all())


N = 3000
IDS = [f"s{i}" for i in range(N)]


@THOROUGH
@given(asked())
def test_whole_streams_are_hidden_by_the_stated_law(question: Asked) -> None:
    count = len(question.protocol.modalities)
    tables = availability(question.protocol, question.dataset, IDS)
    for name, scenario in scenarios(question.protocol, question.dataset).items():
        match scenario.spec:
            case RateScenario(law="exact"):
                assert exactly(tables[name], scenario.level[0]), name
            case RateScenario():
                assert follows(tables[name], keep_one_law(count, scenario.level[0])), name
            case QuotaScenario():
                sizes = np.bincount(tables[name].sum(1), minlength=4)[1:]
                wanted = np.asarray(QUOTAS[round(scenario.level[0], 9)])
                assert sizes.sum() == N
                assert (abs(sizes - N * wanted) < 1).all(), name
            case ImbalancedScenario():
                assert unequally(tables[name], scenario.level), name


@THOROUGH
@given(asked(least=2), st.integers(0, 40))
def test_training_goes_without_by_the_stated_law(question: Asked, seed: int) -> None:
    spec, count = question.protocol.training, len(question.protocol.modalities)
    for part in ("train", "val"):
        table = training_table(question.protocol, question.dataset, IDS, part, seed)
        if spec == "complete" or (part == "val" and not isinstance(spec, TableTraining)):
            assert table is None
            continue
        assert table is not None
        match spec:
            case RateTraining(law="exact"):
                assert exactly(table, spec.rate)
            case RateTraining():
                assert follows(table, keep_one_law(count, spec.rate))
            case ImbalancedTraining():
                assert unequally(table, spec.rates)
            case SingleTraining():
                scarce = question.protocol.modalities.index(spec.modality)
                assert abs(table[:, scarce].sum() - N * spec.share) <= 0.5 + 1e-6
                assert np.delete(table, scarce, axis=1).all()
            case RedrawnTraining():
                assert follows(table, redrawn_law(spec.kind, count))
            case BernTraining():
                assert follows(table, redrawn_law("bern", count, spec.p))


@THOROUGH
@given(asked(), st.data())
def test_steps_are_hidden_by_the_stated_law(question: Asked, draw: st.DataObject) -> None:
    lengths = draw.draw(st.lists(st.integers(2, 30), min_size=400, max_size=400))
    names, count = question.protocol.modalities, len(question.protocol.modalities)
    tables = observation(question.protocol, question.dataset, IDS[:400], lengths)
    for name, scenario in scenarios(question.protocol, question.dataset).items():
        if not scenario.timed:
            continue
        table, rate, kind = tables[name], scenario.level[0], scenario.spec.kind
        hidden = np.add.reduceat(~table, np.cumsum([0, *lengths[:-1]]))  # (n, M) steps
        if kind in ("block", "outage", "prefix", "suffix"):
            all_but = 0 if kind == "block" and count > 1 else 1
            for own, clips in zip(hidden, lengths, strict=True):
                wanted = min(round(round(rate * clips, 9)), clips - all_but)
                assert (abs(own - wanted) <= (kind == "block" and wanted == clips)).all(), name
        elif kind == "rate-t":
            assert follows(table, keep_one_law(count, rate)), name
        else:
            shown = [True] * count
            if isinstance(scenario.spec, MixScenario):
                shown = [m in scenario.spec.shown for m in names]
            assert not table[:, ~np.asarray(shown)].any(), name
            slots = sum(lengths) * sum(shown)
            again = sum(rate ** (clips * sum(shown)) for clips in lengths)  # empty ones show one
            spread = sqrt(rate * (1 - rate) * slots + again)
            missed = (~table[:, shown]).sum() - (rate * slots - again)
            assert abs(missed) <= SIGMAS * spread + 1e-6, name


def test_five_spreads_are_enough_to_tell_laws_apart() -> None:
    rng = np.random.default_rng(0)
    table = rng.random((N, 3)) < 0.5
    table = table[table.any(1)]
    assert follows(table, redrawn_law("bern", 3, 0.5))
    assert follows(table, redrawn_law("u7", 3))
    for wrong in (redrawn_law("bern", 3, 0.4), redrawn_law("size", 3), keep_one_law(3, 0.5)):
        assert not follows(table, wrong)
    assert not exactly(table, 0.4286)
    assert not unequally(table, (0.5, 0.5, 0.4))
    assert sum(keep_one_law(4, 0.3).values()) == pytest.approx(1)
