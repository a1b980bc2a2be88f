"""Batch normalisation of rows: steps that exist, and steps that stand for several equal ones.

``nn.BatchNorm1d`` keeps the parameters, so that weights keep their usual names; the functions here
normalise (N, C) rows, hand out the statistics they used, and update running statistics apart from
normalising.  One row has no spread: a training batch in which a single step of a single sample is
there is normalised by running statistics, and moves none.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Statistics", "normalise", "normalise_apart", "normalise_by_running", "track"]


class Statistics(NamedTuple):
    """What one batch said about each channel."""

    mean: Tensor  # (C,)
    variance: Tensor  # (C,), unbiased, as running statistics keep it


def normalise(norm: nn.BatchNorm1d, x: Tensor, repeats: Tensor | None = None) -> Tensor:
    """Normalise rows with batch statistics in training (and track them), else with running ones.

    Args:
        norm: parameters and running statistics.
        x: (N, C) rows, or (n, L, C) with ``repeats``.
        repeats: (L,) how many equal time steps each of the L steps stands for.  The result equals
            that of the repeated sequence.

    Returns:
        Same shape as ``x``.
    """
    out, statistics = normalise_apart(norm, x, repeats)
    if statistics is not None:
        track(norm, statistics)
    return out


def normalise_apart(
    norm: nn.BatchNorm1d, x: Tensor, repeats: Tensor | None = None
) -> tuple[Tensor, Statistics | None]:
    """Normalise like :func:`normalise`, but leave the running statistics to the caller."""
    rows = x.reshape(-1, x.shape[-1])
    if not norm.training or len(rows) == 1:
        return normalise_by_running(norm, rows).view(x.shape), None
    assert norm.running_mean is not None
    assert norm.running_var is not None
    if repeats is None:
        mean, variance = torch.zeros_like(norm.running_mean), torch.zeros_like(norm.running_var)
        # A momentum of 1 writes the statistics of this batch into the empty buffers.
        out = functional.batch_norm(
            rows, mean, variance, norm.weight, norm.bias, True, 1.0, norm.eps
        )
        return out.view(x.shape), Statistics(mean, variance)
    count = float(repeats.sum()) * len(x)
    share = (repeats.to(x.dtype) / count)[:, None]  # (L, 1)
    mean = (x * share).sum((0, 1))
    biased = ((x - mean).square() * share).sum((0, 1))
    out = (x - mean) * (torch.rsqrt(biased + norm.eps) * norm.weight) + norm.bias
    return out, Statistics(mean.detach(), biased.detach() * (count / (count - 1)))


def normalise_by_running(norm: nn.BatchNorm1d, x: Tensor) -> Tensor:
    """Normalise rows (N, C) by running statistics, whatever the mode; no statistics are moved."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    # copies, because other rows may move the statistics before the gradient is taken
    mean, variance = norm.running_mean.clone(), norm.running_var.clone()
    return functional.batch_norm(x, mean, variance, norm.weight, norm.bias, eps=norm.eps)


def track(norm: nn.BatchNorm1d, statistics: Statistics) -> None:
    """Move the running statistics towards those of one batch."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.momentum is not None
    assert norm.num_batches_tracked is not None
    with torch.no_grad():
        norm.num_batches_tracked.add_(1)
        norm.running_mean.lerp_(statistics.mean.to(norm.running_mean.dtype), norm.momentum)
        norm.running_var.lerp_(statistics.variance.to(norm.running_var.dtype), norm.momentum)
