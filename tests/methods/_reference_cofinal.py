"""CoFInAl written out a second time, sample by sample, on a plain state dict.

The backbone is the second writing of GDLT.  It imports nothing of the package.
"""

from __future__ import annotations

import torch

from tests.methods import _reference_gdlt as gdlt

OMEGA = {
    0: ([0, 1 / 3, 2 / 3, 1], [1, 2 / 3, 1 / 3, 0]),
    1: ([0.25, 0.5, 0.75, 1], [1, 0.75, 0.5, 0.25]),
    2: ([0.1, 0.2, 0.8, 1], [1, 1, -1, -1]),
    3: ([-1, -0.8, 0.8, 1], [1, 0.8, -0.8, -1]),
}


def coarse(w, key, z, omega):
    """One coarse head, of decoded queries (K, d) of a single sample."""
    votes = []
    for k in range(4):
        answer = (w[f"{key}.weight"][k] * z[k]).sum() + w[f"{key}.bias"][k]
        votes.append(1 / (1 + torch.exp(-answer)))
    return sum(v * o for v, o in zip(votes, omega, strict=True)) / sum(votes)


def fine(w, z, mixed):
    """(B, 100) of (B, K, d): attention within a sample, or over the samples for each query."""
    if mixed:
        rows = [gdlt.attention(w, "regi.0", z[:, k][None], z[:, k][None], 4)[0] for k in range(4)]
        attended = torch.stack(rows, 1)
    else:
        attended = torch.cat([gdlt.attention(w, "regi.0", x[None], x[None], 4) for x in z])
    out = []
    for x in attended:
        hidden = gdlt.linear(w, "regressori.0.1", torch.cat(list(x)))
        found = gdlt.linear(w, "regressori.0.2", hidden)
        out.append(found / torch.sqrt((found**2).sum()))
    return torch.stack(out)


def cofinal(w, video, values=3, mixed=True, whole_batch=True, training=False):
    """Return scores (B,), decoded queries and the three heads' answers."""
    h = gdlt.encoder(w, gdlt.stack(w, "in_proj", video, training), 1, 1)
    z = gdlt.decoder(w, torch.stack([w["prototype.weight"]] * len(video)), h, 2, 1)
    first, second = OMEGA[values]
    s = torch.stack([coarse(w, "regressor", x, first) for x in z])
    r = torch.stack([coarse(w, "regressor_revert", x, second) for x in z])
    f = fine(w, z, mixed)
    match = torch.stack([torch.stack([(x * e).sum() for e in w["etf_vec1"].T]) for x in f])
    flat = match.flatten().tolist()
    classes = [flat.index(max(flat))] * len(s) if whole_batch else match.argmax(1).tolist()
    score = torch.stack([(a + 1 - b) / 2 + c / 1e4 for a, b, c in zip(s, r, classes, strict=True)])
    return score, z, (s, r, f)


def loss(w, answers, z, score, alpha, own_labels):
    """The four terms of a training step."""
    s, r, f = answers
    total = alpha * (hard_margin(z) if own_labels else gdlt.triplet(z))
    for i, y in enumerate(score.tolist()):
        n = round(1e4 * y)
        target = (n // 100) / 100
        total = total + ((s[i] - target) ** 2 + (r[i] - 1 + target) ** 2) / len(score)
        total = total + (f[i] - w["etf_vec1"][:, n % 100]).abs().sum() / (100 * len(score))
    return total


def hard_margin(z):
    """The triplet term when every vector has a label of its own: only the nearest counts."""
    vectors = [x / torch.sqrt((x**2).sum()) for sample in z for x in sample]
    total = 0
    for i, a in enumerate(vectors):
        nearest = torch.stack([1 - (a * b).sum() for j, b in enumerate(vectors) if j != i]).min()
        total = total + (1 - nearest).clamp(min=0)
    return total / len(vectors)


def random_cofinal(seed, width=1024):
    """An official-shaped state dict with random values."""
    weights = gdlt.random_gdlt(seed, width)
    shape = {"regressor_revert.weight": (4, 256), "regressor_revert.bias": (4,)}
    shape |= {"regressori.0.1.weight": (256, 1024), "regressori.0.1.bias": (256,)}
    shape |= {"regressori.0.2.weight": (100, 256), "regressori.0.2.bias": (100,)}
    shape |= {"regi.0.in_proj_weight": (768, 256), "regi.0.in_proj_bias": (768,)}
    shape |= {"regi.0.out_proj.weight": (256, 256), "regi.0.out_proj.bias": (256,)}
    frame = torch.linalg.qr(torch.randn(100, 100, generator=torch.Generator().manual_seed(seed)))[0]
    frame = (100 / 99) ** 0.5 * frame @ (torch.eye(100) - 0.01)
    return weights | gdlt.fill(shape, seed + 1) | {"etf_vec1": frame}
