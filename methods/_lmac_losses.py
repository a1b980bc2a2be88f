"""The losses of LMAC-Net: where its attention should look, in which order, and together.

``lmac_net.py`` says where the equations come from and has the network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["LossWeights", "Places", "attention_terms", "centres", "places", "score_term"]

POSITIONS = ("batch", "valid", "clips")
LAYERS = ("last", "all")


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms and what they measure; none of it is visible in the paper.

    Attributes:
        lambda1: λ₁, of the squared error.
        lambda2: λ₂, of the three attention terms together.
        rank: of L_rank inside them.
        sparse: of L_sparse inside them.
        consistency: of L_cons inside them.
        margin: d, between neighbouring centres and to both ends, in the unit of ``positions``.
        positions: a clip's place is its number over the batch's length (``batch``), over the
            video's own valid length (``valid``), or its number (``clips``).
        consistency_layers: whose centres L_cons compares, ``last`` or ``all``.
    """

    lambda1: float = 1.0
    lambda2: float = 1.0
    rank: float = 1.0
    sparse: float = 0.05
    consistency: float = 1.0
    margin: float = 0.16
    positions: str = "batch"
    consistency_layers: str = "last"


@dataclass(frozen=True)
class Places:
    """Where clips are.

    Attributes:
        at: (B, T) place of each clip.
        first: (B,) place of the first clip.
        last: (B,) place of the last clip.
    """

    at: Tensor
    first: Tensor
    last: Tensor

    def of(self, rows: Tensor) -> Places:
        """Return those of some samples; ``rows`` (B,) bool."""
        return Places(self.at[rows], self.first[rows], self.last[rows])


def places(valid: Tensor, positions: str) -> Places:
    """Number clips from 1 and divide by what ``positions`` says; ``valid`` is (B, T)."""
    batch, steps = valid.shape
    number = torch.arange(1, steps + 1, device=valid.device).float().expand(batch, -1)  # (B, T)
    length = number[:, -1] if positions != "valid" else valid.sum(1).float()  # (B,)
    unit = torch.ones_like(length) if positions == "clips" else length
    return Places(number / unit[:, None], 1 / unit, length / unit)


def centres(attention: Tensor, at: Tensor) -> Tensor:
    """Return the attention centres c_k = Σ_t t α_kt, (R, K), of attention (R, K, T) at (R, T)."""
    return (attention * at[:, None]).sum(-1)


def score_term(predicted: Tensor, score: Tensor, weights: LossWeights) -> Tensor:
    """Return λ₁ L_score, the squared error of normalised scores (B,).  Source: Eq. 11 to 13."""
    return weights.lambda1 * functional.mse_loss(predicted, score)


def attention_terms(
    attention: Mapping[str, Sequence[Tensor]],
    shown: Mapping[str, Tensor],
    where: Places,
    weights: LossWeights,
) -> dict[str, Tensor]:
    """Return the weighted terms of λ₂ (L_rank + L_sparse + L_cons).

    Each is a mean over the samples that show what it compares, summed over streams (pairs of
    streams) and layers; a stream that a sample does not show enters none of them.

    Args:
        attention: stream -> for each layer α (R, K, T) of the R samples that show it.
        shown: stream -> (B,) bool, which samples these are; every one has at least one True.
        where: places of the B samples' clips.
        weights: of the terms.

    Returns:
        ``rank``, ``sparse`` and ``consistency``, each ().

    Source: Eq. 11 to 13 (sum), 15 (rank), 16 (sparsity), 17 (consistency).
    """
    zero = where.at.new_zeros(())
    rank, sparse, consistency = zero, zero, zero
    compared: dict[str, list[Tensor]] = {}  # stream -> for each compared layer (B, K)
    for stream, layers in attention.items():
        rows = shown[stream]
        own = where.of(rows)
        found = [centres(alpha, own.at) for alpha in layers]  # each (R, K)
        for alpha, c in zip(layers, found, strict=True):
            rank = rank + _rank(c, own, weights.margin)
            sparse = sparse + _sparse(alpha, c, own.at)
        kept = found[-1:] if weights.consistency_layers == "last" else found
        compared[stream] = [c.new_zeros(len(rows), c.shape[1]).index_put((rows,), c) for c in kept]
    for one, other in combinations(compared, 2):
        both = shown[one] & shown[other]  # (B,)
        for c, e in zip(compared[one], compared[other], strict=True):
            apart = (c - e).square().sum(1)  # (B,), Σ_k (c_k^i − c_k^j)²
            consistency = consistency + (apart * both).sum() / both.sum().clamp_min(1)  # Eq. 17
    scale = weights.lambda2
    return {
        "rank": scale * weights.rank * rank,
        "sparse": scale * weights.sparse * sparse,
        "consistency": scale * weights.consistency * consistency,
    }


def _rank(c: Tensor, where: Places, margin: float) -> Tensor:
    """Return the hinge on the order of centres (R, K) and on both ends.  Source: Eq. 15.

    Where the margin exceeds (T − 1) / ((K + 1) T) not all hinges can rest at once; those that are
    active then cancel in the gradient, because the sum telescopes.
    """
    beyond = [c[:, k] - c[:, j] for k, j in pairwise(range(c.shape[1]))]
    beyond += [where.first - c[:, 0], c[:, -1] - where.last]
    return torch.relu(torch.stack(beyond, 1) + margin).mean(0).sum()


def _sparse(alpha: Tensor, c: Tensor, at: Tensor) -> Tensor:
    """Return the mean distance of attention (R, K, T) from its centre (R, K).  Source: Eq. 16."""
    distance = (at[:, None] - c[..., None]).abs()  # (R, K, T)
    return (distance * alpha).sum(-1).mean()
