"""The cache of simulated data: equal to fresh ones, bounded, and never taken when torn."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from aqabench.data import simulated
from aqabench.data.mapped import save_arrays
from aqabench.data.simulated import cache_folder, load_simulated
from aqabench.data.simulator import simulate
from tests.helpers import small_spec


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AQABENCH_HOME", str(tmp_path))


def _files() -> list[Path]:
    return sorted(cache_folder().glob("*/*.safetensors"))


def test_the_second_time_it_comes_from_the_disk_and_is_equal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec, fresh = small_spec(), simulate(small_spec(), seed=3)
    first = load_simulated(spec, 3, ["video", "audio"])
    monkeypatch.setattr("aqabench.data.simulator._features", _forbidden)
    again = load_simulated(spec, 3, ["video", "audio"])
    for data in (first, again):
        assert data.digest == fresh.digest
        assert data.ids == fresh.ids
        for m, x in fresh.features.items():
            assert np.array_equal(data.features[m], x)


def _forbidden(*_: object) -> None:
    raise AssertionError("made again")


def test_only_the_streams_that_are_asked_for_are_made() -> None:
    data = load_simulated(small_spec(), 0, ["audio"])
    assert list(data.features) == ["audio"]
    assert [p.stem for p in _files()] == ["audio"]
    both = load_simulated(small_spec(), 0, ["video", "audio"])
    assert np.array_equal(both.features["audio"], data.features["audio"])
    assert np.array_equal(both.features["video"], simulate(small_spec()).features["video"])


def test_a_torn_file_is_made_again() -> None:
    expected = load_simulated(small_spec(), 0, ["video"]).features["video"].copy()
    (path,) = _files()
    path.write_bytes(path.read_bytes()[:-7])
    assert np.array_equal(load_simulated(small_spec(), 0, ["video"]).features["video"], expected)
    path.write_bytes(b"")
    assert np.array_equal(load_simulated(small_spec(), 0, ["video"]).features["video"], expected)


def test_a_file_of_another_length_is_made_again() -> None:
    expected = load_simulated(small_spec(), 0, ["video"]).features["video"].copy()
    (path,) = _files()
    save_arrays({simulated.ARRAY: expected[:-1].copy()}, path)
    assert np.array_equal(load_simulated(small_spec(), 0, ["video"]).features["video"], expected)


def test_what_was_used_longest_ago_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    for number, seed in enumerate((1, 2, 3)):
        load_simulated(small_spec(), seed, ["video"])
        (new,) = [p.parent for p in _files() if p.parent.stat().st_mtime > 1e9]
        os.utime(new, (1000 + number, 1000 + number))
    sizes = [p.stat().st_size for p in _files()]
    monkeypatch.setattr(simulated, "LIMIT", sum(sizes))
    oldest = min((p.parent for p in _files()), key=lambda p: p.stat().st_mtime)
    load_simulated(small_spec(), 4, ["video"])
    assert oldest not in [p.parent for p in _files()]
    assert len(_files()) == 3


def test_without_room_the_data_are_made_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")._replace(free=10)
    monkeypatch.setattr("aqabench.data.simulated.shutil.disk_usage", lambda _: usage)
    data = load_simulated(small_spec(), 0, ["video"])
    assert np.array_equal(data.features["video"], simulate(small_spec()).features["video"])
    assert not _files()


def test_a_closed_disk_costs_nothing_but_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", closed)
    data = load_simulated(small_spec(), 0, ["video"])
    assert np.array_equal(data.features["video"], simulate(small_spec()).features["video"])
