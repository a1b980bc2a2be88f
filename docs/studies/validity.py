"""Simulate how often the tests and intervals of ``aqabench.stats`` are wrong.

    OMP_NUM_THREADS=1 python docs/studies/validity.py        # all of it, 5 to 6 minutes of one core
    python docs/studies/validity.py --only seeds --out FILE  # one part; the same numbers

writes ``validity.csv``, and from it ``validity.md`` and ``validity.svg``, beside this file.  Every
cell draws from a generator of its own, so that a part alone gives the numbers of the whole.  Data
are copula models and made-up recipes; nothing here is about real performances.
"""

from __future__ import annotations

import argparse
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.progress import track
from scipy import special
from scipy import stats as sps
from validity_page import HERE, PARTS, Row, write_all, write_rows

from aqabench.stats import (
    Cell,
    average_ci,
    compare_all,
    compare_average,
    compare_correlations,
    compare_mean_loss,
    compare_runs,
    compare_spearman,
    correlation_ci,
    non_inferiority,
    power,
    prepare,
    spearman,
    spearman_ci,
    tost,
)

Floats = npt.NDArray[np.float64]
Rng = np.random.Generator

DRAWS = 1000
SIZES = (50, 100, 250)
TEXTBOOK = ("williams", "steiger", "dunn-clark", "meng", "zou", "zou-bw")
ANALYTIC = ("fisher", "fieller", "bonett-wright")
RESAMPLED = 0.3
"""Share of the draws on which the slow tests, swap and bootstrap, are made."""
SWAPS, FLIPS, FAMILY = 201, 401, 301
"""Resamples for which p < 0.05 has a chance of almost exactly 5 %."""
GAP = MARGIN = 0.06
LARGE = 300_000
_SEED = 20261122


@dataclass(frozen=True)
class Design:
    """Two methods on one test list.

    Attributes:
        name: as in the tables.
        shape: ``gaussian`` or ``t4`` copula, ``ties`` (labels on some 15 levels), ``weak`` (both
            err three times as much on weak performances) or ``mirrored`` (A on weak ones, B on
            strong ones).
        rho: true Spearman correlation of each method, where the shape has that setting.
        r: that between the methods' predictions, where the shape has that setting.
    """

    name: str
    shape: str
    rho: float = 0.8
    r: float = 0.9


NULLS = (
    Design("gaussian, rho .7, r .8", "gaussian", 0.7, 0.8),
    Design("gaussian, rho .8, r .9", "gaussian"),
    Design("ties, rho .8, r .9", "ties"),
    Design("t4, rho .8, r .9", "t4"),
    Design("weak ones harder", "weak"),
    Design("each its own hard ones", "mirrored"),
)
AVERAGES = {"RG, 4 x 50": (4, 50), "Fis-V, 2 x 100": (2, 100), "FS1000, 7 x 250": (7, 250)}
SEEDS = ((3, 100), (5, 100), (10, 100), (5, 50), (5, 250))


@dataclass
class Tally:
    """How often something happened, by quantity and method."""

    counts: dict[tuple[str, str], list[int]] = field(default_factory=dict)

    def add(self, quantity: str, method: str, hit: bool) -> None:
        """Count one draw."""
        pair = self.counts.setdefault((quantity, method), [0, 0])
        pair[0] += bool(hit)
        pair[1] += 1

    def rows(
        self, part: str, design: str, n: int, nominal: dict[str, float], rho: float, r: float
    ) -> list[Row]:
        """Return what was counted."""
        return [
            Row(part, design, n, quantity, method, nominal[quantity], hits, draws, rho, r)
            for (quantity, method), (hits, draws) in self.counts.items()
        ]


def draw_pair(
    rng: Rng, design: Design, n: int, delta: float = 0.0
) -> tuple[Floats, Floats, Floats]:
    """Draw labels and predictions of A and B (n,); A is better by ``delta`` (copulas only)."""
    if design.shape in ("weak", "mirrored"):
        y, common, own_a, own_b = rng.normal(size=(4, n))
        weak, strong = 1.0 + 2.0 * special.ndtr(-y), 1.0 + 2.0 * special.ndtr(y)
        scale = strong if design.shape == "mirrored" else weak
        a = y + 0.33 * weak * (0.85 * common + 0.53 * own_a)
        return y, a, y + 0.33 * scale * (0.85 * common + 0.53 * own_b)
    rhos = (design.rho + delta / 2, design.rho - delta / 2)
    y, (a, b) = draw_copula(rng, n, rhos, design.r, 4.0 if design.shape == "t4" else math.inf)
    return (np.round(y / 0.4) if design.shape == "ties" else y), a, b


def draw_copula(
    rng: Rng, n: int, rhos: Sequence[float], r: float, tail: float = math.inf
) -> tuple[Floats, Floats]:
    """Labels (n,) and predictions (k, n) of a Gaussian copula, or of a t copula with ``tail`` df.

    ``rhos`` and ``r`` are Spearman correlations of the Gaussian one.
    """
    k = len(rhos)
    matrix = np.full((k + 1, k + 1), _pearson(r))
    np.fill_diagonal(matrix, 1.0)
    matrix[0, 1:] = matrix[1:, 0] = [_pearson(rho) for rho in rhos]
    x = rng.normal(size=(n, k + 1)) @ np.linalg.cholesky(matrix).T
    if math.isfinite(tail):  # a video that is hard is hard for all
        x /= np.sqrt(rng.chisquare(tail, size=(n, 1)) / tail)
    return x[:, 0], x[:, 1:].T


def _pearson(rho: float) -> float:
    return 2.0 * math.sin(math.pi * rho / 6.0)


@lru_cache(maxsize=16)
def truth(design: Design) -> tuple[float, float]:
    """Return rho of A and the methods' correlation, of so many videos that they count as true."""
    if design.shape == "gaussian":
        return design.rho, design.r
    y, a, b = draw_pair(_generator("truth", design.name, 0), design, LARGE)
    return float(spearman(y, a)), float(spearman(a, b))


def _generator(part: str, design: str, n: int) -> Rng:
    return np.random.default_rng([_SEED, zlib.crc32(f"{part}|{design}|{n}".encode())])


def paired(design: Design, n: int, draws: int, rng: Rng) -> list[Row]:
    """Simulate two equally good methods: false alarms of every test, coverage of every interval."""
    tally, (rho, r) = Tally(), truth(design)
    for i in range(draws):
        y, a, b = draw_pair(rng, design, n)
        base = compare_spearman(y, a, b)
        alarm = partial(tally.add, "false alarms")
        alarm("jackknife", base.significant)
        for method in TEXTBOOK:
            args = (base.estimate_a, base.estimate_b, base.r_ab, n, method)
            alarm(method, compare_correlations(*args).significant)
        covers = partial(tally.add, "coverage")
        ci = spearman_ci(y, a)
        covers("jackknife", ci.low <= rho <= ci.high)
        for method in ANALYTIC:
            own = correlation_ci(ci.estimate, n, method)
            covers(method, own.low <= rho <= own.high)
        if i < RESAMPLED * draws:
            swap = compare_spearman(y, a, b, "swap", n_resamples=SWAPS, rng=rng)
            alarm("swap", swap.significant)
            alarm("jackknife and swap", base.significant and swap.significant)
            drawn = compare_spearman(y, a, b, "bootstrap", n_resamples=SWAPS, rng=rng)
            alarm("bootstrap", drawn.significant)
            ci = spearman_ci(y, a, "bootstrap", n_resamples=SWAPS, rng=rng)
            covers("bootstrap", ci.low <= rho <= ci.high)
    nominal = {"false alarms": 0.05, "coverage": 0.95}
    return tally.rows("paired", design.name, n, nominal, rho, r)


def gaps(design: Design, n: int, draws: int, rng: Rng) -> list[Row]:
    """Let B be worse by :data:`GAP`: power, and non-inferiority where it is exactly not true."""
    tally = Tally()
    for i in range(draws):
        y, a, b = draw_pair(rng, design, n, GAP)
        worse = compare_spearman(y, b, a)
        tally.add("power", "jackknife", worse.significant)
        for method in TEXTBOOK:
            args = (worse.estimate_a, worse.estimate_b, worse.r_ab, n, method)
            tally.add("power", method, compare_correlations(*args).significant)
        tally.add("as good as", "non_inferiority", non_inferiority(worse, MARGIN).shown)
        tally.add("as good as", "tost", tost(worse, MARGIN).shown)
        if i < RESAMPLED * draws:
            swap = compare_spearman(y, b, a, "swap", n_resamples=SWAPS, rng=rng).significant
            tally.add("power", "swap", swap)
            tally.add("power", "jackknife and swap", swap and worse.significant)
            drawn = compare_spearman(y, b, a, "bootstrap", n_resamples=SWAPS, rng=rng)
            tally.add("power", "bootstrap", drawn.significant)
    nominal = {"power": power(n, design.rho, design.r, GAP), "as good as": 0.05}
    return tally.rows("gaps", design.name, n, nominal, *truth(design))


def recipe(rng: Rng, y: Floats, hard: Floats, ids: list[str], seeds: int) -> list[Cell]:
    """Train a recipe ``seeds`` times: its errors are mostly its own, some seeds are luckier."""
    own = rng.normal(size=y.size)
    cells = []
    for seed in range(seeds):
        luck = 0.65 * (1 + 0.03 * rng.normal())
        error = 0.85 * hard + 0.42 * own + 0.3 * rng.normal(size=y.size)
        cells.append(Cell("TES", "full", seed, ids, y, y + luck * error))
    return cells


@lru_cache(maxsize=1)
def recipe_truth() -> float:
    """Return the Fisher z that the recipe reaches on average."""
    rng = _generator("truth", "recipe", 0)
    y, hard = rng.normal(size=(2, LARGE // 5))
    cells = [cell for _ in range(6) for cell in recipe(rng, y, hard, [], 5)]
    return float(np.mean([math.atanh(spearman(c.y, c.p)) for c in cells]))


def seeds(count: int, n: int, draws: int, rng: Rng) -> list[Row]:
    """Compare two equally good recipes, each trained ``count`` times, on new videos every time."""
    tally, ids = Tally(), [f"{i:03d}" for i in range(n)]
    for _ in range(int(0.6 * draws)):
        y, hard = rng.normal(size=(2, n))
        a, b = (prepare(recipe(rng, y, hard, ids, count)) for _ in range(2))
        alarm = partial(tally.add, "false alarms")
        alarm("compare_runs", compare_runs(a, b).significant)
        alarm(
            "compare_runs, conservative",
            compare_runs(a, b, seed_term="conservative").significant,
        )
        alarm("compare_average", compare_average(a, b).significant)
        over_seeds = sps.ttest_ind(np.tanh(a.z), np.tanh(b.z), equal_var=False)
        alarm("t-test over seeds", bool(over_seeds.pvalue < 0.05))
        ci, z = average_ci(a), recipe_truth()
        tally.add("coverage", "average_ci", ci.low <= math.tanh(z) <= ci.high)
        half = sps.t.ppf(0.975, count - 1) * a.z.std(ddof=1) / math.sqrt(count)
        tally.add("coverage", "mean over seeds +- t SE", bool(abs(a.z.mean() - z) <= half))
    nominal = {"false alarms": 0.05, "coverage": 0.95}
    rho = math.tanh(recipe_truth())
    return tally.rows("seeds", f"{count} seeds", n, nominal, rho, math.nan)


def scores(
    rng: Rng, n: int, classes: int, own_videos: bool
) -> tuple[list[Cell], list[Cell], list[str]]:
    """Draw cells of two equal methods: scores of the same videos, or classes of their own."""
    talent, hard = rng.normal(size=(2, n))
    own = rng.normal(size=(2, n))
    both: tuple[list[Cell], list[Cell]] = ([], [])
    names = [f"score {c}" for c in range(classes)]
    for name in names:
        if own_videos:
            talent, hard = rng.normal(size=(2, n))
            own = rng.normal(size=(2, n))
        ids = [f"{name if own_videos else ''}{i:03d}" for i in range(n)]
        y = talent + 0.5 * rng.normal(size=n)
        for cells, error in zip(both, own, strict=True):
            p = y + 0.6 * hard + 0.4 * error + 0.3 * rng.normal(size=n)
            cells.append(Cell(name, "full", 0, ids, y, p))
    return both[0], both[1], names


@lru_cache(maxsize=1)
def score_truth() -> float:
    """Return the Spearman correlation of each score, the same for all."""
    (cell,), _, _ = scores(_generator("truth", "scores", 0), LARGE, 1, own_videos=False)
    return float(spearman(cell.y, cell.p))


def averages(name: str, draws: int, rng: Rng) -> list[Row]:
    """Compare two equally good methods on the mean over the classes of a data set."""
    (classes, n), tally, rho = AVERAGES[name], Tally(), score_truth()
    own_videos = name.startswith("RG")
    for _ in range(int(0.4 * draws)):
        a_cells, b_cells, _ = scores(rng, n, classes, own_videos)
        a, b = prepare(a_cells), prepare(b_cells)
        alarm, covers = partial(tally.add, "false alarms"), partial(tally.add, "coverage")
        alarm("compare_average", compare_average(a, b).significant)
        linear = compare_average(a, b, method="swap-linear", n_resamples=FLIPS, rng=rng)
        alarm("compare_average, swap-linear", linear.significant)
        ci = average_ci(a)
        covers("average_ci", ci.low <= rho <= ci.high)
        gap = [float((one.z - other.z)[0]) for one, other in zip(a.tests, b.tests, strict=True)]
        alarm("t-test over classes", bool(sps.ttest_1samp(gap, 0.0).pvalue < 0.05))
        if not own_videos:
            a, b = (prepare(c, independent_classes=True) for c in (a_cells, b_cells))
            alarm("classes as if independent", compare_average(a, b).significant)
            ci = average_ci(a)
            covers("classes as if independent", ci.low <= rho <= ci.high)
    nominal = {"false alarms": 0.05, "coverage": 0.95}
    return tally.rows("averages", name, n, nominal, rho, math.nan)


def families(n: int, draws: int, rng: Rng, methods: int = 8) -> list[Row]:
    """Compare all pairs of equally good methods: how often is any of them separated?"""
    tally, ids = Tally(), [f"{i:03d}" for i in range(n)]
    upper = np.triu_indices(methods, 1)
    for _ in range(int(0.25 * draws)):
        y, predictions = draw_copula(rng, n, (0.8,) * methods, 0.9)
        board = {str(k): [Cell("TES", "full", 0, ids, y, p)] for k, p in enumerate(predictions)}
        table = compare_all(board, n_resamples=FAMILY, rng=rng)
        for method, p in (
            ("max-T", table.p_max_t),
            ("Holm", table.p_holm),
            ("not adjusted", table.p_raw),
        ):
            tally.add("any false alarm", method, bool((p[upper] < 0.05).any()))
    name = f"{methods} methods, {upper[0].size} pairs"
    return tally.rows("families", name, n, {"any false alarm": 0.05}, 0.8, 0.9)


def draw_errors(rng: Rng, shape: str, n: int) -> tuple[Floats, Floats]:
    """Errors (n,) of two methods with the same mean square: normal, heavy (t5), or skew."""
    if shape == "skew":  # A errs little but for one video in ten
        rare = rng.random(n) < 0.1
        usual = math.sqrt((1 - 0.1 * 2.9**2) / 0.9)
        return rng.normal(size=n) * np.where(rare, 2.9, usual), rng.normal(size=n)
    drawn = rng.standard_t(5, size=(3, n)) if shape == "heavy" else rng.normal(size=(3, n))
    common, a, b = np.asarray(drawn)
    return 0.83 * common + 0.55 * a, 0.83 * common + 0.55 * b


def losses(shape: str, n: int, draws: int, rng: Rng) -> list[Row]:
    """Compare the mean squared errors of two methods whose true ones are equal."""
    tally = Tally()
    alarm = partial(tally.add, "false alarms")
    for _ in range(draws):
        a, b = (error**2 for error in draw_errors(rng, shape, n))
        flips = compare_mean_loss(a, b, n_resamples=FLIPS, rng=rng)
        alarm("sign-flip", flips.significant)
        alarm("sign-flip and log ratio", flips.significant and flips.log_ratio_p < 0.05)
        for method in ("t", "wilcoxon"):
            alarm(method, compare_mean_loss(a, b, method).significant)
    nominal = {"false alarms": 0.05}
    return tally.rows("losses", f"{shape} errors", n, nominal, math.nan, math.nan)


Job = tuple[str, str, int, Callable[[int, Rng], list[Row]]]


def jobs(only: Sequence[str] = ()) -> Iterator[Job]:
    """List the cells of the study: part, design, number of videos, and what simulates it."""
    every: list[Job] = [("paired", d.name, n, partial(paired, d, n)) for d in NULLS for n in SIZES]
    every += [("gaps", NULLS[1].name, n, partial(gaps, NULLS[1], n)) for n in SIZES]
    every += [("seeds", f"{count} seeds", n, partial(seeds, count, n)) for count, n in SEEDS]
    every += [("averages", a, n, partial(averages, a)) for a, (_, n) in AVERAGES.items()]
    every += [("families", "8 methods", n, partial(families, n)) for n in SIZES]
    shapes = ("normal", "heavy", "skew")
    every += [("losses", s, n, partial(losses, s, n)) for s in shapes for n in SIZES]
    return (job for job in every if not only or job[0] in only)


def run(draws: int, only: Sequence[str] = (), progress: bool = False) -> list[Row]:
    """Simulate the cells of some parts, or all.

    Args:
        draws: test lists per cell; the slower tests take a share of them.
        only: names of parts; all by default.
        progress: show a bar on the terminal.
    """
    cells = list(jobs(only))
    shown = track(cells, "simulating", disable=not progress)
    return [row for part, name, n, one in shown for row in one(draws, _generator(part, name, n))]


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate, and write the table, the page and the picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--draws", type=int, default=DRAWS, help="test lists per cell")
    parser.add_argument("--only", action="append", default=[], choices=PARTS, help="parts to run")
    parser.add_argument("--out", type=Path, default=HERE / "validity.csv", help="the table")
    given = parser.parse_args(arguments)
    rows = run(given.draws, given.only, progress=True)
    if given.only:
        write_rows(rows, given.out)
    else:
        write_all(rows, given.out)


if __name__ == "__main__":
    main()
