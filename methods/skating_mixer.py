"""Skating-Mixer: an MLP-Mixer cell with a memory reads clips forwards and backwards.

Paper: Xia et al., *Skating-Mixer: Long-Term Sport Audio-Visual Modeling with MLPs*, AAAI 2023,
arXiv 2203.03990.  Official repository:
``AndyFrancesco29/Audio-Visual-Figure-Skating`` at ``227b0b6``; no licence seen.  Written from its
equations, no line is taken from it.

    forwards:   [h_j ; … ; z_j] = Mixer([h_{j−1} ; tokens of clip j ; class]),  k_j = W z_j + b
    backwards:  [z̄_j ; … ; h̄_j] = Mixer([class ; tokens of clip j ; h̄_{j−1}]) on the clips reversed
    Mixer, twice:  y ← y + W₂ GELU(W₁ LN(y)) over tokens,  y ← y + U₂ GELU(U₁ LN(y)) over channels
    score = head(½ (mean k_j + mean k̄_j)),  loss = mean (score − y)²

One cell, both ways, through time; the two ways run side by side as one batch.

The published backward mean of a sample that is shorter than its batch is taken over steps of
padding, so that scores depend on who else is in the batch (quirk 2).  Here it is over the sample's
own steps; :func:`load_official` has the published slice, and a switch.

Missing streams are ours, the paper needs both: one learned token stands for all tokens of a
missing stream, so that the mixer always has its number of tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from aqabench.data.batch import Batch, Split
from aqabench.errors import CheckpointError
from aqabench.method.base import Task, TorchMethod
from aqabench.method.card import MethodCard
from aqabench.methods._skating_mixer_cell import (
    DEPTH,
    WIDTH,
    MixerCell,
    PublishedSkatingMixer,
    reverse,
)
from aqabench.nn.checkpoint import as_tensors, load_weights
from aqabench.nn.losses import mean_over_steps
from aqabench.nn.masks import draw_shown
from aqabench.nn.streams import PerStream

__all__ = ["MixerCell", "PublishedSkatingMixer", "SkatingMixer", "SkatingMixerNet", "load_official"]


class SkatingMixerNet(nn.Module):
    """The cell on one token per clip and stream, for streams of any widths."""

    def __init__(self, widths: Mapping[str, int], width: int = WIDTH, depth: int = DEPTH) -> None:
        """Build the untrained network: symbol of a stream -> D, sizes of the cell."""
        super().__init__()
        self.width = width
        self.in_proj = PerStream({m: nn.Linear(d, width) for m, d in widths.items()})
        self.absent = nn.Parameter(torch.randn(width))  # starts like the other learned tokens
        self.cell = MixerCell(len(widths) + 2, width, depth)

    def encode(self, modality: str, features: Tensor) -> Tensor:
        """Return tokens (R, T, d) of a stream (R, T, D); anything where steps do not exist."""
        tokens: Tensor = self.in_proj[modality](features)
        return tokens

    def score(self, encoded: Mapping[str, Tensor], rows: Tensor, valid: Tensor) -> Tensor:
        """Score what there is.

        Args:
            encoded: stream -> (B, T, d); anything in rows that do not have it.  A stream that no
                sample has may be absent.
            rows: (B, M) bool.
            valid: (B, T) bool, the steps of a sample come first.

        Returns:
            (B,) scores, not squashed.
        """
        absent = self.absent.expand(*valid.shape, -1)  # (B, T, d)
        clips = torch.stack(
            [
                torch.where(rows[:, i, None, None], encoded[m], absent) if m in encoded else absent
                for i, m in enumerate(self.in_proj)
            ],
            2,
        )  # (B, T, M, d)
        steps = int(valid.sum(1).max())  # all that comes later is padding for everybody
        lengths, clips, keep = valid.sum(1), clips[:, :steps], valid[:, :steps]
        clips = torch.where(keep[..., None, None], clips, 0.0)
        states = self.cell.read(clips, reverse(clips, lengths))
        means = (mean_over_steps(torch.where(keep[..., None], k, 0.0), keep) for k in states)
        scores: Tensor = self.cell.grade(*means)
        return scores


class SkatingMixer(TorchMethod):
    """Skating-Mixer on clip features of any streams, with a rule for missing ones."""

    test_window = "full"
    card = MethodCard(
        name="skating-mixer",
        title="Skating-Mixer (AAAI 2023)",
        kind="method",
        summary=(
            "An MLP-Mixer over the tokens of a clip, a class token and a recurrent memory reads "
            "the clips forwards and backwards; the mean class token is regressed."
        ),
        missing=(
            "Ours, since the paper needs audio and video. One learned token stands for every token "
            "of a missing stream. Training shows a random part of what each sample has "
            "(modality_dropout=false: all of it, as published)."
        ),
        paper=(
            "Xia et al.: Skating-Mixer: Long-Term Sport Audio-Visual Modeling with MLPs, AAAI "
            "2023, arXiv 2203.03990"
        ),
        code="AndyFrancesco29/Audio-Visual-Figure-Skating at 227b0b6",
        licence="none seen in the repository",
        differs=(
            "One token per clip and stream, as features have here (published: 15 of a video), and "
            "a linear map for each stream, not one for all. Any number of streams. Scores are "
            "normalised and start at the mean training score (published: raw, start_at_mean). "
            "Trains on random windows (published: whole videos), with a cosine (published: none). "
            "The backward mean is over a sample's own steps, not over padding. The released code "
            "stops at its constructor. Like that code and unlike the paper: no positional "
            "embeddings, one mixer for all tokens, no memory in the head. 512 channels on FS1000 "
            "and Fis-V as published, 256 elsewhere (a quarter of the work). The epoch is chosen "
            "by the protocol, not one for each metric on test."
        ),
        citation=(
            "@inproceedings{xia2023skating, title={Skating-Mixer: Long-Term Sport Audio-Visual "
            "Modeling with MLPs}, author={Xia, Jingfei and others}, booktitle={AAAI}, year={2023}}"
        ),
        claims=("Skating-Mixer",),
        settings={
            "optimizer": "adam",
            "lr": 1e-4,
            "weight_decay": 5e-6,
            "batch_size": 16,
            "epochs": 500,
            "width": 256,
            "depth": 2,
            "modality_dropout": True,
            "start_at_mean": True,
        },
        published={"fisv": {"width": 512}, "fs1000": {"width": 512}},
        search={
            "lr": ("log", 3e-5, 1e-3),
            "weight_decay": ("log", 1e-6, 1e-3),
            "depth": ("choice", 1, 2, 3),
            "modality_dropout": ("choice", True, False),
        },
        min_modalities=2,
        contract_settings={"lr": 5e-4, "width": 128},
    )

    def build(self, task: Task) -> nn.Module:
        """Return the untrained network for the widths of the streams."""
        widths = {task.symbols[m]: width for m, width in task.modalities.items()}
        width, depth = cast(int, self.settings["width"]), cast(int, self.settings["depth"])
        return SkatingMixerNet(widths, width, depth)

    def prepare(self, train: Split) -> None:
        """Let scores start around the mean training score, unless ``start_at_mean`` is off."""
        if self.settings["start_at_mean"]:
            head = cast(nn.Linear, self._net.cell.output["linear"])
            nn.init.constant_(head.bias, float(train.score.mean()))

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Squared error, on what the step shows."""
        assert batch.score is not None
        shown = batch.available
        if self.settings["modality_dropout"]:
            shown = draw_shown(shown, generator)
        encoded = self.encode_rows(batch, shown)
        return {"task": functional.mse_loss(self.score(encoded, shown, batch.valid), batch.score)}

    def projections(self) -> Mapping[str, nn.Module]:
        """Return the streams' linear maps."""
        return {m: self._net.in_proj[self.task.symbols[m]] for m in self.task.modalities}

    def encode(self, modality: str, features: Tensor, valid: Tensor) -> Tensor:
        """Return the tokens of a stream."""
        tokens: Tensor = self._net.encode(self.task.symbols[modality], features)
        return tokens

    def score(self, encoded: Mapping[str, Tensor], available: Tensor, valid: Tensor) -> Tensor:
        """Read the clips both ways."""
        streams = {self.task.symbols[m]: x for m, x in encoded.items()}
        scores: Tensor = self._net.score(streams, available, valid)
        return scores

    @property
    def _net(self) -> SkatingMixerNet:
        return cast(SkatingMixerNet, self.net)


def load_official(state_dict: Mapping[str, Any], own_steps: bool = False) -> PublishedSkatingMixer:
    """Build the network that official weights belong to; sizes are read from them.

    Args:
        state_dict: official names -> numpy arrays or tensors.
        own_steps: average a sample's own backward steps; by default those which the published
            code takes, of padding where the sample is shorter than its batch (quirk 2).

    Returns:
        The network in evaluation mode.

    Raises:
        CheckpointError: the names or shapes are not those of Skating-Mixer.
    """
    weights = as_tensors(state_dict, "Skating-Mixer")
    mixed = "linear_forward.0.0.fn.0.weight"
    for name, dim in (("linear1.weight", 2), (mixed, 3)):
        if name not in weights or weights[name].dim() != dim:
            raise CheckpointError(
                f"These are no Skating-Mixer weights: '{name}' is missing among {len(weights)} "
                f"names, or has not {dim} axes. Pass the plain state_dict that the official code "
                "saves."
            )
    width, inputs = weights["linear1.weight"].shape
    prefix = "linear_forward."
    depth = len({n.split(".")[1] for n in weights if n.startswith(prefix)})
    net: PublishedSkatingMixer = PublishedSkatingMixer(
        weights[mixed].shape[1], inputs, width, depth, own_steps
    )
    load_weights(net, weights, "Skating-Mixer")
    net.eval()
    return net
