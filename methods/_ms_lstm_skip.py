"""The skip-LSTM of MS-LSTM: an LSTM with a gate per step that says whether its state moves.

    [i, f, g, o] = W x_t + b + U h_{t−1} + b',   c̃ = σ(f) c + σ(i) tanh(g),   h̃ = σ(o) tanh(c̃)
    ũ = v + min(u, 1 − v),   r = round(ũ)                          start: u = 1, v = 0
    (c, h) ← r (c̃, h̃) + (1 − r)(c, h),   u ← r σ(<w, c̃> + b_u) + (1 − r) u,   v ← (1 − r) ũ

Rounding has no gradient.  Here that of r is taken for that of ũ (straight through), as Skip RNN
learns its gate; ``frozen`` takes none, so that w and b_u keep their start values, as released.

The steps depend on each other, so this is a loop over time.  Inputs are projected before it, weight
gradients are collected after it, and the gradient is written out by hand, which makes it as fast
as the framework's own LSTM.  Gradients fade on the long way back from the last step; before they
are too small for ordinary floating point, which costs processors a hundred times as much, they are
set to 0.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

FADED = 1e-20
"""Gradients below this are 0."""


class SkipLSTM(nn.Module):
    """One layer under the names of published state dicts."""

    def __init__(self, width: int, hidden: int, frozen: bool, random_states: bool) -> None:
        """Build the layer; matrices start Xavier-uniform, biases at 0, b_u at 1.

        Args:
            width: channels of the input.
            hidden: H, channels of the state.
            frozen: never learn the gate, as released.
            random_states: start from states drawn from N(0, 1), as released, and not from zeros.
        """
        super().__init__()
        self.frozen = frozen
        self.random_states = random_states
        self.weight_ih = nn.ParameterList([torch.empty(4 * hidden, width)])
        self.weight_hh = nn.ParameterList([torch.empty(4 * hidden, hidden)])
        self.bias_ih = nn.ParameterList([torch.zeros(4 * hidden)])
        self.bias_hh = nn.ParameterList([torch.zeros(4 * hidden)])
        self.weight_uh = nn.Parameter(torch.empty(1, hidden))
        self.bias_uh = nn.Parameter(torch.ones(1))
        for matrix in (self.weight_ih[0], self.weight_hh[0], self.weight_uh):
            nn.init.xavier_uniform_(matrix)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the last state.

        Args:
            x: (B, T, C), finite everywhere.
            lengths: (B,) steps that exist, at least 1, or None for all.

        Returns:
            (B, H), in the type of the weights.
        """
        w_ih, w_hh = self.weight_ih[0], self.weight_hh[0]
        b_ih, b_hh = self.bias_ih[0], self.bias_hh[0]
        x = x.to(w_ih.dtype)
        start = x.new_zeros(2, len(x), w_hh.shape[1])  # (2, B, H), h and c
        if self.random_states:
            start = torch.randn_like(start)
        with torch.autocast(x.device.type, enabled=False):  # rounding must not hang on precision
            projected = functional.linear(x.transpose(0, 1), w_ih, b_ih + b_hh)  # (T, B, 4H)
            active = None
            if lengths is not None:
                steps = torch.arange(x.shape[1], device=x.device)[:, None, None]
                active = (steps < lengths[:, None]).to(x.dtype)  # (T, B, 1)
            last: Tensor = _Steps.apply(  # type: ignore[no-untyped-call]
                projected, w_hh, self.weight_uh, self.bias_uh, active, start, not self.frozen
            )
            return last


class _Steps(torch.autograd.Function):
    """The loop over time."""

    @staticmethod
    def forward(
        ctx: Any,
        projected: Tensor,
        w_hh: Tensor,
        w_u: Tensor,
        b_u: Tensor,
        active: Tensor | None,
        start: Tensor,
        learned: bool,
    ) -> Tensor:
        """Walk forwards.

        Args:
            ctx: keeps what the way back needs.
            projected: (T, B, 4H), what the inputs give to the gates.
            w_hh: (4H, H).
            w_u: (1, H), w.
            b_u: (1,).
            active: (T, B, 1), 0 where a sample has ended and its state stays, or None.
            start: (2, B, H), first h and c.
            learned: pass the gradient through the rounding?

        Returns:
            (B, H), last h.
        """
        h, c, size = start[0], start[1], w_hh.shape[1]
        recurrent, from_cell = w_hh.T.contiguous(), w_u.T
        u, v = c.new_ones(len(c), 1), c.new_zeros(len(c), 1)
        kept = []
        for t, inputs in enumerate(projected):
            gates = torch.addmm(inputs, h, recurrent)  # (B, 4H)
            g = torch.tanh(gates[:, 2 * size : 3 * size])
            gates.sigmoid_()  # i, f, unused, o
            new_c = torch.addcmul(gates[:, :size] * g, gates[:, size : 2 * size], c)
            squashed = torch.tanh(new_c)
            new_h = gates[:, 3 * size :] * squashed
            wanted = v + torch.minimum(u, 1 - v)  # (B, 1), ũ
            r = wanted.round()
            if active is not None:
                r = r * active[t]
            move = r.bool()
            again = torch.sigmoid(torch.addmm(b_u, new_c, from_cell))  # (B, 1)
            kept.append((gates, g, h, c, new_h, new_c, squashed, r, u, v, wanted, again))
            h, c = torch.where(move, new_h, h), torch.where(move, new_c, c)
            u, v = torch.where(move, again, u), wanted * (1 - r)
            if not ctx.needs_input_grad[0]:
                kept.clear()
        ctx.kept, ctx.learned = kept, learned
        ctx.save_for_backward(w_hh, w_u, active)
        return h

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Walk backwards; ``d_x`` is the derivative of the loss by x after the step."""
        w_hh, w_u, active = ctx.saved_tensors
        size, steps = w_hh.shape[1], len(ctx.kept)
        d_projected = gradient.new_empty(steps, len(gradient), 4 * size)
        d_h, d_c = gradient, torch.zeros_like(gradient)
        d_u = d_v = gradient.new_zeros(len(gradient), 1)
        d_w, d_b = torch.zeros_like(w_u), w_u.new_zeros(1)
        for t in reversed(range(steps)):
            gates, g, h, c, new_h, new_c, squashed, r, u, v, wanted, again = ctx.kept[t]
            stay = 1 - r
            d_new_h, d_new_c = d_h * r, d_c * r
            if ctx.learned:
                d_logit = torch.ops.aten.sigmoid_backward(d_u * r, again)  # (B, 1)
                d_w += d_logit.T @ new_c
                d_b += d_logit.sum()
                d_new_c = d_new_c + d_logit * w_u
                d_r = (d_h * (new_h - h)).sum(1, keepdim=True)
                d_r += (d_c * (new_c - c)).sum(1, keepdim=True)
                d_r += d_u * (again - u) - d_v * wanted
                if active is not None:
                    d_r = d_r * active[t]
                d_wanted = d_r + d_v * stay
                free = (d_wanted * (u < 1 - v)).to(d_wanted.dtype)  # else ũ is the constant 1
                d_v = functional.hardshrink(free, FADED)
                d_u = d_u * stay + d_v
            o = gates[:, 3 * size :]
            d_new_c = d_new_c + torch.ops.aten.tanh_backward(d_new_h * o, squashed)
            d_gates = d_projected[t]
            torch.mul(d_new_c, g, out=d_gates[:, :size])
            torch.mul(d_new_c, c, out=d_gates[:, size : 2 * size])
            torch.mul(d_new_h, squashed, out=d_gates[:, 3 * size :])
            d_gates.copy_(torch.ops.aten.sigmoid_backward(d_gates, gates))
            d_gates[:, 2 * size : 3 * size] = torch.ops.aten.tanh_backward(
                d_new_c * gates[:, :size], g
            )
            d_c = torch.addcmul(d_c * stay, d_new_c, gates[:, size : 2 * size])
            d_h = torch.addmm(d_h * stay, d_gates, w_hh)
            d_c, d_h = (functional.hardshrink(d, FADED) for d in (d_c, d_h))
        before = torch.stack([step[2] for step in ctx.kept])  # (T, B, H), h
        d_w_hh = d_projected.flatten(0, 1).T @ before.flatten(0, 1)
        gate = (d_w, d_b) if ctx.learned else (None, None)
        return d_projected, d_w_hh, *gate, None, None, None
