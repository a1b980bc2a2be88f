"""Predict the mean training score: the floor of MSE, and no ranking at all.

Spearman's correlation of a constant is undefined; the board prints a dash and ranks it last.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from aqabench.data.batch import Batch, Split
from aqabench.method.base import FitContext, Method
from aqabench.method.card import MethodCard


class Constant(Method):
    """The mean of the training scores, whatever is shown."""

    card = MethodCard(
        name="constant",
        title="Constant (training mean)",
        kind="baseline",
        summary="Predicts the mean training score. What a method's MSE must beat.",
        missing="Never looks at any modality.",
        opt_outs={"learns": "a constant learns no ranking: it is the floor"},
    )

    def fit(self, train: Split, context: FitContext) -> None:
        """Take the mean."""
        self._mean = train.score.double().mean()
        context.look(1)

    def predict(self, batch: Batch) -> Tensor:
        """Return the mean for each of the B samples."""
        return self._mean.float().expand(len(batch)).clone()

    def state(self) -> dict[str, Tensor]:
        """Return the mean."""
        return {"mean": self._mean}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take the mean back."""
        self._mean = state["mean"]
