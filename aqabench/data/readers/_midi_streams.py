"""The four streams of PercePiano from the notes and pedals of a recording.

One row every 0.5 s: row k describes the window from 0.5 k to 0.5 k + 1 s after the first onset,
its end excluded.  The rows run to the last release, at most 3 s after the last onset, so
T = floor(end / 0.5) + 1.  Standard deviations divide by n.  A note *is struck* in the window of
its onset and *sounds* from onset to release of the key, whatever the pedal does.

notes (D = 18), of the notes that sound in the window

=================== ==================================================== ======================
n_onset             notes struck                                         empty: 0
poly_mean           notes that sound at a time, mean over the window     empty: 0
pitch_mean .. max   mean, sd, min, max pitch, MIDI numbers               empty: as before
chroma0 .. chroma11 share of each pitch class, C = 0                     empty: 0
=================== ==================================================== ======================

dynamics (D = 10), of the notes struck; with none the row is as before, vel_delta 0

=================== ===========================================================================
vel_mean .. max     mean, sd, min, max velocity, 1 to 127
vel_top, vel_bass   velocity of the highest and of the lowest note
top_minus_mean      vel_top - vel_mean
vel_delta           vel_mean less that of the row before; 0 in the first row
vel_range           vel_max - vel_min
vel_slope           regression of velocity on onset, per second, within ±100; 0 for fewer than
                    three notes or onsets within 50 ms
=================== ===========================================================================

timing (D = 12): notes at most 35 ms after one another are a group (a chord), whose onset is that
of its first note; its inter-onset interval (IOI, s) runs to the next group.  If no group with an
IOI begins in the window, all but gap_frac are as before

=================== ===========================================================================
log_ioi_mean .. max mean, sd, min, max ln IOI of the groups that begin in the window
log_dur_mean, _std  ln duration (s, at least 10 ms) of the notes struck
artic_mean, _std    duration / IOI of its group, at most 4; 1 in the last group
chord_spread        last minus first onset in a group, s, mean of groups
onset_groups        groups that begin
ioi_ratio           mean absolute difference of successive ln IOIs; 0 for one
gap_frac            share of 20 instants, 50 ms apart, at which no note sounds
=================== ===========================================================================

pedal (D = 8): a pedal keeps its value until the next event and is 0 before the first; down is 64
or more

=================== ===========================================================================
sustain_mean        mean of value / 127
sustain_down        share of the time down
sustain_presses     times it goes down
sustain_releases    times it goes up
sustain_half        share of the time from 20 to 106
soft_mean, _down    the same of the una corda pedal
held_notes          sustain_down * notes that sound in the window
=================== ===========================================================================

"As before" in the first row is 0; nothing is ever NaN.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from aqabench.data.readers._midi_file import Floats, Ints, Pedal, Performance

STEP, WINDOW, TAIL = 0.5, 1.0, 3.0
"""Seconds from row to row, of a window, and that a last note is followed."""
CHORD_GAP, ROUNDING = 0.035, 1e-9
MIN_DURATION, MAX_ARTICULATION = 0.01, 4.0
MAX_SLOPE, SLOPE_NOTES, SLOPE_SECONDS = 100.0, 3, 0.05
DOWN, HALF = 64, (20, 107)
INSTANTS = 20

COLUMNS = {
    "dynamics": [
        "vel_mean",
        "vel_std",
        "vel_min",
        "vel_max",
        "vel_top",
        "vel_bass",
        "top_minus_mean",
        "vel_delta",
        "vel_range",
        "vel_slope",
    ],
    "timing": [
        "log_ioi_mean",
        "log_ioi_std",
        "log_ioi_min",
        "log_ioi_max",
        "log_dur_mean",
        "log_dur_std",
        "artic_mean",
        "artic_std",
        "chord_spread",
        "onset_groups",
        "ioi_ratio",
        "gap_frac",
    ],
    "pedal": [
        "sustain_mean",
        "sustain_down",
        "sustain_presses",
        "sustain_releases",
        "sustain_half",
        "soft_mean",
        "soft_down",
        "held_notes",
    ],
    "notes": [
        *["n_onset", "poly_mean", "pitch_mean", "pitch_std", "pitch_min", "pitch_max"],
        *(f"chroma{i}" for i in range(12)),
    ],
}
"""modality -> names of its columns, in order."""


def streams(played: Performance) -> dict[str, npt.NDArray[np.float32]]:
    """Return modality -> (T, D), with the columns of :data:`COLUMNS`."""
    starts = STEP * np.arange(rows(played), dtype=np.float64)  # (T,) s
    parts = {
        "dynamics": _dynamics(played, starts),
        "timing": _timing(played, starts),
        "pedal": _pedals(played, starts),
        "notes": _notes(played, starts),
    }
    return {modality: part.astype(np.float32) for modality, part in parts.items()}


def rows(played: Performance) -> int:
    """Return T, at least 1."""
    end = min(float(played.offset.max()), float(played.onset[-1]) + TAIL)
    return int(end // STEP) + 1


def _struck(onsets: Floats, start: float) -> slice:
    """Return which of the ascending onsets lie in the window."""
    first, stop = np.searchsorted(onsets, (start, start + WINDOW))
    return slice(int(first), int(stop))


def _sounding(played: Performance, start: float) -> Ints:
    """Return the indices of the notes that sound at some time in the window."""
    begun = int(np.searchsorted(played.onset, start + WINDOW))
    return np.flatnonzero(played.offset[:begun] > start)


def _carried(found: Sequence[Sequence[float] | None], width: int) -> Floats:
    """Stack rows; one that is None is the row before, and 0 at the beginning."""
    table = np.zeros((len(found), width))
    for k, row in enumerate(found):
        if row is not None:
            table[k] = row
        elif k:
            table[k] = table[k - 1]
    return table


def _spread(values: npt.NDArray[np.generic]) -> tuple[float, float, float, float]:
    """Return mean, sd, min and max."""
    numbers = values.astype(np.float64)
    return (
        float(numbers.mean()),
        float(numbers.std()),
        float(numbers.min()),
        float(numbers.max()),
    )


def _notes(played: Performance, starts: Floats) -> Floats:
    level = np.zeros((len(starts), 2))
    chroma = np.zeros((len(starts), 12))
    register: list[Sequence[float] | None] = []
    for k, start in enumerate(starts):
        struck, sounding = _struck(played.onset, start), _sounding(played, start)
        begin = np.maximum(played.onset[sounding], start)
        end = np.minimum(played.offset[sounding], start + WINDOW)
        level[k] = struck.stop - struck.start, (end - begin).sum() / WINDOW
        pitch = played.pitch[sounding]
        register.append(_spread(pitch) if len(pitch) else None)
        if len(pitch):
            chroma[k] = np.bincount(pitch % 12, minlength=12) / len(pitch)
    return np.hstack([level, _carried(register, 4), chroma])


def _dynamics(played: Performance, starts: Floats) -> Floats:
    found: list[Sequence[float] | None] = []
    for start in starts:
        struck = _struck(played.onset, start)
        velocity, pitch = played.velocity[struck], played.pitch[struck]
        if not len(velocity):
            found.append(None)
            continue
        mean, sd, low, high = _spread(velocity)
        top, bass = float(velocity[pitch.argmax()]), float(velocity[pitch.argmin()])
        slope = _slope(played.onset[struck], velocity)
        found.append((mean, sd, low, high, top, bass, top - mean, 0.0, high - low, slope))
    table = _carried(found, len(COLUMNS["dynamics"]))
    table[1:, COLUMNS["dynamics"].index("vel_delta")] = np.diff(table[:, 0])
    return table


def _slope(onset: Floats, velocity: Ints) -> float:
    """Return the least squares slope in velocity per second."""
    if len(onset) < SLOPE_NOTES or onset[-1] - onset[0] <= SLOPE_SECONDS:
        return 0.0
    centred = onset - onset.mean()
    slope = float(centred @ velocity / (centred @ centred))
    return min(max(slope, -MAX_SLOPE), MAX_SLOPE)


def _timing(played: Performance, starts: Floats) -> Floats:
    new = np.diff(played.onset, prepend=-np.inf) > CHORD_GAP + ROUNDING  # (N,)
    first = np.flatnonzero(new)  # (G,)
    begin = played.onset[first]
    last = played.onset[np.append(first[1:], len(new)) - 1]
    ioi = np.append(np.diff(begin), np.inf)  # (G,) s; the last group has none
    duration = np.maximum(played.offset - played.onset, MIN_DURATION)
    articulation = np.minimum(duration / ioi[new.cumsum() - 1], MAX_ARTICULATION)
    articulation[first[-1] :] = 1.0
    found: list[Sequence[float] | None] = []
    for start in starts:
        groups = _struck(begin, start)
        own = ioi[groups]
        own = np.log(own[np.isfinite(own)])
        if not len(own):
            found.append(None)
            continue
        struck = _struck(played.onset, start)
        found.append(
            (
                *_spread(own),
                *_spread(np.log(duration[struck]))[:2],
                *_spread(articulation[struck])[:2],
                float((last - begin)[groups].mean()),
                groups.stop - groups.start,
                float(np.abs(np.diff(own)).mean()) if len(own) > 1 else 0.0,
            )
        )
    gaps = np.array([_silence(played, start) for start in starts])
    return np.column_stack([_carried(found, len(COLUMNS["timing"]) - 1), gaps])


def _silence(played: Performance, start: float) -> float:
    """Return the share of instants in the window at which no note sounds."""
    near = _sounding(played, start)
    at = start + np.arange(INSTANTS) * (WINDOW / INSTANTS)
    begun = np.searchsorted(played.onset[near], at, side="right")  # (INSTANTS,)
    ended = np.searchsorted(np.sort(played.offset[near]), at, side="right")
    return float((begun == ended).mean())


def _pedals(played: Performance, starts: Floats) -> Floats:
    low, high = HALF
    sustain, soft = played.sustain, played.soft
    down = sustain.values >= DOWN
    share = _mean(sustain.times, down, starts)
    turn = np.diff(down.astype(np.int64), prepend=0)
    sounding = np.array([len(_sounding(played, start)) for start in starts])
    return np.column_stack(
        [
            _mean(sustain.times, sustain.values / 127, starts),
            share,
            _count(sustain, turn > 0, starts),
            _count(sustain, turn < 0, starts),
            _mean(sustain.times, (sustain.values >= low) & (sustain.values < high), starts),
            _mean(soft.times, soft.values / 127, starts),
            _mean(soft.times, soft.values >= DOWN, starts),
            share * sounding,
        ]
    )


def _mean(times: Floats, values: npt.NDArray[np.generic], starts: Floats) -> Floats:
    """Return (T,) the mean over each window of a step function within [0, 1]."""
    if not len(times):
        return np.zeros(len(starts))
    level = values.astype(np.float64)
    area = np.append(0.0, np.cumsum(np.diff(times) * level[:-1]))  # up to each event

    def until(when: Floats) -> Floats:
        k = np.searchsorted(times, when, side="right") - 1
        begun = np.maximum(k, 0)
        grown = area[begun] + level[begun] * (when - times[begun])
        return np.where(k < 0, 0.0, grown)

    return np.clip((until(starts + WINDOW) - until(starts)) / WINDOW, 0.0, 1.0)


def _count(pedal: Pedal, which: npt.NDArray[np.bool_], starts: Floats) -> Ints:
    times = pedal.times[which]
    return np.searchsorted(times, starts + WINDOW) - np.searchsorted(times, starts)
