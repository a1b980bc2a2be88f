"""ActionMAE written out a second time: one sample, token by token, on a plain state dict.

It imports nothing of the package.  A hidden stream is left out of the encoder's tokens, where the
method masks its keys.
"""

from __future__ import annotations

import math

import torch

from tests.methods import _reference_gdlt as gdlt
from tests.methods._reference_momke import bare_norm, head


def sine(steps, width=256):
    code = torch.zeros(steps, width)
    for t in range(steps):
        for i in range(0, width, 2):
            angle = t / 10000 ** (i / width)
            code[t, i], code[t, i + 1] = math.sin(angle), math.cos(angle)
    return code


def stack(w, key, x):
    """Two pre-norm layers and a norm on one sequence (1, L, 256)."""
    for i in range(2):
        at = f"{key}.layers.{i}"
        read = gdlt.normal_layer(w, f"{at}.norm1", x)
        x = x + gdlt.attention(w, f"{at}.self_attn", read, read, 4)
        x = x + gdlt.feed_forward(w, at, gdlt.normal_layer(w, f"{at}.norm2", x))
    return gdlt.normal_layer(w, f"{key}.norm", x)


def encode(w, symbol, x, layers, heads):
    """Return h (T, 256) of one stream (T, D)."""
    own = {f"transformer.{k}" if k.startswith("encoder.") else k: v for k, v in w.items()}
    return gdlt.encoder(own, gdlt.stack(w, f"in_proj.{symbol}", x[None]), layers, heads)[0]


def write(w, h, count, steps, positions=True):
    """Return z (M, T, 256) and the encoder's whole output.

    Args:
        w: the state dict.
        h: slot -> (T, 256) of what is shown.
        count: slots M.
        steps: T.
        positions: add codes?
    """
    code = [
        w["mae.stream"][m] + sine(steps) if positions else torch.zeros(steps, 256)
        for m in range(count)
    ]
    tokens = torch.cat([w["mae.memory"], *(h[m] + code[m] for m in sorted(h))])
    y = stack(w, "mae.encoder", tokens[None])[0]
    memory, rest = y[:4], list(y[4:].split(steps))
    filled = [rest.pop(0) if m in h else w["mae.mask"] + code[m] for m in range(count)]
    z = stack(w, "mae.decoder", torch.cat([memory, *filled])[None])[0]
    return gdlt.linear(w, "mae.out", z[4:]).view(count, steps, 256), y


def score(w, streams, symbols, layers, heads, **switches):
    """Return the score of one sample: symbol -> (T, D) of what is shown."""
    steps = len(next(iter(streams.values())))
    count = len(symbols)
    h = {m: encode(w, s, streams[s], layers, heads) for m, s in enumerate(symbols) if s in streams}
    if switches.get("left_packed"):
        h = dict(enumerate(h[m] for m in sorted(h)))
    z, y = write(w, h, count, steps, not switches.get("no_positions"))
    slots = [h[m] if m in h and not switches.get("recon_observed") else z[m] for m in range(count)]
    if switches.get("reads_memory") and len(h) == count:
        slots = y[: count * steps].split(steps)
    memory = gdlt.stack(w, "fusion", torch.cat(list(slots), -1)[None])
    return head(w, "head.", memory, layers, heads)


def reconstruction(w, whole, shown, steps):
    """Return the squared errors (n, T, 256) of the hidden slots of one complete sample.

    Args:
        w: the state dict.
        whole: slot -> h (T, 256), all slots.
        shown: the slots that are shown.
        steps: T.
    """
    z, _ = write(w, {m: whole[m] for m in shown}, len(whole), steps)
    hidden = [m for m in whole if m not in shown]
    return torch.stack([(z[m] - bare_norm(whole[m])) ** 2 for m in hidden])
