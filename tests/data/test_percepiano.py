"""PercePiano from its repository's layout: names, ratings, MIDI files, and each column by hand."""

from __future__ import annotations

import json
import math
import re
import sys
import time
from pathlib import Path

import mido
import numpy as np
import pandas as pd
import pytest

from aqabench.data.readers import percepiano
from aqabench.data.readers._midi_file import MAX_BYTES, read_midi
from aqabench.data.readers._midi_streams import COLUMNS, rows, streams
from aqabench.data.readers.faults import Faults
from aqabench.data.readers.release import Release
from aqabench.errors import DataError
from aqabench.protocol.library import load_dataset
from aqabench.protocol.schema import DatasetSpec

LEAD_IN = 300
"""Milliseconds before the first note in the files written here."""
NOTES = ((0, 600, 60, 40), (20, 500, 64, 60), (400, 550, 67, 80), (1200, 1700, 48, 50))
"""(onset ms, release ms, pitch, velocity): a chord of two notes, and two single ones."""
SUSTAIN = ((-200, 64, 127), (250, 64, 100), (750, 64, 10), (1250, 64, 64), (1500, 64, 0))
SOFT = ((500, 67, 127), (1000, 67, 0))
RATINGS = [0.5] * 19 + [3]
NAME = "Beethoven_WoO80_var27_8bars_1_15"


def write_midi(path: Path, notes=NOTES, controls=SUSTAIN + SOFT) -> Path:
    """Write a file with one tick per millisecond."""
    events = [(on, 1, mido.Message("note_on", note=p, velocity=v)) for on, _, p, v in notes]
    events += [(off, 0, mido.Message("note_off", note=p)) for _, off, p, _ in notes]
    events += [(t, 2, mido.Message("control_change", control=c, value=v)) for t, c, v in controls]
    track, now = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=1_000_000)]), -LEAD_IN
    for at, _, message in sorted(events, key=lambda e: e[:2]):
        track.append(message.copy(time=at - now))
        now = at
    path.parent.mkdir(parents=True, exist_ok=True)
    mido.MidiFile(type=1, ticks_per_beat=1000, tracks=[track]).save(path)
    return path


def column(path: Path, modality: str, name: str) -> list[float]:
    return streams(read_midi(path))[modality][:, COLUMNS[modality].index(name)].tolist()


# --- columns -------------------------------------------------------------------------------------

LN = math.log
SD3 = math.sqrt(800 / 3)
HAND = {
    # rows begin at 0, 0.5, 1 and 1.5 s
    "notes": {
        "n_onset": [3, 1, 1, 0],
        "poly_mean": [0.6 + 0.48 + 0.15, 0.1 + 0.05 + 0.3, 0.5, 0.2],
        "pitch_mean": [191 / 3, 175 / 3, 48, 48],
        "pitch_std": [np.std([60, 64, 67]), np.std([60, 67, 48]), 0, 0],
        "pitch_min": [60, 48, 48, 48],
        "pitch_max": [67, 67, 48, 48],
        "chroma0": [1 / 3, 2 / 3, 1, 1],
        "chroma4": [1 / 3, 0, 0, 0],
        "chroma7": [1 / 3, 1 / 3, 0, 0],
    }
    | {f"chroma{i}": [0] * 4 for i in (1, 2, 3, 5, 6, 8, 9, 10, 11)},
    "dynamics": {
        "vel_mean": [60, 50, 50, 50],
        "vel_std": [SD3, 0, 0, 0],
        "vel_min": [40, 50, 50, 50],
        "vel_max": [80, 50, 50, 50],
        "vel_top": [80, 50, 50, 50],
        "vel_bass": [40, 50, 50, 50],
        "top_minus_mean": [20, 0, 0, 0],
        "vel_delta": [0, -10, 0, 0],
        "vel_range": [40, 0, 0, 0],
        "vel_slope": [8 / 0.1016, 0, 0, 0],  # onsets 0, 0.02, 0.4
    },
    "timing": {
        "log_ioi_mean": [(LN(0.4) + LN(0.8)) / 2] * 4,  # then only the last group, without IOI
        "log_ioi_std": [LN(2) / 2] * 4,
        "log_ioi_min": [LN(0.4)] * 4,
        "log_ioi_max": [LN(0.8)] * 4,
        "log_dur_mean": [np.mean(np.log([0.6, 0.48, 0.15]))] * 4,
        "log_dur_std": [np.std(np.log([0.6, 0.48, 0.15]))] * 4,
        "artic_mean": [(1.5 + 1.2 + 0.1875) / 3] * 4,
        "artic_std": [np.std([1.5, 1.2, 0.1875])] * 4,
        "chord_spread": [0.01] * 4,
        "onset_groups": [2] * 4,
        "ioi_ratio": [LN(2)] * 4,
        "gap_frac": [8 / 20, 12 / 20, 10 / 20, 16 / 20],
    },
    "pedal": {
        "sustain_mean": [
            (127 * 0.25 + 100 * 0.5 + 10 * 0.25) / 127,
            (100 * 0.25 + 10 * 0.5 + 64 * 0.25) / 127,
            (10 * 0.25 + 64 * 0.25) / 127,
            0,
        ],
        "sustain_down": [0.75, 0.5, 0.25, 0],
        "sustain_presses": [0, 1, 1, 0],
        "sustain_releases": [1, 1, 1, 1],
        "sustain_half": [0.5, 0.5, 0.25, 0],
        "soft_mean": [0.5, 0.5, 0, 0],
        "soft_down": [0.5, 0.5, 0, 0],
        "held_notes": [0.75 * 3, 0.5 * 3, 0.25, 0],
    },
}


@pytest.mark.parametrize(
    ("modality", "name"), [(m, n) for m, names in COLUMNS.items() for n in names]
)
def test_column_by_hand(tmp_path: Path, modality: str, name: str) -> None:
    path = write_midi(tmp_path / "a.mid")
    assert column(path, modality, name) == pytest.approx(HAND[modality][name], rel=1e-6, abs=1e-6)


def test_streams_are_aligned_float32_of_the_widths_of_the_data_set(tmp_path: Path) -> None:
    found = streams(read_midi(write_midi(tmp_path / "a.mid")))
    assert {m: x.shape for m, x in found.items()} == {
        m.name: (4, m.width) for m in load_dataset("percepiano").modalities
    }
    assert {x.dtype for x in found.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("notes", "expected"),
    [
        ([(0, 499, 60, 64)], 1),
        ([(0, 500, 60, 64)], 2),
        ([(0, 60_000, 60, 64)], 7),  # followed for 3 s
        ([(0, 60_000, 60, 64), (1000, 1100, 62, 64)], 9),
        ([(0, 2900, 60, 64), (1000, 1100, 62, 64)], 6),
    ],
)
def test_rows_run_to_the_last_release_at_most_3_s_after_the_last_onset(
    tmp_path: Path, notes, expected: int
) -> None:
    assert rows(read_midi(write_midi(tmp_path / "a.mid", notes, ()))) == expected


def test_a_chord_is_a_chain_of_onsets_35_ms_apart(tmp_path: Path) -> None:
    chain = [(t, t + 90, 60 + i, 64) for i, t in enumerate((0, 35, 70, 106, 2000))]
    path = write_midi(tmp_path / "a.mid", chain, ())
    assert column(path, "timing", "onset_groups")[0] == 2
    assert column(path, "timing", "chord_spread")[0] == pytest.approx(0.035)
    assert column(path, "timing", "log_ioi_min")[0] == pytest.approx(LN(0.106))
    assert column(path, "timing", "log_ioi_max")[0] == pytest.approx(LN(1.894))


def test_articulation_is_at_most_4_and_1_in_the_last_group(tmp_path: Path) -> None:
    path = write_midi(tmp_path / "a.mid", [(0, 5000, 60, 64), (200, 250, 62, 64)], ())
    assert column(path, "timing", "artic_mean")[0] == pytest.approx((4 + 1) / 2)


@pytest.mark.parametrize(
    ("onsets", "slope"),
    [
        ((0, 51), 0),
        ((0, 20, 50), 0),  # within 50 ms
        ((0, 20, 51), 100),  # cut
        ((0, 400, 800), 25),
        ((0, 100, 800), 8 / 0.38),
    ],
)
def test_slope_needs_three_notes_and_50_ms(tmp_path: Path, onsets, slope: float) -> None:
    notes = [(t, t + 60, 60 + i, 50 + 10 * i) for i, t in enumerate(onsets)]
    path = write_midi(tmp_path / "a.mid", notes, ())
    assert column(path, "dynamics", "vel_slope")[0] == pytest.approx(slope, rel=1e-5)


def test_without_pedals_and_second_groups_everything_is_finite(tmp_path: Path) -> None:
    found = streams(read_midi(write_midi(tmp_path / "a.mid", [(0, 700, 60, 64)], ())))
    assert not found["pedal"].any()
    assert not found["timing"][:, :-1].any()
    assert found["timing"][:, -1] == pytest.approx([6 / 20, 16 / 20])


def test_random_recordings_are_finite_and_within_range(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for number in range(15):
        size = int(draw.integers(1, 60))
        on = draw.integers(0, 9000, size)
        notes = [
            (int(t), int(t + draw.integers(1, 3000)), int(draw.integers(21, 109)), 1 + i)
            for i, t in enumerate(on)
        ]
        controls = [
            (int(draw.integers(-200, 9000)), int(draw.choice([64, 67])), int(draw.integers(128)))
            for _ in range(30)
        ]
        played = read_midi(write_midi(tmp_path / f"{number}.mid", notes, controls))
        found = streams(played)
        assert all(np.isfinite(x).all() for x in found.values())
        pedal = dict(zip(COLUMNS["pedal"], found["pedal"].T, strict=True))
        for name in ("sustain_mean", "sustain_down", "sustain_half", "soft_mean", "soft_down"):
            assert pedal[name].min() >= 0
            assert pedal[name].max() <= 1
        chroma = found["notes"][:, 6:].sum(axis=1)
        assert np.allclose(chroma, found["notes"][:, 1] > 0)


# --- MIDI ----------------------------------------------------------------------------------------


def test_tempo_of_one_track_holds_for_all(tmp_path: Path) -> None:
    tempo = mido.MidiTrack(
        [
            mido.MetaMessage("set_tempo", tempo=1_000_000),
            mido.MetaMessage("set_tempo", tempo=250_000, time=480),
        ]
    )
    keys = mido.MidiTrack(
        [
            mido.Message("note_on", note=60, velocity=64),
            mido.Message("note_on", note=60, velocity=0, time=960),  # a release as well
            mido.Message("note_on", note=62, velocity=64, time=480),
            mido.Message("note_off", note=62, time=480),
        ]
    )
    mido.MidiFile(ticks_per_beat=480, tracks=[tempo, keys]).save(tmp_path / "a.mid")
    played = read_midi(tmp_path / "a.mid")
    assert played.onset.tolist() == [0, 1.5]
    assert played.offset.tolist() == [1.25, 1.75]


def test_struck_again_ends_and_never_released_ends_with_the_file(tmp_path: Path) -> None:
    keys = mido.MidiTrack(
        [
            mido.MetaMessage("set_tempo", tempo=1_000_000),
            mido.Message("note_on", note=60, velocity=10),
            mido.Message("note_on", note=60, velocity=20, time=500),
            mido.Message("note_off", note=60, time=500),
            mido.Message("note_off", note=60, time=100),  # nothing sounds any more
            mido.Message("note_on", note=62, velocity=30),
            mido.Message("note_off", note=62),  # no length: no note
            mido.Message("note_on", note=64, velocity=40),
            mido.Message("control_change", control=64, value=0, time=900),
        ]
    )
    mido.MidiFile(ticks_per_beat=1000, tracks=[keys]).save(tmp_path / "a.mid")
    played = read_midi(tmp_path / "a.mid")
    assert played.pitch.tolist() == [60, 60, 64]
    assert played.onset.tolist() == [0, 0.5, 1.1]
    assert played.offset.tolist() == [0.5, 1, 2]


def chunk(kind: bytes, body: bytes, length: int | None = None) -> bytes:
    return kind + (len(body) if length is None else length).to_bytes(4, "big") + body


def header(kind: int = 0, tracks: int = 1, division: int = 480) -> bytes:
    return chunk(b"MThd", b"".join(n.to_bytes(2, "big") for n in (kind, tracks, division)))


SLOWEST = b"\x00\xff\x51\x03\xff\xff\xff"
NOTE, END = b"\x00\x90\x3c\x40\x60\x80\x3c\x40", b"\x00\xff\x2f\x00"
HOSTILE = {
    "empty": (b"", "is empty"),
    "text": (b"dear reader, this is no music at all\n" * 9, "is not a MIDI file"),
    "header only": (header()[:9], "ends too early"),
    "no track": (header(tracks=0), "has no notes"),
    "no notes": (header() + chunk(b"MTrk", END), "has no notes"),
    "truncated": (header() + chunk(b"MTrk", NOTE + END)[:-6], "ends too early"),
    "huge track length": (header() + chunk(b"MTrk", NOTE + END, 2**32 - 1), "ends too early"),
    "many tracks": (header(1, 30000) + chunk(b"MTrk", NOTE + END), "ends too early"),
    "long message": (
        header() + chunk(b"MTrk", b"\x00\xff\x01\xff\xff\xff\x7f" + NOTE),
        "is not a MIDI file",
    ),
    "bad data byte": (header() + chunk(b"MTrk", b"\x00\x90\x3c\xf0" + END), "is not a MIDI file"),
    "type 2": (header(2) + chunk(b"MTrk", NOTE + END), "type 2"),
    "film frames": (header(division=0xE728) + chunk(b"MTrk", NOTE + END), "film frames"),
    "no ticks": (header(division=0) + chunk(b"MTrk", NOTE + END), "film frames"),
    "two hours": (
        header(division=1)
        + chunk(b"MTrk", SLOWEST + b"\x00\x90\x3c\x40\x87\x60\x80\x3c\x40" + END),
        "longer than 60 minutes",
    ),
    "aeons": (
        header(division=1) + chunk(b"MTrk", SLOWEST + b"\xff" * 900 + b"\x7f\x90\x3c\x40" + END),
        "longer than 60 minutes",
    ),
    "endless number": (header() + chunk(b"MTrk", b"\xff" * (MAX_BYTES - 22)), "a thousand digits"),
    "too large": (header() + chunk(b"MTrk", NOTE * MAX_BYTES), "is larger than 256 KiB"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_midi_is_refused_with_a_reason(tmp_path: Path, case: str) -> None:
    data, reason = HOSTILE[case]
    path = tmp_path / "a.mid"
    path.write_bytes(data)
    begin = time.monotonic()
    with pytest.raises(ValueError, match=reason) as caught:
        read_midi(path)
    assert len(str(caught.value)) < 200
    assert time.monotonic() - begin < 20


def test_damaged_midi_is_read_or_refused(tmp_path: Path) -> None:
    good = write_midi(tmp_path / "a.mid").read_bytes()
    draw = np.random.default_rng(0)
    refused = 0
    for _ in range(400):
        data = bytearray(good)
        for at in draw.integers(0, len(data), draw.integers(1, 5)):
            data[at] = draw.integers(256)
        (tmp_path / "b.mid").write_bytes(data)
        try:
            found = streams(read_midi(tmp_path / "b.mid"))
        except ValueError:
            refused += 1
        else:
            assert all(np.isfinite(x).all() for x in found.values())
    assert 0 < refused < 400


# --- the release ---------------------------------------------------------------------------------


@pytest.fixture
def spec() -> DatasetSpec:
    return load_dataset("percepiano")


def write_clone(folder: Path, names=None, ratings=None) -> Path:
    """Write a clone: the MIDI files and the label file, with upstream's oddities."""
    names = [f"{NAME}.mid", " Schubert_D935_no.3_4bars_2_1.mid"] if names is None else names
    for name in names:
        write_midi(folder / percepiano.MIDI[0] / name)
    if ratings is None:
        ratings = {Path(name).stem.strip(): RATINGS for name in names}
    path = folder / percepiano.LABELS
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(ratings if isinstance(ratings, str) else json.dumps(ratings))
    return folder


def opened(folder: Path, spec: DatasetSpec) -> tuple[Release, list[str]]:
    faults = Faults(folder)
    release = percepiano.open_release(folder, spec, faults)
    return release, [f"{where} {problem}" for where, problem in faults.found]


def test_a_clone_is_recognised_and_read(tmp_path: Path, spec: DatasetSpec) -> None:
    assert percepiano.suits(spec)
    assert not percepiano.suits(load_dataset("fisv"))
    assert not percepiano.recognise(tmp_path, spec)
    folder = write_clone(tmp_path / "PercePiano")
    assert percepiano.recognise(folder, spec)
    release, problems = opened(folder, spec)
    assert not problems
    assert release.layout == "percepiano-midi"
    assert release.modalities == ("dynamics", "timing", "pedal", "notes")
    assert release.lists == (folder / percepiano.LABELS,)
    first, second = release.labels
    assert [first.sample_id, second.sample_id] == ["Schubert_D935_no.3_4bars_2_1", NAME]
    assert first.groups == {"composition": "Schubert_D935_no.3_4bars#1", "player": "2"}
    assert second.groups == {"composition": "Beethoven_WoO80_var27_8bars#15", "player": "1"}
    assert first.split == "train"
    assert first.scores == {c.name: 0.5 for c in spec.classes}
    assert set(first.folds) == set(spec.folds)
    assert any("' Schubert_D935_no.3_4bars_2_1.mid'" in note for note in release.notes)
    (piece,) = release.pieces
    arrays = piece.read(Faults(folder))
    assert set(arrays) == set(release.modalities) == set(release.places)
    for modality in arrays:
        assert set(arrays[modality]) == {first.sample_id, NAME}
        assert arrays[modality][NAME].shape[0] == 4


def test_the_folder_of_midi_files_may_stand_at_the_top(tmp_path: Path, spec: DatasetSpec) -> None:
    folder = write_clone(tmp_path)
    (folder / percepiano.MIDI[0]).rename(folder / percepiano.MIDI[1])
    assert percepiano.recognise(folder, spec)
    assert len(opened(folder, spec)[0].labels) == 2


def test_scores_follow_the_order_of_the_classes(tmp_path: Path, spec: DatasetSpec) -> None:
    means = [i / 19 for i in range(19)]
    release, problems = opened(write_clone(tmp_path, [f"{NAME}.mid"], {NAME: [*means, 7]}), spec)
    assert not problems
    assert list(release.labels[0].scores.values()) == means
    assert release.labels[0].scores["interpretation_doubtful_convincing"] == 18 / 19


def test_renderings_of_the_score_are_left_out_and_counted(
    tmp_path: Path, spec: DatasetSpec
) -> None:
    rendered = ["Schubert_D935_no.3_4bars_Score_33", "Beethoven_WoO80_var15_8bars_Score2_10"]
    ratings = {NAME: RATINGS} | dict.fromkeys(rendered, RATINGS)
    folder = write_clone(tmp_path, [f"{NAME}.mid", f"{rendered[0]}.mid"], ratings)
    release, problems = opened(folder, spec)
    assert not problems  # not even for the one without a file
    assert [label.sample_id for label in release.labels] == [NAME]
    assert "2 rated renderings of the bare score (no player) are left out" in release.notes
    assert set(release.pieces[0].read(Faults(folder))["notes"]) == {NAME}


def test_midi_without_ratings_is_left_out_with_a_note(tmp_path: Path, spec: DatasetSpec) -> None:
    names = [f"{NAME}.mid", *(f"Other_4bars_1_{i}.mid" for i in range(8))]
    release, problems = opened(write_clone(tmp_path, names, {NAME: RATINGS}), spec)
    assert not problems
    assert len(release.labels) == 1
    note = next(note for note in release.notes if "without ratings" in note)
    assert note.startswith("8 MIDI files without ratings are left out: 'Other_4bars_1_0.mid', ")
    assert note.endswith("'Other_4bars_1_5.mid' and 2 more")


def test_ratings_without_midi_are_faults(tmp_path: Path, spec: DatasetSpec) -> None:
    lost = "Beethoven_WoO80_var3_8bars_1_2"
    folder = write_clone(tmp_path, [f"{NAME}.mid"], {NAME: RATINGS, lost: RATINGS})
    assert opened(folder, spec)[1] == [f"{lost} is rated, but has no {lost}.mid in all_2rounds"]


@pytest.mark.parametrize(
    ("ratings", "problem"),
    [
        ({NAME: RATINGS[1:]}, f"{NAME} has 19 numbers in .*, expected 20"),
        ({NAME: [*RATINGS, 1]}, f"{NAME} has 21 numbers"),
        ({NAME: "0.5"}, "has no list of ratings"),
        ({NAME: {"a": 1}}, "has no list of ratings"),
        ({NAME: [1.01, *RATINGS[1:]]}, "timing_stable_unstable that is no number in 0 to 1"),
        ({NAME: [0.5, -0.1, *RATINGS[2:]]}, "articulation_short_long that is no number"),
        ({NAME: [math.nan, *RATINGS[1:]]}, "is no number"),
        ({NAME: [10**400, *RATINGS[1:]]}, "is no number"),
        ({NAME: [True, *RATINGS[1:]]}, "is no number"),
        ({NAME: ["0.5", *RATINGS[1:]]}, "is no number"),
        ({NAME: [None, *RATINGS[1:]]}, "is no number"),
        ({"Beethoven_4bars_1_" + "9" * 5000: RATINGS}, "has a name that is not <piece>_<k>bars"),
        ({"Beethoven": RATINGS}, "has a name that is not <piece>_<k>bars"),
        ({"\ud800_4bars_1_2": RATINGS}, "has a name that is not <piece>_<k>bars"),
        ({f"{NAME} ": RATINGS, NAME: RATINGS}, "is rated twice"),
        (f'{{"{NAME}": {RATINGS}, "{NAME}": {RATINGS}}}', "is rated twice"),
        ({}, "holds no JSON object with entries"),
        ("[1, 2]", "holds no JSON object with entries"),
        ("", "is not a JSON file"),
        ('{"a": [0.1, ', "is not a JSON file"),
        ("[" * 100_000, "is not a JSON file"),
        ("9" * 5000, "is not a JSON file"),
    ],
)
def test_bad_ratings_are_faults(tmp_path: Path, spec: DatasetSpec, ratings, problem: str) -> None:
    folder = write_clone(tmp_path, [f"{NAME}.mid"], ratings)
    _, problems = opened(folder, spec)
    assert len(problems) == 1
    assert re.search(problem, problems[0])


def test_absent_parts_are_named(tmp_path: Path, spec: DatasetSpec) -> None:
    assert opened(tmp_path, spec)[1] == [
        "labels/label_2round_mean_reg_19_with0_rm_highstd0.json is absent; it holds the ratings",
        "virtuoso/data/all_2rounds is absent; it holds the MIDI files",
    ]


def test_two_files_of_a_name_and_folders_are_faults(tmp_path: Path, spec: DatasetSpec) -> None:
    folder = write_clone(tmp_path, [f"{NAME}.mid", f" {NAME}.mid"])
    (folder / percepiano.MIDI[0] / "Other_4bars_1_2.mid").mkdir()
    assert opened(folder, spec)[1] == [
        f"all_2rounds/{NAME}.mid differs from another file only by blanks in its name",
        "all_2rounds/Other_4bars_1_2.mid is not a file",
    ]


def test_a_midi_file_that_cannot_be_read_is_a_fault_and_the_others_are_read(
    tmp_path: Path, spec: DatasetSpec
) -> None:
    folder = write_clone(tmp_path)
    (folder / percepiano.MIDI[0] / f"{NAME}.mid").write_bytes(b"")
    release, _ = opened(folder, spec)
    faults = Faults(folder)
    arrays = release.pieces[0].read(faults)
    assert faults.found == [(f"all_2rounds/{NAME}.mid", "is empty")]
    assert all(set(a) == {"Schubert_D935_no.3_4bars_2_1"} for a in arrays.values())


def test_pieces_hold_100_files_in_the_order_of_their_names(
    tmp_path: Path, spec: DatasetSpec
) -> None:
    names = [f"Beethoven_4bars_{i}_1" for i in range(101)]
    folder = write_clone(tmp_path, [], dict.fromkeys(names, RATINGS))
    place = folder / percepiano.MIDI[0]
    place.mkdir(parents=True)
    for name in names:
        (place / f"{name}.mid").touch()
    release, problems = opened(folder, spec)
    assert not problems
    assert [(p.key, len(p.sources)) for p in release.pieces] == [
        ("midi-0000", 100),
        ("midi-0001", 1),
    ]
    assert [label.sample_id for label in release.labels] == sorted(names)


def test_without_the_midi_library_it_says_what_to_install(
    tmp_path: Path, spec: DatasetSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_clone(tmp_path)
    monkeypatch.setitem(sys.modules, "mido", None)
    with pytest.raises(DataError, match="pip install mido"):
        opened(folder, spec)


# --- against the converted data ------------------------------------------------------------------


@pytest.fixture(scope="module")
def meta(shared_data: Path) -> pd.DataFrame:
    path = shared_data / "percepiano" / "meta.csv"
    if not path.is_file():
        pytest.skip(f"real data not at hand: {path} is absent")
    return pd.read_csv(path, dtype=str)


def test_names_are_parsed_as_in_the_converted_data(meta: pd.DataFrame) -> None:
    found = [percepiano.parse_name(name) for name in meta["sample_id"]]
    assert len(found) == 1189
    assert [p and p.composition for p in found] == meta["composition_id"].tolist()
    assert [p and p.player for p in found] == meta["player"].tolist()
    assert [p and p.rendered for p in found] == (meta["is_score_render"] == "1").tolist()
    assert sum(p is not None and p.rendered for p in found) == 116


@pytest.mark.parametrize("kind", ["composition", "player"])
def test_folds_are_those_of_the_converted_data(meta: pd.DataFrame, kind: str) -> None:
    kept = meta[meta["is_score_render"] == "0"]
    labels = kept["composition_id" if kind == "composition" else "player"]
    assert len(kept) == 1073
    folds = percepiano.group_folds(reversed(labels.tolist()))
    assert [folds[label] for label in labels] == kept[f"fold5_{kind}"].astype(int).tolist()


def test_columns_are_those_of_the_converted_data(meta: pd.DataFrame, shared_data: Path) -> None:
    with np.load(shared_data / "percepiano" / "percepiano.npz", allow_pickle=False) as archive:
        for modality, names in COLUMNS.items():
            assert archive[f"names_{modality}"].tolist() == names
