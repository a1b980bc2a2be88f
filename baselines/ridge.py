"""Ridge regression on pooled features: closed form, deterministic, seconds.

One regression per subset of modalities (the "oracle-subset" floor: several models, none of which
ever sees a missing value).  A sample is described by the mean and the standard deviation over
time of each standardised channel.  The penalty is chosen by five-fold cross-validation on the
training samples, in whichever of primal and dual form is smaller.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from aqabench.data.batch import Batch, Split
from aqabench.method.base import FitContext, Method
from aqabench.method.card import MethodCard

Array = npt.NDArray[np.float64]

PENALTIES = tuple(10.0**k for k in range(-2, 6))
FOLDS = 5
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
        missing="A model of its own for each subset of modalities; nothing is filled in.",
        settings={"std": True},
    )

    def fit(self, train: Split, context: FitContext) -> None:
        """Solve one regression for each non-empty subset of modalities."""
        batches = train.fixed_batches("full", self.task.clip_length, POOL_BATCH)
        pooled = {
            m: np.concatenate([self._pool(b, m) for b in batches]) for m in self.task.modalities
        }
        score = train.score.double().numpy()
        # one shuffle for all subsets, so that their penalties are chosen on the same folds
        order = torch.randperm(len(score), generator=context.generator("folds")).numpy()
        fold = np.empty(len(score), dtype=np.int64)
        fold[order] = np.arange(len(score)) % min(FOLDS, len(score))
        self._weights: dict[str, Array] = {}
        for size in range(1, len(pooled) + 1):
            for subset in combinations(pooled, size):
                x = np.concatenate([pooled[m] for m in subset], axis=1)
                self._weights["+".join(subset)] = _fit(x, score, fold)
        context.look(1)

    def predict(self, batch: Batch) -> Tensor:
        """Use the regression of exactly the modalities that each sample has."""
        return self._score(self._pooled(batch), batch.available)

    def predict_scenarios(self, batch: Batch, available: Tensor) -> Tensor:
        """Pool each stream once for all scenarios."""
        pooled = self._pooled(batch)
        return torch.stack([self._score(pooled, mask & batch.available) for mask in available])

    def _pooled(self, batch: Batch) -> dict[str, Array]:
        return {m: self._pool(batch, m) for m in self.task.modalities}

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

    def _pool(self, batch: Batch, modality: str) -> Array:
        """Return (B, D) means, or (B, 2 D) with standard deviations, over valid time steps."""
        x, valid = batch.features[modality], batch.valid  # (B, T, D), (B, T)
        if not bool(valid.all()):
            x = x.masked_fill(~valid[..., None], 0.0)
        count = valid.sum(1, keepdim=True).double()  # (B, 1)
        mean = x.sum(1) / count  # (B, D)
        if not self.settings["std"]:
            return mean.numpy()
        variance = (x * x).sum(1) / count - mean.square()
        return torch.cat([mean, variance.clamp_min(0).sqrt()], dim=1).numpy()


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
