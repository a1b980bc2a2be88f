"""PAMFN as a network: one branch per stream and a mixed branch, for any streams.

Paper: Zeng, Zheng, *Multimodal Action Quality Assessment*, TIP 2024, arXiv 2402.09444.  The blocks
are in ``_pamfn_blocks.py``; how it is trained is in ``pamfn.py``.  Parameter names are those of
published state dicts, where streams are called r, f and a.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from aqabench.methods._pamfn_blocks import (
    COLDEST,
    WIDTH,
    Branch,
    Keep,
    MixedBlock,
    Policy,
    half_keep,
    hidden_zero,
    pool,
)
from aqabench.nn.batch_norm import normalise
from aqabench.nn.dropout import dropout
from aqabench.nn.projection import pointwise

__all__ = ["PAMFNNet", "PublishedPAMFN", "Sizes"]

HEAD_DROPOUT = 0.5
SHORTEST = 4
"""Steps of a pyramid whose third level has one."""


@dataclass(frozen=True)
class Sizes:
    """Numbers that the published configurations differ in, and released behaviours.

    Attributes:
        networks: K, fusion networks of a block.
        heads_specific: of the attention that reads streams.
        heads_cross: of the attention that reads fusion networks.
        head_reduction: the head has 256 / this hidden channels.
        head_dropout: before the head.
        branch_dropout: before the score of a branch.
        feature_dropout: on every level of a pyramid that the mixed branch reads.
        noisy_policy: Gumbel noise at test, too, so that scores differ from pass to pass (quirk 1).
        free_temperature: the learned temperature may fall to 0 and below (quirk 2).
    """

    networks: int = 6
    heads_specific: int = 1
    heads_cross: int = 1
    head_reduction: int = 2
    head_dropout: float = 0.0
    branch_dropout: float = 0.5
    feature_dropout: float = 0.5
    noisy_policy: bool = False
    free_temperature: bool = False


class PAMFNNet(nn.Module):
    """Branches and mixed branch for M streams of any width; a missing one leaves its softmaxes."""

    c: Tensor

    def __init__(self, widths: Mapping[str, int], sizes: Sizes) -> None:
        """Build the untrained network.

        Args:
            widths: symbol of a stream -> D, in the order of every mask.
            sizes: see there.
        """
        super().__init__()
        self.sizes, self.streams = sizes, tuple(widths)
        for m, width in widths.items():
            self.add_module(f"model_{m}", Branch(width, sizes.branch_dropout))
        heads = sizes.heads_specific, sizes.heads_cross
        self.c = nn.Parameter(torch.zeros(3 * WIDTH), requires_grad=False)  # initial state
        self.tau = nn.Parameter(torch.tensor(10.0))
        self.stage1 = MixedBlock(len(widths), sizes.networks, heads)
        self.stage2 = MixedBlock(len(widths), sizes.networks, heads)
        self.stage3 = MixedBlock(len(widths), sizes.networks, heads)
        hidden = WIDTH // sizes.head_reduction
        self.fc = nn.Sequential(
            nn.Dropout(sizes.head_dropout),
            nn.Conv1d(3 * WIDTH, hidden, 1),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Dropout(HEAD_DROPOUT),
            nn.Conv1d(hidden, 1, 1),
        )

    def branch(self, modality: str) -> Branch:
        """Return the branch of a stream."""
        branch = self.get_submodule(f"model_{modality}")
        assert isinstance(branch, Branch)
        return branch

    def read_alone(self, modality: str) -> nn.ModuleList:
        """Return what of the mixed branch only one stream passes through."""
        column = self.streams.index(modality)
        blocks = (self.stage1, self.stage2, self.stage3)
        return nn.ModuleList(block.f_fusion.proj1[column] for block in blocks)

    def encode(self, modality: str, features: Tensor, keep: Keep) -> Tensor:
        """Return the pyramid of a stream, its levels one after the other.

        Args:
            modality: symbol of the stream.
            features: (R, T, D) of samples that have it.
            keep: (R, T) bool, steps that exist, or None for all.

        Returns:
            (R, T + T // 2 + T // 4 + 1, 256), where T counts 4 at least.
        """
        steps = features.shape[1]
        features = functional.pad(features, (0, 0, 0, max(SHORTEST - steps, 0)))
        levels = self.branch(modality)(features, _levels(keep, len(features), steps))
        return torch.cat(levels, 1)

    def grade_alone(self, modality: str, encoded: Tensor) -> Tensor:
        """Return the branch's own scores (R,) from a pyramid as :meth:`encode` returns it."""
        scores: Tensor = self.branch(modality).grade(encoded[:, -1:])
        return scores

    def score(self, encoded: Mapping[str, Tensor], rows: Tensor, steps: int, keep: Keep) -> Tensor:
        """Score by the mixed branch.

        Args:
            encoded: stream -> (B, …, 256) from :meth:`encode`; anything in rows that do not have
                it.  A stream that no sample has may be absent.
            rows: (B, M) bool, at least one each.
            steps: T of the features.
            keep: (B, T) bool, steps that exist, or None for all.

        Returns:
            (B,) normalised scores.
        """
        keep0, keep1, keep2 = _levels(keep, len(rows), steps)
        steps = max(steps, SHORTEST)
        some = next(iter(encoded.values()))
        blank = some.new_zeros(some.shape)
        stacked = torch.stack(
            [
                torch.where(rows[:, i, None, None], encoded[m], 0.0) if m in encoded else blank
                for i, m in enumerate(self.streams)
            ],
            2,
        )  # (B, …, M, 256)
        stacked = dropout(stacked, self.sizes.feature_dropout, self.training)
        g = torch.split(stacked, [steps, steps // 2, steps // 4, 1], 1)
        policy = self._policy()
        state = self.c.expand(*g[1].shape[:2], -1)  # (B, T // 2, 768)
        state = self.stage1(hidden_zero(state, keep1), g[0], g[1], rows, (keep0, keep1), policy)
        state = pool(state, keep1, whole=False)  # (B, T // 4, 768)
        state = self.stage2(state, g[1], g[2], rows, (keep1, keep2), policy)
        state = pool(state, keep2, whole=True)  # (B, 1, 768)
        state = self.stage3(state, g[2], g[3], rows, (keep2,), policy)
        return self._grade(state[:, 0])

    def _policy(self) -> Policy:
        tau = self.tau if self.sizes.free_temperature else self.tau.clamp_min(COLDEST)
        return Policy(tau, noisy=self.training or self.sizes.noisy_policy)

    def _grade(self, x: Tensor) -> Tensor:
        drop, first, norm, _, again, last = self.fc
        assert isinstance(first, nn.Conv1d)
        assert isinstance(norm, nn.BatchNorm1d)
        assert isinstance(last, nn.Conv1d)
        hidden = torch.relu(normalise(norm, pointwise(first, drop(x))))  # (B, 256 / r)
        return torch.sigmoid(pointwise(last, again(hidden))).squeeze(-1)


class PublishedPAMFN(PAMFNNet):
    """The published inputs: RGB, flow and audio of whole videos, every step read."""

    def forward(self, rgb: Tensor, flow: Tensor, audio: Tensor) -> Tensor:
        """Score videos.

        Args:
            rgb: (B, T, D), or (B, T, n, D) of which the mean over n is read.
            flow: likewise.
            audio: likewise.

        Returns:
            (B,) normalised scores.
        """
        encoded = {}
        for m, given in zip(self.streams, (rgb, flow, audio), strict=True):
            x = torch.as_tensor(given, dtype=self.tau.dtype, device=self.tau.device)
            encoded[m] = self.encode(m, x.mean(2) if x.dim() == 4 else x, None)
        batch, steps = rgb.shape[:2]
        rows = self.tau.new_ones(batch, len(self.streams), dtype=torch.bool)
        return self.score(encoded, rows, steps, None)


def _levels(keep: Keep, batch: int, steps: int) -> tuple[Keep, Keep, Keep]:
    """Return which steps exist at the lengths T, T // 2 and T // 4, where T counts 4 at least."""
    lacking = SHORTEST - steps
    if lacking > 0:
        there = torch.ones(batch, steps, dtype=torch.bool) if keep is None else keep
        keep = functional.pad(there, (0, lacking))
    half = half_keep(keep)
    return keep, half, half_keep(half)
