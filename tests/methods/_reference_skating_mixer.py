"""Skating-Mixer written out a second time: slow, from the equations, on a plain state dict.

It imports nothing of the package and uses no ``nn`` layer; clips, tokens and samples are loops.
"""

from __future__ import annotations

import math

import torch

EPS = 1e-5


def linear(w, key, x):
    return w[f"{key}.weight"] @ x + w[f"{key}.bias"]


def gelu(x):
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def normal(w, key, x):
    mean = x.mean()
    var = ((x - mean) ** 2).mean()
    return (x - mean) / torch.sqrt(var + EPS) * w[f"{key}.weight"] + w[f"{key}.bias"]


def over_tokens(w, key, tokens):
    """Map a list of S tokens (d,) to a list of as many as the kernel has outputs."""
    weight, bias = w[f"{key}.weight"][:, :, 0], w[f"{key}.bias"]
    return [
        sum(weight[o, i] * x for i, x in enumerate(tokens)) + bias[o] for o in range(len(weight))
    ]


def mixer(w, tokens):
    depth = 0
    while f"linear_forward.{depth}.0.norm.weight" in w:
        key = f"linear_forward.{depth}.0"
        normed = [normal(w, f"{key}.norm", x) for x in tokens]
        inner = [gelu(x) for x in over_tokens(w, f"{key}.fn.0", normed)]
        tokens = [y + x for y, x in zip(tokens, over_tokens(w, f"{key}.fn.3", inner), strict=True)]
        key = f"linear_forward.{depth}.1"
        inner = [gelu(linear(w, f"{key}.fn.0", normal(w, f"{key}.norm", y))) for y in tokens]
        tokens = [y + linear(w, f"{key}.fn.3", x) for y, x in zip(tokens, inner, strict=True)]
        depth += 1
    return tokens


def padded(x, length):
    return torch.cat([x, x.new_zeros(length - len(x), *x.shape[1:])])


def skating_mixer(w, batch, own_steps=False):
    """Return (B,) raw scores.

    ``batch`` is a list of (audio (C_a, D), video (C_v, N, D)), without padding.
    """
    clips = min(max(len(a) for a, _ in batch), max(len(v) for _, v in batch))
    scores = []
    for audio, video in batch:

        def read(audio, video, j):
            tokens = [padded(audio, max(clips, len(audio)))[j]]
            tokens += list(padded(video, max(clips, len(video)))[j])
            return [linear(w, "linear1", x) for x in tokens]

        memory, label = w["hidden_state"][0], w["cls_token"][0]
        forwards = []
        for j in range(clips):
            out = mixer(w, [memory, *read(audio, video, j), label])
            memory = out[0]
            forwards.append(linear(w, "hidden_linear", out[-1]))
        memory, backwards = w["hidden_state"][0], []
        for j in range(clips):
            out = mixer(w, [label, *read(audio.flip(0), video.flip(0), j), memory])
            memory = out[-1]
            backwards.insert(0, linear(w, "hidden_linear", out[0]))
        own = min(len(audio), len(video))
        counted = backwards[clips - own :] if own_steps else backwards[:own]
        state = (sum(forwards[:own]) / own + sum(counted) / own) / 2
        scores.append(linear(w, "output.linear", state)[0])
    return torch.stack(scores)


def shapes(tokens=18, inputs=768, width=512, depth=2):
    """Official names -> shapes."""
    shape = {"hidden_state": (1, width), "cls_token": (1, width)}

    def maps(key, out, own):
        shape[f"{key}.weight"], shape[f"{key}.bias"] = (out, *own), (out,)

    maps("linear1", width, (inputs,))
    for d in range(depth):
        key = f"linear_forward.{d}"
        for n in (0, 1):
            shape[f"{key}.{n}.norm.weight"] = shape[f"{key}.{n}.norm.bias"] = (width,)
        maps(f"{key}.0.fn.0", 4 * tokens, (tokens, 1))
        maps(f"{key}.0.fn.3", tokens, (4 * tokens, 1))
        maps(f"{key}.1.fn.0", 4 * width, (width,))
        maps(f"{key}.1.fn.3", width, (4 * width,))
    maps("hidden_linear", width, (width,))
    maps("output.linear", 1, (width,))
    shape["layer_norm.weight"] = shape["layer_norm.bias"] = (width,)
    return shape
