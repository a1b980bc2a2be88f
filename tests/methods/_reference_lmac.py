"""LMAC-Net written out a second time: slow, from the equations, on a plain state dict.

Every sample, stream, layer, query and pair by itself.  It imports nothing of the package, uses no
``nn`` layer, maps every clip to keys and values as the equations do, and knows only the state
dict's names.  :class:`Count` adds up what common profilers count: the multiply-accumulates of
linear maps, but none of attention.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch

EPS = 1e-5


class Count:
    """Multiply-accumulates of the linear maps so far."""

    def __init__(self):
        self.linear = 0


def linear(w, key, x, count=None):
    weight = w[f"{key}.weight"]
    if count is not None:
        count.linear += math.prod(x.shape[:-1]) * weight.numel()
    return x @ weight.T + w[f"{key}.bias"]


def normal(w, key, x):
    mean = x.mean(-1, keepdim=True)
    var = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(var + EPS) * w[f"{key}.weight"] + w[f"{key}.bias"]


def softmax(x):
    e = torch.exp(x - x.max())
    return e / e.sum()


def meet(w, key, asking, p, heads):
    """Multi-head attention of queries (K, d) to each other; profilers count none of it."""
    d = p.shape[1]
    weight, bias = w[f"{key}.in_proj_weight"], w[f"{key}.in_proj_bias"]
    q = asking @ weight[:d].T + bias[:d]
    k = asking @ weight[d : 2 * d].T + bias[d : 2 * d]
    v = p @ weight[2 * d :].T + bias[2 * d :]
    size, heard = d // heads, []
    for h in range(heads):
        at = slice(h * size, (h + 1) * size)
        share = [softmax(k[:, at] @ one[at] / math.sqrt(size)) for one in q]
        heard.append(torch.stack([s @ v[:, at] for s in share]))
    return torch.cat(heard, 1) @ w[f"{key}.out_proj.weight"].T + w[f"{key}.out_proj.bias"]


def decode(w, key, x, heads, scale=None, count=None):
    """One stream of one sample, x (T, D): states (K, d), and α (K, T) of each layer."""
    tables = w[f"{key}.queries"]
    stages, d = tables.shape[1:]
    p, seen, i = torch.zeros(stages, d, dtype=x.dtype), [], 0
    while f"{key}.layers.{i}.key.weight" in w:
        at = f"{key}.layers.{i}"
        q = tables[i if len(tables) > 1 else 0]
        kappa = linear(w, f"{at}.key", x, count)  # (T, d)
        nu = linear(w, f"{at}.value", x, count)  # (T, d)
        tau = torch.clamp(w[f"{at}.temperature"], min=1e-3)
        alpha, read = [], []
        for k in range(stages):
            asked = p[k] + q[k]  # Eq. 4
            alpha.append(softmax(kappa @ asked / ((scale or d) * tau)))  # Eq. 6
            read.append(sum(a * v for a, v in zip(alpha[k], nu, strict=True)))
        p = normal(w, f"{at}.norm1", p + torch.stack(read))  # Eq. 7
        hidden = linear(w, f"{at}.linear1", p, count).clamp(min=0)
        p = normal(w, f"{at}.norm2", p + linear(w, f"{at}.linear2", hidden, count))
        if f"{at}.norm3.weight" in w:
            p = normal(w, f"{at}.norm3", p + meet(w, f"{at}.self_attn", p + q, p, heads))
        seen.append(torch.stack(alpha))
        i += 1
    return p, seen


def score(w, states, streams, absent, heads, count=None):
    """Score one sample from its shown streams' states, stream -> (K, d)."""
    stages = w[f"decoders.{streams[0]}.queries"].shape[1]
    blocks = []
    for i, m in enumerate(streams):
        if m in states:
            blocks.append(states[m])
        elif absent == "zeros":
            width = w[f"decoders.{m}.layers.0.key.weight"].shape[1]
            nothing = torch.zeros(3, width, dtype=w["absent"].dtype)
            blocks.append(decode(w, f"decoders.{m}", nothing, heads)[0])
        else:
            blocks.append(torch.stack([w["absent"][i]] * stages))
    joined = torch.cat(blocks, 1)  # Eq. 8, (K, M d)
    every = linear(w, "head", joined, count)  # Eq. 9, (K, 1 or K)
    own = [every[k, k if every.shape[1] > 1 else 0] for k in range(stages)]
    share = softmax(w["stage_weights"])
    return sum(share[k] * own[k] for k in range(stages))  # Eq. 10


def lmac(w, features, shown, valid, heads, absent="learned", scale=None, count=None):
    """Scores (B,), and for each sample stream -> α of each layer over its valid clips."""
    streams, scores, looks = list(features), [], []
    for b in range(len(shown)):
        found = {
            m: decode(w, f"decoders.{m}", features[m][b][valid[b]], heads, scale, count)
            for i, m in enumerate(streams)
            if shown[b, i]
        }
        scores.append(
            score(w, {m: p for m, (p, _) in found.items()}, streams, absent, heads, count)
        )
        looks.append({m: alpha for m, (_, alpha) in found.items()})
    return torch.stack(scores), looks


def losses(scores, looks, target, valid, margin, positions="batch", which="last"):
    """The four terms, unweighted: L_score, L_rank, L_sparse, L_cons."""
    batch, length = valid.shape
    pieces = {"rank": {}, "sparse": {}, "consistency": {}}

    def note(term, key, value):
        pieces[term].setdefault(key, []).append(value)

    for b in range(batch):
        clips = torch.nonzero(valid[b])[:, 0] + 1  # numbers from 1
        unit = {"batch": length, "valid": len(clips), "clips": 1}[positions]
        last = (len(clips) if positions == "valid" else length) / unit
        t = clips.to(target.dtype) / unit
        centre = {}
        for m, layers in looks[b].items():
            for i, alpha in enumerate(layers):
                c = centre[m, i] = [(t * a).sum() for a in alpha]
                hinges = [torch.relu(x - y + margin) for x, y in pairwise(c)]
                hinges += [
                    torch.relu(1 / unit - c[0] + margin),
                    torch.relu(c[-1] - last + margin),
                ]
                note("rank", (m, i), sum(hinges))  # Eq. 15
                spread = [((t - x).abs() * a).sum() for x, a in zip(c, alpha, strict=True)]
                note("sparse", (m, i), sum(spread) / len(spread))  # Eq. 16
        streams, depth = list(looks[b]), len(next(iter(looks[b].values())))
        for j, m in enumerate(streams):
            for n in streams[j + 1 :]:
                for i in range(depth) if which == "all" else [depth - 1]:
                    pairs = zip(centre[m, i], centre[n, i], strict=True)
                    note("consistency", (m, n, i), sum((x - y) ** 2 for x, y in pairs))  # Eq. 17
    means = {
        term: sum(sum(values) / len(values) for values in groups.values())
        for term, groups in pieces.items()
    }
    return {"task": ((scores - target) ** 2).mean(), **means}
