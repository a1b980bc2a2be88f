"""The recurrent cell of Skating-Mixer, and the published network on its published inputs.

arXiv 2203.03990; the equations are in ``skating_mixer.py``.

Both directions run side by side as one batch.  Parameter names are the published ones.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from aqabench.nn.losses import mean_over_steps

__all__ = ["DEPTH", "WIDTH", "MixerCell", "PublishedSkatingMixer", "reverse"]

WIDTH, DEPTH, EXPANSION = 512, 2, 4


class _Mix(nn.Module):
    """Two maps over tokens or over channels, under published names."""

    def __init__(self, width: int, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        # between the maps: activation, and a dropout of rate 0
        self.fn = nn.Sequential(first, nn.GELU(), nn.Identity(), second)


class _TokenMix(_Mix):
    """y + W₂ GELU(W₁ LN(y)) over tokens of (B, S, d), for all tokens or for both ends."""

    def __init__(self, tokens: int, width: int) -> None:
        inner = EXPANSION * tokens
        super().__init__(width, nn.Conv1d(tokens, inner, 1), nn.Conv1d(inner, tokens, 1))

    def forward(self, y: Tensor, ends: bool) -> Tensor:
        first, second = cast(nn.Conv1d, self.fn[0]), cast(nn.Conv1d, self.fn[3])
        assert first.bias is not None
        assert second.bias is not None
        inner = functional.gelu(first.weight[..., 0] @ self.norm(y) + first.bias[:, None])
        wanted = slice(None, None, len(second.bias) - 1 if ends else 1)
        mixed = second.weight[wanted, :, 0] @ inner + second.bias[wanted, None]
        return y[:, wanted] + mixed


class _ChannelMix(_Mix):
    """y + U₂ GELU(U₁ LN(y)) over channels of (B, S, d)."""

    def __init__(self, width: int) -> None:
        hidden = EXPANSION * width
        super().__init__(width, nn.Linear(width, hidden), nn.Linear(hidden, width))

    def forward(self, y: Tensor) -> Tensor:
        out: Tensor = y + self.fn(self.norm(y))
        return out


class MixerCell(nn.Module):
    """The recurrent cell and its head, under published names."""

    def __init__(self, tokens: int, width: int = WIDTH, depth: int = DEPTH) -> None:
        """Build the untrained cell.

        Args:
            tokens: S, those of a clip and two more, for memory and class; published 18.
            width: d; published 512.
            depth: blocks; published 2.
        """
        super().__init__()
        self.hidden_state = nn.Parameter(torch.randn(1, width))
        self.cls_token = nn.Parameter(torch.randn(1, width))
        self.linear_forward = nn.ModuleList(
            nn.ModuleList([_TokenMix(tokens, width), _ChannelMix(width)]) for _ in range(depth)
        )
        self.hidden_linear = nn.Linear(width, width)
        self.output = nn.ModuleDict({"linear": nn.Linear(width, 1)})

    def read(self, clips: Tensor, backwards: Tensor) -> tuple[Tensor, Tensor]:
        """Read clips both ways.

        Args:
            clips: (B, C, n, d), tokens of each clip, in order.
            backwards: (B, C, n, d), the same from each sample's last clip to its first.

        Returns:
            k and k̄, (B, C, d) each, in the order of reading.
        """
        batch = len(clips)
        memory = self.hidden_state.expand(2 * batch, -1)  # (2B, d), forwards first
        label = self.cls_token.expand(batch, -1)
        both = torch.cat([clips, backwards])  # (2B, C, n, d)
        read = []
        for tokens in both.unbind(1):
            first = torch.cat([memory[:batch], label])
            last = torch.cat([label, memory[batch:]])
            y = torch.cat([first[:, None], tokens, last[:, None]], 1)  # (2B, S, d)
            for i, block in enumerate(self.linear_forward, 1):
                over_tokens, over_channels = cast(nn.ModuleList, block)
                # of the last block, memory and class are all that is read
                y = over_channels(over_tokens(y, ends=i == len(self.linear_forward)))
            memory = torch.cat([y[:batch, 0], y[batch:, -1]])
            read.append(torch.cat([y[:batch, -1], y[batch:, 0]]))
        states = self.hidden_linear(torch.stack(read, 1))  # (2B, C, d)
        return states[:batch], states[batch:]

    def grade(self, forwards: Tensor, backwards: Tensor) -> Tensor:
        """Return (B,) scores from the mean states (B, d) of both ways."""
        scores: Tensor = self.output["linear"]((forwards + backwards) / 2)
        return scores.squeeze(-1)


class PublishedSkatingMixer(MixerCell):
    """The published inputs: one audio token and N video tokens per clip, of one width."""

    def __init__(self, tokens: int, inputs: int, width: int, depth: int, own_steps: bool) -> None:
        """Build the untrained network.

        Args:
            tokens: S = N + 3; published 18.
            inputs: D of both streams; published 768.
            width: d.
            depth: blocks.
            own_steps: average a sample's own backward steps, not the last of its batch.
        """
        super().__init__(tokens, width, depth)
        self.own_steps = own_steps
        self.linear1 = nn.Linear(inputs, width)
        self.layer_norm = nn.LayerNorm(width)  # never used

    def forward(
        self,
        audio: Tensor,
        video: Tensor,
        audio_lengths: Tensor | None = None,
        video_lengths: Tensor | None = None,
    ) -> Tensor:
        """Score videos.

        Args:
            audio: (B, C_a, D) or (B, C_a, 1, D), zeros behind the last clip of a sample.
            video: (B, C_v, N, D), likewise.
            audio_lengths: (B,) clips of each sample; all by default.
            video_lengths: likewise.

        Returns:
            (B,) raw scores.
        """
        weight = self.linear1.weight
        audio, video = (
            torch.as_tensor(x, dtype=weight.dtype, device=weight.device) for x in (audio, video)
        )
        audio = audio[:, :, None] if audio.dim() == 3 else audio
        own = [
            torch.full((len(x),), x.shape[1]) if n is None else torch.as_tensor(n)
            for x, n in ((audio, audio_lengths), (video, video_lengths))
        ]
        own = [n.to(weight.device) for n in own]
        # what is padded is zero before the linear map, as published
        ways = (
            (audio, video),
            tuple(reverse(x, n) for x, n in zip((audio, video), own, strict=True)),
        )
        steps = min(audio.shape[1], video.shape[1])
        clips, backwards = (
            torch.cat([self.linear1(x[:, :steps]) for x in way], 2) for way in ways
        )  # (B, C, S − 2, d)
        k, k_back = self.read(clips, backwards)
        keep = torch.arange(steps, device=weight.device) < torch.minimum(*own)[:, None]  # (B, C)
        counted = keep if self.own_steps else keep.flip(1)  # the list of k̄ is built in reverse
        means = (mean_over_steps(x, m) for x, m in ((k, keep), (k_back, counted)))
        return self.grade(*means)


def reverse(x: Tensor, lengths: Tensor) -> Tensor:
    """Reverse the first ``lengths`` (B,) steps of each sample of (B, T, …); others become zeros."""
    steps = torch.arange(x.shape[1], device=x.device)
    at = lengths[:, None] - 1 - steps  # (B, T)
    rows = torch.arange(len(x), device=x.device)[:, None]
    there = (at >= 0).view(*at.shape, *(1,) * (x.dim() - 2))
    return torch.where(there, x[rows, at.clamp_min(0)], 0.0)
