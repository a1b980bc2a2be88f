"""MCMoE written out a second time: slow, from the equations, on a plain state dict.

The published network with every published behaviour; one mask for the whole batch, sequences in
full length, every expert called on every stream.  Nothing of the package is imported.
"""

from __future__ import annotations

import math

import torch

from tests.methods._reference_gdlt import (
    attention,
    decoder,
    encoder,
    fill,
    grade,
    linear,
    normal_batch,
    point,
    random_transformer,
    stack,
    stack_shapes,
    triplet,
)

NAMES = "vaf"


def gelu(x):
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def expert(w, e, x, training):
    """k=3 convolution as three shifted products, norm, GELU, 1×1 convolution, norm."""
    key = f"experts.{e}"
    zero = torch.zeros_like(x[:, :1])
    before = torch.cat([zero, x[:, :-1]], 1)
    after = torch.cat([x[:, 1:], zero], 1)
    y = w[f"{key}.0.bias"]
    for tap, shifted in enumerate((before, x, after)):
        y = y + torch.einsum("ntc,oc->nto", shifted, w[f"{key}.0.weight"][:, :, tap])
    y = gelu(normal_batch(w, f"{key}.1", y, training))
    return normal_batch(w, f"{key}.4", point(w, f"{key}.3", y), training)


def softmax(x):
    x = torch.exp(x - x.max(-1, keepdim=True).values)
    return x / x.sum(-1, keepdim=True)


def generate(w, m, context, steps):
    x = torch.zeros(len(context), steps, 256, dtype=context.dtype)
    for i in range(2):
        x = attention(w, f"generators.{m}.cross_attn.{i}", x, context, 4)
    summary = torch.cat([x.mean(1), context.mean(1)], -1)
    gate = 1 / (1 + torch.exp(-linear(w, f"generators.{m}.gate.0", summary)))
    return gate[:, None] * x


def route(w, x):
    return softmax(linear(w, "router_mix.fc2", gelu(linear(w, "router_mix.fc1", x))))


def finish(w, h, mask, places, training):
    """From encoded streams to scores; ``h`` is read only where the mask is 1."""
    steps = next(x for x in h.values() if x is not None).shape[1]
    context = torch.cat([h[m] for m, there in zip(NAMES, mask, strict=True) if there], 1)
    streams, made, mixed = {}, {}, {}
    for m, there in zip(NAMES, mask, strict=True):
        if not there:
            made[m] = generate(w, m, context, steps)
        streams[m] = h[m] if there else made[m]
    for m in NAMES:
        share = route(w, streams[m])
        views = [expert(w, e, streams[m], training) for e in NAMES]
        mixed[m] = sum(share[..., i, None] * view for i, view in enumerate(views))
    memory = stack(w, "fusion", torch.cat([mixed[m] for m in NAMES], -1), training)
    code = w["pos_encoder.pe"][:, 0]
    queries = torch.stack([w["prototype.weight"] + code[p] for p in places])
    z = decoder(w, queries, memory, 3, 2)
    return grade(w, z), z, made, mixed


def encode(w, m, x, training=False):
    return encoder(w, stack(w, f"in_proj.{m}", x, training), 3, 2)


def predict(w, features, mask, places=None):
    """Published evaluation: absent streams are never touched."""
    h = {
        m: encode(w, m, features[m]) if there else None
        for m, there in zip(NAMES, mask, strict=True)
    }
    places = range(len(features["v"])) if places is None else places
    return finish(w, h, mask, places, False)[0]


def train(w, features, score, mask, alpha=1.0):
    """Published training loss, dropout 0, as a dictionary; moves running statistics in ``w``."""
    h = {m: encode(w, m, features[m], True) for m in NAMES}
    y, z, made, mixed = finish(w, h, mask, range(len(score)), True)
    loss = {"task": 10 * ((y - score) ** 2).mean(), "diversity": alpha * triplet(z)}
    loss["reconstruction"] = sum(((made[m] - h[m]) ** 2).mean() for m in made)
    loss["alignment"] = 0
    for m in NAMES:
        p, q = softmax(expert(w, m, h[m], True)), softmax(mixed[m])
        loss["alignment"] = loss["alignment"] + (p * (torch.log(p) - torch.log(q))).mean()
    loss["total"] = sum(loss.values())
    return loss


def sinusoid():
    """The (136, 1, 256) table: sines in even channels, cosines in odd ones."""
    table = torch.zeros(136, 1, 256)
    for position in range(136):
        for i in range(128):
            angle = position / 10000 ** (2 * i / 256)
            table[position, 0, 2 * i], table[position, 0, 2 * i + 1] = (
                math.sin(angle),
                math.cos(angle),
            )
    return table


def random_mcmoe(seed, video_width=1024):
    """An official-shaped state dict (230 tensors) with random values."""
    shape = {}
    for m, width in zip(NAMES, (video_width, 768, 1024), strict=True):
        stack_shapes(shape, f"in_proj.{m}", width, width // 2)
        stack_shapes(shape, f"experts.{m}", 256, 128, kernel=3)
        for i in range(2):
            key = f"generators.{m}.cross_attn.{i}"
            shape[f"{key}.in_proj_weight"], shape[f"{key}.in_proj_bias"] = (768, 256), (768,)
            shape[f"{key}.out_proj.weight"], shape[f"{key}.out_proj.bias"] = (256, 256), (256,)
        shape[f"generators.{m}.gate.0.weight"] = (256, 512)
        shape[f"generators.{m}.gate.0.bias"] = (256,)
    shape["router_mix.fc1.weight"], shape["router_mix.fc1.bias"] = (128, 256), (128,)
    shape["router_mix.fc2.weight"], shape["router_mix.fc2.bias"] = (3, 128), (3,)
    random_transformer(shape, 3, 3)
    stack_shapes(shape, "fusion", 768, 512)
    shape["prototype.weight"], shape["regressor.weight"] = (4, 256), (4, 256)
    shape["regressor.bias"] = (4,)
    return fill(shape, seed) | {"pos_encoder.pe": sinusoid()}
