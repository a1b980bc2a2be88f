"""The validation part: a fixed rule that no order of a list can change."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aqabench.data.features import FeatureSet
from aqabench.data.splits import fold_numbers, grouped_folds, split_rows, validation_part
from aqabench.errors import DataError
from aqabench.protocol.schema import ClassSpec, DatasetSpec, SplitSpec, ValidationSpec
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
    parts = split_rows(data, spec, spec.classes[0], SplitSpec())
    assert set(parts["train"]).isdisjoint(parts["val"])
    assert sorted([*parts["train"], *parts["val"]]) == data.rows("S", "train").tolist()
    assert parts["test"].tolist() == data.rows("S", "test").tolist()


def test_without_a_validation_part_the_whole_list_trains() -> None:
    spec = small_spec(train=40)
    data = small_data(spec)
    parts = split_rows(data, spec, spec.classes[0], SplitSpec(validation=None))
    assert list(parts) == ["train", "test"]
    assert len(parts["train"]) == 40


# --- folds ----------------------------------------------------------------------------------------


def _athletes(count: int = 36) -> tuple[DatasetSpec, FeatureSet]:
    spec = small_spec().model_copy(update={"groups": ("athlete",), "folds": {"event": 3}})
    data = small_data(spec)
    rng = np.random.default_rng(5)
    athlete = np.array([f"a{i}" for i in rng.integers(0, 12, count)])
    fold = np.arange(count) % 3
    fold[0] = -1
    return spec, replace(data, groups={"athlete": athlete}, folds={"event": fold})


KFOLD = SplitSpec(scheme="kfold", k=5)
GROUPED = SplitSpec(scheme="grouped", k=4, group="athlete")
PUBLISHED = SplitSpec(scheme="published-folds", folds="event")


@pytest.mark.parametrize(("split", "k"), [(KFOLD, 5), (GROUPED, 4), (PUBLISHED, 3)])
def test_folds_test_every_sample_once_and_never_train_on_it(split: SplitSpec, k: int) -> None:
    spec, data = _athletes()
    tested: list[int] = []
    for fold in range(k):
        parts = split_rows(data, spec, spec.classes[0], split, fold)
        rows = [int(row) for part in parts.values() for row in part]
        assert len(rows) == len(set(rows))
        tested += parts["test"].tolist()
    assert len(tested) == len(set(tested))
    assert set(tested) == set(range(36)) - ({0} if split is PUBLISHED else set())


def test_grouped_folds_share_no_group_and_are_balanced() -> None:
    spec, data = _athletes()
    fold = fold_numbers(data, spec, GROUPED)
    for athlete in set(data.groups["athlete"]):
        assert len(set(fold[data.groups["athlete"] == athlete])) == 1
    sizes = np.bincount(fold)
    largest = max(np.unique(data.groups["athlete"], return_counts=True)[1])
    assert sizes.max() - sizes.min() <= largest


def test_grouped_folds_do_not_depend_on_the_order_of_samples() -> None:
    labels = [f"g{i % 7}" for i in range(30)]
    order = np.random.default_rng(3).permutation(30)
    first = grouped_folds(labels, 3, np.random.default_rng(1))
    again = grouped_folds([labels[i] for i in order], 3, np.random.default_rng(1))
    assert np.array_equal(first[order], again)


def test_too_few_groups_for_the_folds_are_refused() -> None:
    with pytest.raises(DataError, match=r"5 folds need at least 5 groups. Got 2"):
        grouped_folds(["a", "b", "a"], 5, np.random.default_rng(0))


def test_random_folds_have_like_scores_and_the_same_samples_for_every_class() -> None:
    spec = small_spec(train=200, test=50)
    rng = np.random.default_rng(0)
    second = ClassSpec(name="T", bounds=(0.0, 5.0), train=200, test=50)
    spec = spec.model_copy(update={"classes": (*spec.classes, second)})
    data = small_data(spec)
    data = replace(
        data, scores={**data.scores, "T": data.scores["S"] / 2 + rng.normal(0, 0.1, 250)}
    )
    fold = fold_numbers(data, spec, KFOLD)
    assert np.bincount(fold).tolist() == [50] * 5
    means = [data.scores["S"][fold == k].mean() for k in range(5)]
    chance = data.scores["S"].std() / np.sqrt(50)
    assert np.std(means) < 0.3 * chance
    for k in range(5):
        parts = [split_rows(data, spec, c, KFOLD, k)["test"].tolist() for c in spec.classes]
        assert parts[0] == parts[1]


def test_disjoint_classes_are_folded_each_by_itself() -> None:
    spec = small_spec(train=40, test=10).model_copy(update={"same_videos": False})
    data = small_data(spec)
    first = np.where(np.arange(50) < 25, data.scores["S"], np.nan)
    other = np.where(np.arange(50) < 25, np.nan, data.scores["S"])
    both = tuple(ClassSpec(name=n, bounds=(0.0, 10.0), train=20, test=5) for n in ("S", "T"))
    spec = spec.model_copy(update={"classes": both})
    data = replace(data, scores={"S": first, "T": other})
    fold = fold_numbers(data, spec, KFOLD)
    assert np.bincount(fold[:25]).tolist() == [5] * 5
    assert np.bincount(fold[25:]).tolist() == [5] * 5


def test_a_validation_part_holds_out_whole_groups() -> None:
    rng = np.random.default_rng(2)
    groups = [f"g{i}" for i in rng.integers(0, 40, 300)]
    scores = rng.normal(size=300)
    held = validation_part(
        [str(i) for i in range(300)], scores, ValidationSpec(), "d", "S", None, groups
    )
    inside = {g for g, h in zip(groups, held, strict=True) if h}
    assert inside.isdisjoint({g for g, h in zip(groups, held, strict=True) if not h})
    assert 0.10 < held.mean() < 0.20
    order = rng.permutation(300)
    again = validation_part(
        [str(i) for i in order], scores[order], ValidationSpec(), "d", "S", None,
        [groups[i] for i in order],
    )  # fmt: skip
    assert np.array_equal(held[order], again)


def test_each_fold_draws_its_own_validation_part() -> None:
    ids, scores = [str(i) for i in range(100)], np.arange(100.0)
    spec = ValidationSpec()
    drawn = [validation_part(ids, scores, spec, "d", "S", fold).tolist() for fold in (None, 0, 1)]
    assert drawn[0] != drawn[1] != drawn[2]


def test_data_without_labels_or_folds_say_how_to_get_them() -> None:
    spec = small_spec()
    data = small_data(spec)
    with pytest.raises(DataError, match=r"data import small --groups FILE.csv"):
        fold_numbers(data, spec, GROUPED)
    with pytest.raises(DataError, match="has no folds 'event'"):
        fold_numbers(data, spec, PUBLISHED)
    untested = replace(data, split=np.array(["train"] * len(data.ids)))
    with pytest.raises(DataError, match=r"no test samples for S.*kfold"):
        split_rows(untested, spec, spec.classes[0], SplitSpec())


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"scheme": "grouped", "k": 5}, "needs 'group'"),
        ({"scheme": "kfold"}, "needs 'k'"),
        ({"scheme": "published-folds"}, "needs 'folds'"),
        ({"scheme": "official", "k": 5}, "has no 'k'"),
        ({"scheme": "kfold", "k": 5, "group": "athlete"}, "has no 'group'"),
    ],
)
def test_a_split_that_cannot_be_meant_is_refused(changes: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        SplitSpec(**changes)  # type: ignore[arg-type]
