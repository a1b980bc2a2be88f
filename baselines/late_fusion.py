"""Late fusion: one specialist per stream, and the mean of those whose stream is there.

The specialists share no parameter, so training them by the sum of their losses is training each
by itself; each learns from the samples that have its stream.

The mean is plain.  Weights by precision (1 / MSE of each specialist) would need errors on videos
that the specialists were not trained on.  A method gets the training part only, and there a
network's error says how well it remembers, so such weights would favour the stream that overfits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from aqabench.data.batch import Batch
from aqabench.method.base import Task, TorchMethod
from aqabench.method.card import MethodCard
from aqabench.nn.losses import grade_loss
from aqabench.nn.specialist import Specialist
from aqabench.nn.streams import PerStream


class LateFusion(TorchMethod):
    """The mean score of the specialists for the streams that are there."""

    card = MethodCard(
        name="late-fusion",
        title="Late fusion",
        kind="baseline",
        summary=(
            "One network per stream (the unimodal baseline), trained side by side; the score is "
            "the mean over the streams that are there."
        ),
        missing=(
            "Left out of the mean, and in training out of that stream's loss. Nothing is filled "
            "in, and training hides nothing of what there is."
        ),
        settings={
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
        min_modalities=2,
        contract_settings={"batch_size": 8, "layers": 1},
    )

    def build(self, task: Task) -> nn.Module:
        """Return the untrained specialists."""
        layers, heads = cast(int, self.settings["layers"]), cast(int, self.settings["heads"])
        dropout = cast(float, self.settings["dropout"])
        return PerStream(
            {
                task.symbols[m]: Specialist(width, layers, heads, dropout)
                for m, width in task.modalities.items()
            }
        )

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Sum up the specialists' losses, each on the samples that have its stream."""
        assert batch.score is not None
        task, alpha = (cast(float, self.settings[k]) for k in ("task_weight", "alpha"))
        terms: dict[str, Tensor] = {}
        for column, (m, features) in enumerate(batch.features.items()):
            rows = batch.available[:, column]
            if not bool(rows.any()):
                continue
            net, valid = self._specialist(m), batch.valid[rows]
            grades = net.grade(net.encode(features[rows], valid), valid)
            for name, term in grade_loss(grades, batch.score[rows], task, alpha).items():
                terms[f"{name} {self.task.symbols[m]}"] = term
        return terms

    def projections(self) -> Mapping[str, nn.Module]:
        """Return the specialists' projections."""
        return {m: self._specialist(m).in_proj for m in self.task.modalities}

    def encode(self, modality: str, features: Tensor, valid: Tensor) -> Tensor:
        """Return what the stream's specialist says, (R,) scores."""
        net = self._specialist(modality)
        return net.grade(net.encode(features, valid), valid).score

    def score(self, encoded: Mapping[str, Tensor], available: Tensor, valid: Tensor) -> Tensor:
        """Average over the streams that each sample has."""
        total = valid.new_zeros(len(available), dtype=torch.float32)  # (B,)
        for column, m in enumerate(self.task.modalities):
            if m in encoded:
                total = total + torch.where(available[:, column], encoded[m], 0.0)
        return total / available.sum(1)

    def _specialist(self, modality: str) -> Specialist:
        return cast(Specialist, cast(PerStream, self.net)[self.task.symbols[modality]])
