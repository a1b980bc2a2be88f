"""The scoring half of MCMoE: parameters, and the way from features to scores.

``mcmoe.py`` says what the network is and adds training.  Nothing here reads a target, draws a
mask or decides what to hide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from aqabench.errors import UsageError
from aqabench.methods._mcmoe_blocks import (
    POSITIONS,
    WIDTH,
    Expert,
    Generator,
    PositionTable,
    Router,
    Seen,
    checked_mask,
    into_rows,
    rows_of,
    spread,
)
from aqabench.methods._mcmoe_switches import Switches
from aqabench.nn.grade_head import GradeRegressor, Grades, decode_grades
from aqabench.nn.projection import Projection, on_steps, stream_projection
from aqabench.nn.streams import PerStream
from aqabench.nn.transformer import EncoderDecoder

HIDDEN = 768

_AT_ONCE = 16
"""Subsets whose streams are held in memory at once; three streams have 7, eight have 255."""

Subset = tuple[str, ...]
"""Modalities that are shown, in order."""


class Refined(NamedTuple):
    """A stream after the mixture of experts."""

    mixed: Tensor  # (n, L, 256)
    by_expert: list[Tensor]  # each (n, L, 256), in the order of the streams
    seen: list[Seen]


class Outcome(NamedTuple):
    """Everything the loss needs of one pass."""

    grades: Grades
    generated: dict[str, Tensor]  # rows where hidden: (n, T or 1, 256)
    mixed: dict[str, Tensor]  # (B, T, 256)
    refined: dict[str, Refined]  # streams that were real in every row


class ScoringNet(nn.Module):
    """Everything of the network but its loss, for two streams or more.

    Published are three.  With M streams there are M experts, routes and generators, and the
    fusion reads M × 256 channels; nothing else knows how many there are.
    """

    def __init__(self, widths: Mapping[str, int], dropout: float, switches: Switches) -> None:
        """Build the untrained network.

        Args:
            widths: symbol of a stream -> D, in the order of every mask.
            dropout: inside the Transformer.
            switches: published or corrected behaviours.
        """
        super().__init__()
        self.modalities = tuple(widths)
        self.switches = switches
        constant = switches.constant_generator
        self.in_proj = PerStream({m: stream_projection(d, WIDTH) for m, d in widths.items()})
        self.transformer = EncoderDecoder(3, 3, WIDTH, 2, HIDDEN, dropout)
        self.generators = PerStream({m: Generator(constant) for m in widths})
        self.experts = PerStream({m: Expert() for m in widths})
        self.router_mix = Router(len(widths))
        self.fusion = Projection(len(widths) * WIDTH, 2 * WIDTH, WIDTH)
        self.prototype = nn.Embedding(4, WIDTH)
        self.regressor = GradeRegressor(WIDTH, 4)
        self.pos_encoder = PositionTable()

    def score_features(
        self, features: Mapping[str, Tensor], available: Tensor, valid: Tensor | None = None
    ) -> Tensor:
        """Score samples, each with the modalities it has.

        Args:
            features: modality -> (B, T, D); anything, NaN included, where not available; absent
                where no sample has it.
            available: (B, M) or (M,) bool or 0/1, at least one per row.
            valid: (B, T) bool, False on padding; None for no padding.

        Returns:
            (B,) normalised scores.
        """
        shown = checked_mask(available, features, self.modalities)
        h = self._encode_rows(features, self._by_modality(shown), valid)
        return self._pass(h, self._noticed(shown, h), self._keep(valid)).grades.score

    def encode(self, modality: str, features: Tensor, valid: Tensor | None = None) -> Tensor:
        """Encode one stream of samples that have it.

        Args:
            modality: symbol of the stream.
            features: (R, T, D).
            valid: (R, T) bool or None.

        Returns:
            (R, T, 256).
        """
        keep = self._keep(valid)
        encoded: Tensor = self.transformer.encoder(self._project(modality, features, valid), keep)
        return encoded

    def score(
        self, encoded: Mapping[str, Tensor], available: Tensor, valid: Tensor | None = None
    ) -> Tensor:
        """Score encoded streams.

        Args:
            encoded: modality -> (B, T, 256) from :meth:`encode`; anything, NaN included, in rows
                where it is not available; absent where no row has it.
            available: (B, M) bool, at least one per row.
            valid: (B, T) bool or None.

        Returns:
            (B,) normalised scores.
        """
        shown = checked_mask(available, encoded, self.modalities)
        like = next(iter(encoded.values()))
        h = {
            m: torch.where(shown[:, i, None, None], encoded[m], 0.0)
            if m in encoded
            else torch.zeros_like(like)
            for i, m in enumerate(self.modalities)
        }
        return self._pass(h, self._noticed(shown, h), self._keep(valid)).grades.score

    def score_subsets(
        self, encoded: Mapping[str, Tensor], subsets: Tensor, valid: Tensor | None = None
    ) -> Tensor:
        """Score every sample under several subsets, sharing what they have in common.

        Real streams meet the experts once, and so does each stream generated from the same
        sources.  For evaluation mode.

        Args:
            encoded: modality -> (B, T, 256), of all samples.
            subsets: (S, M) bool, at least one per row.
            valid: (B, T) bool or None.

        Returns:
            (S, B) normalised scores.
        """
        shown = checked_mask(subsets, encoded, self.modalities, per_sample=False)
        wanted = self._noticed(shown, encoded)
        sources = [tuple(compress(self.modalities, row)) for row in wanted.tolist()]
        real: dict[str, Tensor] = {}
        scores = [
            self._score_some(encoded, sources[i : i + _AT_ONCE], real, self._keep(valid))
            for i in range(0, len(sources), _AT_ONCE)
        ]
        return torch.cat(scores)

    def _score_some(
        self,
        encoded: Mapping[str, Tensor],
        sources: Sequence[Subset],
        real: dict[str, Tensor],
        keep: Tensor | None,
    ) -> Tensor:
        """Score every sample under a few subsets; ``real`` keeps what real streams give."""
        batch = len(next(iter(encoded.values())))
        imagined: dict[tuple[str, Subset], Tensor] = {}
        for shown in sources:
            for m in self.modalities:
                if m in shown and m not in real:
                    real[m] = self._fusion_part(m, encoded, (m,), keep)
                elif m not in shown and (m, shown) not in imagined:
                    imagined[m, shown] = self._fusion_part(m, encoded, shown, keep)
        hidden = torch.stack(
            [sum(real[m] if m in s else imagined[m, s] for m in self.modalities) for s in sources]
        )  # (S, B, T, 512)
        everywhere = None if keep is None else keep.repeat(len(sources), 1)
        memory = on_steps(self.fusion.finish, hidden.flatten(0, 1), everywhere)
        return self._grade(memory, everywhere, batch).score.view(len(sources), batch)

    def _noticed(self, shown: Tensor, encoded: Mapping[str, Tensor]) -> Tensor:
        """Return which shown streams (…, M) the published test by sums notices (Q4)."""
        if not self.switches.zero_sum_absence:
            return shown
        there = [m not in encoded or bool(encoded[m].sum() != 0) for m in self.modalities]
        noticed = shown & torch.tensor(there, device=shown.device)
        return noticed if bool(noticed.any(-1).all()) else shown

    def _by_modality(self, mask: Tensor) -> dict[str, Tensor]:
        """Return the columns of a mask (B, M) by the streams' symbols."""
        return {m: mask[:, i] for i, m in enumerate(self.modalities)}

    def _keep(self, valid: Tensor | None) -> Tensor | None:
        if valid is None or self.switches.padding_is_data or bool(valid.all()):
            return None
        return valid

    def _project(self, modality: str, x: Tensor, valid: Tensor | None) -> Tensor:
        if valid is not None and self.switches.padding_is_data:
            x = torch.where(valid[..., None], x, 0.0)
        return on_steps(self.in_proj[modality], x, self._keep(valid))

    def _encode_rows(
        self, features: Mapping[str, Tensor], rows: Mapping[str, Tensor], valid: Tensor | None
    ) -> dict[str, Tensor]:
        """Encode the wanted rows of every modality in one go; (B, T, 256) each, others zero."""
        batch, steps, _ = next(iter(features.values())).shape
        keep = self._keep(valid)
        present = [m for m in self.modalities if bool(rows[m].any())]
        projected, kept = [], []
        for m in present:
            wanted = rows[m]
            there = None if valid is None else rows_of(valid, wanted)
            projected.append(self._project(m, rows_of(features[m], wanted), there))
            kept.append(None if keep is None else rows_of(keep, wanted))
        masks = [k for k in kept if k is not None]
        everyone = self.transformer.encoder(
            torch.cat(projected), torch.cat(masks) if masks else None
        )
        parts = dict(zip(present, everyone.split([len(p) for p in projected]), strict=True))
        empty = everyone.new_zeros(batch, steps, WIDTH)
        return {
            m: empty if m not in parts else into_rows(empty, rows[m], parts[m])
            for m in self.modalities
        }

    def _pass(self, h: Mapping[str, Tensor], shown: Tensor, keep: Tensor | None) -> Outcome:
        """Generate, refine, fuse and grade encoded streams that are zero where not shown."""
        generated: dict[str, Tensor] = {}
        refined: dict[str, Refined] = {}
        mixed: dict[str, Tensor] = {}
        for i, m in enumerate(self.modalities):
            hidden = ~shown[:, i]
            if not bool(hidden.any()):
                refined[m] = self._refine(h[m], keep)
                mixed[m] = refined[m].mixed
                continue
            generated[m] = self._generate(m, h, shown, hidden, keep)
            mixed[m] = self._refine_filled(h[m], generated[m], hidden, keep)
        joined = torch.cat([mixed[m] for m in self.modalities], -1)  # (B, T, M × 256)
        memory = on_steps(self.fusion, joined, keep)
        return Outcome(self._grade(memory, keep, len(memory)), generated, mixed, refined)

    def _generate(
        self,
        modality: str,
        h: Mapping[str, Tensor],
        shown: Tensor,
        hidden: Tensor,
        keep: Tensor | None,
    ) -> Tensor:
        """Generate a modality in the rows that hide it, from what each of them shows."""
        seen = rows_of(shown, hidden)  # (n, M)
        sources = [i for i in range(seen.shape[1]) if bool(seen[:, i].any())]
        real = [rows_of(h[self.modalities[i]], hidden) for i in sources]
        context = torch.cat(real, 1)  # (n, kT, 256)
        steps = context.shape[1] // len(sources)
        valid = None if keep is None else rows_of(keep, hidden)
        there = None
        if valid is not None or not bool(seen[:, sources].all()):
            exists = seen.new_ones(len(seen), steps) if valid is None else valid
            there = torch.cat([seen[:, i, None] & exists for i in sources], 1)
        out: Tensor = self.generators[modality](context, there, steps, valid)
        return out

    def _refine(
        self, x: Tensor, keep: Tensor | None = None, repeats: Tensor | None = None
    ) -> Refined:
        """Mix the experts' views of a stream (n, L, 256) by the router, step by step."""
        if keep is not None:
            x = x * keep[..., None]  # the experts' kernels reach beyond the last real step
        routes = self.router_mix(x)  # (n, L, M)
        views, seen = [], []
        for m in self.modalities:
            view, statistics = self.experts[m](x, keep, repeats)
            self.experts[m].track(statistics)
            views.append(view)
            seen.append(statistics)
        mixed = sum(routes[..., e, None] * view for e, view in enumerate(views))
        return Refined(mixed, views, seen)

    def _refine_constant(self, x: Tensor, steps: int) -> Tensor:
        """Refine streams that are the same at every step: (n, 1, 256) → (n, T, 256).

        Only the zeros beyond both ends tell steps apart, so three stand for all.
        """
        if steps <= 3:
            return self._refine(x.expand(-1, steps, -1)).mixed
        repeats = torch.tensor([1, steps - 2, 1], device=x.device)
        mixed = self._refine(x.expand(-1, 3, -1), None, repeats).mixed
        return spread(mixed, steps)

    def _refine_filled(
        self, real: Tensor, filling: Tensor, hidden: Tensor, keep: Tensor | None
    ) -> Tensor:
        """Refine a stream that is generated in the hidden rows; (B, T, 256)."""
        steps = real.shape[1]
        constant = self.switches.constant_generator and keep is None
        if constant and bool(hidden.all()):
            return self._refine_constant(filling, steps)
        if constant and not self.training:  # rows do not meet in a norm: each its own way
            seen = self._refine(real[~hidden]).mixed
            imagined = self._refine_constant(filling, steps)
            return into_rows(into_rows(torch.zeros_like(real), ~hidden, seen), hidden, imagined)
        return self._refine(into_rows(real, hidden, filling.expand(-1, steps, -1)), keep).mixed

    def _fusion_part(
        self,
        modality: str,
        encoded: Mapping[str, Tensor],
        sources: Subset,
        keep: Tensor | None,
    ) -> Tensor:
        """Carry one stream, real or generated from ``sources``, into the fusion: (B, T, 512)."""
        first = self.fusion.first
        column = self.modalities.index(modality)
        kernel = first.weight[:, column * WIDTH : (column + 1) * WIDTH, 0]  # (512, 256)
        bias = first.bias if column == 0 else None  # once in the sum over streams
        if modality in sources:
            return functional.linear(self._refine(encoded[modality], keep).mixed, kernel, bias)
        batch = len(encoded[sources[0]])
        shown = torch.tensor([m in sources for m in self.modalities], device=kernel.device)
        everyone = torch.ones(batch, dtype=torch.bool, device=kernel.device)
        filling = self._generate(modality, encoded, shown.expand(batch, -1), everyone, keep)
        mixed = self._refine_filled(encoded[sources[0]], filling, everyone, keep)
        return functional.linear(mixed, kernel, bias)

    def _grade(self, memory: Tensor, keep: Tensor | None, batch: int) -> Grades:
        """Decode grades from (kB, T, 256), k passes over the same ``batch`` samples."""
        table = self.pos_encoder.pe[:, 0]  # (136, 256)
        queries = self.prototype.weight  # (4, 256)
        if self.switches.batch_positions:
            if batch > POSITIONS:
                raise UsageError(
                    f"MCMoE with batch_positions takes up to {POSITIONS} samples at once. Got "
                    f"{batch}; use smaller batches (published: 32) or batch_positions=False."
                )
            queries = (queries + table[:batch, None]).repeat(len(memory) // batch, 1, 1)
        elif self.switches.query_positions:
            queries = queries + table[: len(queries)]
        else:
            queries = queries + table[0]
        return decode_grades(queries, self.transformer.decoder, self.regressor, memory, keep)
