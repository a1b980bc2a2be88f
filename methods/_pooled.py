"""A shared encoder whose fused sequence is averaged to one vector: what heads on a vector stand on.

    φ = mean_t C([r_1 ; … ; r_M])(t),  r_m = E(P_m(x_m)) where stream m is shown, else its token v_m

Projections P_m, one encoder E and the fusion C are those of the incomplete-data methods
(``aqabench/nn/fusion.py``); the rule for missing streams is that of modality dropout: a learned
vector after the encoder, and training on random non-empty subsets of what a sample has.  Published
contrastive regression and score-distribution learning have heads on one vector of a short clip;
this is the vector of a long video, whatever streams it has.  It knows nothing of scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from aqabench.data.batch import Batch
from aqabench.errors import UsageError
from aqabench.method.base import Task, TorchMethod
from aqabench.nn.fusion import HIDDEN, WIDTH, steps_to_read
from aqabench.nn.losses import mean_over_steps
from aqabench.nn.masks import draw_shown
from aqabench.nn.projection import Projection, on_steps, stream_projection
from aqabench.nn.streams import PerStream
from aqabench.nn.transformer import Encoder, start_xavier

__all__ = ["WIDTH", "PooledMethod", "PooledStreams"]


class PooledStreams(nn.Module):
    """Projections, one encoder, tokens for missing streams, fusion, mean over time; and a head."""

    def __init__(
        self, widths: Mapping[str, int], layers: int, heads: int, dropout: float, head: nn.Module
    ) -> None:
        """Build the untrained network.

        Args:
            widths: symbol of a stream -> D, in the order of every mask.
            layers: of the encoder.
            heads: of every attention.
            dropout: inside the Transformer layers.
            head: what reads the vectors; it is kept here, and called by the method.
        """
        super().__init__()
        self.in_proj = PerStream({m: stream_projection(d, WIDTH) for m, d in widths.items()})
        self.encoder = Encoder(layers, WIDTH, heads, HIDDEN, dropout)
        self.fusion = Projection(len(widths) * WIDTH, 2 * WIDTH, WIDTH)
        self.tokens = nn.Parameter(0.02 * torch.randn(len(widths), WIDTH))  # (M, 256)
        self.head = head
        start_xavier(self.encoder)

    def encode(self, modality: str, features: Tensor, valid: Tensor) -> Tensor:
        """Encode a stream (R, T, D) of samples that have it, where ``valid``: (R, T, 256)."""
        keep = steps_to_read(valid)
        encoded: Tensor = self.encoder(on_steps(self.in_proj[modality], features, keep), keep)
        return encoded

    def encode_where(
        self, features: Mapping[str, Tensor], rows: Tensor, valid: Tensor
    ) -> dict[str, Tensor]:
        """Encode each stream of the samples that ``rows`` (B, M) name.

        Args:
            features: symbol -> (B, T, D); anything, NaN included, in rows that are not named.
            rows: (B, M) bool.
            valid: (B, T) bool.

        Returns:
            Symbol -> (B, T, 256), 0 in rows that are not named; without streams of no row.
        """
        encoded = {}
        for column, m in enumerate(self.in_proj):
            own = rows[:, column]
            if bool(own.all()):
                encoded[m] = self.encode(m, features[m], valid)
            elif bool(own.any()):
                part = self.encode(m, features[m][own], valid[own])
                blank = part.new_zeros(len(own), *part.shape[1:])
                encoded[m] = blank.index_put((own,), part)
        return encoded

    def pool(self, encoded: Mapping[str, Tensor], shown: Tensor, valid: Tensor) -> Tensor:
        """Put tokens where a stream is not shown, fuse, and average over the steps that exist.

        Args:
            encoded: symbol -> (B, T, 256); anything where not shown, absent where none is.
            shown: (B, M) bool.
            valid: (B, T) bool.

        Returns:
            (B, 256).
        """
        streams = []
        for column, m in enumerate(self.in_proj):
            token = self.tokens[column].expand(*valid.shape, -1)  # (B, T, 256)
            there = shown[:, column, None, None]
            streams.append(torch.where(there, encoded[m], token) if m in encoded else token)
        keep = steps_to_read(valid)
        memory = on_steps(self.fusion, torch.cat(streams, -1), keep)  # (B, T, 256)
        return mean_over_steps(memory, keep)


class PooledMethod(TorchMethod):
    """What methods with a head on the pooled vector share; they give the head and its use."""

    @property
    def body(self) -> PooledStreams:
        """The network."""
        return cast(PooledStreams, self.net)

    def with_head(self, task: Task, head: nn.Module) -> PooledStreams:
        """Return the untrained network of a task with this head."""
        return PooledStreams(
            {task.symbols[m]: width for m, width in task.modalities.items()},
            cast(int, self.settings["layers"]),
            cast(int, self.settings["heads"]),
            cast(float, self.settings["dropout"]),
            head,
        )

    def shown(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Return (B, M) bool, what a training step shows of what there is."""
        if not self.settings["modality_dropout"]:
            return batch.available
        return draw_shown(batch.available, generator)

    def projections(self) -> Mapping[str, nn.Module]:
        """Return the streams' projections."""
        return {m: self.body.in_proj[self.task.symbols[m]] for m in self.task.modalities}

    def encode(self, modality: str, features: Tensor, valid: Tensor) -> Tensor:
        """Project and encode one stream."""
        return self.body.encode(self.task.symbols[modality], features, valid)

    def by_symbol(self, streams: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the streams under their symbols, as the network knows them."""
        return {self.task.symbols[m]: x for m, x in streams.items()}

    def one_of(self, name: str, allowed: tuple[str, ...]) -> str:
        """Return a setting that names one of several ways.

        Raises:
            UsageError: it names none of them.
        """
        value = str(self.settings[name])
        if value not in allowed:
            raise UsageError(
                f"The '{name}' setting of {self.card.name} must be {', '.join(allowed[:-1])} or "
                f"{allowed[-1]}. Got '{value}' instead. Give one: --set {name}={allowed[0]}"
            )
        return value
