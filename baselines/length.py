"""Predict from how long a performance lasts, never from what happens in it: a floor for leakage.

Linear regression of the score on the logarithm of the number of steps.  Where performances have a
prescribed length this is no better than a constant.  Where they have not, such as read sentences,
which good speakers finish sooner, it can reach the level of networks, and any of them that attends
to padding, recurs over steps or sees where a stream ends may have learned no more than this.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from aqabench.data.batch import Batch, Split
from aqabench.method.base import FitContext, Method
from aqabench.method.card import MethodCard


class Length(Method):
    """A line through the scores over the logarithm of the length."""

    test_window = "full"

    card = MethodCard(
        name="length",
        title="Length (leakage floor)",
        kind="baseline",
        summary="Regresses the score on how long the performance lasts; sees nothing else of it.",
        missing="Never looks at any modality: a hidden stream is as long as the others.",
        opt_outs={"learns": "a leakage floor: it ranks only where scores go with length"},
    )

    def fit(self, train: Split, context: FitContext) -> None:
        """Fit the line by least squares; flat where all lengths are equal."""
        steps = (train.lengths + self.task.stride - 1) // self.task.stride  # (n,)
        x, y = steps.double().log(), train.score.double()
        self._centre, self._mean = x.mean(), y.mean()
        spread = (x - self._centre).square().sum()
        together = ((x - self._centre) * (y - self._mean)).sum()
        self._slope = together / spread if spread > 0 else torch.zeros_like(spread)
        context.look(1)

    def predict(self, batch: Batch) -> Tensor:
        """Return the line's value at the length of each of the B samples."""
        x = batch.valid.sum(1).double().log()
        score = self._mean + self._slope * (x - self._centre)
        return score.clamp(0, 1).float()

    def state(self) -> dict[str, Tensor]:
        """Return the line."""
        return {"centre": self._centre, "mean": self._mean, "slope": self._slope}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take the line back."""
        self._centre, self._mean, self._slope = state["centre"], state["mean"], state["slope"]
