"""The network of MS-LSTM, for ``ms_lstm.py``, where its equations are."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from aqabench.methods._ms_lstm_skip import SkipLSTM
from aqabench.nn.batch_norm import normalise
from aqabench.nn.projection import on_steps, pointwise

REDUCED = 128
STATE = 256
TOKENS = 50
SCALES = ((2, 1), (4, 2), (8, 4))
"""Kernel and stride of each scale's convolution."""


class Summary(NamedTuple):
    """What the branches say of a video."""

    branches: Tensor  # (B, 4 × 64)
    penalty: Tensor  # (), ‖AᵀA − I‖² of the attention, mean over samples


class Scale(nn.Module):
    """Convolution over windows of steps, then a skip-LSTM over the windows (Eq. 4)."""

    def __init__(self, kernel: int, stride: int, frozen: bool, random_states: bool) -> None:
        """Build for one kernel and stride; the rest is that of :class:`SkipLSTM`."""
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.conv = nn.Sequential(
            nn.Conv1d(REDUCED, STATE, kernel, stride), nn.ReLU(), nn.BatchNorm1d(STATE)
        )
        self.lstm = SkipLSTM(STATE, STATE, frozen, random_states)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the last state (B, 256).

        Args:
            x: (B, T, 128), zeros where a step does not exist.
            lengths: (B,) steps that exist, or None for all.  Windows that reach beyond them are
                left out; a sample shorter than one window has one, filled with zeros.
        """
        _, _, norm = self.conv
        assert isinstance(norm, nn.BatchNorm1d)
        short = self.kernel - x.shape[1]
        if short > 0:
            x = functional.pad(x, (0, 0, 0, short))
        windows = torch.relu(self.conv[0](x.transpose(1, 2))).transpose(1, 2)  # (B, L, 256)
        count = keep = None
        if lengths is not None:
            count = ((lengths - self.kernel) // self.stride + 1).clamp_min(1)  # (B,)
            steps = torch.arange(windows.shape[1], device=x.device)
            keep = steps < count[:, None]  # (B, L)
        normal = on_steps(lambda rows: normalise(norm, rows), windows, keep)
        last: Tensor = self.lstm(normal, count)
        return last


class SelfAttention(nn.Module):
    """Fifty weighted means over time (Eq. 2 and 3)."""

    def __init__(self) -> None:
        """Build the two bias-free maps and the norm."""
        super().__init__()
        self.linear_1 = nn.Linear(REDUCED, 64, bias=False)
        self.linear_2 = nn.Linear(64, TOKENS, bias=False)
        self.bn = nn.BatchNorm1d(REDUCED)

    def forward(self, x: Tensor, keep: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return tokens (B, 50, 128) and the penalty () of (B, T, 128) read where ``keep``."""
        logits = self.linear_2(torch.tanh(self.linear_1(x)))  # (B, T, 50)
        if keep is not None:
            logits = logits.masked_fill(~keep[..., None], float("-inf"))
        share = torch.softmax(logits.float(), 1)
        tokens = normalise(self.bn, share.transpose(1, 2) @ x.float())  # (B, 50, 128)
        with torch.autocast(x.device.type, enabled=False):
            overlap = share.transpose(1, 2) @ share  # (B, 50, 50)
        apart = torch.eye(TOKENS, device=x.device, dtype=overlap.dtype)
        return tokens, (overlap - apart).square().sum() / len(x)


class MSLSTMNet(nn.Module):
    """The published network, for one modality of any width."""

    def __init__(
        self, width: int = 4096, frozen_gate: bool = False, random_states: bool = False
    ) -> None:
        """Build the untrained network.

        Args:
            width: D of the features; published 4096 (C3D).
            frozen_gate: never learn when to skip, as released.
            random_states: start skip-LSTMs from random states, in training and test, as released.
        """
        super().__init__()
        self.conv = nn.Sequential(nn.Conv1d(width, REDUCED, 1), nn.ReLU(), nn.BatchNorm1d(REDUCED))
        self.scale1, self.scale2, self.scale3 = (
            Scale(kernel, stride, frozen_gate, random_states) for kernel, stride in SCALES
        )
        self.attn = SelfAttention()
        self.lstm = nn.LSTM(REDUCED, STATE, batch_first=True)
        self.linear_skip1 = nn.Linear(STATE, 64)
        self.linear_skip2 = nn.Linear(STATE, 64)
        self.linear_skip3 = nn.Linear(STATE, 64)
        self.linear_attn = nn.Linear(STATE, 64)
        self.linear_merge = nn.Linear(4 * 64, 64)
        self.cls = nn.Linear(64, 1)

    def summarise(self, video: Tensor, valid: Tensor | None = None) -> Summary:
        """Run the four branches (Eq. 1 to 5).

        Args:
            video: (B, T, D); anything where ``valid`` is False.
            valid: (B, T) bool, True up to some step; None reads every step, as published.
        """
        keep = None if valid is None or bool(valid.all()) else valid
        lengths = None if keep is None else keep.sum(1)
        x = on_steps(self._reduce, video, keep)  # (B, T, 128)
        tokens, penalty = self.attn(x, keep)
        with torch.autocast(x.device.type, enabled=False):
            attended = self.lstm(tokens.to(self.lstm.weight_ih_l0.dtype))[0][:, -1]  # (B, 256)
        branches = [
            (self.linear_skip1, self.scale1(x, lengths)),
            (self.linear_skip2, self.scale2(x, lengths)),
            (self.linear_skip3, self.scale3(x, lengths)),
            (self.linear_attn, attended),
        ]
        return Summary(torch.cat([torch.relu(f(state)) for f, state in branches], -1), penalty)

    def regress(self, branches: Tensor) -> Tensor:
        """Return scores (B,) of branches (B, 256), on the scale of the training targets."""
        score: Tensor = self.cls(torch.relu(self.linear_merge(branches))).squeeze(-1)  # Eq. 5
        return score

    def forward(self, video: Tensor, valid: Tensor | None = None) -> Tensor:
        """Score videos.

        Args:
            video: (B, T, D), tensor or array of any float type; published T = 300, D = 4096.
            valid: (B, T) bool, False on padding; None reads every step, as published.

        Returns:
            (B,) scores on the scale of the training targets: judge points, as published.
        """
        weight = self.cls.weight
        clips = torch.as_tensor(video, dtype=weight.dtype, device=weight.device)
        return self.regress(self.summarise(clips, valid).branches)

    def _reduce(self, rows: Tensor) -> Tensor:
        first, _, norm = self.conv
        assert isinstance(first, nn.Conv1d)
        assert isinstance(norm, nn.BatchNorm1d)
        return normalise(norm, torch.relu(pointwise(first, rows)))  # Eq. 1: the norm comes last
