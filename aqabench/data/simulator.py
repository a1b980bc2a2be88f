"""The embedded default: data sets with the shapes and laws of the real ones, and a known signal.

What it is for: finding out whether a method learns, recovers a missing modality, or lives on an
athlete's identity, on a machine without any data.  What it refuses: any claim about real skating.
Every set says ``simulated`` in its kind, its ids and its source.

How a video comes about: an athlete and a performance have latent qualities; judges turn them into
scores by the laws of the published labels; each modality shows them with its own error, beside a
style that all modalities share, the athlete's identity, and things of its own.  Inside a video
features wander with the memory of real ones, and a few element clips show quality that a mean over
the video hardly sees.  Targets, tolerances and measured values: ``docs/simulator.md``.

Equal specification, seed, machine and numpy give equal bits.  On another machine a matrix product
may end in other last bits, so that a rounded feature or score may differ by one step; the digest
names the recipe and stays the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection
from dataclasses import asdict
from functools import partial

import numpy as np
import numpy.typing as npt

from aqabench.data._simulation_laws import FEATURES, law_for
from aqabench.data._simulation_scores import ScoreTable, draw_scores, stream, unrelated
from aqabench.data.features import FeatureSet
from aqabench.data.splits import grouped_folds
from aqabench.protocol.schema import DatasetSpec, ModalitySpec

__all__ = ["SIMULATOR_VERSION", "simulate", "simulated_groups", "simulation_digest"]

SIMULATOR_VERSION = 1
"""Rises with any change that changes a number."""

Keep = Callable[
    [str, tuple[int, int], Callable[[], npt.NDArray[np.float16]]], npt.NDArray[np.floating]
]
"""Takes a modality, the shape of its features and what makes them; returns the features."""

_BLOCK = 32
"""Videos made at once: bounds memory; fixed, because it orders the random numbers."""

Singles = npt.NDArray[np.float32]


def simulation_digest(spec: DatasetSpec, seed: int, *, group_effects: bool = True) -> str:
    """Return the digest of what :func:`simulate` would make, without making it."""
    recipe = {
        "simulator": SIMULATOR_VERSION,
        "seed": seed,
        "group_effects": group_effects,
        "dataset": spec.name,
        "modalities": [[m.name, m.width] for m in spec.modalities],
        "classes": [[c.name, *c.bounds, c.train, c.test] for c in spec.classes],
        "same_videos": spec.same_videos,
        "clip_length": spec.clip_length,
        "law": asdict(law_for(spec)),
        "features": asdict(FEATURES),
        "block": _BLOCK,
    }
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()


def simulated_groups(spec: DatasetSpec) -> tuple[str]:
    """Return the kind of group that the simulator has labels for."""
    return (spec.groups[0] if spec.groups else "athlete",)


def simulate(
    spec: DatasetSpec,
    *,
    seed: int = 0,
    group_effects: bool = True,
    modalities: Collection[str] | None = None,
    keep: Keep = lambda modality, shape, make: make(),
) -> FeatureSet:
    """Make a simulated data set.

    Args:
        spec: the data set to imitate; Fis-V, RG and FS1000 have laws of their own, any other gets
            a generic one.
        seed: chooses the data; methods' seeds are another matter.
        group_effects: do athletes have a level and a look that show in several videos?  Without,
            every video is its own athlete and ``groups`` is empty.  With, the data set's first
            kind of group is simulated; others, such as the event, are not.
        modalities: streams to make; all by default.  Each has numbers of its own, whatever else
            is made.
        keep: returns a stream's features, either by calling what it is given or from a cache.

    Returns:
        Features in float16, all training videos first.
    """
    table = draw_scores(spec, law_for(spec), seed=seed, groups=group_effects)
    count, clips = len(table.split), int(table.lengths.sum())
    width = max(4, len(str(count)))
    names = [f"g{index + 1:0{width}d}" for index in range(int(table.athlete.max()) + 1)]
    performer = np.array(names)[table.athlete]
    (kind,) = simulated_groups(spec)
    folds = stream(spec, seed, "folds")
    return FeatureSet(
        dataset=spec.name,
        kind="simulated",
        digest=simulation_digest(spec, seed, group_effects=group_effects),
        ids=tuple(f"sim-{index + 1:0{width}d}" for index in range(count)),
        offsets=np.concatenate([[0], np.cumsum(table.lengths)]).astype(np.int64),
        features={
            m.name: keep(m.name, (clips, m.width), partial(_features, spec, m, table, seed))
            for m in spec.modalities
            if modalities is None or m.name in modalities
        },
        scores=dict(table.scores),
        split=table.split,
        groups={kind: performer} if group_effects else {},
        folds={name: grouped_folds(performer.tolist(), k, folds) for name, k in spec.folds.items()},
        source=f"simulated {spec.title} (simulator {SIMULATOR_VERSION}, seed {seed}); not real",
    )


def _features(
    spec: DatasetSpec, modality: ModalitySpec, table: ScoreTable, seed: int
) -> npt.NDArray[np.float16]:
    """Return the (total clips, D) features of one modality, video block by video block."""
    law, own = law_for(spec).streams[modality.name], FEATURES
    rng = stream(spec, seed, modality.name)
    depth = modality.width
    loadings, gate, burst = _directions(spec, modality, seed)
    centre = _centres(spec, modality, table, seed, rng)  # (N, D)
    memory = np.linspace(*own.memory, own.directions, dtype=np.float32)
    slip = unrelated(rng.standard_normal((len(centre), 1)), table)[:, 0]
    shown = law.bursts * table.quality[:, 0] + np.sqrt(1 - law.bursts**2) * slip
    liveliness = own.amplitude_sd * rng.standard_normal(len(centre), dtype=np.float32)
    amplitude = np.exp(liveliness - np.float32(own.amplitude_sd**2))  # its mean square is 1
    features = np.empty((int(table.lengths.sum()), depth), dtype=np.float16)
    done = 0
    for first in range(0, len(centre), _BLOCK):
        rows = slice(first, first + _BLOCK)
        lengths = table.lengths[rows]
        walks = _wander(rng, lengths, memory)  # (clips, K)
        walks *= np.repeat(amplitude[rows], lengths)[:, None]
        block = walks @ loadings  # (clips, D)
        block += np.repeat(centre[rows], lengths, axis=0)
        if law.bursts:
            clips, video = _elements(rng, lengths)
            amount = shown[rows][video].astype(np.float32)[:, None]
            block[clips] += gate + amount * burst
        if law.nonnegative:
            np.maximum(block, 0.0, out=block)
        features[done : done + len(block)] = block
        done += len(block)
    return features


def _directions(
    spec: DatasetSpec, modality: ModalitySpec, seed: int
) -> tuple[Singles, Singles, Singles]:
    """Return what is constant over the data set: loadings (K, D), gate (D,) and burst (D,).

    The loadings carry the movement inside a video; gate is the step that tells an element clip
    from others, burst the step that a unit of shown quality adds in it.
    """
    own, depth = FEATURES, modality.width
    rng = stream(spec, seed, modality.name, "directions")
    loadings = _rows(rng, own.directions, depth)
    loadings *= _root_spectrum(own.directions, own.decay, own.within * depth)
    # Against features of any width an element stands out as much as against 1024.
    gate, burst = _rows(rng, 2, depth) * np.float32(np.sqrt(depth / 1024))
    return loadings, np.float32(own.gate) * gate, np.float32(own.burst) * burst


def _centres(
    spec: DatasetSpec,
    modality: ModalitySpec,
    table: ScoreTable,
    seed: int,
    rng: np.random.Generator,
) -> Singles:
    """Return (N, D) what is constant over a video: offset, quality, style, identity, own things."""
    law, own = law_for(spec), FEATURES
    view = law.streams[modality.name]
    count, depth, columns = len(table.split), modality.width, table.quality.shape[1]
    variance = own.between * depth
    parts = []  # (N, k) with the variance of each column
    error_root = np.linalg.cholesky(
        np.corrcoef(table.quality.T).reshape(columns, columns) + 1e-9 * np.eye(columns)
    ).T
    common = stream(spec, seed, "common").standard_normal((count, columns))
    error = (
        np.sqrt(law.common_noise) * common
        + np.sqrt(1 - law.common_noise) * rng.standard_normal((count, columns))
    ) @ error_root
    error = unrelated(error, table)
    clarity = np.array([view.clarity[min(k, len(view.clarity) - 1)] for k in range(columns)])
    seen = clarity * table.quality + np.sqrt(1 - clarity**2) * error
    parts.append(seen * np.sqrt(own.signal * variance / columns))
    shared = stream(spec, seed, "style").standard_normal((count, own.style_rank))
    looks = stream(spec, seed, "looks").standard_normal((count, own.athlete_rank))[table.athlete]
    private = rng.standard_normal((count, own.private_rank))
    rest = 1 - own.signal - own.style - own.athlete
    for values, share in ((shared, own.style), (looks, own.athlete), (private, rest)):
        rank = values.shape[1]
        parts.append(values * _root_spectrum(rank, own.private_decay, share * variance)[:, 0])
    latent = np.concatenate(parts, axis=1).astype(np.float32)  # (N, K)
    offset_sd = own.rectified_offset_sd if view.nonnegative else own.offset_sd
    offset = offset_sd * rng.standard_normal(depth, dtype=np.float32)
    centre: Singles = latent @ _rows(rng, latent.shape[1], depth) + offset
    return centre


def _rows(rng: np.random.Generator, count: int, depth: int) -> Singles:
    """Return (count, D) random directions of length about 1."""
    return rng.standard_normal((count, depth), dtype=np.float32) / np.float32(np.sqrt(depth))


def _root_spectrum(rank: int, decay: float, total: float) -> Singles:
    """Return (rank, 1) standard deviations whose squares fall as a power and sum to ``total``."""
    power = np.arange(1, rank + 1) ** -decay
    root: Singles = np.sqrt(total * power / power.sum()).astype(np.float32)[:, None]
    return root


def _wander(rng: np.random.Generator, lengths: npt.NDArray[np.int64], memory: Singles) -> Singles:
    """Return (clips, K) stationary first-order autoregressions of unit variance, one a video."""
    longest = int(lengths.max())
    steps = rng.standard_normal((longest, len(lengths), len(memory)), dtype=np.float32)
    steps[1:] *= np.sqrt(1 - memory**2)
    for clip in range(1, longest):
        steps[clip] += memory * steps[clip - 1]
    kept = np.arange(longest)[None, :] < lengths[:, None]  # (videos, longest)
    walks: Singles = steps.transpose(1, 0, 2)[kept]
    return walks


def _elements(
    rng: np.random.Generator, lengths: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the clips of a block that belong to an element, and the video each lies in.

    A programme has one element in each of its equal parts, at a random place of it.
    """
    begins = np.concatenate([[0], np.cumsum(lengths)])
    clips, videos = [], []
    for video, length in enumerate(lengths):
        elements = max(1, round(length / FEATURES.clips_per_element))
        part = length / elements
        first = (np.arange(elements) + 0.1 + 0.6 * rng.random(elements)) * part
        spread = first.astype(np.int64)[:, None] + np.arange(FEATURES.element_clips)
        inside = np.unique(np.minimum(spread, length - 1))
        clips.append(begins[video] + inside)
        videos.append(np.full(len(inside), video))
    return np.concatenate(clips), np.concatenate(videos)
