"""What is measured on simulated (and real) features: the figures of ``docs/simulator.md``.

Ridge here is written apart from ``baselines/ridge.py``: a dual solution with the exact
leave-one-out penalty, so that the targets don't hang on the baseline they calibrate.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from aqabench.data.features import FeatureSet
from aqabench.data.simulator import simulate
from aqabench.protocol.schema import DatasetSpec

Array = npt.NDArray[np.float64]
Pooled = dict[str, tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]


def pool(data: FeatureSet) -> Pooled:
    """Return modality -> (N, D) mean and (N, D) standard deviation over time."""
    out = {}
    for modality, array in data.features.items():
        mean = np.empty((len(data.ids), array.shape[1]), dtype=np.float32)
        sd = np.empty_like(mean)
        for row in range(len(data.ids)):
            video = data.video(row, modality).astype(np.float32)
            mean[row], sd[row] = video.mean(0), video.std(0)
        out[modality] = (mean, sd)
    return out


def gram(x: npt.NDArray[np.float32], train: int) -> Array:
    """Return the (N, N) inner products of standardised columns; the first rows train."""
    sd = x[:train].std(0)
    z = (x - x[:train].mean(0)) / np.where(sd > 1e-6, sd, np.inf)
    return (z @ z.T).astype(np.float64) / z.shape[1]


def decompose(kernel: Array, train: int) -> tuple[Array, Array]:
    """Return eigenvalues and eigenvectors of the training block, its intercept unpenalised."""
    values, vectors = np.linalg.eigh(kernel[:train, :train] + 1e3)
    return values, vectors


def ridge(
    kernel: Array, target: Array, train: int, axes: tuple[Array, Array] | None = None
) -> Array:
    """Return the (N - train, k) predictions of ridge with the best leave-one-out penalty."""
    y = target[:train].reshape(train, -1)
    values, vectors = decompose(kernel, train) if axes is None else axes
    turned, best = vectors.T @ (y - y.mean(0)), (np.inf, np.zeros(0))
    for penalty in np.geomspace(1e-2, 30, 15):
        weights = 1 / (values + penalty)
        dual = vectors @ (weights[:, None] * turned)
        left_out = dual / ((vectors * vectors) @ weights)[:, None]
        best = min(best, (float((left_out**2).mean()), dual), key=lambda pair: pair[0])
    predicted: Array = kernel[train:, :train] @ best[1] + y.mean(0)
    return predicted


def fisher_mean(values: Sequence[float]) -> float:
    """Average correlations by Fisher z."""
    return float(np.tanh(np.mean(np.arctanh(values))))


def levels(
    data: FeatureSet, spec: DatasetSpec, pooled: Pooled, *, singles_only: bool = False
) -> dict[tuple[str, str], float]:
    """Return (subset symbols, class) -> test Spearman of ridge on mean and sd over time."""
    symbols = {m.name: m.symbol for m in spec.modalities}
    sizes = (1, len(pooled)) if singles_only else range(1, len(pooled) + 1)
    solved: dict[tuple[str, bytes], tuple[Array, tuple[Array, Array]]] = {}
    result = {}
    for c in spec.classes:
        first, second = data.rows(c.name, "train"), data.rows(c.name, "test")
        rows = np.concatenate([first, second])
        score = data.scores[c.name][rows]
        for size in sizes:
            for subset in combinations(pooled, size):
                name = "".join(symbols[m] for m in subset)
                key = (name, rows.tobytes())
                if key not in solved:
                    grams = [gram(np.hstack(pooled[m])[rows], len(first)) for m in subset]
                    kernel = np.mean(grams, axis=0)
                    solved[key] = kernel, decompose(kernel, len(first))
                kernel, axes = solved[key]
                predicted = ridge(kernel, score, len(first), axes)[:, 0]
                result[name, c.name] = float(spearmanr(predicted, score[len(first) :])[0])
    return result


def average(result: dict[tuple[str, str], float], subset: str) -> float:
    """Average over classes by Fisher z."""
    return fisher_mean([value for (name, _), value in result.items() if name == subset])


def calibration(spec: DatasetSpec, seeds: Sequence[int]) -> dict[str, float]:
    """Return subset symbols -> ridge level in the population: classes and seeds averaged."""
    found: dict[str, list[float]] = {}
    for seed in seeds:
        data = simulate(spec, seed=seed)
        level = levels(data, spec, pool(data), singles_only=True)
        for subset in dict.fromkeys(name for name, _ in level):
            found.setdefault(subset, []).append(average(level, subset))
    return {subset: fisher_mean(values) for subset, values in found.items()}


def completion(data: FeatureSet, pooled: Pooled, modality: str) -> float:
    """Return the test R^2 of a modality's pooled means, completed from all others by ridge."""
    first = next(iter(data.scores))
    train = data.rows(first, "train")
    rows = np.concatenate([train, data.rows(first, "test")])
    truth = pooled[modality][0][rows].astype(np.float64)
    kernel = np.mean(
        [gram(np.hstack(x)[rows], len(train)) for m, x in pooled.items() if m != modality], axis=0
    )
    miss = truth[len(train) :] - ridge(kernel, truth, len(train))
    spread = truth[len(train) :] - truth[: len(train)].mean(0)
    return 1 - float((miss**2).sum() / (spread**2).sum())


def statistics(data: FeatureSet, modality: str, means: npt.NDArray[np.float32]) -> dict[str, float]:
    """Return the marginal and temporal statistics of one modality."""
    array = data.features[modality][::3].astype(np.float32)
    total = array.var(0)
    alive = total > 1e-5
    weight = data.lengths / data.lengths.sum()
    between = weight @ (means - weight @ means) ** 2
    product, square = 0.0, 0.0
    for row in range(0, len(data.ids), 4):
        moving = data.video(row, modality).astype(np.float32) - means[row]
        product = product + (moving[1:] * moving[:-1]).mean(0)
        square = square + (moving**2).mean(0)
    return {
        "mean": float(array.mean()),
        "sd": float(array.std()),
        "offset_sd": float(array.mean(0).std()),
        "negative": float((array < 0).mean()),
        "zero": float((array == 0).mean()),
        "between": float(np.median(between[alive] / total[alive])),
        "lag1": float(np.median((product / np.maximum(square, 1e-12))[alive])),
        "rank": _effective_rank(np.cov(array[::2].T)),
        "rank_between": _effective_rank(np.cov(means.T)),
    }


def between_groups(values: Array, groups: npt.NDArray[np.generic]) -> float:
    """Return the in-sample R^2 of group means, over groups of at least two videos."""
    _, index, count = np.unique(groups, return_inverse=True, return_counts=True)
    kept = count[index] >= 2
    mean = np.bincount(index, values) / count
    error = values[kept] - mean[index][kept]
    return 1 - float((error**2).sum() / ((values[kept] - values[kept].mean()) ** 2).sum())


def identity_prediction(data: FeatureSet, class_name: str) -> tuple[Array, Array]:
    """Return the mean training score of each test video's athlete, and the true scores."""
    athlete = data.groups["athlete"]
    train, test = data.rows(class_name, "train"), data.rows(class_name, "test")
    score = data.scores[class_name]
    fallback = score[train].mean()
    guess = []
    for row in test:
        seen = score[train[athlete[train] == athlete[row]]]
        guess.append((seen.sum() + fallback) / (len(seen) + 1))
    return np.array(guess), score[test]


def _effective_rank(covariance: npt.NDArray[np.float64]) -> float:
    values = np.linalg.eigvalsh(covariance).clip(1e-12)
    share = values / values.sum()
    return float(np.exp(-(share * np.log(share)).sum()))
