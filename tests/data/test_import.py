"""From a release on disk to the store and back, and everything that can be wrong on the way."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

from aqabench.data.readers import read_release
from aqabench.data.store import FEATURES, MANIFEST, DataStore
from aqabench.errors import DataError, StoreError
from aqabench.protocol.library import load_dataset
from aqabench.protocol.schema import DatasetSpec
from tests.helpers import write_gdlt_release


@pytest.fixture
def spec() -> DatasetSpec:
    return load_dataset("fisv")


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return write_gdlt_release(tmp_path / "release")


def test_import_and_load_keep_every_bit_and_the_order_of_the_lists(
    tmp_path: Path, release: Path, spec: DatasetSpec
) -> None:
    store = DataStore(tmp_path / "data")
    manifest = store.add(spec, read_release(release, spec))
    data = store.load(spec)
    assert data.kind == "real"
    assert data.digest == manifest.digest
    assert data.ids == ("1", "2", "3", "4", "5", "6", "101", "102", "103")
    assert data.split.tolist() == ["train"] * 6 + ["test"] * 3
    assert data.scores["TES"][0] == 21.5
    assert data.scores["PCS"][8] == 30.25
    for row, sample in enumerate(data.ids):
        original = np.load(release / "swintx_avg_fps25_clip32" / f"{sample}.npy")
        assert np.array_equal(data.video(row, "video"), original)
        assert data.video(row, "video").dtype == original.dtype


def test_the_same_release_has_the_same_digest(
    tmp_path: Path, release: Path, spec: DatasetSpec
) -> None:
    first = DataStore(tmp_path / "a").add(spec, read_release(release, spec))
    second = DataStore(tmp_path / "b").add(spec, read_release(release, spec))
    assert first.digest == second.digest


def test_everything_wrong_is_listed_at_once(release: Path, spec: DatasetSpec) -> None:
    features = release / "swintx_avg_fps25_clip32"
    (features / "2.npy").unlink()
    np.save(features / "3.npy", np.zeros((4, 7), np.float16))
    broken = np.zeros((4, 1024), np.float32)
    broken[2, 5] = np.nan
    np.save(features / "4.npy", broken)
    (features / "5.npy").write_bytes((features / "5.npy").read_bytes()[:300])
    np.save(features / "999.npy", np.zeros((4, 1024), np.float16))
    np.save(features / "6.npy", np.zeros((0, 1024), np.float16))
    with (release / "train.txt").open("a") as file:
        file.write("1 20 20 0\n7 one 20 0\n")
    with pytest.raises(DataError) as caught:
        read_release(release, spec)
    text = str(caught.value)
    for part in (
        "2.npy",
        "is absent although the video is listed",
        "has shape (4, 7), expected (clips, 1024)",
        "not finite, first in clip 2",
        "5.npy",
        "999.npy",
        "is in neither list",
        "has shape (0, 1024)",
        "is listed twice",
        "train.txt:8",
        "8 problems",
    ):
        assert part in text, f"{part!r} is not in:\n{text}"


def test_a_folder_of_another_kind_says_what_was_expected(tmp_path: Path, spec: DatasetSpec) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match=r"none of the layouts .* train\.txt.*It holds notes\.txt"):
        read_release(tmp_path, spec)
    with pytest.raises(DataError, match="There is no folder"):
        read_release(tmp_path / "absent", spec)


def test_features_that_changed_after_the_import_are_refused(
    tmp_path: Path, release: Path, spec: DatasetSpec
) -> None:
    store = DataStore(tmp_path / "data")
    store.add(spec, read_release(release, spec))
    path = store.folder("fisv") / FEATURES
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="has changed since it was imported"):
        store.load(spec)
    path.write_bytes(content[:-100])
    with pytest.raises(DataError, match="data import fisv --from"):
        store.load(spec)


def test_a_store_cut_off_before_its_manifest_counts_as_not_installed(
    tmp_path: Path, release: Path, spec: DatasetSpec
) -> None:
    store = DataStore(tmp_path / "data")
    store.add(spec, read_release(release, spec))
    (store.folder("fisv") / MANIFEST).unlink()
    assert store.manifest("fisv") is None
    with pytest.raises(DataError, match="are not installed"):
        store.load(spec)


def test_a_full_disk_leaves_the_old_import_whole(
    tmp_path: Path, release: Path, spec: DatasetSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = DataStore(tmp_path / "data")
    before = store.add(spec, read_release(release, spec))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("aqabench.data.store.save_file", full)
    with pytest.raises(StoreError, match="the disk is full"):
        store.add(spec, read_release(release, spec))
    assert store.load(spec).digest == before.digest
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["fisv"], "no rubbish is left"


@pytest.mark.real_data
def test_the_real_fisv_features_have_the_known_facts(
    tmp_path: Path, shared_data: Path, spec: DatasetSpec
) -> None:
    store = DataStore(tmp_path / "data")
    store.add(spec, read_release(shared_data / "fisv-rgb", spec))
    data = store.load(spec)
    assert (data.split == "train").sum() == 400
    assert (data.split == "test").sum() == 100
    assert data.lengths.min() == 124
    assert data.lengths.max() == 302
    assert np.median(data.lengths) == 135
    assert data.scores["TES"][data.split == "train"].mean() == pytest.approx(29.636, abs=5e-4)
