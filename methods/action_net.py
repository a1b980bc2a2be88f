"""ACTION-NET: each stream is pooled by attention over its steps and their smoothed neighbourhood.

Paper: Zeng, Hong, Zheng, Yu, Zeng, Wang, Lai, *Hybrid Dynamic-static Context-aware Attention
Network for Action Assessment in Long Videos*, ACM MM 2020.  Official repository:
``qinghuannn/ACTION-NET`` at ``a60149c``; no licence seen.  Written from its equations, no line is
taken from it.

    e = ReLU(W₂ ReLU(W₁ x))                                            (T, 256)        (1)
    A_ij = exp(−|i − j|),  Â = D^{−½} A D^{−½},  D_ii = Σ_j A_ij                       (2)
    n¹ = ReLU(G₁ Â e),  n² = ReLU(G₂ Â n¹),  u = [e ; n²]              (T, 512)        (3)
    c = Σ_t softmax_t(V₂ ReLU(V₁ u))_t u_t                             (512,)          (4)
    score = σ(F₂ dropout(ReLU(F₁ [c_dynamic ; c_static])))                             (5)
    loss = (score − y)²                                                                (6)

The numbers are ours.  Published are two streams with lengths of their own: 26 clips of I3D
(dynamic), and 80 still images of the athlete through a ResNet-50 (static).  That is what
:func:`load_official` fills: :class:`ActionNet`.

The method here (:class:`ContextNet`) reads streams that are cut into the same clips, however many.
One is called dynamic and comes first, the others are static; each has a context module of its own.
Equation 2 is taken over the clips that exist, so that a video may have any length.  A vector that
is learned stands for the context of an absent stream.  Both networks are in
``_action_net_blocks.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from aqabench.data.batch import Batch, Split
from aqabench.errors import CheckpointError, UsageError
from aqabench.method.base import Task, TorchMethod
from aqabench.method.card import MethodCard
from aqabench.methods._action_net_blocks import CONTEXT, ActionNet, ContextNet
from aqabench.nn.checkpoint import as_tensors, load_weights
from aqabench.nn.masks import draw_shown

__all__ = ["ActionNet", "ActionNetMethod", "ContextNet", "load_official"]


class ActionNetMethod(TorchMethod):
    """ACTION-NET for streams of clips, with a rule for missing ones, which the paper has not."""

    card = MethodCard(
        name="action-net",
        title="ACTION-NET (ACM MM 2020)",
        kind="method",
        summary=(
            "Each stream is embedded, smoothed along time by a fixed graph, and pooled by "
            "attention over both; the contexts of a dynamic and of static streams give the score."
        ),
        missing=(
            "Ours, since the paper has none. Training shows a random part of what each sample has "
            "(modality_dropout=false: all of it); a learned vector stands for the context of an "
            "absent stream. Without any stream that it reads, predicts the mean training score."
        ),
        paper=(
            "Zeng, Hong, Zheng, Yu, Zeng, Wang, Lai: Hybrid Dynamic-static Context-aware Attention "
            "Network for Action Assessment in Long Videos, ACM MM 2020"
        ),
        code="qinghuannn/ACTION-NET at a60149c",
        licence="none seen in the repository",
        differs=(
            "Published are 26 I3D clips and 80 images through a ResNet; here every stream has the "
            "protocol's clips, and there may be one, two or more: dynamic names the first (empty: "
            "the task's first), static the others, separated by commas (empty: all others). The "
            "graph covers the clips that exist. The cosine of all methods instead of two steps of "
            "the learning rate; head_rate=5 holds for SGD, and its weight decay is that of the "
            "rest. Random windows can be the last one; the epoch is chosen by the protocol; "
            "streams narrower than 32 get 16 hidden channels."
        ),
        citation=(
            "@inproceedings{zeng2020hybrid, title={Hybrid Dynamic-static Context-aware Attention "
            "Network for Action Assessment in Long Videos}, author={Zeng, Ling-An and Hong, "
            "Fa-Ting and Zheng, Wei-Shi and Yu, Qi-Zhi and Zeng, Wei and Wang, Yao-Wei and Lai, "
            "Jian-Huang}, booktitle={ACM MM}, year={2020}}"
        ),
        claims=("ACTION-NET",),
        settings={
            "dynamic": "",
            "static": "",
            "optimizer": "sgd",
            "lr": 0.01,
            "head_rate": 5.0,
            "momentum": 0.9,
            "weight_decay": 1e-4,
            "batch_size": 32,
            "epochs": 300,
            "dropout": 0.5,
            "modality_dropout": True,
        },
        published={"rg/Ball": {"epochs": 400}, "rg/Hoop": {"epochs": 500}},
        search={
            "lr": ("log", 1e-3, 1e-1),
            "dropout": ("linear", 0.0, 0.7),
            "modality_dropout": ("choice", True, False),
        },
        contract_settings={"optimizer": "adam", "lr": 1e-3},
    )

    @property
    def streams(self) -> list[str]:
        """The streams that are read, the dynamic one first.

        Raises:
            UsageError: the task has no such stream, or one is named twice.
        """
        there = list(self.task.modalities)
        first = str(self.settings["dynamic"]) or there[0]
        named = [name.strip() for name in str(self.settings["static"]).split(",") if name.strip()]
        chosen = [first, *(named or [m for m in there if m != first])]
        if not set(chosen) <= set(there) or len(set(chosen)) < len(chosen):
            others = ",".join(there[1:])
            raise UsageError(
                f"The settings 'dynamic' and 'static' of action-net must name different streams "
                f"of {self.task.dataset}, which has {', '.join(there)}. Got {', '.join(chosen)} "
                f"instead. Give them: --set dynamic={there[0]}"
                + (f" --set static={others}" if others else "")
            )
        return chosen

    def build(self, task: Task) -> nn.Module:
        """Return the untrained network for the widths of its streams.

        Raises:
            UsageError: streams that are not there, or a rate that learns nothing.
        """
        widths = {task.symbols[m]: task.modalities[m] for m in self.streams}
        dropout, rate = (cast(float, self.settings[k]) for k in ("dropout", "head_rate"))
        if rate <= 0.0:
            raise UsageError(
                "The 'head_rate' setting of action-net must be above 0. "
                f"Got {rate:g} instead. Give one: --set head_rate=5"
            )
        net: nn.Module = ContextNet(widths, dropout, rate)
        return net

    def prepare(self, train: Split) -> None:
        """Keep the mean training score with the weights."""
        self._net.get_buffer("fallback").copy_(train.score.mean())

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Squared error of samples that show a stream which is read (Eq. 6)."""
        assert batch.score is not None
        available = self._read(batch.available)
        if self.settings["modality_dropout"]:
            some = available.any(1)
            if bool(some.any()):
                drawn = draw_shown(available[some], generator)
                available = available.index_put((some,), drawn)
        learns = available.any(1)
        if not bool(learns.any()):
            return {}
        contexts = {}
        for i, m in enumerate(self.streams):
            rows = available[:, i]
            if bool(rows.any()):
                symbol = self.task.symbols[m]
                part = self._net.pool(symbol, batch.features[m][rows], batch.valid[rows])
                blank = part.new_zeros(len(rows), CONTEXT)
                contexts[symbol] = blank.index_put((rows,), part)
        score = self._net.score(contexts, available)
        return {"task": functional.mse_loss(score[learns], batch.score[learns])}

    def projections(self) -> Mapping[str, nn.Module]:
        """Return the context modules of the streams that are read."""
        return {m: self._net.contexts[self.task.symbols[m]] for m in self.streams}

    def encode(self, modality: str, features: Tensor, valid: Tensor) -> Tensor:
        """Return a stream's context (R, 512); one that is not read is only marked."""
        if modality not in self.streams:
            return features.new_zeros(len(features), 1)
        pooled: Tensor = self._net.pool(self.task.symbols[modality], features, valid)
        return pooled

    def score(self, encoded: Mapping[str, Tensor], available: Tensor, valid: Tensor) -> Tensor:
        """Regress the contexts of what is there."""
        contexts = {self.task.symbols[m]: encoded[m] for m in self.streams if m in encoded}
        score: Tensor = self._net.score(contexts, self._read(available))
        return score

    @property
    def _net(self) -> ContextNet:
        return cast(ContextNet, self.net)

    def _read(self, available: Tensor) -> Tensor:
        """Return the columns of (B, M) that are read, the dynamic stream's first."""
        return available[:, [self._column(m) for m in self.streams]]


def load_official(state_dict: Mapping[str, Any], dropout: float = 0.0) -> ActionNet:
    """Build the published network with official weights; widths and lengths are read from them.

    Args:
        state_dict: official names -> numpy arrays or tensors.
        dropout: for further training.

    Returns:
        The network in evaluation mode; reads (B, 26, 1024) and (B, 80, 2048).

    Raises:
        CheckpointError: the names or shapes are not those of ACTION-NET.
    """
    weights = as_tensors(state_dict, "ACTION-NET")
    embeddings = "d_ct.embedding.0.weight", "s_ct.embedding.0.weight"
    for name in ("adj1", "adj2", *embeddings):
        if name not in weights:
            raise CheckpointError(
                f"These are no ACTION-NET weights: '{name}' is missing among {len(weights)} "
                "names. Pass the plain state_dict of the official network."
            )
    dynamic, static = (weights[name].shape for name in embeddings)
    net = ActionNet(
        widths=(dynamic[1], static[1]),
        steps=(len(weights["adj1"]), len(weights["adj2"])),
        hidden=(dynamic[0], static[0]),
        dropout=dropout,
    )
    load_weights(net, weights, "ACTION-NET")
    return net.eval()
