"""The laws by which frames go missing inside a sequence (section 8 of the protocol specification).

A law takes the real clips of each sample, ``lengths`` (n,), and returns one flat table: (sum of
lengths, M) bool, the samples one after the other, True where a step shows a modality.  Padding has
no rows and is never counted.  Every sample keeps at least one (step, modality) slot.

As in :mod:`aqabench.protocol.mask_laws`, row order is that of the sorted sample ids, and only
uniform numbers are taken from the generator.  Nothing is read, stored or seeded here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from aqabench.errors import UsageError
from aqabench.protocol.mask_laws import (
    Counts,
    Table,
    below,
    checked_modalities,
    checked_share,
    keep_one,
    nearest_whole,
)

__all__ = ["block", "frame_iid", "mix", "outage", "prefix", "rate_t", "suffix"]


def frame_iid(lengths: npt.ArrayLike, m: int, p: float, rng: np.random.Generator) -> Table:
    """Hide every (t, m) slot with probability p, independently over steps and modalities.

    A sample that lost all slots shows one again, uniformly drawn: at p = 1 one frame of one
    random modality is left.  The expected hidden share of a sample with T clips is
    ``p - p^(T M) / (T M)``.

    Source: frame-iid, after LNLN and CorrKD; LNLN seeds each modality alike, so that its masks
    coincide, which is ``outage`` here and not this law.

    Args:
        lengths: (n,) clips T of each sample.
        m: modalities M.
        p: probability of being hidden, 0 to 1.
        rng: source of randomness.

    Returns:
        (sum of lengths, M) bool.
    """
    return mix(lengths, [True] * checked_modalities(m), p, rng)


def mix(lengths: npt.ArrayLike, shown: Sequence[bool], p: float, rng: np.random.Generator) -> Table:
    """Show a subset of the modalities, and hide its slots with probability p, independently.

    The slots are drawn for all M modalities, so that the same generator hides the same frames of
    a modality under every subset.  A sample that lost all slots shows one of the subset again.

    Source: mix(p, S), after the modality random missing of CorrKD.

    Args:
        lengths: (n,) clips T of each sample.
        shown: (M,) the subset S, not empty.
        p: probability of being hidden, 0 to 1.
        rng: source of randomness.

    Returns:
        (sum of lengths, M) bool.
    """
    clips = _clips(lengths)
    subset = np.asarray(shown, dtype=bool)  # (M,)
    if not subset.any():
        raise UsageError("mix got a subset that shows nothing: name at least one modality")
    kept = rng.random((int(clips.sum()), len(subset))) >= checked_share("frame-iid or mix", p)
    return _never_empty(kept & subset, clips, subset, rng)


def rate_t(lengths: npt.ArrayLike, m: int, rate: float, rng: np.random.Generator) -> Table:
    """Draw :func:`~aqabench.protocol.mask_laws.keep_one` at every step; no step is empty.

    Source: RATE-T, after GCNet, which masks the nodes of a dialogue.

    Args:
        lengths: (n,) clips T of each sample.
        m: modalities M.
        rate: share of (t, m) slots to hide, at most 1 - 1/M.
        rng: source of randomness.

    Returns:
        (sum of lengths, M) bool.
    """
    return keep_one(int(_clips(lengths).sum()), m, rate, rng)


def block(lengths: npt.ArrayLike, m: int, p: float, rng: np.random.Generator) -> Table:
    """Hide one run of ``round(p T)`` steps in each modality, at independent uniform places.

    The run starts at 0..T - round(p T).  A sample whose runs cover everything shows one uniformly
    drawn slot again.

    Source: block(p).

    Args:
        lengths: (n,) clips T of each sample.
        m: modalities M.
        p: share of the clips to hide, 0 to 1.
        rng: source of randomness.

    Returns:
        (sum of lengths, M) bool.
    """
    clips, m = _clips(lengths), checked_modalities(m)
    hidden = nearest_whole(clips * checked_share("block", p))  # (n,)
    start = below(rng.random((len(clips), m)), (clips - hidden + 1)[:, None])  # (n, M)
    table = _without_run(clips, start, hidden)
    return _never_empty(table, clips, np.ones(m, dtype=bool), rng)


def outage(lengths: npt.ArrayLike, m: int, p: float, rng: np.random.Generator) -> Table:
    """Hide one run of ``min(round(p T), T - 1)`` steps, the same in all modalities.

    Source: outage(p); one step is always left, in all modalities.

    Args:
        lengths: (n,) clips T of each sample.
        m: modalities M.
        p: share of the clips to hide, 0 to 1.
        rng: source of randomness.

    Returns:
        (sum of lengths, M) bool.
    """
    clips, m = _clips(lengths), checked_modalities(m)
    hidden = _all_but_one(clips, checked_share("outage", p))
    start = below(rng.random(len(clips)), clips - hidden + 1)  # (n,)
    return np.tile(_without_run(clips, start[:, None], hidden), m)


def prefix(lengths: npt.ArrayLike, m: int, p: float) -> Table:
    """Hide the first ``min(round(p T), T - 1)`` steps in all modalities; nothing is drawn.

    Source: prefix(p): the recording starts late.

    Args:
        lengths: (n,) clips T of each sample.
        m: modalities M.
        p: share of the clips to hide, 0 to 1.

    Returns:
        (sum of lengths, M) bool.
    """
    clips, m = _clips(lengths), checked_modalities(m)
    hidden = _all_but_one(clips, checked_share("prefix", p))
    return np.tile(_without_run(clips, np.zeros_like(clips)[:, None], hidden), m)


def suffix(lengths: npt.ArrayLike, m: int, p: float) -> Table:
    """Hide the last ``min(round(p T), T - 1)`` steps in all modalities; nothing is drawn.

    Source: suffix(p): the recording stops early.

    Args:
        lengths: (n,) clips T of each sample.
        m: modalities M.
        p: share of the clips to hide, 0 to 1.

    Returns:
        (sum of lengths, M) bool.
    """
    clips, m = _clips(lengths), checked_modalities(m)
    hidden = _all_but_one(clips, checked_share("suffix", p))
    return np.tile(_without_run(clips, (clips - hidden)[:, None], hidden), m)


def _clips(lengths: npt.ArrayLike) -> Counts:
    clips = np.asarray(lengths)
    if clips.ndim != 1 or not np.issubdtype(clips.dtype, np.integer) or (clips < 1).any():
        raise UsageError(
            "a time table needs the real clips of each sample as whole numbers from 1 up: leave out"
            f" samples without clips (got {np.array2string(clips, threshold=6)})"
        )
    return clips.astype(np.int64)


def _all_but_one(clips: Counts, p: float) -> Counts:
    """Return round(p T), but leave one step."""
    return np.minimum(nearest_whole(clips * p), clips - 1)


def _steps(clips: Counts) -> Counts:
    """Return (sum of clips,) the step number inside each sample."""
    return np.arange(clips.sum()) - np.repeat(np.cumsum(clips) - clips, clips)


def _without_run(clips: Counts, start: Counts, hidden: Counts) -> Table:
    """Return (sum of clips, K) True outside start..start + hidden - 1 of (n, K) ``start``."""
    since = _steps(clips)[:, None] - np.repeat(start, clips, axis=0)
    return (since < 0) | (since >= np.repeat(hidden, clips)[:, None])


def _never_empty(table: Table, clips: Counts, subset: Table, rng: np.random.Generator) -> Table:
    """Show one uniformly drawn slot of the ``subset`` (M,) in every sample that shows none."""
    first = np.cumsum(clips) - clips  # (n,)
    uniform = rng.random((len(clips), 2))  # drawn for all, so that no sample shifts another
    step = first + below(uniform[:, 0], clips)
    modality = np.flatnonzero(subset)[below(uniform[:, 1], int(subset.sum()))]
    empty = ~np.logical_or.reduceat(table.any(axis=1), first)
    guarded = table.copy()
    guarded[step[empty], modality[empty]] = True
    return guarded
