"""Every published layout, on small files in exactly that layout; and all that can be wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from aqabench.data.importer import ImportOptions, import_release
from aqabench.data.readers import LAYOUTS, open_folder
from aqabench.data.readers.faults import Faults
from aqabench.data.store import DataStore
from aqabench.errors import DataError, UnknownNameError
from aqabench.protocol.library import load_dataset, shipped_dataset_names
from tests.helpers import (
    write_fisv_dicts,
    write_fs1000_release,
    write_gdlt_release,
    write_ms_lstm_release,
    write_rg_dicts,
)


@pytest.fixture
def store(tmp_path: Path) -> DataStore:
    return DataStore(tmp_path / "data")


def _refused(name: str, folder: Path, store: DataStore, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        import_release(folder, load_dataset(name), store, ImportOptions(**options))  # type: ignore[arg-type]
    assert store.manifest(name) is None
    return str(caught.value)


def test_fisv_as_dictionaries(tmp_path: Path, store: DataStore) -> None:
    spec, folder = load_dataset("fisv"), write_fisv_dicts(tmp_path / "release")
    manifest = import_release(folder, spec, store)
    assert (manifest.layout, manifest.feature_set) == ("dicts", "VST/I3D/AST")
    data = store.load(spec)
    assert list(data.features) == ["video", "audio", "flow"]
    for modality, name in (("video", "rgb_VST"), ("audio", "audio_AST"), ("flow", "flow_I3D")):
        path = folder / "Fis-feature" / f"FISV_{name}.npy"
        published = np.load(path, allow_pickle=True).item()
        for row, sample in enumerate(data.ids):
            assert np.array_equal(data.video(row, modality), published[sample])


def test_feature_set_2_has_tokens_that_are_averaged(tmp_path: Path, store: DataStore) -> None:
    spec, folder = load_dataset("fisv"), write_fisv_dicts(tmp_path / "release", feature_set=2)
    assert import_release(folder, spec, store).feature_set == "UNMT/I3D/MAST"
    published = np.load(folder / "Fis-feature" / "FISV_rgb_UNMT.npy", allow_pickle=True).item()
    data = store.load(spec)
    assert published["3"].shape[1:] == (2, 1024)
    assert np.allclose(data.video(data.ids.index("3"), "video"), published["3"].mean(1), atol=1e-6)


def test_two_feature_sets_in_one_folder_ask_which(tmp_path: Path, store: DataStore) -> None:
    folder = write_fisv_dicts(tmp_path / "release")
    write_fisv_dicts(folder, feature_set=2)
    text = _refused("fisv", folder, store)
    assert "1 (VST/I3D/AST), 2 (UNMT/I3D/MAST); say which: --feature-set 1" in text
    manifest = import_release(folder, load_dataset("fisv"), store, ImportOptions(feature_set="2"))
    assert manifest.feature_set == "UNMT/I3D/MAST"
    assert {s.name for s in manifest.sources} >= {"Fis-feature/FISV_flow_I3D.npy"}


def test_rg_has_a_dictionary_per_apparatus(tmp_path: Path, store: DataStore) -> None:
    spec, folder = load_dataset("rg"), write_rg_dicts(tmp_path / "release")
    manifest = import_release(folder, spec, store)
    assert manifest.samples == 20
    assert manifest.streams["video"].dtype == "float32", "float64 is stored as float32"
    data = store.load(spec)
    for name in ("Ball", "Clubs", "Hoop", "Ribbon"):
        rows = data.rows(name, "train")
        assert [data.ids[i] for i in rows] == [f"{name}_{k:03d}" for k in (1, 2, 3)]
        assert data.scores[name][rows].tolist() == [15.5, 16.5, 17.5]
    published = np.load(folder / "RG-feature" / "Hoop_flow_I3D.npy", allow_pickle=True).item()
    found = data.video(data.ids.index("Hoop_005"), "flow")
    assert np.array_equal(found, published["Hoop_005"].astype(np.float32))


def test_rg_as_a_file_per_video(tmp_path: Path, store: DataStore) -> None:
    folder = tmp_path / "release"
    features = folder / "swintx_avg_fps25_clip32"
    features.mkdir(parents=True)
    header, rng = "id difficulty execution total penalty length\n", np.random.default_rng(0)
    for name, numbers in (("train.txt", (1, 2)), ("test.txt", (3,))):
        ids = [f"{apparatus}_{i:03d}" for apparatus in ("Ball", "Ribbon") for i in numbers]
        (folder / name).write_text(header + "".join(f"{i} 8.0 7.5 15.5 0.0 92\n" for i in ids))
        for i in ids:
            np.save(features / f"{i}.npy", rng.normal(size=(5, 1024)).astype(np.float32))
    spec = load_dataset("rg")
    assert import_release(folder, spec, store).layout == "gdlt"
    data = store.load(spec)
    assert data.ids == (
        "Ball_001",
        "Ball_002",
        "Ribbon_001",
        "Ribbon_002",
        "Ball_003",
        "Ribbon_003",
    )
    assert np.array_equal(data.video(3, "video"), np.load(features / "Ribbon_002.npy"))
    assert np.isnan(data.scores["Hoop"]).all()


def test_an_absent_apparatus_is_named(tmp_path: Path, store: DataStore) -> None:
    folder = write_rg_dicts(tmp_path / "release")
    (folder / "RG-feature" / "Clubs_audio_AST.npy").unlink()
    text = _refused("rg", folder, store)
    assert "has no file\n      Clubs audio" in text
    assert "RG-feature/*_audio_AST.npy" in text
    assert "Clubs_001, Clubs_002" in text


def test_fs1000_averages_tokens_and_divides_pcs(tmp_path: Path, store: DataStore) -> None:
    spec, folder = load_dataset("fs1000"), write_fs1000_release(tmp_path / "release")
    import_release(folder, spec, store)
    data = store.load(spec)
    assert data.scores["PCS"].tolist() == [40.0] * 8
    assert np.allclose(sum(data.scores[c] for c in ("SS", "TR", "PE", "CO", "IN")), 40.0)
    path = folder / "output_feature_fs1000_new" / "2018_Final_MF_1.npy"
    published = np.load(path)
    assert published.shape == (7, 3, 768)
    exact = published.mean(axis=1, dtype=np.float64).astype(np.float32)
    assert np.array_equal(data.video(1, "video"), exact)
    assert data.split.tolist() == ["train"] * 5 + ["test"] * 3


def test_fs1000_without_flow_says_so(tmp_path: Path, store: DataStore) -> None:
    folder = write_fs1000_release(tmp_path / "release")
    for path in (folder / "i3d_avg_clip8_5s_fs1000").iterdir():
        path.unlink()
    manifest = import_release(folder, load_dataset("fs1000"), store)
    assert list(manifest.streams) == ["video", "audio"]
    assert any(note.startswith("without flow") for note in manifest.notes)


def test_fisv_c3d_of_ms_lstm(tmp_path: Path, store: DataStore) -> None:
    spec = load_dataset("fisv-c3d")
    import_release(write_ms_lstm_release(tmp_path / "release"), spec, store)
    data = store.load(spec)
    assert data.ids == ("1", "3", "5", "2")
    assert data.features["video"].shape == (16, 4096)


@pytest.mark.parametrize("dtype", ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8"])
def test_any_float_of_any_byte_order_is_read(tmp_path: Path, store: DataStore, dtype: str) -> None:
    spec, folder = load_dataset("fisv"), write_gdlt_release(tmp_path / "release")
    features = folder / "swintx_avg_fps25_clip32"
    for path in features.iterdir():
        np.save(path, np.asfortranarray(np.load(path).astype(dtype)))
    import_release(folder, spec, store)
    data = store.load(spec)
    assert data.features["video"].dtype == np.dtype("f2" if "2" in dtype else "f4")
    assert np.array_equal(data.video(2, "video"), np.load(features / "3.npy"))


def test_swapped_audio_and_video_are_told_by_their_widths(tmp_path: Path, store: DataStore) -> None:
    folder = write_fisv_dicts(tmp_path / "release")
    rgb, audio = (folder / "Fis-feature" / f"FISV_{n}.npy" for n in ("rgb_VST", "audio_AST"))
    content = rgb.read_bytes()
    rgb.write_bytes(audio.read_bytes())
    audio.write_bytes(content)
    text = _refused("fisv", folder, store)
    assert "that is the width of audio: are the files swapped?" in text
    assert "Fis-feature/FISV_rgb_VST.npy: 1" in text


def test_swapped_video_and_flow_are_told_by_their_signs(tmp_path: Path, store: DataStore) -> None:
    folder = write_fisv_dicts(tmp_path / "release")
    rgb, flow = (folder / "Fis-feature" / f"FISV_{n}.npy" for n in ("rgb_VST", "flow_I3D"))
    content = rgb.read_bytes()
    rgb.write_bytes(flow.read_bytes())
    flow.write_bytes(content)
    assert "look swapped" in _refused("fisv", folder, store)


def test_another_release_of_the_same_videos_is_told_by_its_width(
    tmp_path: Path, store: DataStore
) -> None:
    folder = write_ms_lstm_release(tmp_path / "release")
    assert "is 4096 wide, expected (clips, 1024)" in _refused("fisv", folder, store)


def test_dictionary_keys_must_be_the_listed_ids(tmp_path: Path, store: DataStore) -> None:
    folder = write_fisv_dicts(tmp_path / "release")
    path = folder / "Fis-feature" / "FISV_flow_I3D.npy"
    found = np.load(path, allow_pickle=True).item()
    np.save(path, {f"0{k}": v for k, v in found.items()}, allow_pickle=True)  # type: ignore[arg-type]
    text = _refused("fisv", folder, store)
    assert "is listed, but has no features in Fis-feature/FISV_flow_I3D.npy" in text
    assert "01, 02, 03" in text


def test_a_hostile_dictionary_is_refused_by_name(tmp_path: Path, store: DataStore) -> None:
    folder = write_fisv_dicts(tmp_path / "release")
    canary = tmp_path / "canary"

    class Evil:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
            return Path.touch, (canary,)

    path = folder / "Fis-feature" / "FISV_audio_AST.npy"
    np.save(path, {"1": Evil()}, allow_pickle=True)  # type: ignore[arg-type]
    text = _refused("fisv", folder, store)
    assert "FISV_audio_AST.npy" in text
    assert "refused, nothing in it was run" in text
    assert not canary.exists()


def test_windows_line_ends_and_a_header_are_read(tmp_path: Path, store: DataStore) -> None:
    folder = write_gdlt_release(tmp_path / "release")
    path = folder / "train.txt"
    text = "id TES PCS deductions\n" + path.read_text()
    path.write_bytes(text.replace("\n", "\r\n").encode())
    manifest = import_release(folder, load_dataset("fisv"), store)
    assert manifest.samples == 9
    assert any("begins with a header line" in note for note in manifest.notes)


def test_a_wrong_folder_points_to_the_right_one(tmp_path: Path, store: DataStore) -> None:
    folder = write_gdlt_release(tmp_path / "release")
    for wrong in (tmp_path, folder / "swintx_avg_fps25_clip32"):
        text = _refused("fisv", wrong, store)
        assert f"--from '{folder}'" in text


def test_a_folder_of_another_kind_says_what_was_expected(tmp_path: Path, store: DataStore) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "notes.txt").write_text("hello")
    text = _refused("fisv", tmp_path / "inner", store)
    assert "It holds notes.txt" in text
    assert "gdlt: train.txt, test.txt and the folder swintx" in text
    assert "aqabench data status fisv" in text
    assert "There is no folder" in _refused("fisv", tmp_path / "absent", store)


def test_a_format_that_does_not_exist_or_does_not_suit(tmp_path: Path) -> None:
    folder, spec = write_gdlt_release(tmp_path / "release"), load_dataset("fisv")
    with pytest.raises(UnknownNameError, match="Did you mean 'gdlt'"):
        open_folder(folder, spec, Faults(folder), layout="gdtl")
    with pytest.raises(DataError, match=r"not published in the format 'fs1000'.*dicts, gdlt"):
        open_folder(folder, spec, Faults(folder), layout="fs1000")


def test_every_release_that_a_data_set_names_has_a_reader() -> None:
    for name in shipped_dataset_names():
        spec = load_dataset(name)
        assert spec.releases
        for hint in spec.releases:
            assert LAYOUTS[hint.layout].suits(spec)
            assert set(hint.have) <= {m.name for m in spec.modalities}


def test_the_open_sets_as_converted(shared_data: Path, store: DataStore) -> None:
    for name, folder, samples in (
        ("speechocean", "speechocean762", 5000),
        ("percepiano", "percepiano", 1073),
    ):
        if not (shared_data / folder).is_dir():
            pytest.skip(f"the converted data are absent: {shared_data / folder}")
        spec = load_dataset(name)
        manifest = import_release(shared_data / folder, spec, store)
        assert manifest.samples == samples
        data = store.load(spec)
        assert set(data.groups) == set(spec.groups)
        assert {k: len(np.unique(f)) for k, f in data.folds.items()} == spec.folds
        label = {"speechocean": "speaker", "percepiano": "composition"}[name]
        folded: dict[str, set[int]] = {}
        for group, fold in zip(data.groups[label], data.folds[label], strict=True):
            folded.setdefault(str(group), set()).add(int(fold))
        assert all(len(folds) == 1 for folds in folded.values())
