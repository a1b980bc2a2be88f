"""The leakage floor: what a predictor reaches that never sees a performance."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from aqabench.data.batch import Split
from aqabench.data.features import FeatureSet
from aqabench.data.simulator import simulate
from aqabench.data.splits import fold_numbers
from aqabench.method.base import FitContext, Task
from aqabench.method.registry import discover
from aqabench.protocol.library import load_dataset, load_protocol
from aqabench.protocol.schema import ClassSpec, DatasetSpec
from tests.helpers import small_data, small_spec


def _predict(data: FeatureSet, spec: ClassSpec, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    streams = list(data.features)
    parts = [Split(data, rows, spec, streams) for rows in (train, test)]
    widths = parts[0].widths
    task = Task(data.dataset, spec.name, widths, dict.fromkeys(widths, "v"), 8)
    method = discover().load("identity")(task)
    method.fit(parts[0], FitContext(0, 1, 1, lambda _: None, lambda _: None))
    batches = parts[1].fixed_batches("centre", 8, 64)
    scores = np.concatenate([method.predict(b).double().numpy() for b in batches])
    return parts[1].to_points(scores)


def test_it_is_the_mean_over_the_groups_that_training_has_seen() -> None:
    spec = small_spec(train=4, test=4)
    data = replace(
        small_data(spec),
        scores={"S": np.array([2.0, 4.0, 6.0, 9.0, 0, 0, 0, 0])},
        groups={
            "athlete": np.array(["a", "a", "b", "c", "a", "b", "new", "new"]),
            "event": np.array(["x", "y", "x", "y", "x", "other", "y", "other"]),
        },
    )
    found = _predict(data, spec.classes[0], np.arange(4), np.arange(4, 8))
    expected = [(3.0 + 4.0) / 2, 6.0, (4.0 + 9.0) / 2, 21 / 4]
    assert found == pytest.approx(expected, abs=1e-5)


def test_the_simulator_leaks_on_the_official_split_and_not_between_athletes() -> None:
    dataset = load_dataset("fisv")
    thin = tuple(m.model_copy(update={"width": 4}) for m in dataset.modalities[:1])
    dataset = DatasetSpec(**{**dict(dataset), "modalities": thin})
    data = simulate(dataset, seed=0)
    pcs = dataset.classes[1]
    official = _predict(data, pcs, data.rows("PCS", "train"), data.rows("PCS", "test"))
    truth = data.scores["PCS"][data.rows("PCS", "test")]
    assert spearmanr(official, truth).statistic > 0.6
    fold = fold_numbers(data, dataset, load_protocol("fisv-athlete-missing").protocol.split)
    train, test = np.flatnonzero(fold != 0), np.flatnonzero(fold == 0)
    apart = _predict(data, pcs, train, test)
    assert np.ptp(apart) < 1e-9, "no athlete of the fold was seen: the mean of the training list"


@pytest.mark.real_data
def test_on_fisv_it_is_level_with_the_published_state_of_the_art(shared_data: Path) -> None:
    path = shared_data / "labels_fisv.csv"
    if not path.is_file():
        pytest.skip(f"the labels are absent: {path}")
    table = pd.read_csv(path, dtype=str)
    spec = load_dataset("fisv")
    count = len(table)
    data = FeatureSet(
        dataset="fisv",
        kind="real",
        digest="",
        ids=tuple(table["sample_id"]),
        offsets=np.arange(count + 1),
        features={"video": np.zeros((count, 1), np.float32)},
        scores={c: table[c.lower()].astype(float).to_numpy() for c in ("TES", "PCS")},
        split=table["split"].to_numpy(dtype=str),
        groups={
            "athlete": table["athlete_group"].to_numpy(dtype=str),
            "event": (table["competition"] + " " + table["year"]).to_numpy(dtype=str),
        },
    )
    for class_spec, published in zip(spec.classes, (0.732, 0.878), strict=True):
        train, test = (data.rows(class_spec.name, part) for part in ("train", "test"))
        found = _predict(data, class_spec, train, test)
        rho = spearmanr(found, data.scores[class_spec.name][test]).statistic
        assert rho == pytest.approx(published, abs=0.01)
