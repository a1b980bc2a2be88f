"""What training goes without: every kind against its law, tables for seeds, parts left whole."""

from __future__ import annotations

from itertools import combinations, product
from math import prod, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from aqabench.protocol.library import load_dataset, load_protocol
from aqabench.protocol.load import load_model
from aqabench.protocol.mask_tables import shares
from aqabench.protocol.scenarios import masks_digest
from aqabench.protocol.schema import DatasetSpec, Protocol
from aqabench.protocol.training import redrawn, training_table

N = 20000
IDS = [f"v{i:05d}" for i in range(N)]
FISV, PERCEPIANO = load_dataset("fisv"), load_dataset("percepiano")
TABLES = (
    "{kind: rate, rate: 0.5}",
    "{kind: rate, rate: 0.5, law: exact}",
    "{kind: imbalanced, rates: [0.3, 0.5, 0.7]}",
    "{kind: single, modality: audio, share: 0.25}",
)
REDRAWN = ("{kind: u7}", "{kind: u6}", "{kind: size}", "{kind: bern, p: 0.3}")


def asked(training: str, dataset: DatasetSpec = FISV, streams: int = 3) -> Protocol:
    modalities = [m.name for m in dataset.modalities][:streams]
    return load_model(
        f"""
name: mine
version: 1
title: t
question: q
dataset: {dataset.name}
classes: [{dataset.classes[0].name}]
modalities: [{", ".join(modalities)}]
training: {training}
scenarios: [{{kind: subsets}}]
average: {{name: A, over: incomplete}}
""",
        Protocol,
    )


def table_of(
    training: str,
    part: str = "train",
    seed: int = 0,
    ids: list[str] | None = None,
    streams: int = 3,
) -> npt.NDArray[Any]:
    dataset = FISV if streams < 4 else PERCEPIANO
    own = IDS if ids is None else ids
    table = training_table(asked(training, dataset, streams), dataset, own, part, seed)
    assert table is not None
    return table


def within(found: float, expected: float, spread: float) -> bool:
    """Is a mean of N values with this standard deviation where it should be?

    Within 4 sigma, because there are some 200 such questions here, and one in 370 would leave 3
    sigma by chance; the laws themselves are held to 3 in test_mask_laws.py.
    """
    return abs(found - expected) <= 4 * spread / sqrt(N)


def pattern_shares(table: npt.NDArray[Any]) -> dict[tuple[bool, ...], float]:
    rows, counts = np.unique(table, axis=0, return_counts=True)
    return {
        tuple(row): count / len(table) for row, count in zip(rows.tolist(), counts, strict=True)
    }


@pytest.mark.parametrize("part", ["train", "val"])
@pytest.mark.parametrize("rate", [0.3, 0.5, 0.6667, 0.7])
def test_rate_hides_its_share_and_keeps_one(rate: float, part: str) -> None:
    found = shares(table_of(f"{{kind: rate, rate: {rate}}}", part))
    p = max((3 * (1 - rate) - 1) / 2, 0)  # 2 Bernoulli(p) beside the one that is kept
    assert within(found.realised, min(rate, 2 / 3), sqrt(2 * p * (1 - p)) / 3)
    assert within(found.complete, p**2, sqrt(p**2 * (1 - p**2)))
    assert found.by_size[0] == 0
    exact = shares(table_of(f"{{kind: rate, rate: {rate}, law: exact}}", part))
    sizes = [0, (1 - p) ** 2 * N, 2 * p * (1 - p) * N, p**2 * N]
    assert exact.by_size == pytest.approx(sizes, abs=1)


def test_rate_zero_is_complete_training() -> None:
    assert table_of("{kind: rate, rate: 0.0}").all()


@pytest.mark.parametrize(
    ("rates", "streams"), [((0.3, 0.5, 0.7), 3), ((0.0, 0.9), 2), ((0.8, 0.8, 0.2, 0.5), 4)]
)
def test_imbalanced_has_exact_counts(rates: tuple[float, ...], streams: int) -> None:
    table = table_of(f"{{kind: imbalanced, rates: {[*rates]}}}", streams=streams)
    left = prod(rates) / streams  # what would lose all is dealt to the single streams
    assert (~table).mean(0) == pytest.approx([r - left for r in rates], abs=2**streams / N)
    assert shares(table).complete == pytest.approx(prod(1 - r for r in rates), abs=1 / N)
    assert table.any(1).all()


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("part", ["train", "val"])
def test_single_exists_in_its_share_and_the_others_everywhere(share: float, part: str) -> None:
    table = table_of(f"{{kind: single, modality: audio, share: {share}}}", part)
    assert table[:, 1].sum() == share * N
    assert table[:, [0, 2]].all()


@pytest.mark.parametrize(
    ("training", "streams", "hidden", "complete"),
    [
        ("{kind: u7}", 3, 3 / 7, 1 / 7),
        ("{kind: u7}", 4, 7 / 15, 1 / 15),
        ("{kind: u6}", 3, 1 / 2, 0),
        ("{kind: u6}", 4, 1 / 2, 0),
        ("{kind: size}", 3, 1 / 3, 1 / 3),
        ("{kind: size}", 4, 3 / 8, 1 / 4),
        ("{kind: bern, p: 0.3}", 3, (0.3 - 0.027) / (1 - 0.027), 0.343 / (1 - 0.027)),
        ("{kind: bern, p: 0.7}", 4, (0.7 - 0.2401) / 0.7599, 0.0081 / 0.7599),
        ("{kind: bern, p: 0.0}", 3, 0, 1),
    ],
)
def test_redrawn_laws_hide_their_share(
    training: str, streams: int, hidden: float, complete: float
) -> None:
    """Both the drawn table and the law that each epoch calls."""
    dataset = FISV if streams == 3 else PERCEPIANO
    law = redrawn(asked(training, dataset, streams))
    assert law is not None
    epoch = law(N, np.random.default_rng(1))
    assert not np.array_equal(epoch, law(N, np.random.default_rng(2))) or hidden == 0
    for table in (table_of(training, streams=streams), epoch):
        found = shares(table)
        assert found.by_size[0] == 0
        assert within(found.realised, hidden, (~table).mean(1).std())
        assert within(found.complete, complete, sqrt(complete * (1 - complete)))


def test_every_subset_is_as_likely_under_u7_and_u6_and_by_its_size_under_size() -> None:
    every = [x for x in product((False, True), repeat=3) if any(x)]
    laws = {
        "u7": dict.fromkeys(every, 1 / 7),
        "u6": dict.fromkeys((x for x in every if not all(x)), 1 / 6),
        "size": {x: 1 / 3 if all(x) else 1 / 9 for x in every},
    }
    for kind, law in laws.items():
        found = pattern_shares(table_of(f"{{kind: {kind}}}"))
        assert set(found) == set(law)
        for pattern, p in law.items():
            assert within(found[pattern], p, sqrt(p * (1 - p))), (kind, pattern)


def test_u7_is_bern_of_a_half() -> None:
    first = pattern_shares(table_of("{kind: u7}"))
    second = pattern_shares(table_of("{kind: bern, p: 0.5}"))
    assert set(first) == set(second)
    for pattern, share in first.items():
        assert within(share, second[pattern], sqrt(2 * (1 / 7) * (6 / 7))), pattern


@pytest.mark.parametrize("training", TABLES)
def test_seed_s_gets_table_s_mod_tables(training: str) -> None:
    ids = IDS[:60]
    training = training.replace("}", ", tables: 3}")
    for part in ("train", "val"):
        drawn = [table_of(training, part, seed, ids) for seed in range(7)]
        for a, b in combinations(range(7), 2):
            assert np.array_equal(drawn[a], drawn[b]) == (a % 3 == b % 3), (a, b)
    one = training.replace("tables: 3", "tables: 1")
    assert np.array_equal(table_of(one, ids=ids, seed=0), table_of(one, ids=ids, seed=8))
    assert np.array_equal(table_of(one, ids=ids, seed=0), table_of(training, ids=ids, seed=3))


@pytest.mark.parametrize("training", REDRAWN)
def test_every_seed_of_a_redrawn_law_has_a_table_of_its_own(training: str) -> None:
    drawn = [table_of(training, seed=seed, ids=IDS[:60]) for seed in range(5)]
    assert all(not np.array_equal(a, b) for a, b in combinations(drawn, 2))


@pytest.mark.parametrize("training", [*TABLES, *REDRAWN, "complete"])
def test_test_is_always_complete_and_so_is_validation_of_a_redrawn_law(training: str) -> None:
    protocol = asked(training)
    for seed in (0, 1, 7):
        assert training_table(protocol, FISV, IDS[:9], "test", seed) is None
        val = training_table(protocol, FISV, IDS[:9], "val", seed)
        assert (val is None) == (training not in TABLES)
        train = training_table(protocol, FISV, IDS[:9], "train", seed)
        assert (train is None) == (training == "complete")
    assert (redrawn(protocol) is None) == (training not in REDRAWN)


@pytest.mark.parametrize("training", [*TABLES, *REDRAWN])
def test_tables_follow_the_sample_and_not_its_place(training: str) -> None:
    ids = IDS[:50]
    order = np.random.default_rng(3).permutation(50)
    shuffled = [ids[i] for i in order]
    first, again = table_of(training, ids=ids), table_of(training, ids=shuffled)
    assert np.array_equal(first[order], again)
    assert masks_digest({"": first}, ids) == masks_digest({"": again}, shuffled)


def test_what_a_stream_lacks_depends_on_which_it_is_and_on_the_data_set() -> None:
    audio = table_of("{kind: single, modality: audio, share: 0.5}", ids=IDS[:60])
    flow = table_of("{kind: single, modality: flow, share: 0.5}", ids=IDS[:60])
    assert not np.array_equal(audio[:, 1], flow[:, 2])
    other = FISV.model_copy(update={"name": "other"})
    protocol = asked(TABLES[0])
    tables = [training_table(protocol, data, IDS[:60], "train", 0) for data in (FISV, other)]
    assert not np.array_equal(*tables)


@pytest.mark.parametrize("name", ["fisv-train-missing", "percepiano-train-missing"])
def test_the_shipped_tables_are_those_of_their_seeds(name: str) -> None:
    question = load_protocol(name)
    ids = IDS[:300]
    tables = [
        training_table(question.protocol, question.dataset, ids, "train", seed)
        for seed in question.protocol.seeds
    ]
    assert all(table is not None and table.any(1).all() for table in tables)
    assert all(not np.array_equal(a, b) for a, b in combinations(tables, 2))
