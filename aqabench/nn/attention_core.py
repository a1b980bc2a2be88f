"""Attention with dropout on the CPU that keeps neither its weights nor what it read.

Queries, keys, values and the (Q, K) maps of weights are the largest part of what a training step
holds.  Here they are computed again for the gradient, for a few percent of a step; what stays is
the input, which the sum around attention keeps anyway, and one byte for each weight, the dropout.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.amp import custom_bwd, custom_fwd
from torch.nn import functional

from aqabench.nn.dropout import draw_kept

__all__ = ["self_attend_with_dropout"]


def self_attend_with_dropout(
    x: Tensor, weight: Tensor, bias: Tensor, heads: int, mask: Tensor | None, p: float
) -> Tensor:
    """Return ``dropout(softmax(q kᵀ / √e)) v``, the packed ``q, k, v = weight x + bias``.

    Args:
        x: (B, T, d).
        weight: (3d, d).
        bias: (3d,).
        heads: h; e = d / h.
        mask: bool, True where a key may be read, broadcast to (B, h, T, T); None for all.
        p: share of the weights that is dropped, in (0, 1).

    Returns:
        (B, h, T, e).
    """
    out: Tensor = _Core.apply(x, weight, bias, heads, mask, p)  # type: ignore[no-untyped-call]
    return out


class _Core(torch.autograd.Function):
    @staticmethod
    @custom_fwd(device_type="cpu")  # type: ignore[untyped-decorator]
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        heads: int,
        mask: Tensor | None,
        p: float,
    ) -> Tensor:
        q, k, v = _read(x, weight, bias, heads)
        weights = _weights(q, k, mask)
        kept, ctx.scale = draw_kept(weights, p)
        ctx.heads = heads
        ctx.save_for_backward(x, weight, bias, mask, kept)
        return weights.mul_(kept).mul_(ctx.scale) @ v

    @staticmethod
    @torch.autograd.function.once_differentiable
    @custom_bwd(device_type="cpu")  # type: ignore[untyped-decorator]
    def backward(  # type: ignore[override]
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor | None, ...]:
        x, weight, bias, mask, kept = ctx.saved_tensors
        q, k, v = _read(x, weight, bias, ctx.heads)
        weights = _weights(q, k, mask)  # (B, h, T, T)
        factors = kept.to(weights.dtype).mul_(ctx.scale)
        slope = (gradient @ v.transpose(-1, -2)) * factors
        packed = torch.empty(*x.shape[:2], 3, *q.shape[1::2], dtype=q.dtype)  # (B, T, 3, h, e)
        to_q, to_k, to_v = packed.permute(2, 0, 3, 1, 4)  # each (B, h, T, e)
        to_v.copy_(factors.mul_(weights).transpose(-1, -2) @ gradient)
        # softmax: w (g - sum of w g)
        slope = weights * (slope - (weights * slope).sum(-1, keepdim=True))
        scale = q.shape[-1] ** -0.5
        to_q.copy_((slope @ k) * scale)
        to_k.copy_(slope.transpose(-1, -2) @ (q * scale))
        rows = packed.view(-1, len(weight))  # (B T, 3d)
        to_x = (rows @ weight).view(x.shape)
        to_weight = rows.t() @ x.reshape(len(rows), -1)
        return (
            to_x.to(x.dtype),
            to_weight.to(weight.dtype),
            rows.sum(0, dtype=bias.dtype),
            None,
            None,
            None,
        )


def _read(x: Tensor, weight: Tensor, bias: Tensor, heads: int) -> tuple[Tensor, ...]:
    packed = functional.linear(x, weight, bias).view(*x.shape[:2], 3, heads, -1)
    return packed.permute(2, 0, 3, 1, 4).unbind()  # each (B, h, T, e)


def _weights(q: Tensor, k: Tensor, mask: Tensor | None) -> Tensor:
    logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if mask is not None:
        logits = logits.masked_fill(~mask, float("-inf"))
    return torch.softmax(logits, -1)
