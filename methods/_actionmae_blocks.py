"""The autoencoder of ActionMAE: pre-norm Transformer layers over the steps of all streams.

``actionmae.py`` says where the equations come from.  Nothing here knows of losses or of scores.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from aqabench.methods._mcmoe_blocks import sinusoid
from aqabench.nn.dropout import dropout, relu_dropout
from aqabench.nn.fusion import WIDTH
from aqabench.nn.projection import on_steps
from aqabench.nn.transformer import Attention, start_xavier

__all__ = ["TokenAutoencoder", "Written"]

MEMORY = 4
HEADS = 4
HIDDEN = 1024
DEPTH = 2


class PreNormLayer(nn.Module):
    """Norm, self-attention, add; norm, feed-forward, add."""

    def __init__(self, p: float) -> None:
        """Build one layer; ``p`` drops what is added, not attention: masking is noise enough."""
        super().__init__()
        self.p = p
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.self_attn = Attention(WIDTH, HEADS)
        self.linear1, self.linear2 = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH)

    def forward(self, x: Tensor, keep: Tensor | None, wanted: Tensor | None) -> Tensor:
        """Map (R, L, 256) to the same.

        Args:
            x: tokens.
            keep: (R, L) bool, what may be read, or None for all.
            wanted: (R, L) bool, what the caller will read of the result, or None for all; the
                feed-forward, two thirds of the work, is left out elsewhere.
        """
        read = self.norm1(x)
        x = x + dropout(self.self_attn(read, read, keep), self.p, self.training)
        return x + on_steps(self._feed_forward, x, wanted)

    def _feed_forward(self, rows: Tensor) -> Tensor:
        inner = relu_dropout(self.linear1(self.norm2(rows)), self.p, self.training)
        return dropout(self.linear2(inner), self.p, self.training)


class PreNormStack(nn.Module):
    """Two pre-norm layers and a final norm."""

    def __init__(self, p: float) -> None:
        """Build the stack; matrices start Xavier-uniform."""
        super().__init__()
        self.layers = nn.ModuleList(PreNormLayer(p) for _ in range(DEPTH))
        self.norm = nn.LayerNorm(WIDTH)
        start_xavier(self)

    def forward(self, x: Tensor, keep: Tensor | None, wanted: Tensor | None) -> Tensor:
        """Map (R, L, 256) to the same; other layers than the last one want what may be read."""
        *first, last = self.layers
        for layer in first:
            x = layer(x, keep, keep)
        return cast(Tensor, self.norm(last(x, keep, wanted)))


class Written(NamedTuple):
    """What the autoencoder makes of R samples, each (R, M, T, 256)."""

    streams: Tensor  # z, meaningless where a stream is shown and that is not asked for
    misread: Tensor  # the encoder's output from its first place on, memory tokens among it


class TokenAutoencoder(nn.Module):
    """Equations 2 and 3."""

    def __init__(self, streams: int, p: float, positions: bool, observed: bool) -> None:
        """Build for M streams; tokens start like a Transformer's embeddings, small.

        Args:
            streams: M.
            p: dropout.
            positions: add e_m and sine(t)?
            observed: is what is written of shown streams read, too?
        """
        super().__init__()
        self.positions = positions
        self.observed = observed
        self.memory = nn.Parameter(0.02 * torch.randn(MEMORY, WIDTH))  # μ
        self.mask = nn.Parameter(0.02 * torch.randn(WIDTH))  # τ
        self.stream = nn.Parameter(0.02 * torch.randn(streams, WIDTH))  # e_m
        self.encoder, self.decoder = PreNormStack(p), PreNormStack(p)
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, h: Tensor, shown: Tensor, valid: Tensor) -> Written:
        """Write all streams of R samples from those that are shown.

        Args:
            h: (R, M, T, 256), finite everywhere.
            shown: (R, M) bool.
            valid: (R, T) bool.
        """
        count, streams, steps, _ = h.shape
        code = h.new_zeros(streams, steps, WIDTH)
        if self.positions:
            code = self.stream[:, None] + sinusoid(steps, WIDTH).to(h)  # (M, T, 256)
        start = self.memory.expand(count, -1, -1).to(h.dtype)  # (R, 4, 256)
        real = valid[:, None].expand(-1, streams, -1)  # (R, M, T)
        x = torch.cat([start, (h + code).flatten(1, 2)], 1)  # (R, 4 + MT, 256)
        keys = _with_memory(real & shown[..., None])  # (R, 4 + MT)
        y = self.encoder(x, keys, keys)
        seen = y[:, MEMORY:].view(h.shape)
        filled = torch.where(shown[..., None, None], seen, (self.mask + code).to(seen.dtype))
        z = self.decoder(
            torch.cat([y[:, :MEMORY], filled.flatten(1, 2)], 1),
            None if bool(valid.all()) else _with_memory(real),
            _with_memory(real if self.observed else real & ~shown[..., None]),
        )
        return Written(
            self.out(z[:, MEMORY:]).view(h.shape), y[:, : streams * steps].reshape(h.shape)
        )


def _with_memory(keys: Tensor) -> Tensor:
    """Return (R, 4 + MT) bool: memory tokens, and what is to be read of (R, M, T)."""
    return functional.pad(keys.flatten(1), (MEMORY, 0), value=True)
