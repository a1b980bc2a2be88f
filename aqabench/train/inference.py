"""What a prediction costs: floating-point operations and time per sample, by what is shown."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import torch
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.module_tracker import ModuleTracker

from aqabench.data.batch import Batch, withhold

if TYPE_CHECKING:
    from aqabench.method.base import Method

__all__ = ["InferenceCost", "count_flops", "inference_cost"]


def _attention_flops(
    query: torch.Size, key: torch.Size, value: torch.Size, *_: object, **__: object
) -> int:
    """Count the two products of an attention: (B, H, S, E) with (B, H, T, E), and with values."""
    batch, heads, queries, width = query
    return 2 * batch * heads * queries * key[-2] * (width + value[-1])


# torch counts the fused attention of graphics cards, and leaves that of the processor out
_ATTENTION_ON_CPU = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}


class _OneModule(ModuleTracker):
    """Counts for the whole; telling modules apart fails on views of parameters at test."""

    def __init__(self) -> None:
        self.parents = {"Global"}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


SAMPLES = 4
"""Samples that are timed together."""


@dataclass(frozen=True)
class InferenceCost:
    """Per sample, by subset.

    Attributes:
        flops: 2 per multiplication with addition, attention included, as torch counts them;
            0 for a method that does not use torch.
        milliseconds: wall time of a batch of :data:`SAMPLES`, divided by them.
    """

    flops: Mapping[str, int]
    milliseconds: Mapping[str, float]


def inference_cost(
    method: Method, batch: Batch, subsets: Mapping[str, tuple[bool, ...]]
) -> InferenceCost:
    """Measure a trained method on a few samples.

    Args:
        method: after training.
        batch: complete; its first samples are taken.
        subsets: name -> (M,) what is shown.
    """
    batch = batch.take(range(min(SAMPLES, len(batch))))
    flops: dict[str, int] = {}
    milliseconds: dict[str, float] = {}
    for name, subset in subsets.items():
        shown = withhold(batch, torch.tensor(subset).expand(len(batch), -1))
        flops[name] = count_flops(method, shown)  # also warms up
        start = time.perf_counter()
        method.predict(shown).cpu()
        milliseconds[name] = 1000 * (time.perf_counter() - start) / len(batch)
    return InferenceCost(flops, milliseconds)


def count_flops(method: Method, batch: Batch) -> int:
    """Return the operations of a prediction per sample, as :class:`InferenceCost` counts them."""
    counter = FlopCounterMode(display=False, custom_mapping=_ATTENTION_ON_CPU)
    counter.mod_tracker = _OneModule()
    with counter:
        method.predict(batch).cpu()  # waits for a graphics card
    return int(counter.get_total_flops()) // len(batch)
