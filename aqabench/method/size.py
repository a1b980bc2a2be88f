"""How large and how costly a method is, before anything was run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from aqabench.data.batch import Split, withhold
from aqabench.data.features import FeatureSet
from aqabench.method.base import FitContext, Method, Task
from aqabench.protocol.mask_laws import patterns
from aqabench.protocol.schema import DatasetSpec
from aqabench.train.inference import count_flops

SAMPLES = 4


@dataclass(frozen=True)
class Size:
    """Of a method on the streams of a data set, per sample of its clip length.

    Attributes:
        parameters: all numbers that are learned or kept, attention included.
        flops: 2 per multiplication with addition; all streams shown.
        least: the same under the subset of streams that takes least.
        most: the same under the one that takes most.
        clips: T.
    """

    parameters: int
    flops: int
    least: int
    most: int
    clips: int


def size_of(kind: type[Method], dataset: DatasetSpec) -> Size:
    """Train one step on a few samples of noise, and count.

    Args:
        kind: the method's class.
        dataset: whose streams and clip length are taken.

    Raises:
        AqabenchError: the method cannot train on such samples.
    """
    drawn = np.random.default_rng(0)
    spec, length = dataset.classes[0], dataset.clip_length
    names = tuple(str(i) for i in range(SAMPLES))
    low, high = spec.bounds
    data = FeatureSet(
        dataset=dataset.name,
        kind="simulated",
        digest="",
        ids=names,
        offsets=np.arange(SAMPLES + 1) * length,
        features={
            m.name: drawn.random((SAMPLES * length, m.width), np.float32)
            for m in dataset.modalities
        },
        scores={spec.name: np.linspace(low, high, SAMPLES)},
        split=np.array(["train"] * SAMPLES),
        groups={label: np.array(names) for label in dataset.groups},
    )
    streams = [m.name for m in dataset.modalities]
    part = Split(data, np.arange(SAMPLES), spec, streams)
    symbols = {m.name: m.symbol for m in dataset.modalities}
    task = Task(dataset.name, spec.name, part.widths, symbols, length)
    method = kind(task)
    with torch.random.fork_rng(devices=[]):
        method.fit(part, FitContext(0, 1, 1, lambda _: None, lambda _: None))
        (batch,) = part.fixed_batches("centre", length, SAMPLES)
        one = batch.take([0])
        flops = [
            count_flops(method, withhold(one, torch.from_numpy(subset)[None]))
            for subset in patterns(len(streams))
        ]
    return Size(method.parameters(), flops[-1], min(flops), max(flops), length)
