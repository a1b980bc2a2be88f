"""What a person wants to know of a data set before training on it, as plain numbers.

Scores, lengths, groups and folds are counted over all samples; the statistics of a stream over as
many as make ``VALUES`` values, taken evenly from the list.  Says what is there; refuses to judge
it, except that samples which never change in time, or are there twice, are named.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd

from aqabench.data.features import FeatureSet
from aqabench.protocol.schema import DatasetSpec

VALUES = 2**23
"""Values of a stream that its statistics are taken from."""
FEWEST, MOST = 8, 1000
"""Samples that they are taken from, however wide or narrow the stream is."""
STILL = 1e-10
"""Variance up to which a channel counts as one that never changes."""
ROUND_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Spread:
    """A distribution in eight numbers, in the unit of its values."""

    count: int
    mean: float
    sd: float
    low: float
    quarter: float
    median: float
    three_quarters: float
    high: float


@dataclass(frozen=True)
class StreamSummary:
    """One modality.

    Attributes:
        name: of the stream.
        width: D.
        dtype: as stored.
        used: samples that the numbers below are from.
        mean: of all values.
        sd: of all values.
        negative: share of values below zero.
        autocorrelation: from one clip to the next inside a sample; median channel.
        between: share of a channel's variance that lies between samples; median channel.
        still: channels that never change.
    """

    name: str
    width: int
    dtype: str
    used: int
    mean: float
    sd: float
    negative: float
    autocorrelation: float
    between: float
    still: int


@dataclass(frozen=True)
class ScoreSummary:
    """The scores of one class in one split."""

    class_name: str
    split: str
    spread: Spread


@dataclass(frozen=True)
class Correlation:
    """Spearman between two classes over the ``count`` samples that have both scores."""

    first: str
    second: str
    count: int
    value: float


@dataclass(frozen=True)
class GroupSummary:
    """Labels of one kind.

    Attributes:
        kind: athlete, speaker, …
        labels: how many different ones.
        unlabelled: samples without one.
        largest: the label that most samples have.
        size: how many have it.
        shared: test samples whose label a training sample of the same class has too.
        test: test samples.
    """

    kind: str
    labels: int
    unlabelled: int
    largest: str
    size: int
    shared: int
    test: int


@dataclass(frozen=True)
class FoldSummary:
    """Published folds: their sizes, samples in none, and which groups no two of them share."""

    name: str
    sizes: tuple[int, ...]
    outside: int
    whole: tuple[str, ...]


@dataclass(frozen=True)
class Oddities:
    """Samples that deserve a look.

    Attributes:
        constant: stream -> ids of samples of several clips that are all the same.
        alike: ids of samples that are the same in every stream.
        alike_in: stream -> ids of moving samples that are the same in it, but not in every stream.
    """

    constant: Mapping[str, tuple[str, ...]]
    alike: tuple[tuple[str, ...], ...]
    alike_in: Mapping[str, tuple[tuple[str, ...], ...]]


@dataclass(frozen=True)
class DatasetSummary:
    """Everything ``aqabench data show`` says in numbers; parts in the order they are shown."""

    samples: int
    streams: tuple[StreamSummary, ...]
    lengths: Spread
    windowed: int
    """Samples longer than the training window."""
    scores: tuple[ScoreSummary, ...]
    correlations: tuple[Correlation, ...]
    groups: tuple[GroupSummary, ...]
    folds: tuple[FoldSummary, ...]
    oddities: Oddities


def summarise(data: FeatureSet, spec: DatasetSpec) -> DatasetSummary:
    """Return the numbers of a data set; reads about ``VALUES`` values of each stream."""
    return DatasetSummary(
        samples=len(data.ids),
        streams=tuple(
            stream_summary(data, m.name) for m in spec.modalities if m.name in data.features
        ),
        lengths=spread(data.lengths.astype(np.float64)),
        windowed=int((data.lengths > spec.clip_length).sum()),
        scores=tuple(_scores(data, spec)),
        correlations=tuple(_correlations(data, spec)),
        groups=tuple(_group(data, kind) for kind in data.groups),
        folds=tuple(_fold(data, name) for name in data.folds),
        oddities=oddities(data),
    )


def spread(values: npt.NDArray[np.floating]) -> Spread:
    """Return the eight numbers of (n,) values, n > 0; the standard deviation has n - 1 below."""
    sd = float(values.std(ddof=1)) if values.size > 1 else 0.0
    low, quarter, median, three, high = np.quantile(values, [0, 0.25, 0.5, 0.75, 1]).tolist()
    return Spread(values.size, float(values.mean()), sd, low, quarter, median, three, high)


def round_edges(values: npt.NDArray[np.number], most: int) -> Vector:
    """Return (bins + 1,) edges of at most ``most`` equal bins that begin and end at round numbers.

    The width is 1, 2, 2.5 or 5 times a power of ten, and whole for whole numbers.  A value on an
    edge belongs to the bin above it, the highest one to the last.
    """
    low, high = float(values.min()), float(values.max())
    whole = bool(values.dtype.kind in "iu")
    wanted = max((high - low) / most, 1.0 if whole else 1e-9 * max(abs(low), abs(high), 1.0))
    power = 10.0 ** np.floor(np.log10(wanted))
    for step in [power * s for s in ROUND_STEPS] + [power * 10 * s for s in ROUND_STEPS]:
        first, last = np.floor(round(low / step, 9)), np.ceil(round(high / step, 9))
        bins = int(max(last - first + (whole and high / step == last), 1))
        if bins <= most and not (whole and step % 1):
            break
    edges: Vector = np.round((first + np.arange(bins + 1)) * step, 12)
    return edges


def score_edges(data: FeatureSet, class_name: str, most: int) -> Vector:
    """Return bin edges for the scores of a class, the same for training and test."""
    scores = data.scores[class_name]
    return round_edges(scores[np.isfinite(scores)], most)


def stream_summary(data: FeatureSet, modality: str) -> StreamSummary:
    """Return what a stream's values are like.

    A channel's share between samples is the clip-weighted variance of the samples' means over the
    variance of all clips; its autocorrelation is that of what moves about the samples' means.
    """
    array = data.features[modality]
    count = len(data.ids)
    per_sample = max(1.0, array.size / count)
    used = min(count, MOST, max(FEWEST, int(VALUES / per_sample)))
    rows = np.linspace(0, count - 1, used).round().astype(np.int64)
    width = array.shape[1]
    total, square, product, moved, of_means = (np.zeros(width) for _ in range(5))
    clips = negative = 0
    for row in rows:
        video = data.video(int(row), modality).astype(np.float32)  # (T, D)
        mean = video.mean(0, dtype=np.float64)
        moving = video - mean.astype(np.float32)
        clips += len(video)
        negative += int((video < 0).sum())
        total += mean * len(video)
        of_means += mean**2 * len(video)
        inside = np.einsum("td,td->d", moving, moving, dtype=np.float64)
        square += inside
        if len(video) > 1:
            moved += inside / len(video)
            lagged = np.einsum("td,td->d", moving[1:], moving[:-1], dtype=np.float64)
            product += lagged / (len(video) - 1)
    centre = total / clips
    between = np.maximum(of_means / clips - centre**2, 0.0)
    variance = between + square / clips
    alive, moves = variance > STILL, moved > STILL
    return StreamSummary(
        name=modality,
        width=width,
        dtype=str(array.dtype),
        used=used,
        mean=float(centre.mean()),
        sd=float(np.sqrt(variance.mean() + centre.var())),
        negative=negative / (clips * width),
        autocorrelation=_median(product[moves] / moved[moves]),
        between=_median(between[alive] / variance[alive]),
        still=int((~alive).sum()),
    )


def spearman_matrix(data: FeatureSet, spec: DatasetSpec) -> Vector:
    """Return (C, C) Spearman between classes, each over the samples that have both scores.

    NaN where fewer than three do, or a class has one score only.  By pandas, because loading
    scipy would take longer than everything else here.
    """
    table = pd.DataFrame({c.name: data.scores[c.name] for c in spec.classes})
    return table.corr(method="spearman", min_periods=3).to_numpy()


def oddities(data: FeatureSet) -> Oddities:
    """Find samples that do not change in time, and samples with identical features."""
    videos = {m: _videos(data, m) for m in data.features}
    same = {m: _first_alike(own) for m, own in videos.items()}  # stream -> (N,)
    constant = {m: [r for r, v in enumerate(own) if _constant(v)] for m, own in videos.items()}
    every = list(zip(*(first.tolist() for first in same.values()), strict=True))
    alike_in = {}
    for modality, first in same.items():
        found = _classes(first.tolist(), set(constant[modality]))
        # of samples that are the same in every stream, told already, one stands for all
        stand = [list({every[row]: row for row in reversed(rows)}.values())[::-1] for rows in found]
        alike_in[modality] = tuple(_ids(data, rows) for rows in stand if len(rows) > 1)
    return Oddities(
        constant={m: _ids(data, rows) for m, rows in constant.items() if rows},
        alike=tuple(_ids(data, rows) for rows in _classes(every, set())),
        alike_in={m: found for m, found in alike_in.items() if found},
    )


def _scores(data: FeatureSet, spec: DatasetSpec) -> Iterator[ScoreSummary]:
    for class_spec in spec.classes:
        for split in ("train", "test"):
            rows = data.rows(class_spec.name, split)
            if rows.size:
                found = spread(data.scores[class_spec.name][rows])
                yield ScoreSummary(class_spec.name, split, found)


def _correlations(data: FeatureSet, spec: DatasetSpec) -> Iterator[Correlation]:
    matrix = spearman_matrix(data, spec)
    for (i, first), (j, second) in combinations(enumerate(c.name for c in spec.classes), 2):
        both = np.isfinite(data.scores[first]) & np.isfinite(data.scores[second])
        if np.isfinite(matrix[i, j]):
            yield Correlation(first, second, int(both.sum()), float(matrix[i, j]))


def _group(data: FeatureSet, kind: str) -> GroupSummary:
    labels = data.groups[kind]
    names, sizes = np.unique(labels[labels != ""], return_counts=True)
    shared = np.zeros(len(labels), dtype=bool)
    for class_name in data.scores:
        train, test = data.rows(class_name, "train"), data.rows(class_name, "test")
        shared[test] |= np.isin(labels[test], labels[train]) & (labels[test] != "")
    return GroupSummary(
        kind=kind,
        labels=len(names),
        unlabelled=int((labels == "").sum()),
        largest=str(names[sizes.argmax()]) if len(names) else "",
        size=int(sizes.max()) if len(names) else 0,
        shared=int(shared.sum()),
        test=int((data.split == "test").sum()),
    )


def _fold(data: FeatureSet, name: str) -> FoldSummary:
    number = data.folds[name]
    inside = number >= 0
    whole = []
    for kind, labels in data.groups.items():
        known = inside & (labels != "")
        pairs = set(zip(labels[known].tolist(), number[known].tolist(), strict=True))
        if pairs and len(pairs) == len({label for label, _ in pairs}):
            whole.append(kind)
    sizes = tuple(np.bincount(number[inside]).tolist())
    return FoldSummary(name, sizes, int((~inside).sum()), tuple(whole))


def _videos(data: FeatureSet, modality: str) -> list[npt.NDArray[np.floating]]:
    """Return the (T, D) clips of every sample; views without the mapping's slow indexing."""
    return np.split(np.asarray(data.features[modality]), data.offsets[1:-1])


def _first_alike(videos: list[npt.NDArray[np.floating]]) -> npt.NDArray[np.int64]:
    """Return (N,) the first sample with the same clips, which is the sample itself as a rule.

    Only samples that agree in length and in three of their clips are read whole.
    """
    first = np.arange(len(videos))
    near: dict[tuple[int, bytes], list[int]] = {}
    for row, video in enumerate(videos):
        ends = video[[0, len(video) // 2, -1]].tobytes()
        near.setdefault((len(video), ends), []).append(row)
    for rows in near.values():
        if len(rows) > 1:
            seen: dict[bytes, int] = {}
            for row in rows:
                first[row] = seen.setdefault(hashlib.sha256(videos[row].data).digest(), row)
    return first


def _constant(video: npt.NDArray[np.floating]) -> bool:
    if len(video) < 2 or (video[0] != video[len(video) // 2]).any():
        return False
    return bool((video == video[0]).all())


def _classes(first: Sequence[object], leave_out: set[int]) -> list[list[int]]:
    """Return the rows that have the same entry, where there are several."""
    members: dict[object, list[int]] = {}
    for row, mark in enumerate(first):
        if row not in leave_out:
            members.setdefault(mark, []).append(row)
    return [rows for rows in members.values() if len(rows) > 1]


def _ids(data: FeatureSet, rows: list[int]) -> tuple[str, ...]:
    return tuple(data.ids[row] for row in rows)


def _median(values: Vector) -> float:
    return float(np.median(values)) if values.size else float("nan")
