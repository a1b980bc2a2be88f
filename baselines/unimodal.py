"""One stream, nothing missing: the reference that a missing-modality method must reach.

For each subset {m} a method for incomplete data should score at least what a network trained on
m alone scores; otherwise its robustness costs accuracy.  Projection, encoder and grade head are
those of the incomplete-data methods, and so is the recipe.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from aqabench.data.batch import Batch
from aqabench.method.base import Task
from aqabench.method.card import MethodCard
from aqabench.method.single import SingleStreamMethod, with_fallback
from aqabench.nn.grade_head import GradeHead, Grades
from aqabench.nn.losses import batch_hard_triplet
from aqabench.nn.projection import Projection, on_steps
from aqabench.nn.transformer import Encoder

WIDTH = 256
HIDDEN = 768

_SETTINGS = {
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
}
_PUBLISHED = {"fisv": {"alpha": 0.5}, "fs1000": {"lr": 1e-4}}
_SEARCH = {"lr": ("log", 5e-5, 1e-3), "dropout": ("linear", 0.0, 0.6)}
_MISSING = "Reads one stream; without it, predicts the mean training score."


class UnimodalNet(nn.Module):
    """Projection, encoder and grade head on one stream."""

    def __init__(self, width: int, layers: int, heads: int, dropout: float) -> None:
        """Build for features of ``width`` channels."""
        super().__init__()
        self.in_proj = Projection(width, width // 2, WIDTH)
        self.encoder = Encoder(layers, WIDTH, heads, HIDDEN, dropout)
        self.head = GradeHead(4, layers, WIDTH, heads, HIDDEN, dropout)
        for parameter in self.encoder.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def encode(self, features: Tensor, valid: Tensor) -> Tensor:
        """Encode (R, T, D) to (R, T, 256), reading valid steps (R, T) only."""
        keep = None if bool(valid.all()) else valid
        encoded: Tensor = self.encoder(on_steps(self.in_proj, features, keep), keep)
        return encoded

    def grade(self, memory: Tensor, valid: Tensor) -> Grades:
        """Decode grades from (R, T, 256)."""
        grades: Grades = self.head(memory, None if bool(valid.all()) else valid)
        return grades


class _Unimodal(SingleStreamMethod):
    """What the three baselines share."""

    symbol: str

    @property
    def stream(self) -> str:
        """The stream of the symbol."""
        return next(m for m in self.task.modalities if self.task.symbols[m] == self.symbol)

    def build(self, task: Task) -> nn.Module:
        """Return the untrained network."""
        width = task.modalities[self.stream]
        layers, heads = cast(int, self.settings["layers"]), cast(int, self.settings["heads"])
        return with_fallback(
            UnimodalNet(width, layers, heads, cast(float, self.settings["dropout"]))
        )

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Weighted MSE plus the diversity of the grade queries, on samples with the stream."""
        features, valid, score = self.seen(batch)
        net = cast(UnimodalNet, self.net)
        grades = net.grade(net.encode(features, valid), valid)
        weight, alpha = (cast(float, self.settings[k]) for k in ("task_weight", "alpha"))
        return {
            "task": weight * functional.mse_loss(grades.score, score),
            "diversity": alpha * batch_hard_triplet(grades.queries),
        }

    def grade(self, memory: Tensor, valid: Tensor) -> Tensor:
        """Return scores."""
        return cast(UnimodalNet, self.net).grade(memory, valid).score


class UnimodalVideo(_Unimodal):
    """RGB alone."""

    symbol = "v"
    card = MethodCard(
        name="unimodal-v",
        title="Video alone",
        kind="baseline",
        summary="Projection, encoder and grade head on RGB video only: the specialist for {v}.",
        missing=_MISSING,
        settings=_SETTINGS,
        published=_PUBLISHED,
        search=_SEARCH,
        needs=("v",),
    )


class UnimodalAudio(_Unimodal):
    """Audio alone."""

    symbol = "a"
    card = MethodCard(
        name="unimodal-a",
        title="Audio alone",
        kind="baseline",
        summary="Projection, encoder and grade head on audio only: the specialist for {a}.",
        missing=_MISSING,
        settings=_SETTINGS,
        published=_PUBLISHED,
        search=_SEARCH,
        needs=("a",),
    )


class UnimodalFlow(_Unimodal):
    """Optical flow alone."""

    symbol = "f"
    card = MethodCard(
        name="unimodal-f",
        title="Flow alone",
        kind="baseline",
        summary="Projection, encoder and grade head on optical flow only: the specialist for {f}.",
        missing=_MISSING,
        settings=_SETTINGS,
        published=_PUBLISHED,
        search=_SEARCH,
        needs=("f",),
    )
