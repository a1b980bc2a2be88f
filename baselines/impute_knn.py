"""Impute a missing stream by that of similar training videos.

    k_im = normalised mean over time of (x_im − μ_m) / σ_m
    sim(i, j) = mean of <k_im, k_jm> over the streams m that both have
    x̂_i = Σ_j softmax_j(sim(i, j) / τ) · x_j     over the K most similar j that have the stream

Donors are kept as courses: their means over B equal parts of time, which are stretched to the time
of the sample by linear interpolation.  Similarity looks at streams only; scores and labels of who
performs are not read.  In training a sample is never its own donor.  Where no training video shares
a stream with the sample and has the wanted one, the mean course of those that have it is taken; a
stream that no training video has is zeros.

Source: nearest-neighbour imputation (Troyanskaya et al., *Missing value estimation methods for DNA
microarrays*, Bioinformatics 2001), which weighs donors by similarity.  No code of it was read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional

from aqabench.baselines._imputation import (
    Imputation,
    Imputer,
    TrainingVideos,
    courses,
    moments,
    overlaps,
)
from aqabench.errors import UsageError
from aqabench.method.card import MethodCard


class NeighbourImputer(Imputer):
    """A bank of the training videos: keys to find them by, and courses to borrow."""

    def __init__(
        self, widths: Mapping[str, int], bins: int, neighbours: int, temperature: float
    ) -> None:
        """Build with nothing learned.

        Args:
            widths: stream -> D.
            bins: parts of time of a course.
            neighbours: K.
            temperature: tau of the donors' weights.
        """
        super().__init__(widths)
        self.bins = bins
        self.neighbours = neighbours
        self.temperature = temperature

    def fit(self, videos: TrainingVideos) -> None:
        """Keep key and course of each stream that a video has."""
        there = videos.available  # (n, M)
        self.keep("there", there)
        for column, (m, width) in enumerate(self.widths.items()):
            mean, spread = moments(videos, m, width)
            self.keep(f"mean{column}", mean)
            self.keep(f"spread{column}", spread)
            keys = torch.zeros(len(there), width, dtype=torch.float64)
            bank = torch.zeros(len(there), self.bins, width)
            for row, x in videos.windows(m):
                keys[row] = self._keys(column, x.mean(0, keepdim=True))[0]
                bank[row] = (overlaps(len(x), self.bins) @ x).float()
            self.keep(f"keys{column}", keys)
            self.keep(f"courses{column}", bank)
            self.keep(f"average{column}", bank.sum(0) / there[:, column].sum().clamp_min(1))

    def impute(
        self, wanted: str, given: Mapping[str, Tensor], valid: Tensor, own: Tensor | None
    ) -> Tensor:
        """Average the courses of the most similar videos that have the stream."""
        names = list(self.widths)
        target, there = names.index(wanted), self.get_buffer("there")
        similarity, shared = self._similarity(given, valid)
        candidate = there[:, target] & (shared > 0)  # (R, n)
        if own is not None:
            candidate &= torch.arange(len(there), device=own.device) != own[:, None]
        bank = self.get_buffer(f"courses{target}")  # (n, bins, D)
        ranked = torch.where(candidate, similarity / shared.clamp_min(1), -torch.inf)
        best = ranked.topk(min(self.neighbours, len(there)), dim=1)  # (R, K)
        weights = torch.softmax(best.values / self.temperature, 1).float()
        found = torch.einsum("rk,rkbd->rbd", weights, bank[best.indices])
        average = self.get_buffer(f"average{target}")  # (bins, D)
        course = torch.where(candidate.any(1)[:, None, None], found, average)  # (R, bins, D)
        return courses(self.bins, valid) @ course

    def _similarity(self, given: Mapping[str, Tensor], valid: Tensor) -> tuple[Tensor, Tensor]:
        """Return (R, n) the sum of cosines, and of how many streams it is the sum."""
        there, names = self.get_buffer("there"), list(self.widths)
        total = valid.new_zeros(len(valid), len(there), dtype=torch.float64)
        shared = torch.zeros_like(total)
        for m, x in given.items():
            column = names.index(m)
            means = x.double().sum(1) / valid.sum(1, keepdim=True)  # (R, D), 0 on padding
            cosine = self._keys(column, means) @ self.get_buffer(f"keys{column}").T
            total += torch.where(there[:, column], cosine, 0.0)
            shared += there[:, column]
        return total, shared

    def _keys(self, column: int, means: Tensor) -> Tensor:
        """Return (R, D) normalised keys of means over time (R, D)."""
        mean, spread = self.get_buffer(f"mean{column}"), self.get_buffer(f"spread{column}")
        return functional.normalize((means - mean) / spread, dim=1)


class ImputeNeighbours(Imputation):
    """The core on observed streams and borrowed ones."""

    card = MethodCard(
        name="impute-knn",
        title="Nearest-neighbour imputation",
        kind="baseline",
        summary=(
            "Early fusion in which a missing stream is borrowed from the training videos that are "
            "most similar in the streams that are there."
        ),
        missing=(
            "Filled in before the projection with the weighted mean course of the most similar "
            "training videos that have the stream. In training a random non-empty subset of what "
            "a sample has is shown, the rest borrowed from others (modality_dropout=false: all is "
            "shown). A sample that shares no stream with any donor gets the mean course."
        ),
        paper=(
            "O. Troyanskaya et al.: Missing value estimation methods for DNA microarrays, "
            "Bioinformatics 2001, doi:10.1093/bioinformatics/17.6.520"
        ),
        differs=(
            "Neighbours by cosine of time-pooled standardised features, weighted by a softmax; "
            "donors keep their course in bins parts of time, not each clip, which bounds memory; "
            "other videos of the same athlete may be donors, since who performs is not read."
        ),
        citation="""@article{troyanskaya2001missing,
  author  = {Troyanskaya, Olga and Cantor, Michael and Sherlock, Gavin and Brown, Pat and
             Hastie, Trevor and Tibshirani, Robert and Botstein, David and Altman, Russ B.},
  title   = {Missing value estimation methods for {DNA} microarrays},
  journal = {Bioinformatics},
  volume  = {17},
  number  = {6},
  pages   = {520--525},
  year    = {2001}
}""",
        settings={
            "neighbours": 3,
            "temperature": 0.05,
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
            "neighbours": ("choice", 1, 3, 5, 10),
        },
        min_modalities=2,
        contract_settings={"batch_size": 4, "layers": 1},
    )

    def imputer(self) -> Imputer:
        """Return the bank, still empty.

        Raises:
            UsageError: a temperature that is not positive, or a count below one.
        """
        temperature = cast(float, self.settings["temperature"])
        if temperature <= 0:
            raise UsageError(
                "The 'temperature' setting of impute-knn must be positive. "
                f"Got {temperature:g} instead. Give one: --set temperature=0.05"
            )
        return NeighbourImputer(
            self.task.modalities, self.whole("bins"), self.whole("neighbours"), temperature
        )
