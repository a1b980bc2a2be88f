"""Attention with dropout on the CPU, where torch's fused kernel has none.

Queries, keys and values are read where the in-projection left them, and their gradients are written
side by side again: a matrix product for each head needs no copy in another layout, and those copies
cost as much as the products.  For the gradient stay the weights and a byte each for the dropout.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.amp import custom_bwd, custom_fwd

from aqabench.nn.dropout import draw_kept

__all__ = ["attend_with_dropout", "split_heads"]


def attend_with_dropout(
    packs: Sequence[Tensor], heads: int, keep: Tensor | None, p: float
) -> Tensor:
    """Return ``dropout(softmax(q kᵀ / √e)) v`` with the heads side by side.

    Args:
        packs: queries, keys and values side by side as one (B, T, 3d); or queries (B, Q, d) and
            keys and values (B, K, 2d).
        heads: number of heads, each of e = d / heads channels.
        keep: bool (B, K), True where a key may be read, at least one a row; None for all.
        p: share of the weights that is dropped, in (0, 1).

    Returns:
        (B, Q, d).
    """
    out: Tensor = _Core.apply(heads, keep, p, *packs)  # type: ignore[no-untyped-call]
    return out


def split_heads(packs: Sequence[Tensor], heads: int) -> list[Tensor]:
    """Return queries, keys and values of :func:`attend_with_dropout` as views, (B, n, h, e)."""
    width = sum(x.shape[-1] for x in packs) // 3
    return [
        view for x in packs for view in x.view(*x.shape[:2], -1, heads, width // heads).unbind(2)
    ]


class _Core(torch.autograd.Function):
    @staticmethod
    @custom_fwd(device_type="cpu")  # type: ignore[untyped-decorator]
    def forward(ctx: Any, heads: int, keep: Tensor | None, p: float, *packs: Tensor) -> Tensor:
        q, k, v = split_heads(packs, heads)
        with torch.autocast("cpu", enabled=False):
            logits = q.new_empty(heads, len(q), q.shape[1], k.shape[1])
            for h in range(heads):
                torch.bmm(q[:, :, h], k[:, :, h].transpose(1, 2), out=logits[h])
            logits *= q.shape[-1] ** -0.5
            if keep is not None:
                logits.masked_fill_(~keep[:, None], float("-inf"))
            weights = torch.softmax(logits, -1)  # (h, B, Q, K)
            kept, ctx.scale = draw_kept(weights, p)
            ctx.save_for_backward(weights, kept, *packs)
            dropped = logits.copy_(kept).mul_(ctx.scale).mul_(weights)
            out = q.new_empty(q.shape)
            for h in range(heads):
                torch.bmm(dropped[h], v[:, :, h], out=out[:, :, h])
        return out.flatten(2)

    @staticmethod
    @torch.autograd.function.once_differentiable
    @custom_bwd(device_type="cpu")  # type: ignore[untyped-decorator]
    def backward(  # type: ignore[override]
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor | None, ...]:
        weights, kept, *packs = ctx.saved_tensors
        heads = len(weights)
        q, k, v = split_heads(packs, heads)
        slopes = [x.new_empty(x.shape) for x in packs]  # not spread over shared memory as x may be
        to_q, to_k, to_v = split_heads(slopes, heads)
        arriving = gradient.reshape(*gradient.shape[:2], heads, -1)  # (B, Q, h, e)
        with torch.autocast("cpu", enabled=False):
            for h in range(heads):
                dropped = kept[h].to(weights.dtype).mul_(ctx.scale).mul_(weights[h])
                torch.bmm(dropped.transpose(1, 2), arriving[:, :, h], out=to_v[:, :, h])
                slope = torch.bmm(arriving[:, :, h], v[:, :, h].transpose(1, 2)).mul_(dropped)
                # softmax: w (g - sum of w g), where w g is at hand
                slope.addcmul_(weights[h], slope.sum(-1, keepdim=True), value=-1)
                slope *= q.shape[-1] ** -0.5
                torch.bmm(slope, k[:, :, h], out=to_q[:, :, h])
                torch.bmm(slope.transpose(1, 2), q[:, :, h], out=to_k[:, :, h])
        return None, None, None, *slopes
