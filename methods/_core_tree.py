"""The group-aware regression tree of contrastive regression: which interval, and where in it.

Source: Yu, Rao, Zhao, Lu, Zhou, *Group-aware Contrastive Regression for Action Quality Assessment*,
ICCV 2021.  Official repository: ``yuxumin/CoRe`` at ``f7881a9``; no licence seen.  Written from a
specification of it, no line is taken from it.

A pair of videos has a score difference Δ ∈ [−θ, θ].  Leaves are intervals of it, as many positive
as negative ones and mirrored; positive bounds are quantiles of |Δ| over training pairs, so that
each leaf is met equally often.  Node n of a level leads to nodes 2n and 2n + 1 of the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from aqabench.errors import CheckpointError
from aqabench.nn.checkpoint import as_tensors, load_weights

__all__ = ["Leaves", "RegressionTree", "bounds_of_groups", "decode", "load_official", "tree_loss"]

_MOST = 2000
"""Scores of which all pairs are looked at; of more of them, so many at equal ranks."""


class Leaves(NamedTuple):
    """What the tree says of N pairs."""

    log_probability: Tensor  # (N, L), of each leaf; the exponentials of a row sum to 1
    offset: Tensor  # (N, L), where in the leaf's interval: 0 its lower, 1 its upper bound


class RegressionTree(nn.Module):
    """A binary tree of small layers, each node with weights of its own."""

    def __init__(self, width: int = 2049, hidden: int = 256, depth: int = 5) -> None:
        """Build the untrained tree.

        Args:
            width: of a pair's vector: two of the videos' and the exemplar's score; published 2049.
            hidden: channels of each node; published 256.
            depth: levels of nodes; published 5, which makes 16 leaves.
        """
        super().__init__()
        nodes = [2**level for level in range(depth - 1)]
        self.first_layer = nn.Sequential(nn.Linear(width, hidden), nn.ReLU())
        self.feature_layers = nn.ModuleList(
            nn.Sequential(nn.Conv1d(n * hidden, 2 * n * hidden, 1, groups=n), nn.ReLU())
            for n in nodes
        )
        self.clf_layers = nn.ModuleList(nn.Conv1d(n * hidden, 2 * n, 1, groups=n) for n in nodes)
        leaves = 2 ** (depth - 1)
        self.reg_layer = nn.Conv1d(leaves * hidden, leaves, 1, groups=leaves)

    def forward(self, pairs: Tensor) -> Leaves:
        """Say in which interval the score difference of each pair lies, and where in it.

        Args:
            pairs: (N, width), [φ of the exemplar ; φ of the query ; the exemplar's score / θ];
                tensor or array of any float type.
        """
        first = self.reg_layer.weight
        given = torch.as_tensor(pairs, dtype=first.dtype, device=first.device)
        x = self.first_layer(given)[:, None]  # (N, 1, h), one node
        path = x.new_zeros(len(x), 1)  # (N, 1), log-probability of reaching each node
        for split, grow in zip(self.clf_layers, self.feature_layers, strict=True):
            branch = functional.log_softmax(_by_node(split, x), -1)  # (N, n, 2)
            path = (path[..., None] + branch).flatten(1)  # (N, 2n)
            x = torch.relu(_by_node(next(grow.children()), x))  # (N, n, 2h)
            x = x.reshape(len(x), path.shape[1], -1)  # (N, 2n, h)
        return Leaves(path, _by_node(self.reg_layer, x)[..., 0])


def _by_node(conv: nn.Module, x: Tensor) -> Tensor:
    """Apply a grouped convolution of kernel size 1 as one matrix product for each node.

    Args:
        conv: groups are nodes.
        x: (N, n, C).

    Returns:
        (N, n, channels of a node).
    """
    assert isinstance(conv, nn.Conv1d)
    assert conv.bias is not None
    nodes, width = x.shape[1:]
    weight = conv.weight.view(nodes, -1, width)  # (n, C', C)
    out = torch.bmm(x.transpose(0, 1), weight.transpose(1, 2)) + conv.bias.view(nodes, 1, -1)
    return out.transpose(0, 1)


def bounds_of_groups(scores: Tensor, leaves: int, theta: float = 1.0) -> Tensor:
    """Return the leaves' bounds, ascending: (leaves + 1,).

    Bounds at or above 0 are equal quantiles of |Δ| over all pairs, from 0 to θ; the others mirror
    them.

    Args:
        scores: (n,) of the training samples.
        leaves: even.
        theta: largest possible difference.
    """
    ranked = scores.sort().values
    if len(ranked) > _MOST:
        ranked = ranked[torch.linspace(0, len(ranked) - 1, _MOST).round().long()]
    row, column = torch.triu_indices(len(ranked), len(ranked), 1)
    apart = (ranked[column] - ranked[row]).sort().values  # (pairs,)
    half = leaves // 2
    upper = torch.linspace(0, theta, half + 1)  # of a single sample, which has no pairs
    if len(apart):
        at = torch.arange(1, half) * len(apart) // half
        upper[1:-1] = apart[at].clamp_max(theta)
    return torch.cat([-upper.flip(0), upper[1:]])


def place(difference: Tensor, bounds: Tensor) -> tuple[Tensor, Tensor]:
    """Return the leaf (N,) that holds each difference (N,), and where in it (N,).

    Intervals of Δ ≥ 0 are [l, r), those of Δ < 0 are (l, r]; what lies outside all belongs to the
    outermost.  The place is (Δ − l)/(r − l), or Δ − l in an interval without width.
    """
    half = len(bounds) // 2
    inner = bounds[half + 1 : -1].contiguous()  # (half − 1,), bounds between positive leaves
    group = torch.searchsorted(inner, difference.abs(), right=True)
    leaf = torch.where(difference >= 0, half + group, half - 1 - group)
    low, width = bounds[leaf], bounds[leaf + 1] - bounds[leaf]
    return leaf, (difference - low) / torch.where(width > 0, width, 1.0)


def tree_loss(said: Leaves, difference: Tensor, bounds: Tensor) -> dict[str, Tensor]:
    """Return the negative log-likelihood of the true leaf, and the error of its offset.

    The second is a mean of squares over the pairs of a leaf, summed over leaves, as published.

    Args:
        said: of N pairs.
        difference: (N,) score of the query minus that of the exemplar.
        bounds: of the leaves.
    """
    leaf, where = place(difference, bounds)
    error = (said.offset.gather(1, leaf[:, None])[:, 0] - where).square()  # (N,)
    count = torch.bincount(leaf, minlength=len(bounds) - 1).to(error)
    return {
        "leaf": functional.nll_loss(said.log_probability, leaf),
        "offset": (error / count[leaf]).sum(),
    }


def decode(said: Leaves, bounds: Tensor, expectation: bool = False) -> Tensor:
    """Return the score differences (N,): the place in the likeliest leaf, or the mean over all."""
    low, high = bounds[:-1], bounds[1:]
    each = low + (high - low) * said.offset  # (N, L)
    if expectation:
        return (said.log_probability.exp() * each).sum(-1)
    likeliest = said.log_probability.argmax(-1, keepdim=True)
    return each.gather(1, likeliest)[:, 0]


def load_official(state_dict: Mapping[str, Any]) -> RegressionTree:
    """Build the tree that official weights belong to; width and depth are read from them.

    Args:
        state_dict: names -> numpy arrays or tensors of the ``regressor`` part, with or without
            ``module.`` in front.

    Returns:
        The tree in evaluation mode: pairs (N, 2049) -> log-probabilities and offsets, (N, 16) each.

    Raises:
        CheckpointError: the names or shapes are not those of CoRe's tree.
    """
    weights = as_tensors(state_dict, "CoRe")
    first = weights.get("first_layer.0.weight")
    if first is None or first.dim() != 2:
        raise CheckpointError(
            "These are no weights of CoRe's regression tree: 'first_layer.0.weight' is missing or "
            f"no matrix among {len(weights)} names. Pass the state_dict of the regressor, e.g. "
            "checkpoint['regressor']."
        )
    levels = {name.split(".")[1] for name in weights if name.startswith("clf_layers.")}
    net = RegressionTree(first.shape[1], first.shape[0], len(levels) + 1)
    load_weights(net, weights, "CoRe's regression tree")
    return net.eval()
