"""MoMKE written out a second time: slow, sample by sample and stream by stream, on a state dict.

It imports nothing of the package; experts are matrices, loops over heads and over experts.
"""

from __future__ import annotations

import math

import torch

from tests.methods import _reference_gdlt as gdlt


def gelu(x):
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def bare_norm(x):
    mean = x.mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(((x - mean) ** 2).mean(-1, keepdim=True) + 1e-5)


def expert(w, key, x, layers, heads, pre_norm):
    """Map one sequence (T, 256)."""
    for i in range(layers):
        at = f"{key}.layers.{i}"
        read = bare_norm(x) if pre_norm else x
        q, k, v = (gdlt.linear(w, f"{at}.{name}", read) for name in ("query", "key", "value"))
        size = q.shape[-1] // heads
        parts = []
        for h in range(heads):
            own = slice(h * size, (h + 1) * size)
            share = torch.softmax(q[:, own] @ k[:, own].T / math.sqrt(size), -1)
            parts.append(share @ v[:, own])
        y = torch.cat(parts, -1)
        x = x + y + gdlt.linear(w, f"{at}.outer", gelu(gdlt.linear(w, f"{at}.inner", y)))
    return x


def part(w, prefix):
    """Return what lies under a prefix, by the names that GDLT's decoder has."""
    own = {k.removeprefix(prefix): v for k, v in w.items() if k.startswith(prefix)}
    return {
        k.replace("decoder.", "transformer.decoder.", 1) if k.startswith("decoder.") else k: v
        for k, v in own.items()
    }


def head(w, prefix, memory, layers, heads):
    """Return the score of one memory (1, T, 256)."""
    own = part(w, prefix)
    return gdlt.grade(own, gdlt.decoder(own, own["prototype.weight"][None], memory, layers, heads))


def alone(w, symbol, x, layers, heads, pre_norm):
    """Return what a stream's own expert says of one sample (T, D)."""
    projected = gdlt.stack(w, f"in_proj.{symbol}", x[None])[0]
    memory = expert(w, f"experts.{symbol}", projected, layers, heads, pre_norm)
    return head(w, f"own_heads.{symbol}.", memory[None], 1, heads)


def score(w, streams, symbols, layers, depth, heads, pre_norm):
    """Return the score of one sample: symbol -> (T, D) of what is shown."""
    steps = len(next(iter(streams.values())))
    slots = []
    for symbol in symbols:
        if symbol not in streams:
            slots.append(torch.zeros(steps, 256))
            continue
        x = gdlt.stack(w, f"in_proj.{symbol}", streams[symbol][None])[0]
        route = gelu(gdlt.linear(w, f"routers.{symbol}.inner", x))
        route = torch.softmax(gdlt.linear(w, f"routers.{symbol}.outer", route), -1)
        slots.append(
            sum(
                route[:, e, None] * expert(w, f"experts.{other}", x, depth, heads, pre_norm)
                for e, other in enumerate(symbols)
            )
        )
    memory = gdlt.stack(w, "fusion", torch.cat(slots, -1)[None])
    return head(w, "head.", memory, layers, heads)
