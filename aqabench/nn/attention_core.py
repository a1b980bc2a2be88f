"""Attention with dropout on the CPU that keeps no map of weights for its gradient.

The (T, T) maps are a large part of what a training step holds.  Here they are computed again from
queries and keys, for a percent of a step; what stays is one byte for each weight, the dropout.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.amp import custom_bwd, custom_fwd

from aqabench.nn.dropout import draw_kept

__all__ = ["attend_with_dropout"]


def attend_with_dropout(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, p: float) -> Tensor:
    """Return ``dropout(softmax(q kᵀ / √e)) v``.

    Args:
        q: (B, h, Q, e).
        k: (B, h, K, e).
        v: (B, h, K, e).
        mask: bool, True where a key may be read, broadcast to (B, h, Q, K); None for all.
        p: share of the weights that is dropped, in (0, 1).

    Returns:
        (B, h, Q, e).
    """
    out: Tensor = _Core.apply(q, k, v, mask, p)  # type: ignore[no-untyped-call]
    return out


class _Core(torch.autograd.Function):
    @staticmethod
    @custom_fwd(device_type="cpu")  # type: ignore[untyped-decorator]
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, p: float) -> Tensor:
        weights = _weights(q, k, mask)
        kept, ctx.scale = draw_kept(weights, p)
        ctx.save_for_backward(q, k, v, mask, kept)
        return weights.mul_(kept).mul_(ctx.scale) @ v

    @staticmethod
    @torch.autograd.function.once_differentiable
    @custom_bwd(device_type="cpu")  # type: ignore[untyped-decorator]
    def backward(  # type: ignore[override]
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor | None, ...]:
        q, k, v, mask, kept = ctx.saved_tensors
        weights = _weights(q, k, mask)  # (B, h, Q, K)
        factors = kept.to(weights.dtype).mul_(ctx.scale)
        slope = (gradient @ v.transpose(-1, -2)) * factors
        to_v = factors.mul_(weights).transpose(-1, -2) @ gradient
        # softmax: w (g - sum of w g)
        slope = weights * (slope - (weights * slope).sum(-1, keepdim=True))
        scale = q.shape[-1] ** -0.5
        to_q, to_k = (slope @ k) * scale, slope.transpose(-1, -2) @ (q * scale)
        return to_q.to(q.dtype), to_k.to(k.dtype), to_v.to(v.dtype), None, None


def _weights(q: Tensor, k: Tensor, mask: Tensor | None) -> Tensor:
    logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if mask is not None:
        logits = logits.masked_fill(~mask, float("-inf"))
    return torch.softmax(logits, -1)
