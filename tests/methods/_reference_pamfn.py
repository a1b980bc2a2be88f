"""PAMFN written out a second time: slow, from the equations, on a plain state dict.

It imports nothing of the package, uses no ``nn`` layer, loops over samples, steps, streams, heads
and fusion networks, and knows only the names of the state dict.  One sample at a time, evaluation
only; time stands before channels.
"""

from __future__ import annotations

import math

import torch

EPS = 1e-5


def normal(w, key, x):
    scale = w[f"{key}.weight"] / torch.sqrt(w[f"{key}.running_var"] + EPS)
    return (x - w[f"{key}.running_mean"]) * scale + w[f"{key}.bias"]


def conv(w, key, x):
    """Convolution of (T, C) by a kernel of size 1 or 3, zeros beyond the ends."""
    weight, bias = w[f"{key}.weight"], w[f"{key}.bias"]
    reach = weight.shape[2] // 2
    out = []
    for t in range(len(x)):
        total = bias.clone()
        for k in range(weight.shape[2]):
            if 0 <= t + k - reach < len(x):
                total = total + weight[:, :, k] @ x[t + k - reach]
        out.append(total)
    return torch.stack(out)


def halves(x):
    return torch.stack([(x[2 * t] + x[2 * t + 1]) / 2 for t in range(len(x) // 2)])


def whole(x):
    return (sum(x[t] for t in range(len(x))) / len(x))[None]


def gelu(x):
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def sigmoid(x):
    return 1 / (1 + torch.exp(-x))


def relu(x):
    return x.clamp(min=0)


def pyramid(w, key, x):
    """Return g0 … g3 of a stream (T, D)."""
    x = relu(normal(w, f"{key}.embedding.1", conv(w, f"{key}.embedding.0", x)))
    levels = [relu(normal(w, f"{key}.embedding.4", conv(w, f"{key}.embedding.3", x)))]
    for stage, pool in ((1, halves), (2, halves), (3, whole)):
        own = f"{key}.stage{stage}"
        y = gelu(normal(w, f"{own}.conv1.1", conv(w, f"{own}.conv1.0", levels[-1])))
        y = gelu(normal(w, f"{own}.conv2.1", conv(w, f"{own}.conv2.0", y)))
        levels.append(pool(levels[-1] + y))
    return levels


def alone(w, key, x):
    """Return a branch's own score ()."""
    return sigmoid(conv(w, f"{key}.fc.1", pyramid(w, key, x)[3]))[0, 0]


def twice(w, key, x):
    x = relu(normal(w, f"{key}.1", conv(w, f"{key}.0", x)))
    return relu(normal(w, f"{key}.4", conv(w, f"{key}.3", x)))


def linear(w, key, x):
    return w[f"{key}.weight"] @ x + w[f"{key}.bias"]


def attend(w, key, query, tokens, heads, extra):
    """One query (C,) reads tokens, a list of (C,); ``extra`` is added to each logit."""
    q = linear(w, f"{key}.linear_layers.0", query)
    k = [linear(w, f"{key}.linear_layers.1", x) for x in tokens]
    v = [linear(w, f"{key}.linear_layers.2", x) for x in tokens]
    size, parts = len(q) // heads, []
    for h in range(heads):
        at = slice(h * size, (h + 1) * size)
        logits = [-(q[at] @ x[at]) / math.sqrt(size) + e for x, e in zip(k, extra, strict=True)]
        share = torch.softmax(torch.stack(logits), 0)
        parts.append(sum(a * x[at] for a, x in zip(share, v, strict=True)))
    return torch.cat(parts)


def block(w, key, state, fine, coarse, pool, heads):
    """Return (T', 768); ``fine`` and ``coarse`` are lists over all streams, None where missing."""
    there = [i for i, x in enumerate(fine) if x is not None]
    inner = twice(w, f"{key}.conv", state)
    short = normal(w, f"{key}.short_cut.1", conv(w, f"{key}.short_cut.0", state))
    inner = inner + relu(short)

    specific = f"{key}.s_fusion"
    queries = conv(w, f"{specific}.proj.0", inner)
    read = torch.stack(
        [
            attend(
                w, f"{specific}.fusion_s", q, [coarse[i][t] for i in there], heads[0],
                [0.0] * len(there),
            )
            for t, q in enumerate(queries)
        ]
    )  # fmt: skip

    adaptive = f"{key}.f_fusion"
    logits = []
    for i in there:
        hidden = conv(w, f"{adaptive}.proj1.{i}.0", fine[i])
        hidden = relu(normal(w, f"{adaptive}.proj1.{i}.1", hidden))
        logits.append(conv(w, f"{adaptive}.proj1.{i}.3", hidden))
    share = torch.softmax(torch.stack(logits), 0)  # (streams there, T, K)
    networks = []
    for k in range(share.shape[2]):
        mixed = sum(share[j, :, k, None] * fine[i] for j, i in enumerate(there))
        networks.append(pool(twice(w, f"{adaptive}.ffn.{k}", mixed) + mixed))
    zeros = torch.zeros_like(fine[there[0]])
    joined = torch.cat([zeros if x is None else x for x in fine], 1)
    liked = pool(conv(w, f"{adaptive}.policy.0", joined))  # (T', K)

    both = torch.cat([inner, read], 1)
    queries = -conv(w, f"{adaptive}.proj2.0", both)
    fused = []
    for t, q in enumerate(queries):
        last = int(liked[t].argmax())
        extra = [0.0 if k <= last else -1e9 for k in range(len(networks))]
        tokens = [n[t] for n in networks]
        fused.append(attend(w, f"{adaptive}.fusion_f", q, tokens, heads[1], extra))
    return torch.cat([both, torch.stack(fused)], 1)


def pamfn(w, streams, heads=(1, 1), names="rfa"):
    """Return the score () of one sample; ``streams`` are (T, D) in the order of the names."""
    g = [
        [None] * 4 if x is None else pyramid(w, f"model_{m}", x)
        for m, x in zip(names, streams, strict=True)
    ]
    levels = [[own[n] for own in g] for n in range(4)]
    some = next(own for own in g if own[0] is not None)
    state = torch.stack([w["c"]] * len(some[1]))
    state = halves(block(w, "stage1", state, levels[0], levels[1], halves, heads))
    state = whole(block(w, "stage2", state, levels[1], levels[2], halves, heads))
    state = block(w, "stage3", state, levels[2], levels[3], whole, heads)
    hidden = relu(normal(w, "fc.2", conv(w, "fc.1", state)))
    return sigmoid(conv(w, "fc.5", hidden))[0, 0]


def shapes(widths, networks, reduction):
    """Official names -> shapes; ``widths`` is name of a stream -> D."""
    shape = {"c": (768,), "tau": ()}

    def convolution(key, out, width, kernel=1):
        shape[f"{key}.weight"], shape[f"{key}.bias"] = (out, width, kernel), (out,)

    def norm(key, width):
        for name in ("weight", "bias", "running_mean", "running_var"):
            shape[f"{key}.{name}"] = (width,)
        shape[f"{key}.num_batches_tracked"] = ()

    def two(key, width):
        for at, own in ((0, width), (3, 256)):
            convolution(f"{key}.{at}", 256, own, 3)
            norm(f"{key}.{at + 1}", 256)

    def attention(key):
        for i in range(3):
            shape[f"{key}.linear_layers.{i}.weight"] = (256, 256)
            shape[f"{key}.linear_layers.{i}.bias"] = (256,)
        shape[f"{key}.norm.weight"] = shape[f"{key}.norm.bias"] = (256,)

    for m, width in widths.items():
        key = f"model_{m}"
        for at, (out, own) in {0: (512, width), 3: (256, 512)}.items():
            convolution(f"{key}.embedding.{at}", out, own)
            norm(f"{key}.embedding.{at + 1}", out)
        for stage in (1, 2, 3):
            for n in (1, 2):
                convolution(f"{key}.stage{stage}.conv{n}.0", 256, 256, 3)
                norm(f"{key}.stage{stage}.conv{n}.1", 256)
        convolution(f"{key}.fc.1", 1, 256)
    for n in (1, 2, 3):
        two(f"stage{n}.conv", 768)
        convolution(f"stage{n}.short_cut.0", 256, 768)
        norm(f"stage{n}.short_cut.1", 256)
        attention(f"stage{n}.s_fusion.fusion_s")
        convolution(f"stage{n}.s_fusion.proj.0", 256, 256)
        fusion = f"stage{n}.f_fusion"
        for i in range(len(widths)):
            convolution(f"{fusion}.proj1.{i}.0", 256, 256)
            norm(f"{fusion}.proj1.{i}.1", 256)
            convolution(f"{fusion}.proj1.{i}.3", networks, 256)
        for k in range(networks):
            two(f"{fusion}.ffn.{k}", 256)
        attention(f"{fusion}.fusion_f")
        convolution(f"{fusion}.proj2.0", 256, 512)
        convolution(f"{fusion}.policy.0", networks, 256 * len(widths))
    convolution("fc.1", 256 // reduction, 768)
    norm("fc.2", 256 // reduction)
    convolution("fc.5", 1, 256 // reduction)
    return shape
