"""USDL: predict a distribution over scores, taught by a Gaussian around the judges' score.

Paper: Tang, Ni, Zhou, Zhang, Lu, Wu, Zhou, *Uncertainty-aware Score Distribution Learning for
Action Quality Assessment*, CVPR 2020.  Official repository: ``nzl-thu/MUSDL`` at ``205868a``; no
licence seen.  Written from a specification of it, no line is taken from it.

    p = softmax(W₃ relu(W₂ relu(W₁ φ + b₁) + b₂) + b₃) over bins c_0 … c_{B−1}      (1)
    t_k ∝ exp(−(c_k − y)² / 2σ²),  Σ_k t_k = 1                                       (2)
    loss = mean over samples of Σ_k t_k (log t_k − log p_k)                          (3)
    score = Σ_k p_k c_k, or c at the largest p_k                                     (4)

Published for short clips: φ of 1024 numbers is the mean of ten windows of a video network, the 101
bins are 0 … 100 and σ is 5.  Here φ is the pooled vector of the shared encoder (``_pooled.py``),
bins lie on [0, 1] and σ is 0.05, the same on another scale.  :func:`load_official` has the
published heads: one of 101 bins (USDL), or one of 21 half points for each of seven judges (MUSDL),
of which the middle three are summed and multiplied by the difficulty.  Data without judges' own
scores, as all of this benchmark's, have no use for the second.

Published behaviours that change a number are settings: ``mean_over_bins`` (a Kullback-Leibler
divergence averaged over bins, a 101st of (3)), ``argmax`` (which rounds to a bin and ties videos).
The published logarithm of a softmax, which can be minus infinity, is a log-softmax here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from aqabench.data.batch import Batch, Split
from aqabench.errors import CheckpointError
from aqabench.method.base import Task
from aqabench.method.card import MethodCard
from aqabench.methods._pooled import WIDTH, PooledMethod
from aqabench.nn.checkpoint import as_tensors, load_weights

__all__ = ["USDL", "DistributionHead", "JudgesHead", "load_official"]

TOP = 104.5
"""Highest score of the published data set, which its bin 100 stands for."""
JUDGES_TOP = 10.0


class DistributionHead(nn.Module):
    """The published head: three linear layers and a softmax."""

    def __init__(self, width: int = 1024, hidden: tuple[int, int] = (256, 128), bins: int = 101):
        """Build the untrained head for vectors of ``width`` numbers."""
        super().__init__()
        self.layer1 = nn.Linear(width, hidden[0])
        self.layer2 = nn.Linear(hidden[0], hidden[1])
        self.layer3 = nn.Linear(hidden[1], bins)

    def logits(self, features: Tensor) -> Tensor:
        """Return (B, bins) before the softmax of Eq. 1."""
        hidden = torch.relu(self.layer2(torch.relu(self.layer1(features))))
        out: Tensor = self.layer3(hidden)
        return out

    def forward(self, features: Tensor) -> Tensor:
        """Return the distribution.

        Args:
            features: (B, width), tensor or array of any float type.

        Returns:
            (B, bins), each row sums to 1 (1).
        """
        weight = self.layer1.weight
        given = torch.as_tensor(features, dtype=weight.dtype, device=weight.device)
        return torch.softmax(self.logits(given), -1)

    def points(self, features: Tensor, top: float = TOP) -> Tensor:
        """Return (B,) the published prediction, the likeliest bin, in points up to ``top``."""
        likeliest = self(features).argmax(-1)
        points: Tensor = likeliest * top / (self.layer3.out_features - 1)
        return points


class JudgesHead(nn.ModuleList):
    """MUSDL's heads, one for each judge."""

    def forward(self, features: Tensor) -> list[Tensor]:
        """Return each judge's distribution (B, bins) from features (B, width)."""
        return [head(features) for head in self]

    def points(self, features: Tensor, difficulty: Tensor) -> Tensor:
        """Return (B,) the published prediction: the middle three judges' sum × difficulty (B,)."""
        said = [cast(DistributionHead, head).points(features, JUDGES_TOP) for head in self]
        ranked = torch.stack(said, -1).sort(-1).values  # (B, J)
        outside = (len(self) - 3) // 2
        middle = ranked[:, outside : outside + 3].sum(-1)
        return middle * torch.as_tensor(difficulty).to(middle)


def gaussian_targets(score: Tensor, bins: int, sigma: float) -> Tensor:
    """Return Eq. 2: (B, bins) from scores (B,) on the scale of [0, 1], as the bins are."""
    centres = torch.linspace(0, 1, bins, device=score.device)
    return torch.softmax(-(centres - score[:, None]).square() / (2 * sigma**2), -1)


def distribution_loss(
    logits: Tensor, score: Tensor, sigma: float, mean_over_bins: bool = False
) -> Tensor:
    """Return Eq. 3.

    Args:
        logits: (B, bins), before the softmax.
        score: (B,) normalised.
        sigma: of the target, on the scale of [0, 1].
        mean_over_bins: divide by the number of bins, as published.
    """
    target = gaussian_targets(score, logits.shape[-1], sigma)
    apart = functional.kl_div(functional.log_softmax(logits.float(), -1), target, reduction="none")
    return apart.mean() if mean_over_bins else apart.sum(-1).mean()


class USDL(PooledMethod):
    """Score-distribution learning on the shared encoder."""

    card = MethodCard(
        name="usdl",
        title="USDL (CVPR 2020), head on the shared encoder",
        kind="method",
        summary=(
            "Predicts a distribution over 101 scores, taught by a Gaussian around the judges' "
            "score, and answers with its mean."
        ),
        missing=(
            "Ours, since the paper has one stream. Training shows a random non-empty subset of "
            "what each sample has (modality_dropout=false: all of it); a learned vector stands "
            "for an absent stream after the encoder."
        ),
        paper=(
            "Tang et al.: Uncertainty-aware Score Distribution Learning for Action Quality "
            "Assessment, CVPR 2020"
        ),
        code="nzl-thu/MUSDL at 205868a",
        licence="none seen in the repository",
        differs=(
            "The head alone is published work: it reads the mean of the fused sequence of the "
            "shared encoder, 256 numbers, not a fine-tuned video network. The divergence is summed "
            "over bins (mean_over_bins=true: averaged), the score is the mean of the distribution "
            "(argmax=true: the likeliest bin), log-softmax cannot underflow. Biases start at the "
            "distribution of training scores (start_at_prior=false: anywhere). Optimiser and "
            "batch are the encoder's; published are Adam 1e-4, weight decay 1e-5, batch 4, 100 "
            "epochs. "
            "Without scores of single judges there is no MUSDL."
        ),
        citation=(
            "@inproceedings{tang2020uncertainty, title={Uncertainty-aware Score Distribution "
            "Learning for Action Quality Assessment}, author={Tang, Yansong and Ni, Zanlin and "
            "Zhou, Jiahuan and Zhang, Danyang and Lu, Jiwen and Wu, Ying and Zhou, Jie}, "
            "booktitle={CVPR}, year={2020}}"
        ),
        settings={
            "optimizer": "adam",
            "lr": 2e-4,
            "weight_decay": 1e-4,
            "batch_size": 32,
            "epochs": 300,
            "layers": 3,
            "heads": 2,
            "dropout": 0.3,
            "modality_dropout": True,
            "bins": 101,
            "sigma": 0.05,
            "start_at_prior": True,
            "mean_over_bins": False,
            "argmax": False,
        },
        published={"fs1000": {"lr": 1e-4}},
        search={
            "lr": ("log", 5e-5, 1e-3),
            "dropout": ("linear", 0.0, 0.6),
            "sigma": ("log", 0.01, 0.2),
        },
        min_modalities=2,
        contract_settings={"batch_size": 8, "layers": 1},
    )

    def build(self, task: Task) -> nn.Module:
        """Return the untrained network for the widths of the streams."""
        return self.with_head(task, DistributionHead(WIDTH, bins=cast(int, self.settings["bins"])))

    def prepare(self, train: Split) -> None:
        """Let the head start at the distribution of training scores, unless told otherwise.

        From equal bins a short budget is spent on the way there.
        """
        if self.settings["start_at_prior"]:
            bins, sigma = cast(int, self.settings["bins"]), cast(float, self.settings["sigma"])
            prior = gaussian_targets(train.score, bins, sigma).mean(0)  # (bins,)
            bias = self._head.layer3.bias
            with torch.no_grad():  # nothing is ruled out: a tenth of an equal share at least
                bias.copy_(prior.clamp_min(0.1 / bins).log())

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Divergence from the Gaussian, of samples that show a random part of what they have."""
        assert batch.score is not None
        shown = self.shown(batch, generator)
        encoded = self.body.encode_where(self.by_symbol(batch.features), shown, batch.valid)
        logits = self._head.logits(self.body.pool(encoded, shown, batch.valid))
        sigma, averaged = cast(float, self.settings["sigma"]), bool(self.settings["mean_over_bins"])
        return {"task": distribution_loss(logits, batch.score, sigma, averaged)}

    def score(self, encoded: Mapping[str, Tensor], available: Tensor, valid: Tensor) -> Tensor:
        """Return the mean of the distribution, or its likeliest bin (4)."""
        said = self._head(self.body.pool(self.by_symbol(encoded), available, valid))  # (B, bins)
        centres = torch.linspace(0, 1, said.shape[-1], device=said.device)
        return centres[said.argmax(-1)] if self.settings["argmax"] else said @ centres

    @property
    def _head(self) -> DistributionHead:
        return cast(DistributionHead, self.body.head)


def load_official(state_dict: Mapping[str, Any]) -> DistributionHead | JudgesHead:
    """Build the head that official weights belong to; all sizes are read from them.

    Args:
        state_dict: names -> numpy arrays or tensors of the ``evaluator`` part, with or without
            ``evaluator.`` and ``module.`` in front: ``layer1.weight`` and so on for USDL,
            ``0.layer1.weight`` and so on for each judge of MUSDL.

    Returns:
        The head in evaluation mode: features (B, 1024) -> (B, 101) for USDL, or a list of seven
        (B, 21) for MUSDL.

    Raises:
        CheckpointError: the names or shapes are neither's.
    """
    weights = {
        name.removeprefix("evaluator.").removeprefix("module."): value
        for name, value in as_tensors(state_dict, "USDL").items()
    }
    judges = {name.partition(".")[0] for name in weights if name[:1].isdigit()}
    firsts = [f"{i}." for i in range(len(judges))] or [""]
    heads = [_sized(weights, first) for first in firsts]
    net = JudgesHead(heads) if judges else heads[0]
    load_weights(net, weights, "MUSDL" if judges else "USDL")
    return net.eval()


def _sized(weights: Mapping[str, Tensor], prefix: str) -> DistributionHead:
    shapes = []
    for layer in ("layer1", "layer2", "layer3"):
        name = f"{prefix}{layer}.weight"
        if name not in weights or weights[name].dim() != 2:
            raise CheckpointError(
                f"These are no weights of USDL or MUSDL: '{name}' is missing or no matrix among "
                f"{len(weights)} names. Pass the state_dict of the evaluator, e.g. "
                "checkpoint['evaluator']."
            )
        shapes.append(weights[name].shape)
    return DistributionHead(shapes[0][1], (shapes[0][0], shapes[1][0]), shapes[2][0])
