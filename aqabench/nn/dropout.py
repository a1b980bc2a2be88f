"""Dropout with cheap random bits on the CPU.

On the CPU, drawing one Bernoulli number per element is a large part of a training step, so four
elements share one 64-bit draw.  Elsewhere the framework's own dropout is used.  For its gradient a
layer keeps a byte for each element; a rectified one keeps nothing, because what was dropped is zero
in its output, like what was negative.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["draw_kept", "dropout", "relu_dropout"]

_LEVELS = 1 << 16


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Zero elements with probability ``p`` and scale the rest so that the mean stays.

    On the CPU ``p`` is rounded to a multiple of 2⁻¹⁶ and the scale follows the rounded value.

    Args:
        x: any shape.
        p: in [0, 1).
        training: False returns ``x``.
    """
    if not training or p == 0.0:
        return x
    if x.device.type != "cpu":
        return functional.dropout(x, p)
    out: Tensor = _Dropout.apply(x, p)  # type: ignore[no-untyped-call]
    return out


def relu_dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Rectify, then drop as :func:`dropout` does; keeps only its output for the gradient.

    Args:
        x: any shape.
        p: in [0, 1).
        training: False only rectifies.
    """
    if not training or p == 0.0:
        return torch.relu(x)
    if x.device.type != "cpu":
        return functional.dropout(torch.relu(x), p)
    out: Tensor = _ReluDropout.apply(x, p)  # type: ignore[no-untyped-call]
    return out


def draw_kept(x: Tensor, p: float) -> tuple[Tensor, float]:
    """Draw on the CPU which elements of ``x`` are kept, bool, and the scale of those."""
    dropped = round(p * _LEVELS)
    words = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(1 << 63), None)
    bits = words.view(torch.int16)[: x.numel()].view(x.shape)
    return bits >= dropped - _LEVELS // 2, _LEVELS / (_LEVELS - dropped)


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        kept, ctx.scale = draw_kept(x, p)
        ctx.save_for_backward(kept)
        return kept.to(x.dtype).mul_(ctx.scale).mul_(x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (kept,) = ctx.saved_tensors
        return kept.to(gradient.dtype).mul_(ctx.scale).mul_(gradient), None


class _ReluDropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        kept, ctx.scale = draw_kept(x, p)
        out = kept.to(x.dtype).mul_(ctx.scale).mul_(torch.relu(x))
        ctx.save_for_backward(out)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (out,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(gradient, out, 0).mul_(ctx.scale), None
