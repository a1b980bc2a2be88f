"""Early fusion with a constant for what is missing: the core of the incomplete-data methods, bare.

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

``fill=mean`` puts the stream's average course over the training videos where ``raw`` puts zeros
(``bins`` parts of time, interpolated; one is the plain mean): what a feature file might hold that
was repaired without a thought.  Where features are standardised and ``bins`` is 1, that is zeros.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from aqabench.baselines._imputation import TrainingVideos
from aqabench.baselines.impute_mean import MeanImputer
from aqabench.data.batch import Batch, Split
from aqabench.errors import UsageError
from aqabench.method.base import Task, TorchMethod
from aqabench.method.card import MethodCard
from aqabench.nn.fusion import WIDTH, FusionCore, steps_to_read
from aqabench.nn.losses import grade_loss
from aqabench.nn.masks import draw_shown
from aqabench.nn.projection import Projection, on_steps

PLACES = ("raw", "proj", "enc")
FILLS = ("zero", "mean")


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
        out = self.stand_in(modality, features, keep)
        there = None if keep is None else keep[rows]
        if bool(rows.any()):
            projected = on_steps(self.in_proj[modality], features[rows], there)
            if self.zero_at == "enc":
                projected = self.encoder(projected, there)
            out = out.index_put((rows,), projected.to(out.dtype))
        if self.zero_at != "enc":
            out = self.encoder(out, keep)
        return out

    def stand_in(self, modality: str, like: Tensor, keep: Tensor | None) -> Tensor:
        """Return what stands for a missing stream where ``zero_at`` says: (B, T, 256).

        Args:
            modality: symbol of the stream.
            like: (B, T, D), whose shape and kind are taken.
            keep: (B, T) bool, steps that exist, or None for all.
        """
        return like.new_zeros(*like.shape[:2], WIDTH) + self.constant(modality)

    def filling(self, modality: str, valid: Tensor) -> Tensor:
        """Return what the fusion reads of a missing stream, for evaluation mode: (B, T, 256).

        Equal steps attend to equal steps: the encoder maps them as it maps one.

        Args:
            modality: symbol of the stream.
            valid: (B, T) bool.
        """
        start = self.constant(modality)
        if self.zero_at != "enc":
            start = self.encoder(start.view(1, 1, WIDTH)).view(WIDTH)
        return start.expand(*valid.shape, -1)

    def constant(self, modality: str) -> Tensor:
        """Return what stands for a missing stream where ``zero_at`` says, projected: (256,)."""
        blank = self.head.prototype.weight.new_zeros
        if self.zero_at != "raw":
            return blank(WIDTH)
        projection = cast(Projection, self.in_proj[modality])
        return projection.by_running(blank(1, projection.first.in_channels))[0]


class MeanFilledNet(EarlyFusionNet):
    """The core with each stream's average course in the place of a missing one."""

    def __init__(
        self,
        widths: Mapping[str, int],
        layers: int,
        heads: int,
        dropout: float,
        imputer: MeanImputer,
    ) -> None:
        """Build the untrained network; the imputer knows the streams by name, in the same order."""
        super().__init__(widths, layers, heads, dropout, "raw")
        self.imputer = imputer
        self.names = dict(zip(widths, imputer.widths, strict=True))

    def stand_in(self, modality: str, like: Tensor, keep: Tensor | None) -> Tensor:
        """Return the projected average course (B, T, 256), 0 on padding."""
        valid = keep
        if valid is None:
            valid = torch.ones(like.shape[:2], dtype=torch.bool, device=like.device)
        with torch.autocast(like.device.type, enabled=False):  # as everywhere that imputes
            course = self.imputer.impute(self.names[modality], {}, valid, None)  # (B, T, D)
        projection = cast(Projection, self.in_proj[modality])
        return on_steps(projection.by_running, course, keep)

    def filling(self, modality: str, valid: Tensor) -> Tensor:
        """Return the encoded average course (B, T, 256)."""
        keep = steps_to_read(valid)
        like = valid if keep is not None else valid[:1]  # of one length: of one course
        encoded: Tensor = self.encoder(self.stand_in(modality, like[..., None], keep), keep)
        return encoded.expand(len(valid), -1, -1)


class EarlyFusion(TorchMethod):
    """Concatenation of encoded streams, zeros or the mean for the missing ones."""

    card = MethodCard(
        name="early-fusion",
        title="Early fusion, zeros for missing",
        kind="baseline",
        summary=(
            "Streams are projected, encoded by one shared encoder, concatenated, fused and graded: "
            "the skeleton of the incomplete-data methods without any remedy."
        ),
        missing=(
            "Zeros at zero_at: raw (before the projection; fill=mean puts the average course over "
            "the training videos there), proj (after it) or enc (after the encoder), in training "
            "as at test. Training hides nothing of what there is; modality_dropout=true shows a "
            "random non-empty subset of it per sample (give zero_at=enc with it, which takes the "
            "stream away altogether)."
        ),
        settings={
            "zero_at": "raw",
            "fill": "zero",
            "bins": 20,
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
            UsageError: no such place or filling, a mean elsewhere than before the projection, or
                of no parts.
        """
        zero_at, fill = str(self.settings["zero_at"]), str(self.settings["fill"])
        bins = cast(int, self.settings["bins"])
        if zero_at not in PLACES:
            raise UsageError(
                f"The 'zero_at' setting of early-fusion must be {', '.join(PLACES[:-1])} or "
                f"{PLACES[-1]}. Got '{zero_at}' instead. Give one: --set zero_at={PLACES[0]}"
            )
        if fill not in FILLS:
            raise UsageError(
                f"The 'fill' setting of early-fusion must be {' or '.join(FILLS)}. "
                f"Got '{fill}' instead. Give one: --set fill={FILLS[0]}"
            )
        widths = {task.symbols[m]: width for m, width in task.modalities.items()}
        layers, heads = cast(int, self.settings["layers"]), cast(int, self.settings["heads"])
        dropout = cast(float, self.settings["dropout"])
        if fill == "zero":
            return EarlyFusionNet(widths, layers, heads, dropout, zero_at)
        if zero_at != "raw":
            raise UsageError(
                "Early fusion with fill=mean fills in features, before the projection. Got "
                f"zero_at={zero_at} instead. Leave it out: --set fill=mean --set zero_at=raw"
            )
        if bins < 1:
            raise UsageError(
                "The 'bins' setting of early-fusion must be at least 1. "
                f"Got {bins} instead. Give more: --set bins=20"
            )
        return MeanFilledNet(widths, layers, heads, dropout, MeanImputer(task.modalities, bins))

    def prepare(self, train: Split) -> None:
        """Average the streams' courses over the training videos, where they are filled in."""
        if isinstance(self.net, MeanFilledNet):
            self.net.imputer.fit(TrainingVideos(train, self.task.clip_length))
            self.net.imputer.to(self.net.head.prototype.weight.device)

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
            filling = net.filling(symbol, valid)  # (B, T, 256)
            streams[symbol] = torch.where(rows, encoded[m], filling) if m in encoded else filling
        return net.grade(streams, steps_to_read(valid)).score
