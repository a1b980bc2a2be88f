"""What may enter the statistics: aligned, one-dimensional, free of NaN.

Refuses NaN instead of leaving it out, because leaving out a video changes the test set silently.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from aqabench.errors import DataError, UsageError
from aqabench.stats._results import Flag, Reason

__all__ = ["FloatArray", "choose", "n_tied_pairs", "pair_flags", "undefined_reason", "vectors"]

FloatArray = npt.NDArray[np.float64]

#: below this many videos there is no standard error at all (n - 3 in every formula)
MIN_SE = 4
#: below this many videos only the metrics themselves are reported
MIN_TEST = 10
#: below this many videos results carry the flag ``small_n``
SMALL = 30
#: above this correlation between two methods' predictions they are the same predictions
SAME = 0.9999
_LISTED = 5


def vectors(
    ids: Sequence[str] | None = None, *, allow_nan: bool = False, **named: npt.ArrayLike
) -> list[FloatArray]:
    """Return the named inputs as aligned float64 vectors.

    Args:
        ids: sample ids (n,), used in messages; positions are named without them.
        allow_nan: let NaN predictions through (the caller turns them into a named outcome).
        named: the vectors (n,), labels first.

    Raises:
        DataError: lengths differ, a vector is not one-dimensional, or holds NaN.
    """
    arrays: list[FloatArray] = []
    first = next(iter(named))
    for name, values in named.items():
        array = np.asarray(values, dtype=np.float64)
        if array.ndim != 1:
            raise DataError(
                f"{name} must be one-dimensional (n,). Got shape {array.shape} instead; "
                f"pass one vector, e.g. {name}.ravel()."
            )
        arrays.append(array)
        if array.size != arrays[0].size:
            raise DataError(
                f"{name} must be as long as {first} ({arrays[0].size}). Got {array.size} instead; "
                "join both by sample id first."
            )
        bad = np.flatnonzero(np.isnan(array))
        if bad.size and not allow_nan:
            raise DataError(
                f"nan_prediction: {name} holds NaN for {_who(bad, ids)} ({bad.size} of "
                f"{array.size}); predict them, or record the run as failed. They are never left "
                "out, because that would change the test set."
            )
    if ids is not None and len(ids) != arrays[0].size:
        raise DataError(
            f"ids must be as long as {first} ({arrays[0].size}). Got {len(ids)} instead; "
            "pass one id per video."
        )
    return arrays


def choose(name: str, value: str, allowed: Sequence[str]) -> None:
    """Refuse a word that is not among ``allowed``.

    Raises:
        UsageError: always names the allowed words.
    """
    if value not in allowed:
        raise UsageError(
            f"{name} must be one of {', '.join(allowed)}. Got '{value}' instead; "
            f"pass {name}='{allowed[0]}' for the default."
        )


def fraction(name: str, value: float) -> None:
    """Refuse a number outside (0, 1).

    Raises:
        UsageError: names the number.
    """
    if not 0.0 < value < 1.0:
        raise UsageError(f"{name} must lie between 0 and 1. Got {value} instead; pass e.g. 0.95.")


def undefined_reason(y: FloatArray, p: FloatArray) -> Reason:
    """Name why a rank correlation of ``y`` and ``p`` (both (n,)) is undefined, if it is."""
    if y.size < 2:
        return Reason.TOO_FEW
    if np.isnan(p).any() or np.isnan(y).any():
        return Reason.NAN_PREDICTION
    if (y == y[0]).all():
        return Reason.CONSTANT_LABELS
    if (p == p[0]).all():
        return Reason.CONSTANT_PREDICTIONS
    return Reason.NONE


def n_tied_pairs(x: FloatArray) -> int:
    """Count the pairs of equal values in ``x`` (n,)."""
    counts = np.unique(x, return_counts=True)[1].astype(np.int64)
    return int((counts * (counts - 1) // 2).sum())


def pair_flags(y: FloatArray, *predictions: FloatArray) -> tuple[Flag, ...]:
    """Flags that follow from the inputs alone: infinite values, more than 5 % tied pairs."""
    flags = []
    if not all(np.isfinite(v).all() for v in (y, *predictions)):
        flags.append(Flag.NON_FINITE)
    pairs = y.size * (y.size - 1) / 2
    if any(n_tied_pairs(v) > 0.05 * pairs for v in (y, *predictions)):
        flags.append(Flag.MANY_TIES)
    return tuple(flags)


def _who(bad: npt.NDArray[np.intp], ids: Sequence[str] | None) -> str:
    names = [str(ids[i]) if ids is not None else str(i) for i in bad[:_LISTED]]
    more = "" if bad.size <= _LISTED else ", …"
    return f"{'ids' if ids is not None else 'positions'} {', '.join(names)}{more}"
