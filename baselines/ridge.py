"""Ridge regression on pooled features: closed form, deterministic, seconds.

One regression per subset of modalities (the "oracle-subset" floor: several models, none of which
ever sees a missing value).  A sample is described by the mean and the standard deviation over
time of each standardised channel.  The penalty is chosen by five-fold cross-validation on the
training samples, in whichever of primal and dual form is smaller.

Where training samples lack streams, a subset's regression learns from those that have all of it.
If these are fewer than ten, or fewer than half of those that have its rarest stream, the subset's
model is the mean of the models of its single streams instead: a regression of all channels on few
samples loses to the mean of regressions on many.  A single stream that fewer than ten samples have
predicts the mean training score.  What all training samples have is always regressed, however few
they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from aqabench.data.batch import Batch, Split
from aqabench.method.base import FitContext, Method, mix_streams
from aqabench.method.card import MethodCard

Array = npt.NDArray[np.float64]

PENALTIES = tuple(10.0**k for k in range(-2, 6))
FOLDS = 5
FEWEST = 2 * FOLDS
"""Training samples below which a subset has no regression of its own ..."""
LEAST_SHARE = 0.5
"""... and their least share of those that have its rarest stream."""
POOL_BATCH = 64


class Ridge(Method):
    """Closed-form ridge on time-pooled features, one per shown subset."""

    test_window = "full"
    card = MethodCard(
        name="ridge",
        title="Ridge on pooled features",
        kind="baseline",
        summary=(
            "Mean and standard deviation over time of each channel, then linear regression. "
            "The deterministic smoke test of data and protocol, and a floor few papers print."
        ),
        missing=(
            "A model of its own for each subset of modalities, of the training samples that have "
            "all of it; if these are fewer than 10, or than half of those with its rarest stream, "
            "the mean of the models of its single streams. Nothing is filled in."
        ),
        settings={"std": True},
    )

    def fit(self, train: Split, context: FitContext) -> None:
        """Solve one regression for each non-empty subset of modalities."""
        batches = train.fixed_batches("full", self.task.clip_length, POOL_BATCH)
        parts = [self._pooled(batch) for batch in batches]
        pooled = {m: np.concatenate([part[m] for part in parts]) for m in self.task.modalities}
        there = dict(zip(pooled, train.available.numpy().T, strict=True))  # each (n,)
        score = train.score.double().numpy()
        # one shuffle for all subsets, so that their penalties are chosen on the same folds
        order = torch.randperm(len(score), generator=context.generator("folds")).numpy()
        self._weights: dict[str, Array] = {}
        for size in range(1, len(pooled) + 1):
            for subset in combinations(pooled, size):
                having = np.logical_and.reduce([there[m] for m in subset])  # (n,)
                x = np.concatenate([pooled[m][having] for m in subset], axis=1)
                rarest = min(int(there[m].sum()) for m in subset)
                if len(x) >= max(min(FEWEST, len(score)), LEAST_SHARE * rarest):
                    weights = _fit(x, score[having], _folds(order, having))
                elif size > 1:
                    weights = _average([self._weights[m] for m in subset])
                else:
                    weights = _constant(float(score.mean()), x.shape[1])
                self._weights["+".join(subset)] = weights
        context.look(1)

    def predict(self, batch: Batch) -> Tensor:
        """Use the regression of exactly the modalities that each sample has."""
        return self._score(self._pooled(batch), batch.available)

    def predict_scenarios(self, batch: Batch, available: Tensor) -> Tensor:
        """Pool each stream once for all scenarios."""
        pooled = self._pooled(batch)
        return torch.stack([self._score(pooled, mask & batch.available) for mask in available])

    def predict_corrupted(
        self, batch: Batch, versions: Iterable[tuple[Mapping[str, Tensor], Tensor]]
    ) -> Tensor:
        """Pool each stream once as it is, and once for each way in which it is spoilt."""
        clean = self._pooled(batch)
        scores = []
        for streams, chosen in versions:
            spoilt = self._pooled(replace(batch, features=dict(streams)))
            for row in chosen:
                mixed = mix_streams(clean, spoilt, self.task, row)
                scores.append(self._score(mixed, batch.available))
        return torch.stack(scores)

    def _pooled(self, batch: Batch) -> dict[str, Array]:
        """Pool what exists of each stream that is given; NaN in rows that have it not."""
        pooled: dict[str, Array] = {}
        there = dict(zip(self.task.modalities, batch.available.T, strict=True))
        for m, x in batch.features.items():
            rows = there[m]  # (B,)
            if bool(rows.all()):
                pooled[m] = self._pool(x, batch.valid)
                continue
            found = self._pool(x[rows], batch.valid[rows])
            pooled[m] = np.full((len(rows), found.shape[1]), np.nan)
            pooled[m][rows.numpy()] = found
        return pooled

    def _score(self, pooled: Mapping[str, Array], available: Tensor) -> Tensor:
        result = torch.empty(len(available))
        for pattern in available.unique(dim=0):
            rows = (available == pattern).all(1)
            subset = [m for m, shown in zip(pooled, pattern, strict=True) if shown]
            x = np.concatenate([pooled[m][rows.numpy()] for m in subset], axis=1)
            result[rows] = torch.from_numpy(_apply(self._weights["+".join(subset)], x)).float()
        return result.clamp(0, 1)

    def state(self) -> dict[str, Tensor]:
        """Return the weights of each subset."""
        return {name: torch.from_numpy(w) for name, w in self._weights.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take the weights back."""
        self._weights = {name: w.numpy() for name, w in state.items()}

    def _pool(self, x: Tensor, valid: Tensor) -> Array:
        """Return (R, D) means, or (R, 2 D) with standard deviations, of (R, T, D) where valid."""
        if not bool(valid.all()):
            x = x.masked_fill(~valid[..., None], 0.0)
        count = valid.sum(1, keepdim=True).double()  # (R, 1)
        mean = x.sum(1) / count  # (R, D)
        if not self.settings["std"]:
            return mean.numpy()
        variance = (x * x).sum(1) / count - mean.square()
        return torch.cat([mean, variance.clamp_min(0).sqrt()], dim=1).numpy()


def _folds(order: npt.NDArray[np.int64], having: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Deal the samples that have something to folds, in the shuffled order of all of them.

    Args:
        order: (n,) the samples' places, shuffled.
        having: (n,) which samples are dealt, r of them.

    Returns:
        (r,) the fold of each.
    """
    fold = np.empty(len(order), dtype=np.int64)
    dealt = order[having[order]]
    fold[dealt] = np.arange(len(dealt)) % min(FOLDS, len(dealt))
    return fold[having]


def _constant(value: float, width: int) -> Array:
    """Return the weights of a model that always says ``value``: (3, width + 1)."""
    none = np.zeros(width)
    return np.stack([np.append(none, value), np.append(none, 0.0), np.append(none + 1, 1.0)])


def _average(models: Sequence[Array]) -> Array:
    """Return the weights of the mean of linear models, each of its own channels."""
    joined = np.concatenate([weights[:, :-1] for weights in models], axis=1)  # (3, p)
    joined[0] /= len(models)
    return np.column_stack([joined, np.mean([weights[:, -1] for weights in models], axis=0)])


def _fit(x: Array, y: Array, fold: npt.NDArray[np.int64]) -> Array:
    """Return (3, p + 1): weights with intercept, channel means and channel deviations."""
    mean, spread = x.mean(0), np.maximum(x.std(0), 1e-6)
    z = (x - mean) / spread
    errors = np.zeros(len(PENALTIES))
    for k in np.unique(fold):
        train, held = fold != k, fold == k
        solve = _solver(z[train], y[train] - y[train].mean())
        for i, penalty in enumerate(PENALTIES):
            predicted = z[held] @ solve(penalty) + y[train].mean()
            errors[i] += float(np.square(predicted - y[held]).sum())
    slope = _solver(z, y - y.mean())(PENALTIES[int(errors.argmin())])
    return np.stack([np.append(slope, y.mean()), np.append(mean, 0.0), np.append(spread, 1.0)])


def _solver(z: Array, target: Array) -> Callable[[float], Array]:
    """Return penalty -> (p,) weights; one decomposition of the smaller Gram matrix serves all."""
    if z.shape[1] <= len(z):
        values, vectors = np.linalg.eigh(z.T @ z)  # (p, p)
        rotated = vectors.T @ (z.T @ target)
        return lambda penalty: vectors @ (rotated / (values + penalty))
    values, vectors = np.linalg.eigh(z @ z.T)  # (n, n): the dual
    rotated = vectors.T @ target
    return lambda penalty: z.T @ (vectors @ (rotated / (values + penalty)))


def _apply(weights: Array, x: Array) -> Array:
    slope, mean, spread = weights
    z = (x - mean[:-1]) / spread[:-1]
    predicted: Array = z @ slope[:-1] + slope[-1]
    return predicted
