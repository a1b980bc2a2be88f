"""Methods that read one stream only, and what they do when that stream is missing."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from aqabench.data.batch import Batch, Split
from aqabench.errors import UsageError
from aqabench.method.base import TorchMethod


class SingleStreamMethod(TorchMethod):
    """A network on one stream, which the setting named by the card's ``stream_setting`` chooses.

    Without its stream it can only say the mean training score, which ranks nothing: Spearman is
    undefined there, and the board shows a dash.
    """

    @property
    def stream(self) -> str:
        """The stream that is read; the task's first one where the setting is empty.

        Raises:
            UsageError: the task has no such stream.
        """
        key, streams = self.card.stream_setting, list(self.task.modalities)
        named = str(self.settings[key]) or streams[0]
        if named not in streams:
            raise UsageError(
                f"Method {self.card.name} reads the stream '{named}', but {self.task.dataset} has "
                f"{', '.join(streams)}. Choose one: --set {key}={streams[0]}"
            )
        return named

    @abstractmethod
    def grade(self, memory: Tensor, valid: Tensor) -> Tensor:
        """Return (R,) normalised scores from encodings (R, T, d) and valid steps (R, T)."""

    def prepare(self, train: Split) -> None:
        """Keep the mean training score with the weights."""
        self.net.get_buffer("fallback").copy_(train.score.mean())

    def encode(self, modality: str, features: Tensor, valid: Tensor) -> Tensor:
        """Encode the stream; another one is only marked as there."""
        if modality != self.stream:
            return features.new_zeros(len(features), 1)
        encoded: Tensor = self.net.encode(features, valid)  # type: ignore[operator]
        return encoded

    def score(self, encoded: Mapping[str, Tensor], available: Tensor, valid: Tensor) -> Tensor:
        """Score where the stream is available, else return the mean training score."""
        rows = available[:, self._column(self.stream)]
        scores = self.net.get_buffer("fallback").repeat(len(rows))
        if bool(rows.any()):
            scores[rows] = self.grade(encoded[self.stream][rows], valid[rows])
        return scores

    def score_subsets(
        self, encoded: Mapping[str, Tensor], subsets: Tensor, valid: Tensor
    ) -> Tensor:
        """Score once: it is the same in every subset that has the stream."""
        having = subsets[:, self._column(self.stream)]  # (S,)
        scores = self.net.get_buffer("fallback").repeat(len(subsets), len(valid))
        if bool(having.any()):
            scores[having] = self.grade(encoded[self.stream], valid)
        return scores

    def seen(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor] | None:
        """Return features (R, T, D), valid (R, T) and scores (R,) of samples with the stream.

        None where no sample of the batch has it: there is nothing to learn then.
        """
        rows = batch.available[:, self._column(self.stream)]
        if not bool(rows.any()):
            return None
        assert batch.score is not None
        return batch.features[self.stream][rows], batch.valid[rows], batch.score[rows]


def with_fallback(net: torch.nn.Module) -> torch.nn.Module:
    """Give a network the buffer that :meth:`SingleStreamMethod.prepare` fills."""
    net.register_buffer("fallback", torch.tensor(0.5))
    return net
