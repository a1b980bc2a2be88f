"""Streams that are there but wrong: what a damage does to the features of a part.

The laws and tables are in :mod:`aqabench.protocol.noise_laws`.  Everything is defined on the clips
of whole videos and on standardised features, z = (x - mean) / spread; windows and strides are cut
afterwards, so that a clip is damaged alike in every window.  No mask says so: masks are left as
they are, and so is every stream that is not damaged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from aqabench.data.batch import FixedBatches, Split
from aqabench.errors import DataError, UsageError
from aqabench.protocol.noise_laws import Damage, changes_nothing, normal_noise


@dataclass(frozen=True)
class Moments:
    """What features are standardised by, from the training clips.

    Attributes:
        mean: modality -> (D,) float32.
        spread: modality -> (D,) float32, standard deviations.
    """

    mean: Mapping[str, Tensor]
    spread: Mapping[str, Tensor]


def damaged_batches(
    damage: Damage, moments: Moments, batches: FixedBatches
) -> Iterator[dict[str, Tensor]]:
    """Yield the damaged streams of each batch.

    Args:
        damage: drawn for the ids of the batches' split, in its order.
        moments: of the damaged modalities.
        batches: of the part; what a sample does not have stays NaN.

    Yields:
        Damaged modality -> (B, T, D) float32; 0 on padding.

    Raises:
        DataError: A swap where a sample lacks a stream: nobody could say what it should show.
        UsageError: The damage is of other samples or modalities.
    """
    split = batches.split
    _check(split, damage)
    for rows, batch in zip(batches.rows, batches, strict=True):
        if changes_nothing(damage.kind, damage.level):
            yield {m: batch.features[m] for m in damage.tables}
            continue
        at, valid = batches.steps(rows)  # (B, T) both
        damaged = {}
        for m in damage.tables:
            if damage.kind in ("gauss", "channels", "scale"):
                x = _revalued(split, damage, moments, m, rows, at, batch.features[m])
            else:
                x = _retimed(split, damage, m, rows, at)
            x.masked_fill_(~valid[..., None].to(x.device), 0.0)
            x[~split.available[rows, split.modalities.index(m)].to(x.device)] = torch.nan
            damaged[m] = x  # (B, T, D)
        yield damaged


def _revalued(
    split: Split,
    damage: Damage,
    moments: Moments,
    modality: str,
    rows: Tensor,
    at: Tensor,
    x: Tensor,
) -> Tensor:
    """Return (B, T, D), new, other values for the clips ``at`` (B, T) that show ``x`` (B, T, D)."""
    table, mean = damage.tables[modality], moments.mean[modality]
    if damage.kind == "scale":
        return mean + damage.level * (x - mean)
    if damage.kind == "channels":
        kept = torch.from_numpy(table)[rows, None].to(x.device)  # (B, 1, D)
        return torch.where(kept, x, mean)
    noise = torch.empty(x.shape)
    for i, row in enumerate(rows.tolist()):
        length = int(split.lengths[row])
        drawn = torch.from_numpy(normal_noise(int(table[row]), length * x.shape[2]))
        shown = at[i].clamp_max(length - 1)  # (T,)
        torch.index_select(drawn.view(length, -1), 0, shown, out=noise[i])  # (T, D)
    return noise.to(x.device).mul_(damage.level * moments.spread[modality]).add_(x)


def _retimed(split: Split, damage: Damage, modality: str, rows: Tensor, at: Tensor) -> Tensor:
    """Return (B, T, D), new, what other clips than ``at`` (B, T), or another sample, show."""
    own = torch.from_numpy(damage.tables[modality])[rows]
    if damage.kind == "swap":
        rows = own  # (B,)
    elif damage.kind == "shift":
        at = (at - own[:, None]).clamp_min(0)
    else:
        begin, count = own[:, :1], own[:, 1:]  # (B, 1) both
        at = torch.where((at >= begin) & (at < begin + count), begin - 1, at)
    clip = torch.minimum(at, split.lengths[rows, None] - 1)
    flat = split.flat[modality]
    return flat[(split.begin[rows, None] + clip).to(flat.device)].float()


def _check(split: Split, damage: Damage) -> None:
    unknown = [m for m in damage.tables if m not in split.modalities]
    sizes = {len(table) for table in damage.tables.values()} - {len(split)}
    if unknown or sizes:
        raise UsageError(
            f"the damage '{damage.kind}' of {sorted(sizes) or len(split)} samples of"
            f" {', '.join(damage.tables)} does not fit {len(split)} samples of"
            f" {', '.join(split.modalities)}: draw it for the ids and modalities of the part"
        )
    if damage.kind == "swap" and not bool(split.available.all()):
        raise DataError(
            "the damage 'swap' is defined for parts in which every sample has every stream, and"
            " here some are missing: use it with 'training: complete'"
        )
