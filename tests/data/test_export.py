"""Export, then import again: the same bits, the same marks, and nothing half written."""

from __future__ import annotations

import dataclasses
import errno
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from aqabench.data.export import SIMULATED_PREFIX, Exported, export_tidy, is_simulated
from aqabench.data.features import FeatureSet
from aqabench.data.importer import import_release
from aqabench.data.readers import tidy
from aqabench.data.store import DataStore
from aqabench.errors import DataError, StoreError, UsageError
from aqabench.protocol.library import load_dataset
from aqabench.protocol.load import load_model
from aqabench.protocol.schema import ClassSpec, DatasetSpec, ModalitySpec
from tests.helpers import small_data, small_spec, write_gdlt_release


def rich_spec() -> DatasetSpec:
    """Two classes, one of them not of every sample, streams whose order is not alphabetical."""
    return DatasetSpec(
        name="mine",
        version=1,
        title="Mine",
        about="for tests",
        modalities=(
            ModalitySpec(name="zither", symbol="z", width=5),
            ModalitySpec(name="file", symbol="f", width=3),
        ),
        classes=(
            ClassSpec(name="A", bounds=(-10.0, 10.0), train=20, test=4),
            ClassSpec(name="B, really", bounds=(-10.0, 10.0), train=20, test=4),
        ),
        same_videos=True,
        clip_length=4,
        groups=("athlete",),
        folds={"athlete": 3},
    )


def rich_data(kind: str = "real") -> FeatureSet:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 7, 24)
    total = int(lengths.sum())
    scores = {n: rng.normal(size=24) for n in ("A", "B, really")}
    scores["A"][:3] = (1 / 3, 1e-17, -0.0)
    scores["B, really"][5] = np.nan
    return FeatureSet(
        dataset="mine",
        kind=kind,  # type: ignore[arg-type]
        digest="d" * 64,
        ids=("NA", "007", 'a,"b"', *(f"s {i}" for i in range(21))),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        features={
            "zither": rng.normal(size=(total, 5)).astype(np.float32),
            "file": rng.normal(size=(total, 3)).astype(np.float16),
        },
        scores=scores,
        split=np.array(["train"] * 20 + ["test"] * 4),
        groups={"athlete": np.array(["x, y", "", *map(str, range(22))])},
        folds={"athlete": np.array([-1, *[i % 3 for i in range(23)]])},
    )


def export(folder: Path, data: FeatureSet | None = None, **options: object) -> Exported:
    return export_tidy(data or rich_data(), rich_spec(), folder, licence="CC0", **options)  # type: ignore[arg-type]


def read_back(folder: Path, name: str, root: Path) -> FeatureSet:
    spec = tidy.describe(name, folder)
    import_release(folder, spec, DataStore(root))
    return DataStore(root).load(spec)


def assert_same(found: FeatureSet, data: FeatureSet) -> None:
    assert found.ids == data.ids
    assert np.array_equal(found.offsets, data.offsets)
    assert found.split.tolist() == data.split.tolist()
    assert list(found.features) == list(data.features)
    for m, array in data.features.items():
        assert found.features[m].dtype == array.dtype
        assert found.features[m].tobytes() == array.tobytes()
    for name, values in data.scores.items():
        assert found.scores[name].tobytes() == values.tobytes(), name
    assert {k: v.tolist() for k, v in found.groups.items()} == {
        k: v.tolist() for k, v in data.groups.items()
    }
    assert {k: v.tolist() for k, v in found.folds.items()} == {
        k: v.tolist() for k, v in data.folds.items()
    }


@pytest.mark.parametrize("npz", [False, True])
def test_everything_comes_back_to_the_bit(tmp_path: Path, npz: bool) -> None:
    done = export(tmp_path / "out", npz=npz, name="mine-2")
    assert done.name == "mine-2"
    assert done.bytes == sum(p.stat().st_size for p in done.folder.iterdir())
    assert_same(read_back(done.folder, "mine-2", tmp_path / "data"), rich_data())
    manifest = DataStore(tmp_path / "data").manifest("mine-2")
    assert manifest is not None
    assert manifest.licence == "CC0", "the licence travels"


def test_the_files_are_what_the_format_says(tmp_path: Path) -> None:
    folder = export(tmp_path / "out").folder
    assert sorted(p.name for p in folder.iterdir()) == [
        "README.txt", "dataset.yaml", "features.safetensors", "meta.csv",
    ]  # fmt: skip
    with safe_open(folder / "features.safetensors", framework="numpy") as file:
        assert file.metadata() == {"streams": '["zither", "file"]'}
        assert set(file.keys()) == {"offsets", "zither", "file"}
    text = (folder / "README.txt").read_text()
    assert "REAL data" in text
    assert "Licence: CC0" in text


def test_a_shipped_set_comes_back_under_its_own_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AQABENCH_HOME", str(tmp_path / "home"))
    spec, release = load_dataset("fisv"), write_gdlt_release(tmp_path / "release")
    first = DataStore(tmp_path / "a")
    before = import_release(release, spec, first)
    export_tidy(first.load(spec), spec, tmp_path / "out", licence="none")
    assert [m.name for m in load_model(tmp_path / "out/dataset.yaml", DatasetSpec).modalities] == [
        "video"
    ]
    again = import_release(tmp_path / "out", spec, DataStore(tmp_path / "b"))
    assert again.layout == "tidy"
    assert again.digest == before.digest


def test_simulated_data_stay_marked_through_import_and_export(tmp_path: Path) -> None:
    done = export(tmp_path / "out", rich_data("simulated"))
    assert done.name == "simulated-mine"
    assert "SIMULATED" in (done.folder / "README.txt").read_text()
    spec = load_model(done.folder / "dataset.yaml", DatasetSpec)
    assert spec.title == "Mine (SIMULATED)"
    assert spec.about.startswith("SIMULATED")
    found = read_back(done.folder, done.name, tmp_path / "data")
    assert is_simulated(found)
    second = export_tidy(found, spec, tmp_path / "out2", licence="x")
    assert second.name == "simulated-mine", "the mark is put once"
    assert load_model(second.folder / "dataset.yaml", DatasetSpec).title == "Mine (SIMULATED)"
    for data, described in ((rich_data("simulated"), rich_spec()), (found, spec)):
        with pytest.raises(UsageError, match="--name simulated-real"):
            export_tidy(data, described, tmp_path / "no", licence="x", name="real")
    assert not (tmp_path / "no").exists()
    named = export(tmp_path / "own", rich_data("simulated"), name=f"{SIMULATED_PREFIX}other")
    assert named.name == "simulated-other"


@pytest.mark.parametrize("name", ["Upper", "a/b", "", "x" * 65, "rg"])
def test_names_that_cannot_be(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="Type: --name mine-2"):
        export(tmp_path / "out", name=name)
    assert not (tmp_path / "out").exists()


def test_only_an_earlier_export_is_replaced_and_only_when_asked(tmp_path: Path) -> None:
    folder = export(tmp_path / "out").folder
    with pytest.raises(UsageError, match="--overwrite"):
        export(folder)
    export(folder, npz=True, overwrite=True)
    assert not (folder / "features.safetensors").exists(), "nothing of the old one is left"
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match=r"holds thesis\.tex, which is no part of an export"):
        export(folder, overwrite=True)
    assert (folder / "thesis.tex").read_text() == "years of work"
    (tmp_path / "empty").mkdir()
    export(tmp_path / "empty")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        export(tmp_path / "file")


def test_the_folder_one_is_in_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="the folder you are in"):
        export(Path())
    export(Path("below"))


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "the disk is read-only")],
)
def test_a_disk_that_fails_leaves_the_old_export_and_no_rubbish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    folder = export(tmp_path / "out").folder
    before = {p.name: p.read_bytes() for p in folder.iterdir()}

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr("aqabench.data.export.save_arrays", fail)
    with pytest.raises(StoreError, match=words):
        export(folder, overwrite=True)
    monkeypatch.undo()
    rename, calls = Path.rename, []

    def rename_once(self: Path, target: Path) -> Path:
        calls.append(self)
        if len(calls) == 2:  # the old one is away, the new one is not yet there
            raise OSError(number, "no")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", rename_once)
    with pytest.raises(StoreError, match=words):
        export(folder, overwrite=True)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_too_little_space_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = dataclasses.make_dataclass("usage", ["free"])
    monkeypatch.setattr("aqabench.data.export.shutil.disk_usage", lambda _: usage(2**19))
    with pytest.raises(StoreError, match=r"needs 1 MiB, but 0 MiB are free\..*--to DIR"):
        export(tmp_path / "deep" / "out")
    assert not list(tmp_path.iterdir())


def test_a_stream_called_offsets_is_refused(tmp_path: Path) -> None:
    data = small_data(small_spec())
    data = dataclasses.replace(data, features={"offsets": data.features["video"]})
    with pytest.raises(DataError, match="keeps 'offsets' for itself"):
        export_tidy(data, small_spec(), tmp_path / "out", licence="x")
