"""MCMoE as the published procedure computes it: the slow side of the speed comparisons.

Restated from the equations, with the habits of the published code that cost time: torch's own
layers on channels-first copies, attention that returns its weights, one encoder call per stream,
every expert called on every stream, queries and constants repeated in full, one pass per subset.
The parameters have the published names, so both sides can hold the same weights.  Dropout, batch
statistics and the loss are the published ones; gradients flow into teachers (Q7).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

STREAMS = {"v": 1024, "a": 768, "f": 1024}
WIDTH, HIDDEN, GRADES = 256, 768, 4


def stack(width: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(width, hidden, 1),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Conv1d(hidden, WIDTH, 1),
        nn.BatchNorm1d(WIDTH),
    )


def expert() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(WIDTH, WIDTH // 2, 3, padding=1),
        nn.BatchNorm1d(WIDTH // 2),
        nn.GELU(),
        nn.Conv1d(WIDTH // 2, WIDTH, 1),
        nn.BatchNorm1d(WIDTH),
    )


def channels_first(layers: nn.Module, x: Tensor) -> Tensor:
    """Apply layers that want (b, C, T) to (b, T, C)."""
    out: Tensor = layers(x.transpose(1, 2)).transpose(1, 2)
    return out


class Layer(nn.Module):
    """A post-norm Transformer layer; with a memory, a decoder layer."""

    def __init__(self, dropout: float, decodes: bool) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(WIDTH, 2, dropout, batch_first=True)
        if decodes:
            self.multihead_attn = nn.MultiheadAttention(WIDTH, 2, dropout, batch_first=True)
            self.norm3 = nn.LayerNorm(WIDTH)
        self.linear1, self.linear2 = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH)
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        read, _ = self.self_attn(x, x, x, need_weights=True)
        x = self.norm1(x + self.dropout(read))
        if memory is not None:
            read, _ = self.multihead_attn(x, memory, memory, need_weights=True)
            x = self.norm2(x + self.dropout(read))
        read = self.linear2(self.dropout(functional.relu(self.linear1(x))))
        out: Tensor = (self.norm2 if memory is None else self.norm3)(x + self.dropout(read))
        return out


class Layers(nn.Module):
    """Three layers and a norm."""

    def __init__(self, dropout: float, decodes: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(dropout, decodes) for _ in range(3))
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        for layer in self.layers:
            x = layer(x, memory)
        out: Tensor = self.norm(x)
        return out


class Generator(nn.Module):
    """Two attentions from zero queries of full length, and a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.cross_attn = nn.ModuleList(
            nn.MultiheadAttention(WIDTH, 4, batch_first=True) for _ in range(2)
        )
        self.gate = nn.Sequential(nn.Linear(2 * WIDTH, WIDTH), nn.Sigmoid())

    def forward(self, steps: int, context: Tensor) -> Tensor:
        x = torch.zeros(len(context), steps, WIDTH, dtype=context.dtype)
        for attention in self.cross_attn:
            x, _ = attention(x, context, context, need_weights=True)
        gate = self.gate(torch.cat([x.mean(1), context.mean(1)], -1))
        out: Tensor = gate.unsqueeze(1).repeat(1, steps, 1) * x
        return out


class PlainMCMoE(nn.Module):
    """The published network for video, audio and flow of Fis-V's widths."""

    pe: Tensor

    def __init__(self, dropout: float = 0.3) -> None:
        super().__init__()
        self.in_proj = nn.ModuleDict({m: stack(d, d // 2) for m, d in STREAMS.items()})
        self.transformer = nn.ModuleDict(
            {"encoder": Layers(dropout, False), "decoder": Layers(dropout, True)}
        )
        self.generators = nn.ModuleDict({m: Generator() for m in STREAMS})
        self.experts = nn.ModuleDict({m: expert() for m in STREAMS})
        self.router_mix = nn.ModuleDict(
            {"fc1": nn.Linear(WIDTH, WIDTH // 2), "fc2": nn.Linear(WIDTH // 2, len(STREAMS))}
        )
        self.fusion = stack(len(STREAMS) * WIDTH, 2 * WIDTH)
        self.prototype = nn.Embedding(GRADES, WIDTH)
        self.regressor = nn.Linear(WIDTH, GRADES)
        self.pos_encoder = nn.Module()
        self.pos_encoder.register_buffer("pe", torch.zeros(136, 1, WIDTH))

    def forward(
        self, features: Sequence[Tensor], mask: Sequence[int], training: bool = False
    ) -> dict[str, Tensor]:
        """Score a batch under one mask; absent streams are encoded in training only.

        Args:
            features: three of (b, T, D).
            mask: three of 0/1.
            training: also return what the loss needs.
        """
        batch, steps = features[0].shape[:2]
        present = [m for m, there in zip(STREAMS, mask, strict=True) if there]
        truth: dict[str, Tensor] = {}
        for m, x in zip(STREAMS, features, strict=True):
            if training or m in present:
                truth[m] = self.transformer["encoder"](channels_first(self.in_proj[m], x))
        context = torch.cat([truth[m] for m in present], 1)
        filled, mixed = {}, {}
        for m in STREAMS:
            filled[m] = truth[m] if m in present else self.generators[m](steps, context)
        for m, x in filled.items():
            hidden = functional.gelu(self.router_mix["fc1"](x))
            share = torch.softmax(self.router_mix["fc2"](hidden), -1)
            views = [channels_first(self.experts[e], x) for e in STREAMS]
            stacked = torch.stack(views, -1)  # (b, T, 256, 3)
            mixed[m] = (stacked * share.unsqueeze(2).repeat(1, 1, WIDTH, 1)).sum(-1)
        memory = channels_first(self.fusion, torch.cat(list(mixed.values()), -1))
        queries = self.prototype.weight.unsqueeze(0).repeat(batch, 1, 1)
        queries = queries + self.pos_encoder.pe[:batch].repeat(1, GRADES, 1)
        z = self.transformer["decoder"](queries, memory)
        own = torch.diagonal(self.regressor(z), dim1=1, dim2=2)  # (b, 4)
        weight = torch.sigmoid(own)
        weight = weight / weight.sum(1, keepdim=True)
        points = torch.linspace(0, 1, GRADES, dtype=weight.dtype).unsqueeze(0).repeat(batch, 1)
        found = {"score": (weight * points).sum(1), "queries": z}
        if training:
            for m in STREAMS:
                found[f"teacher {m}"] = channels_first(self.experts[m], truth[m])
                found[f"truth {m}"], found[f"mixed {m}"] = truth[m], mixed[m]
                if m not in present:
                    found[f"made {m}"] = filled[m]
        return found


def training_loss(
    net: PlainMCMoE, features: Sequence[Tensor], score: Tensor, mask: Sequence[int], alpha: float
) -> Tensor:
    """Task, diversity, reconstruction and alignment, weighted as published."""
    found = net(features, mask, training=True)
    total = 10 * functional.mse_loss(found["score"], score) + alpha * triplet(found["queries"])
    for m in STREAMS:
        if f"made {m}" in found:
            total = total + functional.mse_loss(found[f"made {m}"], found[f"truth {m}"])
        target = functional.softmax(found[f"teacher {m}"], -1)
        guess = functional.log_softmax(found[f"mixed {m}"], -1)
        total = total + functional.kl_div(guess, target, reduction="mean")
    return total


def triplet(queries: Tensor) -> Tensor:
    """Batch-hard triplet on cosine distances, labelled by the query; margin 1."""
    z = functional.normalize(queries.flatten(0, 1), dim=-1)
    label = torch.arange(GRADES).repeat(len(queries))
    distance = 1 - z @ z.T
    same = (label[:, None] == label[None, :]).float()
    others = same - torch.eye(len(z))
    nearest_wrong = (distance + same * distance.max(1, keepdim=True)[0]).min(1)[0]
    furthest_right = (distance * others).max(1)[0]
    return functional.relu(furthest_right - nearest_wrong + 1.0).mean()
