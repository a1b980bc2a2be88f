"""Every method that is no floor learns on the simulator within the quick budget.

What ``aqabench run`` does for TES of Fis-V, seed 0: 60 steps on every 8th clip, all streams shown.
The floor is ridge on the one stream that it ranks best by (0.71 of 100 simulated videos), which
only what uses several streams can beat by much.  Half a minute for each method.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from aqabench.data.batch import Split
from aqabench.data.features import FeatureSet
from aqabench.data.simulator import simulate
from aqabench.method.base import FitContext, Task
from aqabench.method.registry import discover
from aqabench.protocol.library import load_dataset
from aqabench.protocol.schema import BUDGETS
from aqabench.stats import spearman

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

MARGIN = 0.03
"""By which Spearman must exceed the floor's; the standard error of the difference is about as
large, and every number here is the same whenever it is computed."""
LONGER = {
    "gdlt": "reads one stream, and its SGD has 150 epochs or more where it was published",
    "cofinal": "reads one stream, and its SGD has 150 epochs or more where it was published",
    "ms-lstm": "reads one stream; published for 500 epochs",
    "unimodal": "reads one stream, which at best is what the floor reads",
    "pamfn": "its branches have 20 of the steps; published for 250 epochs and 300 more",
    "skating-mixer": "reads clip by clip at a rate of 1e-4; published for 500 epochs",
    "action-net": "SGD at published rates, for 300 epochs or more",
}
"""Methods that must beat chance alone here, and why 60 steps give no more."""
CHANCE = 0.3
"""Three standard errors of a Spearman correlation of 100 videos without any relation."""
REGISTRY = discover()
FLOORS = ("constant", "identity", "ridge")
STREAMS = ("video", "audio", "flow")


@functools.cache
def simulated() -> FeatureSet:
    return simulate(load_dataset("fisv"), seed=0)


def reached(name: str, streams: Sequence[str] = STREAMS) -> float:
    """Return Spearman on the test videos after the quick budget."""
    torch.set_num_threads(1)
    spec, budget, data = load_dataset("fisv"), BUDGETS["quick"], simulated()
    chosen = spec.classes[0]
    train, test = (
        Split(data, data.rows(chosen.name, part), chosen, streams, budget.stride)
        for part in ("train", "test")
    )
    symbols = {m.name: m.symbol for m in spec.modalities}
    task = Task("fisv", chosen.name, train.widths, symbols, spec.clip_length, budget.stride)
    kind = REGISTRY.load(name)
    key = kind.card.stream_setting
    settings = kind.card.resolve("fisv", chosen.name, {key: "video"} if key else {})
    method = kind(task, settings)
    method.fit(train, FitContext(0, budget.steps, 1, lambda _: None, lambda _: None))
    batches = test.fixed_batches(method.test_window, spec.clip_length, 32)
    predictions = np.concatenate([method.predict(b).double().numpy() for b in batches])
    return float(spearman(test.points, predictions))


@functools.cache
def floor() -> float:
    return max(reached("ridge", [stream]) for stream in STREAMS)


def test_a_constant_ranks_nothing() -> None:
    assert np.isnan(reached("constant"))


@pytest.mark.parametrize("name", [n for n in REGISTRY.names() if n not in FLOORS])
def test_a_method_beats_ridge_on_one_stream_or_chance_if_it_needs_longer(name: str) -> None:
    found = reached(name)
    assert found > (CHANCE if name in LONGER else floor() + MARGIN)
