"""Impute a missing stream by ridge regression on those that are there, step by step.

For every non-empty set S of streams and every stream m outside it:

    z = V^T (x − μ) / σ                        each stream by itself; V its leading components
    W = (G_SS + λ (tr G_SS / p) I)^−1 G_Sm      G = Σ z z^T over the steps of all training videos
    x̂_m(t) = μ_m + σ_m V_m W^T z_S(t)           that have S and m; p the channels of z_S

λ is chosen among 10^−4 … 10 by five-fold cross-validation for the squared error over all
standardised channels; folds are whole videos, because steps of one video are near-duplicates.
Where not even the best λ beats the mean, W = 0 and the mean it is.  If fewer than two videos have
S and m, the mean of the single sources' predictions is taken.

In training a sample is imputed by the W of the folds that it is not in: imputing what was fitted is
too easy, and the network would trust it.

Everything is sums of products, one pass per stage, in double precision; memory does not grow with
the number of videos.  Ridge regression: Hoerl and Kennard, Technometrics 1970.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor

from aqabench.baselines._imputation import Imputation, Imputer, TrainingVideos, moments
from aqabench.method.card import MethodCard

PENALTIES = tuple(10.0**k for k in range(-4, 2))
FOLDS = 5


class Sums(NamedTuple):
    """Sums of products of the streams' components over the steps of some videos."""

    products: Tensor  # (P, P) float64, streams one after the other
    videos: int


class RidgeImputer(Imputer):
    """A linear map for every set of streams and every stream outside it."""

    def __init__(self, widths: Mapping[str, int], rank: int) -> None:
        """Build with nothing learned; ``rank`` components of each stream at most."""
        super().__init__(widths)
        self.rank = rank

    def fit(self, videos: TrainingVideos) -> None:
        """Standardise, find components, sum up products by fold, solve."""
        for column, (m, width) in enumerate(self.widths.items()):
            mean, spread = moments(videos, m, width)
            self.keep(f"mean{column}", mean)
            self.keep(f"spread{column}", spread)
            self.keep(f"basis{column}", torch.eye(width, dtype=torch.float64))
            if width > self.rank:
                products = torch.zeros(width, width, dtype=torch.float64)
                for _, x in videos.windows(m):
                    z = (x - mean) / spread
                    products.addmm_(z.T, z)
                leading = torch.linalg.eigh(products).eigenvectors[:, -self.rank :]
                self.keep(f"basis{column}", leading.contiguous())  # (D, r)
        fold = folds(videos.ids)  # (n,)
        self.keep("fold", torch.tensor(fold), persistent=False)
        sums, count = self._sums(videos, fold), len(self.widths)
        for size in range(1, count):
            for given in combinations(range(count), size):
                for wanted in sorted(set(range(count)) - set(given)):
                    self._solve(sums, given, wanted)
        self.float()

    def impute(
        self, wanted: str, given: Mapping[str, Tensor], valid: Tensor, own: Tensor | None
    ) -> Tensor:
        """Map the streams that are there, at each step by itself."""
        names = list(self.widths)
        columns, target = [names.index(m) for m in given], names.index(wanted)
        z = torch.cat([self._components(c, given[names[c]]) for c in columns], -1)  # (R, T, p)
        name = _name(columns, target)
        weights = self.get_buffer(name)  # (p, q)
        if own is not None:
            weights = self.get_buffer(f"{name}_without")[self.get_buffer("fold")[own]]  # (R, p, q)
        basis, spread = self.get_buffer(f"basis{target}"), self.get_buffer(f"spread{target}")
        return self.get_buffer(f"mean{target}") + (z @ weights @ basis.T) * spread

    def _components(self, column: int, x: Tensor) -> Tensor:
        """Return (…, r) components of a stream (…, D)."""
        mean, spread = self.get_buffer(f"mean{column}"), self.get_buffer(f"spread{column}")
        return ((x - mean) / spread) @ self.get_buffer(f"basis{column}")

    def _sums(self, videos: TrainingVideos, fold: Sequence[int]) -> dict[tuple[int, int], Sums]:
        """Return (fold, which streams there are as bits) -> sums over such videos."""
        names, places = list(self.widths), self._places()
        found: dict[tuple[int, int], tuple[Tensor, int]] = {}
        for row, there in enumerate(videos.available.tolist()):
            columns = [column for column, has in enumerate(there) if has]
            parts = [self._components(c, videos.window(names[c], row)) for c in columns]
            z = torch.cat(parts, -1)  # (L, p)
            key = fold[row], sum(1 << c for c in columns)
            products, count = found.get(key, (z.new_zeros(z.shape[1], z.shape[1]), 0))
            found[key] = products.addmm_(z.T, z), count + 1
        sums, total = {}, int(places[-1][-1]) + 1
        for (k, streams), (products, count) in found.items():
            place = torch.cat([at for c, at in enumerate(places) if streams >> c & 1])  # (p,)
            whole = torch.zeros(total, total, dtype=torch.float64)
            whole[place[:, None], place] = products
            sums[k, streams] = Sums(whole, count)
        return sums

    def _places(self) -> list[Tensor]:
        """Return where each stream's components stand among those of all."""
        ranks = [self.get_buffer(f"basis{column}").shape[1] for column in range(len(self.widths))]
        return list(torch.arange(sum(ranks)).split(ranks))

    def _solve(
        self, sums: Mapping[tuple[int, int], Sums], given: Sequence[int], wanted: int
    ) -> None:
        """Keep the map from a set of streams to one, and those without each fold."""
        name = _name(given, wanted)
        needed = sum(1 << c for c in (*given, wanted))
        places = self._places()
        rows, columns = torch.cat([places[c] for c in given]), places[wanted]  # (p,), (q,)
        having = [[s for (k, has), s in sums.items() if k == fold and has & needed == needed]
                  for fold in range(FOLDS)]  # fmt: skip
        parts = [_Part.of(some, rows, columns) for some in having]
        whole = _Part.of([s for some in having for s in some], rows, columns)
        if whole.videos > 1:
            weights, without = _cross_validated(parts, whole)
        elif len(given) > 1:
            singles = [_name([c], wanted) for c in given]
            weights = torch.cat([self.get_buffer(n) for n in singles]) / len(given)
            without = torch.cat([self.get_buffer(f"{n}_without") for n in singles], 1) / len(given)
        else:
            weights = torch.zeros(len(rows), len(columns), dtype=torch.float64)
            without = weights.expand(FOLDS, -1, -1).clone()
        self.keep(name, weights)  # (p, q)
        self.keep(f"{name}_without", without, persistent=False)  # (FOLDS, p, q)


class _Part(NamedTuple):
    """What a regression needs of some videos."""

    gram: Tensor  # (p, p), of the sources
    cross: Tensor  # (p, q), of sources and target
    square: Tensor  # (), of the target
    videos: int

    @classmethod
    def of(cls, sums: Sequence[Sums], rows: Tensor, columns: Tensor) -> _Part:
        gram = torch.zeros(len(rows), len(rows), dtype=torch.float64)
        cross = torch.zeros(len(rows), len(columns), dtype=torch.float64)
        square = torch.zeros((), dtype=torch.float64)
        for products, _ in sums:
            gram += products[rows[:, None], rows]
            cross += products[rows[:, None], columns]
            square += products[columns, columns].sum()
        return cls(gram, cross, square, sum(s.videos for s in sums))

    def minus(self, other: _Part) -> _Part:
        return _Part(
            self.gram - other.gram,
            self.cross - other.cross,
            self.square - other.square,
            self.videos - other.videos,
        )


def _cross_validated(parts: Sequence[_Part], whole: _Part) -> tuple[Tensor, Tensor]:
    """Return (p, q) weights of all videos, and (FOLDS, p, q) those without each fold."""
    paths = [_Path(whole.minus(part)) for part in parts]
    errors = [
        sum(float(path.error(part, k)) for path, part in zip(paths, parts, strict=True))
        for k in PENALTIES
    ]
    best = min(range(len(PENALTIES)), key=errors.__getitem__)
    kept = float(errors[best] < sum(float(part.square) for part in parts))
    without = torch.stack([path.weights(PENALTIES[best]) for path in paths])
    return _Path(whole).weights(PENALTIES[best]) * kept, without * kept


class _Path:
    """Ridge for every penalty by one decomposition: G = U diag(d) U^T."""

    def __init__(self, part: _Part) -> None:
        self.values, self.vectors = torch.linalg.eigh(part.gram)
        self.rotated = self.vectors.T @ part.cross  # (p, q)
        self.scale = part.gram.trace() / len(part.gram)

    def weights(self, penalty: float) -> Tensor:
        """Return (p, q); zeros where there is nothing to fit."""
        if not bool(self.scale > 0):
            return torch.zeros_like(self.rotated)
        shrunk = self.values.clamp_min(0) + penalty * self.scale
        return self.vectors @ (self.rotated / shrunk[:, None])

    def error(self, part: _Part, penalty: float) -> Tensor:
        """Return the squared error on other videos: tr T − 2 <W, C> + <W, G W>."""
        w = self.weights(penalty)
        return part.square - 2 * (w * part.cross).sum() + (w * (part.gram @ w)).sum()


def folds(ids: Sequence[str]) -> list[int]:
    """Deal videos to folds in an order that has nothing to do with the list's."""
    digests = [hashlib.sha256(sample.encode()).digest() for sample in ids]
    fold = [0] * len(ids)
    for place, row in enumerate(sorted(range(len(ids)), key=digests.__getitem__)):
        fold[row] = place % FOLDS
    return fold


def _name(given: Sequence[int], wanted: int) -> str:
    return "from" + "_".join(map(str, given)) + f"_to{wanted}"


class ImputeRidge(Imputation):
    """The core on observed streams and regressed ones."""

    card = MethodCard(
        name="impute-ridge",
        title="Ridge imputation",
        kind="baseline",
        summary=(
            "Early fusion in which a missing stream is regressed, step by step, on those that are "
            "there: the cheapest reconstruction, which any generator should beat."
        ),
        missing=(
            "Filled in before the projection by a ridge regression for each set of streams that "
            "is there, fitted on the training videos that have them and the missing one. In "
            "training a random non-empty subset of what a sample has is shown, the rest filled in "
            "by regressions without its fold (modality_dropout=false: all is shown)."
        ),
        paper=(
            "A. E. Hoerl, R. W. Kennard: Ridge Regression: Biased Estimation for Nonorthogonal "
            "Problems, Technometrics 1970, doi:10.1080/00401706.1970.10488634"
        ),
        differs=(
            "Each stream is regressed by its rank leading principal components, which bounds "
            "memory and time (no fewer than its channels: plain ridge); components and moments "
            "are those of all training videos, the regressions alone are out of fold."
        ),
        citation="""@article{hoerl1970ridge,
  author  = {Hoerl, Arthur E. and Kennard, Robert W.},
  title   = {Ridge Regression: Biased Estimation for Nonorthogonal Problems},
  journal = {Technometrics},
  volume  = {12},
  number  = {1},
  pages   = {55--67},
  year    = {1970}
}""",
        settings={
            "rank": 256,
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
            "rank": ("choice", 32, 64, 128, 256),
        },
        min_modalities=2,
        contract_settings={"batch_size": 4, "layers": 1},
    )

    def imputer(self) -> Imputer:
        """Return the regressions, not yet fitted."""
        return RidgeImputer(self.task.modalities, self.whole("rank"))
