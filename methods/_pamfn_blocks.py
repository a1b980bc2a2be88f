"""The blocks of PAMFN: a pyramid of one stream, and a block of the mixed branch.

Paper: Zeng, Zheng, *Multimodal Action Quality Assessment*, TIP 2024, arXiv 2402.09444.  Step
numbers 1 to 4 below are those of a block of its mixed branch.

Time stands before channels.  Steps that do not exist are zeros, as a convolution's border is, and
enter no batch statistics; they are averaged by no pooling.  Parameter names are the published ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from aqabench.nn.batch_norm import normalise
from aqabench.nn.dropout import dropout, relu_dropout
from aqabench.nn.losses import mean_over_steps
from aqabench.nn.projection import Projection, on_steps, pointwise

__all__ = ["Branch", "Keep", "MixedBlock", "half_keep", "hidden_zero", "pool"]

WIDTH = 256
HIDDEN = 512
EMBEDDING_DROPOUT, ATTENTION_DROPOUT = 0.3, 0.1  # fixed in every published configuration
BLOCKED = -1e9
"""What the policy adds to the logit of a fusion network that it leaves out."""
COLDEST = 0.1
"""Least temperature of the policy; at 0 and below it would prefer what it likes least."""

Keep = Tensor | None
"""(B, T) bool, steps that exist, or None for all."""


def half_keep(keep: Keep) -> Keep:
    """Return which steps (B, T // 2) exist after averaging pairs.

    As published, a last step without a partner is dropped; but the first step of a video always
    stays, so that one shorter than four steps has a score.
    """
    if keep is None:
        return None
    even = keep.shape[1] // 2 * 2
    pairs = keep[:, :even].reshape(len(keep), -1, 2).all(-1)  # (B, T // 2)
    return torch.cat([keep[:, :1], pairs[:, 1:]], 1)


def hidden_zero(x: Tensor, keep: Keep) -> Tensor:
    """Put zeros where steps of (B, T, …) do not exist."""
    if keep is None:
        return x
    return torch.where(keep.view(*keep.shape, *(1,) * (x.dim() - 2)), x, 0.0)


def pool(x: Tensor, keep: Keep, whole: bool) -> Tensor:
    """Average pairs of steps, or all steps.

    Args:
        x: (B, T, C), zeros where steps do not exist.
        keep: (B, T).
        whole: over all steps; else in pairs.

    Returns:
        (B, 1, C) or (B, T // 2, C), zeros where pairs do not exist.
    """
    if whole:
        return mean_over_steps(x, keep)[:, None]
    even = x.shape[1] // 2 * 2
    pairs = x[:, :even].reshape(len(x), -1, 2, x.shape[-1])  # (B, T // 2, 2, C)
    if keep is None:
        return pairs.mean(2)
    count = keep[:, :even].reshape(len(keep), -1, 2).sum(-1, keepdim=True)  # (B, T // 2, 1)
    return hidden_zero(pairs.sum(2) / count.clamp_min(1), half_keep(keep))


def _layer(layers: nn.Sequential, at: int, x: Tensor, keep: Keep) -> Tensor:
    """Apply the convolution ``at`` and the batch norm behind it to the steps that exist."""
    conv, norm = layers[at], layers[at + 1]
    assert isinstance(conv, nn.Conv1d)
    assert isinstance(norm, nn.BatchNorm1d)
    if conv.kernel_size == (3,):
        x = functional.pad(x, (0, 0, 1, 1)).unfold(1, 3, 1).flatten(2)  # (B, T, 3C)
    weight = conv.weight.flatten(1)
    return on_steps(
        lambda rows: normalise(norm, functional.linear(rows, weight, conv.bias)), x, keep
    )


def _twice(layers: nn.Sequential, x: Tensor, keep: Keep) -> Tensor:
    """Conv3, BN, ReLU, Conv3, BN, ReLU: (B, T, C) → (B, T, 256)."""
    return torch.relu(_layer(layers, 3, torch.relu(_layer(layers, 0, x, keep)), keep))


def _conv3(width: int) -> nn.Conv1d:
    return nn.Conv1d(width, WIDTH, 3, padding=1)


def _two_convolutions(width: int) -> nn.Sequential:
    return nn.Sequential(
        _conv3(width), nn.BatchNorm1d(WIDTH), nn.ReLU(), _conv3(WIDTH), nn.BatchNorm1d(WIDTH)
    )


class _Residual(nn.Module):
    """x + GELU(BN(Conv3(GELU(BN(Conv3 x)))))."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(_conv3(WIDTH), nn.BatchNorm1d(WIDTH))
        self.conv2 = nn.Sequential(_conv3(WIDTH), nn.BatchNorm1d(WIDTH))

    def forward(self, x: Tensor, keep: Keep) -> Tensor:
        inner = functional.gelu(_layer(self.conv1, 0, x, keep))
        return x + functional.gelu(_layer(self.conv2, 0, inner, keep))


class Branch(nn.Module):
    """The network of one stream: four levels, each half as long as the one before, and a score."""

    def __init__(self, width: int, dropout: float) -> None:
        """Build for D channels; ``dropout`` before the score."""
        super().__init__()
        self.embedding = Projection(width, HIDDEN, WIDTH)
        self.stage1, self.stage2, self.stage3 = _Residual(), _Residual(), _Residual()
        self.fc = nn.Sequential(nn.Dropout(dropout), nn.Conv1d(WIDTH, 1, 1))

    def forward(self, x: Tensor, keeps: Sequence[Keep]) -> tuple[Tensor, ...]:
        """Return the pyramid of a stream.

        Args:
            x: (B, T, D), T ≥ 4; anything where steps do not exist.
            keeps: of the lengths T, T // 2 and T // 4.

        Returns:
            g₀ (B, T, 256), g₁ (B, T // 2, 256), g₂ (B, T // 4, 256), g₃ (B, 1, 256).
        """
        embedded = on_steps(self.embedding, x, keeps[0])
        levels = [relu_dropout(embedded, EMBEDDING_DROPOUT, self.training)]
        for keep, stage in zip(keeps, (self.stage1, self.stage2, self.stage3), strict=True):
            levels.append(pool(stage(levels[-1], keep), keep, whole=stage is self.stage3))
        return tuple(levels)

    def grade(self, top: Tensor) -> Tensor:
        """Return (B,) from g₃ (B, 1, 256)."""
        drop, conv = self.fc
        assert isinstance(conv, nn.Conv1d)
        return torch.sigmoid(pointwise(conv, drop(top))).flatten()


class Dissimilar(nn.Module):
    """One query per step reads a few tokens, and prefers those that are least like it.

    Softmax(−QKᵀ/√d) V; no output projection, residual or norm.  The norm of published state dicts
    is there and idle.
    """

    def __init__(self, heads: int) -> None:
        """Build for 256 channels."""
        super().__init__()
        self.heads = heads
        self.linear_layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(3))  # Q, K, V
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, query: Tensor, tokens: Tensor, bias: Tensor) -> Tensor:
        """Read tokens (B, T, n, 256) by queries (B, T, 256); ``bias`` (B, T or 1, n) on logits."""
        q = self.linear_layers[0](query).unflatten(-1, (self.heads, -1))  # (B, T, h, e)
        k = self.linear_layers[1](tokens).unflatten(-1, (self.heads, -1))  # (B, T, n, h, e)
        v = self.linear_layers[2](tokens).unflatten(-1, (self.heads, -1))
        logits = torch.einsum("bthe,btnhe->bthn", q, k) / -math.sqrt(q.shape[-1])
        weights = torch.softmax(logits + bias[:, :, None], -1)
        weights = dropout(weights, ATTENTION_DROPOUT, self.training)
        return torch.einsum("bthn,btnhe->bthe", weights, v).flatten(2)


class _SpecificDecoder(nn.Module):
    """Step 2: what streams have and the mixed state has not."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.fusion_s = Dissimilar(heads)
        self.proj = nn.Sequential(nn.Conv1d(WIDTH, WIDTH, 1))

    def forward(self, state: Tensor, coarse: Tensor, rows: Tensor) -> Tensor:
        absent = torch.where(rows, 0.0, -torch.inf)[:, None]  # (B, 1, M)
        read: Tensor = self.fusion_s(pointwise(_only(self.proj), state), coarse, absent)
        return read


class Policy(NamedTuple):
    """How the number of fusion networks is chosen."""

    tau: Tensor  # (), temperature
    noisy: bool  # add Gumbel noise


class _AdaptiveFusion(nn.Module):
    """Steps 3 and 4: K fusions of the streams, of which each step uses the first k*."""

    def __init__(self, streams: int, networks: int, heads: int) -> None:
        super().__init__()
        self.proj1 = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(WIDTH, WIDTH, 1),
                nn.BatchNorm1d(WIDTH),
                nn.ReLU(),
                nn.Conv1d(WIDTH, networks, 1),
            )
            for _ in range(streams)
        )
        self.ffn = nn.ModuleList(_two_convolutions(WIDTH) for _ in range(networks))
        self.fusion_f = Dissimilar(heads)
        self.proj2 = nn.Sequential(nn.Conv1d(2 * WIDTH, WIDTH, 1))
        self.policy = nn.Sequential(nn.Conv1d(streams * WIDTH, networks, 1))

    def forward(
        self, mixed: Tensor, fine: Tensor, rows: Tensor, keep: Keep, whole: bool, policy: Policy
    ) -> Tensor:
        fused = self._fused(fine, rows, keep)  # (B, T, K, 256)
        nets = cast(Iterable[nn.Sequential], self.ffn)
        each = zip(nets, fused.unbind(2), strict=True)
        tokens = torch.stack(
            [pool(_twice(net, n, keep) + n, keep, whole) for net, n in each], 2
        )  # (B, T', K, 256)
        # averages and 1×1 convolutions change places
        logits = pointwise(_only(self.policy), pool(fine.flatten(2), keep, whole))  # (B, T', K)
        query = -pointwise(_only(self.proj2), mixed)  # (B, T', 256), so that likes attract
        read: Tensor = self.fusion_f(query, tokens, choose_first(logits, policy))
        return read

    def _fused(self, fine: Tensor, rows: Tensor, keep: Keep) -> Tensor:
        every = fine.new_ones(fine.shape[:2], dtype=torch.bool) if keep is None else keep
        complete = keep is None and bool(rows.all())
        logits = []
        for i, layers in enumerate(cast(Iterable[nn.Sequential], self.proj1)):
            second = cast(nn.Conv1d, layers[3])
            if not bool(rows[:, i].any()):  # a batch norm of nothing would have no statistics
                logits.append(fine.new_zeros(*fine.shape[:2], second.out_channels))
                continue
            own = None if complete else every & rows[:, i, None]
            hidden = torch.relu(_layer(layers, 0, fine[:, :, i], own))  # (B, T, 256)
            logits.append(pointwise(second, hidden))  # (B, T, K)
        share = torch.stack(logits, 2).masked_fill(~rows[:, None, :, None], -torch.inf)
        return torch.einsum("btmk,btmc->btkc", torch.softmax(share, 2), fine)


def choose_first(logits: Tensor, policy: Policy) -> Tensor:
    """Return what is added to the logits of K tokens so that the first k* are read.

    Args:
        logits: (B, T, K), how much the policy likes each k.
        policy: temperature and noise.

    Returns:
        (B, T, K): 0 up to k*, −1e9 beyond it, with the gradient of the relaxed choice
        (straight-through).
    """
    scores = logits.float()
    if policy.noisy:
        scores = scores - torch.empty_like(scores).exponential_().log()  # Gumbel noise
    relaxed = torch.softmax(scores / policy.tau, -1)
    last = relaxed.argmax(-1, keepdim=True)  # (B, T, 1)
    beyond = torch.arange(logits.shape[-1], device=logits.device) > last
    return torch.where(beyond, BLOCKED, 0.0) + (relaxed - relaxed.detach())


class MixedBlock(nn.Module):
    """One block of the mixed branch, whose state [c'; s'; f'] has 768 channels."""

    def __init__(self, streams: int, networks: int, heads: tuple[int, int]) -> None:
        """Build for M streams and K fusion networks; heads of steps 2 and 4."""
        super().__init__()
        self.conv = _two_convolutions(3 * WIDTH)
        self.short_cut = nn.Sequential(nn.Conv1d(3 * WIDTH, WIDTH, 1), nn.BatchNorm1d(WIDTH))
        self.s_fusion = _SpecificDecoder(heads[0])
        self.f_fusion = _AdaptiveFusion(streams, networks, heads[1])

    def forward(
        self,
        state: Tensor,
        fine: Tensor,
        coarse: Tensor,
        rows: Tensor,
        keeps: Sequence[Keep],
        policy: Policy,
    ) -> Tensor:
        """Take in one level of the pyramids.

        Args:
            state: (B, T', 768).
            fine: (B, T, M, 256), streams at this level; zeros where there is nothing.
            coarse: (B, T', M, 256), at the next level.
            rows: (B, M) bool, streams that are there, at least one each.
            keeps: steps that exist of T, and of T' = T // 2; without the latter, T' = 1.
            policy: of step 3.

        Returns:
            (B, T', 768).
        """
        before, *after = keeps
        keep, whole = after[0] if after else None, not after
        inner = _twice(self.conv, state, keep)
        inner = inner + torch.relu(_layer(self.short_cut, 0, state, keep))  # step 1
        specific = self.s_fusion(inner, coarse, rows)  # step 2
        mixed = torch.cat([inner, specific], -1)  # (B, T', 512)
        fused = self.f_fusion(mixed, fine, rows, before, whole, policy)  # steps 3, 4
        return hidden_zero(torch.cat([mixed, fused], -1), keep)


def _only(layers: nn.Sequential) -> nn.Conv1d:
    (conv,) = layers
    assert isinstance(conv, nn.Conv1d)
    return conv
