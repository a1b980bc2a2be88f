"""Rank-N-Contrast: videos of close scores lie close, whatever streams of them are shown.

Paper: Zha, Cao, Son, Yang, Katabi, *Rank-N-Contrast: Learning Continuous Representations for
Regression*, NeurIPS 2023, arXiv:2210.01189.  Official repository: ``kaiwenzha/Rank-N-Contrast``,
known from a specification; no line is taken from it.

    l(i, j) = −log( e^{−|f_i − f_j|/τ} / Σ_{k ≠ i, |y_i − y_k| ≥ |y_i − y_j|} e^{−|f_i − f_k|/τ} )
    L_RnC = mean of l over the N (N − 1) ordered pairs

f is the mean of the fused sequence over time, N = 2b vectors: two views of each of b samples.
Views here are two random subsets of a sample's streams, drawn apart from each other: any two
subsets of videos of close scores are to lie close.  A stream is encoded by itself, so both views
share its encoding and differ from the fusion on; both are scored.

What differs: the paper trains an encoder by L_RnC alone and then a linear head on it, frozen, with
large batches.  Here scores and L_RnC are learned together by default, because 32 videos to a batch
and a few hundred in all make a frozen encoder weak; ``two_stage`` has both stages.  Views share a
window in time, since batches bring one of each video.

The denominators are cumulative sums in the order of label distance: N² log N, not N³.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from aqabench.baselines.early_fusion import EarlyFusion
from aqabench.baselines.modality_dropout import TokenNet
from aqabench.data.batch import Batch, Split
from aqabench.method.base import FitContext, Task, TorchMethod
from aqabench.method.card import MethodCard
from aqabench.method.staged import StagedMethod
from aqabench.nn.fusion import steps_to_read
from aqabench.nn.losses import grade_loss, mean_over_steps
from aqabench.nn.masks import draw_shown
from aqabench.nn.projection import on_steps


def rank_n_contrast(features: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Return L_RnC of N ≥ 2 vectors.

    Args:
        features: (N, d).
        labels: (N,); pairs of equal label distance are in each other's denominators.
        temperature: τ.

    Returns:
        ().
    """
    # the faster way through a matrix product has no gradient where two views are equal
    apart = torch.cdist(
        features[None], features[None], compute_mode="donot_use_mm_for_euclid_dist"
    )[0]
    logits = -apart / temperature  # (N, N)
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    near = -(labels[:, None] - labels).abs()  # (N, N), ascending: farthest labels first
    near = near.masked_fill(itself, 1.0)  # after all others, so that no sum of theirs has it
    ranked, order = near.sort(1)
    sums = logits.gather(1, order).logcumsumexp(1)
    last = torch.searchsorted(ranked, near, right=True) - 1  # of those at least as far as j
    return (sums.gather(1, last) - logits)[~itself].mean()


class RankNContrast(StagedMethod, EarlyFusion):
    """Early fusion on two random subsets of each sample, whose vectors are ordered by score."""

    card = MethodCard(
        name="rank-n-contrast",
        title="Rank-N-Contrast (NeurIPS 2023) on subsets of streams",
        kind="baseline",
        summary=(
            "Modality dropout with two subsets of each sample at a time, whose fused vectors are "
            "to lie as close as scores are: a contrastive loss for regression."
        ),
        missing=(
            "Both views show a random non-empty subset of what a sample has, with a learned "
            "vector after the encoder for what is not shown. Nothing hidden is reconstructed, so "
            "incomplete training data will do."
        ),
        paper=(
            "Zha et al.: Rank-N-Contrast: Learning Continuous Representations for Regression, "
            "NeurIPS 2023, arXiv:2210.01189"
        ),
        code="kaiwenzha/Rank-N-Contrast, by a specification of it",
        differs=(
            "The loss only, on the core of the incomplete-data methods: views are subsets of "
            "streams in one window of time, and scores are learned beside it (two_stage=true: "
            "after it, on everything frozen but the head). Published are a linear head, an L1 "
            "loss, SGD and batches of 256."
        ),
        citation=(
            "@inproceedings{zha2023rank, title={Rank-N-Contrast: Learning Continuous "
            "Representations for Regression}, author={Zha, Kaiwen and Cao, Peng and Son, Jeany "
            "and Yang, Yuzhe and Katabi, Dina}, booktitle={NeurIPS}, year={2023}}"
        ),
        settings={
            "two_stage": False,
            "first_stage": 0.4,
            "rank_weight": 0.1,
            "temperature": 2.0,
            "normalise": False,
            "optimizer": "adam",
            "lr": 2e-4,
            "weight_decay": 1e-4,
            "batch_size": 32,
            "epochs": 300,
            "layers": 3,
            "heads": 2,
            "dropout": 0.3,
            "alpha": 1.0,
            "task_weight": 10.0,
        },
        published={"fisv": {"alpha": 0.5}, "fs1000": {"lr": 1e-4}},
        search={
            "lr": ("log", 5e-5, 1e-3),
            "dropout": ("linear", 0.0, 0.6),
            "rank_weight": ("choice", 0.01, 0.1, 1.0),
            "two_stage": ("choice", False, True),
        },
        min_modalities=2,
        contract_settings={"batch_size": 4, "layers": 1},
    )

    def build(self, task: Task) -> nn.Module:
        """Return the untrained network for the widths of the streams."""
        return TokenNet(
            {task.symbols[m]: width for m, width in task.modalities.items()},
            cast(int, self.settings["layers"]),
            cast(int, self.settings["heads"]),
            cast(float, self.settings["dropout"]),
        )

    def learn(self, train: Split, context: FitContext) -> None:
        """Train in one stage, or with ``two_stage`` in two."""
        if self.settings["two_stage"]:
            super().learn(train, context)
            self.net.requires_grad_(True)
        else:
            TorchMethod.learn(self, train, context)

    def begin(self, stage: int) -> None:
        """Train what makes the vectors in the first stage, and the head in the second."""
        for name, part in self.net.named_parameters():
            part.requires_grad_(name.startswith("head.") == (stage == 1))

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Score two views of each sample, and order their vectors by score."""
        assert batch.score is not None
        net, joint = cast(TokenNet, self.net), not self.settings["two_stage"]
        if not joint and self.stage == 1:
            for part in (net.in_proj, net.encoder, net.fusion):
                part.eval()
        views = [draw_shown(batch.available, generator) for _ in range(2)]  # (B, M) each
        streams = self._streams(net, batch, views)
        keep = steps_to_read(batch.valid.repeat(2, 1))
        memory = on_steps(net.fusion, torch.cat(list(streams.values()), -1), keep)  # (2B, T, 256)
        score, terms = batch.score.repeat(2), {}
        if joint or self.stage == 1:
            task, alpha = (cast(float, self.settings[k]) for k in ("task_weight", "alpha"))
            terms = grade_loss(net.head(memory, keep), score, task, alpha)
        if joint or self.stage == 0:
            vectors = mean_over_steps(memory, keep).float()  # (2B, 256)
            if self.settings["normalise"]:
                vectors = functional.normalize(vectors, dim=-1)
            ranked = rank_n_contrast(vectors, score, cast(float, self.settings["temperature"]))
            terms["rank"] = ranked * (cast(float, self.settings["rank_weight"]) if joint else 1.0)
        return terms

    def _streams(self, net: TokenNet, batch: Batch, views: list[Tensor]) -> Mapping[str, Tensor]:
        """Encode what either view shows, and put tokens for the rest: symbol -> (2B, T, 256)."""
        shown, keep = torch.cat(views), steps_to_read(batch.valid)
        streams = {}
        for column, (m, features) in enumerate(batch.features.items()):
            symbol = self.task.symbols[m]
            rows = views[0][:, column] | views[1][:, column]
            encoded = net.encode_rows(symbol, features, rows, keep).repeat(2, 1, 1)
            token = net.constant(symbol).to(encoded.dtype)
            streams[symbol] = torch.where(shown[:, column, None, None], encoded, token)
        return streams
