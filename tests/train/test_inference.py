"""Costs of a prediction, against a count by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from aqabench.data.batch import Batch
from aqabench.method.base import Task
from aqabench.methods.mcmoe import MCMoE
from aqabench.train.inference import SAMPLES, inference_cost

WIDTHS = {"video": 1024, "audio": 768, "flow": 1024}


def _batch(steps: int) -> Batch:
    available = torch.ones(SAMPLES + 1, 3, dtype=torch.bool)
    return Batch(
        ids=tuple("abcde"),
        features={m: torch.randn(SAMPLES + 1, steps, d) for m, d in WIDTHS.items()},
        available=available,
        observed=available[:, None, :].expand(-1, steps, -1),
        valid=torch.ones(SAMPLES + 1, steps, dtype=torch.bool),
    )


def _by_hand(steps: int) -> int:
    """Count MCMoE on complete input: 2 per multiplication with addition."""
    d, hidden = 256, 768
    projections = sum(w * w // 2 + w // 2 * d for w in WIDTHS.values())
    layer = 4 * d * d + 2 * d * hidden + 2 * steps * d  # attention: queries on keys, on values
    encoder = 3 * 3 * layer
    experts = 9 * (3 * d * 128 + 128 * d)
    router = 3 * (d * 128 + 128 * 3)
    fusion = 3 * d * 512 + 512 * d
    queries, heads = 4, 2
    # few queries take the projections of keys and values upon themselves (nn/transformer.py)
    reading = 3 * 2 * queries * heads * d
    per_step = projections + encoder + experts + router + fusion + reading
    decoder = queries * 3 * (4 * d * d + 2 * queries * d + 4 * d * d + 2 * d * hidden)
    decoder += queries * 4 * d
    return 2 * (steps * per_step + decoder)


def test_operations_are_those_that_a_count_by_hand_gives() -> None:
    method = MCMoE(Task("fisv", "TES", WIDTHS, {"video": "v", "audio": "a", "flow": "f"}, 20))
    method.net = method.build(method.task)
    subsets = {"vaf": (True, True, True), "a": (False, True, False)}
    cost = inference_cost(method, _batch(20), subsets)
    assert cost.flops["vaf"] == pytest.approx(_by_hand(20), rel=0.01)
    assert cost.flops["a"] < cost.flops["vaf"]
    assert set(cost.milliseconds) == set(subsets)
    assert all(x > 0 for x in cost.milliseconds.values())


def test_the_attention_of_the_processor_is_counted() -> None:
    class Attends:
        def predict(self, batch: Batch) -> Tensor:
            x = batch.features["video"][:, None]  # (B, 1, T, D)
            with torch.inference_mode():
                return nn.functional.scaled_dot_product_attention(x, x, x).sum((1, 2, 3))

    cost = inference_cost(Attends(), _batch(16), {"vaf": (True, True, True)})  # type: ignore[arg-type]
    assert cost.flops["vaf"] == 2 * 2 * 16 * 16 * 1024
