"""The floor of length: what is ranked by how long a performance lasts, and by nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import linregress

from aqabench.data.batch import Split
from aqabench.data.features import FeatureSet
from aqabench.method.base import FitContext, Task
from aqabench.method.registry import discover
from tests.helpers import small_data, small_spec

TRAIN, TEST = 12, 8


def _data(lengths: np.ndarray, scores: np.ndarray) -> FeatureSet:
    """Return noise of these lengths with these scores, the first of them for training."""
    data = small_data(small_spec(train=TRAIN, test=TEST))
    rng = np.random.default_rng(0)
    features = {
        name: rng.normal(size=(lengths.sum(), x.shape[1])).astype(np.float32)
        for name, x in data.features.items()
    }
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return replace(data, offsets=offsets, features=features, scores={"S": scores})


def _predict(data: FeatureSet, stride: int = 1) -> np.ndarray:
    spec = small_spec(train=TRAIN, test=TEST).classes[0]
    streams = list(data.features)
    everything = np.arange(TRAIN + TEST)
    train, test = (
        Split(data, rows, spec, streams, stride)
        for rows in (everything[:TRAIN], everything[TRAIN:])
    )
    task = Task(data.dataset, spec.name, train.widths, dict.fromkeys(train.widths, "v"), 4, stride)
    method = discover().load("length")(task)
    method.fit(train, FitContext(0, 1, 1, lambda _: None, lambda _: None))
    batches = test.fixed_batches(method.test_window, task.clip_length, 3)
    found = np.concatenate([method.predict(batch).double().numpy() for batch in batches])
    order = np.argsort(np.concatenate([rows.numpy() for rows in batches.rows]))
    return test.to_points(found[order])


@pytest.mark.parametrize("stride", [1, 3])
def test_it_is_the_line_over_the_logarithm_of_the_steps(stride: int) -> None:
    rng = np.random.default_rng(1)
    lengths = rng.integers(3, 40, TRAIN + TEST)  # longer than the training window of 4, and shorter
    steps = np.log(np.ceil(lengths / stride))
    scores = 8.0 - 1.2 * steps + 0.3 * rng.normal(size=len(steps))
    line = linregress(steps[:TRAIN], scores[:TRAIN])
    expected = line.intercept + line.slope * steps[TRAIN:]
    assert _predict(_data(lengths, scores), stride) == pytest.approx(expected, abs=1e-5)


def test_equal_lengths_give_the_mean() -> None:
    scores = np.random.default_rng(2).uniform(2, 9, TRAIN + TEST)
    found = _predict(_data(np.full(TRAIN + TEST, 7), scores))
    assert found == pytest.approx(np.full(TEST, scores[:TRAIN].mean()), abs=1e-5)
