"""The core of the incomplete-data methods: projections, one encoder, fusion, grade head.

    memory = C([E(P_1(x_1)) ; … ; E(P_M(x_M))]),  score = grades(memory)

One projection P_m per stream, one encoder E for all, a fusion C of the concatenated channels and
the grade head.  Methods replace what stands between the encodings and the memory; the core itself
knows nothing of missing streams.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from aqabench.nn.grade_head import GradeHead, Grades
from aqabench.nn.projection import Projection, on_steps, stream_projection
from aqabench.nn.streams import PerStream
from aqabench.nn.transformer import Encoder, start_xavier

__all__ = ["WIDTH", "FusionCore", "steps_to_read"]

WIDTH = 256
HIDDEN = 768


class FusionCore(nn.Module):
    """Projections, a shared encoder, fusion by concatenation, grade head."""

    def __init__(self, widths: Mapping[str, int], layers: int, heads: int, dropout: float) -> None:
        """Build the untrained network.

        Args:
            widths: symbol of a stream -> D, in the order of every mask.
            layers: of the encoder and of the decoder.
            heads: of every attention.
            dropout: inside the Transformer layers.
        """
        super().__init__()
        self.in_proj = PerStream({m: stream_projection(d, WIDTH) for m, d in widths.items()})
        self.encoder = Encoder(layers, WIDTH, heads, HIDDEN, dropout)
        self.fusion = Projection(len(widths) * WIDTH, 2 * WIDTH, WIDTH)
        self.head = GradeHead(4, layers, WIDTH, heads, HIDDEN, dropout)
        start_xavier(self.encoder)

    def encode(self, modality: str, features: Tensor, keep: Tensor | None) -> Tensor:
        """Encode a stream (R, T, D) of samples that have it to (R, T, 256)."""
        encoded: Tensor = self.encoder(on_steps(self.in_proj[modality], features, keep), keep)
        return encoded

    def grade(self, streams: Mapping[str, Tensor], keep: Tensor | None) -> Grades:
        """Fuse encodings, each (B, T, 256), and decode grades."""
        joined = torch.cat([streams[m] for m in self.in_proj], -1)  # (B, T, M × 256)
        grades: Grades = self.head(on_steps(self.fusion, joined, keep), keep)
        return grades


def steps_to_read(valid: Tensor) -> Tensor | None:
    """Return (B, T) bool, the steps that exist, or None where all do."""
    return None if bool(valid.all()) else valid
