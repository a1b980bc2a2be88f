"""Contrastive regression written out a second time: slow, from the equations, in numpy.

It imports nothing of the package and knows only the official state dict's names: nodes are visited
one at a time, pairs too.
"""

from __future__ import annotations

import math

import numpy as np


def random_tree(seed, width=2049, hidden=256, depth=5):
    """An official-shaped state dict of the regressor with random values, as float32 arrays."""
    rng = np.random.default_rng(seed)
    shapes = {"first_layer.0": (hidden, width)}
    for level in range(depth - 1):
        nodes = 2**level
        shapes[f"feature_layers.{level}.0"] = (2 * hidden * nodes, hidden, 1)
        shapes[f"clf_layers.{level}"] = (2 * nodes, hidden, 1)
    shapes["reg_layer"] = (2 ** (depth - 1), hidden, 1)
    weights = {}
    for name, shape in shapes.items():
        weights[f"{name}.weight"] = rng.normal(size=shape) * 1.5 / math.sqrt(shape[1])
        weights[f"{name}.bias"] = 0.3 * rng.normal(size=shape[0])
    return {k: v.astype(np.float32) for k, v in weights.items()}


def tree(weights, pair, depth=5):
    """Return log-probabilities and offsets, (leaves,) each, of one pair (width,)."""
    w = weights
    pair = np.asarray(pair, np.float64)
    hidden = len(w["first_layer.0.bias"])

    def node(name, index, outputs, x):
        rows = slice(index * outputs, (index + 1) * outputs)
        return w[f"{name}.weight"][rows, :, 0] @ x + w[f"{name}.bias"][rows]

    log_probability, offset = [], []

    def visit(level, index, x, path):
        if level == depth - 1:
            log_probability.append(path)
            offset.append(node("reg_layer", index, 1, x)[0])
            return
        branch = node(f"clf_layers.{level}", index, 2, x)
        grown = np.maximum(node(f"feature_layers.{level}.0", index, 2 * hidden, x), 0)
        total = math.log(math.exp(branch[0]) + math.exp(branch[1]))
        for side in (0, 1):
            child = grown[side * hidden : (side + 1) * hidden]
            visit(level + 1, 2 * index + side, child, path + branch[side] - total)

    first = w["first_layer.0.weight"] @ pair + w["first_layer.0.bias"]
    visit(0, 0, np.maximum(first, 0), 0.0)
    return np.array(log_probability), np.array(offset)


def intervals(scores, leaves=16, theta=1.0):
    """Return [(l, r), …], ascending, from all pairs of training scores."""
    apart = sorted(abs(a - b) for i, a in enumerate(scores) for b in scores[:i])
    half = leaves // 2
    upper = [0.0] + [apart[k * len(apart) // half] for k in range(1, half)] + [theta]
    positive = [(upper[k], upper[k + 1]) for k in range(half)]
    return [(-r, -low) for low, r in reversed(positive)] + positive


def place(difference, groups):
    """Return the leaf that holds a difference, and where in it."""
    for leaf, (low, high) in enumerate(groups):
        if low <= difference < high if difference >= 0 else low < difference <= high:
            return leaf, (difference - low) / (high - low)
    raise AssertionError(difference)


def loss(said, differences, groups):
    """Return both terms, pair by pair and leaf by leaf; ``said`` has one (log p, o) per pair."""
    placed = [place(d, groups) for d in differences]
    leaf = -sum(p[k] for (p, _), (k, _) in zip(said, placed, strict=True)) / len(said)
    offset = 0.0
    for wanted in range(len(groups)):
        errors = [
            (o[k] - at) ** 2 for (_, o), (k, at) in zip(said, placed, strict=True) if k == wanted
        ]
        offset += sum(errors) / len(errors) if errors else 0.0
    return leaf, offset


def score(said, known, groups, expectation=False):
    """Return the mean over exemplars of the known score plus the decoded difference."""
    total = 0.0
    for (p, o), exemplar in zip(said, known, strict=True):
        each = [low + (high - low) * o[k] for k, (low, high) in enumerate(groups)]
        share = np.exp(p) if expectation else np.eye(len(p))[np.argmax(p)]
        total += exemplar + float(share @ each)
    return total / len(known)
