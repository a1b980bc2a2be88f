"""A method whose scores depend on padding or on batch mates says so, whatever its settings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from _pytest.mark.structures import ParameterSet

from aqabench.data import batch as batch_module
from aqabench.data.batch import Split
from aqabench.errors import UsageError
from aqabench.method.base import Method, Task
from aqabench.method.card import Setting
from aqabench.method.registry import discover
from aqabench.train.context import FitContext
from aqabench.train.evaluate import Part, predict_part
from tests.helpers import small_data, small_spec

REGISTRY = discover([])
CLIPS, TOLERANCE = 12, 1e-5
OF_THE_BATCH = {
    "actionmae": {"reads_memory"},
    "cofinal": {"mask_padding", "argmax_over_batch"},
    "gdlt": {"mask_padding"},
    "mcmoe": {"batch_positions", "padding_is_data"},
    "ms-lstm": {"mask_padding", "random_states"},
    "pamfn": {"noisy_policy"},
}
"""Switches that make scores depend on the batch, in a network that has hardly learned."""


def switches() -> list[ParameterSet]:
    """Every method with each of its yes-or-no settings thrown; as it comes the contract asks."""
    found: list[ParameterSet] = []
    for name in REGISTRY.names():
        card = REGISTRY.get(name).card
        assert card is not None
        for key, value in card.settings.items():
            if isinstance(value, bool):
                fast = key in OF_THE_BATCH.get(name, ())
                marks = () if fast else (pytest.mark.slow,)
                found.append(pytest.param(name, key, marks=marks, id=f"{name}-{key}"))
    return found


@pytest.fixture(scope="module")
def parts() -> tuple[Split, Split]:
    """Videos of 3 to 23 clips, in windows of 12; the features are noise."""
    spec = small_spec(width=34, train=16, test=40, clip_length=CLIPS)
    data = small_data(spec, shortest=3)
    rng = np.random.default_rng(0)
    features = {m: rng.normal(size=x.shape).astype(np.float32) for m, x in data.features.items()}
    data = replace(data, features=features, groups={"athlete": np.arange(56).astype(str)})
    train, test = (
        Split(data, data.rows("S", part), spec.classes[0], ["video", "audio"])
        for part in ("train", "test")
    )
    return train, test


def trained(name: str, thrown: str, train: Split) -> Method:
    """Return a method after two steps, from weights that its scores depend on."""
    kind = REGISTRY.load(name)
    task = Task("small", "S", train.widths, {"video": "v", "audio": "a"}, CLIPS)
    settings: dict[str, Setting] = {thrown: not kind.card.settings[thrown]}
    if thrown == "batch_positions":  # the other form of the same code
        settings["query_positions"] = not kind.card.settings["query_positions"]
    elif kind.card.stream_setting:
        settings[kind.card.stream_setting] = "video"
    method = kind(task, settings)
    with torch.random.fork_rng(devices=[]):
        method.fit(train, FitContext(0, 2, 1, lambda _: None, lambda _: None))
    return method


def packing_gap(method: Method, part: Part, monkeypatch: pytest.MonkeyPatch) -> float:
    """Return by how much scores differ when samples of like lengths are scored together."""
    monkeypatch.setattr(batch_module, "STEPS_TO_FILL", 48)
    scores = []
    for matters in (True, False):
        monkeypatch.setattr(type(method), "batch_matters", matters)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            scores.append(predict_part(method, part, batch_size=8))
    return float(np.abs(scores[0] - scores[1]).max())


@pytest.mark.parametrize(("name", "thrown"), switches())
def test_scores_that_depend_on_the_batch_are_not_packed(
    name: str, thrown: str, parts: tuple[Split, Split], monkeypatch: pytest.MonkeyPatch
) -> None:
    train, test = parts
    try:
        method = trained(name, thrown, train)
    except UsageError as error:
        pytest.skip(f"not a setting by itself: {error}")
    shown = {
        key: np.tile(row, (len(test), 1))
        for key, row in (("va", [True, True]), ("v", [True, False]), ("a", [False, True]))
    }
    matters = method.batch_matters
    gap = packing_gap(method, Part(test, shown), monkeypatch)
    assert matters or gap < TOLERANCE
    if thrown in OF_THE_BATCH.get(name, ()):
        assert gap > TOLERANCE, "the guard above would not have seen this switch"
