"""Bring your own data: the tidy format, what is derived, and what is wrong with a folder."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from aqabench.data.importer import import_release
from aqabench.data.readers import tidy
from aqabench.data.store import DataStore
from aqabench.errors import DataError, ProtocolError
from aqabench.protocol.load import dump
from tests.helpers import write_tidy


@pytest.fixture
def store(tmp_path: Path) -> DataStore:
    return DataStore(tmp_path / "data")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tidy(tmp_path / "mine")


@pytest.mark.parametrize("streams", [2, 4, 8])
def test_any_number_of_streams_is_described_and_kept(
    tmp_path: Path, store: DataStore, streams: int
) -> None:
    folder = write_tidy(tmp_path / "own", streams=streams)
    spec = tidy.describe("mine", folder)
    assert [(m.name, m.width) for m in spec.modalities] == [
        (f"sensor-{k}", 3 + k) for k in range(streams)
    ]
    assert len({m.symbol for m in spec.modalities}) == streams
    import_release(folder, spec, store)
    data = store.load(spec)
    with np.load(folder / "features.npz") as written:
        assert np.array_equal(data.offsets, written["offsets"])
        for m in spec.modalities:
            assert np.array_equal(data.features[m.name], written[m.name])


def test_scores_groups_folds_and_splits_come_from_the_table(folder: Path, store: DataStore) -> None:
    spec = tidy.describe("mine", folder)
    assert [(c.name, c.train, c.test) for c in spec.classes] == [
        ("skill", 30, 10),
        ("calm", 30, 10),
    ]
    assert (spec.groups, spec.folds, spec.same_videos) == (("player",), {"player": 5}, True)
    table = pd.read_csv(folder / "meta.csv")
    assert spec.classes[0].bounds == (table["score.skill"].min(), table["score.skill"].max())
    import_release(folder, spec, store)
    data = store.load(spec)
    assert data.scores["skill"].tolist() == table["score.skill"].tolist()
    assert data.groups["player"].tolist() == table["group.player"].tolist()
    assert data.folds["player"].tolist() == table["fold.player"].tolist()


def test_safetensors_keep_the_order_that_is_written_beside_them(
    folder: Path, store: DataStore
) -> None:
    with np.load(folder / "features.npz") as written:
        arrays = {k: written[k] for k in written.files}
    (folder / "features.npz").unlink()
    order = json.dumps(["sensor-3", "sensor-1"])
    save_file(arrays, folder / "features.safetensors", metadata={"streams": order})
    spec = tidy.describe("mine", folder)
    assert [m.name for m in spec.modalities][:2] == ["sensor-3", "sensor-1"]
    import_release(folder, spec, store)
    assert np.array_equal(store.load(spec).features["sensor-3"], arrays["sensor-3"])


def test_a_description_of_ones_own_is_used_and_checked(folder: Path, store: DataStore) -> None:
    spec = tidy.describe("mine", folder)
    wider = spec.model_copy(update={"title": "My Set", "clip_length": 5})
    (folder / "dataset.yaml").write_text(dump(wider))
    assert tidy.describe("mine", folder) == wider
    with pytest.raises(DataError, match="describes 'mine', but 'other' was to be imported"):
        tidy.describe("other", folder)
    (folder / "dataset.yaml").write_text("name: mine\nversoin: 1\n")
    with pytest.raises(ProtocolError, match="versoin"):
        tidy.describe("mine", folder)


def test_columns_that_are_not_used_are_named(folder: Path, store: DataStore) -> None:
    table = pd.read_csv(folder / "meta.csv", dtype=str)
    table["age"] = "7"
    table.to_csv(folder / "meta.csv", index=False)
    manifest = import_release(folder, tidy.describe("mine", folder), store)
    assert "meta.csv: not used: age" in manifest.notes


def test_everything_wrong_with_a_table_is_said_at_once(folder: Path, store: DataStore) -> None:
    spec = tidy.describe("mine", folder)
    table = pd.read_csv(folder / "meta.csv", dtype=str)
    table.loc[0, "sample_id"] = "p01"
    table.loc[2, "split"] = "validation"
    table.loc[3, "score.calm"] = "good"
    table.loc[4, "fold.player"] = "1.5"
    table["score.luck"] = "1"
    table.to_csv(folder / "meta.csv", index=False)
    with pytest.raises(DataError) as caught:
        import_release(folder, spec, store)
    text = str(caught.value)
    for part in (
        "has the id 'p01', which must be there and occur once",
        "has the split 'validation', expected train or test",
        "the score calm is not a finite number",
        "the fold player is not a whole number",
        "score.luck",
        "meta.csv:5",
    ):
        assert part in text, f"{part!r} is not in:\n{text}"


def test_offsets_that_do_not_fit_are_explained(folder: Path, store: DataStore) -> None:
    spec = tidy.describe("mine", folder)
    with np.load(folder / "features.npz") as written:
        arrays = {k: written[k] for k in written.files}
    np.savez(folder / "features.npz", **{**arrays, "offsets": arrays["offsets"][:-1]})
    with pytest.raises(DataError, match=r"must rise from 0 in 41 numbers.*found 40"):
        import_release(folder, spec, store)
    short = {**arrays, "sensor-0": arrays["sensor-0"][:-1]}
    np.savez(folder / "features.npz", **short)
    with pytest.raises(DataError, match=r"has shape .* offsets ends there"):
        import_release(folder, spec, store)
    np.savez(folder / "features.npz", **{**arrays, "offsets": arrays["offsets"].astype(float)})
    with pytest.raises(DataError, match="must rise from 0"):
        import_release(folder, spec, store)


def test_no_pickle_and_no_lying_header_is_read(folder: Path, tmp_path: Path) -> None:
    with np.load(folder / "features.npz") as written:
        arrays = {k: written[k] for k in written.files}
    np.savez(folder / "features.npz", **arrays, evil=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DataError, match="'evil' is not a plain array"):
        tidy.describe("mine", folder)
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (99999999, 99999), }"
    header += b" " * (63 - (len(header) + 10) % 64) + b"\n"
    with zipfile.ZipFile(folder / "features.npz", "a") as archive:
        body = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
        archive.writestr("huge.npy", body)
    with pytest.raises(DataError, match="is not a plain array of the size it claims"):
        tidy.describe("mine", folder)
    (folder / "features.npz").write_bytes(b"not an archive")
    with pytest.raises(DataError, match=r"features\.npz"):
        tidy.describe("mine", folder)


def test_names_that_cannot_be_are_one_sentence(folder: Path) -> None:
    with np.load(folder / "features.npz") as written:
        arrays = {k: written[k] for k in written.files}
    np.savez(folder / "features.npz", **arrays, Video=arrays["sensor-0"])
    with pytest.raises(DataError, match=r"got 'Video'.*lower case"):
        tidy.describe("mine", folder)
    many = {f"s{k}": arrays["sensor-0"] for k in range(9)}
    np.savez(folder / "features.npz", offsets=arrays["offsets"], **many)
    with pytest.raises(DataError, match=r"up to 8 streams"):
        tidy.describe("mine", folder)


def test_a_bare_score_and_underscores_are_understood(folder: Path) -> None:
    table = pd.read_csv(folder / "meta.csv", dtype=str)
    names = {"score.skill": "score", "score.calm": "score_calm", "group.player": "group"}
    table.rename(columns=names).to_csv(folder / "meta.csv", index=False)
    spec = tidy.describe("mine", folder)
    assert [c.name for c in spec.classes] == ["score", "calm"]
    assert (spec.groups, spec.folds) == (("group",), {"player": 5})


def test_an_absent_table_or_file_is_named(folder: Path) -> None:
    (folder / "meta.csv").rename(folder / "meta.txt")
    with pytest.raises(DataError, match=r"meta\.csv"):
        tidy.describe("mine", folder)
    (folder / "features.npz").unlink()
    with pytest.raises(DataError, match=r"holds neither features\.safetensors nor features\.npz"):
        tidy.describe("mine", folder)


def test_a_set_without_a_test_list_is_described(folder: Path) -> None:
    table = pd.read_csv(folder / "meta.csv", dtype=str).drop(columns="split")
    table.to_csv(folder / "meta.csv", index=False)
    spec = tidy.describe("mine", folder)
    assert [(c.train, c.test) for c in spec.classes] == [(40, 0), (40, 0)]
