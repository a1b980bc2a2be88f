"""A MIDI file as notes and pedal curves in seconds; the files may come from anywhere.

Only notes, velocities, the tempo and the two pedals are used, of all tracks and channels together.
A file that is too large, too long, not MIDI, or without notes is refused with a reason; nothing is
guessed.
"""

from __future__ import annotations

import importlib
import io
import itertools
import re
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from aqabench.errors import DataError

MAX_BYTES = 256 * 1024
"""A short piano passage takes some kilobytes."""
MAX_SECONDS = 3600
LONG_RUN = re.compile(rb"[\x80-\xff]{1024}")
"""Such bytes carry a number on to the next; a long one would keep the library busy for minutes."""
SUSTAIN, SOFT = 64, 67
"""Controller numbers of the damper and the una corda pedal (MIDI 1.0)."""
DEFAULT_TEMPO = 500_000
"""Microseconds per beat until the file says otherwise (MIDI 1.0)."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Pedal:
    """A controller over time: ``values[k]`` holds from ``times[k]`` on, 0 before the first.

    Attributes:
        times: (M,) ascending, in seconds from the first onset; negative before it.
        values: (M,) 0 to 127.
    """

    times: Floats
    values: Ints


@dataclass(frozen=True)
class Performance:
    """The notes of a recording, by onset and then pitch.

    Attributes:
        onset: (N,) in seconds from the first onset.
        offset: (N,) when the key is released, in seconds from the first onset.
        pitch: (N,) MIDI note numbers.
        velocity: (N,) 1 to 127.
        sustain: damper pedal.
        soft: una corda pedal.
    """

    onset: Floats
    offset: Floats
    pitch: Ints
    velocity: Ints
    sustain: Pedal
    soft: Pedal


def midi_library() -> ModuleType:
    """Import mido, which only this layout needs.

    Raises:
        DataError: it is not installed.
    """
    try:
        return importlib.import_module("mido")
    except ImportError:
        raise DataError(
            "Reading MIDI files needs the library mido, which is not installed. "
            "Type: pip install mido"
        ) from None


def read_midi(path: Path) -> Performance:
    """Read a MIDI file.

    A key that is struck again before its release ends the earlier note; a key that is never
    released ends with the file; a note without length is none.

    Args:
        path: a regular file.

    Raises:
        ValueError: why it cannot be used, as a phrase that follows the file's name.
        DataError: the MIDI library is not installed.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from None
    if not data:
        raise ValueError("is empty")
    if len(data) > MAX_BYTES:
        raise ValueError(f"is larger than {MAX_BYTES // 1024} KiB, too large for a short passage")
    if LONG_RUN.search(data):
        raise ValueError("is not a MIDI file: it has numbers of more than a thousand digits")
    mido = midi_library()
    try:
        parsed = mido.MidiFile(file=io.BytesIO(data))
    except EOFError:
        raise ValueError("is not a whole MIDI file: it ends too early") from None
    except Exception as error:  # whatever the library stumbles over is a fault of the file
        raise ValueError(f"is not a MIDI file that can be read ({str(error)[:80]})") from None
    if parsed.type == 2:
        raise ValueError("is a MIDI file of type 2 (independent tracks), expected type 0 or 1")
    if parsed.ticks_per_beat <= 0:
        raise ValueError("counts time in film frames or not at all, expected ticks per beat")
    return _performance(parsed.tracks, parsed.ticks_per_beat)


def _performance(tracks: list[Any], per_beat: int) -> Performance:
    """Apply the tempo in whole numbers, so that equal times stay equal; then pair the notes."""
    latest = MAX_SECONDS * 1_000_000 * per_beat  # the clock counts microseconds * ticks per beat
    clock, tick, tempo = 0, 0, DEFAULT_TEMPO
    open_keys: dict[tuple[int, int], tuple[int, int]] = {}  # (channel, pitch) -> (start, velocity)
    notes: list[tuple[int, int, int, int]] = []  # (start, pitch, end, velocity)
    pedals: dict[int, list[tuple[int, int]]] = {SUSTAIN: [], SOFT: []}
    for now, message in _in_order(tracks):
        clock += (now - tick) * tempo
        tick = now
        if clock > latest:
            raise ValueError(f"lasts longer than {MAX_SECONDS // 60} minutes")
        if message.type == "set_tempo":
            tempo = message.tempo
        elif message.type == "control_change" and message.control in pedals:
            pedals[message.control].append((clock, message.value))
        elif message.type in ("note_on", "note_off"):
            key = (message.channel, message.note)
            if key in open_keys:
                start, velocity = open_keys.pop(key)
                notes.append((start, message.note, clock, velocity))
            if message.type == "note_on" and message.velocity > 0:
                open_keys[key] = (clock, message.velocity)
    notes += [(start, key[1], clock, velocity) for key, (start, velocity) in open_keys.items()]
    notes = sorted(note for note in notes if note[2] > note[0])
    if not notes:
        raise ValueError("has no notes")
    first, unit = notes[0][0], 1_000_000 * per_beat
    return Performance(
        onset=_seconds([note[0] for note in notes], first, unit),
        offset=_seconds([note[2] for note in notes], first, unit),
        pitch=np.array([note[1] for note in notes], np.int64),
        velocity=np.array([note[3] for note in notes], np.int64),
        sustain=_pedal(pedals[SUSTAIN], first, unit),
        soft=_pedal(pedals[SOFT], first, unit),
    )


def _in_order(tracks: list[Any]) -> list[tuple[int, Any]]:
    """Return (tick, message) of all tracks by time; at one tick the order of the tracks holds."""
    events = [
        event
        for track in tracks
        for event in zip(itertools.accumulate(m.time for m in track), track, strict=True)
    ]
    return sorted(events, key=lambda event: event[0])


def _seconds(clocks: list[int], first: int, unit: int) -> Floats:
    return np.array([(clock - first) / unit for clock in clocks], np.float64)


def _pedal(events: list[tuple[int, int]], first: int, unit: int) -> Pedal:
    times = _seconds([clock for clock, _ in events], first, unit)
    return Pedal(times, np.array([value for _, value in events], np.int64))
