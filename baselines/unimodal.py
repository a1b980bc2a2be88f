"""One stream, nothing missing: the reference that a missing-modality method must reach.

For each subset {m} a method for incomplete data should score at least what a network trained on
m alone scores; otherwise its robustness costs accuracy.  Projection, encoder and grade head are
those of the incomplete-data methods, and so is the recipe.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from aqabench.data.batch import Batch
from aqabench.method.base import Task
from aqabench.method.card import MethodCard
from aqabench.method.single import SingleStreamMethod, with_fallback
from aqabench.nn.losses import grade_loss
from aqabench.nn.specialist import Specialist


class Unimodal(SingleStreamMethod):
    """A specialist for one stream."""

    card = MethodCard(
        name="unimodal",
        title="One stream alone",
        kind="baseline",
        summary=(
            "Projection, encoder and grade head on one stream only: the specialist for it. Without "
            "--set stream=NAME it is run once for each stream."
        ),
        missing=(
            "Reads one stream and learns from the samples that have it; without it, predicts the "
            "mean training score."
        ),
        settings={
            "stream": "",
            "optimizer": "adam",
            "lr": 2e-4,
            "weight_decay": 1e-4,
            "batch_size": 32,
            "epochs": 300,
            "layers": 3,
            "heads": 2,
            "dropout": 0.3,
            "alpha": 1.0,
            "task_weight": 10.0,
        },
        published={"fisv": {"alpha": 0.5}, "fs1000": {"lr": 1e-4}},
        search={"lr": ("log", 5e-5, 1e-3), "dropout": ("linear", 0.0, 0.6)},
        stream_setting="stream",
        per_modality=True,
        contract_settings={"batch_size": 16, "layers": 1, "lr": 1e-3},
    )

    def build(self, task: Task) -> nn.Module:
        """Return the untrained network."""
        return with_fallback(
            Specialist(
                width=task.modalities[self.stream],
                layers=cast(int, self.settings["layers"]),
                heads=cast(int, self.settings["heads"]),
                dropout=cast(float, self.settings["dropout"]),
            )
        )

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Weighted MSE plus the diversity of the grade queries, on samples with the stream."""
        seen = self.seen(batch)
        if seen is None:
            return {}
        features, valid, score = seen
        net = cast(Specialist, self.net)
        task, alpha = (cast(float, self.settings[k]) for k in ("task_weight", "alpha"))
        return grade_loss(net.grade(net.encode(features, valid), valid), score, task, alpha)

    def grade(self, memory: Tensor, valid: Tensor) -> Tensor:
        """Return scores."""
        return cast(Specialist, self.net).grade(memory, valid).score
