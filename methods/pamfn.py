"""PAMFN: branches of single streams are trained first, then a branch that mixes their pyramids.

Paper: Zeng, Zheng, *Multimodal Action Quality Assessment*, TIP 2024, arXiv 2402.09444.  Official
repository: ``qinghuannn/PAMFN`` at ``ab2be2d`` (MIT).  Written from its equations, no line is taken
from it.

    g₀ … g₃ = pyramid_m(x_m)  for each stream m;  its own score σ(⟨w_m, g₃⟩ + b_m)
    c' = Conv(c),  s' = softmax(−QKᵀ/√d) V  over the streams' coarse levels s_m
    n_k = Σ_m softmax_m(a_{m,k}) f_m  over their fine levels f_m,  n_k ← pool(FFN_k(n_k) + n_k)
    f' = attention of [c'; s'] over n_1 … n_{k*},  k* by a Gumbel-softmax policy
    c ← [c'; s'; f'],  three times;  score = σ(head(c));  loss = mean (score − y)² in both stages

Training has two stages, each a training of its own with its optimiser and schedule:

1. Every branch learns by its own score.  ``unimodal_epochs`` and the other ``unimodal_`` settings.
2. The mixed branch learns.  Branches stand still but for the audio branch, which goes on learning.
   A budget of equal steps is shared in the proportion of the epochs; looks come in this stage.

Missing streams are ours, the paper needs all: a missing one leaves the softmaxes over streams of
both attentions, and is zero in the policy's input, so that it is nowhere read.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from aqabench.data.batch import Batch, Split
from aqabench.errors import CheckpointError
from aqabench.method.base import FitContext, Task, TorchMethod
from aqabench.method.card import MethodCard
from aqabench.methods._pamfn_net import PAMFNNet, PublishedPAMFN, Sizes
from aqabench.nn.checkpoint import as_tensors, load_weights
from aqabench.nn.fusion import steps_to_read
from aqabench.nn.masks import draw_shown
from aqabench.train.stages import Stage, train_in_stages

__all__ = ["PAMFN", "PAMFNNet", "PublishedPAMFN", "Sizes", "load_official"]

AUDIO = "a"
UNIMODAL, FUSION = "unimodal", "fusion"
STREAMS = "r", "f", "a"  # of published state dicts, in the order of the inputs
_IDLE = re.compile(r"stage[123]\.[sf]_fusion\.norm\.(weight|bias)")
"""Norms that are never used; it is not certain in which of two places a state dict has them."""


class PAMFN(TorchMethod):
    """PAMFN in two stages, for any streams, with a rule for missing ones."""

    test_window = "full"
    card = MethodCard(
        name="pamfn",
        title="PAMFN (TIP 2024)",
        kind="method",
        summary=(
            "Pyramids of single streams, trained first, feed a mixed branch that looks for what "
            "streams say differently and chooses how many fusion networks each step needs."
        ),
        missing=(
            "Ours, since the paper needs every stream. A missing one leaves the softmaxes over "
            "streams and is zero to the policy. The second stage shows a random part of what each "
            "sample has (modality_dropout=false: all of it, as published)."
        ),
        paper="Zeng, Zheng: Multimodal Action Quality Assessment, TIP 2024, arXiv 2402.09444",
        code="qinghuannn/PAMFN at ab2be2d",
        licence="MIT",
        differs=(
            "Branches train side by side in one loop, not in three runs; no gradient is clipped "
            "(published: norm 2); the head learns at the full rate (published: a tenth); both "
            "stages end at 1 % of their rate (published: SGD at 0.05 %, Fis-V's fusion constant). "
            "Branches are taken as they end (published: at their best test epochs). A budget of "
            "equal steps is shared by the stages. Frozen branches stand still "
            "(frozen_branches_drift=true: statistics move and dropout acts), the policy has no "
            "noise at test (noisy_policy), its temperature stays at 0.1 or more "
            "(free_temperature), padding is masked, random windows can be the last one, epochs "
            "are chosen by the protocol. A weight decay of 1e-2 acts in the fusion, as in the "
            "released code, whose configuration says 1e-4. Published for RGB, flow and audio "
            "with features of set 1; any other streams are our generalisation."
        ),
        citation=(
            "@article{zeng2024multimodal, title={Multimodal Action Quality Assessment}, "
            "author={Zeng, Ling-An and Zheng, Wei-Shi}, journal={IEEE Transactions on Image "
            "Processing}, year={2024}}"
        ),
        claims=("PAMFN", "PAMFN (UNMT+MAST features)"),
        settings={
            "optimizer": "adamw",
            "lr": 8e-4,
            "weight_decay": 1e-2,
            "batch_size": 32,
            "epochs": 500,
            "unimodal_optimizer": "sgd",
            "unimodal_lr": 1e-2,
            "unimodal_weight_decay": 1e-4,
            "unimodal_epochs": 250,
            "networks": 6,
            "heads_specific": 1,
            "heads_cross": 1,
            "head_reduction": 2,
            "head_dropout": 0.0,
            "branch_dropout": 0.5,
            "feature_dropout": 0.5,
            "modality_dropout": True,
            "audio_branch_learns": True,
            "mask_padding": True,
            "noisy_policy": False,
            "free_temperature": False,
            "frozen_branches_drift": False,
        },
        switches={
            "padding is data": {"mask_padding": False},
            "noise in the policy at test": {"noisy_policy": True},
            "temperature of the policy is free": {"free_temperature": True},
            "drift of frozen branches": {"frozen_branches_drift": True},
        },
        published={
            "fisv": {"lr": 8e-4, "networks": 6},
            "rg": {"lr": 5e-4, "networks": 10},
            "rg/Ball": {"epochs": 400},
            "rg/Clubs": {"epochs": 500},
            "rg/Hoop": {"epochs": 300},
            "rg/Ribbon": {"epochs": 500},
        },
        search={
            "lr": ("log", 1e-4, 2e-3),
            "unimodal_lr": ("log", 1e-3, 5e-2),
            "feature_dropout": ("linear", 0.0, 0.6),
            "networks": ("choice", 4, 6, 8, 10),
            "heads_specific": ("choice", 1, 2, 4),
            "heads_cross": ("choice", 1, 2, 4),
            "modality_dropout": ("choice", True, False),
        },
        min_modalities=2,
        contract_settings={
            "batch_size": 8,
            "networks": 2,
            "unimodal_optimizer": "adamw",
            "unimodal_lr": 1e-3,
            "unimodal_epochs": 60,
        },
    )
    _stage = FUSION

    def build(self, task: Task) -> nn.Module:
        """Return the untrained network for the widths of the streams."""
        widths = {task.symbols[m]: width for m, width in task.modalities.items()}
        sizes = {f.name: cast(Any, self.settings[f.name]) for f in fields(Sizes)}
        net: nn.Module = PAMFNNet(widths, Sizes(**sizes))
        return net

    @property
    def batch_matters(self) -> bool:
        """Padding does, unless it is masked; a policy's noise is drawn batch by batch."""
        return bool(self.settings["noisy_policy"] or not self.settings["mask_padding"])

    def learn(self, train: Split, context: FitContext) -> None:
        """Train the branches, then the mixed branch."""
        train_in_stages([Stage(self._in_stage(UNIMODAL)), Stage(self)], train, context)

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Squared error of each branch, or of the mixed branch."""
        assert batch.score is not None
        keep = steps_to_read(batch.valid) if self.settings["mask_padding"] else None
        if self._stage == UNIMODAL:
            return self._branch_losses(batch, keep)
        shown = batch.available
        if self.settings["modality_dropout"]:
            shown = draw_shown(shown, generator)
        encoded = {}
        for m in batch.features:
            rows = shown[:, self._column(m)]
            if bool(rows.any()):
                part = self._mixed_in(
                    m, batch.features[m][rows], None if keep is None else keep[rows]
                )
                blank = part.new_zeros(len(batch), *part.shape[1:])
                encoded[self.task.symbols[m]] = blank.index_put((rows,), part)
        score = self._net.score(encoded, shown, batch.valid.shape[1], keep)
        return {"task": functional.mse_loss(score, batch.score)}

    def projections(self) -> Mapping[str, nn.Module]:
        """Return what only one stream owns and learns by: its branch, or its fusion weights."""
        net, symbols = self._net, self.task.symbols
        own = net.branch if self._stage == UNIMODAL else net.read_alone
        return {m: own(symbols[m]) for m in self.task.modalities}

    def encode(self, modality: str, features: Tensor, valid: Tensor) -> Tensor:
        """Return the pyramid of a stream."""
        symbol, keep = self.task.symbols[modality], steps_to_read(valid)
        pyramid: Tensor = self._net.encode(symbol, features, keep)
        return pyramid

    def score(self, encoded: Mapping[str, Tensor], available: Tensor, valid: Tensor) -> Tensor:
        """Mix what there is."""
        streams = {self.task.symbols[m]: x for m, x in encoded.items()}
        scores: Tensor = self._net.score(streams, available, valid.shape[1], steps_to_read(valid))
        return scores

    @property
    def _net(self) -> PAMFNNet:
        return cast(PAMFNNet, self.net)

    def _branch_losses(self, batch: Batch, keep: Tensor | None) -> dict[str, Tensor]:
        terms = {}
        assert batch.score is not None
        for m, x in batch.features.items():
            rows, symbol = batch.available[:, self._column(m)], self.task.symbols[m]
            if bool(rows.any()):
                pyramid = self._net.encode(symbol, x[rows], None if keep is None else keep[rows])
                own = self._net.grade_alone(symbol, pyramid)
                terms[symbol] = functional.mse_loss(own, batch.score[rows])
        return terms

    def _mixed_in(self, modality: str, features: Tensor, keep: Tensor | None) -> Tensor:
        """Encode a stream as the mixed branch learns from it: audio learns, others stand still."""
        symbol = self.task.symbols[modality]
        learns = symbol == AUDIO and bool(self.settings["audio_branch_learns"])
        self._net.branch(symbol).train(learns or bool(self.settings["frozen_branches_drift"]))
        with torch.set_grad_enabled(learns):
            pyramid: Tensor = self._net.encode(symbol, features, keep)
        return pyramid

    def _in_stage(self, stage: str) -> PAMFN:
        """Return the method, with the same network, as it trains in another stage."""
        view, prefix = copy.copy(self), f"{stage}_"
        own = {k.removeprefix(prefix): v for k, v in self.settings.items() if k.startswith(prefix)}
        view.settings = self.settings | own
        view._stage = stage
        return view


def load_official(
    state_dict: Mapping[str, Any],
    heads_specific: int = 1,
    heads_cross: int = 1,
    deterministic_policy: bool = True,
) -> PublishedPAMFN:
    """Build the network that official weights belong to; widths, K and r are read from them.

    The published policy draws noise at test, so that no two passes agree beyond the third digit
    (quirk 1).  By default its likeliest choice is taken.

    Args:
        state_dict: official names -> numpy arrays or tensors, of the final network.
        heads_specific: of step 2, which weights do not tell; published 1, with features of set 2
            4 (RG) and 2 (Fis-V).
        heads_cross: of step 4; published 1, with features of set 2 2 (RG) and 4 (Fis-V).
        deterministic_policy: False draws noise from torch's global random state, as published.

    Returns:
        The network in evaluation mode.  Its inputs are RGB, flow and audio, (B, T, D) each.

    Raises:
        CheckpointError: the names or shapes are not those of PAMFN.
    """
    weights = {k: v for k, v in as_tensors(state_dict, "PAMFN").items() if not _IDLE.fullmatch(k)}
    telling = [f"model_{m}.embedding.0.weight" for m in STREAMS]
    telling += ["stage1.f_fusion.policy.0.weight", "fc.1.weight"]
    for name in telling:
        if name not in weights or weights[name].dim() != 3:
            raise CheckpointError(
                f"These are no PAMFN weights: '{name}' is missing among {len(weights)} names, or "
                "is no convolution. Pass the plain state_dict of the fused network "
                "(..._multimodal.pth), not a branch's."
            )
    widths = {m: weights[name].shape[1] for m, name in zip(STREAMS, telling, strict=False)}
    sizes = Sizes(
        networks=weights[telling[3]].shape[0],
        heads_specific=heads_specific,
        heads_cross=heads_cross,
        head_reduction=max(256 // max(weights[telling[4]].shape[0], 1), 1),
        noisy_policy=not deterministic_policy,
        free_temperature=True,
    )
    net = PublishedPAMFN(widths, sizes)
    idle = [name for name in net.state_dict() if ".norm." in name]
    load_weights(net, weights, "PAMFN", optional=idle)
    return net.eval()
