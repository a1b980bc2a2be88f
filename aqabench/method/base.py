"""Who answers: the interface that every method and baseline has.

A method gets data, a budget and seeds; it never sees a protocol, a file or a test score.  Simple
methods implement :class:`Method`; networks implement :class:`TorchMethod` and are trained by the
shared loop.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn

from aqabench.data.batch import Batch, Split, withhold
from aqabench.method.card import MethodCard, Setting
from aqabench.seeds import seed
from aqabench.train.context import FitContext, Progress
from aqabench.train.loop import train_network

__all__ = ["FitContext", "Method", "Progress", "Task", "TorchMethod"]


@dataclass(frozen=True)
class Task:
    """What a method may know of the question.

    Attributes:
        dataset: name of the data set, for published settings only.
        class_name: the score to predict.
        modalities: stream -> width D.
        symbols: stream -> short form.
        clip_length: clips T of a training window, before the stride.
        stride: every how-manyth clip is used.
    """

    dataset: str
    class_name: str
    modalities: Mapping[str, int]
    symbols: Mapping[str, str]
    clip_length: int
    stride: int = 1


_BATCH_CHECKS = frozenset({"alone_equals_batch", "order_cannot_matter", "padding_cannot_matter"})


class Method(ABC):
    """Anything that can learn scores from batches and predict them with modalities missing.

    The constructor stores settings and does no work; a second ``fit`` forgets the first.
    """

    card: ClassVar[MethodCard]
    test_window: str = "centre"
    """``"centre"``: the middle T clips at test; ``"full"``: the whole video."""

    def __init__(self, task: Task, settings: Mapping[str, Setting] | None = None) -> None:
        """Store the task and the settings (the card's, where none are given)."""
        self.task = task
        self.settings = self.card.resolve(task.dataset, task.class_name, {}) | dict(settings or {})

    @property
    def batch_matters(self) -> bool:
        """Does a score depend on padding, or on the other samples of its batch?

        Some published code does, which the card admits as opt-outs; override where a setting
        decides.  Where nothing does, samples of like lengths are scored together, which is faster.
        """
        return not _BATCH_CHECKS.isdisjoint(self.card.opt_outs)

    @abstractmethod
    def fit(self, train: Split, context: FitContext) -> None:
        """Learn from the training part; call ``context.look`` when the method may be scored."""

    @abstractmethod
    def predict(self, batch: Batch) -> Tensor:
        """Return (B,) normalised scores.  Missing values in the batch are NaN: use the masks."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Return everything learned, as tensors."""

    @abstractmethod
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Become the method whose :meth:`state` this was."""

    def parameters(self) -> int:
        """Return how many numbers are learned."""
        return sum(x.numel() for x in self.state().values())

    def predict_scenarios(self, batch: Batch, available: Tensor) -> Tensor:
        """Return (S, B) scores under S scenarios; override to share work between them.

        Args:
            batch: complete as far as the data are.
            available: (S, B, M) bool, what each scenario shows.
        """
        return torch.stack([self.predict(withhold(batch, shown)) for shown in available])

    def predict_corrupted(
        self, batch: Batch, versions: Iterable[tuple[Mapping[str, Tensor], Tensor]]
    ) -> Tensor:
        """Return (S, B) scores of spoilt streams; override to share work between them.

        Args:
            batch: as it is.
            versions: spoilt streams, modality -> (B, T, D), with (s, M) bool: for each of s
                scenarios, which streams it takes from there.
        """
        scores = []
        for streams, chosen in versions:
            for row in chosen:
                mixed = mix_streams(batch.features, streams, self.task, row)
                scores.append(self.predict(replace(batch, features=mixed)))
        return torch.stack(scores)


class TorchMethod(Method):
    """A network trained by the shared loop.

    A network is split where knowledge of one modality ends: :meth:`encode` sees one stream at a
    time and only samples that have it; :meth:`score` sees the encodings.  The seven subsets of a
    test then need each encoding once, and nothing can leak from a withheld stream.
    """

    net: nn.Module

    @abstractmethod
    def build(self, task: Task) -> nn.Module:
        """Return the untrained network."""

    @abstractmethod
    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return named loss terms, whose sum is minimised; ``generator`` draws training masks.

        Samples may lack streams.  No terms at all means that the batch has nothing to learn from.
        """

    def projections(self) -> Mapping[str, nn.Module]:
        """Return stream -> the module that only this stream owns, for aqabench-MLI; or nothing."""
        return {}

    @abstractmethod
    def encode(self, modality: str, features: Tensor, valid: Tensor) -> Tensor:
        """Encode one stream of samples that have it.

        Args:
            modality: which stream.
            features: (R, T, D).
            valid: (R, T) bool, False on padding.

        Returns:
            (R, …) anything :meth:`score` understands.
        """

    @abstractmethod
    def score(self, encoded: Mapping[str, Tensor], available: Tensor, valid: Tensor) -> Tensor:
        """Return (B,) normalised scores.

        Args:
            encoded: stream -> (B, …); NaN in rows where the stream is not available.  A stream
                that no sample of the batch has may be absent.
            available: (B, M) bool in the order of ``task.modalities``.
            valid: (B, T) bool.
        """

    def score_subsets(
        self, encoded: Mapping[str, Tensor], subsets: Tensor, valid: Tensor
    ) -> Tensor:
        """Return (S, B) scores for S subsets, each shown to every sample; override to share work.

        Args:
            encoded: stream -> (B, …), complete.
            subsets: (S, M) bool.
            valid: (B, T) bool.
        """
        scores = []
        for subset in subsets:
            shown = {m: e for m, e in encoded.items() if subset[self._column(m)]}
            scores.append(self.score(shown, subset.expand(len(valid), -1), valid))
        return torch.stack(scores)

    def fit(self, train: Split, context: FitContext) -> None:
        """Build the network from the seed, prepare it, and let it :meth:`learn`."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed(context.seed, use="weights"))
            self.net = self.build(self.task).to(context.device)
        self.prepare(train)
        self.learn(train, context)

    def learn(self, train: Split, context: FitContext) -> None:
        """Train the network with the shared loop; override to train in stages."""
        train_network(self, train, context)

    def prepare(self, train: Split) -> None:
        """Set what the untrained network takes from the training data, e.g. a mean score."""

    def predict(self, batch: Batch) -> Tensor:
        """Encode the rows that have each stream, then score."""
        self.net.eval()
        with torch.inference_mode():
            encoded = self.encode_rows(batch, batch.available)
            return self.score(encoded, batch.available, batch.valid)

    def predict_scenarios(self, batch: Batch, available: Tensor) -> Tensor:
        """Encode each stream once for all scenarios."""
        self.net.eval()
        shown = available & batch.available  # (S, B, M)
        with torch.inference_mode():
            encoded = self.encode_rows(batch, shown.any(0))
            if bool((shown == shown[:, :1]).all()) and bool(batch.available.all()):
                return self.score_subsets(encoded, shown[:, 0], batch.valid)
            scores = []
            for mask in shown:
                rows = {m: _blank(e, mask[:, self._column(m)]) for m, e in encoded.items()}
                scores.append(self.score(rows, mask, batch.valid))
            return torch.stack(scores)

    def predict_corrupted(
        self, batch: Batch, versions: Iterable[tuple[Mapping[str, Tensor], Tensor]]
    ) -> Tensor:
        """Encode each stream once as it is, and once for each way in which it is spoilt."""
        self.net.eval()
        scores = []
        with torch.inference_mode():
            clean = self.encode_rows(batch, batch.available)
            for streams, chosen in versions:
                spoilt = self.encode_rows(replace(batch, features=dict(streams)), batch.available)
                for row in chosen:
                    mixed = mix_streams(clean, spoilt, self.task, row)
                    scores.append(self.score(mixed, batch.available, batch.valid))
        return torch.stack(scores)

    def state(self) -> dict[str, Tensor]:
        """Return the network's state dict."""
        return {k: v.detach().clone() for k, v in self.net.state_dict().items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Build the network and load the weights."""
        self.net = self.build(self.task)
        self.net.load_state_dict(dict(state))

    def parameters(self) -> int:
        """Return the number of trainable parameters."""
        return sum(p.numel() for p in self.net.parameters() if p.requires_grad)

    def _column(self, modality: str) -> int:
        return list(self.task.modalities).index(modality)

    def encode_rows(self, batch: Batch, wanted: Tensor) -> dict[str, Tensor]:
        """Encode each stream of the samples that are wanted to show it.

        Args:
            batch: the batch.
            wanted: (B, M) bool, at most what is available.

        Returns:
            Stream -> (B, …), NaN in rows that are not wanted; without streams that no row wants.
        """
        encoded: dict[str, Tensor] = {}
        for m in batch.features:
            rows = wanted[:, self._column(m)]
            if bool(rows.all()):
                encoded[m] = self.encode(m, batch.features[m], batch.valid)
            elif bool(rows.any()):
                part = self.encode(m, batch.features[m][rows], batch.valid[rows])
                full = part.new_full((len(batch), *part.shape[1:]), float("nan"))
                full[rows] = part
                encoded[m] = full
        return encoded


X = TypeVar("X")


def mix_streams(
    clean: Mapping[str, X], spoilt: Mapping[str, X], task: Task, chosen: Tensor
) -> dict[str, X]:
    """Return what a corrupted scenario shows: the ``chosen`` (M,) streams spoilt, others clean."""
    taken = {m for m, take in zip(task.modalities, chosen.tolist(), strict=True) if take}
    return {m: spoilt[m] if m in taken else x for m, x in clean.items()}


def _blank(encoded: Tensor, rows: Tensor) -> Tensor:
    shape = (-1, *(1,) * (encoded.dim() - 1))
    return torch.where(rows.view(shape), encoded, torch.nan)
