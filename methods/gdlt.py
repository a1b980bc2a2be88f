"""GDLT: grade queries attend to clip features; the score is the grade-weighted mean grade.

Paper: Xu, Zeng, Zheng, *Likert Scoring with Grade Decoupling for Long-term Action Assessment*,
CVPR 2022.  Official repository: ``xuangch/CVPR22_GDLT`` at ``b9aa9ef``; no licence seen.  Written
from its equations, no line is taken from it.

    h = Enc(P(x)),  Z = Dec(prototypes, h),  s_k = <w_k, z_k> + c_k,
    g_k = σ(s_k) / Σ_j σ(s_j),  score = Σ_k g_k (k−1)/(K−1)
    loss = mean (score − y)² + α · batch-hard triplet of Z

What differs: padding can be masked (``valid``; the official code attends to padded clips, which
is what leaving ``valid`` out does); grade values are a buffer, so that the network runs on any
device.  Outputs and state-dict names are the official ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from aqabench.data.batch import Batch
from aqabench.errors import CheckpointError
from aqabench.method.base import Task
from aqabench.method.card import MethodCard
from aqabench.method.single import SingleStreamMethod, with_fallback
from aqabench.nn.checkpoint import as_tensors, load_weights
from aqabench.nn.grade_head import GradeRegressor, Grades, decode_grades
from aqabench.nn.losses import batch_hard_triplet
from aqabench.nn.projection import on_steps, stream_projection
from aqabench.nn.transformer import EncoderDecoder

WIDTH = 256
HIDDEN = 768


class GDLTNet(nn.Module):
    """The published network, for one modality of any width."""

    def __init__(
        self,
        width: int = 1024,
        encoder_layers: int = 1,
        decoder_layers: int = 2,
        heads: int = 1,
        queries: int = 4,
        dropout: float = 0.0,
    ) -> None:
        """Build the untrained network.

        Args:
            width: D of the features.
            encoder_layers: published 1.
            decoder_layers: published 2.
            heads: of every attention; published 1.
            queries: grades K; published 4.
            dropout: inside the Transformer; published 0.3 (RG), 0.7 (Fis-V).
        """
        super().__init__()
        self.in_proj = stream_projection(width, WIDTH)
        self.transformer = EncoderDecoder(
            encoder_layers, decoder_layers, WIDTH, heads, HIDDEN, dropout
        )
        self.prototype = nn.Embedding(queries, WIDTH)
        self.regressor = GradeRegressor(WIDTH, queries)

    def encode(self, video: Tensor, valid: Tensor | None = None) -> Tensor:
        """Encode clips.

        Args:
            video: (B, T, D); anything where ``valid`` is False.
            valid: (B, T) bool; None reads every step, as published.

        Returns:
            (B, T, 256).
        """
        keep = None if valid is None or bool(valid.all()) else valid
        memory: Tensor = self.transformer.encoder(on_steps(self.in_proj, video, keep), keep)
        return memory

    def grade(self, memory: Tensor, valid: Tensor | None = None) -> Grades:
        """Decode grades from encoded clips (B, T, 256)."""
        keep = None if valid is None or bool(valid.all()) else valid
        return decode_grades(
            self.prototype.weight, self.transformer.decoder, self.regressor, memory, keep
        )

    def forward(self, video: Tensor, valid: Tensor | None = None) -> Tensor:
        """Score videos.

        Args:
            video: (B, T, D), tensor or array of any float type.
            valid: (B, T) bool, False on padding; None reads every step, as published.

        Returns:
            (B,) normalised scores.
        """
        weight = self.regressor.weight
        clips = torch.as_tensor(video, dtype=weight.dtype, device=weight.device)
        return self.grade(self.encode(clips, valid), valid).score

    def loss_terms(
        self, video: Tensor, score: Tensor, valid: Tensor | None = None, alpha: float = 1.0
    ) -> dict[str, Tensor]:
        """Return the weighted loss terms; their sum is minimised.

        Args:
            video: (B, T, D).
            score: (B,) normalised.
            valid: (B, T) bool or None, as in :meth:`forward`.
            alpha: weight of the diversity term; published 1.0 (RG), 0.5 (Fis-V).
        """
        grades = self.grade(self.encode(video, valid), valid)
        return {
            "task": functional.mse_loss(grades.score, score),
            "diversity": alpha * batch_hard_triplet(grades.queries),
        }


class GDLT(SingleStreamMethod):
    """GDLT as published: SGD, one modality, whole videos at test."""

    test_window = "full"
    card = MethodCard(
        name="gdlt",
        title="GDLT (CVPR 2022)",
        kind="method",
        summary=(
            "Learned grade queries attend to the clips of one stream; the score is the mean grade "
            "they vote for. Parent of MCMoE, CoFInAl, QGVL and MLAVL."
        ),
        missing=(
            "Reads one stream and learns from the samples that have it; without it, predicts the "
            "mean training score."
        ),
        paper=(
            "Xu, Zeng, Zheng: Likert Scoring with Grade Decoupling for Long-term Action "
            "Assessment, CVPR 2022"
        ),
        code="xuangch/CVPR22_GDLT at b9aa9ef",
        licence="none seen in the repository",
        differs=(
            "Random windows can be the last one; padding is masked unless mask_padding=false; the "
            "epoch is chosen by the protocol, not on test; streams narrower than 32 get 16 hidden "
            "channels."
        ),
        citation=(
            "@inproceedings{xu2022likert, title={Likert Scoring with Grade Decoupling for "
            "Long-term Action Assessment}, author={Xu, Angchi and Zeng, Ling-An and Zheng, "
            "Wei-Shi}, booktitle={CVPR}, year={2022}}"
        ),
        claims=("GDLT",),
        settings={
            "stream": "video",
            "optimizer": "sgd",
            "lr": 0.01,
            "momentum": 0.9,
            "weight_decay": 1e-4,
            "batch_size": 32,
            "epochs": 300,
            "encoder_layers": 1,
            "decoder_layers": 2,
            "heads": 1,
            "dropout": 0.3,
            "alpha": 1.0,
            "mask_padding": True,
        },
        switches={"padding is data": {"mask_padding": False}},
        published={
            "fisv": {"dropout": 0.7, "alpha": 0.5},
            "fisv/TES": {"epochs": 320},
            "fisv/PCS": {"epochs": 400},
            "rg/Ball": {"epochs": 250},
            "rg/Clubs": {"epochs": 400},
            "rg/Hoop": {"epochs": 500},
            "rg/Ribbon": {"epochs": 150},
        },
        search={
            "lr": ("log", 1e-3, 3e-2),
            "dropout": ("linear", 0.0, 0.8),
            "alpha": ("choice", 0.0, 0.5, 1.0),
        },
        stream_setting="stream",
        contract_settings={"optimizer": "adam", "lr": 1e-3, "alpha": 0.1},
    )

    def build(self, task: Task) -> nn.Module:
        """Return the untrained network for the width of its stream."""
        return with_fallback(
            GDLTNet(
                width=task.modalities[self.stream],
                encoder_layers=cast(int, self.settings["encoder_layers"]),
                decoder_layers=cast(int, self.settings["decoder_layers"]),
                heads=cast(int, self.settings["heads"]),
                dropout=cast(float, self.settings["dropout"]),
            )
        )

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """MSE on normalised scores plus query diversity, on samples with the stream."""
        seen = self.seen(batch)
        if seen is None:
            return {}
        video, valid, score = seen
        net = cast(GDLTNet, self.net)
        return net.loss_terms(video, score, self._keep(valid), cast(float, self.settings["alpha"]))

    @property
    def batch_matters(self) -> bool:
        """Padding does, unless it is masked."""
        return not self.settings["mask_padding"]

    def encode(self, modality: str, features: Tensor, valid: Tensor) -> Tensor:
        """Encode the stream, with or without a mask on padding."""
        return super().encode(modality, features, self._keep(valid))

    def grade(self, memory: Tensor, valid: Tensor) -> Tensor:
        """Vote."""
        return cast(GDLTNet, self.net).grade(memory, self._keep(valid)).score

    def _keep(self, valid: Tensor) -> Tensor:
        return valid if self.settings["mask_padding"] else torch.ones_like(valid)


def load_official(state_dict: Mapping[str, Any], heads: int = 1, dropout: float = 0.0) -> GDLTNet:
    """Build the network that official weights belong to; widths and depths are read from them.

    Args:
        state_dict: official names -> numpy arrays or tensors.
        heads: of every attention, which weights do not tell; published 1.
        dropout: for further training.

    Returns:
        The network in evaluation mode.

    Raises:
        CheckpointError: the names or shapes are not those of GDLT.
    """
    weights = as_tensors(state_dict, "GDLT")
    for name in ("in_proj.0.weight", "prototype.weight"):
        if name not in weights:
            raise CheckpointError(
                f"These are no GDLT weights: '{name}' is missing among {len(weights)} names. "
                "Pass the plain state_dict that the official code saves."
            )
    net = GDLTNet(
        width=weights["in_proj.0.weight"].shape[1],
        encoder_layers=_depth(weights, "transformer.encoder.layers."),
        decoder_layers=_depth(weights, "transformer.decoder.layers."),
        heads=heads,
        queries=weights["prototype.weight"].shape[0],
        dropout=dropout,
    )
    load_weights(net, weights, "GDLT")
    return net.eval()


def _depth(weights: Mapping[str, Tensor], prefix: str) -> int:
    names = (name.removeprefix(prefix) for name in weights if name.startswith(prefix))
    return len({name.partition(".")[0] for name in names})
