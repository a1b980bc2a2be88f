"""MCMoE: fill absent modalities in feature space, refine all by a mixture of experts, grade.

Paper: Xu et al., *MCMoE: Completing Missing Modalities with Mixture of Experts for Incomplete
Multimodal Action Quality Assessment*, AAAI 2026, arXiv 2511.17397.  Official repository:
``XuHuangbiao/MCMoE`` at ``302460f``.  Written from its equations, no line is taken from it.

    h_m = E(P_m(x_m))                                  for every present modality m, e.g. of v, a, f
    ĥ_m = g ⊙ q²,  q^{i} = MHA_i(q^{i−1}, K, K),  g = σ(W [mean q² ; mean K] + b)   for absent m,
          K = the present h along time;  r_m = h_m or ĥ_m
    u_m = Σ_e softmax(R(r_m))_e X_e(r_m),  score = grades(C([u_v ; u_a ; u_f]))
    loss = 10 MSE + α L_div + Σ_hidden |ĥ_m − h_m|² + Σ_m KL(softmax X_m(h_m) ‖ softmax u_m)

The published network and training loss are reproduced with every defect that changes a number as
a named switch (:class:`Switches`).  The default is the corrected form; ``Switches.published()`` is
the official one, and :func:`load_official` fills it with official weights.

Published are three streams.  For M of them, under any symbols, there are M generators, M experts,
M routes and a fusion of M × 256 channels, and training draws from the 2^M − 1 non-empty subsets
(2^M − 2 with Q5): our generalisation, and for M = 3 the published network to the bit.

Absence is found there by testing whether an encoding sums to zero (Q4).  Rounding decides that
test for fresh weights, so the switch for it is off even in the published form; for trained weights
it agrees with the mask that is used here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from aqabench.data.batch import Batch, Split
from aqabench.method.base import Task, TorchMethod
from aqabench.method.card import MethodCard
from aqabench.methods._mcmoe_published import MODALITIES, PUBLISHED_MASKS, MCMoENet
from aqabench.methods._mcmoe_switches import Switches
from aqabench.methods._mcmoe_training import CompletionNet, LossWeights
from aqabench.nn.checkpoint import as_tensors, load_weights
from aqabench.train.context import FitContext

__all__ = [
    "MODALITIES",
    "PUBLISHED_MASKS",
    "CompletionNet",
    "LossWeights",
    "MCMoE",
    "MCMoENet",
    "MCMoEReleased",
    "Switches",
    "load_official",
    "loss",
]

_RECIPE = {
    "optimizer": "adam",
    "lr": 2e-4,
    "weight_decay": 1e-4,
    "batch_size": 32,
    "epochs": 400,
    "dropout": 0.3,
    "alpha": 1.0,
}
_PUBLISHED = {
    "fisv": {"alpha": 0.5},
    "fisv/TES": {"epochs": 460},
    "fisv/PCS": {"epochs": 510},
    "rg/Ball": {"epochs": 410},
    "rg/Clubs": {"epochs": 560},
    "rg/Hoop": {"epochs": 270},
    "rg/Ribbon": {"epochs": 300},
    "fs1000": {"lr": 1e-4},
    "fs1000/TES": {"epochs": 360},
    "fs1000/PCS": {"epochs": 460},
    "fs1000/SS": {"epochs": 360},
    "fs1000/TR": {"epochs": 210},
    "fs1000/PE": {"epochs": 520},
    "fs1000/CO": {"epochs": 520},
    "fs1000/IN": {"epochs": 390},
}
_DEFECTS = {
    "Q1 positional code by place in the batch": {"batch_positions": True, "query_positions": False},
    "Q2 generator constant in time": {"constant_generator": True},
    "Q4 absence by a sum of zero": {"zero_sum_absence": True},
    "Q5 complete input never trained": {"complete_never_shown": True},
    "Q6 one mask per batch": {"one_mask_per_batch": True},
    "Q7 teachers not detached": {"attached_teachers": True},
    "Q8 alignment 256 times as strong": {"elementwise_kl": False},
    "Q9 first line of the list skipped": {"skip_first_sample": True},
    "Q15 teacher moves running statistics": {"teacher_statistics": True},
    "Q16 padding is data": {"padding_is_data": True},
    "Q18 two hidden streams count twice": {"summed_reconstruction": True},
}
_OF_THE_BATCH = ("batch_positions", "zero_sum_absence", "padding_is_data")
"""Switches by which a score is not its own sample's alone."""
_REMEDIES = {
    "Q1 positional code by query": {"batch_positions": False, "query_positions": True},
    "Q2 generator knows time": {"constant_generator": False},
    "Q5 complete input trained": {"complete_never_shown": False},
    "Q6 a mask per sample": {"one_mask_per_batch": False},
    "Q7 teachers detached": {"attached_teachers": False},
    "Q8 alignment 256 times as strong": {"elementwise_kl": False},
    "Q9 no line of the list skipped": {"skip_first_sample": False},
    "Q15 teacher leaves running statistics": {"teacher_statistics": False},
    "Q16 padding masked": {"padding_is_data": False},
    "Q18 mean over hidden streams": {"summed_reconstruction": False},
}
_SEARCH = {
    "lr": ("log", 5e-5, 1e-3),
    "dropout": ("linear", 0.0, 0.5),
    "alpha": ("choice", 0.0, 0.5, 1.0),
}
_PAPER = (
    "Xu et al.: MCMoE: Completing Missing Modalities with Mixture of Experts for Incomplete "
    "Multimodal Action Quality Assessment, AAAI 2026, arXiv 2511.17397"
)
_CODE = "XuHuangbiao/MCMoE at 302460f"
_CITATION = (
    "@inproceedings{xu2026mcmoe, title={MCMoE: Completing Missing Modalities with Mixture of "
    "Experts for Incomplete Multimodal Action Quality Assessment}, author={Xu, Huangbiao and "
    "others}, booktitle={AAAI}, year={2026}}"
)


class MCMoE(TorchMethod):
    """MCMoE in its corrected form; every published defect is a setting."""

    card = MethodCard(
        name="mcmoe",
        title="MCMoE (AAAI 2026), corrected",
        kind="method",
        summary=(
            "Generates each missing stream from the present ones, passes all streams through one "
            "expert per modality mixed by a router, and grades the fusion as GDLT does."
        ),
        missing=(
            "Training hides a random part of what each sample has. A gated generator fills in for "
            "what is not shown, and learns from what was hidden, never from what does not exist."
        ),
        paper=_PAPER,
        code=_CODE,
        licence="none seen in the repository",
        differs=(
            "Positional code on the queries instead of the batch, a generator that knows time, "
            "masks per sample with the complete one among them, teachers detached, padding masked, "
            "no sample skipped. Each is a switch; mcmoe-released has the published ones. Published "
            "for three streams; any other number is our generalisation. Streams narrower than 32 "
            "get 16 hidden channels."
        ),
        citation=_CITATION,
        claims=("MCMoE",),
        settings={
            **_RECIPE,
            "batch_positions": False,
            "query_positions": True,
            "constant_generator": False,
            "zero_sum_absence": False,
            "complete_never_shown": False,
            "one_mask_per_batch": False,
            "attached_teachers": False,
            "elementwise_kl": True,
            "teacher_statistics": False,
            "padding_is_data": False,
            "summed_reconstruction": False,
            "skip_first_sample": False,
        },
        published=_PUBLISHED,
        switches=_DEFECTS,
        search=_SEARCH,
        min_modalities=2,
        contract_settings={"batch_size": 16},
    )

    def fit(self, train: Split, context: FitContext) -> None:
        """Train with the shared loop, without the first sample if that is switched on (Q9)."""
        super().fit(train.without_first() if self.settings["skip_first_sample"] else train, context)

    @property
    def batch_matters(self) -> bool:
        """Places in the batch (Q1), its zero sums (Q4) and its padding (Q16) may."""
        return any(self.settings[name] for name in _OF_THE_BATCH)

    def build(self, task: Task) -> nn.Module:
        """Return the untrained network for the widths of the streams."""
        chosen = {f.name: cast(bool, self.settings[f.name]) for f in fields(Switches)}
        net = CompletionNet(
            {task.symbols[m]: width for m, width in task.modalities.items()},
            dropout=cast(float, self.settings["dropout"]),
            switches=Switches(**chosen),
        )
        net.weights = replace(net.weights, diversity=cast(float, self.settings["alpha"]))
        return net

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Hide something, then task, diversity, reconstruction and alignment."""
        net = cast(CompletionNet, self.net)
        shown = net.draw_shown(batch.available, generator)
        assert batch.score is not None
        return net.loss_terms(
            self._by_symbol(batch.features), batch.available, shown, batch.valid, batch.score
        )

    def projections(self) -> Mapping[str, nn.Module]:
        """Return the streams' projections."""
        net = cast(CompletionNet, self.net)
        return {m: net.in_proj[self.task.symbols[m]] for m in self.task.modalities}

    def encode(self, modality: str, features: Tensor, valid: Tensor) -> Tensor:
        """Project and encode one stream."""
        return cast(CompletionNet, self.net).encode(self.task.symbols[modality], features, valid)

    def score(self, encoded: Mapping[str, Tensor], available: Tensor, valid: Tensor) -> Tensor:
        """Generate, refine, fuse and grade."""
        return cast(CompletionNet, self.net).score(self._by_symbol(encoded), available, valid)

    def score_subsets(
        self, encoded: Mapping[str, Tensor], subsets: Tensor, valid: Tensor
    ) -> Tensor:
        """Share the experts' work on real streams between subsets."""
        return cast(CompletionNet, self.net).score_subsets(self._by_symbol(encoded), subsets, valid)

    def _by_symbol(self, streams: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {self.task.symbols[m]: x for m, x in streams.items()}


class MCMoEReleased(MCMoE):
    """MCMoE as its authors released it."""

    card = MethodCard(
        name="mcmoe-released",
        title="MCMoE (AAAI 2026), as released",
        kind="method",
        summary="MCMoE with every published behaviour on, defects included.",
        missing=(
            "One incomplete mask per training batch of complete samples; a generator constant in "
            "time."
        ),
        paper=_PAPER,
        code=_CODE,
        licence="none seen in the repository",
        differs=(
            "The absence test by zero sums (Q4) is off; random windows can be the last one. "
            "Published for three streams; any other number is our generalisation. Streams narrower "
            "than 32 get 16 hidden channels."
        ),
        citation=_CITATION,
        claims=("MCMoE",),
        settings={
            **_RECIPE,
            "batch_positions": True,
            "query_positions": False,
            "constant_generator": True,
            "zero_sum_absence": False,
            "complete_never_shown": True,
            "one_mask_per_batch": True,
            "attached_teachers": True,
            "elementwise_kl": True,
            "teacher_statistics": True,
            "padding_is_data": True,
            "summed_reconstruction": True,
            "skip_first_sample": False,
        },
        published={**_PUBLISHED, "fisv": {"alpha": 0.5, "skip_first_sample": True}},
        switches=_REMEDIES,
        search=_SEARCH,
        min_modalities=2,
        contract_settings={"batch_size": 16},
        opt_outs={
            "alone_equals_batch": "its positional code is indexed by the place in the batch (Q1)",
            "order_cannot_matter": "its positional code is indexed by the place in the batch (Q1)",
            "padding_cannot_matter": "padded clips are attended to like real ones (Q16)",
            "trains_incomplete": "one mask for a whole batch needs samples with every stream (Q6)",
            "hidden_training_cannot_matter": "it trains on nothing hidden: one mask for a whole "
            "batch needs samples with every stream (Q6)",
        },
    )


def load_official(
    state_dict: Mapping[str, Any],
    video_dim: int | None = None,
    dropout: float = 0.0,
    **switches: bool,
) -> MCMoENet:
    """Build the published network with official weights.

    Args:
        state_dict: official names -> numpy arrays or tensors; ``pos_encoder.pe`` may be absent.
        video_dim: width of the video features, 1024 or 768; by default the weights tell.
        dropout: for further training.
        switches: published behaviours to change, e.g. ``batch_positions=False`` to score every
            sample as if it were alone.

    Returns:
        The network in evaluation mode.

    Raises:
        CheckpointError: the names or shapes are not those of MCMoE with this video width.
        UsageError: a switch does not exist.
    """
    weights = as_tensors(state_dict, "MCMoE")
    if video_dim is None:
        first = weights.get("in_proj.v.0.weight")  # (D / 2, D, 1); without it, names are wrong
        video_dim = first.shape[1] if first is not None and first.dim() == 3 else 1024
    net = MCMoENet(video_dim, dropout=dropout, switches=Switches.published(**switches))
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
