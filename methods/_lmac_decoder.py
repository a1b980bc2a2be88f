"""The query encoder of LMAC-Net: a stream's ordered queries read its features.

``lmac_net.py`` says where the equations come from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from aqabench.nn.dropout import dropout
from aqabench.nn.transformer import start_xavier

__all__ = ["ABSENT", "Choices", "Decoded", "StreamDecoder"]

FIRST_TEMPERATURE, LEAST_TEMPERATURE = 0.07, 1e-3
ABSENT = ("learned", "zeros")


@dataclass(frozen=True)
class Choices:
    """Sizes, and how the network fills in what the paper leaves open.

    Attributes:
        width: d; published 512.
        queries: K, moments per stream; published 5.
        layers: decoder layers of each stream; published 2.
        heads: of the self-attention; published 8.
        dropout: published 0.1 (RG), 0.2 (Fis-V).
        query_table_per_layer: each layer has queries of its own; else a stream's layers share.
        self_attention_in_first_only: queries meet in the first layer only, else in all.
        scale_by_width: attention logits are divided by d τ, else by τ.
        head_per_stage: K linear stage heads, else one for all stages.
        head_gain: factor on the head's first weights; by itself its bias starts at 0.5.
        absent: what stands for a stream that is not shown: ``learned``, a vector in place of its
            queries' states, or ``zeros``, features of zero.
    """

    width: int = 512
    queries: int = 5
    layers: int = 2
    heads: int = 8
    dropout: float = 0.1
    query_table_per_layer: bool = False
    self_attention_in_first_only: bool = False
    scale_by_width: bool = True
    head_per_stage: bool = False
    head_gain: float = 0.1
    absent: str = "learned"


class Decoded(NamedTuple):
    """What the queries of one stream found."""

    states: Tensor  # (R, K, d), p of the last layer
    attention: tuple[Tensor, ...]  # for each layer α (R, K, T), sums to 1 over T


class DecoderLayer(nn.Module):
    """One layer: queries read a stream's features, think, and look at each other."""

    def __init__(self, channels: int, choices: Choices, self_attention: bool) -> None:
        """Build for features of ``channels`` channels, with or without self-attention."""
        super().__init__()
        width = choices.width
        self.dropout = choices.dropout
        self.scale = width if choices.scale_by_width else 1
        self.key = nn.Linear(channels, width)
        self.value = nn.Linear(channels, width)
        self.temperature = nn.Parameter(torch.tensor(FIRST_TEMPERATURE))
        self.norm1 = nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, width)
        self.linear2 = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.self_attn: nn.MultiheadAttention | None = None
        if self_attention:
            self.self_attn = nn.MultiheadAttention(width, choices.heads, batch_first=True)
            self.norm3 = nn.LayerNorm(width)

    def forward(
        self, p: Tensor, queries: Tensor, x: Tensor, keep: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Read a stream.

        Args:
            p: (R, K, d) or (1, K, d), state of the layer before.
            queries: (K, d).
            x: (R, T, D), finite everywhere.
            keep: (R, T) bool, steps that may be read, or None for all.

        Returns:
            The next state (R, K, d) and the attention (R, K, T).
        """
        asked = (p + queries) @ self.key.weight  # (R, K, D), Eq. 4, and W_k of the keys
        # Eq. 6; the key bias adds the same to every step, which softmax does not see
        logits = asked @ x.transpose(1, 2)  # (R, K, T)
        logits = logits / (self.scale * self.temperature.clamp_min(LEAST_TEMPERATURE))
        if keep is not None:
            logits = logits.masked_fill(~keep[:, None], float("-inf"))
        alpha = torch.softmax(logits, -1)
        read = self.value(alpha @ x)  # (R, K, d), Σ α ν of Eq. 7, as Σ α = 1
        p = self.norm1(p + self._drop(read))  # Eq. 7
        hidden = self._drop(torch.relu(self.linear1(p)))
        p = self.norm2(p + self._drop(self.linear2(hidden)))
        if self.self_attn is not None:
            asking = p + queries
            met, _ = self.self_attn(asking, asking, p, need_weights=False)
            p = self.norm3(p + self._drop(met))
        return p, alpha

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.dropout, self.training)


class StreamDecoder(nn.Module):
    """The query encoder of one stream: K ordered queries and their layers."""

    def __init__(self, channels: int, choices: Choices) -> None:
        """Build for features of ``channels`` channels."""
        super().__init__()
        tables = choices.layers if choices.query_table_per_layer else 1
        self.queries = nn.Parameter(torch.randn(tables, choices.queries, choices.width))
        self.layers = nn.ModuleList(
            DecoderLayer(channels, choices, not (i and choices.self_attention_in_first_only))
            for i in range(choices.layers)
        )
        start_xavier(self.layers)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Decoded:
        """Find moments in features.

        Args:
            x: (R, T, D); anything, NaN included, where ``valid`` is False.
            valid: (R, T) bool, at least one True per row, or None for all.
        """
        keep = None if valid is None or bool(valid.all()) else valid
        if keep is not None:
            x = x.masked_fill(~keep[..., None], 0.0)
        tables = self.queries.expand(len(self.layers), -1, -1)  # (layers, K, d)
        p, attention = torch.zeros_like(tables[:1]), []
        for layer, queries in zip(self.layers, tables, strict=True):
            p, alpha = layer(p, queries, x, keep)
            attention.append(alpha)
        return Decoded(p, tuple(attention))
