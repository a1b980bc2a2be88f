"""Tie groups instead of strict ranks, and the Friedman / Nemenyi analysis for reference.

Nemenyi needs many independent data sets; with the three or six that exist here it separates
nothing, so it draws pictures and decides nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats as sps

from aqabench.errors import DataError
from aqabench.stats._checks import FloatArray, fraction
from aqabench.stats._results import quote_p

__all__ = ["FriedmanNemenyi", "TieGroups", "friedman_nemenyi", "tie_groups"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TieGroups:
    """Methods that cannot be told apart.

    Attributes:
        order: names by score, best first; undefined ones last.
        groups: maximal sets of mutually inseparable methods, best first, each in ``order``.
        top: methods not separated from the best one, in ``order``.
        best_rank: 1 + number of methods shown to be better, by name.
        worst_rank: number of methods not shown to be worse (itself counts), by name.
        undefined: methods without a score; they tie with nobody.
        alpha: a pair is separated when its adjusted p is below this.
    """

    order: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]
    top: tuple[str, ...]
    best_rank: dict[str, int]
    worst_rank: dict[str, int]
    undefined: tuple[str, ...]
    alpha: float

    def __str__(self) -> str:
        """Return the groups, e.g. ``{a, b} {b, c}; top: a, b``."""
        sets = " ".join("{" + ", ".join(group) + "}" for group in self.groups)
        last = f"; undefined: {', '.join(self.undefined)}" if self.undefined else ""
        return f"{sets}; top: {', '.join(self.top)}{last}"


def tie_groups(
    names: Sequence[str],
    scores: npt.ArrayLike,
    p_values: npt.ArrayLike,
    *,
    alpha: float = 0.05,
    higher_is_better: bool = True,
) -> TieGroups:
    """Group methods by which pairs are separated.

    Args:
        names: methods (k,).
        scores: their scores (k,); NaN is undefined and ranked last.
        p_values: adjusted p of every pair (k, k), symmetric; NaN counts as not separated.
        alpha: a pair is separated when its p is below this.
        higher_is_better: the direction of ``scores``.

    Raises:
        DataError: shapes that do not belong together, repeated names, an asymmetric matrix.

    Source: maximal cliques as in a compact letter display, Piepho (2004), JCGS 13, 456-466.
    """
    fraction("alpha", alpha)
    values, p = np.asarray(scores, dtype=np.float64), np.asarray(p_values, dtype=np.float64)
    k = len(names)
    if values.shape != (k,) or p.shape != (k, k) or len(set(names)) != k or k == 0:
        raise DataError(
            f"tie_groups needs k distinct names, scores (k,) and p values (k, k). Got {k} names, "
            f"{values.shape} and {p.shape} instead; pass PairTable.names and .p_adjusted."
        )
    off = ~np.eye(k, dtype=bool)
    if not np.array_equal(p[off], p.T[off], equal_nan=True):
        raise DataError(
            "p values of a pair must be the same both ways. Got an asymmetric matrix instead; "
            "pass PairTable.p_adjusted."
        )
    key = -values if higher_is_better else values
    ranked = [int(i) for i in np.argsort(key, kind="stable")]  # NaN sorts last
    defined = [i for i in ranked if not math.isnan(values[i])]
    apart = (p < alpha) & off
    tied = {i: {j for j in defined if j != i and not apart[i, j]} for i in defined}
    place = {i: at for at, i in enumerate(defined)}
    cliques = [sorted(c, key=place.__getitem__) for c in _cliques(tied)]
    cliques.sort(key=lambda c: [place[i] for i in c])
    best = {
        names[i]: 1 + sum(bool(apart[i, j]) and key[j] < key[i] for j in defined) for i in defined
    }
    worst = {
        names[i]: len(defined) - sum(bool(apart[i, j]) and key[j] > key[i] for j in defined)
        for i in defined
    }
    top = [i for i in defined if i == defined[0] or i in tied[defined[0]]]
    return TieGroups(
        order=tuple(names[i] for i in ranked),
        groups=tuple(tuple(names[i] for i in c) for c in cliques),
        top=tuple(names[i] for i in top),
        best_rank=best,
        worst_rank=worst,
        undefined=tuple(names[i] for i in ranked if math.isnan(values[i])),
        alpha=alpha,
    )


def _cliques(graph: dict[int, set[int]]) -> list[set[int]]:
    """Maximal cliques, by Bron & Kerbosch (1973) with the pivot of largest degree."""
    found: list[set[int]] = []

    def grow(clique: set[int], candidates: set[int], done: set[int]) -> None:
        if not candidates and not done:
            found.append(clique)
            return
        pivot = max(sorted(candidates | done), key=lambda i: len(graph[i] & candidates))
        for i in sorted(candidates - graph[pivot]):
            grow(clique | {i}, candidates & graph[i], done & graph[i])
            candidates = candidates - {i}
            done = done | {i}

    if graph:
        grow(set(), set(graph), set())
    return found


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class FriedmanNemenyi:
    """Friedman's test and Nemenyi's pairwise p values.

    Attributes:
        statistic: Friedman chi-square, corrected for ties (as R and scipy give it).
        df: its degrees of freedom, k - 1.
        p_value: of the chi-square.
        f_statistic: Iman and Davenport's F.
        f_p_value: of F with k - 1 and (k - 1)(n - 1) degrees of freedom.
        statistic_uncorrected: chi-square as textbooks give it, without the tie correction.
        f_uncorrected: F of the uncorrected chi-square.
        mean_ranks: average rank of each method (k,), 1 is best.
        critical_difference: of mean ranks, at ``alpha``.
        pairwise: Nemenyi p values (k, k), 1 on the diagonal.
        n: data sets.
        alpha: level of the critical difference.
    """

    statistic: float
    df: float
    p_value: float
    f_statistic: float
    f_p_value: float
    statistic_uncorrected: float
    f_uncorrected: float
    mean_ranks: FloatArray
    critical_difference: float
    pairwise: FloatArray
    n: int
    alpha: float

    def __str__(self) -> str:
        """Return the test and how large a gap in mean rank would have to be."""
        k = self.mean_ranks.size
        return (
            f"Friedman chi-square {self.statistic:.2f} with {self.df:.0f} degrees of freedom, "
            f"{quote_p(self.p_value)}; mean ranks must differ by {self.critical_difference:.2f} "
            f"of at most {k - 1} ({k} methods, {self.n} data sets)"
        )


def friedman_nemenyi(
    scores: npt.ArrayLike, *, alpha: float = 0.05, higher_is_better: bool = True
) -> FriedmanNemenyi:
    """Friedman's test over data sets, Nemenyi's test of every pair, and its critical difference.

    ``CD = q_alpha sqrt(k (k + 1) / (6 N))`` with q the studentised range over sqrt(2).

    Args:
        scores: one row per *independent* data set (n, k), one column per method; classes read
            from the same videos are not independent data sets.
        alpha: level of the critical difference.
        higher_is_better: the direction of ``scores``.

    Returns:
        NaN statistics when all methods tie on every data set.

    Raises:
        DataError: fewer than 2 data sets or methods, or NaN.

    Source: Friedman (1937); Nemenyi (1963); Iman & Davenport (1980); Demsar (2006), JMLR 7.
    """
    fraction("alpha", alpha)
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2 or min(table.shape) < 2 or np.isnan(table).any():
        raise DataError(
            f"scores must be (data sets, methods) with at least 2 of each and no NaN. Got shape "
            f"{table.shape} instead; leave out a data set that not every method has."
        )
    n, k = table.shape
    ranks = sps.rankdata(-table if higher_is_better else table, axis=1)  # (n, k)
    mean_ranks = np.asarray(ranks.mean(axis=0), dtype=np.float64)
    between = n * float(((mean_ranks - (k + 1) / 2) ** 2).sum())
    # with ties the ranks within a data set spread less than the k (k + 1) / 12 of 1..k
    spread = float(((ranks - (k + 1) / 2) ** 2).sum()) / (n * (k - 1))
    chi2 = between / spread if spread > 0.0 else math.nan
    plain = between * 12.0 / (k * (k + 1))
    f, f_plain = (_iman_davenport(value, n, k) for value in (chi2, plain))
    unit = math.sqrt(k * (k + 1) / (6.0 * n))
    gaps = np.abs(mean_ranks[:, None] - mean_ranks[None, :]) / unit
    pairwise = np.asarray(sps.studentized_range.sf(gaps * math.sqrt(2.0), k, np.inf))
    np.fill_diagonal(pairwise, 1.0)
    q = float(sps.studentized_range.ppf(1.0 - alpha, k, np.inf)) / math.sqrt(2.0)
    return FriedmanNemenyi(
        statistic=chi2,
        df=float(k - 1),
        p_value=float(sps.chi2.sf(chi2, k - 1)),
        f_statistic=f,
        f_p_value=float(sps.f.sf(f, k - 1, (k - 1) * (n - 1))),
        statistic_uncorrected=plain,
        f_uncorrected=f_plain,
        mean_ranks=mean_ranks,
        critical_difference=q * unit,
        pairwise=np.clip(pairwise, 0.0, 1.0),
        n=n,
        alpha=alpha,
    )


def _iman_davenport(chi2: float, n: int, k: int) -> float:
    """F of a Friedman chi-square; infinite when all data sets agree."""
    below = n * (k - 1) - chi2
    return (n - 1) * chi2 / below if below > 1e-9 or math.isnan(chi2) else math.inf
