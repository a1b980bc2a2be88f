"""Scoring samples of unequal lengths, put together by length, against batches in list order."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import numpy as np
import pytest
import torch

from aqabench.data.batch import Split
from aqabench.data.features import FeatureSet
from aqabench.method.base import Method, Task
from aqabench.method.registry import discover
from aqabench.protocol.library import load_dataset
from aqabench.protocol.mask_laws import patterns
from aqabench.train.context import FitContext
from aqabench.train.evaluate import Part, predict_part

pytestmark = pytest.mark.bench
TRAIN, TEST, ROUNDS = 64, 400, 3


def speech() -> FeatureSet:
    """Return noise in the shape of speechocean762: 9 to 175 steps a sentence, half below 28."""
    spec = load_dataset("speechocean")
    rng = np.random.default_rng(0)
    count = TRAIN + TEST
    lengths = np.clip(np.exp(rng.normal(np.log(28), 0.48, count)), 9, 175).astype(np.int64)
    return FeatureSet(
        dataset=spec.name,
        kind="simulated",
        digest="0" * 64,
        ids=tuple(map(str, range(count))),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        features={
            m.name: rng.normal(size=(lengths.sum(), m.width)).astype(np.float32)
            for m in spec.modalities
        },
        scores={"accuracy": rng.uniform(0, 10, count)},
        split=np.array(["train"] * TRAIN + ["test"] * TEST),
    )


def scoring(data: FeatureSet, stride: int) -> tuple[Method, Part]:
    """Return early fusion after one step, and 400 samples under all fifteen subsets."""
    spec = load_dataset("speechocean")
    streams = [m.name for m in spec.modalities]
    train, test = (
        Split(data, data.rows("accuracy", part), spec.classes[0], streams, stride)
        for part in ("train", "test")
    )
    symbols = {m.name: m.symbol for m in spec.modalities}
    task = Task(spec.name, "accuracy", train.widths, symbols, spec.clip_length, stride)
    method = discover().load("early-fusion")(task)
    method.fit(train, FitContext(0, 1, 1, lambda _: None, lambda _: None))
    return method, Part(test, {str(s): np.tile(s, (TEST, 1)) for s in patterns(len(streams))})


@pytest.mark.parametrize("stride", [1, 8], ids=["all clips", "quick"])
def test_packed_against_list_order(
    stride: int,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    """Medians of rounds that take turns, one thread; equal scores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    method, part = scoring(speech(), stride)
    seconds: dict[bool, list[float]] = {True: [], False: []}
    scores = {}
    try:
        for _ in range(ROUNDS):
            for packed in (False, True):
                monkeypatch.setattr(type(method), "batch_matters", not packed)
                start = time.perf_counter()
                scores[packed] = predict_part(method, part, batch_size=32)
                seconds[packed].append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_allclose(scores[True], scores[False], atol=1e-5)
    before, after = median(seconds[False]), median(seconds[True])
    print(f"\nevery clip in {stride}: {before:.1f} s against {after:.1f} s, {before / after:.2f}x")
    record_property("ratio", round(before / after, 2))
    assert before / after > 1.2
