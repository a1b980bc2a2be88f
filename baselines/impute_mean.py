"""Impute a missing stream by its average course over the training videos.

Time of a video is cut into B equal parts; the mean of a stream in each part, over all steps of the
training samples that have the stream, is its average course, from entry to closing pose:

    μ_b = Σ_i T_i x̄_ib / Σ_i T_i,   x̂_t = linear interpolation of μ at (t + 1/2) / T

with x̄_ib the mean of video i over part b and T_i its steps.  One part is the plain mean of the
stream.  The averages are sums in double precision, fitted once and kept with the weights.  A stream
that no training sample has is zeros.

Mean imputation is older than any paper of the field; the provenance is a textbook.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from aqabench.baselines._imputation import Imputation, Imputer, TrainingVideos, courses, overlaps
from aqabench.method.card import MethodCard


class MeanImputer(Imputer):
    """The average course of each stream."""

    def __init__(self, widths: Mapping[str, int], bins: int) -> None:
        """Build with nothing learned; ``bins`` parts of time."""
        super().__init__(widths)
        self.bins = bins

    def fit(self, videos: TrainingVideos) -> None:
        """Average the videos' courses, each by its steps."""
        for column, (m, width) in enumerate(self.widths.items()):
            total, steps = torch.zeros(self.bins, width, dtype=torch.float64), 0
            for _, x in videos.windows(m):
                total += overlaps(len(x), self.bins) @ x * len(x)
                steps += len(x)
            self.keep(f"course{column}", (total / max(steps, 1)).float())  # (bins, D)

    def impute(
        self, wanted: str, given: Mapping[str, Tensor], valid: Tensor, own: Tensor | None
    ) -> Tensor:
        """Stretch the average course over each sample's time; nothing of the sample is read."""
        course = self.get_buffer(f"course{list(self.widths).index(wanted)}")
        return courses(self.bins, valid) @ course


class ImputeMean(Imputation):
    """The core on observed streams and average ones."""

    card = MethodCard(
        name="impute-mean",
        title="Mean imputation",
        kind="baseline",
        summary=(
            "Early fusion in which the stream's average course over the training videos stands "
            "for a missing one: the floor of imputation, which knows nothing of the sample."
        ),
        missing=(
            "Filled in before the projection with the mean training features at the same relative "
            "time (bins parts, interpolated). In training a random non-empty subset of what a "
            "sample has is shown and the rest filled in (modality_dropout=false: all is shown)."
        ),
        paper="R. J. A. Little, D. B. Rubin: Statistical Analysis with Missing Data, Wiley 2002",
        differs=(
            "Means are taken at each relative time, not over the whole video (bins=1 is that), "
            "and the network is trained on filled-in streams, too."
        ),
        citation="""@book{little2002missing,
  author    = {Little, Roderick J. A. and Rubin, Donald B.},
  title     = {Statistical Analysis with Missing Data},
  edition   = {2},
  publisher = {Wiley},
  year      = {2002}
}""",
        settings={
            "bins": 20,
            "modality_dropout": True,
            "optimizer": "adam",
            "lr": 2e-4,
            "weight_decay": 1e-4,
            "batch_size": 32,
            "epochs": 300,
            "layers": 3,
            "heads": 2,
            "dropout": 0.3,
            "alpha": 1.0,
            "task_weight": 10.0,
        },
        published={"fisv": {"alpha": 0.5}, "fs1000": {"lr": 1e-4}},
        search={
            "lr": ("log", 5e-5, 1e-3),
            "dropout": ("linear", 0.0, 0.6),
            "bins": ("choice", 1, 5, 20),
        },
        min_modalities=2,
        contract_settings={"batch_size": 4, "layers": 1},
    )

    def imputer(self) -> Imputer:
        """Return the average courses, not yet learned."""
        return MeanImputer(self.task.modalities, self.whole("bins"))
