"""Predict from who performs and where, never from the performance: how much a split gives away.

For each kind of group that the data have (athlete, event, speaker, …) the mean training score of
the sample's group; the prediction is the mean over the kinds whose group training has seen, or the
mean of the whole training list where it has seen none.  On Fis-V's official split, where 87 of 100
test videos show an athlete of the training list, this reaches the level of published networks.
What a method scores above it has been read from the video; what it scores below may be
recognition.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

import torch
from torch import Tensor

from aqabench.data.batch import Batch, Split
from aqabench.method.base import FitContext, Method
from aqabench.method.card import MethodCard


class Identity(Method):
    """Mean training score of the sample's groups."""

    card = MethodCard(
        name="identity",
        title="Identity (leakage floor)",
        kind="baseline",
        summary="Mean training score of the same athlete and of the same event; sees no video.",
        missing="Never looks at any modality.",
        reads_groups=True,
        opt_outs={
            "labels_cannot_matter": "a leakage floor: it predicts from who performs, and sees no "
            "performance",
        },
    )

    def fit(self, train: Split, context: FitContext) -> None:
        """Take the mean of each group, and of all."""
        score = train.score.double()
        self._all = score.mean()
        self._means: dict[str, dict[str, float]] = {}
        for kind, labels in train.groups.items():
            by_label: dict[str, list[int]] = {}
            for row, label in enumerate(labels):
                by_label.setdefault(label, []).append(row)
            self._means[kind] = {k: float(score[rows].mean()) for k, rows in by_label.items()}
        context.look(1)

    def predict(self, batch: Batch) -> Tensor:
        """Return the mean over kinds of group, for each of the B samples."""
        scores = []
        for sample in range(len(batch)):
            known = [
                means[batch.groups[kind][sample]]
                for kind, means in self._means.items()
                if kind in batch.groups and batch.groups[kind][sample] in means
            ]
            scores.append(fmean(known) if known else float(self._all))
        return torch.tensor(scores, dtype=torch.float32)

    def state(self) -> dict[str, Tensor]:
        """Return the means, named ``kind/label``."""
        flat = {
            f"{kind}/{label}": torch.tensor(mean, dtype=torch.float64)
            for kind, means in self._means.items()
            for label, mean in means.items()
        }
        return {"all": self._all, **flat}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take the means back."""
        self._all = state["all"]
        self._means = {}
        for name, mean in state.items():
            kind, slash, label = name.partition("/")
            if slash:
                self._means.setdefault(kind, {})[label] = float(mean)
