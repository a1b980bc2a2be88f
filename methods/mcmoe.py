"""MCMoE: fill absent modalities in feature space, refine all by a mixture of experts, grade.

Paper: Xu et al., *MCMoE: Completing Missing Modalities with Mixture of Experts for Incomplete
Multimodal Action Quality Assessment*, AAAI 2026, arXiv 2511.17397.  Official repository:
``XuHuangbiao/MCMoE`` at ``302460f``.  Written from its equations, no line is taken from it.

    h_m = E(P_m(x_m))                                  for every present modality m of v, a, f
    ĥ_m = g ⊙ q²,  q^{i} = MHA_i(q^{i−1}, K, K),  g = σ(W [mean q² ; mean K] + b)   for absent m,
          K = the present h along time;  r_m = h_m or ĥ_m
    u_m = Σ_e softmax(R(r_m))_e X_e(r_m),  M = C([u_v ; u_a ; u_f]),  score = grades(M)
    loss = 10 MSE + α L_div + Σ_hidden |ĥ_m − h_m|² + Σ_m KL(softmax X_m(h_m) ‖ softmax u_m)

The published network and training loss are reproduced with every defect that changes a number as
a named switch (:class:`Switches`).  The default is the corrected form; ``Switches.published()`` is
the official one, and :func:`load_official` fills it with official weights.

One published behaviour has no switch: absence is found there by testing whether an encoding sums
to zero (Q4).  Rounding decides that test for fresh weights, so it cannot be reproduced, and for
trained weights it agrees with the mask that is used here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import torch
from aqabench.methods._mcmoe_blocks import (
    POSITIONS,
    WIDTH,
    Expert,
    Generator,
    PositionTable,
    Router,
    Seen,
)
from torch import Tensor, nn
from torch.nn import functional

from aqabench.errors import MethodError, UsageError
from aqabench.nn.checkpoint import as_tensors, load_weights
from aqabench.nn.grade_head import GradeRegressor, Grades, decode_grades
from aqabench.nn.losses import batch_hard_triplet
from aqabench.nn.projection import Projection, on_steps
from aqabench.nn.transformer import EncoderDecoder

MODALITIES = ("v", "a", "f")
"""Video, audio, flow: the order of every mask."""

PUBLISHED_MASKS = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1))
"""The six masks of published training, in the order in which one is drawn."""

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


@dataclass(frozen=True)
class LossWeights:
    """Weights of the loss terms, and the triplet's margin.

    Attributes:
        task: of the squared error of normalised scores.
        diversity: α; published 1.0 (FS1000, RG), 0.5 (Fis-V).
        reconstruction: of the generated features.
        alignment: of the divergence between experts; published 1.0 with ``elementwise_kl``, which
            equals 1/256 without.
        margin: of the diversity term.
    """

    task: float = 10.0
    diversity: float = 1.0
    reconstruction: float = 1.0
    alignment: float = 1.0
    margin: float = 1.0


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


class MCMoENet(nn.Module):
    """The network, published or corrected by its switches."""

    def __init__(
        self,
        video_dim: int = 1024,
        audio_dim: int = 768,
        flow_dim: int = 1024,
        dropout: float = 0.3,
        switches: Switches | None = None,
        weights: LossWeights | None = None,
    ) -> None:
        """Build the untrained network.

        Args:
            video_dim: width of the video features; published 1024 (RG, Fis-V) or 768 (FS1000).
            audio_dim: published 768.
            flow_dim: published 1024.
            dropout: inside the Transformer; published 0.3.
            switches: the corrected form by default.
            weights: of the loss; by default the published ones, alignment rescaled when it is
                not averaged over channels.
        """
        super().__init__()
        self.switches = switches or Switches()
        scale = 1.0 if self.switches.elementwise_kl else 1.0 / WIDTH
        self.weights = weights or LossWeights(alignment=scale)
        widths = dict(zip(MODALITIES, (video_dim, audio_dim, flow_dim), strict=True))
        constant = self.switches.constant_generator
        self.in_proj = nn.ModuleDict({m: Projection(d, d // 2, WIDTH) for m, d in widths.items()})
        self.transformer = EncoderDecoder(3, 3, WIDTH, 2, HIDDEN, dropout)
        self.generators = nn.ModuleDict({m: Generator(constant) for m in MODALITIES})
        self.experts = nn.ModuleDict({m: Expert() for m in MODALITIES})
        self.router_mix = Router()
        self.fusion = Projection(3 * WIDTH, 2 * WIDTH, WIDTH)
        self.prototype = nn.Embedding(4, WIDTH)
        self.regressor = GradeRegressor(WIDTH, 4)
        self.pos_encoder = PositionTable()

    # ------------------------------------------------------------------ scoring

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
        shown = _mask(available, features)
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
        shown = _mask(available, encoded)
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
        wanted = _mask(subsets, encoded, per_sample=False)
        keep = self._keep(valid)
        batch = len(next(iter(encoded.values())))
        sources = [_names(row) for row in wanted.tolist()]
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

    # ------------------------------------------------------------------ training

    def draw_shown(self, available: Tensor, generator: torch.Generator) -> Tensor:
        """Draw which modalities a training step shows.

        Corrected: every sample on its own, uniformly over the non-empty subsets of what it has.
        Published (Q5, Q6): one of six incomplete masks for the whole batch.

        Args:
            available: (B, 3) bool, at least one per row.
            generator: source of randomness, on the CPU.

        Returns:
            (B, 3) bool, no more than available.

        Raises:
            MethodError: one mask per batch was asked for on incomplete data.
        """
        masks = PUBLISHED_MASKS + (() if self.switches.complete_never_shown else ((1, 1, 1),))
        table = torch.tensor(masks, dtype=torch.bool)  # (6 or 7, 3)
        if self.switches.one_mask_per_batch:
            if not bool(available.all()):
                raise MethodError(
                    "MCMoE with one_mask_per_batch needs training samples with all modalities. "
                    "Got some without; set one_mask_per_batch to False."
                )
            chosen = int(torch.randint(0, len(table), (1,), generator=generator))
            return table[chosen].to(available.device).expand_as(available)
        possible = ~(table[None] & ~available.cpu()[:, None]).any(-1)  # (B, 7)
        ticket = torch.rand(possible.shape, generator=generator)
        return table[torch.where(possible, ticket, -1.0).argmax(1)].to(available.device)

    def loss_terms(
        self,
        features: Mapping[str, Tensor],
        available: Tensor,
        shown: Tensor,
        valid: Tensor | None,
        score: Tensor,
        weights: LossWeights | None = None,
    ) -> dict[str, Tensor]:
        """Return the weighted loss terms of a training step; their sum is minimised.

        Reconstruction compares generated streams with what exists and was hidden (``available``
        and not ``shown``), alignment with everything that exists.  A term without anything to
        compare is 0.

        Args:
            features: modality -> (B, T, D); anything, NaN included, where not available.
            available: (B, 3) bool, what exists.
            shown: (B, 3) bool, what the step may see, at least one per row.
            valid: (B, T) bool or None.
            score: (B,) normalised.
            weights: instead of the network's own.

        Returns:
            ``task``, ``diversity``, ``reconstruction``, ``alignment``, each ().
        """
        weights = weights or self.weights
        keep = self._keep(valid)
        shown = _mask(shown, features) & available
        truth = self._truth(features, available, shown, valid)
        if self.switches.attached_teachers:
            h = {m: x * shown[:, i, None, None] for i, (m, x) in enumerate(truth.items())}
        else:
            rows = {m: shown[:, i] for i, m in enumerate(MODALITIES)}
            h = self._encode_rows(features, rows, valid)
            for i, m in enumerate(MODALITIES):
                truth[m] = torch.where(shown[:, i, None, None], h[m].detach(), truth[m])
        outcome = self._pass(h, shown, keep)
        grades = outcome.grades
        return {
            "task": weights.task * functional.mse_loss(grades.score, score),
            "diversity": weights.diversity * batch_hard_triplet(grades.queries, weights.margin),
            "reconstruction": weights.reconstruction
            * self._reconstruction(outcome, truth, available, shown, keep),
            "alignment": weights.alignment * self._alignment(outcome, truth, available, keep),
        }

    def training_loss(
        self,
        video: Tensor,
        audio: Tensor,
        flow: Tensor,
        score: Tensor,
        mask: Sequence[int] | Tensor,
        alpha: float | None = None,
    ) -> dict[str, Tensor]:
        """Return the published training loss on complete samples under one mask.

        Args:
            video: (B, T, D_v).
            audio: (B, T, 768).
            flow: (B, T, 1024).
            score: (B,) normalised.
            mask: three of 0/1, what the step shows, in the order v, a, f.
            alpha: weight of the diversity term instead of the network's own.

        Returns:
            The weighted terms of :meth:`loss_terms` and their sum, ``total``.
        """
        features = self._features(video, audio, flow)
        target = torch.as_tensor(score).to(self.prototype.weight)
        everything = torch.ones(len(target), 3, dtype=torch.bool, device=target.device)
        shown = torch.as_tensor(mask, device=target.device).bool().expand_as(everything)
        weights = self.weights if alpha is None else replace(self.weights, diversity=alpha)
        terms = self.loss_terms(features, everything, shown, None, target, weights)
        return {**terms, "total": sum(terms.values(), start=target.new_zeros(()))}

    # ------------------------------------------------------------------ parts

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
            there = None if valid is None else _rows(valid, wanted)
            projected.append(self._project(m, _rows(features[m], wanted), there))
            kept.append(None if keep is None else _rows(keep, wanted))
        masks = [k for k in kept if k is not None]
        everyone = self.transformer.encoder(
            torch.cat(projected), torch.cat(masks) if masks else None
        )
        parts = dict(zip(present, everyone.split([len(p) for p in projected]), strict=True))
        empty = everyone.new_zeros(batch, steps, WIDTH)
        return {m: empty if m not in parts else _into(empty, rows[m], parts[m]) for m in MODALITIES}

    def _truth(
        self,
        features: Mapping[str, Tensor],
        available: Tensor,
        shown: Tensor,
        valid: Tensor | None,
    ) -> dict[str, Tensor]:
        """Encode what exists (attached) or only what was hidden, as at test (detached)."""
        if self.switches.attached_teachers:
            rows = {m: available[:, i] for i, m in enumerate(MODALITIES)}
            return self._encode_rows(features, rows, valid)
        rows = {m: (available & ~shown)[:, i] for i, m in enumerate(MODALITIES)}
        if not any(bool(r.any()) for r in rows.values()):
            batch, steps, _ = next(iter(features.values())).shape
            return {m: self.prototype.weight.new_zeros(batch, steps, WIDTH) for m in MODALITIES}
        with torch.no_grad(), _as_at_test(self):
            return self._encode_rows(features, rows, valid)

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
        seen = _rows(shown, hidden)  # (n, 3)
        sources = [i for i in range(3) if bool(seen[:, i].any())]
        context = torch.cat([_rows(h[MODALITIES[i]], hidden) for i in sources], 1)  # (n, kT, 256)
        steps = context.shape[1] // len(sources)
        valid = None if keep is None else _rows(keep, hidden)
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
        return _spread(mixed, steps)

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
            return _into(_into(torch.zeros_like(real), ~hidden, seen), hidden, imagined)
        filling = filling.expand(-1, steps, -1)
        if keep is not None:
            filling = filling * keep[hidden][..., None]
            real = real * keep[..., None]
        return self._refine(_into(real, hidden, filling), keep).mixed

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
            x = encoded[modality] if keep is None else encoded[modality] * keep[..., None]
            return functional.linear(self._refine(x, keep).mixed, kernel, bias)
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

    def _reconstruction(
        self,
        outcome: Outcome,
        truth: Mapping[str, Tensor],
        available: Tensor,
        shown: Tensor,
        keep: Tensor | None,
    ) -> Tensor:
        errors: list[Tensor] = []
        counts: list[Tensor] = []
        for i, m in enumerate(MODALITIES):
            known = available[:, i] & ~shown[:, i]
            if not bool(known.any()):
                continue
            filling = _rows(outcome.generated[m], _rows(available[:, i], ~shown[:, i]))
            error = (filling - _rows(truth[m], known)).square()  # (n, T, 256)
            exists = error.new_ones(error.shape[:2]) if keep is None else _rows(keep, known)
            errors.append(error.sum() if keep is None else (error * exists[..., None]).sum())
            counts.append(exists.sum() * WIDTH)
        if not errors:
            return outcome.grades.score.new_zeros(())
        if self.switches.summed_reconstruction:
            return torch.stack([e / c for e, c in zip(errors, counts, strict=True)]).sum()
        return torch.stack(errors).sum() / torch.stack(counts).sum()

    def _alignment(
        self,
        outcome: Outcome,
        truth: Mapping[str, Tensor],
        available: Tensor,
        keep: Tensor | None,
    ) -> Tensor:
        total = outcome.grades.score.new_zeros(())
        for i, m in enumerate(MODALITIES):
            exists = available[:, i]
            if not bool(exists.any()):
                continue
            there = None if keep is None else _rows(keep, exists)
            known = m in outcome.refined and bool(exists.all())
            view = self._teach(m, i, outcome.refined[m] if known else None, truth[m], exists, there)
            target = torch.log_softmax(view, -1)
            guess = torch.log_softmax(_rows(outcome.mixed[m], exists), -1)
            if there is not None:
                target, guess = target[there], guess[there]
            divergence = functional.kl_div(guess, target, reduction="sum", log_target=True)
            total = total + divergence / target.numel()
        return total if self.switches.elementwise_kl else total * WIDTH

    def _teach(
        self,
        modality: str,
        column: int,
        known: Refined | None,
        truth: Tensor,
        exists: Tensor,
        there: Tensor | None,
    ) -> Tensor:
        """Return the matching expert's view of true features (n, T, 256)."""
        expert, switches = self.experts[modality], self.switches
        if not switches.attached_teachers and not switches.teacher_statistics:
            with torch.no_grad(), _as_at_test(expert):
                x = _rows(truth, exists)
                view: Tensor = expert(x if there is None else x * there[..., None], there)[0]
                return view
        with torch.set_grad_enabled(switches.attached_teachers and torch.is_grad_enabled()):
            if known is not None:  # the same expert has just seen the same batch
                view, seen = known.by_expert[column], known.seen[column]
            else:
                x = _rows(truth, exists)
                view, seen = expert(x if there is None else x * there[..., None], there)
        if switches.teacher_statistics:
            expert.track(seen)
        return view if switches.attached_teachers else view.detach()


def load_official(
    state_dict: Mapping[str, Any], video_dim: int, dropout: float = 0.0, **switches: bool
) -> MCMoENet:
    """Build the published network with official weights.

    Args:
        state_dict: official names -> numpy arrays or tensors; ``pos_encoder.pe`` may be absent.
        video_dim: width of the video features, 1024 or 768.
        dropout: for further training.
        switches: published behaviours to change, e.g. ``batch_positions=False`` to score every
            sample as if it were alone.

    Returns:
        The network in evaluation mode.

    Raises:
        CheckpointError: the names or shapes are not those of MCMoE with this video width.
        UsageError: a switch does not exist.
    """
    net = MCMoENet(video_dim, dropout=dropout, switches=Switches.published(**switches))
    weights = as_tensors(state_dict, "MCMoE")
    load_weights(net, weights, f"MCMoE (video width {video_dim})", optional=("pos_encoder.pe",))
    return net.eval()


def loss(
    net: MCMoENet,
    video: Tensor,
    audio: Tensor,
    flow: Tensor,
    score: Tensor,
    mask: Sequence[int] | Tensor,
    alpha: float | None = None,
) -> Tensor:
    """Return the total of :meth:`MCMoENet.training_loss`."""
    return net.training_loss(video, audio, flow, score, mask, alpha)["total"]


@contextmanager
def _as_at_test(net: nn.Module) -> Iterator[None]:
    training = net.training
    net.eval()
    try:
        yield
    finally:
        net.train(training)


def _names(row: Sequence[bool]) -> Subset:
    return tuple(m for m, there in zip(MODALITIES, row, strict=True) if there)


def _rows(x: Tensor, wanted: Tensor) -> Tensor:
    """Return the wanted rows, without a copy where that is all of them."""
    return x if bool(wanted.all()) else x[wanted]


def _into(x: Tensor, wanted: Tensor, rows: Tensor) -> Tensor:
    """Return ``x`` with the wanted rows replaced."""
    return rows if bool(wanted.all()) else x.index_put((wanted,), rows)


def _spread(x: Tensor, steps: int) -> Tensor:
    """Repeat the middle of three steps until there are ``steps``: (n, 3, C) → (n, T, C)."""
    first, middle, last = x.split(1, 1)
    return torch.cat([first, middle.expand(-1, steps - 2, -1), last], 1)


def _mask(mask: Tensor, streams: Mapping[str, Tensor], per_sample: bool = True) -> Tensor:
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
    for m in _names(out.any(0).tolist()):
        if m not in streams:
            raise UsageError(
                f"The mask shows modality '{m}', but its features were not given. Got only "
                f"{', '.join(streams)}; pass them or switch '{m}' off in the mask."
            )
    return out
