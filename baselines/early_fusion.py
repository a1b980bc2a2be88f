"""Early fusion with zeros for what is missing: the core of the incomplete-data methods, bare.

    memory = C([E(P_1(x_1)) ; … ; E(P_M(x_M))]),  score = grades(memory)

One projection P_m per stream, one encoder E for all, a fusion C of the concatenated channels and
the grade head.  Methods for incomplete data replace what stands between the encodings and the
memory; this one puts zeros where a stream is missing, in one of three places, which are three
baselines and not one:

- ``raw``: before the projection, as if the feature file held zeros.  Biases and batch norm turn
  them into a constant that is not zero.
- ``proj``: before the encoder, whose biases turn them into a constant, too.
- ``enc``: after the encoder, where zeros stay zeros.

The constants of a missing stream never enter a batch norm of a projection: they are projected by
running statistics, in training as at test.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from aqabench.data.batch import Batch
from aqabench.errors import UsageError
from aqabench.method.base import Task, TorchMethod
from aqabench.method.card import MethodCard
from aqabench.nn.fusion import WIDTH, FusionCore, steps_to_read
from aqabench.nn.losses import grade_loss
from aqabench.nn.masks import draw_shown
from aqabench.nn.projection import on_steps

PLACES = ("raw", "proj", "enc")


class EarlyFusionNet(FusionCore):
    """The core with something constant in the place of a missing stream: zeros."""

    def __init__(
        self, widths: Mapping[str, int], layers: int, heads: int, dropout: float, zero_at: str
    ) -> None:
        """Build the untrained network: the core's sizes, and one of ``PLACES``."""
        super().__init__(widths, layers, heads, dropout)
        self.zero_at = zero_at

    def encode_rows(
        self, modality: str, features: Tensor, rows: Tensor, keep: Tensor | None
    ) -> Tensor:
        """Encode a stream of which some samples are shown.

        Args:
            modality: symbol of the stream.
            features: (B, T, D); anything, NaN included, where not shown.
            rows: (B,) bool, samples that are shown.
            keep: (B, T) bool, steps that exist, or None for all.

        Returns:
            (B, T, 256).
        """
        if bool(rows.all()):
            return self.encode(modality, features, keep)
        out = features.new_zeros(*features.shape[:2], WIDTH) + self.constant(modality)
        there = None if keep is None else keep[rows]
        if bool(rows.any()):
            projected = on_steps(self.in_proj[modality], features[rows], there)
            if self.zero_at == "enc":
                projected = self.encoder(projected, there)
            out = out.index_put((rows,), projected.to(out.dtype))
        if self.zero_at != "enc":
            out = self.encoder(out, keep)
        return out

    def filling(self, modality: str) -> Tensor:
        """Return what stands for a missing stream at every step, for evaluation mode: (256,).

        Equal steps attend to equal steps: the encoder maps them as it maps one.
        """
        start = self.constant(modality)
        if self.zero_at == "enc":
            return start
        encoded: Tensor = self.encoder(start.view(1, 1, WIDTH))
        return encoded.view(WIDTH)

    def constant(self, modality: str) -> Tensor:
        """Return what stands for a missing stream where ``zero_at`` says, projected: (256,)."""
        blank = self.head.prototype.weight.new_zeros
        if self.zero_at != "raw":
            return blank(WIDTH)
        projection = self.in_proj[modality]
        return projection.by_running(blank(1, projection.first.in_channels))[0]


class EarlyFusion(TorchMethod):
    """Concatenation of encoded streams, zeros for the missing ones."""

    card = MethodCard(
        name="early-fusion",
        title="Early fusion, zeros for missing",
        kind="baseline",
        summary=(
            "Streams are projected, encoded by one shared encoder, concatenated, fused and graded: "
            "the skeleton of the incomplete-data methods without any remedy."
        ),
        missing=(
            "Zeros at zero_at: raw (before the projection), proj (after it) or enc (after the "
            "encoder), in training as at test. Training hides nothing of what there is; "
            "modality_dropout=true shows a random non-empty subset of it per sample (give "
            "zero_at=enc with it, which takes the stream away altogether)."
        ),
        settings={
            "zero_at": "raw",
            "modality_dropout": False,
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
        """Return the untrained network.

        Raises:
            UsageError: ``zero_at`` is no such place.
        """
        zero_at = str(self.settings["zero_at"])
        if zero_at not in PLACES:
            raise UsageError(
                f"The 'zero_at' setting of early-fusion must be {', '.join(PLACES[:-1])} or "
                f"{PLACES[-1]}. Got '{zero_at}' instead. Give one: --set zero_at={PLACES[0]}"
            )
        return EarlyFusionNet(
            {task.symbols[m]: width for m, width in task.modalities.items()},
            cast(int, self.settings["layers"]),
            cast(int, self.settings["heads"]),
            cast(float, self.settings["dropout"]),
            zero_at,
        )

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Weighted MSE plus the diversity of the grade queries."""
        assert batch.score is not None
        net, keep = cast(EarlyFusionNet, self.net), steps_to_read(batch.valid)
        shown = self.shown(batch.available, generator)
        streams = {}
        for column, (m, features) in enumerate(batch.features.items()):
            symbol = self.task.symbols[m]
            streams[symbol] = net.encode_rows(symbol, features, shown[:, column], keep)
        task, alpha = (cast(float, self.settings[k]) for k in ("task_weight", "alpha"))
        return grade_loss(net.grade(streams, keep), batch.score, task, alpha)

    def shown(self, available: Tensor, generator: torch.Generator) -> Tensor:
        """Return what a training step shows of what is ``available``, both (B, M) bool."""
        return draw_shown(available, generator) if self.settings["modality_dropout"] else available

    def projections(self) -> Mapping[str, nn.Module]:
        """Return the streams' projections."""
        net = cast(EarlyFusionNet, self.net)
        return {m: net.in_proj[self.task.symbols[m]] for m in self.task.modalities}

    def encode(self, modality: str, features: Tensor, valid: Tensor) -> Tensor:
        """Project and encode one stream."""
        net = cast(EarlyFusionNet, self.net)
        return net.encode(self.task.symbols[modality], features, steps_to_read(valid))

    def score(self, encoded: Mapping[str, Tensor], available: Tensor, valid: Tensor) -> Tensor:
        """Put the filling where a stream is missing, fuse and grade."""
        net = cast(EarlyFusionNet, self.net)
        streams = {}
        for column, m in enumerate(self.task.modalities):
            rows, symbol = available[:, column, None, None], self.task.symbols[m]
            filling = net.filling(symbol).expand(*valid.shape, -1)  # (B, T, 256)
            streams[symbol] = torch.where(rows, encoded[m], filling) if m in encoded else filling
        return net.grade(streams, steps_to_read(valid)).score
