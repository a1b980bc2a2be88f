"""The networks of ACTION-NET, for ``action_net.py``, where their equations are."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from aqabench.errors import UsageError
from aqabench.nn.dropout import relu_dropout
from aqabench.nn.streams import PerStream

WIDTH = 256
CONTEXT = 2 * WIDTH
HIDDEN = 128
_NARROWEST = 16


def adjacency(steps: int) -> Tensor:
    """Return Â of Eq. 2 where all steps exist: (T, T)."""
    near = _nearness(steps, torch.device("cpu"))
    return near / torch.sqrt(near.sum(0)[:, None] * near.sum(0)[None, :])


class Context(nn.Module):
    """The context-aware attention of one stream (Eq. 1 to 4)."""

    def __init__(self, width: int, hidden: int | None = None) -> None:
        """Build for features of ``width`` channels.

        Args:
            width: D of the features.
            hidden: channels after W₁; by default half of D, at least 16.
        """
        super().__init__()
        hidden = hidden or max(width // 2, _NARROWEST)
        self.embedding = nn.Sequential(
            nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, WIDTH), nn.ReLU()
        )
        self.gcn1 = nn.Linear(WIDTH, WIDTH)
        self.gcn2 = nn.Linear(WIDTH, WIDTH)
        self.att = nn.Sequential(nn.Linear(CONTEXT, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))
        start_xavier(self)

    def forward(self, x: Tensor, graph: Tensor, keep: Tensor | None = None) -> Tensor:
        """Pool a stream.

        Args:
            x: (B, T, D), finite everywhere.
            graph: (T, T), or (B, T, T) where steps that exist differ, Â.
            keep: (B, T) bool, at least one True per row, or None for all.

        Returns:
            (B, 512).
        """
        embedded = self.embedding(x)  # (B, T, 256), Eq. 1
        near = torch.relu(self.gcn1(graph @ embedded))
        near = torch.relu(self.gcn2(graph @ near))  # (B, T, 256), Eq. 3
        states = torch.cat([embedded, near], -1)  # (B, T, 512)
        logits = self.att(states).squeeze(-1)  # (B, T)
        if keep is not None:
            logits = logits.masked_fill(~keep, float("-inf"))
        return torch.bmm(torch.softmax(logits, -1)[:, None], states).squeeze(1)  # Eq. 4


class Head(nn.Sequential):
    """What turns concatenated contexts into a score (Eq. 5).

    Published is a learning rate of its own, five times that of the rest.  One optimiser for all
    does the same where weights are kept divided by √5 and their outputs multiplied by it: a step
    of plain or momentum SGD is then five times as large.
    """

    def __init__(self, contexts: int, dropout: float, rate: float = 1.0) -> None:
        """Build the untrained head.

        Args:
            contexts: how many are concatenated.
            dropout: before the last layer.
            rate: of SGD steps, as a multiple of the optimiser's; weights are kept divided by its
                square root.
        """
        super().__init__(
            nn.Linear(contexts * CONTEXT, HIDDEN),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(HIDDEN, 1),
        )
        self.dropout = dropout
        self.gain = rate**0.5
        start_xavier(self)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.div_(self.gain)

    def forward(self, contexts: Tensor) -> Tensor:
        """Score contexts (…, contexts × 512) to (…,)."""
        hidden = relu_dropout(self[0](contexts) * self.gain, self.dropout, self.training)
        return torch.sigmoid(self[3](hidden).squeeze(-1) * self.gain)


class ActionNet(nn.Module):
    """The published network: two streams of fixed lengths, nothing missing."""

    def __init__(
        self,
        widths: tuple[int, int] = (1024, 2048),
        steps: tuple[int, int] = (26, 80),
        hidden: tuple[int, int] | None = None,
        dropout: float = 0.5,
    ) -> None:
        """Build the untrained network.

        Args:
            widths: D of the dynamic and of the static features.
            steps: T of both.
            hidden: channels after W₁ of both; half of D by default.
            dropout: before the last layer; published 0.5.
        """
        super().__init__()
        first, second = hidden or (None, None)
        self.d_ct = Context(widths[0], first)
        self.s_ct = Context(widths[1], second)
        self.adj1 = nn.Parameter(adjacency(steps[0]), requires_grad=False)
        self.adj2 = nn.Parameter(adjacency(steps[1]), requires_grad=False)
        self.fc = Head(2, dropout)

    def forward(self, dynamic: Tensor, static: Tensor) -> Tensor:
        """Score videos.

        Args:
            dynamic: (B, 26, 1024), clips.
            static: (B, 80, 2048), images.

        Returns:
            (B,) normalised scores.

        Raises:
            UsageError: another number of steps than the weights were made for.
        """
        contexts = []
        dynamic_part = ("dynamic", dynamic, self.d_ct, self.adj1)
        for name, stream, module, graph in (dynamic_part, ("static", static, self.s_ct, self.adj2)):
            x = torch.as_tensor(stream, dtype=graph.dtype, device=graph.device)
            if x.dim() != 3 or x.shape[1] != len(graph):
                raise UsageError(
                    f"The {name} stream of ACTION-NET must be (videos, {len(graph)} steps, width). "
                    f"Got {tuple(x.shape)} instead. Cut windows of {len(graph)} steps."
                )
            contexts.append(module(x, graph))
        score: Tensor = self.fc(torch.cat(contexts, -1))
        return score


class ContextNet(nn.Module):
    """ACTION-NET on any streams that share their clips, any of which may be absent."""

    def __init__(
        self, widths: Mapping[str, int], dropout: float = 0.5, head_rate: float = 1.0
    ) -> None:
        """Build the untrained network.

        Args:
            widths: symbol of a stream -> D, the dynamic one first.
            dropout: before the last layer; published 0.5.
            head_rate: of SGD steps in the head, as a multiple of the rest; published 5.
        """
        super().__init__()
        self.contexts = PerStream({m: Context(d) for m, d in widths.items()})
        self.absent = nn.Parameter(torch.zeros(len(widths), CONTEXT))
        self.fc = Head(len(widths), dropout, head_rate)
        self.register_buffer("fallback", torch.tensor(0.5))

    def pool(self, modality: str, features: Tensor, valid: Tensor) -> Tensor:
        """Return the context (R, 512) of a stream (R, T, D) of samples that have it.

        Args:
            modality: symbol of the stream.
            features: anything where not ``valid``.
            valid: (R, T) bool.
        """
        near = _nearness(features.shape[1], features.device)  # (T, T)
        module = self.contexts[modality]
        if bool(valid.all()):
            degree = near.sum(0)
            whole: Tensor = module(features, near / torch.sqrt(degree[:, None] * degree))
            return whole
        shown = valid[..., None]  # (R, T, 1)
        pairs = near * (shown & shown.transpose(1, 2))  # (R, T, T)
        scale = torch.where(shown, pairs.sum(-1, keepdim=True), 1.0).rsqrt()
        graph = pairs * scale * scale.transpose(1, 2)
        pooled: Tensor = module(torch.where(shown, features, 0.0), graph, valid)
        return pooled

    def score(self, contexts: Mapping[str, Tensor], shown: Tensor) -> Tensor:
        """Score (B,) from contexts, each (B, 512) and anything where not ``shown`` (B, M).

        A stream that no sample shows may be absent.  A sample that shows none gets ``fallback``.
        """
        blocks = []
        for i, m in enumerate(self.contexts):
            blank = self.absent[i].expand(len(shown), -1)
            there = contexts.get(m, blank)
            blocks.append(torch.where(shown[:, i, None], there, blank))
        score = self.fc(torch.cat(blocks, -1))  # (B,)
        return torch.where(shown.any(1), score, self.get_buffer("fallback"))


def start_xavier(module: nn.Module) -> None:
    """Let linear layers start Xavier-uniform without bias, as published."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)


def _nearness(steps: int, device: torch.device) -> Tensor:
    """Return A of Eq. 2: (T, T)."""
    at = torch.arange(steps, device=device)
    return torch.exp(-(at[:, None] - at[None, :]).abs().float())
