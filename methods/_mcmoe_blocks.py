"""Parts of MCMoE's network: generator, expert, router, positional table; and checks of its masks.

Each keeps the parameter names of the published state dict.  Nothing here knows of losses or
switches; ``mcmoe.py`` does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from aqabench.errors import UsageError
from aqabench.nn.batch_norm import Statistics, normalise_apart, track
from aqabench.nn.losses import mean_over_steps
from aqabench.nn.projection import pointwise
from aqabench.nn.transformer import Attention

WIDTH = 256
POSITIONS = 136
"""Rows of the published positional table, and so the largest batch of the published network."""

Seen = tuple[Statistics | None, Statistics | None]
"""What the two norms of an expert saw in a training pass."""


def sinusoid(length: int, width: int) -> Tensor:
    """Return the (length, width) table of sines (even channels) and cosines (odd channels)."""
    position = torch.arange(length, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    return torch.stack([torch.sin(position * rate), torch.cos(position * rate)], -1).flatten(1)


class PositionTable(nn.Module):
    """Holder of the published positional table under its published name."""

    pe: Tensor

    def __init__(self) -> None:
        """Build the table (136, 1, 256)."""
        super().__init__()
        self.register_buffer("pe", sinusoid(POSITIONS, WIDTH)[:, None])


class Generator(nn.Module):
    """Imagines an absent modality from the present ones: two attentions and a gate."""

    def __init__(self, constant: bool) -> None:
        """Build it; a constant one (Q2) has no token."""
        super().__init__()
        self.cross_attn = nn.ModuleList([Attention(WIDTH, 4), Attention(WIDTH, 4)])
        self.gate = nn.Sequential(nn.Linear(2 * WIDTH, WIDTH), nn.Sigmoid())
        self.token = None if constant else nn.Parameter(0.02 * torch.randn(WIDTH))

    def forward(
        self,
        context: Tensor,
        keep: Tensor | None = None,
        steps: int = 1,
        valid: Tensor | None = None,
    ) -> Tensor:
        """Generate a stream.

        Args:
            context: (n, L, 256), present streams along time.
            keep: (n, L) bool, steps of the context that exist, or None for all.
            steps: length T of the stream.
            valid: (n, T) bool, steps of the stream that exist, or None for all.

        Returns:
            (n, T, 256), or (n, 1, 256) from a constant generator, which stands for every step.
        """
        if self.token is None:
            # Equal queries get equal answers: one stands for all T of them.
            start, valid = context.new_zeros(1, 1, WIDTH), None
        else:
            code = sinusoid(steps, WIDTH).to(context)
            start = (self.token + code)[None]  # (1, T, 256)
        x = start
        for attention in self.cross_attn:
            x = attention(x, context, keep)
        summary = torch.cat([mean_over_steps(x, valid), mean_over_steps(context, keep)], -1)
        out: Tensor = self.gate(summary)[:, None] * x
        return out


class Expert(nn.Sequential):
    """Convolution over three steps, batch norm, GELU, 1×1 convolution, batch norm."""

    def __init__(self) -> None:
        """Build an expert; the layers carry the indices 0, 1, 3, 4 of published state dicts."""
        super().__init__(
            nn.Conv1d(WIDTH, WIDTH // 2, 3, padding=1),
            nn.BatchNorm1d(WIDTH // 2),
            nn.GELU(),
            nn.Conv1d(WIDTH // 2, WIDTH, 1),
            nn.BatchNorm1d(WIDTH),
        )

    def forward(
        self, x: Tensor, keep: Tensor | None = None, repeats: Tensor | None = None
    ) -> tuple[Tensor, Seen]:
        """Refine a stream, leaving running statistics alone (see :meth:`track`).

        Args:
            x: (n, L, 256), zero where ``keep`` is False.
            keep: (n, L) bool or None.
            repeats: (L,) how many steps each one stands for, see :func:`normalise_apart`.

        Returns:
            (n, L, 256), zero where ``keep`` is False, and the statistics of both norms.
        """
        conv, norm_in, _, out, norm_out = self
        assert isinstance(conv, nn.Conv1d)
        assert isinstance(out, nn.Conv1d)
        assert isinstance(norm_in, nn.BatchNorm1d)
        assert isinstance(norm_out, nn.BatchNorm1d)
        # Channels stay last in memory: (n, L, C) seen as an (n, C, 1, L) image.
        image = x[:, None].permute(0, 3, 1, 2)
        hidden = functional.conv2d(image, conv.weight[:, :, None], conv.bias, padding=(0, 1))
        hidden = hidden.permute(0, 2, 3, 1).squeeze(1)  # (n, L, 128)
        if keep is not None:
            hidden = hidden[keep]  # (N, 128)
        hidden, seen_in = normalise_apart(norm_in, hidden, repeats)
        y, seen_out = normalise_apart(norm_out, pointwise(out, functional.gelu(hidden)), repeats)
        if keep is not None:
            y = y.new_zeros(*x.shape).index_put((keep,), y)
        return y, (seen_in, seen_out)

    def track(self, seen: Seen) -> None:
        """Move the running statistics by what a training pass saw; a test pass saw nothing."""
        for norm, statistics in zip((self[1], self[4]), seen, strict=True):
            if statistics is not None:
                assert isinstance(norm, nn.BatchNorm1d)
                track(norm, statistics)


class Router(nn.Module):
    """Weights of the experts at every step of a stream."""

    def __init__(self, experts: int) -> None:
        """Build the two layers."""
        super().__init__()
        self.fc1 = nn.Linear(WIDTH, WIDTH // 2)
        self.fc2 = nn.Linear(WIDTH // 2, experts)

    def forward(self, x: Tensor) -> Tensor:
        """Return (…, experts) weights, summing to 1, for (…, 256)."""
        return torch.softmax(self.fc2(functional.gelu(self.fc1(x))), -1)


def divergence(guess: Tensor, target: Tensor) -> Tensor:
    """Return KL(softmax target ‖ softmax guess) over channels (…, 256), summed over the rest.

    Keeps its two arguments for the gradient, where the composed functions keep four maps of the
    size of a stream.
    """
    out: Tensor = _Divergence.apply(guess, target)  # type: ignore[no-untyped-call]
    return out


class _Divergence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, guess: Tensor, target: Tensor) -> Tensor:
        ctx.save_for_backward(guess, target)
        known, gap = _share_and_gap(guess, target)
        return (known * gap).sum()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None]:
        guess, target = ctx.saved_tensors
        known, gap = _share_and_gap(guess, target)
        to_guess = (torch.softmax(guess, -1) - known).mul_(gradient)
        if not ctx.needs_input_grad[1]:
            return to_guess, None
        own = (known * gap).sum(-1, keepdim=True)  # each row's divergence
        return to_guess, known.mul_(gap.sub_(own)).mul_(gradient)


def _share_and_gap(guess: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return softmax of the target, and how far its logarithm is above the guess's."""
    known = torch.log_softmax(target, -1)
    return known.exp(), known - torch.log_softmax(guess, -1)


def rows_of(x: Tensor, wanted: Tensor) -> Tensor:
    """Return the wanted rows, without a copy where that is all of them."""
    return x if bool(wanted.all()) else x[wanted]


def into_rows(x: Tensor, wanted: Tensor, rows: Tensor) -> Tensor:
    """Return ``x`` with the wanted rows replaced."""
    return rows if bool(wanted.all()) else x.index_put((wanted,), rows)


def spread(x: Tensor, steps: int) -> Tensor:
    """Repeat the middle of three steps until there are ``steps``: (n, 3, C) → (n, T, C)."""
    first, middle, last = x.split(1, 1)
    return torch.cat([first, middle.expand(-1, steps - 2, -1), last], 1)


def checked_mask(
    mask: Tensor,
    streams: Mapping[str, Tensor],
    modalities: Sequence[str],
    per_sample: bool = True,
) -> Tensor:
    """Return a mask as bool on the streams' device, checked against them.

    Args:
        mask: (B, M), or (M,) for all samples alike; (S, M) where not ``per_sample``.
        streams: modality -> (B, …).
        modalities: all M, in the order of the mask.
        per_sample: whether the rows of the mask are samples.

    Returns:
        (B, M) or (S, M) bool.

    Raises:
        UsageError: another shape, a row that shows nothing, or a stream shown but not given.
    """
    if not streams:
        raise UsageError(
            f"MCMoE needs at least one stream. Got none; pass one of {', '.join(modalities)}."
        )
    like, count = next(iter(streams.values())), len(modalities)
    out = torch.as_tensor(mask, device=like.device).bool()
    if per_sample and out.dim() == 1:
        out = out.expand(len(like), -1)
    if out.dim() != 2 or out.shape[1] != count or (per_sample and len(out) != len(like)):
        raise UsageError(
            f"MCMoE's masks must have the shape ({len(like) if per_sample else 'S'}, {count}), "
            f"in the order {', '.join(modalities)}. Got {tuple(out.shape)} instead."
        )
    if not bool(out.any(1).all()):
        row = int((~out.any(1)).nonzero()[0])
        raise UsageError(
            f"MCMoE needs at least one modality. Got none in row {row} of the mask; leave such "
            "samples out."
        )
    for m, shown in zip(modalities, out.any(0).tolist(), strict=True):
        if shown and m not in streams:
            raise UsageError(
                f"The mask shows modality '{m}', but its features were not given. Got only "
                f"{', '.join(streams)}; pass them or switch '{m}' off in the mask."
            )
    return out
