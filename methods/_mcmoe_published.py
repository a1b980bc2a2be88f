"""MCMoE for the three streams it was published with: video, audio and flow, in this order.

The layers and losses are those of ``_mcmoe_training.py``; here are the published signatures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from aqabench.methods._mcmoe_switches import Switches
from aqabench.methods._mcmoe_training import CompletionNet, LossWeights

MODALITIES = ("v", "a", "f")
"""Video, audio, flow: the order of every mask."""

PUBLISHED_MASKS = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1))
"""The six masks of published training, in the order in which one is drawn."""


class MCMoENet(CompletionNet):
    """The network on video, audio and flow, published or corrected by its switches."""

    def __init__(
        self,
        video_dim: int = 1024,
        audio_dim: int = 768,
        flow_dim: int = 1024,
        dropout: float = 0.3,
        switches: Switches | None = None,
        weights: LossWeights | None = None,
    ) -> None:
        """Build the untrained network.

        Args:
            video_dim: width of the video features; published 1024 (RG, Fis-V) or 768 (FS1000).
            audio_dim: published 768.
            flow_dim: published 1024.
            dropout: inside the Transformer; published 0.3.
            switches: the corrected form by default.
            weights: of the loss, see :class:`CompletionNet`.
        """
        widths = dict(zip(MODALITIES, (video_dim, audio_dim, flow_dim), strict=True))
        super().__init__(widths, dropout, switches, weights)

    def forward(
        self,
        video: Tensor | None,
        audio: Tensor | None,
        flow: Tensor | None,
        available: Tensor,
        valid: Tensor | None = None,
    ) -> Tensor:
        """Score samples, each with the modalities it has.

        Args:
            video: (B, T, D_v), tensor or array; anything, NaN included, where not available;
                None where no sample has it.
            audio: likewise, (B, T, 768).
            flow: likewise, (B, T, 1024).
            available: (B, 3) or (3,) bool or 0/1, at least one per row, in the order v, a, f.
            valid: (B, T) bool, False on padding; None for no padding.

        Returns:
            (B,) normalised scores.
        """
        return self.score_features(self._features(video, audio, flow), available, valid)

    def training_loss(
        self,
        video: Tensor,
        audio: Tensor,
        flow: Tensor,
        score: Tensor,
        mask: Sequence[int] | Tensor,
        alpha: float | None = None,
    ) -> dict[str, Tensor]:
        """Return the published training loss on complete samples under one mask.

        Args:
            video: (B, T, D_v).
            audio: (B, T, 768).
            flow: (B, T, 1024).
            score: (B,) normalised.
            mask: three of 0/1, what the step shows, in the order v, a, f.
            alpha: weight of the diversity term instead of the network's own.

        Returns:
            The weighted terms of :meth:`loss_terms` and their sum, ``total``.
        """
        features = self._features(video, audio, flow)
        target = torch.as_tensor(score).to(self.prototype.weight)
        everything = torch.ones(len(target), 3, dtype=torch.bool, device=target.device)
        shown = torch.as_tensor(mask, device=target.device).bool().expand_as(everything)
        weights = self.weights if alpha is None else replace(self.weights, diversity=alpha)
        terms = self.loss_terms(features, everything, shown, None, target, weights)
        return {**terms, "total": sum(terms.values(), start=target.new_zeros(()))}

    def _features(self, *streams: Tensor | None) -> dict[str, Tensor]:
        like = self.prototype.weight
        return {
            m: torch.as_tensor(x).to(like)
            for m, x in zip(MODALITIES, streams, strict=True)
            if x is not None
        }
