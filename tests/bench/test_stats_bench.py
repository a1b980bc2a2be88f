"""The count-matrix bootstrap against a loop of scipy's spearmanr, and whole boards.

A whole board is 20 methods x 7 subsets of streams on RG's four, Fis-V's two and FS1000's seven
classes: 1,820 prediction vectors.  There, scipy's side is extrapolated from a part, and says so.

Both sides of a ratio are timed in one run on the same work, in processor time.
"""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy import stats as sps

from aqabench.stats import bootstrap_rho, draw_counts, jackknife_z

pytestmark = pytest.mark.bench


def _seconds(work):
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def _data(n, vectors):
    rng = np.random.default_rng(0)
    y = rng.normal(size=n)
    return rng, y, y + 0.6 * rng.normal(size=(vectors, n))


@pytest.mark.parametrize("n", [50, 100, 250])
def test_bootstrap_against_scipy(benchmark, n):
    rng, y, predictions = _data(n, 20)
    counts = draw_counts(rng, 10_000, n)
    drawn = [np.repeat(np.arange(n), c.astype(int)) for c in counts[:200]]

    def loop():
        return [sps.spearmanr(y[d], predictions[0][d]).statistic for d in drawn]

    bootstrap_rho(y, predictions[:1], counts[:10])
    slow, reference = min((_seconds(loop) for _ in range(3)), key=lambda pair: pair[0])
    fast, rhos = min(
        (_seconds(lambda: bootstrap_rho(y, predictions, counts)) for _ in range(3)),
        key=lambda pair: pair[0],
    )
    assert rhos[0, :200] == pytest.approx(reference, abs=1e-12)
    per_resample = fast / rhos.size
    ratio = slow / len(drawn) / per_resample
    benchmark.extra_info["ratio over scipy"] = round(ratio, 1)
    benchmark.extra_info["us per resample"] = round(1e6 * per_resample, 3)
    benchmark.pedantic(bootstrap_rho, (y, predictions[:1], counts), rounds=3)
    assert ratio > 100


BOARD = ((50, 4), (100, 2), (250, 7))  # videos, classes


def _board(vectors):
    """Labels (n,) with ties, as judges give them, and predictions (vectors, n), one a class."""
    rng = np.random.default_rng(7)
    work = []
    for n, classes in BOARD:
        for _ in range(classes):
            y = np.round(rng.normal(size=n) / 0.05) * 0.05
            p = y + 0.6 * rng.normal(size=(vectors, n))
            p[0] = np.round(p[0] / 0.5)  # one method with many ties
            work.append((y, p))
    return work


def test_bootstrap_of_a_whole_board(benchmark):
    rng, resamples, vectors = np.random.default_rng(8), 10_000, 20 * 7
    work = _board(vectors)
    drawn = {n: draw_counts(rng, resamples, n) for n, _ in BOARD}

    def board():
        for y, p in work:
            yield bootstrap_rho(y, p, drawn[y.size])

    bootstrap_rho(*work[0], drawn[50][:10])
    fast, kept = _seconds(lambda: [rhos[:2, :60].copy() for rhos in board()])

    # scipy: 60 of 10,000 resamples of 2 of 140 vectors of each class, the same ones
    part, slow = 60 / resamples * 2 / vectors, 0.0
    for (y, p), ours in zip(work, kept, strict=True):
        at = [np.repeat(np.arange(y.size), c.astype(int)) for c in drawn[y.size][:60]]
        seconds, reference = _seconds(
            lambda y=y, p=p, at=at: [
                [sps.spearmanr(y[d], row[d]).statistic for d in at] for row in p[:2]
            ]
        )
        slow += seconds
        assert ours == pytest.approx(np.array(reference), abs=1e-12)
    assert sum(len(p) for _, p in work) == 1820
    benchmark.extra_info["cpu seconds"] = round(fast, 1)
    benchmark.extra_info["scipy, cpu seconds, extrapolated"] = round(slow / part)
    benchmark.extra_info["ratio over scipy"] = round(slow / part / fast, 1)
    benchmark.pedantic(bootstrap_rho, (*work[-1], drawn[250][:500]), rounds=1)
    assert slow / part > 100 * fast


def test_jackknife_of_a_whole_board(benchmark):
    # 20 methods x 7 scenarios, on RG's four, Fis-V's two and FS1000's seven classes
    work = [
        _data(n, 140)[1:] for n, classes in ((50, 4), (100, 2), (250, 7)) for _ in range(classes)
    ]

    def board():
        return [jackknife_z(y, predictions) for y, predictions in work]

    seconds, results = min((_seconds(board) for _ in range(3)), key=lambda pair: pair[0])
    assert sum(len(z) for z, _ in results) == 1820
    benchmark.extra_info["cpu seconds"] = round(seconds, 3)
    benchmark.pedantic(board, rounds=2)

    y, predictions = work[-1]
    one = predictions[0]

    def loop():
        keep = ~np.eye(y.size, dtype=bool)
        return [sps.spearmanr(y[k], one[k]).statistic for k in keep]

    slow, reference = _seconds(loop)
    assert np.tanh(results[-1][1][0]) == pytest.approx(reference, abs=1e-12)
    # the loop does 1 of 1820 vectors
    benchmark.extra_info["ratio over scipy"] = round(slow * 1820 / seconds, 1)
    assert slow * 1820 > 100 * seconds
