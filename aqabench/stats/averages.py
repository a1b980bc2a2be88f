"""Averages over classes, scenarios and seeds: their interval, and the test of A against B.

The unit is the *video*: deleting one deletes every score, scenario and seed of it, because
Fis-V's two and FS1000's seven scores are read from the same videos (RG's four classes are not,
and there the variances add up).  Seeds are nested in methods and never paired.

Refuses a test over seeds alone: on one test set it proves, ever more surely, that the test set
prefers A.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from aqabench.errors import DataError
from aqabench.stats._cells import CellInput, CellTable, check_same_tests, mean_overlap, prepare
from aqabench.stats._checks import MIN_TEST, SAME, SMALL, choose, fraction
from aqabench.stats._linear import swap_linear
from aqabench.stats._permutation import swap_average
from aqabench.stats._results import Comparison, Flag, Interval, Reason, Status
from aqabench.stats._wald import (
    jackknife_variance,
    perfect_variance,
    satterthwaite,
    seed_excess,
    wald_comparison,
    wald_interval,
)

__all__ = [
    "average_ci",
    "compare_average",
    "compare_choices",
    "compare_runs",
    "compare_tables",
]

_SEED_TERMS = ("components", "conservative")


def average_ci(
    cells: Sequence[CellInput] | CellTable,
    *,
    level: float = 0.95,
    seed_term: str = "components",
    independent_classes: bool = False,
    undefined_as_zero: bool = False,
) -> Interval:
    """Interval of the Fisher-z average over classes, scenarios and seeds.

    ``theta = mean atanh(rho)``; ``SE^2 = V_samples + max(0, s2 - gamma2) / S`` with ``s2`` the
    variance over seeds of ``theta_s`` and
    ``gamma2 = S / (S - 1) (mean_s V_jack(theta_s) - V_jack(theta))`` the part of it that is
    already in ``V_samples``.  It is about the recipe on new videos of this kind.

    Args:
        cells: one method's cells, or a prepared table.
        level: nominal coverage.
        seed_term: ``"components"``, or ``"conservative"`` for ``SE^2 = V_samples + s2 / S``.
        independent_classes: see :func:`prepare`.
        undefined_as_zero: see :func:`prepare`.

    Returns:
        Undefined (with a reason) when any cell is; no interval below 10 videos per test.
    """
    choose("seed_term", seed_term, _SEED_TERMS)
    fraction("level", level)
    table = prepare(
        cells, independent_classes=independent_classes, undefined_as_zero=undefined_as_zero
    )
    base = Interval(
        estimate=math.nan,
        level=level,
        n=table.n,
        n_seeds=len(table.seeds),
        n_classes=table.n_classes,
        n_scenarios=table.n_scenarios,
        flags=_size_flags(table),
    )
    if table.reason:
        return replace(base, status=Status.UNDEFINED, reason=table.reason)
    z, per_seed = float(table.z.mean()), np.tanh(table.z)
    seed_sd = float(per_seed.std(ddof=1)) if len(table.seeds) > 1 else math.nan
    base = replace(base, estimate=math.tanh(z), z=z, seed_sd=seed_sd)
    if table.smallest < MIN_TEST:
        return replace(base, reason=Reason.TOO_FEW)
    samples = table.samples
    base = replace(base, dropped=samples.dropped)
    if math.isnan(samples.variance):
        return replace(base, reason=Reason.UNDEFINED_RESAMPLES)
    variance = samples.variance
    if variance <= 0.0:
        variance = perfect_variance(table.smallest)
        base = replace(base, flags=(*base.flags, Flag.ANALYTIC_SE))
    excess = _seed_spread(table, seed_term)
    base = replace(base, variance_samples=variance, variance_seeds=excess)
    df = satterthwaite([(variance, samples.df), (excess, len(table.seeds) - 1)])
    return wald_interval(base, z, math.sqrt(variance + excess), df)


def compare_average(
    cells_a: Sequence[CellInput] | CellTable,
    cells_b: Sequence[CellInput] | CellTable,
    *,
    method: str = "jackknife",
    level: float = 0.95,
    independent_classes: bool = False,
    undefined_as_zero: bool = False,
    n_resamples: int = 1999,
    rng: np.random.Generator | None = None,
) -> Comparison:
    """Compare two methods' averages as *these trained networks on new videos*.

    The seeds given are averaged and taken as fixed; :func:`compare_runs` adds the variance of
    training again.

    Args:
        cells_a: cells of A, or a prepared table.
        cells_b: cells of B on the same classes, scenarios and videos.
        method: ``"jackknife"`` (Wald on Fisher z, t), ``"swap"`` (studentised permutation that
            exchanges the two methods on whole videos, then ranks again), or ``"swap-linear"``
            (the same with what each video contributes; for some hundred videos and more).
        level: nominal coverage of the interval.
        independent_classes: see :func:`prepare`.
        undefined_as_zero: see :func:`prepare`.
        n_resamples: permutations for the swaps.
        rng: generator for them; a fixed one (seed 0) by default.

    Raises:
        DataError: the two were not tested on the same classes, scenarios, videos and labels.
    """
    choose("method", method, ("jackknife", "swap", "swap-linear"))
    a, b = (
        prepare(c, independent_classes=independent_classes, undefined_as_zero=undefined_as_zero)
        for c in (cells_a, cells_b)
    )
    result = compare_tables(a, b, level)
    if method == "jackknife" or result.status is not Status.OK or math.isnan(result.p_value):
        return replace(result, method=method)
    swap = swap_average if method == "swap" else swap_linear
    return swap(a, b, result, n_resamples, rng or np.random.default_rng(0))


def compare_runs(
    cells_a: Sequence[CellInput] | CellTable,
    cells_b: Sequence[CellInput] | CellTable,
    *,
    level: float = 0.95,
    seed_term: str = "components",
    independent_classes: bool = False,
    undefined_as_zero: bool = False,
) -> Comparison:
    """Compare two recipes on new videos: samples and seeds together (the default test).

    ``SE^2 = V_samples(theta_A - theta_B) + sum_m max(0, s2_m - gamma2_m) / S_m``, Satterthwaite
    degrees of freedom; see :func:`average_ci` for the seed term.  The two methods may have
    different seeds and different numbers of them.  With one seed the seed variance is unknown
    and the result carries the flag ``single_seed``.

    Args:
        cells_a: cells of A, or a prepared table.
        cells_b: cells of B on the same classes, scenarios and videos.
        level: nominal coverage of the interval.
        seed_term: ``"components"`` or ``"conservative"`` (all of ``s2_m / S_m``).
        independent_classes: see :func:`prepare`.
        undefined_as_zero: see :func:`prepare`.

    Raises:
        DataError: the two were not tested on the same classes, scenarios, videos and labels.
    """
    choose("seed_term", seed_term, _SEED_TERMS)
    a, b = (
        prepare(c, independent_classes=independent_classes, undefined_as_zero=undefined_as_zero)
        for c in (cells_a, cells_b)
    )
    return compare_tables(a, b, level, seed_term)


def compare_choices(
    cells_a: Sequence[CellInput] | CellTable,
    cells_b: Sequence[CellInput] | CellTable,
    *,
    level: float = 0.95,
    independent_classes: bool = False,
    undefined_as_zero: bool = False,
) -> Comparison:
    """Compare two choices made in the same training runs, such as two epochs of each.

    Also of runs that begin alike where they have the same seed, such as one method's with and
    without a switch.

    As :func:`compare_runs`, but seed s of A and seed s of B belong together, so that the seed term
    is that of their differences, ``max(0, s2 - gamma2) / S`` with ``s2`` the variance over seeds of
    ``theta_A,s - theta_B,s``.  A choice that was made on the test videos is taken as it was made:
    the interval contains the luck of the videos and of training, not that of choosing again.

    Args:
        cells_a: cells of the runs under choice A, or a prepared table.
        cells_b: cells of the same runs under choice B.
        level: nominal coverage of the interval.
        independent_classes: see :func:`prepare`.
        undefined_as_zero: see :func:`prepare`.

    Raises:
        DataError: different seeds, or other tests, videos and labels.
    """
    a, b = (
        prepare(c, independent_classes=independent_classes, undefined_as_zero=undefined_as_zero)
        for c in (cells_a, cells_b)
    )
    if set(a.seeds) != set(b.seeds):
        raise DataError(
            f"two choices in the same runs have the same seeds. Got {a.seeds} and {b.seeds} "
            "instead; use compare_runs for runs of different methods."
        )
    return compare_tables(a, b, level, "components", same_runs=True)


def compare_tables(
    a: CellTable,
    b: CellTable,
    level: float,
    seed_term: str | None = None,
    *,
    same_runs: bool = False,
) -> Comparison:
    """Jackknife-Wald test of two prepared tables; without a seed term networks are fixed."""
    fraction("level", level)
    check_same_tests(a, b)
    z_a, z_b = float(a.z.mean()), float(b.z.mean())
    base = Comparison(
        difference=math.nan,
        level=level,
        n=a.n,
        estimate_a=math.tanh(z_a),
        estimate_b=math.tanh(z_b),
        n_seeds_a=len(a.seeds),
        n_seeds_b=len(b.seeds),
        n_classes=a.n_classes,
        n_scenarios=a.n_scenarios,
        flags=tuple(dict.fromkeys((*_size_flags(a), *b.flags))),
    )
    if seed_term is not None and min(len(a.seeds), len(b.seeds)) == 1:
        base = replace(base, flags=(*base.flags, Flag.SINGLE_SEED))
    reason = a.reason or b.reason
    if reason:
        return replace(base, status=Status.UNDEFINED, reason=reason)
    base = replace(
        base,
        difference=base.estimate_a - base.estimate_b,
        difference_z=z_a - z_b,
        r_ab=mean_overlap(a, b),
    )
    paired = a.left_out - b.left_out  # (n,)
    if z_a == z_b and not paired.any():
        return replace(base, p_value=1.0, status=Status.IDENTICAL_RANKINGS)
    if base.r_ab > SAME:
        return replace(base, p_value=1.0, status=Status.SAME_PREDICTIONS)
    if a.smallest < MIN_TEST:
        return replace(base, reason=Reason.TOO_FEW)
    samples = jackknife_variance(paired, a.components)
    base = replace(base, dropped=samples.dropped)
    if math.isnan(samples.variance):
        return replace(base, reason=Reason.UNDEFINED_RESAMPLES)
    variance = samples.variance
    if variance <= 0.0:
        variance = 2.0 * perfect_variance(a.smallest)
        base = replace(base, flags=(*base.flags, Flag.ANALYTIC_SE))
    parts = _seed_parts(a, b, seed_term, same_runs)
    seeds = sum(excess for excess, _ in parts)
    df = satterthwaite([(variance, samples.df), *parts])
    base = replace(
        base,
        variance_samples=variance,
        df_samples=samples.df,
        variance_seeds=seeds,
        variance_a=a.samples.variance + _seed_spread(a, seed_term),
        variance_b=b.samples.variance + _seed_spread(b, seed_term),
    )
    return wald_comparison(base, z_a, z_b, math.sqrt(variance + seeds), df)


def _seed_parts(
    a: CellTable, b: CellTable, seed_term: str | None, same_runs: bool
) -> list[tuple[float, float]]:
    """Excess variances of the seeds and their degrees of freedom."""
    if seed_term is None:
        return []
    if same_runs:
        order = [b.seeds.index(seed) for seed in a.seeds]
        z, replicates = a.z - b.z[order], a.replicates - b.replicates[order]
        return [(seed_excess(z, replicates, a.components), len(a.seeds) - 1)]
    return [(_seed_spread(t, seed_term), len(t.seeds) - 1) for t in (a, b)]


def _seed_spread(table: CellTable, seed_term: str | None) -> float:
    """Variance that a table's own seeds add; 0 where networks are fixed."""
    if seed_term is None or len(table.seeds) < 2:
        return 0.0
    if seed_term == "conservative":
        return float(table.z.var(ddof=1)) / len(table.seeds)
    return table.seed_excess


def _size_flags(table: CellTable) -> tuple[Flag, ...]:
    small = MIN_TEST <= table.smallest < SMALL
    return (Flag.SMALL_N, *table.flags) if small else table.flags
