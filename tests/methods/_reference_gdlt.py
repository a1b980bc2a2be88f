"""GDLT written out a second time: slow, from the equations, on a plain state dict.

Shared by the MCMoE reference.  It imports nothing of the package, uses no ``nn`` layer, loops over
heads, and knows only the state dict's names.
"""

from __future__ import annotations

import math

import torch

EPS = 1e-5


def normal_batch(w, key, x, training=False):
    """BatchNorm over all axes but the last of (N, T, C); updates ``w`` in training."""
    if training:
        flat = x.reshape(-1, x.shape[-1])
        count = len(flat)
        mean = flat.sum(0) / count
        var = ((flat - mean) ** 2).sum(0) / count
        with torch.no_grad():
            unbiased = var * count / (count - 1)
            w[f"{key}.running_mean"] = 0.9 * w[f"{key}.running_mean"] + 0.1 * mean
            w[f"{key}.running_var"] = 0.9 * w[f"{key}.running_var"] + 0.1 * unbiased
            w[f"{key}.num_batches_tracked"] = w[f"{key}.num_batches_tracked"] + 1
    else:
        mean, var = w[f"{key}.running_mean"], w[f"{key}.running_var"]
    return (x - mean) / torch.sqrt(var + EPS) * w[f"{key}.weight"] + w[f"{key}.bias"]


def normal_layer(w, key, x):
    mean = x.mean(-1, keepdim=True)
    var = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(var + EPS) * w[f"{key}.weight"] + w[f"{key}.bias"]


def point(w, key, x):
    """1×1 convolution of (N, T, C)."""
    return torch.einsum("ntc,oc->nto", x, w[f"{key}.weight"][:, :, 0]) + w[f"{key}.bias"]


def linear(w, key, x):
    return torch.einsum("...c,oc->...o", x, w[f"{key}.weight"]) + w[f"{key}.bias"]


def stack(w, key, x, training=False):
    x = normal_batch(w, f"{key}.1", point(w, f"{key}.0", x), training)
    return normal_batch(w, f"{key}.4", point(w, f"{key}.3", x.clamp(min=0)), training)


def attention(w, key, query, context, heads):
    width = query.shape[-1]
    size = width // heads
    weight, bias = w[f"{key}.in_proj_weight"], w[f"{key}.in_proj_bias"]
    q = torch.einsum("bqc,oc->bqo", query, weight[:width]) + bias[:width]
    k = torch.einsum("bkc,oc->bko", context, weight[width : 2 * width]) + bias[width : 2 * width]
    v = torch.einsum("bkc,oc->bko", context, weight[2 * width :]) + bias[2 * width :]
    parts = []
    for h in range(heads):
        at = slice(h * size, (h + 1) * size)
        logits = torch.einsum("bqc,bkc->bqk", q[..., at], k[..., at]) / math.sqrt(size)
        share = torch.exp(logits - logits.max(-1, keepdim=True).values)
        share = share / share.sum(-1, keepdim=True)
        parts.append(torch.einsum("bqk,bkc->bqc", share, v[..., at]))
    return linear(w, f"{key}.out_proj", torch.cat(parts, -1))


def feed_forward(w, key, x):
    return linear(w, f"{key}.linear2", linear(w, f"{key}.linear1", x).clamp(min=0))


def encoder(w, x, layers, heads):
    for i in range(layers):
        key = f"transformer.encoder.layers.{i}"
        x = normal_layer(w, f"{key}.norm1", x + attention(w, f"{key}.self_attn", x, x, heads))
        x = normal_layer(w, f"{key}.norm2", x + feed_forward(w, key, x))
    return normal_layer(w, "transformer.encoder.norm", x)


def decoder(w, z, memory, layers, heads):
    for i in range(layers):
        key = f"transformer.decoder.layers.{i}"
        z = normal_layer(w, f"{key}.norm1", z + attention(w, f"{key}.self_attn", z, z, heads))
        z = z + attention(w, f"{key}.multihead_attn", z, memory, heads)
        z = normal_layer(w, f"{key}.norm2", z)
        z = normal_layer(w, f"{key}.norm3", z + feed_forward(w, key, z))
    return normal_layer(w, "transformer.decoder.norm", z)


def grade(w, z):
    """Return (B,) from decoded queries (B, K, d)."""
    head = linear(w, "regressor", z)  # (B, K, K)
    count = head.shape[-1]
    votes = 1 / (1 + torch.exp(-torch.stack([head[:, k, k] for k in range(count)], -1)))
    values = torch.tensor([k / (count - 1) for k in range(count)], dtype=z.dtype)
    return (votes / votes.sum(-1, keepdim=True) * values).sum(-1)


def triplet(z, margin=1.0):
    """Batch-hard triplet with cosine distance, anchor by anchor."""
    batch, count, _ = z.shape
    vectors = [
        (k, z[b, k] / torch.sqrt((z[b, k] ** 2).sum())) for b in range(batch) for k in range(count)
    ]
    total = z.new_zeros(())
    for i, (label, anchor) in enumerate(vectors):
        pull = [1 - (anchor * x).sum() for j, (k, x) in enumerate(vectors) if k == label and j != i]
        push = [1 - (anchor * x).sum() for k, x in vectors if k != label]
        farthest = torch.stack(pull).max() if pull else z.new_zeros(())
        total = total + (farthest - torch.stack(push).min() + margin).clamp(min=0)
    return total / len(vectors)


def gdlt(w, video, decoder_layers=2, training=False):
    """Return scores (B,) and decoded queries (B, K, d)."""
    h = encoder(w, stack(w, "in_proj", video, training), 1, 1)
    queries = torch.stack([w["prototype.weight"]] * len(video))
    z = decoder(w, queries, h, decoder_layers, 1)
    return grade(w, z), z


def random_transformer(shape, encoder_layers, decoder_layers):
    """Official names and shapes of the Transformer; ``shape`` is filled in place."""

    def attend(key):
        shape[f"{key}.in_proj_weight"] = (768, 256)
        shape[f"{key}.in_proj_bias"] = (768,)
        shape[f"{key}.out_proj.weight"] = (256, 256)
        shape[f"{key}.out_proj.bias"] = (256,)

    def rest(key, norms):
        shape[f"{key}.linear1.weight"], shape[f"{key}.linear1.bias"] = (768, 256), (768,)
        shape[f"{key}.linear2.weight"], shape[f"{key}.linear2.bias"] = (256, 768), (256,)
        for n in range(1, norms + 1):
            shape[f"{key}.norm{n}.weight"] = shape[f"{key}.norm{n}.bias"] = (256,)

    for i in range(encoder_layers):
        attend(f"transformer.encoder.layers.{i}.self_attn")
        rest(f"transformer.encoder.layers.{i}", 2)
    for i in range(decoder_layers):
        attend(f"transformer.decoder.layers.{i}.self_attn")
        attend(f"transformer.decoder.layers.{i}.multihead_attn")
        rest(f"transformer.decoder.layers.{i}", 3)
    for part in ("encoder", "decoder"):
        shape[f"transformer.{part}.norm.weight"] = shape[f"transformer.{part}.norm.bias"] = (256,)


def stack_shapes(shape, key, width, hidden, out=256, kernel=1):
    """Names and shapes of conv, norm, (activation), conv, norm."""
    shape[f"{key}.0.weight"], shape[f"{key}.0.bias"] = (hidden, width, kernel), (hidden,)
    shape[f"{key}.3.weight"], shape[f"{key}.3.bias"] = (out, hidden, 1), (out,)
    for index, size in ((1, hidden), (4, out)):
        for name in ("weight", "bias", "running_mean", "running_var"):
            shape[f"{key}.{index}.{name}"] = (size,)
        shape[f"{key}.{index}.num_batches_tracked"] = ()


def fill(shape, seed):
    """Random values at a trained network's scale, with statistics that matter."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for key, size in shape.items():
        draw = torch.randn(size, generator=generator)
        fan_in = math.prod(size[1:]) if len(size) > 1 else 1
        if key.endswith("num_batches_tracked"):
            weights[key] = torch.tensor(7)
        elif key.endswith("running_var"):
            weights[key] = 0.2 + draw**2
        elif key.endswith("running_mean") or key == "prototype.weight":
            weights[key] = draw * (1.0 if key == "prototype.weight" else 0.3)
        elif len(size) == 1 and key.endswith("weight"):
            weights[key] = 1 + 0.2 * draw
        elif key.endswith("bias"):
            weights[key] = 0.1 * draw
        else:
            weights[key] = draw * 1.5 / math.sqrt(fan_in)
    return weights


def random_gdlt(seed, width=1024, decoder_layers=2):
    """An official-shaped state dict with random values."""
    shape = {}
    stack_shapes(shape, "in_proj", width, width // 2)
    random_transformer(shape, 1, decoder_layers)
    shape["prototype.weight"], shape["regressor.weight"] = (4, 256), (4, 256)
    shape["regressor.bias"] = (4,)
    return fill(shape, seed)
