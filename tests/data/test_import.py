"""From a release on disk to the store and back, and everything that can be wrong on the way."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from aqabench.data import staging
from aqabench.data.importer import ImportOptions, import_release
from aqabench.data.manifest import Manifest
from aqabench.data.store import MANIFEST, SEAL, DataStore
from aqabench.errors import DataError, StoreError, UsageError
from aqabench.protocol.library import load_dataset
from aqabench.protocol.schema import DatasetSpec
from tests.helpers import write_fisv_dicts, write_fs1000_release, write_gdlt_release


@pytest.fixture
def spec() -> DatasetSpec:
    return load_dataset("fisv")


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return write_gdlt_release(tmp_path / "release")


@pytest.fixture
def store(tmp_path: Path) -> DataStore:
    return DataStore(tmp_path / "data")


def _table(
    folder: Path, spec: DatasetSpec, store: DataStore, options: ImportOptions | None = None
) -> str:
    with pytest.raises(DataError) as caught:
        import_release(folder, spec, store, options)
    assert store.manifest(spec.name) is None, "nothing is imported"
    return str(caught.value)


def test_import_and_load_keep_every_bit_and_the_order_of_the_lists(
    store: DataStore, release: Path, spec: DatasetSpec
) -> None:
    manifest = import_release(release, spec, store)
    data = store.load(spec)
    assert data.kind == "real"
    assert data.digest == manifest.digest
    assert data.ids == ("1", "2", "3", "4", "5", "6", "101", "102", "103") == manifest.ids
    assert data.split.tolist() == ["train"] * 6 + ["test"] * 3
    assert data.scores["TES"][0] == 21.5
    assert data.scores["PCS"][8] == 30.25
    for row, sample in enumerate(data.ids):
        original = np.load(release / "swintx_avg_fps25_clip32" / f"{sample}.npy")
        assert np.array_equal(data.video(row, "video"), original)
        assert data.video(row, "video").dtype == original.dtype


def test_the_manifest_says_what_was_read(
    store: DataStore, release: Path, spec: DatasetSpec
) -> None:
    manifest = import_release(release, spec, store)
    stream = manifest.streams["video"]
    assert (stream.width, stream.dtype, stream.nan) == (1024, "float16", 0)
    assert manifest.licence == "none stated by the authors"
    names = {s.name for s in manifest.sources}
    assert {"train.txt", "test.txt", "swintx_avg_fps25_clip32/101.npy"} <= names
    assert all(len(s.sha256) == 64 and s.bytes > 0 for s in manifest.sources)
    assert any("without audio, flow" in note for note in manifest.notes)
    assert any(
        "the train list has 6 samples, the published data set 400" in n for n in manifest.notes
    )


def test_the_same_release_has_the_same_digest(
    tmp_path: Path, release: Path, spec: DatasetSpec
) -> None:
    first = import_release(release, spec, DataStore(tmp_path / "a"))
    second = import_release(release, spec, DataStore(tmp_path / "b"))
    assert first.digest == second.digest


def test_everything_wrong_is_listed_at_once(
    tmp_path: Path, store: DataStore, release: Path, spec: DatasetSpec
) -> None:
    features = release / "swintx_avg_fps25_clip32"
    (features / "2.npy").unlink()
    np.save(features / "3.npy", np.zeros((4, 7), np.float16))
    broken = np.zeros((4, 1024), np.float32)
    broken[2, 5] = np.nan
    np.save(features / "4.npy", broken)
    (features / "5.npy").write_bytes((features / "5.npy").read_bytes()[:300])
    np.save(features / "999.npy", np.zeros((4, 1024), np.float16))
    np.save(features / "6.npy", np.zeros((0, 1024), np.float16))
    np.save(features / "101.npy", np.zeros((4, 1024), np.int32))
    with (release / "train.txt").open("a") as file:
        file.write("1 20 20 0\n7 one 20 0\n")
    report = tmp_path / "report.csv"
    text = _table(release, spec, store, ImportOptions(report=report))
    for part in (
        "is listed, but has no features in swintx_avg_fps25_clip32/ID.npy\n      2",
        "is 7 wide, expected (clips, 1024) for video\n      swintx_avg_fps25_clip32/3.npy",
        "4.npy (first in clip 2)",
        "not finite",
        "5.npy",
        "999",
        "is in no list",
        "is empty: it has no clips",
        "holds int32 values",
        "is listed twice",
        "train.txt:8",
        "9 problems",
        str(report),
    ):
        assert part in text, f"{part!r} is not in:\n{text}"
    assert len(report.read_text().splitlines()) == 10


def test_a_score_outside_its_bounds_is_named(
    store: DataStore, release: Path, spec: DatasetSpec
) -> None:
    with (release / "test.txt").open("a") as file:
        file.write("104 400.5 20 0\n")
    text = _table(release, spec, store)
    assert "has a TES score outside 0 to 45\n      104 (400.5)" in text


def test_one_problem_of_many_files_is_one_line(
    store: DataStore, release: Path, spec: DatasetSpec
) -> None:
    for path in (release / "swintx_avg_fps25_clip32").glob("*.npy"):
        if path.stem != "1":
            path.unlink()
    text = _table(release, spec, store)
    assert "2, 3, 4, 5, 6, 101 and 2 more" in text


def test_streams_that_are_not_aligned_are_named_and_may_be_trimmed(
    tmp_path: Path, store: DataStore
) -> None:
    spec, folder = load_dataset("fs1000"), write_fs1000_release(tmp_path / "release")
    path = folder / "ast_feature_fs1000_new" / "2018_Final_MF_1.npy"
    np.save(path, np.load(path)[:-1])
    text = _table(folder, spec, store)
    assert "2018_Final_MF_1 (video 7, audio 6, flow 7)" in text
    assert "--trim CLIPS" in text
    manifest = import_release(folder, spec, store, ImportOptions(trim=1))
    assert "1 samples were cut at the end by up to 1 clips to align their streams" in manifest.notes
    data = store.load(spec)
    assert data.lengths.tolist() == [6, 6, 6, 7, 6, 7, 6, 7]
    assert np.array_equal(data.video(1, "audio"), np.load(path))


def test_extra_features_are_refused_or_left_out_by_name(
    store: DataStore, release: Path, spec: DatasetSpec
) -> None:
    np.save(release / "swintx_avg_fps25_clip32" / "777.npy", np.zeros((4, 1024), np.float16))
    assert "777" in _table(release, spec, store)
    manifest = import_release(release, spec, store, ImportOptions(leave_out_extra=True))
    assert "777" not in manifest.ids
    assert "video: 1 samples in no list were left out: 777" in manifest.notes


def test_float16_halves_the_file_and_records_its_error(
    tmp_path: Path, store: DataStore, spec: DatasetSpec
) -> None:
    folder = write_fisv_dicts(tmp_path / "release")
    whole = import_release(folder, spec, store)
    size = (store.folder("fisv") / "video.safetensors").stat().st_size
    exact = np.array(store.load(spec).features["video"])
    half = import_release(folder, spec, store, ImportOptions(float16=True))
    rounded = store.load(spec).features["video"]
    assert (store.folder("fisv") / "video.safetensors").stat().st_size < 0.51 * size
    error = float(np.abs(exact - rounded).max())
    assert half.streams["video"].float16_error == error > 0
    assert error <= np.abs(exact).max() * 2.0**-11
    assert whole.streams["video"].float16_error == 0
    assert whole.digest != half.digest


def test_values_beyond_float32_are_refused(
    store: DataStore, release: Path, spec: DatasetSpec
) -> None:
    path = release / "swintx_avg_fps25_clip32" / "1.npy"
    np.save(path, np.full((4, 1024), 1e300))
    assert "has values beyond float32" in _table(release, spec, store)


def test_values_too_large_for_float16_are_refused(
    store: DataStore, release: Path, spec: DatasetSpec
) -> None:
    path = release / "swintx_avg_fps25_clip32" / "1.npy"
    np.save(path, np.full((4, 1024), 1e5, np.float32))
    with pytest.raises(UsageError, match="without --float16"):
        import_release(release, spec, store, ImportOptions(float16=True))


def test_features_that_changed_after_the_import_are_refused(
    store: DataStore, release: Path, spec: DatasetSpec
) -> None:
    import_release(release, spec, store)
    path = store.folder("fisv") / "video.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="has changed since it was imported"):
        store.load(spec)
    assert store.verify("fisv") == [f"{path} has changed since it was imported (sha256)"]
    path.write_bytes(content[:-100])
    with pytest.raises(DataError, match="data import fisv --from"):
        store.load(spec)
    path.unlink()
    assert store.verify("fisv") == [f"{path} is absent"]


def test_a_copied_store_is_hashed_once_and_then_trusted(
    tmp_path: Path,
    store: DataStore,
    release: Path,
    spec: DatasetSpec,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import_release(release, spec, store)
    other = DataStore(tmp_path / "copy")
    shutil.copytree(store.root, other.root)
    for path in other.folder("fisv").iterdir():
        os.utime(path, ns=(1, 1))
    assert not other.unchanged("fisv")
    other.load(spec)
    assert other.unchanged("fisv")
    monkeypatch.setattr("aqabench.data.store.sha256_file", _forbidden)
    other.load(spec)


def _forbidden(*_: object) -> str:
    raise AssertionError("hashed again")


def test_a_store_cut_off_before_its_manifest_counts_as_not_installed(
    store: DataStore, release: Path, spec: DatasetSpec
) -> None:
    import_release(release, spec, store)
    (store.folder("fisv") / MANIFEST).unlink()
    assert store.manifest("fisv") is None
    with pytest.raises(DataError, match="are not installed"):
        store.load(spec)


def test_a_manifest_of_another_version_says_to_import_again(
    store: DataStore, release: Path, spec: DatasetSpec
) -> None:
    import_release(release, spec, store)
    path = store.folder("fisv") / MANIFEST
    text = json.loads(path.read_text())
    path.write_text(json.dumps({**text, "format": 99}))
    with pytest.raises(DataError, match=r"has format 99.*data import fisv"):
        store.load(spec)


def test_a_full_disk_leaves_the_old_import_whole_and_keeps_what_was_read(
    store: DataStore, release: Path, spec: DatasetSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = import_release(release, spec, store)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("aqabench.data.store.save_arrays", full)
        with pytest.raises(StoreError, match="the disk is full"):
            import_release(release, spec, store)
    assert store.load(spec).digest == before.digest
    left = {p.name for p in store.root.iterdir()}
    assert left == {"fisv", ".fisv.partial", ".fisv.lock"}, "staged pieces stay, rubbish does not"
    monkeypatch.setattr("aqabench.data.readers.npy_folders.load", _only_the_first())
    assert import_release(release, spec, store).digest == before.digest
    assert not (store.root / ".fisv.partial").exists()


def _only_the_first() -> object:
    """Stand in for the reader of files: one look at the first file's shape is all it allows."""
    calls: Iterator[int] = iter(range(1))

    def load(path: Path) -> np.ndarray:
        next(calls)
        return np.zeros((1, 1024), np.float32)

    return load


def test_an_interrupted_import_goes_on_where_it_was(
    tmp_path: Path, store: DataStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = load_dataset("fs1000")
    folder = write_fs1000_release(tmp_path / "release")
    expected = import_release(folder, spec, DataStore(tmp_path / "other"))
    read: list[str] = []
    checked = staging.checked

    def interrupted(*arguments: object) -> object:
        read.append(str(arguments[1]))
        if len(read) == 12:
            raise KeyboardInterrupt
        return checked(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(staging, "checked", interrupted)
    with pytest.raises(KeyboardInterrupt):
        import_release(folder, spec, store)
    assert store.manifest("fs1000") is None
    read.clear()
    read.extend(["skip"] * 20)
    assert import_release(folder, spec, store).digest == expected.digest
    assert read.count("video") == 0, "the video piece was staged before the interruption"
    assert read.count("audio") == read.count("flow") == 8


def test_a_staged_piece_of_a_changed_file_is_read_again(
    store: DataStore, release: Path, spec: DatasetSpec
) -> None:
    features = release / "swintx_avg_fps25_clip32"
    good = np.load(features / "2.npy")
    (features / "2.npy").unlink()
    assert "is listed, but has no features" in _table(release, spec, store)
    np.save(features / "1.npy", np.ones((4, 1024), np.float16))
    np.save(features / "2.npy", good)
    import_release(release, spec, store)
    assert (store.load(spec).video(0, "video") == 1).all()


def test_a_torn_staged_piece_is_read_again(
    store: DataStore, release: Path, spec: DatasetSpec
) -> None:
    (release / "test.txt").write_text("404 20 20 0\n")
    _table(release, spec, store)
    (staged,) = (store.root / ".fisv.partial").glob("*.safetensors")
    staged.write_bytes(staged.read_bytes()[:-10])
    (release / "test.txt").write_text("".join(f"{i} 20 20 0\n" for i in (101, 102, 103)))
    import_release(release, spec, store)
    assert len(store.load(spec).ids) == 9


def test_two_imports_at_once_do_not_meet(
    store: DataStore, release: Path, spec: DatasetSpec
) -> None:
    store.root.mkdir()
    with FileLock(store.root / ".fisv.lock"), pytest.raises(DataError, match="Another import"):
        import_release(release, spec, store)
    import_release(release, spec, store)


def test_too_little_space_is_said_before_anything_is_read(
    store: DataStore, release: Path, spec: DatasetSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(release)._replace(free=1000)
    monkeypatch.setattr("aqabench.data.importer.shutil.disk_usage", lambda _: usage)
    monkeypatch.setattr(staging, "checked", _forbidden)
    assert "AQABENCH_HOME to a larger disk" in _table(release, spec, store)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_read_only_folder_is_said_to_be_one(
    tmp_path: Path, release: Path, spec: DatasetSpec
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    with pytest.raises(StoreError, match="permission denied"):
        import_release(release, spec, DataStore(closed / "data"))


def test_a_read_only_disk_is_said_to_be_one(
    store: DataStore, release: Path, spec: DatasetSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", closed)
    with pytest.raises(StoreError, match="the disk is read-only"):
        import_release(release, spec, store)


def test_a_name_that_is_not_utf8_is_shown_escaped(
    store: DataStore, release: Path, spec: DatasetSpec
) -> None:
    source = release / "swintx_avg_fps25_clip32" / "1.npy"
    odd = os.fsencode(source.parent) + b"/caf\xe9.npy"
    try:
        Path(os.fsdecode(odd)).write_bytes(source.read_bytes())
    except OSError:
        pytest.skip("this file system takes no such name")
    text = _table(release, spec, store)
    assert r"caf\xe9" in text
    text.encode()  # any terminal can print it
    manifest = import_release(release, spec, store, ImportOptions(leave_out_extra=True))
    assert any(r"caf\xe9" in note for note in manifest.notes)


def test_groups_come_later_without_touching_the_features(
    store: DataStore, release: Path, spec: DatasetSpec
) -> None:
    before = import_release(release, spec, store)
    labels = {"athlete": {i: f"a{int(i) % 3}" for i in before.ids}}
    after = store.set_groups("fisv", labels)
    assert (after.digest, after.groups) == (before.digest, ("athlete",))
    assert after.groups_digest != before.groups_digest == ""
    events = {"event": dict.fromkeys(before.ids, "NHK 2015")}
    both = store.set_groups("fisv", events)
    assert both.groups == ("athlete", "event")
    data = store.load(spec)
    assert data.groups["athlete"].tolist() == [labels["athlete"][i] for i in data.ids]
    assert set(data.groups["event"].tolist()) == {"NHK 2015"}


def test_a_store_that_cannot_be_sealed_is_still_right(
    store: DataStore, release: Path, spec: DatasetSpec
) -> None:
    import_release(release, spec, store)
    (store.folder("fisv") / SEAL).unlink()
    (store.folder("fisv") / SEAL).mkdir()
    assert store.load(spec).ids[0] == "1"


@pytest.mark.real_data
def test_the_real_fisv_features_have_the_known_facts(
    store: DataStore, shared_data: Path, spec: DatasetSpec
) -> None:
    manifest: Manifest = import_release(shared_data / "fisv-rgb", spec, store)
    assert manifest.notes == ("without audio, flow: the release has no such stream",)
    data = store.load(spec)
    assert (data.split == "train").sum() == 400
    assert (data.split == "test").sum() == 100
    assert data.lengths.min() == 124
    assert data.lengths.max() == 302
    assert np.median(data.lengths) == 135
    assert data.scores["TES"][data.split == "train"].mean() == pytest.approx(29.636, abs=5e-4)
