"""Loss terms that several methods use.  All are batch means of float tensors; none holds state."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from aqabench.nn.grade_head import Grades

__all__ = ["batch_hard_triplet", "grade_loss", "mean_over_steps"]


def grade_loss(grades: Grades, score: Tensor, task: float, diversity: float) -> dict[str, Tensor]:
    """Return the weighted squared error and the weighted diversity of the grade queries.

    Args:
        grades: of B samples.
        score: (B,) normalised targets.
        task: weight of the squared error.
        diversity: weight of :func:`batch_hard_triplet`.
    """
    return {
        "task": task * functional.mse_loss(grades.score, score),
        "diversity": diversity * batch_hard_triplet(grades.queries),
    }


def batch_hard_triplet(queries: Tensor, margin: float = 1.0) -> Tensor:
    """Push decoded grade queries of different grades apart over the whole batch.

    Each of the BK vectors is an anchor, labelled by its query index; cosine distance
    D = 1 − cos ∈ [0, 2]; per anchor relu(farthest of its label − nearest of another label +
    margin), averaged over anchors.  An anchor alone with its label has distance 0 to it.

    Args:
        queries: (B, K, d).
        margin: of the hinge.

    Returns:
        ().

    Source: the diversity loss of GDLT (CVPR 2022), kept by MCMoE, MLAVL and QGVL.
    """
    batch, count, _ = queries.shape
    unit = functional.normalize(queries.flatten(0, 1), dim=-1)  # (BK, d)
    distance = 1 - unit @ unit.T  # (BK, BK)
    label = torch.arange(count, device=queries.device).repeat(batch)
    same = label[:, None] == label[None, :]
    other = same & ~torch.eye(len(label), dtype=torch.bool, device=queries.device)
    farthest = torch.where(other, distance, 0.0).amax(1)
    nearest = (distance + same * distance.amax(1, keepdim=True)).amin(1)
    return torch.relu(farthest - nearest + margin).mean()


def mean_over_steps(x: Tensor, keep: Tensor | None) -> Tensor:
    """Average over the time steps that exist.

    Args:
        x: (B, T, C), finite everywhere.
        keep: (B, T) bool, at least one True per row, or None for all.

    Returns:
        (B, C).
    """
    if keep is None:
        return x.mean(1)
    weight = keep.to(x.dtype)
    return torch.bmm(weight[:, None], x).squeeze(1) / weight.sum(1, keepdim=True)
