"""MS-LSTM written out a second time: one video, one step at a time, on a plain state dict."""

from __future__ import annotations

import torch

from tests.methods._reference_gdlt import fill, linear

EPS = 1e-5


def norm(w, key, x):
    """Batch norm in evaluation of channels in the last place."""
    scale = w[f"{key}.weight"] / torch.sqrt(w[f"{key}.running_var"] + EPS)
    return (x - w[f"{key}.running_mean"]) * scale + w[f"{key}.bias"]


def cell(gates, c):
    i, f, g, o = gates.reshape(4, -1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def lstm(w, x):
    h = c = x.new_zeros(256)
    for step in x:
        gates = w["lstm.weight_ih_l0"] @ step + w["lstm.bias_ih_l0"]
        h, c = cell(gates + w["lstm.weight_hh_l0"] @ h + w["lstm.bias_hh_l0"], c)
    return h


def skip_lstm(w, key, x, straight_through=False):
    """Return the last state and which steps moved it."""
    h = c = x.new_zeros(w[f"{key}.weight_hh.0"].shape[1])
    u, v, moved = x.new_ones(()), x.new_zeros(()), []
    for step in x:
        gates = w[f"{key}.weight_ih.0"] @ step + w[f"{key}.bias_ih.0"]
        gates = gates + w[f"{key}.weight_hh.0"] @ h + w[f"{key}.bias_hh.0"]
        new_h, new_c = cell(gates, c)
        wanted = v + torch.minimum(u, 1 - v)
        r = torch.round(wanted).detach()
        moved.append(bool(r))
        if straight_through:
            r = wanted + (r - wanted).detach()
        again = torch.sigmoid(w[f"{key}.weight_uh"][0] @ new_c + w[f"{key}.bias_uh"][0])
        h, c = r * new_h + (1 - r) * h, r * new_c + (1 - r) * c
        u, v = r * again + (1 - r) * u, (1 - r) * wanted
    return h, moved


def windows(w, key, x, kernel, stride):
    """Convolve (T, C) window by window."""
    if len(x) < kernel:
        x = torch.cat([x, x.new_zeros(kernel - len(x), x.shape[1])])
    rows = []
    for at in range(0, len(x) - kernel + 1, stride):
        part = torch.einsum("kc,ock->o", x[at : at + kernel], w[f"{key}.conv.0.weight"])
        rows.append((part + w[f"{key}.conv.0.bias"]).clamp(min=0))
    return norm(w, f"{key}.conv.2", torch.stack(rows))


def attention(w, x):
    """Return the tokens (50, 128) and the penalty of one sample."""
    hidden = torch.tanh(x @ w["attn.linear_1.weight"].T)
    share = torch.softmax(hidden @ w["attn.linear_2.weight"].T, 0)
    overlap = share.T @ share - torch.eye(50)
    return norm(w, "attn.bn", share.T @ x), (overlap**2).sum()


def ms_lstm(w, video):
    """Return scores (B,), the mean penalty, and for each scale the share of steps that moved."""
    scores, penalties, moves = [], [], [[], [], []]
    for clips in video:
        hidden = clips @ w["conv.0.weight"][:, :, 0].T + w["conv.0.bias"]
        x = norm(w, "conv.2", hidden.clamp(min=0))
        parts = []
        for n, (kernel, stride) in enumerate(((2, 1), (4, 2), (8, 4)), 1):
            rows = windows(w, f"scale{n}", x, kernel, stride)
            state, moved = skip_lstm(w, f"scale{n}.lstm", rows)
            moves[n - 1] += moved
            parts.append(linear(w, f"linear_skip{n}", state).clamp(min=0))
        tokens, penalty = attention(w, x)
        parts.append(linear(w, "linear_attn", lstm(w, tokens)).clamp(min=0))
        merged = linear(w, "linear_merge", torch.cat(parts)).clamp(min=0)
        scores.append(linear(w, "cls", merged)[0])
        penalties.append(penalty)
    return torch.stack(scores), sum(penalties) / len(penalties), moves


def random_ms_lstm(seed, width=4096, skip=0.0):
    """An official-shaped state dict with random values; ``skip`` lowers the gates' biases."""
    shape = {"conv.0.weight": (128, width, 1), "conv.0.bias": (128,)}

    def batch_norm(key, size):
        for name in ("weight", "bias", "running_mean", "running_var"):
            shape[f"{key}.{name}"] = (size,)
        shape[f"{key}.num_batches_tracked"] = ()

    batch_norm("conv.2", 128)
    for n, kernel in enumerate((2, 4, 8), 1):
        shape[f"scale{n}.conv.0.weight"] = (256, 128, kernel)
        shape[f"scale{n}.conv.0.bias"] = (256,)
        batch_norm(f"scale{n}.conv.2", 256)
        for name in ("ih", "hh"):
            shape[f"scale{n}.lstm.weight_{name}.0"] = (1024, 256)
            shape[f"scale{n}.lstm.bias_{name}.0"] = (1024,)
        shape[f"scale{n}.lstm.weight_uh"], shape[f"scale{n}.lstm.bias_uh"] = (1, 256), (1,)
    shape["attn.linear_1.weight"], shape["attn.linear_2.weight"] = (64, 128), (50, 64)
    batch_norm("attn.bn", 128)
    shape |= {"lstm.weight_ih_l0": (1024, 128), "lstm.weight_hh_l0": (1024, 256)}
    shape |= {"lstm.bias_ih_l0": (1024,), "lstm.bias_hh_l0": (1024,)}
    sizes = {f"linear_{name}": (64, 256) for name in ("skip1", "skip2", "skip3", "attn", "merge")}
    for name, size in (sizes | {"cls": (1, 64)}).items():
        shape[f"{name}.weight"], shape[f"{name}.bias"] = size, size[:1]
    weights = fill(shape, seed)
    for n in (1, 2, 3):
        weights[f"scale{n}.lstm.bias_uh"] = torch.tensor([1.0 - skip])
    return weights
