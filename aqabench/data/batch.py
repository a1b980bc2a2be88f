"""From a feature set to batches: splits, windows, and the withholding of what is missing.

A :class:`Split` is one class's part of a feature set (the training, validation or test videos).
It hands out batches whose values are ordinary numbers; :func:`withhold` then blanks what a
scenario hides with NaN, so that a method that touches it fails loudly.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import overload

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from aqabench.data.features import FeatureSet
from aqabench.protocol.schema import ClassSpec
from aqabench.protocol.training import Redraw


@dataclass(frozen=True)
class Batch:
    """What a method sees.

    Attributes:
        ids: B sample ids.
        features: modality -> (B, T, D_m) float32; NaN wherever a modality is not available.
        available: (B, M) bool, columns in the order of ``features``; what exists in the sample.
        observed: (B, T, M) bool; what exists at each time step (False on padding).
        valid: (B, T) bool; False on padding added at the end.
        score: (B,) float32, (judge points - low) / (high - low), or None at test time.
        groups: kind -> B labels of who performs (athlete, speaker); empty where unknown.  Only a
            baseline that shows how much identity gives away may read them.
    """

    ids: tuple[str, ...]
    features: dict[str, Tensor]
    available: Tensor
    observed: Tensor
    valid: Tensor
    score: Tensor | None = None
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of samples B."""
        return len(self.ids)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the streams, in the order of the mask columns."""
        return tuple(self.features)

    def take(self, rows: Sequence[int]) -> Batch:
        """Return the batch of the given rows, in the given order."""
        index = torch.as_tensor(list(rows), dtype=torch.long)
        return Batch(
            ids=tuple(self.ids[int(i)] for i in index),
            features={m: x[index] for m, x in self.features.items()},
            available=self.available[index],
            observed=self.observed[index],
            valid=self.valid[index],
            score=None if self.score is None else self.score[index],
            groups={k: tuple(v[int(i)] for i in index) for k, v in self.groups.items()},
        )


def withhold(batch: Batch, available: Tensor) -> Batch:
    """Blank what a scenario hides: NaN in the features, False in both masks.

    Args:
        batch: the batch as it comes from the store.
        available: (B, M) bool; what this scenario shows.  What did not exist stays missing.
    """
    shown = batch.available & available.to(batch.available)
    return replace(
        batch,
        features={
            m: torch.where(shown[:, k, None, None], x, torch.nan)  # (B, T, D)
            for k, (m, x) in enumerate(batch.features.items())
        },
        available=shown,
        observed=batch.observed & shown[:, None, :],
    )


def cover(batch: Batch, observed: Tensor, filling: Mapping[str, Tensor]) -> Batch:
    """Hide steps inside the samples, and put what stands for them.

    Args:
        batch: complete as far as the data are; what does not exist stays NaN.
        observed: (B, T, M) bool, what this scenario shows of each step.
        filling: modality -> (D,) what a hidden step shows, the mean of the training samples.
    """
    shown = batch.observed & observed.to(batch.observed)
    exists = batch.valid[..., None] & batch.available[:, None, :]
    covered = exists & ~shown  # (B, T, M)
    return replace(
        batch,
        features={
            m: torch.where(covered[:, :, k, None], filling[m], x)  # (B, T, D)
            for k, (m, x) in enumerate(batch.features.items())
        },
        observed=shown,
    )


class Split:
    """The videos of one class in one part of the data, ready to be cut into windows."""

    def __init__(
        self,
        data: FeatureSet,
        rows: npt.NDArray[np.int64],
        class_spec: ClassSpec,
        modalities: Sequence[str],
        stride: int = 1,
        exists: npt.NDArray[np.bool_] | None = None,
        redraw: Redraw | None = None,
    ) -> None:
        """Keep views of the arrays; nothing is copied until a window is cut.

        Args:
            data: the feature set.
            rows: (n,) positions of this part's videos.
            class_spec: the score to predict.
            modalities: the streams to hand out, in this order.
            stride: every how-manyth clip is used.
            exists: (n, M) bool, what each video has; None for everything.  What it has not is
                NaN in every batch.
            redraw: draws anew, for each epoch of :meth:`random_batches`, what the videos have.
        """
        self.modalities = tuple(modalities)
        self.widths = {m: int(data.features[m].shape[1]) for m in self.modalities}
        self.ids = tuple(data.ids[int(i)] for i in rows)
        self.groups = {k: tuple(v[rows].tolist()) for k, v in data.groups.items()}  # n labels each
        self.class_spec = class_spec
        self.stride = stride
        low, high = class_spec.bounds
        self.points = data.scores[class_spec.name][rows]  # (n,) judge points
        self.score = torch.from_numpy(((self.points - low) / (high - low)).astype(np.float32))
        self.flat = {m: torch.from_numpy(data.features[m]) for m in self.modalities}
        self.begin = torch.from_numpy(data.offsets[rows])  # (n,)
        self.lengths = torch.from_numpy(data.lengths[rows])  # (n,) clips
        everything = np.ones((len(rows), len(self.modalities)), dtype=bool)
        self.available = torch.from_numpy(everything if exists is None else exists)  # (n, M)
        self._redraw = redraw

    def __len__(self) -> int:
        """Return the number of videos n."""
        return len(self.ids)

    def without_first(self) -> Split:
        """Return the part without the first video of its list, as some published loaders read it.

        They skip a first line that is no header.
        """
        rest = copy.copy(self)
        rest.ids = self.ids[1:]
        rest.groups = {kind: labels[1:] for kind, labels in self.groups.items()}
        rest.points, rest.score = self.points[1:], self.score[1:]
        rest.begin, rest.lengths = self.begin[1:], self.lengths[1:]
        rest.available = self.available[1:]
        return rest

    def to_points(self, normalised: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Turn (…,) normalised predictions into judge points."""
        low, high = self.class_spec.bounds
        return normalised * (high - low) + low

    def random_batches(
        self, batch_size: int, clip_length: int, generator: torch.Generator
    ) -> Iterator[Batch]:
        """Shuffle the videos and cut one random window of each (one epoch).

        Every window can be drawn, the last one included (the published loaders miss it).  The
        last batch may be smaller; one of a single sample joins the batch before it, because
        batch statistics of one sample say nothing.
        """
        order = torch.randperm(len(self), generator=generator)
        available = self.available
        if self._redraw is not None:
            drawn = torch.randint(2**62, (), generator=generator)
            available = torch.from_numpy(self._redraw(len(self), np.random.default_rng(int(drawn))))
        for rows in _chunks(order, batch_size):
            room = (self.lengths[rows] - clip_length).clamp_min(0)  # (B,) last possible start
            draw = torch.rand(len(rows), generator=generator, dtype=torch.float64)
            start = (draw * (room + 1)).long()
            yield self.window(rows, start, clip_length, available[rows], with_score=True)

    def fixed_batches(
        self, window: str, clip_length: int, batch_size: int, packed: bool = False
    ) -> FixedBatches:
        """Cut the same window of every video when a batch is asked for.

        Args:
            window: ``"centre"`` (of ``clip_length`` clips, as MCMoE tests) or ``"full"`` (the
                whole video, as GDLT tests; shorter ones are padded and marked invalid).
            clip_length: clips T.
            batch_size: samples per batch.
            packed: save work where a score depends on its own sample alone: samples of like
                lengths share a batch, which ends with the longest of them and holds more than
                ``batch_size`` if they are short.  Else list order, and centre windows of T.
        """
        if packed:
            short = self.lengths.clamp_max(clip_length) if window == "centre" else self.lengths
            rows = _like_lengths(short, self.stride, batch_size)
        else:
            rows = tuple(torch.arange(len(self)).split(batch_size))  # type: ignore[no-untyped-call]
        return FixedBatches(self, window, clip_length, rows, packed)

    def moments(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return mean and standard deviation of each channel over all clips that exist.

        Returns:
            Two mappings, modality -> (D,); zeros for a modality that no video has.
        """
        means, spreads = {}, {}
        for k, (m, flat) in enumerate(self.flat.items()):
            total = torch.zeros(2, flat.shape[1], dtype=torch.float64)
            count = 0
            for i in torch.nonzero(self.available[:, k])[:, 0].tolist():
                begin, length = int(self.begin[i]), int(self.lengths[i])
                x = flat[begin : begin + length].double()  # (L, D)
                total += torch.stack([x.sum(0), x.square().sum(0)])
                count += length
            mean, square = total / max(count, 1)
            means[m] = mean.float()
            spreads[m] = (square - mean.square()).clamp_min(0).sqrt().float()
        return means, spreads

    def cut(self, rows: Tensor, window: str, clip_length: int) -> tuple[Tensor, int]:
        """Return where the fixed windows of some videos begin (B,), and their clips."""
        if window == "centre":
            return (self.lengths[rows] - clip_length).clamp_min(0) // 2, clip_length
        return torch.zeros(len(rows), dtype=torch.long), int(self.lengths[rows].max())

    def steps_of(self, rows: Tensor, start: Tensor, clip_length: int) -> tuple[Tensor, Tensor]:
        """Return (B, T) the clip within the video of each step, and whether it exists."""
        steps = torch.arange(0, clip_length, self.stride)  # (T,)
        at = start[:, None] + steps[None, :]
        return at, at < self.lengths[rows, None]

    def window(
        self, rows: Tensor, start: Tensor, clip_length: int, available: Tensor, with_score: bool
    ) -> Batch:
        """Cut the windows of some videos that begin at the given clips (B,)."""
        at, valid = self.steps_of(rows, start, clip_length)
        index = (self.begin[rows, None] + torch.where(valid, at, 0)).reshape(-1)
        padded, lacking = not bool(valid.all()), (~available).any(0).tolist()
        score = self.score[rows] if with_score else None
        device = next(iter(self.flat.values())).device
        index, valid, available = (x.to(device) for x in (index, valid, available))
        features = {}
        for k, (m, flat) in enumerate(self.flat.items()):
            x = flat.index_select(0, index).view(*valid.shape, -1).float()  # (B, T, D)
            if padded:
                x.masked_fill_(~valid[..., None], 0.0)
            if lacking[k]:
                x.masked_fill_(~available[:, k, None, None], torch.nan)
            features[m] = x
        return Batch(
            ids=tuple(self.ids[int(i)] for i in rows),
            features=features,
            available=available,
            observed=valid[:, :, None] & available[:, None, :],
            valid=valid,
            score=None if score is None else score.to(device),
            groups={k: tuple(v[int(i)] for i in rows) for k, v in self.groups.items()},
        )


@dataclass(frozen=True)
class FixedBatches(Sequence[Batch]):
    """The fixed windows of a part, each batch cut anew when it is asked for.

    Cutting is cheap beside scoring, and the windows of 250 whole videos would be a gigabyte.

    Attributes:
        split: the part.
        window: as in :meth:`Split.fixed_batches`.
        clip_length: as there.
        rows: of each batch, (B,) positions in the part.
        packed: as there.
    """

    split: Split
    window: str
    clip_length: int
    rows: tuple[Tensor, ...]
    packed: bool

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Batch: ...

    @overload
    def __getitem__(self, index: slice) -> list[Batch]: ...

    def __getitem__(self, index: int | slice) -> Batch | list[Batch]:
        """Cut one batch, or several."""
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        rows = self.rows[index]
        start, length = self._cut(rows)
        available = self.split.available[rows]
        return self.split.window(rows, start, length, available, with_score=False)

    def steps(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return (B, T) the clip within the video of each step of a batch, and if it exists."""
        return self.split.steps_of(rows, *self._cut(rows))

    def observed(self, table: Tensor) -> Iterator[Tensor]:
        """Yield what a time table shows of each batch.

        Args:
            table: (sum of lengths, M) bool, the videos in list order.

        Yields:
            (B, T, M) bool; False on padding.
        """
        lengths = self.split.lengths
        begin = torch.cumsum(lengths, 0) - lengths  # (n,)
        for rows in self.rows:
            at, valid = self.steps(rows)
            yield table[begin[rows, None] + torch.where(valid, at, 0)] & valid[..., None]

    def _cut(self, rows: Tensor) -> tuple[Tensor, int]:
        start, length = self.split.cut(rows, self.window, self.clip_length)
        if self.packed:
            length = min(length, int(self.split.lengths[rows].max()))
        return start, length


STEPS_TO_FILL = 1024
"""Short samples share a batch up to so many steps: small matrix products waste a processor."""


def _like_lengths(lengths: Tensor, stride: int, batch_size: int) -> tuple[Tensor, ...]:
    """Return the rows of batches of samples of like lengths (n,), the shortest first."""
    order = torch.argsort(lengths, stable=True)
    steps = (-(-lengths[order] // stride)).tolist()  # (n,) ascending
    batches, first = [], 0
    for last in range(1, len(steps) + 1):
        # one sample more would be too many
        if last == len(steps) or (last - first + 1) * steps[last] > max(
            STEPS_TO_FILL, batch_size * steps[last]
        ):
            batches.append(order[first:last])
            first = last
    return tuple(batches)


def keep_resident(splits: Iterable[Split], device: torch.device) -> None:
    """Move the features of splits to a device, where their batches are then cut.

    What several splits of a feature set share is moved once.
    """
    moved: dict[tuple[int, torch.Size], Tensor] = {}
    for split in splits:
        for m, flat in split.flat.items():
            key = flat.data_ptr(), flat.shape
            if key not in moved:
                moved[key] = flat.to(device)
            split.flat[m] = moved[key]


def _chunks(order: Tensor, size: int) -> list[Tensor]:
    chunks = list(torch.split(order, size))
    if len(chunks) > 1 and len(chunks[-1]) == 1:
        chunks[-2:] = [torch.cat(chunks[-2:])]
    return chunks
