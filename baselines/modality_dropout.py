"""Modality dropout: early fusion that is trained on random subsets, the baseline to beat.

One network for all subsets.  At each step a random non-empty subset of what a sample has is shown,
and what is not shown is replaced by something constant after the encoder:

- ``token``: a vector v_m that is learned, one for each stream, at every step;
- ``zero``: zeros.

Source: the idea of hiding whole streams in training is that of ModDrop (Neverova, Wolf, Taylor,
Nebout, *ModDrop: Adaptive Multi-modal Gesture Recognition*, TPAMI 2016, arXiv:1501.00102), which
hides each input with a probability of its own.  No code of it was read.

How subsets S of the available streams A are drawn, for each sample (``policy``):

- ``uniform``: all 2^|A| − 1 equally likely.  Of three streams 3/7 are hidden on average, and a
  sample is complete with probability 1/7.
- ``incomplete``: as before, but never all streams of the task.
- ``size``: first how many (1 … |A|), then which.
- ``bernoulli``: each stream is hidden with probability ``rate``, drawn again where none is left:
  P(S) ∝ (1 − rate)^|S| rate^(|A| − |S|).  A rate of 0.5 is ``uniform``.
- ``batch``: one subset for the whole batch; samples that have none of it show all they have.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from aqabench.baselines.early_fusion import EarlyFusion, EarlyFusionNet
from aqabench.errors import UsageError
from aqabench.method.base import Task
from aqabench.method.card import MethodCard
from aqabench.nn.fusion import WIDTH
from aqabench.nn.masks import draw_shown, subsets

POLICIES = ("uniform", "incomplete", "size", "bernoulli", "batch")
ABSENT = ("token", "zero")


class TokenNet(EarlyFusionNet):
    """Early fusion with a learned vector after the encoder in the place of a missing stream."""

    def __init__(self, widths: Mapping[str, int], layers: int, heads: int, dropout: float) -> None:
        """Build the untrained network; tokens start like a Transformer's embeddings, small."""
        super().__init__(widths, layers, heads, dropout, "enc")
        self.order = list(widths)
        self.tokens = nn.Parameter(0.02 * torch.randn(len(widths), WIDTH))  # (M, 256)

    def constant(self, modality: str) -> Tensor:
        """Return the token of a stream: (256,)."""
        return self.tokens[self.order.index(modality)]


class ModalityDropout(EarlyFusion):
    """Early fusion on random subsets of the streams that there are."""

    card = MethodCard(
        name="modality-dropout",
        title="Modality dropout",
        kind="baseline",
        summary=(
            "Early fusion that sees a random non-empty subset of each sample's streams at every "
            "training step, one network for all subsets: what a remedy has to beat."
        ),
        missing=(
            "A learned vector per stream stands for a missing one after the encoder (absent=zero: "
            "zeros), at test as in training, where policy says how subsets of what a sample has "
            "are drawn. Nothing hidden is reconstructed, so incomplete training data will do."
        ),
        paper=(
            "N. Neverova, C. Wolf, G. Taylor, F. Nebout: ModDrop: Adaptive Multi-modal Gesture "
            "Recognition, TPAMI 2016, arXiv:1501.00102"
        ),
        differs=(
            "The idea only, on the core of the incomplete-data methods: subsets are drawn per "
            "sample, never the empty one; a stream is hidden after its encoder and replaced by a "
            "learned vector; no training of single streams before."
        ),
        citation="""@article{neverova2016moddrop,
  author  = {Neverova, Natalia and Wolf, Christian and Taylor, Graham and Nebout, Florian},
  title   = {{ModDrop}: Adaptive Multi-Modal Gesture Recognition},
  journal = {IEEE Transactions on Pattern Analysis and Machine Intelligence},
  volume  = {38},
  number  = {8},
  pages   = {1692--1706},
  year    = {2016}
}""",
        settings={
            "policy": "uniform",
            "rate": 0.5,
            "absent": "token",
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
            "policy": ("choice", "uniform", "incomplete", "size", "batch"),
            "absent": ("choice", "token", "zero"),
        },
        min_modalities=2,
        contract_settings={"batch_size": 4, "layers": 1},
    )

    def build(self, task: Task) -> nn.Module:
        """Return the untrained network.

        Raises:
            UsageError: no such policy or filling, or a rate that hides nothing or everything.
        """
        self._refuse_others("policy", POLICIES)
        absent = self._refuse_others("absent", ABSENT)
        rate = cast(float, self.settings["rate"])
        if not 0.0 < rate < 1.0:
            raise UsageError(
                "The 'rate' setting of modality-dropout must lie between 0 and 1, both excluded. "
                f"Got {rate:g} instead. Give one: --set rate=0.5"
            )
        widths = {task.symbols[m]: width for m, width in task.modalities.items()}
        layers, heads = cast(int, self.settings["layers"]), cast(int, self.settings["heads"])
        dropout = cast(float, self.settings["dropout"])
        if absent == "token":
            return TokenNet(widths, layers, heads, dropout)
        return EarlyFusionNet(widths, layers, heads, dropout, "enc")

    def shown(self, available: Tensor, generator: torch.Generator) -> Tensor:
        """Draw by the policy what a training step shows of what is ``available``, both (B, M)."""
        policy, rate = str(self.settings["policy"]), cast(float, self.settings["rate"])
        count = available.shape[1]
        match policy:
            case "uniform":
                return draw_shown(available, generator)
            case "incomplete":
                return draw_shown(available, generator, subsets(count)[:-1])
            case "size":
                return draw_weighted(available, generator, lambda some, of: 1 / math.comb(of, some))
            case "bernoulli":
                odds = (1 - rate) / rate
                return draw_weighted(available, generator, lambda some, _: odds**some)
        one = draw_shown(available.new_ones(1, count), generator) & available  # "batch"
        return torch.where(one.any(1, keepdim=True), one, available)

    def _refuse_others(self, name: str, allowed: tuple[str, ...]) -> str:
        value = str(self.settings[name])
        if value not in allowed:
            raise UsageError(
                f"The '{name}' setting of modality-dropout must be {', '.join(allowed[:-1])} or "
                f"{allowed[-1]}. Got '{value}' instead. Give one: --set {name}={allowed[0]}"
            )
        return value


def draw_weighted(
    available: Tensor, generator: torch.Generator, weight: Callable[[int, int], float]
) -> Tensor:
    """Draw for every sample one non-empty subset of its streams.

    Args:
        available: (B, M) bool, at least one per row.
        generator: source of randomness, on the CPU.
        weight: (size of the subset, streams that the sample has) -> how likely, unnormalised.

    Returns:
        (B, M) bool, no more than available.
    """
    there = available.cpu()
    table = torch.tensor(subsets(there.shape[1]), dtype=torch.bool)  # (S, M)
    possible = ~(table & ~there[:, None]).any(-1)  # (B, S)
    sizes = table.sum(1).tolist()
    weights = torch.tensor(
        [
            [weight(some, of) if some <= of else 0.0 for some in sizes]
            for of in there.sum(1).tolist()
        ]
    )  # (B, S)
    chosen = torch.multinomial(torch.where(possible, weights, 0.0), 1, generator=generator)[:, 0]
    return table[chosen].to(available.device)
