"""Grade queries read a sequence, and the score is the mean grade they vote for.

Source: GDLT (Xu et al., CVPR 2022): K learned queries are decoded against the sequence, query k
answers how much of grade k it sees, and the score is the normalised sum of grade values
(k−1)/(K−1), k = 1 … K.  The score lies in [0, 1].
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from aqabench.nn.transformer import Decoder, start_xavier

__all__ = ["GradeHead", "GradeRegressor", "Grades", "decode_grades"]


class Grades(NamedTuple):
    """What the head says of a batch."""

    score: Tensor  # (B,) in [0, 1]
    queries: Tensor  # (B, K, d), decoder outputs, for the diversity loss
    distribution: Tensor  # (B, K), sums to 1


class GradeRegressor(nn.Linear):
    """One linear read-out per grade query: the diagonal of a K×K head."""

    ranks: Tensor

    def __init__(self, width: int, queries: int) -> None:
        """Build the read-outs; the grade values are fixed and not part of the state dict."""
        super().__init__(width, queries)
        # Whole numbers, so that grades are exact in every float type the network is cast to.
        self.register_buffer("ranks", torch.arange(queries).float(), persistent=False)

    def read(self, decoded: Tensor) -> Grades:
        """Read scores from decoded queries (B, K, d)."""
        logits = (decoded * self.weight).sum(-1) + self.bias  # (B, K), s_k = <w_k, z_k> + c_k
        votes = torch.sigmoid(logits)
        share = votes / votes.sum(-1, keepdim=True)  # (B, K)
        grades = self.ranks / (len(self.ranks) - 1)  # (K,), 0 … 1
        return Grades((share * grades).sum(-1), decoded, share)


def decode_grades(
    queries: Tensor,
    decoder: Decoder,
    regressor: GradeRegressor,
    memory: Tensor,
    keep: Tensor | None = None,
) -> Grades:
    """Decode grade queries against a memory and read the score.

    Args:
        queries: (K, d) or (B, K, d), with a positional code where a method adds one.
        decoder: shared by all samples.
        regressor: one read-out per query.
        memory: (B, T, d), finite everywhere.
        keep: (B, T) bool, steps that may be read, or None for all.
    """
    start = queries.expand(len(memory), -1, -1)  # (B, K, d)
    return regressor.read(decoder(start, memory, keep))


class GradeHead(nn.Module):
    """Queries, decoder and read-outs in one module, for methods without published weights."""

    def __init__(
        self,
        queries: int = 4,
        layers: int = 3,
        width: int = 256,
        heads: int = 2,
        hidden: int = 768,
        dropout: float = 0.0,
    ) -> None:
        """Build the head; decoder matrices start Xavier-uniform."""
        super().__init__()
        self.prototype = nn.Embedding(queries, width)
        self.decoder = Decoder(layers, width, heads, hidden, dropout)
        self.regressor = GradeRegressor(width, queries)
        start_xavier(self.decoder)

    def forward(self, memory: Tensor, keep: Tensor | None = None) -> Grades:
        """Score a memory (B, T, d) read where ``keep`` (B, T) is True."""
        return decode_grades(self.prototype.weight, self.decoder, self.regressor, memory, keep)
