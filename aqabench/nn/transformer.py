"""Post-norm Transformer layers under the names of published state dicts.

Attention takes an optional mask of the keys that exist.  Where few queries read a long sequence
(grade queries, a constant generator) the key and value maps are applied to the queries and to the
pooled values instead of to every time step: the same numbers for a fraction of the work.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from aqabench.nn.attention_core import attend_with_dropout, split_heads
from aqabench.nn.dropout import dropout, relu_dropout

__all__ = ["Attention", "Decoder", "Encoder", "EncoderDecoder", "start_xavier"]

_FEW = 64
"""Up to so many queries times heads, mapping the queries is cheaper than mapping the keys."""


class Attention(nn.Module):
    """Multi-head attention with packed in-projection, biases, and dropout on the weights.

    Parameters and their start values are those of ``nn.MultiheadAttention``.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        """Build for ``width`` channels split over ``heads`` heads."""
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, queries: Tensor, context: Tensor, keep: Tensor | None = None) -> Tensor:
        """Let queries read the context.

        Args:
            queries: (B, Q, d), or (1, Q, d) shared by all samples.
            context: (B, K, d), finite everywhere; the same object as ``queries`` for
                self-attention.
            keep: (B, K) bool, at least one True per row, or None for all.

        Returns:
            (B, Q, d).
        """
        if queries is context:
            packed = functional.linear(context, self.in_proj_weight, self.in_proj_bias)
            return self._attend((packed,), keep)
        if queries.shape[1] * self.heads <= _FEW:
            return self._attend_few(queries, context, keep)
        width = queries.shape[-1]
        w_q, w_kv = self.in_proj_weight.tensor_split((width,))
        b_q, b_kv = self.in_proj_bias.tensor_split((width,))
        q = functional.linear(queries, w_q, b_q).expand(len(context), -1, -1)
        return self._attend((q, functional.linear(context, w_kv, b_kv)), keep)

    def _attend(self, packs: tuple[Tensor, ...], keep: Tensor | None) -> Tensor:
        p = self.dropout if self.training else 0.0
        if p == 0.0 or packs[0].device.type != "cpu":
            q, k, v = (x.transpose(1, 2) for x in split_heads(packs, self.heads))  # (B, h, n, e)
            mask = None if keep is None else keep[:, None, None, :]  # (B, 1, 1, K)
            out = functional.scaled_dot_product_attention(q, k, v, mask, p)
            out = out.transpose(1, 2).flatten(2)
        else:  # there the fused kernel has no dropout, and its fallback draws costly masks
            out = attend_with_dropout(packs, self.heads, keep, p)
        joined: Tensor = self.out_proj(out)
        return joined

    def _attend_few(self, queries: Tensor, context: Tensor, keep: Tensor | None) -> Tensor:
        width, steps = queries.shape[-1], queries.shape[1]
        w_q, w_k, w_v = self.in_proj_weight.view(3, self.heads, -1, width)  # each (h, e, d)
        b_q, _, b_v = self.in_proj_bias.view(3, self.heads, -1)  # a key bias cancels in softmax
        q = torch.einsum("bqd,hed->bhqe", queries, w_q) + b_q[:, None]
        q = torch.einsum("bhqe,hed->bhqd", q * q.shape[-1] ** -0.5, w_k)
        q = q.flatten(1, 2).expand(len(context), -1, -1)  # (B, hQ, d)
        logits = torch.bmm(q, context.transpose(1, 2))  # (B, hQ, K)
        if keep is not None:
            logits = logits.masked_fill(~keep[:, None], float("-inf"))
        weights = dropout(torch.softmax(logits, -1), self.dropout, self.training)
        pooled = torch.bmm(weights, context).view(-1, self.heads, steps, width)  # (B, h, Q, d)
        total = weights.sum(-1).view(-1, self.heads, steps, 1)  # 1 without dropout
        out = torch.einsum("bhqd,hed->bhqe", pooled, w_v) + total * b_v[:, None]
        joined: Tensor = self.out_proj(out.transpose(1, 2).flatten(2))
        return joined


class _FeedForward(nn.Module):
    """What encoder and decoder layers share: the feed-forward part and residual dropout."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.linear1 = nn.Linear(width, hidden)
        self.linear2 = nn.Linear(hidden, width)

    def _residual(self, x: Tensor, change: Tensor) -> Tensor:
        return x + dropout(change, self.dropout, self.training)

    def _feed_forward(self, x: Tensor) -> Tensor:
        hidden = relu_dropout(self.linear1(x), self.dropout, self.training)
        out: Tensor = self.linear2(hidden)
        return out


class EncoderLayer(_FeedForward):
    """Self-attention, add, norm, feed-forward, add, norm."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        """Build one layer."""
        super().__init__(width, hidden, dropout)
        self.self_attn = Attention(width, heads, dropout)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """Map (B, T, d) to (B, T, d); ``keep`` (B, T) marks steps that exist."""
        x = self.norm1(self._residual(x, self.self_attn(x, x, keep)))
        out: Tensor = self.norm2(self._residual(x, self._feed_forward(x)))
        return out


class DecoderLayer(_FeedForward):
    """Self-attention over the queries, attention to a memory, feed-forward; a norm after each."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        """Build one layer."""
        super().__init__(width, hidden, dropout)
        self.self_attn = Attention(width, heads, dropout)
        self.multihead_attn = Attention(width, heads, dropout)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)

    def forward(self, queries: Tensor, memory: Tensor, keep: Tensor | None = None) -> Tensor:
        """Map queries (B, K, d) reading ``memory`` (B, T, d) to (B, K, d)."""
        x = self.norm1(self._residual(queries, self.self_attn(queries, queries)))
        x = self.norm2(self._residual(x, self.multihead_attn(x, memory, keep)))
        out: Tensor = self.norm3(self._residual(x, self._feed_forward(x)))
        return out


class Encoder(nn.Module):
    """A stack of encoder layers and a final norm."""

    def __init__(self, layers: int, width: int, heads: int, hidden: int, dropout: float) -> None:
        """Build the stack."""
        super().__init__()
        self.layers = nn.ModuleList(
            EncoderLayer(width, heads, hidden, dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """Encode sequences.

        Args:
            x: (B, T, d), finite everywhere.
            keep: (B, T) bool, steps that may be read, or None for all.

        Returns:
            (B, T, d); meaningless where ``keep`` is False.
        """
        for layer in self.layers:
            x = layer(x, keep)
        out: Tensor = self.norm(x)
        return out


class Decoder(nn.Module):
    """A stack of decoder layers and a final norm."""

    def __init__(self, layers: int, width: int, heads: int, hidden: int, dropout: float) -> None:
        """Build the stack."""
        super().__init__()
        self.layers = nn.ModuleList(
            DecoderLayer(width, heads, hidden, dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, queries: Tensor, memory: Tensor, keep: Tensor | None = None) -> Tensor:
        """Let queries (B, K, d) read ``memory`` (B, T, d) where ``keep`` (B, T); (B, K, d)."""
        for layer in self.layers:
            queries = layer(queries, memory, keep)
        out: Tensor = self.norm(queries)
        return out


class EncoderDecoder(nn.Module):
    """An encoder and a decoder whose matrices start Xavier-uniform, as in GDLT."""

    def __init__(
        self,
        encoder_layers: int,
        decoder_layers: int,
        width: int = 256,
        heads: int = 2,
        hidden: int = 768,
        dropout: float = 0.0,
    ) -> None:
        """Build both stacks; the packed in-projection counts as one matrix."""
        super().__init__()
        self.encoder = Encoder(encoder_layers, width, heads, hidden, dropout)
        self.decoder = Decoder(decoder_layers, width, heads, hidden, dropout)
        start_xavier(self)


def start_xavier(module: nn.Module) -> None:
    """Let all matrices of a module start Xavier-uniform, as in GDLT."""
    for parameter in module.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
