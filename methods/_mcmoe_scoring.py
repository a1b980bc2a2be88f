"""The scoring half of MCMoE: switches, parameters, and the way from features to scores.

``mcmoe.py`` says what the network is and adds training.  Nothing here reads a target, draws a
mask or decides what to hide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
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
    into_rows,
    rows_of,
    spread,
)
from aqabench.nn.grade_head import GradeRegressor, Grades, decode_grades
from aqabench.nn.projection import Projection, on_steps
from aqabench.nn.transformer import EncoderDecoder

MODALITIES = ("v", "a", "f")
"""Video, audio, flow: the order of every mask."""

HIDDEN = 768

Subset = tuple[str, ...]
"""Modalities that are shown, in order."""


@dataclass(frozen=True)
class Switches:
    """Published behaviours that change numbers; the default of each is the corrected form.

    Attributes:
        batch_positions: Q1, the positional code of the grade queries is indexed by the sample's
            place in the batch.
        query_positions: the correction of Q1, the code is indexed by the query.  With both off,
            every sample gets the code of place 0: the published network, each sample alone.
        constant_generator: Q2 and Q3, the generator starts from zeros, so that its output is one
            vector for all time steps; off, from a learned token plus a time code.
        complete_never_shown: Q5, training never shows all three modalities.
        one_mask_per_batch: Q6, all samples of a training batch hide the same modalities; needs
            complete training data.
        attached_teachers: Q7, the targets of reconstruction and alignment carry gradient; off,
            they are what the network would compute at test (running statistics, no dropout).
        elementwise_kl: Q8, alignment is averaged over channels as well; off, it is summed over
            channels and averaged over samples and steps.
        teacher_statistics: Q15, the teacher's pass through the experts moves their running
            statistics, and does so last.
        padding_is_data: Q16, padded steps are projected, attended to and averaged.
        summed_reconstruction: Q18, hidden modalities are summed, so that two count twice as
            much as one; off, the mean over all hidden streams.
    """

    batch_positions: bool = False
    query_positions: bool = True
    constant_generator: bool = False
    complete_never_shown: bool = False
    one_mask_per_batch: bool = False
    attached_teachers: bool = False
    elementwise_kl: bool = False
    teacher_statistics: bool = False
    padding_is_data: bool = False
    summed_reconstruction: bool = False

    @classmethod
    def published(cls, **overrides: bool) -> Switches:
        """Return the switches of the official code, apart from ``overrides``."""
        known = [f.name for f in fields(cls)]
        for name in overrides:
            if name not in known:
                raise UsageError(
                    f"MCMoE has no switch '{name}'. It has: {', '.join(known)}. See: "
                    "aqabench show mcmoe"
                )
        everything = cls(**{name: name != "query_positions" for name in known})
        return replace(everything, **overrides)

    def __post_init__(self) -> None:
        """Refuse two positional codes at once."""
        if self.batch_positions and self.query_positions:
            raise UsageError(
                "MCMoE's grade queries take one positional code. Got batch_positions and "
                "query_positions both on; set one of them to False."
            )


class Refined(NamedTuple):
    """A stream after the mixture of experts."""

    mixed: Tensor  # (n, L, 256)
    by_expert: list[Tensor]  # each (n, L, 256), in the order of MODALITIES
    seen: list[Seen]


class Outcome(NamedTuple):
    """Everything the loss needs of one pass."""

    grades: Grades
    generated: dict[str, Tensor]  # rows where hidden: (n, T or 1, 256)
    mixed: dict[str, Tensor]  # (B, T, 256)
    refined: dict[str, Refined]  # streams that were real in every row


class ScoringNet(nn.Module):
    """Everything of the network but its loss."""

    def __init__(
        self, video_dim: int, audio_dim: int, flow_dim: int, dropout: float, switches: Switches
    ) -> None:
        """Build the untrained network; see ``MCMoENet``."""
        super().__init__()
        self.switches = switches
        constant = switches.constant_generator
        widths = dict(zip(MODALITIES, (video_dim, audio_dim, flow_dim), strict=True))
        self.in_proj = nn.ModuleDict({m: Projection(d, d // 2, WIDTH) for m, d in widths.items()})
        self.transformer = EncoderDecoder(3, 3, WIDTH, 2, HIDDEN, dropout)
        self.generators = nn.ModuleDict({m: Generator(constant) for m in MODALITIES})
        self.experts = nn.ModuleDict({m: Expert() for m in MODALITIES})
        self.router_mix = Router()
        self.fusion = Projection(3 * WIDTH, 2 * WIDTH, WIDTH)
        self.prototype = nn.Embedding(4, WIDTH)
        self.regressor = GradeRegressor(WIDTH, 4)
        self.pos_encoder = PositionTable()

    def forward(
        self,
        video: Tensor | None,
        audio: Tensor | None,
        flow: Tensor | None,
        available: Tensor,
        valid: Tensor | None = None,
    ) -> Tensor:
        """Score samples, each with the modalities it has.

        Args:
            video: (B, T, D_v), tensor or array; anything, NaN included, where not available;
                None where no sample has it.
            audio: likewise, (B, T, 768).
            flow: likewise, (B, T, 1024).
            available: (B, 3) or (3,) bool or 0/1, at least one per row, in the order v, a, f.
            valid: (B, T) bool, False on padding; None for no padding.

        Returns:
            (B,) normalised scores.
        """
        features = self._features(video, audio, flow)
        shown = checked_mask(available, features)
        rows = {m: shown[:, i] for i, m in enumerate(MODALITIES)}
        h = self._encode_rows(features, rows, valid)
        return self._pass(h, shown, self._keep(valid)).grades.score

    def encode(self, modality: str, features: Tensor, valid: Tensor | None = None) -> Tensor:
        """Encode one stream of samples that have it.

        Args:
            modality: ``"v"``, ``"a"`` or ``"f"``.
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
            available: (B, 3) bool, at least one per row.
            valid: (B, T) bool or None.

        Returns:
            (B,) normalised scores.
        """
        shown = checked_mask(available, encoded)
        like = next(iter(encoded.values()))
        h = {
            m: torch.where(shown[:, i, None, None], encoded[m], 0.0)
            if m in encoded
            else torch.zeros_like(like)
            for i, m in enumerate(MODALITIES)
        }
        return self._pass(h, shown, self._keep(valid)).grades.score

    def score_subsets(
        self, encoded: Mapping[str, Tensor], subsets: Tensor, valid: Tensor | None = None
    ) -> Tensor:
        """Score every sample under several subsets, sharing what they have in common.

        Real streams meet the experts once, and so does each stream generated from the same
        sources.  For evaluation mode.

        Args:
            encoded: modality -> (B, T, 256), of all samples.
            subsets: (S, 3) bool, at least one per row.
            valid: (B, T) bool or None.

        Returns:
            (S, B) normalised scores.
        """
        wanted = checked_mask(subsets, encoded, per_sample=False)
        keep = self._keep(valid)
        batch = len(next(iter(encoded.values())))
        sources = [names(row) for row in wanted.tolist()]
        parts: dict[tuple[str, Subset], Tensor] = {}
        for shown in sources:
            for m in MODALITIES:
                key = (m, (m,) if m in shown else shown)
                if key not in parts:
                    parts[key] = self._fusion_part(m, encoded, key[1], keep)
        hidden = torch.stack(
            [sum(parts[m, (m,) if m in s else s] for m in MODALITIES) for s in sources]
        )  # (S, B, T, 512)
        everywhere = None if keep is None else keep.repeat(len(sources), 1)
        memory = on_steps(self.fusion.finish, hidden.flatten(0, 1), everywhere)
        return self._grade(memory, everywhere, batch).score.view(len(sources), batch)

    def _features(self, *streams: Tensor | None) -> dict[str, Tensor]:
        like = self.prototype.weight
        return {
            m: torch.as_tensor(x).to(like)
            for m, x in zip(MODALITIES, streams, strict=True)
            if x is not None
        }

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
        present = [m for m in MODALITIES if bool(rows[m].any())]
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
            m: empty if m not in parts else into_rows(empty, rows[m], parts[m]) for m in MODALITIES
        }

    def _pass(self, h: Mapping[str, Tensor], shown: Tensor, keep: Tensor | None) -> Outcome:
        """Generate, refine, fuse and grade encoded streams that are zero where not shown."""
        generated: dict[str, Tensor] = {}
        refined: dict[str, Refined] = {}
        mixed: dict[str, Tensor] = {}
        for i, m in enumerate(MODALITIES):
            hidden = ~shown[:, i]
            if not bool(hidden.any()):
                refined[m] = self._refine(h[m], keep)
                mixed[m] = refined[m].mixed
                continue
            generated[m] = self._generate(m, h, shown, hidden, keep)
            mixed[m] = self._refine_filled(h[m], generated[m], hidden, keep)
        joined = torch.cat([mixed[m] for m in MODALITIES], -1)  # (B, T, 768)
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
        seen = rows_of(shown, hidden)  # (n, 3)
        sources = [i for i in range(3) if bool(seen[:, i].any())]
        context = torch.cat([rows_of(h[MODALITIES[i]], hidden) for i in sources], 1)  # (n, kT, 256)
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
        routes = self.router_mix(x)  # (n, L, 3)
        views, seen = [], []
        for m in MODALITIES:
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
        column = MODALITIES.index(modality)
        kernel = first.weight[:, column * WIDTH : (column + 1) * WIDTH, 0]  # (512, 256)
        bias = first.bias if column == 0 else None  # once in the sum over streams
        if modality in sources:
            return functional.linear(self._refine(encoded[modality], keep).mixed, kernel, bias)
        batch = len(encoded[sources[0]])
        shown = torch.tensor([m in sources for m in MODALITIES], device=kernel.device)
        everyone = torch.ones(batch, dtype=torch.bool, device=kernel.device)
        filling = self._generate(modality, encoded, shown.expand(batch, 3), everyone, keep)
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


def names(row: Sequence[bool]) -> Subset:
    return tuple(m for m, there in zip(MODALITIES, row, strict=True) if there)


def checked_mask(mask: Tensor, streams: Mapping[str, Tensor], per_sample: bool = True) -> Tensor:
    """Return a mask as (B, 3) bool on the streams' device, checked against them."""
    if not streams:
        raise UsageError("MCMoE needs at least one stream. Got none; pass video, audio or flow.")
    like = next(iter(streams.values()))
    out = torch.as_tensor(mask, device=like.device).bool()
    if per_sample and out.dim() == 1:
        out = out.expand(len(like), -1)
    if out.dim() != 2 or out.shape[1] != 3 or (per_sample and len(out) != len(like)):
        raise UsageError(
            f"MCMoE's masks must have the shape ({len(like) if per_sample else 'S'}, 3), in the "
            f"order v, a, f. Got {tuple(out.shape)} instead."
        )
    if not bool(out.any(1).all()):
        row = int((~out.any(1)).nonzero()[0])
        raise UsageError(
            f"MCMoE needs at least one modality. Got none in row {row} of the mask; leave such "
            "samples out."
        )
    for m in names(out.any(0).tolist()):
        if m not in streams:
            raise UsageError(
                f"The mask shows modality '{m}', but its features were not given. Got only "
                f"{', '.join(streams)}; pass them or switch '{m}' off in the mask."
            )
    return out
