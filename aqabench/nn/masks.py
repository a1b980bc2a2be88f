"""Which streams a training step shows.

Masks are drawn per sample and never show what a sample does not have.
"""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

__all__ = ["draw_shown", "subsets"]


def subsets(count: int) -> tuple[tuple[int, ...], ...]:
    """Return the non-empty subsets of ``count`` streams as masks of 0/1, small ones first."""
    return tuple(
        tuple(int(i in chosen) for i in range(count))
        for size in range(1, count + 1)
        for chosen in combinations(range(count), size)
    )


def draw_shown(
    available: Tensor, generator: torch.Generator, masks: tuple[tuple[int, ...], ...] | None = None
) -> Tensor:
    """Draw for every sample one of the masks that it can show, all equally likely.

    Args:
        available: (B, M) bool, at least one per row.
        generator: source of randomness, on the CPU.
        masks: what to draw from; by default every non-empty subset.

    Returns:
        (B, M) bool, no more than available.
    """
    table = torch.tensor(masks or subsets(available.shape[1]), dtype=torch.bool)  # (S, M)
    possible = ~(table[None] & ~available.cpu()[:, None]).any(-1)  # (B, S)
    ticket = torch.rand(possible.shape, generator=generator)
    return table[torch.where(possible, ticket, -1.0).argmax(1)].to(available.device)
