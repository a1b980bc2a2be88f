"""The training half of MCMoE: which modalities a step shows, and the four loss terms.

``mcmoe.py`` says where the equations come from; ``_mcmoe_scoring.py`` has the network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from aqabench.errors import MethodError
from aqabench.methods._mcmoe_blocks import WIDTH, checked_mask, divergence, rows_of
from aqabench.methods._mcmoe_scoring import Outcome, Refined, ScoringNet
from aqabench.methods._mcmoe_switches import Switches
from aqabench.nn.losses import batch_hard_triplet
from aqabench.nn.masks import draw_shown, subsets


@dataclass(frozen=True)
class LossWeights:
    """Weights of the loss terms, and the triplet's margin.

    Attributes:
        task: of the squared error of normalised scores.
        diversity: α; published 1.0 (FS1000, RG), 0.5 (Fis-V).
        reconstruction: of the generated features.
        alignment: of the divergence between experts.
        margin: of the diversity term.
    """

    task: float = 10.0
    diversity: float = 1.0
    reconstruction: float = 1.0
    alignment: float = 1.0
    margin: float = 1.0


class CompletionNet(ScoringNet):
    """The network for any streams, published or corrected by its switches."""

    def __init__(
        self,
        widths: Mapping[str, int],
        dropout: float = 0.3,
        switches: Switches | None = None,
        weights: LossWeights | None = None,
    ) -> None:
        """Build the untrained network.

        Args:
            widths: symbol of a stream -> D, two streams or more, in the order of every mask.
            dropout: inside the Transformer; published 0.3.
            switches: the corrected form by default.
            weights: of the loss; by default the published ones.
        """
        super().__init__(widths, dropout, switches or Switches())
        self.weights = weights or LossWeights()

    def draw_shown(self, available: Tensor, generator: torch.Generator) -> Tensor:
        """Draw which modalities a training step shows.

        Corrected: every sample on its own, uniformly over the non-empty subsets of what it has.
        Published (Q5, Q6): one of the incomplete subsets (six of three streams) for the whole
        batch.

        Args:
            available: (B, M) bool, at least one per row.
            generator: source of randomness, on the CPU.

        Returns:
            (B, M) bool, no more than available.

        Raises:
            MethodError: one mask per batch was asked for on incomplete data.
        """
        masks = subsets(len(self.modalities))
        if self.switches.complete_never_shown:
            masks = masks[:-1]
        if self.switches.one_mask_per_batch:
            if not bool(available.all()):
                raise MethodError(
                    "MCMoE with one_mask_per_batch needs training samples with all modalities. "
                    "Got some without; set one_mask_per_batch to False."
                )
            chosen = int(torch.randint(0, len(masks), (1,), generator=generator))
            return torch.tensor(masks[chosen], device=available.device).bool().expand_as(available)
        return draw_shown(available, generator, masks)

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
            available: (B, M) bool, what exists.
            shown: (B, M) bool, what the step may see, at least one per row.
            valid: (B, T) bool or None.
            score: (B,) normalised.
            weights: instead of the network's own.

        Returns:
            ``task``, ``diversity``, ``reconstruction``, ``alignment``, each ().
        """
        weights = weights or self.weights
        keep = self._keep(valid)
        shown = checked_mask(shown & available, features, self.modalities)
        truth = self._truth(features, available, shown, valid)
        if self.switches.attached_teachers:
            h = {m: x * shown[:, i, None, None] for i, (m, x) in enumerate(truth.items())}
        else:
            h = self._encode_rows(features, self._by_modality(shown), valid)
            for i, m in enumerate(self.modalities):
                truth[m] = torch.where(shown[:, i, None, None], h[m].detach(), truth[m])
        shown = self._noticed(shown, h)
        outcome = self._pass(h, shown, keep)
        grades = outcome.grades
        return {
            "task": weights.task * functional.mse_loss(grades.score, score),
            "diversity": weights.diversity * batch_hard_triplet(grades.queries, weights.margin),
            "reconstruction": weights.reconstruction
            * self._reconstruction(outcome, truth, available, shown, keep),
            "alignment": weights.alignment * self._alignment(outcome, truth, available, keep),
        }

    def _truth(
        self,
        features: Mapping[str, Tensor],
        available: Tensor,
        shown: Tensor,
        valid: Tensor | None,
    ) -> dict[str, Tensor]:
        """Encode what exists (attached) or only what was hidden, as at test (detached)."""
        if self.switches.attached_teachers:
            return self._encode_rows(features, self._by_modality(available), valid)
        hidden = available & ~shown
        if not bool(hidden.any()):
            batch, steps, _ = next(iter(features.values())).shape
            nothing = self.prototype.weight.new_zeros(batch, steps, WIDTH)
            return dict.fromkeys(self.modalities, nothing)
        with torch.no_grad(), _as_at_test(self):
            return self._encode_rows(features, self._by_modality(hidden), valid)

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
        for i, m in enumerate(self.modalities):
            known = available[:, i] & ~shown[:, i]
            if not bool(known.any()):
                continue
            filling = rows_of(outcome.generated[m], rows_of(available[:, i], ~shown[:, i]))
            error = (filling - rows_of(truth[m], known)).square()  # (n, T, 256)
            exists = error.new_ones(error.shape[:2]) if keep is None else rows_of(keep, known)
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
        for i, m in enumerate(self.modalities):
            exists = available[:, i]
            if not bool(exists.any()):
                continue
            there = None if keep is None else rows_of(keep, exists)
            known = m in outcome.refined and bool(exists.all())
            view = self._teach(m, i, outcome.refined[m] if known else None, truth[m], exists, there)
            guess = rows_of(outcome.mixed[m], exists)
            if there is not None:
                view, guess = view[there], guess[there]
            total = total + divergence(guess, view) / view.numel()
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
                x = rows_of(truth, exists)
                view: Tensor = expert(x if there is None else x * there[..., None], there)[0]
                return view
        with torch.set_grad_enabled(switches.attached_teachers and torch.is_grad_enabled()):
            if known is not None:  # the same expert has just seen the same batch
                view, seen = known.by_expert[column], known.seen[column]
            else:
                x = rows_of(truth, exists)
                view, seen = expert(x if there is None else x * there[..., None], there)
        if switches.teacher_statistics:
            expert.track(seen)
        return view if switches.attached_teachers else view.detach()


@contextmanager
def _as_at_test(net: nn.Module) -> Iterator[None]:
    training = net.training
    net.eval()
    try:
        yield
    finally:
        net.train(training)
