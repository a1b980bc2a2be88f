"""LMAC-Net: ordered queries of each stream find key moments, and are held to the same moments.

Paper: Wang, Li, Shen, *Attention-Driven Multimodal Alignment for Long-term Action Quality
Assessment*, Applied Soft Computing 2025, arXiv 2507.21945.  No official repository was found, so
there are no weights to load and no outputs to match.  Written from the equations as public reading
notes of the paper give them; where those are silent, from the form of the temporal parsing
transformer (``baiyang4/aqa_tpt``), which the equations follow; the rest is our choice and a
setting.

    q̃ = p^{i−1} + q_m,  p⁰ = 0                                           (4)
    κ_t = W_k x_t + b_k,  ν_t = W_v x_t + b_v                            (number not visible)
    α_kt = softmax_t ⟨q̃_k, κ_t⟩ / (d τ)                                  (6)
    p = LN(p^{i−1} + Σ_t α_kt ν_t),  LN(p + FFN p),  LN(p + MHA(p + q))  (7)
    p_k = [p_k^m ; …] over streams m                                     (8)
    ŝ_k = ⟨w, p_k⟩ + b,  score = Σ_k softmax(v)_k ŝ_k                    (9, 10)
    loss = λ₁ L_score + λ₂ (L_rank + L_sparse + L_cons)                  (11 to 13; 15 to 17)

Equations 4 to 7 are in ``_lmac_decoder.py``, 11 to 17 in ``_lmac_losses.py``, the others here.

The published 8.95 M parameters and 0.419 G are reached by counting linear maps and layer norms
only, one operation per multiply-accumulate, at T = 70: 8.945 M and 0.4194 G.  With the
self-attention blocks that such counting leaves out, the network has 15.26 M parameters.

The few queries are mapped to each stream's channels instead of the many clips to the queries: the
same numbers for a sixth of the work.  There is no batch norm; samples never meet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import cast

import torch
from torch import Tensor, nn

from aqabench.data.batch import Batch, Split
from aqabench.errors import UsageError
from aqabench.method.base import Task, TorchMethod
from aqabench.method.card import MethodCard, Setting
from aqabench.methods._lmac_decoder import ABSENT, Choices, Decoded, StreamDecoder
from aqabench.methods._lmac_losses import (
    LAYERS,
    POSITIONS,
    LossWeights,
    attention_terms,
    places,
    score_term,
)
from aqabench.nn.masks import draw_shown
from aqabench.nn.streams import PerStream

__all__ = ["Choices", "LMACNet", "LMACNetMethod", "LossWeights"]


class LMACNet(nn.Module):
    """The network for any streams."""

    def __init__(self, widths: Mapping[str, int], choices: Choices | None = None) -> None:
        """Build the untrained network.

        Args:
            widths: symbol of a stream -> D, in the order of every mask.
            choices: sizes and open choices; published sizes by default.
        """
        super().__init__()
        self.choices = own = choices or Choices()
        self.widths = dict(widths)
        self.decoders = PerStream({m: StreamDecoder(d, own) for m, d in widths.items()})
        self.absent = nn.Parameter(torch.zeros(len(widths), own.width))
        self.head = nn.Linear(len(widths) * own.width, own.queries if own.head_per_stage else 1)
        nn.init.xavier_uniform_(self.head.weight, gain=own.head_gain)
        nn.init.constant_(self.head.bias, 0.5)
        self.stage_weights = nn.Parameter(torch.zeros(own.queries))

    def decode(self, modality: str, features: Tensor, valid: Tensor | None = None) -> Decoded:
        """Let a stream's queries read (R, T, D) of samples that have it, where ``valid`` (R, T)."""
        decoded: Decoded = self.decoders[modality](features, valid)
        return decoded

    def score(self, states: Mapping[str, Tensor], shown: Tensor) -> Tensor:
        """Score from the queries' states.

        A linear map of concatenated blocks is the sum of a map of each block, so that several
        subsets share all but the sum.

        Args:
            states: stream -> (B, K, d); anything where not shown.  A stream that no sample shows
                may be absent.
            shown: (…, B, M) bool, with B or 1 samples.

        Returns:
            (…, B) normalised scores, not squashed.
        """
        blocks = self.head.weight.chunk(len(self.widths), 1)  # each (1 or K, d)
        stages: Tensor = self.head.bias  # (1 or K,)
        for i, (m, block) in enumerate(zip(self.widths, blocks, strict=True)):
            absent = (self._stand_in(i, m) * block).sum(-1)  # (1, K)
            present = (states[m] * block).sum(-1) if m in states else absent  # (B, K), Eq. 8
            stages = stages + torch.where(shown[..., i, None], present, absent)  # Eq. 9
        return (stages * torch.softmax(self.stage_weights, 0)).sum(-1)  # Eq. 10

    def loss_terms(
        self,
        features: Mapping[str, Tensor],
        shown: Tensor,
        valid: Tensor,
        score: Tensor,
        weights: LossWeights | None = None,
    ) -> dict[str, Tensor]:
        """Return the weighted loss terms of a training step; their sum is minimised (Eq. 11).

        Args:
            features: stream -> (B, T, D); anything, NaN included, where not shown.
            shown: (B, M) bool, what the step may see.
            valid: (B, T) bool.
            score: (B,) normalised.
            weights: of the terms.

        Returns:
            ``task``, ``rank``, ``sparse``, ``consistency``, each ().
        """
        weights = weights or LossWeights()
        states, attention, rows = {}, {}, {}
        for i, m in enumerate(self.widths):
            if not bool(shown[:, i].any()):
                continue
            rows[m] = shown[:, i]
            found = self.decode(m, features[m][rows[m]], valid[rows[m]])
            blank = found.states.new_zeros(len(score), *found.states.shape[1:])
            states[m] = blank.index_put((rows[m],), found.states)  # (B, K, d)
            attention[m] = found.attention
        where = places(valid, weights.positions)
        return {
            "task": score_term(self.score(states, shown), score, weights),
            **attention_terms(attention, rows, where, weights),
        }

    def _stand_in(self, column: int, modality: str) -> Tensor:
        """Return what stands for the states of an absent stream: (1, K, d)."""
        if self.choices.absent == "zeros":
            nothing = self.absent.new_zeros(1, 1, self.widths[modality])
            states: Tensor = self.decode(modality, nothing).states
            return states
        return self.absent[column].expand(1, self.choices.queries, -1)


class LMACNetMethod(TorchMethod):
    """LMAC-Net as specified, with a rule for missing streams, which the paper has not."""

    test_window = "full"
    card = MethodCard(
        name="lmac-net",
        title="LMAC-Net (ASOC 2025)",
        kind="method",
        summary=(
            "Ordered learned queries of each stream attend to key moments; losses keep them in "
            "order, narrow, and at the same moment in every stream. Stage scores are averaged."
        ),
        missing=(
            "Ours, since the paper has none. Training shows a random part of what each sample has "
            "(modality_dropout=false: all of it). A learned vector stands for an absent stream "
            "(absent=zeros: features of zero), and no loss term involves it."
        ),
        paper=(
            "Wang, Li, Shen: Attention-Driven Multimodal Alignment for Long-term Action Quality "
            "Assessment, Applied Soft Computing 2025, arXiv 2507.21945. Says 8.95 M parameters and "
            "0.419 G at 4 ms per video: linear maps and layer norms only; 15.26 M with "
            "self-attention."
        ),
        code="none published; form of the decoder after baiyang4/aqa_tpt",
        licence="none: written from equations",
        differs=(
            "Unknown, since nothing was published to compare with. λ1, λ2, the margin, the "
            "layers of the consistency loss, epochs and weight decay are not visible: ours. "
            "Positions are fractions of the length; padding is masked; scores start at the mean "
            "training score; the learning rate falls to 1 %, not to 0; the epoch is chosen by the "
            "protocol."
        ),
        citation=(
            "@article{wang2025attention, title={Attention-Driven Multimodal Alignment for "
            "Long-term Action Quality Assessment}, author={Wang, X. and Li, P.-J. and Shen, "
            "Y.-Y.}, journal={Applied Soft Computing}, year={2025}}"
        ),
        claims=("LMAC-Net",),
        settings={
            "optimizer": "adamw",
            "lr": 9e-5,
            "weight_decay": 1e-2,
            "batch_size": 32,
            "epochs": 300,
            "width": 512,
            "queries": 5,
            "layers": 2,
            "heads": 8,
            "dropout": 0.1,
            "query_table_per_layer": False,
            "self_attention_in_first_only": False,
            "scale_by_width": True,
            "head_per_stage": False,
            "head_gain": 0.1,
            "start_at_mean": True,
            "absent": "learned",
            "modality_dropout": True,
            "lambda1": 1.0,
            "lambda2": 1.0,
            "rank": 1.0,
            "sparse": 0.05,
            "consistency": 1.0,
            "margin": 0.16,
            "positions": "batch",
            "consistency_layers": "last",
        },
        published={"fisv": {"lr": 9e-5, "dropout": 0.2}, "rg": {"lr": 9e-4, "dropout": 0.1}},
        search={
            "lr": ("log", 9e-5, 2e-3),
            "weight_decay": ("log", 1e-4, 1e-1),
            "dropout": ("linear", 0.0, 0.5),
            "lambda1": ("log", 0.1, 10.0),
            "lambda2": ("log", 0.01, 10.0),
            "sparse": ("log", 0.01, 1.0),
            "consistency": ("log", 0.1, 100.0),
            "margin": ("linear", 0.0, 0.16),
            "positions": ("choice", "batch", "valid"),
            "consistency_layers": ("choice", "last", "all"),
            "absent": ("choice", "learned", "zeros"),
            "modality_dropout": ("choice", True, False),
            "query_table_per_layer": ("choice", False, True),
            "self_attention_in_first_only": ("choice", False, True),
            "head_per_stage": ("choice", False, True),
            "start_at_mean": ("choice", True, False),
        },
        min_modalities=2,
        contract_settings={"batch_size": 8, "width": 256},
    )

    def build(self, task: Task) -> nn.Module:
        """Return the untrained network for the widths of the streams.

        Raises:
            UsageError: a setting that names one of several ways names none of them.
        """
        known = {"absent": ABSENT, "positions": POSITIONS, "consistency_layers": LAYERS}
        for name, allowed in known.items():
            if self.settings[name] not in allowed:
                raise UsageError(
                    f"The '{name}' setting of lmac-net must be {', '.join(allowed[:-1])} or "
                    f"{allowed[-1]}. Got '{self.settings[name]}' instead. Give one: "
                    f"--set {name}={allowed[0]}"
                )
        widths = {task.symbols[m]: width for m, width in task.modalities.items()}
        return LMACNet(widths, Choices(**self._of(Choices)))

    def prepare(self, train: Split) -> None:
        """Let scores start at the mean training score, unless ``start_at_mean`` is off.

        From 0.5 a short budget is spent on the way to the mean.
        """
        if self.settings["start_at_mean"]:
            nn.init.constant_(self._net.head.bias, float(train.score.mean()))

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Squared error, order, sparsity and consistency, on what the step shows."""
        assert batch.score is not None
        shown = batch.available
        if self.settings["modality_dropout"]:
            shown = draw_shown(shown, generator)
        features = self._by_symbol(batch.features)
        weights = LossWeights(**self._of(LossWeights))
        return self._net.loss_terms(features, shown, batch.valid, batch.score, weights)

    def projections(self) -> Mapping[str, nn.Module]:
        """Return the streams' query encoders."""
        return {m: self._net.decoders[self.task.symbols[m]] for m in self.task.modalities}

    def encode(self, modality: str, features: Tensor, valid: Tensor) -> Tensor:
        """Return what a stream's queries found, (R, K, d)."""
        found = self._net.decode(self.task.symbols[modality], features, valid)
        states: Tensor = found.states
        return states

    def score(self, encoded: Mapping[str, Tensor], available: Tensor, valid: Tensor) -> Tensor:
        """Score stages and average them."""
        return self._net.score(self._by_symbol(encoded), available)

    def score_subsets(
        self, encoded: Mapping[str, Tensor], subsets: Tensor, valid: Tensor
    ) -> Tensor:
        """Share each stream's part of the stage scores between subsets."""
        return self._net.score(
            self._by_symbol(encoded), subsets[:, None].expand(-1, len(valid), -1)
        )

    @property
    def _net(self) -> LMACNet:
        return cast(LMACNet, self.net)

    def _by_symbol(self, streams: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {self.task.symbols[m]: x for m, x in streams.items()}

    def _of(self, kind: type[Choices | LossWeights]) -> dict[str, Setting]:
        return {f.name: self.settings[f.name] for f in fields(kind)}
