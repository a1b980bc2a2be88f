"""ACTION-NET written out a second time: one video, one step at a time, on a plain state dict."""

from __future__ import annotations

import math

import torch

from tests.methods._reference_gdlt import fill, linear


def graph(steps):
    """Entry by entry."""
    near = [[math.exp(-abs(i - j)) for j in range(steps)] for i in range(steps)]
    degree = [sum(row) for row in near]
    return torch.tensor(
        [
            [near[i][j] / math.sqrt(degree[i] * degree[j]) for j in range(steps)]
            for i in range(steps)
        ]
    )


def context(w, key, x, adjacency):
    """(512,) of one stream (T, D)."""
    e = linear(w, f"{key}.embedding.0", x).clamp(min=0)
    e = linear(w, f"{key}.embedding.2", e).clamp(min=0)
    n = e
    for layer in ("gcn1", "gcn2"):
        smooth = [(row[:, None] * n).sum(0) for row in adjacency]
        n = linear(w, f"{key}.{layer}", torch.stack(smooth)).clamp(min=0)
    u = torch.cat([e, n], 1)
    hidden = linear(w, f"{key}.att.0", u).clamp(min=0)
    share = torch.exp(linear(w, f"{key}.att.2", hidden)[:, 0])
    return sum(a * x for a, x in zip(share / share.sum(), u, strict=True))


def head(w, contexts):
    """A score of concatenated contexts."""
    hidden = linear(w, "fc.0", torch.cat(contexts)).clamp(min=0)
    return 1 / (1 + torch.exp(-linear(w, "fc.3", hidden)[0]))


def action_net(w, dynamic, static):
    scores = []
    for x, y in zip(dynamic, static, strict=True):
        both = [context(w, "d_ct", x, w["adj1"]), context(w, "s_ct", y, w["adj2"])]
        scores.append(head(w, both))
    return torch.stack(scores)


def random_action_net(seed, widths=(1024, 2048), steps=(26, 80)):
    """An official-shaped state dict with random values and graphs that are not the usual ones."""
    shape = {}
    for key, width in zip(("d_ct", "s_ct"), widths, strict=True):
        sizes = {"embedding.0": (width // 2, width), "embedding.2": (256, width // 2)}
        sizes |= {"gcn1": (256, 256), "gcn2": (256, 256), "att.0": (128, 512), "att.2": (1, 128)}
        for name, size in sizes.items():
            shape[f"{key}.{name}.weight"], shape[f"{key}.{name}.bias"] = size, size[:1]
    shape |= {"fc.0.weight": (128, 1024), "fc.0.bias": (128,)}
    shape |= {"fc.3.weight": (1, 128), "fc.3.bias": (1,)}
    graphs = {f"adj{i}": graph(count) * (1 + 0.1 * i) for i, count in enumerate(steps, 1)}
    return fill(shape, seed) | graphs
