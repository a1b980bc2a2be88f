"""Results about missing modalities, and the checked mapping from subset to number.

A subset says for every modality, in the protocol's order, whether it is shown.  The metrics
themselves are in :mod:`aqabench.stats.robustness`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from aqabench.errors import DataError
from aqabench.stats._results import Flag, MetricValue

__all__ = [
    "Equity",
    "Retention",
    "RobustnessReason",
    "RobustnessSummary",
    "Subset",
    "Violations",
    "WorstSubset",
    "checked",
    "full_value",
    "label",
    "labels",
    "larger",
    "without",
]

Subset = tuple[bool, ...]
"""Which modalities are shown (M,), in the protocol's order; at least one is."""


class RobustnessReason(StrEnum):
    """Why a ratio or an index is undefined."""

    NONE = ""
    UNDEFINED_CORRELATION = "undefined_correlation"
    UNDEFINED_ERROR = "undefined_error"
    WEAK_REFERENCE = "weak_reference"
    ZERO_ERROR = "zero_error"
    NO_CONTRIBUTION = "no_positive_contribution"
    ONE_MODALITY = "one_modality"
    INCOMPLETE_GRID = "incomplete_grid"


@dataclass(frozen=True, slots=True)
class Retention:
    """What is left of a reference value; never quoted without the value itself.

    Attributes:
        ratio: 1 keeps everything; NaN where undefined.
        value: correlation (or error) with the subset.
        reference: correlation (or error) it is compared with.
        reason: why the ratio is undefined, or ``""``.
    """

    ratio: float
    value: float
    reference: float
    reason: RobustnessReason = RobustnessReason.NONE

    def __float__(self) -> float:
        """Return the ratio."""
        return self.ratio

    def __str__(self) -> str:
        """Return e.g. ``0.875 (0.700 of 0.800)``."""
        what = f"{self.value:.3f} of {self.reference:.3f}"
        return f"undefined ({self.reason}; {what})" if self.reason else f"{self.ratio:.3f} ({what})"


@dataclass(frozen=True, slots=True)
class WorstSubset:
    """The subset a method is worst with, and the correlation there (NaN: undefined there)."""

    subset: Subset
    value: float

    def __float__(self) -> float:
        """Return the correlation."""
        return self.value


@dataclass(frozen=True, slots=True)
class Violations:
    """Steps at which one modality more made the correlation lower.

    Attributes:
        count: steps that lose more than the margin.
        of: steps compared, ``M 2^(M-1) - M`` of a full grid (9 for M = 3).
        mean_size: mean loss of correlation over those ``count`` steps; 0 if none, NaN if no step
            could be compared.
        undefined: steps not compared, because a correlation is undefined.
    """

    count: int
    of: int
    mean_size: float
    undefined: int = 0

    def __str__(self) -> str:
        """Return e.g. ``2 of 9 steps, losing 0.031 on average``."""
        size = f", losing {self.mean_size:.3f} on average" if self.count else ""
        left = f", {self.undefined} undefined" if self.undefined else ""
        return f"{self.count} of {self.of} steps{size}{left}"


@dataclass(frozen=True, slots=True)
class Equity:
    """How evenly the modalities contribute (aqabench-MEI).

    Attributes:
        index: in [0, 1], 1 when all contribute alike; NaN where undefined.
        contributions: Shapley values (M,) on the correlation scale, with sum v(full).
        shares: positive contributions over their sum (M,); NaN where undefined.
        reason: why the index is undefined, or ``""``.
    """

    index: float
    contributions: tuple[float, ...] = ()
    shares: tuple[float, ...] = ()
    reason: RobustnessReason = RobustnessReason.NONE

    def __float__(self) -> float:
        """Return the index."""
        return self.index

    def __str__(self) -> str:
        """Return e.g. ``aqabench-MEI 0.927 (shares 0.48, 0.17, 0.35)``."""
        if self.reason:
            return f"aqabench-MEI undefined ({self.reason})"
        return (
            f"aqabench-MEI {self.index:.3f} (shares {', '.join(f'{s:.2f}' for s in self.shares)})"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RobustnessSummary:
    """One method on all subsets of one class (or of an average over classes).

    Attributes:
        average_incomplete: Fisher mean over the subsets that miss something (Avg6 for M = 3).
        average_all: Fisher mean over all subsets given (Avg7 for M = 3).
        arithmetic_incomplete: plain mean over the subsets that miss something.
        full: correlation with all modalities; NaN when undefined or not among the subsets.
        worst: the worst subset; an undefined one is worse than any number.
        by_size: number of modalities shown -> Fisher mean over the subsets of that size.
        violations: steps at which one modality more made it worse.
        equity: aqabench-MEI.
        undefined: subsets whose correlation is undefined.
        n_subsets: subsets given.
        symbols: one per modality (M,), for names of subsets; empty: names are bits.
    """

    average_incomplete: MetricValue
    average_all: MetricValue
    arithmetic_incomplete: float
    full: float
    worst: WorstSubset
    by_size: Mapping[int, MetricValue]
    violations: Violations
    equity: Equity
    undefined: tuple[Subset, ...]
    n_subsets: int
    symbols: tuple[str, ...] = ()

    @property
    def n_undefined(self) -> int:
        """How many subsets have no correlation."""
        return len(self.undefined)

    def __str__(self) -> str:
        """Return one line, the average over the incomplete subsets first."""
        parts = [
            f"Avg{self.average_incomplete.n} {_number(self.average_incomplete)} "
            f"(arithmetic {_number(self.arithmetic_incomplete)})",
            f"Avg{self.average_all.n} {_number(self.average_all)}",
            f"all modalities {_number(self.full)}",
            f"worst {label(self.worst.subset, self.symbols)} {_number(self.worst.value)}",
            "by size " + ", ".join(f"{k}: {_number(v)}" for k, v in self.by_size.items()),
            f"violations {self.violations}",
            str(self.equity),
        ]
        if self.undefined:
            names = ", ".join(label(s, self.symbols) for s in self.undefined)
            zero = Flag.UNDEFINED_AS_ZERO in self.average_all.flags
            parts.append(
                f"{self.n_undefined} of {self.n_subsets} undefined ({names})"
                + (", 0 in the averages" if zero else "")
            )
        return "; ".join(parts)


def checked(
    values: Mapping[Subset, float], low: float = -1.0, high: float = 1.0
) -> dict[Subset, float]:
    """Return ``values`` by size, then in the modalities' order; NaN stays (it is an outcome).

    Raises:
        DataError: nothing in it, a key that is no subset or of another length, a value that is
            infinite or outside [low, high].
    """
    if not values:
        raise DataError(
            "values must hold at least one subset. Got none; pass e.g. {(True, False): 0.7}."
        )
    first = next(iter(values))
    for subset, value in values.items():
        if not (
            isinstance(subset, tuple)
            and isinstance(first, tuple)
            and len(subset) == len(first)
            and set(subset) <= {False, True}
            and any(subset)
        ):
            raise DataError(
                "a subset must say for each modality whether it is shown, and show one; all are "
                f"equally long. Got {subset!r} instead; pass keys such as (True, False, True)."
            )
        if math.isinf(value) or value < low - 1e-12 or value > high + 1e-12:
            raise DataError(
                f"values must be finite and lie in [{low:g}, {high:g}], or be NaN where undefined. "
                f"Got {value} for subset {label(subset)}; give correlations as fractions, e.g. 0.7."
            )
    order = sorted(values, key=lambda s: (sum(s), [not shown for shown in s]))
    return {tuple(bool(shown) for shown in s): float(values[s]) for s in order}


def full_value(grid: Mapping[Subset, float]) -> float:
    """Return the value with all modalities shown.

    Raises:
        DataError: it is not there.
    """
    full = (True,) * len(next(iter(grid)))
    if full not in grid:
        raise DataError(
            f"values must hold the subset that shows all modalities, {full}. Got "
            f"{labels(grid)} only; test the full model too."
        )
    return grid[full]


def larger(subset: Subset) -> Iterator[Subset]:
    """Yield the subsets that show one modality more."""
    for m, shown in enumerate(subset):
        if not shown:
            yield (*subset[:m], True, *subset[m + 1 :])


def without(subset: Subset, m: int) -> Subset:
    """Return ``subset`` with modality ``m`` hidden."""
    return (*subset[:m], False, *subset[m + 1 :])


def label(subset: Subset, symbols: Sequence[str] = ()) -> str:
    """Name a subset by its modalities' symbols, e.g. ``va``; by bits, ``110``, without them."""
    if symbols:
        return "".join(symbol for symbol, shown in zip(symbols, subset, strict=True) if shown)
    return "".join(str(int(shown)) for shown in subset)


def labels(subsets: Iterable[Subset]) -> str:
    """Name several subsets by bits."""
    return ", ".join(label(s) for s in subsets)


def _number(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.3f}"
