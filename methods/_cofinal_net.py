"""The network of CoFInAl, for ``cofinal.py``, where its equations are."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from aqabench.nn.grade_head import GradeRegressor
from aqabench.nn.losses import batch_hard_triplet
from aqabench.nn.projection import on_steps, stream_projection
from aqabench.nn.transformer import Attention, EncoderDecoder

QUERIES = 4
CLASSES = 100
FINE_HEADS = 4
_FINE_HIDDEN = 256

VALUES = (
    ((0.0, 1 / 3, 2 / 3, 1.0), (1.0, 2 / 3, 1 / 3, 0.0)),
    ((0.25, 0.5, 0.75, 1.0), (1.0, 0.75, 0.5, 0.25)),
    ((0.1, 0.2, 0.8, 1.0), (1.0, 1.0, -1.0, -1.0)),
    ((-1.0, -0.8, 0.8, 1.0), (1.0, 0.8, -0.8, -1.0)),
)
"""Grade values (ω, ω̄) of the two coarse heads, by the published number of the set."""


class Reading(NamedTuple):
    """What the heads read from decoded queries."""

    coarse: Tensor  # (B,) s
    reverse: Tensor  # (B,) s̄
    fine: Tensor  # (B, 100) f, unit length
    score: Tensor  # (B,)


def simplex(classes: int = CLASSES) -> Tensor:
    """Return the fixed simplex equiangular tight frame of Eq. 4: (C, C), a class in each column.

    The rotation comes from numpy's old generator with seed 0, as published.
    """
    drawn = np.random.RandomState(0).random_sample((classes, classes))
    rotation = torch.from_numpy(np.linalg.qr(drawn)[0])  # (C, C), float64
    centred = torch.eye(classes, dtype=rotation.dtype) - 1 / classes
    frame: Tensor = (classes / (classes - 1)) ** 0.5 * rotation @ centred
    return frame.float()


class CoFInAlNet(nn.Module):
    """The published network, for one modality of any width."""

    etf_vec1: Tensor
    values: Tensor

    def __init__(
        self,
        width: int = 1024,
        inner: int = 256,
        encoder_layers: int = 1,
        decoder_layers: int = 2,
        heads: int = 1,
        dropout: float = 0.0,
        values: int = 3,
        mix_samples: bool = False,
        argmax_over_batch: bool = False,
    ) -> None:
        """Build the untrained network.

        Args:
            width: D of the features.
            inner: d of the Transformer; published 256.
            encoder_layers: published 1.
            decoder_layers: published 2.
            heads: of the backbone's attention; published 1.
            dropout: in the Transformer and in the fine head's attention; published 0.3.
            values: which of ``VALUES``.
            mix_samples: let the fine head attend to the batch's other samples, as released.
            argmax_over_batch: take the fine class of all samples from the batch, as released.
        """
        super().__init__()
        self.in_proj = stream_projection(width, inner)
        self.transformer = EncoderDecoder(
            encoder_layers, decoder_layers, inner, heads, 3 * inner, dropout
        )
        self.prototype = nn.Embedding(QUERIES, inner)
        self.regressor = GradeRegressor(inner, QUERIES)
        self.regressor_revert = GradeRegressor(inner, QUERIES)
        self.regi = nn.ModuleList([Attention(inner, FINE_HEADS, dropout)])
        self.regressori = nn.ModuleList(
            [
                nn.Sequential(
                    nn.Flatten(),
                    nn.Linear(QUERIES * inner, _FINE_HIDDEN),
                    nn.Linear(_FINE_HIDDEN, CLASSES),
                )
            ]
        )
        self.register_buffer("etf_vec1", simplex())
        self.register_buffer("values", torch.tensor(VALUES[values]), persistent=False)  # (2, K)
        self.mix_samples = mix_samples
        self.argmax_over_batch = argmax_over_batch

    def decode(self, video: Tensor, valid: Tensor | None = None) -> Tensor:
        """Decode the grade queries against clips (Eq. 1).

        Args:
            video: (B, T, D); anything where ``valid`` is False.
            valid: (B, T) bool; None reads every step, as published.

        Returns:
            (B, K, d), Z.
        """
        keep = None if valid is None or bool(valid.all()) else valid
        memory = self.transformer.encoder(on_steps(self.in_proj, video, keep), keep)  # (B, T, d)
        start = self.prototype.weight.expand(len(memory), -1, -1)  # (B, K, d)
        decoded: Tensor = self.transformer.decoder(start, memory, keep)
        return decoded

    def read(self, decoded: Tensor) -> Reading:
        """Read both coarse heads and the fine one from decoded queries (B, K, d)."""
        pairs = zip((self.regressor, self.regressor_revert), self.values, strict=True)
        coarse, reverse = ((head.read(decoded).distribution * w).sum(-1) for head, w in pairs)
        context = decoded.transpose(0, 1) if self.mix_samples else decoded
        attended = self.regi[0](context, context)  # over K queries, or over B samples
        if self.mix_samples:
            attended = attended.transpose(0, 1)
        fine = functional.normalize(self.regressori[0](attended), dim=-1)  # Eq. 3
        match = fine @ self.etf_vec1  # (B, 100)
        chosen = match.argmax() if self.argmax_over_batch else match.argmax(-1)
        score = (coarse + 1 - reverse) / 2 + chosen / CLASSES**2  # Eq. 7
        return Reading(coarse, reverse, fine, score)

    def forward(self, video: Tensor, valid: Tensor | None = None) -> Tensor:
        """Score videos.

        Args:
            video: (B, T, D), tensor or array of any float type.
            valid: (B, T) bool, False on padding; None reads every step, as published.

        Returns:
            (B,) normalised scores.
        """
        weight = self.prototype.weight
        clips = torch.as_tensor(video, dtype=weight.dtype, device=weight.device)
        return self.read(self.decode(clips, valid)).score

    def loss_terms(
        self,
        video: Tensor,
        score: Tensor,
        valid: Tensor | None = None,
        alpha: float = 1.0,
        labels_per_sample: bool = False,
        truncate_classes: bool = False,
    ) -> dict[str, Tensor]:
        """Return the weighted loss terms of Eq. 6; their sum is minimised.

        Args:
            video: (B, T, D).
            score: (B,) normalised.
            valid: (B, T) bool or None, as in :meth:`forward`.
            alpha: weight of the triplet term.
            labels_per_sample: give every decoded query a label of its own, so that none pull
                together (published triplet mode 2); else queries of one index share a label.
            truncate_classes: cut 10⁴ y off instead of rounding it, as released.
        """
        decoded = self.decode(video, valid)
        found = self.read(decoded)
        coarse, label = fine_labels(score, truncate_classes)
        apart = decoded.flatten(0, 1)[None] if labels_per_sample else decoded
        return {
            "coarse": functional.mse_loss(found.coarse, coarse),
            "reverse": functional.mse_loss(found.reverse, 1 - coarse),
            "fine": functional.l1_loss(found.fine, self.etf_vec1.T[label]),
            "diversity": alpha * batch_hard_triplet(apart),
        }


def fine_labels(score: Tensor, truncate: bool) -> tuple[Tensor, Tensor]:
    """Split normalised scores (B,) into coarse targets (B,) and fine classes (B,) (Eq. 5)."""
    scaled = score * CLASSES**2
    n = (scaled.trunc() if truncate else scaled.round()).long()
    return torch.div(n, CLASSES, rounding_mode="floor").to(score.dtype) / CLASSES, n % CLASSES
