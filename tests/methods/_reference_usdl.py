"""Score-distribution learning written out a second time: slow, from the equations, in numpy."""

from __future__ import annotations

import math

import numpy as np


def random_head(seed, width=1024, bins=101, prefix=""):
    """An official-shaped state dict of one evaluator with random values, as float32 arrays."""
    rng = np.random.default_rng(seed)
    sizes = (width, 256, 128, bins)
    weights = {}
    for i in range(3):
        draw = rng.normal(size=(sizes[i + 1], sizes[i])) * 2 / math.sqrt(sizes[i])
        weights[f"{prefix}layer{i + 1}.weight"] = draw.astype(np.float32)
        weights[f"{prefix}layer{i + 1}.bias"] = rng.normal(size=sizes[i + 1]).astype(np.float32)
    return weights


def distribution(weights, x, prefix=""):
    """Return the probability of each bin for one vector."""
    x = np.asarray(x, np.float64)
    for i in (1, 2, 3):
        x = weights[f"{prefix}layer{i}.weight"] @ x + weights[f"{prefix}layer{i}.bias"]
        if i < 3:
            x = np.where(x > 0, x, 0)
    votes = np.exp(x - x.max())
    return votes / votes.sum()


def target(score, bins, sigma):
    """Return the normalised Gaussian around a score in [0, 1]."""
    heights = [math.exp(-((k / (bins - 1) - score) ** 2) / (2 * sigma**2)) for k in range(bins)]
    return np.array(heights) / sum(heights)


def divergence(wanted, said):
    """Return Σ t (log t − log p) over bins."""
    return sum(t * (math.log(t) - math.log(p)) for t, p in zip(wanted, said, strict=True) if t > 0)
