"""How much a method keeps when modalities are missing: subsets, rate curves, balance.

Works on a mapping from a subset to its correlation, where a subset says for every modality, in the
protocol's order, whether it is shown: ``{(True, False, True): 0.75, ...}``.  An undefined
correlation is NaN in that mapping, makes undefined what needs it, and is counted.  Refuses to
average a part of the subsets of one size, and to guess what a missing subset would have scored.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from aqabench.errors import DataError, UsageError
from aqabench.stats._checks import vectors
from aqabench.stats._results import MetricValue, Reason
from aqabench.stats._subsets import (
    Equity,
    Retention,
    RobustnessReason,
    RobustnessSummary,
    Subset,
    Violations,
    WorstSubset,
    checked,
    full_value,
    labels,
    larger,
    without,
)
from aqabench.stats.metrics import fisher_mean

__all__ = [
    "Equity",
    "Retention",
    "RobustnessReason",
    "RobustnessSummary",
    "Subset",
    "Violations",
    "WorstSubset",
    "area_under_curve",
    "drop",
    "equity_index",
    "learning_index",
    "mean_by_size",
    "monotonicity_violations",
    "retention",
    "shapley",
    "specialist_retention",
    "summarise_subsets",
    "worst_subset",
]

#: below this correlation of the reference, a ratio to it says nothing
WEAK = 0.2


def drop(values: Mapping[Subset, float]) -> dict[Subset, float]:
    """Loss against the full model, ``D(S) = rho(full) - rho(S)``, for every incomplete subset.

    NaN where either correlation is undefined.  The relative drop is 1 minus :func:`retention`.

    Args:
        values: subset -> correlation; holds the full one.

    Raises:
        DataError: no full subset, a key that is no subset, a value outside [-1, 1].
    """
    grid = checked(values)
    full = full_value(grid)
    return {s: full - rho for s, rho in grid.items() if not all(s)}


def retention(values: Mapping[Subset, float], *, errors: bool = False) -> dict[Subset, Retention]:
    """What is left of the full model, ``rho(S) / rho(full)``, for every incomplete subset.

    Undefined where a correlation is, and for all subsets (``weak_reference``) where
    rho(full) < 0.2.

    Args:
        values: subset -> correlation; holds the full one.
        errors: the values are errors (lower is better): ``MSE(full) / MSE(S)``; undefined
            (``zero_error``) where MSE(S) is 0.

    Raises:
        DataError: as in :func:`drop`, or a negative error.
    """
    grid = checked(values, 0.0, math.inf) if errors else checked(values)
    full = full_value(grid)
    ratio = _error_ratio if errors else _ratio
    return {s: ratio(value, full) for s, value in grid.items() if not all(s)}


def specialist_retention(
    values: Mapping[Subset, float], specialists: Mapping[Subset, float]
) -> dict[Subset, Retention]:
    """One model for all subsets against a model for each, ``rho(S) / rho_specialist(S)``.

    Args:
        values: subset -> correlation of the one model.
        specialists: subset -> correlation of the model trained for that subset only.

    Returns:
        One for every subset that has a specialist, undefined as in :func:`retention`; above 1
        the joint training helped.

    Raises:
        DataError: a specialist's subset that ``values`` lacks, or as in :func:`drop`.
    """
    grid, references = checked(values), checked(specialists)
    if lacking := [s for s in references if s not in grid]:
        raise DataError(
            f"values must hold every subset that has a specialist. It lacks {labels(lacking)}; "
            "test the joint model with them, or leave these specialists out."
        )
    return {s: _ratio(grid[s], reference) for s, reference in references.items()}


def worst_subset(values: Mapping[Subset, float]) -> WorstSubset:
    """Return the subset with the lowest correlation; an undefined one is worse than any number.

    Of equals, the one with fewer modalities, then the protocol's order, decides.
    """
    grid = checked(values)
    worst = min(grid, key=lambda s: -math.inf if math.isnan(grid[s]) else grid[s])
    return WorstSubset(worst, grid[worst])


def mean_by_size(
    values: Mapping[Subset, float],
    *,
    n_videos: int | None = None,
    undefined_as_zero: bool = False,
) -> dict[int, MetricValue]:
    """Fisher mean over the subsets of each size: singles, pairs, ...; NaN if one is undefined.

    Args:
        values: subset -> correlation, for every size either all subsets or none.
        n_videos: test videos behind each correlation, as in :func:`fisher_mean`.
        undefined_as_zero: count an undefined correlation as 0 (flag ``undefined_as_zero``).

    Raises:
        DataError: a size of which only some subsets are there.
    """
    grid = checked(values)
    sizes: dict[int, list[Subset]] = {}
    for subset in grid:
        sizes.setdefault(sum(subset), []).append(subset)
    for size, subsets in sizes.items():
        expected = math.comb(len(subsets[0]), size)
        if len(subsets) != expected:
            raise DataError(
                f"values must hold all {expected} subsets of size {size} or none. Got "
                f"{labels(subsets)} only; an average over a part isn't comparable, so add the "
                "others (NaN where the correlation is undefined)."
            )
    return {
        size: fisher_mean([grid[s] for s in subsets], n_videos, undefined_as_zero=undefined_as_zero)
        for size, subsets in sizes.items()
    }


def monotonicity_violations(values: Mapping[Subset, float], margin: float = 0.005) -> Violations:
    """Count the steps S -> S + {m} with ``rho(S + {m}) < rho(S) - margin``.

    Args:
        values: subset -> correlation; steps between two subsets given are looked at.
        margin: loss of correlation that is not yet counted.

    Raises:
        UsageError: a negative margin.
        DataError: as in :func:`drop`.
    """
    if not margin >= 0.0:
        raise UsageError(f"margin must be 0 or more. Got {margin} instead; pass e.g. 0.005.")
    grid = checked(values)
    gains = np.array(
        [grid[more] - rho for s, rho in grid.items() for more in larger(s) if more in grid]
    )
    losses = -gains[gains < -margin]  # NaN is never smaller
    undefined = int(np.isnan(gains).sum())
    of = gains.size - undefined
    mean = float(losses.mean()) if losses.size else (0.0 if of else math.nan)
    return Violations(losses.size, of, mean, undefined)


def shapley(values: Mapping[Subset, float]) -> tuple[float, ...]:
    """Shapley values (M,) of the game ``values``, with v(empty) = 0; their sum is v(full).

    ``phi_m = sum over S with m of (|S|-1)! (M-|S|)! / M! (v(S) - v(S - {m}))``.  All are NaN if
    any value is, because each of them needs every subset.

    Args:
        values: subset -> worth, any finite number or NaN; holds all ``2^M - 1`` subsets.

    Raises:
        DataError: a subset is not there.

    Source: Shapley (1953), A value for n-person games.
    """
    grid = checked(values, -math.inf, math.inf)
    n_modalities = len(next(iter(grid)))
    if len(grid) != 2**n_modalities - 1:
        raise DataError(
            f"values must hold all {2**n_modalities - 1} subsets of {n_modalities} modalities. "
            f"Got {len(grid)} instead; test the others too."
        )
    phi = [0.0] * n_modalities
    for subset, worth in grid.items():
        weight = 1.0 / (n_modalities * math.comb(n_modalities - 1, sum(subset) - 1))
        for m in (m for m, shown in enumerate(subset) if shown):
            phi[m] += weight * (worth - grid.get(without(subset, m), 0.0))
    return tuple(phi)


def equity_index(values: Mapping[Subset, float]) -> Equity:
    """aqabench-MEI: the entropy of the modalities' Shapley shares, over ``ln M``.

    The game is ``v(S) = max(rho(S), 0)``; shares are ``p_m = max(phi_m, 0) / sum``.

    Args:
        values: subset -> correlation, all ``2^M - 1`` of them.

    Returns:
        Undefined where a correlation is undefined, no contribution is positive, or M = 1.

    Raises:
        DataError: as in :func:`shapley`, or a value outside [-1, 1].

    Source: ours.  MissBench (arXiv 2603.09874) names a modality equity index; its formula could
    not be read.
    """
    grid = checked(values)
    phi = shapley({s: rho if math.isnan(rho) else max(rho, 0.0) for s, rho in grid.items()})
    if any(math.isnan(c) for c in phi):
        return _no_equity(RobustnessReason.UNDEFINED_CORRELATION, phi)
    if len(phi) == 1:
        return _no_equity(RobustnessReason.ONE_MODALITY, phi)
    positive = np.maximum(phi, 0.0)
    # v(full) is the sum, so only rounding separates "none" from 0
    if positive.sum() <= 1e-12:
        return _no_equity(RobustnessReason.NO_CONTRIBUTION, phi)
    shares = positive / positive.sum()
    held = shares[shares > 0.0]
    index = float(np.clip(-(held @ np.log(held)) / math.log(len(phi)), 0.0, 1.0))
    return Equity(index, phi, tuple(shares.tolist()))


def summarise_subsets(
    values: Mapping[Subset, float],
    *,
    symbols: Sequence[str] = (),
    margin: float = 0.005,
    n_videos: int | None = None,
    undefined_as_zero: bool = False,
) -> RobustnessSummary:
    """Summarise one method on all subsets.

    Args:
        values: subset -> correlation, for every size either all subsets or none.
        symbols: one per modality (M,), e.g. ``"vaf"``, for ``str()``.
        margin: as in :func:`monotonicity_violations`.
        n_videos: as in :func:`mean_by_size`.
        undefined_as_zero: averages count an undefined correlation as 0; the worst subset,
            violations and MEI never do.

    Returns:
        MEI is undefined (``incomplete_grid``) when a size is not there.

    Raises:
        DataError: as in :func:`mean_by_size`, or another number of symbols.
    """
    grid = checked(values)
    n_modalities = len(next(iter(grid)))
    if symbols and len(symbols) != n_modalities:
        raise DataError(
            f"symbols must name {n_modalities} modalities. Got {len(symbols)} instead; "
            "pass one symbol per modality, in the protocol's order."
        )
    incomplete = [rho for s, rho in grid.items() if not all(s)]
    if undefined_as_zero:
        plain = [0.0 if math.isnan(rho) else rho for rho in incomplete]
    else:
        plain = incomplete
    whole = len(grid) == 2**n_modalities - 1
    return RobustnessSummary(
        by_size=mean_by_size(grid, n_videos=n_videos, undefined_as_zero=undefined_as_zero),
        average_incomplete=fisher_mean(incomplete, n_videos, undefined_as_zero=undefined_as_zero)
        if incomplete
        else MetricValue(math.nan, "fisher_mean", 0, 0, Reason.TOO_FEW),
        average_all=fisher_mean(list(grid.values()), n_videos, undefined_as_zero=undefined_as_zero),
        arithmetic_incomplete=float(np.mean(plain)) if plain else math.nan,
        full=grid.get((True,) * n_modalities, math.nan),
        worst=worst_subset(grid),
        violations=monotonicity_violations(grid, margin),
        equity=equity_index(grid) if whole else _no_equity(RobustnessReason.INCOMPLETE_GRID),
        undefined=tuple(s for s, rho in grid.items() if math.isnan(rho)),
        n_subsets=len(grid),
        symbols=tuple(symbols),
    )


def area_under_curve(
    rates: npt.ArrayLike, values: npt.ArrayLike, normalised: bool = False
) -> MetricValue:
    """AUILC: area under a metric over the missing rate, by the trapezoid rule.

    ``sum_i (x_i + x_(i+1)) / 2 (r_(i+1) - r_i)``, for errors lower is better.

    Args:
        rates: *true* shares of hidden slots (t,), strictly increasing in [0, 1]; with three
            modalities the nominal 0.7 is 2/3.
        values: the metric at each rate (t,).
        normalised: divide by ``r_t - r_0``, which gives the mean height of the curve.

    Returns:
        NaN when the metric is NaN (``constant_predictions``, as in :func:`fisher_mean`) or
        infinite (``non_finite``) at any rate; no rate is left out.

    Raises:
        DataError: fewer than two rates, lengths that differ, rates that do not increase.

    Source: Yuan et al. (2021), TFR-Net (area under the indicators line chart).
    """
    x, height = vectors(allow_nan=True, rates=rates, values=values)
    increasing = x.size >= 2 and bool((np.diff(x) > 0.0).all())
    if not (increasing and x[0] >= 0.0 and x[-1] <= 1.0):
        raise DataError(
            "rates must be two or more shares in [0, 1], strictly increasing. Got "
            f"{x.tolist()} instead; sort them with their values, and average draws at one rate."
        )
    name = "normalised_auilc" if normalised else "auilc"
    if not np.isfinite(height).all():
        nan = bool(np.isnan(height).any())
        reason = Reason.CONSTANT_PREDICTIONS if nan else Reason.NON_FINITE
        return MetricValue(math.nan, name, x.size, 0, reason)
    area = float(np.sum((height[1:] + height[:-1]) / 2.0 * np.diff(x)))
    return MetricValue(area / float(x[-1] - x[0]) if normalised else area, name, x.size)


def learning_index(gradients: npt.ArrayLike) -> MetricValue:
    """aqabench-MLI: imbalance of optimisation, mean over epochs of ``std_m(g) / mean_m(g)``.

    The standard deviation is the population's; the range is 0 (balanced) to ``sqrt(M - 1)``.

    Args:
        gradients: (E, M) means over the steps of each epoch of ``||dL/dTheta_m|| / ||Theta_m||``,
            before clipping, over the parameters that only modality m owns; a step in which m is
            hidden everywhere counts as 0.

    Returns:
        NaN when a norm is NaN or infinite (``non_finite``), or all are 0 in an epoch
        (``no_variation``).

    Raises:
        DataError: not (E, M) with an epoch and two modalities, or a negative norm.

    Source: ours.  MissBench (arXiv 2603.09874) names a modality learning index; its formula
    could not be read.
    """
    norms = np.asarray(gradients, dtype=np.float64)
    if norms.ndim != 2 or norms.shape[0] < 1 or norms.shape[1] < 2:
        raise DataError(
            "gradients must be (epochs, modalities) with one epoch and two modalities or more. "
            f"Got shape {norms.shape} instead; pass one row per epoch."
        )
    if (norms < 0.0).any():
        raise DataError(
            f"gradients must be norms, 0 or more. Got {float(np.nanmin(norms))} instead; "
            "take the L2 norm first."
        )
    name, n_epochs = "learning_index", norms.shape[0]
    if not np.isfinite(norms).all():
        return MetricValue(math.nan, name, n_epochs, 0, Reason.NON_FINITE)
    means = norms.mean(axis=1)  # (E,)
    if not (means > 0.0).all():
        return MetricValue(math.nan, name, n_epochs, 0, Reason.NO_VARIATION)
    return MetricValue(float((norms.std(axis=1) / means).mean()), name, n_epochs)


def _ratio(value: float, reference: float) -> Retention:
    if math.isnan(value) or math.isnan(reference):
        return Retention(math.nan, value, reference, RobustnessReason.UNDEFINED_CORRELATION)
    if reference < WEAK:
        return Retention(math.nan, value, reference, RobustnessReason.WEAK_REFERENCE)
    return Retention(value / reference, value, reference)


def _error_ratio(value: float, reference: float) -> Retention:
    if math.isnan(value) or math.isnan(reference):
        return Retention(math.nan, value, reference, RobustnessReason.UNDEFINED_ERROR)
    if value == 0.0:
        return Retention(math.nan, value, reference, RobustnessReason.ZERO_ERROR)
    return Retention(reference / value, value, reference)


def _no_equity(reason: RobustnessReason, phi: tuple[float, ...] = ()) -> Equity:
    return Equity(math.nan, phi, (math.nan,) * len(phi), reason)
