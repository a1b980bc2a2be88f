"""A network for one stream: projection, encoder and grade head, as incomplete-data methods have.

Alone it is the specialist for its stream; several side by side are late fusion.
"""

from __future__ import annotations

from torch import Tensor, nn

from aqabench.nn.grade_head import GradeHead, Grades
from aqabench.nn.projection import on_steps, stream_projection
from aqabench.nn.transformer import Encoder, start_xavier

__all__ = ["Specialist"]

WIDTH = 256
HIDDEN = 768


class Specialist(nn.Module):
    """Projection, encoder and grade head on one stream."""

    def __init__(self, width: int, layers: int = 3, heads: int = 2, dropout: float = 0.0) -> None:
        """Build for features of ``width`` channels."""
        super().__init__()
        self.in_proj = stream_projection(width, WIDTH)
        self.encoder = Encoder(layers, WIDTH, heads, HIDDEN, dropout)
        self.head = GradeHead(4, layers, WIDTH, heads, HIDDEN, dropout)
        start_xavier(self.encoder)

    def encode(self, features: Tensor, valid: Tensor) -> Tensor:
        """Encode (R, T, D) to (R, T, 256), reading valid steps (R, T) only."""
        keep = None if bool(valid.all()) else valid
        encoded: Tensor = self.encoder(on_steps(self.in_proj, features, keep), keep)
        return encoded

    def grade(self, memory: Tensor, valid: Tensor) -> Grades:
        """Decode grades from (R, T, 256)."""
        grades: Grades = self.head(memory, None if bool(valid.all()) else valid)
        return grades
