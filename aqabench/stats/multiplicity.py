"""Many comparisons at once: Holm, Benjamini-Hochberg, and max-T over a board's pairs.

Twenty equally good methods give at least one "significant" pair in 9 boards of 10 when nothing
is adjusted.  Max-T uses that all pairs share their videos; Holm is the fall-back that needs p
values only.  BH is for exploratory lists of cells, never for a ranking.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from aqabench.errors import DataError, UsageError
from aqabench.stats._bootstrap import bootstrap_all
from aqabench.stats._cells import CellInput, CellTable, prepare
from aqabench.stats._checks import FloatArray, choose
from aqabench.stats._kernel import draw_counts
from aqabench.stats._linear import contributions
from aqabench.stats._results import Comparison, quote_p
from aqabench.stats._wald import MAX_DROPPED, normal_score
from aqabench.stats.averages import compare_average, compare_runs

__all__ = ["MaxT", "PairTable", "adjust", "compare_all", "draw_videos", "max_t"]

WORK = 5 * 10**10
"""Predictions x resamples x videos of a test up to which resamples are ranked again; some 3 s."""


def adjust(p: npt.ArrayLike, method: str = "holm") -> FloatArray:
    """Adjusted p values of one family.

    NaN values are undefined comparisons: they are left out of the family and put back as NaN.

    Args:
        p: raw p values (m,).
        method: ``"holm"`` (any error in the family) or ``"bh"`` (false discovery rate).

    Returns:
        Adjusted p values (m,), at most 1.

    Raises:
        DataError: a p value outside [0, 1].

    Source: Holm (1979), Scand. J. Stat. 6, 65-70; Benjamini & Hochberg (1995), JRSS B 57,
    289-300.
    """
    choose("method", method, ("holm", "bh"))
    raw = np.asarray(p, dtype=np.float64)
    values = raw.ravel()
    defined = values[~np.isnan(values)]
    if ((defined < 0) | (defined > 1)).any():
        odd = defined[(defined < 0) | (defined > 1)][0]
        raise DataError(f"p values must lie in [0, 1]. Got {odd} instead; pass raw p values.")
    order = np.argsort(defined, kind="stable")
    m = defined.size
    steps = np.empty(m)
    if method == "holm":
        steps[order] = np.maximum.accumulate(defined[order] * np.arange(m, 0, -1))
    else:
        ratios = defined[order] * m / np.arange(1, m + 1)
        steps[order] = np.minimum.accumulate(ratios[::-1])[::-1]
    out = np.full(values.shape, np.nan)
    out[~np.isnan(values)] = np.minimum(steps, 1.0)
    return out.reshape(raw.shape)


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class MaxT:
    """Adjusted p values of a family of differences that share their videos.

    Attributes:
        p_value: step-down adjusted p (m,); the ones to report.
        p_single_step: single-step adjusted p (m,).
        statistic: ``|difference| / SE`` (m,).
        critical: a difference of more than this many SE is significant at 5 % (single step).
        n_resamples: resamples used.
        dropped: undefined resamples left out.
    """

    p_value: FloatArray
    p_single_step: FloatArray
    statistic: FloatArray
    critical: float
    n_resamples: int
    dropped: int

    def __str__(self) -> str:
        """Return how many differences of the family are significant, and the least p."""
        defined = self.p_value[~np.isnan(self.p_value)]
        if not defined.size:
            return "max-T: no defined difference"
        return (
            f"max-T over {defined.size} differences ({self.n_resamples} resamples): "
            f"{int((defined < 0.05).sum())} significant at 5 %, smallest {quote_p(defined.min())}"
        )


def max_t(
    differences: npt.ArrayLike,
    standard_errors: npt.ArrayLike,
    replicates: npt.ArrayLike,
) -> MaxT:
    """Single-step and step-down max-T from a paired bootstrap.

    ``T_j = |d_j| / SE_j``, ``T*_j = |d*_j - d_j| / SE_j`` with the same resampled videos for all
    j, ``p_j = (1 + #{max_k T*_k >= T_j}) / (B + 1)``; step-down takes the maximum over the
    differences that are not larger, then the running maximum of p.

    Args:
        differences: d (m,); NaN ones are left out and put back.
        standard_errors: their standard errors (m,).
        replicates: bootstrap replicates of d (b, m); rows with NaN are dropped.

    Returns:
        All NaN when more than 1 % of the resamples are undefined.

    Raises:
        DataError: shapes that do not belong together.

    Source: Westfall & Young (1993); Romano & Wolf (2005), Econometrica 73, 1237-1282.
    """
    d, se = (np.atleast_1d(np.asarray(v, np.float64)) for v in (differences, standard_errors))
    draws = np.asarray(replicates, dtype=np.float64)
    if draws.ndim != 2 or not d.shape == se.shape == (draws.shape[1],):
        raise DataError(
            f"max_t needs differences (m,), standard errors (m,) and replicates (b, m). Got "
            f"{d.shape}, {se.shape} and {draws.shape} instead; stack one column per difference."
        )
    known = np.isfinite(d) & np.isfinite(se)
    statistic = np.where(known, _over(np.abs(d), se), np.nan)
    return _step_down(statistic, np.where(np.isfinite(draws), _over(np.abs(draws - d), se), np.nan))


def _step_down(statistic: FloatArray, resampled: FloatArray) -> MaxT:
    """Adjust T (m,) by T* (b, m); NaN is undefined in both."""
    known = ~np.isnan(statistic)
    usable = ~np.isnan(resampled[:, known]).any(axis=1)
    dropped = int((~usable).sum())
    single, stepped = (np.full(statistic.shape, np.nan) for _ in range(2))
    if dropped > MAX_DROPPED * len(resampled) or not known.any():
        return MaxT(
            p_value=stepped, p_single_step=single, statistic=statistic, critical=math.nan,
            n_resamples=int(usable.sum()), dropped=dropped,
        )  # fmt: skip
    observed, resampled = statistic[known], resampled[usable][:, known]
    largest = resampled.max(axis=1)
    single[known] = _share(largest, observed)
    order = np.argsort(observed, kind="stable")  # from the smallest up
    running = np.maximum.accumulate(resampled[:, order], axis=1)
    p = np.array([_share(running[:, i], observed[order[i : i + 1]])[0] for i in range(order.size)])
    down = np.empty(order.size)
    down[order] = np.maximum.accumulate(p[::-1])[::-1]
    stepped[known] = down
    return MaxT(
        p_value=stepped,
        p_single_step=single,
        statistic=statistic,
        critical=float(np.quantile(largest, 0.95)),
        n_resamples=int(usable.sum()),
        dropped=dropped,
    )


def _over(size: FloatArray, se: FloatArray) -> FloatArray:
    """``size / se`` with 0/0 = 0: two methods with the same rankings never differ."""
    out = np.full(np.broadcast_shapes(size.shape, se.shape), np.inf)
    out[size <= 1e-12] = 0.0
    return np.asarray(np.divide(size, se, out=out, where=(se > 0) & (size > 1e-12)))


def _share(resampled: FloatArray, observed: FloatArray) -> FloatArray:
    """``(1 + #{resampled >= t}) / (b + 1)`` for every t in ``observed`` (m,)."""
    ordered = np.sort(resampled)
    at_least = ordered.size - np.searchsorted(ordered, observed * (1 - 1e-12), side="left")
    return np.asarray((1.0 + at_least) / (1.0 + ordered.size))


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class PairTable:
    """All pairs of a board.

    Attributes:
        names: methods, in the order given.
        comparisons: jackknife comparison of every pair (first name is A).
        p_raw: raw p (k, k), symmetric, NaN on the diagonal.
        p_max_t: step-down max-T p (k, k); all NaN when no resamples were asked for.
        p_holm: Holm p (k, k).
        n_resamples: bootstrap resamples behind ``p_max_t``.
    """

    names: tuple[str, ...]
    comparisons: Mapping[tuple[str, str], Comparison]
    p_raw: FloatArray
    p_max_t: FloatArray
    p_holm: FloatArray
    n_resamples: int

    @property
    def p_adjusted(self) -> FloatArray:
        """Max-T where it was computed, else Holm (k, k)."""
        return self.p_holm if np.isnan(self.p_max_t).all() else self.p_max_t

    def __str__(self) -> str:
        """Return how many pairs are separated, raw and adjusted."""
        upper = np.triu_indices(len(self.names), 1)
        kind = "Holm" if np.isnan(self.p_max_t).all() else "max-T"
        return (
            f"{int((self.p_adjusted[upper] < 0.05).sum())} of {upper[0].size} pairs separated at "
            f"5 % ({kind}), {int((self.p_raw[upper] < 0.05).sum())} before adjustment"
        )


def compare_all(
    methods: Mapping[str, Sequence[CellInput] | CellTable],
    *,
    seeds: bool = True,
    level: float = 0.95,
    n_resamples: int = 9999,
    rng: np.random.Generator | None = None,
    independent_classes: bool = False,
    undefined_as_zero: bool = False,
) -> PairTable:
    """Compare every pair of a board, and adjust over all pairs.

    Args:
        methods: cells (or prepared tables) by method name, all on the same tests.
        seeds: ``True`` for :func:`compare_runs`, ``False`` for :func:`compare_average`.
        level: nominal coverage of the intervals.
        n_resamples: bootstrap resamples for max-T; 0 for Holm alone.  Beyond :data:`WORK`, what
            each video contributes is resampled instead of ranked again.
        rng: generator for them; a fixed one (seed 0) by default.
        independent_classes: see :func:`aqabench.stats.prepare`.
        undefined_as_zero: see :func:`aqabench.stats.prepare`.

    Raises:
        UsageError: fewer than two methods.
        DataError: the methods were not tested on the same videos.
    """
    if len(methods) < 2:
        raise UsageError(
            f"a comparison needs at least two methods. Got {len(methods)} instead; add another."
        )
    tables = {
        name: prepare(
            cells, independent_classes=independent_classes, undefined_as_zero=undefined_as_zero
        )
        for name, cells in methods.items()
    }
    names = tuple(tables)
    compare = compare_runs if seeds else compare_average
    pairs = {(a, b): compare(tables[a], tables[b], level=level) for a, b in combinations(names, 2)}
    results = list(pairs.values())
    raw = np.array([c.p_value for c in results])
    stepped = np.full(raw.shape, np.nan)
    if n_resamples:
        rng = rng or np.random.default_rng(0)
        stepped = _max_t_of_pairs(tables, results, n_resamples, rng, seeds)
    return PairTable(
        names=names,
        comparisons=pairs,
        p_raw=_square(raw, len(names)),
        p_max_t=_square(stepped, len(names)),
        p_holm=_square(adjust(raw), len(names)),
        n_resamples=n_resamples,
    )


def _max_t_of_pairs(
    tables: Mapping[str, CellTable],
    results: list[Comparison],
    n_resamples: int,
    rng: np.random.Generator,
    seeds: bool,
) -> FloatArray:
    """Step-down max-T p of every pair (pairs,), in resamples of the videos and of the seeds.

    T is the normal score of the pair's own p: Student's statistics of 2 and of 99 degrees of
    freedom cannot be held against each other, and the mean of three seeds that differ has 2.  So
    seeds are drawn as well, each method's mean and its variance from what its seeds say, as in the
    parametric bootstrap of means with unequal variances; resamples of videos alone would leave out
    most of the luck where seeds differ more than videos do.

    Source: Westfall & Young (1993), ch. 2 (min-P); Krishnamoorthy, Lu & Mathew (2007), Comput.
    Stat. Data Anal. 51, 5731-5742.
    """
    methods = list(tables.values())
    first = methods[0]
    counts = draw_videos(rng, n_resamples, first.components)
    vectors = len(methods) * len(first.seeds) * sum(test.y.size**2 for test in first.tests)
    if vectors * n_resamples > WORK:
        z = np.stack([contributions(t) for t in methods]) @ counts.T  # (k, b)
    else:
        z = bootstrap_all(methods, counts)
    shift, spread, seed_df = _drawn_seeds(methods, n_resamples, rng, seeds)
    z = z + shift
    a, b = np.triu_indices(len(methods), 1)
    samples = np.array([[c.variance_samples] for c in results])  # (pairs, 1)
    sample_df = np.array([[c.df_samples] for c in results])
    variance = samples + spread[a] + spread[b]  # (pairs, b)
    below = spread[a] ** 2 / seed_df[a] + spread[b] ** 2 / seed_df[b]
    df = variance**2 / (samples**2 / sample_df + below)
    gaps = z[a] - z[b] - np.array([[c.difference_z] for c in results])
    drawn = normal_score(gaps / np.sqrt(variance), df)  # (pairs, b)
    observed = normal_score(*np.array([(c.statistic, c.df) for c in results]).T)  # (pairs,)
    # a pair of identical rankings has no statistic and a difference of exactly 0: T = 0, p = 1
    same = np.array([c.p_value == 1.0 and math.isnan(c.statistic) for c in results])
    drawn[same], observed[same] = 0.0, 0.0
    return _step_down(observed, drawn.T).p_value


def _drawn_seeds(
    methods: Sequence[CellTable], n_resamples: int, rng: np.random.Generator, seeds: bool
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Draw what other seeds would have given.

    Returns:
        Shifts of each method's mean (k, b), variances as such seeds would show them (k, b), and
        their degrees of freedom (k, 1).
    """
    size = len(methods), n_resamples
    df = np.array([[max(len(t.seeds) - 1, 1)] for t in methods], dtype=np.float64)
    excess = np.array([[t.seed_excess if seeds else 0.0] for t in methods])
    if not excess.any():
        return np.zeros(size), np.zeros(size), df
    shift = np.sqrt(excess) * rng.normal(size=size)
    return shift, excess * rng.chisquare(df, size=size) / df, df


def draw_videos(
    rng: np.random.Generator, n_resamples: int, components: npt.NDArray[np.intp]
) -> FloatArray:
    """Bootstrap multiplicities (b, n), drawn within each component of videos.

    So an independent class keeps its size, and classes on the same videos share their draw.
    """
    counts = np.empty((n_resamples, components.size))
    for component in range(int(components.max()) + 1):
        columns = np.flatnonzero(components == component)
        counts[:, columns] = draw_counts(rng, n_resamples, columns.size)
    return counts


def _square(values: FloatArray, k: int) -> FloatArray:
    """Symmetric (k, k) matrix of the pairs' values, NaN on the diagonal."""
    out = np.full((k, k), np.nan)
    upper = np.triu_indices(k, 1)
    out[upper] = values
    out.T[upper] = values
    return out
