"""The two-layer stack that brings features of any width to the model's width, step by step.

It never mixes time steps.  Padding is left out with :func:`on_steps`, not with zeros, because
zeros would enter the batch statistics.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from aqabench.nn.batch_norm import normalise, normalise_by_running

__all__ = ["Projection", "on_steps", "pointwise", "stream_projection"]

_NARROWEST = 16
"""Fewest hidden channels: half of eight rectified ones would lose most of a stream of eight."""


def pointwise(conv: nn.Conv1d, x: Tensor) -> Tensor:
    """Apply a convolution of kernel size 1 to channels-last data as one matrix product.

    Args:
        conv: kernel size 1.
        x: (..., C_in).

    Returns:
        (..., C_out).
    """
    return functional.linear(x, conv.weight.squeeze(-1), conv.bias)


class Projection(nn.Sequential):
    """1×1 convolution, batch norm, ReLU, 1×1 convolution, batch norm.

    The layers carry the indices 0, 1, 3, 4 of published state dicts.  Source: GDLT (CVPR 2022)
    and its descendants; input projections and the fusion of MCMoE.
    """

    def __init__(self, width: int, hidden: int, out: int) -> None:
        """Build the stack ``width`` → ``hidden`` → ``out``."""
        super().__init__(
            nn.Conv1d(width, hidden, 1),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Conv1d(hidden, out, 1),
            nn.BatchNorm1d(out),
        )

    @property
    def first(self) -> nn.Conv1d:
        """The convolution that reads the input."""
        layer = self[0]
        assert isinstance(layer, nn.Conv1d)
        return layer

    def forward(self, x: Tensor) -> Tensor:
        """Project rows.

        Args:
            x: (N, width), time steps of all samples.

        Returns:
            (N, out).
        """
        return self.finish(pointwise(self.first, x))

    def by_running(self, x: Tensor) -> Tensor:
        """Project rows (N, width) that are no observations, in training as at test: (N, out).

        They are normalised by running statistics and move none.
        """
        _, norm_in, _, second, norm_out = self
        assert isinstance(norm_in, nn.BatchNorm1d)
        assert isinstance(norm_out, nn.BatchNorm1d)
        assert isinstance(second, nn.Conv1d)
        hidden = torch.relu(normalise_by_running(norm_in, pointwise(self.first, x)))  # (N, hidden)
        return normalise_by_running(norm_out, pointwise(second, hidden))  # (N, out)

    def finish(self, hidden: Tensor) -> Tensor:
        """Do what comes after the first convolution: (N, hidden) → (N, out)."""
        _, norm_in, _, second, norm_out = self
        assert isinstance(norm_in, nn.BatchNorm1d)
        assert isinstance(norm_out, nn.BatchNorm1d)
        assert isinstance(second, nn.Conv1d)
        x = torch.relu(normalise(norm_in, hidden))  # (N, hidden)
        return normalise(norm_out, pointwise(second, x))  # (N, out)


def stream_projection(width: int, out: int) -> Projection:
    """Return the published projection of a stream: half as many hidden channels as it has.

    Published streams have 768 channels or more.  Those narrower than 32, a few prosodic measures
    for example, get 16 hidden channels.
    """
    return Projection(width, max(width // 2, _NARROWEST), out)


def on_steps(function: Callable[[Tensor], Tensor], x: Tensor, keep: Tensor | None = None) -> Tensor:
    """Apply a function of rows to the kept time steps; the others become 0 and are never read.

    Args:
        function: (N, C) → (N, C').
        x: (B, T, C); anything, NaN included, where ``keep`` is False.
        keep: (B, T) bool, or None for all.

    Returns:
        (B, T, C').
    """
    if keep is None:
        return function(x.flatten(0, 1)).view(*x.shape[:2], -1)
    rows = function(x[keep])  # (N, C')
    out = rows.new_zeros(*x.shape[:2], rows.shape[-1])
    return out.index_put((keep,), rows)
