"""PercePiano from a clone of its repository: MIDI recordings and one file of mean ratings.

The label file is a JSON object: ``<piece>_<k>bars_<player>_<segment>`` -> 19 mean ratings in
[0, 1], in the order of the data set's classes, and a number for the player, which is not used.
Players called Score are renderings of the bare score without a performer; they are left out, as
are recordings that were never rated.  The streams are those of
:mod:`aqabench.data.readers._midi_streams`.

The authors publish no folds that keep compositions or players apart.  They are made by a fixed
rule: the labels of a kind of group in alphabetical order, shuffled by NumPy's legacy generator
with seed 0 (its stream is frozen), cut into five parts of equal count.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from aqabench.data.readers._midi_file import midi_library, read_midi
from aqabench.data.readers._midi_streams import streams
from aqabench.data.readers.faults import NAMED, Faults, printable
from aqabench.data.readers.release import Arrays, Label, Piece, Release
from aqabench.protocol.schema import DatasetSpec

LABELS = Path("labels/label_2round_mean_reg_19_with0_rm_highstd0.json")
MIDI = (Path("virtuoso/data/all_2rounds"), Path("all_2rounds"))
EXPECTED = f"a clone of the repository: {MIDI[0].as_posix()}/NAME.mid and {LABELS.as_posix()}"

AT_ONCE = 100
"""MIDI files of a piece."""
BYTES_EACH = 8192
"""What the streams of a recording take in memory, about: 34 rows of 48 numbers."""
MAX_LABEL_BYTES = 16 * 2**20
FOLDS, FOLD_SEED = 5, 0
NAME = re.compile(
    r"(?P<piece>[\w.-]+_\d+bars)_(?P<player>\d+|Score\d*)_(?P<segment>\d{1,6})", re.ASCII
)


@dataclass(frozen=True)
class Passage:
    """What the name of a recording says.

    Attributes:
        composition: piece and number of the passage in it, e.g. ``Schubert_D935_no.3_4bars#1``.
        player: number of the player, or ``Score`` for a rendering without one.
    """

    composition: str
    player: str

    @property
    def rendered(self) -> bool:
        """Is it a rendering of the bare score?"""
        return self.player.startswith("Score")


def parse_name(name: str) -> Passage | None:
    """Return what a name says, or None if it is not in the published form."""
    match = NAME.fullmatch(name)
    if match is None:
        return None
    return Passage(f"{match['piece']}#{int(match['segment'])}", match["player"])


def group_folds(labels: Iterable[str]) -> dict[str, int]:
    """Return label -> fold by the rule of this module; the order given does not matter."""
    names = sorted(set(labels))
    shuffled = np.random.RandomState(FOLD_SEED).permutation(len(names))
    parts = np.array_split(shuffled, FOLDS)
    return {names[i]: fold for fold, part in enumerate(parts) for i in part}


def suits(spec: DatasetSpec) -> bool:
    """Is it PercePiano?"""
    return spec.name == "percepiano"


def recognise(folder: Path, spec: DatasetSpec) -> bool:
    """Does the folder hold the label file and the folder of MIDI files?"""
    return (folder / LABELS).is_file() and _midi_folder(folder) is not None


def open_release(
    folder: Path, spec: DatasetSpec, faults: Faults, feature_set: str | None = None
) -> Release:
    """Read the ratings and match them with the MIDI files, in the order of the files' names.

    Raises:
        DataError: the MIDI library is not installed.
    """
    midi_library()
    rated = _read_labels(folder / LABELS, faults)
    place = _midi_folder(folder)
    files = _find(place, faults) if place else {}
    if place is None:
        faults.add(MIDI[0].as_posix(), "is absent; it holds the MIDI files")
    else:
        for name in sorted(rated.keys() - files.keys()):
            if not rated[name].passage.rendered:
                faults.add(name, f"is rated, but has no {name}.mid in {place.name}")
    played = {n: rated[n] for n in files if n in rated and not rated[n].passage.rendered}
    labels = _labels(played, spec, faults)
    known = [(label.sample_id, files[label.sample_id]) for label in labels]
    return Release(
        layout="percepiano-midi",
        labels=labels,
        modalities=tuple(m.name for m in spec.modalities),
        pieces=tuple(
            _piece(first // AT_ONCE, known[first : first + AT_ONCE])
            for first in range(0, len(known), AT_ONCE)
        ),
        lists=(folder / LABELS,),
        places={m.name: f"{MIDI[0].as_posix()}/NAME.mid" for m in spec.modalities},
        notes=tuple(_notes(rated, files)),
    )


def _midi_folder(folder: Path) -> Path | None:
    return next((folder / place for place in MIDI if (folder / place).is_dir()), None)


def _read_labels(path: Path, faults: Faults) -> dict[str, _Rated]:
    """Return name -> what the file has for it; names without blanks at the ends."""
    where = LABELS.as_posix()
    if not path.is_file():
        faults.add(where, "is absent; it holds the ratings")
        return {}
    try:
        with path.open("rb") as file:
            text = file.read(MAX_LABEL_BYTES + 1)
        if len(text) > MAX_LABEL_BYTES:
            faults.add(where, f"is larger than {MAX_LABEL_BYTES // 2**20} MiB")
            return {}
        pairs = json.loads(text, object_pairs_hook=_Pairs)
    except OSError as error:
        faults.add(where, f"cannot be read ({error.strerror})")
        return {}
    except (ValueError, RecursionError) as error:
        faults.add(where, f"is not a JSON file that can be read ({str(error)[:80]})")
        return {}
    if not isinstance(pairs, _Pairs) or not pairs:
        faults.add(where, "holds no JSON object with entries, expected name -> ratings")
        return {}
    rated: dict[str, _Rated] = {}
    for key, value in pairs:
        name = key.strip()
        passage = parse_name(name)
        if passage is None:
            problem = "has a name that is not <piece>_<k>bars_<player>_<segment>"
            faults.add(f"{where}: {ascii(name)[:80]}", problem)
        elif name in rated:
            faults.add(name, f"is rated twice in {where}")
        else:
            rated[name] = _Rated(passage, value)
    return rated


class _Rated(NamedTuple):
    """An entry of the label file: what its name says, and its value, unchecked."""

    passage: Passage
    value: object


class _Pairs(list[tuple[str, object]]):
    """A JSON object as it stands, so that a name that comes twice is seen."""


def _find(place: Path, faults: Faults) -> dict[str, Path]:
    """Return name -> MIDI file, by file name; names without blanks at the ends."""
    files: dict[str, Path] = {}
    for path in sorted(place.glob("*.mid")):
        name = path.stem.strip()
        if not path.is_file():
            faults.add(f"{place.name}/{path.name}", "is not a file")
        elif name in files:
            faults.add(
                f"{place.name}/{path.name}", "differs from another file only by blanks in its name"
            )
        else:
            files[name] = path
    return files


def _labels(rated: dict[str, _Rated], spec: DatasetSpec, faults: Faults) -> tuple[Label, ...]:
    """Return the labels of all recordings with sound ratings."""
    composition = group_folds(r.passage.composition for r in rated.values())
    player = group_folds(r.passage.player for r in rated.values())
    labels = []
    for name, (passage, value) in rated.items():
        if problem := _problem(value, spec):
            faults.add(name, problem)
            continue
        assert isinstance(value, list)
        scores = {c.name: float(v) for c, v in zip(spec.classes, value, strict=False)}
        groups = {"composition": passage.composition, "player": passage.player}
        folds = {
            "composition": composition[passage.composition],
            "player": player[passage.player],
        }
        labels.append(Label(name, "train", scores, groups, folds))
    return tuple(labels)


def _problem(value: object, spec: DatasetSpec) -> str:
    """Say what is wrong with the ratings of a recording; nothing if they are right."""
    count = len(spec.classes) + 1
    if not isinstance(value, list) or isinstance(value, _Pairs):
        return f"has no list of ratings in {LABELS.name}, expected {count} numbers"
    if len(value) != count:
        return f"has {len(value)} numbers in {LABELS.name}, expected {count} with the player's"
    for score_class, rating in zip(spec.classes, value, strict=False):
        number = isinstance(rating, int | float) and not isinstance(rating, bool)
        low, high = score_class.bounds
        if not (number and low <= rating <= high):  # NaN is not within bounds either
            return f"has a rating of {score_class.name} that is no number in {low:g} to {high:g}"
    return ""


def _piece(number: int, files: Sequence[tuple[str, Path]]) -> Piece:
    sources = tuple(path for _, path in files)
    return Piece(f"midi-{number:04d}", sources, _reader(tuple(files)), len(files) * BYTES_EACH)


def _reader(files: tuple[tuple[str, Path], ...]) -> Callable[[Faults], Arrays]:
    def read(faults: Faults) -> Arrays:
        arrays: Arrays = {}
        for name, path in files:
            try:
                played = read_midi(path)
            except ValueError as error:
                faults.add(f"{path.parent.name}/{path.name}", str(error))
                continue
            for modality, rows in streams(played).items():
                arrays.setdefault(modality, {})[name] = rows
        return arrays

    return read


def _notes(rated: dict[str, _Rated], files: dict[str, Path]) -> list[str]:
    """Say what was left out, and where a file is not named as in the label file."""
    rendered = sum(r.passage.rendered for r in rated.values())
    notes = []
    if rendered:
        notes.append(f"{rendered} rated renderings of the bare score (no player) are left out")
    if unrated := [path for name, path in files.items() if name not in rated]:
        notes.append(f"{len(unrated)} MIDI files without ratings are left out: {_named(unrated)}")
    if blank := [path for name, path in files.items() if path.stem != name and name in rated]:
        notes.append(f"matched without the blank in their names: {_named(blank)}")
    notes.append(
        f"the folds are not published: sorted labels shuffled with seed {FOLD_SEED}, cut in {FOLDS}"
    )
    return notes


def _named(paths: list[Path]) -> str:
    shown = ", ".join(f"'{printable(path.name)}'" for path in paths[:NAMED])
    return shown if len(paths) <= NAMED else f"{shown} and {len(paths) - NAMED} more"
