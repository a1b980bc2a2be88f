"""Impute, then predict: what the imputation baselines share.

An imputer is fitted once, in closed form, on what the training samples have; it then writes the
features of a stream that is not there from those that are.  The core of the incomplete-data methods
reads observed and imputed streams alike.  In training a random non-empty subset of each sample's
streams is shown and the rest is imputed, so that the network knows what imputed streams look like.

Imputed rows are projected by running statistics: batch norms see observed rows only.  Gradients end
at imputed features; no score is ever used to make them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from aqabench.data.batch import Batch, Split
from aqabench.errors import UsageError
from aqabench.method.base import Task, TorchMethod
from aqabench.nn.fusion import WIDTH, FusionCore, steps_to_read
from aqabench.nn.losses import grade_loss
from aqabench.nn.masks import draw_shown
from aqabench.nn.projection import Projection, on_steps

LEAST_SPREAD = 1e-6
"""Standard deviation below which a channel counts as constant."""


class TrainingVideos:
    """The training part as an imputer may see it: centre windows of what is there."""

    def __init__(self, split: Split, clip_length: int) -> None:
        """Take the n videos, and how many clips a window has."""
        self.ids = split.ids
        self.available = split.available.cpu()  # (n, M) bool
        self._split = split
        start, length = split.cut(torch.arange(len(split)), "centre", clip_length)
        first = split.begin + start
        last = torch.minimum(first + length, split.begin + split.lengths)
        self._windows = list(zip(first.tolist(), last.tolist(), strict=True))

    def windows(self, modality: str) -> Iterator[tuple[int, Tensor]]:
        """Yield row and (L, D) float64 of each video that has the stream, one at a time."""
        column = self._split.modalities.index(modality)
        for row in torch.nonzero(self.available[:, column])[:, 0].tolist():
            yield row, self.window(modality, row)

    def window(self, modality: str, row: int) -> Tensor:
        """Return (L, D) float64, the steps of one video that has the stream."""
        first, last = self._windows[row]
        return self._split.flat[modality][first : last : self._split.stride].cpu().double()


class Imputer(nn.Module):
    """Writes streams that are not there; everything it has learned is in its buffers."""

    def __init__(self, widths: Mapping[str, int]) -> None:
        """Take stream -> D, in the order of every mask."""
        super().__init__()
        self.widths = dict(widths)

    @abstractmethod
    def fit(self, videos: TrainingVideos) -> None:
        """Learn from the training part, by :meth:`keep`."""

    @abstractmethod
    def impute(
        self, wanted: str, given: Mapping[str, Tensor], valid: Tensor, own: Tensor | None
    ) -> Tensor:
        """Write a stream of samples that all have the same others.

        Args:
            wanted: the stream.
            given: the others -> (R, T, D), 0 on padding.
            valid: (R, T) bool.
            own: (R,) rows of the samples in the training part, if they are of it: what was
                learned from a sample itself must not be used for it.

        Returns:
            (R, T, D of ``wanted``); anything on padding.
        """

    def keep(self, name: str, value: Tensor, persistent: bool = True) -> None:
        """Keep what was learned under a name; what only training needs is not persistent."""
        self.register_buffer(name, value, persistent)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        # How much is learned depends on the training part: one that is new takes what there is.
        for name, value in state_dict.items():
            own = name.removeprefix(prefix)
            if name.startswith(prefix) and own not in self._buffers:
                self.keep(own, torch.empty_like(value))
        super()._load_from_state_dict(state_dict, prefix, *rest)


class ImputationNet(FusionCore):
    """The core, and the imputer that feeds it."""

    def __init__(
        self, widths: Mapping[str, int], layers: int, heads: int, dropout: float, imputer: Imputer
    ) -> None:
        """Build the untrained network; ``widths`` by symbol, as the core has them."""
        super().__init__(widths, layers, heads, dropout)
        self.imputer = imputer

    def encode_all(
        self, streams: Mapping[str, Tensor], observed: Mapping[str, Tensor], valid: Tensor
    ) -> dict[str, Tensor]:
        """Encode all streams in one pass of the encoder.

        Args:
            streams: symbol -> (R, T, D), observed or imputed.
            observed: symbol -> (R,) bool, which samples' are observed.
            valid: (R, T) bool.

        Returns:
            Symbol -> (R, T, 256).
        """
        projected = []
        for m, x in streams.items():
            projection = cast(Projection, self.in_proj[m])
            real = observed[m][:, None] & valid  # (R, T)
            imputed = valid & ~real
            ways = ((projection, real), (projection.by_running, imputed))
            parts = [on_steps(way, x, where) for way, where in ways if bool(where.any())]
            projected.append(torch.stack(parts).sum(0))  # (R, T, 256), each 0 where the other is
        keep = steps_to_read(valid.repeat(len(projected), 1))
        encoded = self.encoder(torch.cat(projected), keep).split(len(valid))
        return dict(zip(streams, encoded, strict=True))


class Imputation(TorchMethod):
    """The core on observed and imputed streams; subclasses say by which imputer."""

    @abstractmethod
    def imputer(self) -> Imputer:
        """Return the imputer that the settings ask for, without anything learned."""

    def build(self, task: Task) -> nn.Module:
        """Return the untrained network."""
        return ImputationNet(
            {task.symbols[m]: width for m, width in task.modalities.items()},
            cast(int, self.settings["layers"]),
            cast(int, self.settings["heads"]),
            cast(float, self.settings["dropout"]),
            self.imputer(),
        )

    def prepare(self, train: Split) -> None:
        """Fit the imputer on what the training samples have."""
        net = self._net
        device = net.head.prototype.weight.device
        with torch.no_grad():
            net.imputer.fit(TrainingVideos(train, self.task.clip_length))
        net.imputer.to(device)
        self._rows = {sample: row for row, sample in enumerate(train.ids)}

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Weighted MSE plus the diversity of the grade queries, hidden streams imputed."""
        assert batch.score is not None
        shown = batch.available
        if self.settings["modality_dropout"]:
            shown = draw_shown(shown, generator)
        features = {
            m: _finite(x, shown[:, column, None] & batch.valid)
            for column, (m, x) in enumerate(batch.features.items())
        }
        own = torch.tensor([self._rows[sample] for sample in batch.ids], device=shown.device)
        completed = self._completed(features, shown, batch.valid, own)
        streams = self._net.encode_all(
            {self.task.symbols[m]: x for m, x in completed.items()},
            {self.task.symbols[m]: rows for m, rows in self._columns(shown)},
            batch.valid,
        )
        grades = self._net.grade(streams, steps_to_read(batch.valid))
        task, alpha = (cast(float, self.settings[k]) for k in ("task_weight", "alpha"))
        return grade_loss(grades, batch.score, task, alpha)

    def projections(self) -> Mapping[str, nn.Module]:
        """Return the streams' projections."""
        return {m: self._net.in_proj[self.task.symbols[m]] for m in self.task.modalities}

    def encode(self, modality: str, features: Tensor, valid: Tensor) -> Tensor:
        """Encode one stream and keep it beside: (R, T, 256 + D); others are imputed from it."""
        own = _finite(features, valid)
        return torch.cat([self._encode(modality, features, valid), own], -1)

    def score(self, encoded: Mapping[str, Tensor], available: Tensor, valid: Tensor) -> Tensor:
        """Impute what is missing, encode it, fuse and grade."""
        features = {m: x[..., WIDTH:] for m, x in encoded.items()}
        completed = self._completed(features, available, valid, None)
        streams = {}
        for m, rows in self._columns(available):
            symbol = self.task.symbols[m]
            if m not in encoded:
                streams[symbol] = self._encode(m, completed[m], valid)
            else:
                streams[symbol] = encoded[m][..., :WIDTH]
                if not bool(rows.all()):
                    said = self._encode(m, completed[m][~rows], valid[~rows])
                    streams[symbol] = streams[symbol].index_put((~rows,), said)
        return self._net.grade(streams, steps_to_read(valid)).score

    def whole(self, name: str) -> int:
        """Return a setting that counts something.

        Raises:
            UsageError: it is less than one.
        """
        value = cast(int, self.settings[name])
        if value < 1:
            raise UsageError(
                f"The '{name}' setting of {self.card.name} must be at least 1. Got {value} "
                f"instead. Give more: --set {name}={self.card.settings[name]}"
            )
        return value

    def _completed(
        self,
        features: Mapping[str, Tensor],
        shown: Tensor,
        valid: Tensor,
        own: Tensor | None,
    ) -> dict[str, Tensor]:
        """Return every stream (B, T, D): what is shown, and imputations for the rest.

        Args:
            features: stream -> (B, T, D), finite where shown; without those that no sample shows.
            shown: (B, M) bool.
            valid: (B, T) bool.
            own: (B,) rows in the training part, or None.
        """
        completed = {}
        patterns = shown.cpu().unique(dim=0)  # (S, M)
        # Closed forms in full precision, and nothing to learn in them
        with torch.no_grad(), torch.autocast(valid.device.type, enabled=False):
            for column, (m, width) in enumerate(self.task.modalities.items()):
                x = features.get(m)
                out = valid.new_zeros(*valid.shape, width, dtype=torch.float32)
                if x is not None:
                    out = torch.where(shown[:, column, None, None], x, out)
                for pattern in patterns[~patterns[:, column]]:
                    rows = (shown == pattern.to(shown.device)).all(1)  # (B,)
                    given = {k: features[k][rows] for k, there in self._columns(pattern) if there}
                    left_out = None if own is None else own[rows]
                    out[rows] = self._net.imputer.impute(m, given, valid[rows], left_out)
                completed[m] = out
        return completed

    def _columns(self, mask: Tensor) -> list[tuple[str, Tensor]]:
        """Return each stream with its column (…) of a mask (…, M)."""
        return list(zip(self.task.modalities, mask.unbind(-1), strict=True))

    def _encode(self, modality: str, features: Tensor, valid: Tensor) -> Tensor:
        return self._net.encode(self.task.symbols[modality], features, steps_to_read(valid))

    @property
    def _net(self) -> ImputationNet:
        return cast(ImputationNet, self.net)


def moments(videos: TrainingVideos, modality: str, width: int) -> tuple[Tensor, Tensor]:
    """Return mean and spread (D,) float64 of each channel over all steps that there are.

    Two passes: no difference of large sums.  A channel that does not vary has spread 1, so that
    dividing by it makes nothing large; without any step, means are 0.
    """
    total, steps = torch.zeros(width, dtype=torch.float64), 0
    for _, x in videos.windows(modality):
        total += x.sum(0)
        steps += len(x)
    mean = total / max(steps, 1)
    squares = torch.zeros(width, dtype=torch.float64)
    for _, x in videos.windows(modality):
        squares += (x - mean).square().sum(0)
    spread = (squares / max(steps, 1)).sqrt()
    return mean, torch.where(spread < LEAST_SPREAD, 1.0, spread)


def overlaps(steps: int, bins: int) -> Tensor:
    """Return (bins, steps) float64: the mean over each of equal parts of a sequence's time.

    A step that lies in two parts counts in each by its share; a row sums to 1.
    """
    # in units of 1 / (steps · bins) of the time, in which all borders are whole numbers
    step, part = torch.arange(steps) * bins, torch.arange(bins)[:, None] * steps
    shared = torch.minimum(step + bins, part + steps) - torch.maximum(step, part)
    return shared.clamp_min(0).double() / steps


def courses(bins: int, valid: Tensor) -> Tensor:
    """Return (R, T, bins) float32: interpolate linearly between the middles of equal parts of time.

    Args:
        bins: parts.
        valid: (R, T) bool, False at the end only; time ends where this does.
    """
    length = valid.sum(1, keepdim=True)  # (R, 1)
    middle = (torch.arange(valid.shape[1], device=valid.device) + 0.5) / length * bins - 0.5
    at = middle.clamp(0, bins - 1)[..., None]  # (R, T, 1), in bins
    return (1 - (at - torch.arange(bins, device=valid.device)).abs()).clamp_min(0)


def _finite(x: Tensor, there: Tensor) -> Tensor:
    """Return (B, T, D) with 0 where ``there`` (B, T) is False."""
    return torch.where(there[..., None], x, 0.0)
