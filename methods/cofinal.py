"""CoFInAl: a coarse grade from two mirrored grade heads, and a fine class from a fixed simplex.

Paper: Zhou, Li, Cai, Wang, Zhang, Liang, *CoFInAl: Enhancing Action Quality Assessment with
Coarse-to-Fine Instruction Alignment*, IJCAI 2024.  Official repository:
``ZhouKanglei/CoFInAl_AQA``, specified at ``fe1f4c1``; no licence seen.  Written from its
equations, no line is taken from it.

    Z = Dec(prototypes, Enc(P(x)))                        the backbone is that of GDLT      (1)
    s = Σ_k σ(a_k)/Σ_j σ(a_j) ω_k,  a_k = <w_k, z_k> + b_k;  s̄ alike, with ω̄               (2)
    f = normalise(W₂ W₁ flatten(MHA(Z, Z, Z)))            (100,)                            (3)
    E = √(100/99) U (I − 11ᵀ/100),  UᵀU = I               columns 1 apart from −1/99        (4)
    n = round(10⁴ y),  g₁ = ⌊n/100⌋/100,  g₂ = n mod 100                                    (5)
    loss = (s − g₁)² + (s̄ − 1 + g₁)² + |f − E_{g₂}| + α · batch-hard triplet of Z           (6)
    score = (s + 1 − s̄)/2 + argmax_j <f, E_j>/10⁴                                           (7)

The numbers are ours.  Released errors are switches: ``mix_samples`` (the attention of 3 runs over
the samples of the batch, because they stand where it expects time), ``argmax_over_batch`` (the
class of 7 is the place in the whole batch) and ``truncate_classes`` (n is cut off in float32, so
that 0.236 is of class 59 and not 60).  :func:`load_official` has the first two on, as published.
The network is in ``_cofinal_net.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from aqabench.data.batch import Batch
from aqabench.errors import CheckpointError, UsageError
from aqabench.method.base import Task
from aqabench.method.card import MethodCard
from aqabench.method.single import SingleStreamMethod, with_fallback
from aqabench.methods._cofinal_net import FINE_HEADS, VALUES, CoFInAlNet
from aqabench.nn.checkpoint import as_tensors, load_weights

__all__ = ["VALUES", "CoFInAl", "CoFInAlNet", "load_official"]


class CoFInAl(SingleStreamMethod):
    """CoFInAl with its released errors repaired, unless they are switched on."""

    test_window = "full"
    card = MethodCard(
        name="cofinal",
        title="CoFInAl (IJCAI 2024)",
        kind="method",
        summary=(
            "GDLT's grade queries on one stream; two mirrored heads read a coarse grade from them, "
            "and a third one matches a fixed simplex of 100 classes for the digits that follow."
        ),
        missing=(
            "Reads one stream and learns from the samples that have it; without it, predicts the "
            "mean training score."
        ),
        paper=(
            "Zhou, Li, Cai, Wang, Zhang, Liang: CoFInAl: Enhancing Action Quality Assessment with "
            "Coarse-to-Fine Instruction Alignment, IJCAI 2024"
        ),
        code="ZhouKanglei/CoFInAl_AQA at fe1f4c1",
        licence="none seen in the repository",
        differs=(
            "The fine head attends to a sample's queries, not to the batch (mix_samples); the fine "
            "class is the sample's own, not a place in the batch (argmax_over_batch); classes are "
            "rounded (truncate_classes). Scores are normalised by the class's own range, not by 25 "
            "throughout. Random windows can be the last one; padding is masked unless "
            "mask_padding=false; the epoch is chosen by the protocol, not on test; streams "
            "narrower than 32 get 16 hidden channels. The released command for Fis-V crashes: "
            "its fine head is widened here."
        ),
        citation=(
            "@inproceedings{zhou2024cofinal, title={{CoFInAl}: Enhancing Action Quality Assessment "
            "with Coarse-to-Fine Instruction Alignment}, author={Zhou, Kanglei and Li, Junlin and "
            "Cai, Ruizhi and Wang, Liyuan and Zhang, Xingxing and Liang, Xiaohui}, "
            "booktitle={IJCAI}, year={2024}}"
        ),
        claims=("CoFInAl",),
        settings={
            "stream": "video",
            "optimizer": "sgd",
            "lr": 0.01,
            "momentum": 0.9,
            "weight_decay": 1e-4,
            "batch_size": 32,
            "epochs": 250,
            "width": 256,
            "encoder_layers": 1,
            "decoder_layers": 2,
            "heads": 1,
            "dropout": 0.3,
            "alpha": 1.0,
            "values": 3,
            "labels_per_sample": False,
            "mask_padding": True,
            "mix_samples": False,
            "argmax_over_batch": False,
            "truncate_classes": False,
        },
        switches={
            "samples are mixed in the fine head": {"mix_samples": True},
            "argmax over the batch finds the fine class": {"argmax_over_batch": True},
            "classes are truncated": {"truncate_classes": True},
            "padding is data": {"mask_padding": False},
        },
        published={
            "fisv": {"alpha": 0.5, "epochs": 200, "width": 448, "heads": 7},
            "rg/Ball": {"values": 2, "epochs": 250},
            "rg/Clubs": {"epochs": 400},
            "rg/Hoop": {"values": 2, "labels_per_sample": True, "epochs": 300},
            "rg/Ribbon": {"epochs": 150},
        },
        search={
            "lr": ("log", 1e-3, 3e-2),
            "dropout": ("linear", 0.0, 0.8),
            "alpha": ("choice", 0.0, 0.5, 1.0),
            "values": ("choice", 0, 1, 2, 3),
        },
        stream_setting="stream",
        contract_settings={"optimizer": "adam", "lr": 1e-3, "alpha": 0.1},
    )

    def build(self, task: Task) -> nn.Module:
        """Return the untrained network for the width of its stream.

        Raises:
            UsageError: there is no such set of grade values, or heads do not divide the width.
        """
        net = CoFInAlNet(
            width=task.modalities[self.stream],
            inner=self._inner(),
            encoder_layers=cast(int, self.settings["encoder_layers"]),
            decoder_layers=cast(int, self.settings["decoder_layers"]),
            heads=cast(int, self.settings["heads"]),
            dropout=cast(float, self.settings["dropout"]),
            values=_known_values(cast(int, self.settings["values"]), "--set values=3"),
            mix_samples=bool(self.settings["mix_samples"]),
            argmax_over_batch=bool(self.settings["argmax_over_batch"]),
        )
        return with_fallback(net)

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Coarse, reverse, fine and diversity terms, on samples with the stream."""
        seen = self.seen(batch)
        if seen is None:
            return {}
        video, valid, score = seen
        terms: dict[str, Tensor] = self._net.loss_terms(
            video,
            score,
            self._keep(valid),
            cast(float, self.settings["alpha"]),
            bool(self.settings["labels_per_sample"]),
            bool(self.settings["truncate_classes"]),
        )
        return terms

    def encode(self, modality: str, features: Tensor, valid: Tensor) -> Tensor:
        """Return the decoded queries (R, K, d); a stream that is not read is only marked."""
        if modality != self.stream:
            return features.new_zeros(len(features), 1)
        decoded: Tensor = self._net.decode(features, self._keep(valid))
        return decoded

    def grade(self, memory: Tensor, valid: Tensor) -> Tensor:
        """Read scores from the decoded queries (R, K, d)."""
        score: Tensor = self._net.read(memory).score
        return score

    @property
    def batch_matters(self) -> bool:
        """Padding does, unless it is masked; other samples do in two released forms."""
        released = self.settings["mix_samples"] or self.settings["argmax_over_batch"]
        return bool(released or not self.settings["mask_padding"])

    @property
    def _net(self) -> CoFInAlNet:
        return cast(CoFInAlNet, self.net)

    def _inner(self) -> int:
        inner, heads = cast(int, self.settings["width"]), cast(int, self.settings["heads"])
        if heads < 1 or inner < 1 or inner % heads or inner % FINE_HEADS:
            raise UsageError(
                f"The 'width' setting of cofinal must be a multiple of its heads ({heads}) and of "
                f"{FINE_HEADS}. Got {inner} instead. Give both: --set width=256 --set heads=1"
            )
        return inner

    def _keep(self, valid: Tensor) -> Tensor | None:
        return valid if self.settings["mask_padding"] else None


def load_official(
    state_dict: Mapping[str, Any],
    values: int = 3,
    heads: int = 1,
    dropout: float = 0.0,
    mix_samples: bool = True,
    argmax_over_batch: bool = True,
) -> CoFInAlNet:
    """Build the network that official weights belong to; widths and depths are read from them.

    Args:
        state_dict: official names -> numpy arrays or tensors.
        values: which of ``VALUES``, which weights do not tell; published 2 for RG Ball and Hoop,
            3 for the others.
        heads: of the backbone's attention, which weights do not tell; published 1.
        dropout: for further training.
        mix_samples: as published; False scores every sample as the method here does.
        argmax_over_batch: as published; False gives each sample its own fine class.

    Returns:
        The network in evaluation mode.

    Raises:
        CheckpointError: the names or shapes are not those of CoFInAl.
        UsageError: there is no such set of grade values.
    """
    weights = as_tensors(state_dict, "CoFInAl")
    for name in ("in_proj.0.weight", "prototype.weight", "etf_vec1"):
        if name not in weights:
            raise CheckpointError(
                f"These are no CoFInAl weights: '{name}' is missing among {len(weights)} names. "
                "Pass the plain state_dict that the official code saves."
            )
    net = CoFInAlNet(
        width=weights["in_proj.0.weight"].shape[1],
        inner=weights["prototype.weight"].shape[1],
        encoder_layers=_depth(weights, "transformer.encoder.layers."),
        decoder_layers=_depth(weights, "transformer.decoder.layers."),
        heads=heads,
        dropout=dropout,
        values=_known_values(values, "values=3"),
        mix_samples=mix_samples,
        argmax_over_batch=argmax_over_batch,
    )
    load_weights(net, weights, "CoFInAl")
    return net.eval()


def _known_values(number: int, advice: str) -> int:
    if not 0 <= number < len(VALUES):
        raise UsageError(
            f"The grade values of cofinal come in sets 0 to {len(VALUES) - 1}. Got {number} "
            f"instead. Give one: {advice}"
        )
    return number


def _depth(weights: Mapping[str, Tensor], prefix: str) -> int:
    names = (name.removeprefix(prefix) for name in weights if name.startswith(prefix))
    return len({name.partition(".")[0] for name in names})
