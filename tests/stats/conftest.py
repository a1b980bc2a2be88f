"""Data with a known truth for the statistics."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

Draw = Callable[..., tuple[np.ndarray, np.ndarray]]


def _pearson(spearman: float) -> float:
    return 2.0 * math.sin(math.pi * spearman / 6.0)


@pytest.fixture(scope="session")
def copula() -> Draw:
    """Return ``draw(rng, n, rhos, r)``: labels (n,) and predictions (k, n) of a Gaussian copula.

    ``rhos`` are the true Spearman correlations with the labels, ``r`` the one between any two
    methods; ``tail`` gives a t copula with that many degrees of freedom (hard videos are hard for
    everybody).
    """

    def draw(
        rng: np.random.Generator, n: int, rhos: tuple[float, ...], r: float, tail: float = math.inf
    ) -> tuple[np.ndarray, np.ndarray]:
        k = len(rhos)
        matrix = np.full((k + 1, k + 1), _pearson(r))
        np.fill_diagonal(matrix, 1.0)
        matrix[0, 1:] = matrix[1:, 0] = [_pearson(rho) for rho in rhos]
        x = rng.multivariate_normal(np.zeros(k + 1), matrix, size=n, method="cholesky")
        if math.isfinite(tail):
            x /= np.sqrt(rng.chisquare(tail, size=(n, 1)) / tail)
        return x[:, 0], x[:, 1:].T

    return draw
