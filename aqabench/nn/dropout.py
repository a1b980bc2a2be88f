"""Dropout with cheap random bits on the CPU.

On the CPU, drawing one Bernoulli number per element is a large part of a training step, so four
elements share one 64-bit draw.  Elsewhere the framework's own dropout is used.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["dropout"]

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
    dropped = round(p * _LEVELS)
    words = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(1 << 63), None)
    bits = words.view(torch.int16)[: x.numel()].view(x.shape)
    scale = (bits >= dropped - _LEVELS // 2).to(x.dtype).mul_(_LEVELS / (_LEVELS - dropped))
    return x * scale
