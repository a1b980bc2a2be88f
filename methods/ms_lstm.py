"""MS-LSTM: a self-attentive LSTM beside skip-LSTMs over convolutions of three sizes.

Paper: Xu, Fu, Zhang, Chen, Jiang, Xue, *Learning to Score Figure Skating Sport Videos*, IEEE TCSVT
(the first publication of Fis-V), arXiv 1802.02774.  Official repository: ``chmxu/MS_LSTM`` at
``103b31e``; no licence seen.  Written from its equations, no line is taken from it.

    x = BN(ReLU(W_r video))                                              (T, 128)       (1)
    A = softmax_t(L₂ tanh(L₁ x))                                         (T, 50)        (2)
    a = last of LSTM(BN(xᵀA), as 50 tokens)                              (256,)         (3)
    s_j = last of skip-LSTM(BN(ReLU(conv_j x))),  kernels 2, 4, 8 with strides 1, 2, 4  (4)
    score = C ReLU(M [ReLU(F₁ s₁); ReLU(F₂ s₂); ReLU(F₃ s₃); ReLU(F₄ a)])               (5)
    loss = (score − y)² + ‖AᵀA − I‖²,  in judge points                                  (6)

The numbers are ours.  The network is in ``_ms_lstm_net.py``, the skip-LSTM in ``_ms_lstm_skip.py``.

Released errors are switches: ``frozen_gate`` (the gate that skips never learns, because rounding
has no gradient) and ``random_states`` (skip-LSTMs start from random states, at test as well).
Weights tell of neither; :func:`load_official` starts from zeros, so that scores are repeatable.

Scores are learned normalised, and the squared error is then taken in judge points, which keeps the
published proportion of the two terms.
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
from aqabench.method.single import SingleStreamMethod, with_fallback
from aqabench.methods._ms_lstm_net import MSLSTMNet
from aqabench.nn.checkpoint import as_tensors, load_weights

__all__ = ["MSLSTM", "MSLSTMNet", "load_official"]


class MSLSTM(SingleStreamMethod):
    """MS-LSTM with a gate that learns, on one stream."""

    card = MethodCard(
        name="ms-lstm",
        title="MS-LSTM (TCSVT 2019)",
        kind="method",
        summary=(
            "A self-attentive LSTM and skip-LSTMs over convolutions of three sizes read one "
            "stream; their last states are regressed together. The first method on Fis-V."
        ),
        missing=(
            "Reads one stream and learns from the samples that have it; without it, predicts the "
            "mean training score."
        ),
        paper=(
            "Xu, Fu, Zhang, Chen, Jiang, Xue: Learning to Score Figure Skating Sport Videos, IEEE "
            "Transactions on Circuits and Systems for Video Technology 2019, arXiv 1802.02774"
        ),
        code="chmxu/MS_LSTM at 103b31e",
        licence="none seen in the repository",
        differs=(
            "The gate of the skip-LSTM learns (frozen_gate=true: released, it cannot); states "
            "start at 0 (random_states=true: drawn anew, at test too). The protocol's windows, not "
            "random ones of 300 at test; padding is masked unless mask_padding=false. Scores are "
            "learned normalised and start at the mean training score (start_at_mean); a cosine "
            "lowers the learning rate, which stays constant in the released code; the epoch is "
            "chosen by the protocol, not on test for each metric by itself."
        ),
        citation=(
            "@article{xu2019learning, title={Learning to Score Figure Skating Sport Videos}, "
            "author={Xu, Chengming and Fu, Yanwei and Zhang, Bing and Chen, Zitian and Jiang, "
            "Yu-Gang and Xue, Xiangyang}, journal={IEEE Transactions on Circuits and Systems for "
            "Video Technology}, year={2019}}"
        ),
        claims=("MS-LSTM",),
        settings={
            "stream": "video",
            "optimizer": "adam",
            "lr": 5e-4,
            "weight_decay": 0.0,
            "batch_size": 128,
            "epochs": 500,
            "penalty": 1.0,
            "start_at_mean": True,
            "mask_padding": True,
            "frozen_gate": False,
            "random_states": False,
        },
        switches={
            "gate cannot learn": {"frozen_gate": True},
            "random states, at test too": {"random_states": True},
            "padding is data": {"mask_padding": False},
            "scores start at 0": {"start_at_mean": False},
        },
        search={
            "lr": ("log", 1e-4, 3e-3),
            "penalty": ("choice", 0.0, 0.1, 1.0),
            "batch_size": ("choice", 32, 64, 128),
            "frozen_gate": ("choice", False, True),
        },
        stream_setting="stream",
        contract_settings={"batch_size": 16},
    )

    def build(self, task: Task) -> nn.Module:
        """Return the untrained network for the width of its stream."""
        net = MSLSTMNet(
            task.modalities[self.stream],
            bool(self.settings["frozen_gate"]),
            bool(self.settings["random_states"]),
        )
        net.register_buffer("span", torch.tensor(1.0))
        return with_fallback(net)

    def prepare(self, train: Split) -> None:
        """Keep the mean training score and the width of the score's range with the weights."""
        super().prepare(train)
        low, high = train.class_spec.bounds
        self._net.get_buffer("span").fill_(high - low)
        if self.settings["start_at_mean"]:
            nn.init.constant_(self._net.cls.bias, float(train.score.mean()))

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Squared error and overlap of attention, on samples with the stream (Eq. 6)."""
        seen = self.seen(batch)
        if seen is None:
            return {}
        video, valid, score = seen
        found = self._net.summarise(video, self._keep(valid))
        points = self._net.get_buffer("span").square()
        return {
            "task": points * functional.mse_loss(self._net.regress(found.branches), score),
            "penalty": cast(float, self.settings["penalty"]) * found.penalty,
        }

    def encode(self, modality: str, features: Tensor, valid: Tensor) -> Tensor:
        """Return the branches (R, 256); a stream that is not read is only marked."""
        if modality != self.stream:
            return features.new_zeros(len(features), 1)
        branches: Tensor = self._net.summarise(features, self._keep(valid)).branches
        return branches

    @property
    def batch_matters(self) -> bool:
        """Padding does, unless it is masked; random states are drawn batch by batch."""
        return bool(self.settings["random_states"] or not self.settings["mask_padding"])

    def grade(self, memory: Tensor, valid: Tensor) -> Tensor:
        """Score the branches (R, 256)."""
        score: Tensor = self._net.regress(memory)
        return score

    @property
    def _net(self) -> MSLSTMNet:
        return cast(MSLSTMNet, self.net)

    def _keep(self, valid: Tensor) -> Tensor | None:
        return valid if self.settings["mask_padding"] else None


def load_official(
    state_dict: Mapping[str, Any], frozen_gate: bool = True, random_states: bool = False
) -> MSLSTMNet:
    """Build the network that official weights belong to; the width is read from them.

    Args:
        state_dict: official names -> numpy arrays or tensors.
        frozen_gate: for further training, as released; scores are the same.
        random_states: start skip-LSTMs from states drawn from torch's random stream, as the
            released code does even at test; by default from zeros.

    Returns:
        The network in evaluation mode; its scores are judge points.

    Raises:
        CheckpointError: the names or shapes are not those of MS-LSTM.
    """
    weights = as_tensors(state_dict, "MS-LSTM")
    if "conv.0.weight" not in weights:
        raise CheckpointError(
            f"These are no MS-LSTM weights: 'conv.0.weight' is missing among {len(weights)} names. "
            "Pass the plain state_dict that the official code saves."
        )
    net = MSLSTMNet(weights["conv.0.weight"].shape[1], frozen_gate, random_states)
    load_weights(net, weights, "MS-LSTM")
    return net.eval()
