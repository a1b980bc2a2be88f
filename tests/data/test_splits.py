"""The validation part: a fixed rule that no order of a list can change."""

from __future__ import annotations

import numpy as np
import pytest

from aqabench.data.splits import split_rows, validation_part
from aqabench.protocol.schema import SplitSpec, ValidationSpec
from tests.helpers import small_data, small_spec


def _part(ids: list[str], scores: np.ndarray, **changes: object) -> set[str]:
    spec = ValidationSpec(**changes)  # type: ignore[arg-type]
    held = validation_part(ids, scores, spec, "fisv", "TES")
    return {i for i, h in zip(ids, held, strict=True) if h}


def test_the_share_and_the_strata_are_kept() -> None:
    rng = np.random.default_rng(0)
    ids, scores = [str(i) for i in range(400)], rng.normal(30, 6, 400)
    chosen = _part(ids, scores)
    assert len(chosen) == 60
    rank = np.argsort(np.argsort(scores))
    strata = np.bincount([rank[int(i)] // 80 for i in chosen], minlength=5)
    assert strata.tolist() == [12] * 5


def test_the_order_of_the_list_does_not_matter() -> None:
    rng = np.random.default_rng(1)
    ids, scores = [f"v{i}" for i in range(101)], rng.normal(size=101).round(1)
    order = rng.permutation(101)
    assert _part(ids, scores) == _part([ids[i] for i in order], scores[order])


@pytest.mark.parametrize("count", [7, 33, 101, 340])
def test_the_number_is_the_rounded_share(count: int) -> None:
    scores = np.random.default_rng(2).normal(size=count)
    assert len(_part([str(i) for i in range(count)], scores)) == round(0.15 * count)


def test_another_seed_draws_other_videos() -> None:
    ids, scores = [str(i) for i in range(400)], np.arange(400.0)
    assert _part(ids, scores) != _part(ids, scores, seed=1)


def test_parts_are_disjoint_and_test_is_untouched() -> None:
    spec = small_spec(train=40)
    data = small_data(spec)
    parts = split_rows(data, spec.classes[0], SplitSpec())
    assert set(parts["train"]).isdisjoint(parts["val"])
    assert sorted([*parts["train"], *parts["val"]]) == data.rows("S", "train").tolist()
    assert parts["test"].tolist() == data.rows("S", "test").tolist()


def test_without_a_validation_part_the_whole_list_trains() -> None:
    spec = small_spec(train=40)
    data = small_data(spec)
    parts = split_rows(data, spec.classes[0], SplitSpec(validation=None))
    assert list(parts) == ["train", "test"]
    assert len(parts["train"]) == 40
