"""The store: whole runs only, equal bytes for equal runs, clear words when the disk says no."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aqabench.errors import StoreError
from aqabench.runs.record import RunRecord
from aqabench.runs.store import CHECKPOINT, PREDICTIONS, RECORD, RunStore, prediction_frame


def record(key: str = "k" * 16, status: str = "finished") -> RunRecord:
    return RunRecord(
        key=key,
        status=status,  # type: ignore[arg-type]
        identity={
            "protocol": "p",
            "protocol_digest": "d",
            "data_kind": "simulated",
            "data_digest": "e",
            "budget": {"name": "quick"},
            "method": "m",
            "source_digest": "s",
            "class_name": "C",
            "seed": 0,
        },
        dataset="small",
        protocol_version=1,
        title="M",
        scenarios=("v",),
        started="2026-01-01T00:00:00+00:00",
    )


def frame() -> pd.DataFrame:
    scores = np.array([1.0, 2.0, 3.0])
    return prediction_frame("val", "test", ["v"], ["1", "2", "010"], scores, scores[None] + 0.1)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    store.write(record(), frame(), [{"epoch": 1}])
    found = store.find("p", "m", "k" * 16)
    assert found == record()
    predictions = store.predictions(record())
    assert predictions["sample_id"].tolist() == ["1", "2", "010"]
    assert predictions["prediction"].tolist() == [1.1, 2.1, 3.1]
    assert store.curve(record()) == [{"epoch": 1}]
    assert list(store.records()) == [record()]


def test_equal_runs_are_equal_bytes(tmp_path: Path) -> None:
    for name in "ab":
        RunStore(tmp_path / name).write(record(), frame(), [])
    first, second = (next((tmp_path / n).rglob(PREDICTIONS)).read_bytes() for n in "ab")
    assert first == second


def test_a_directory_without_its_record_is_no_run(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    folder = store.write(record(), frame(), [])
    (folder / RECORD).unlink()
    assert store.find("p", "m", "k" * 16) is None
    assert not list(store.records())
    (folder / CHECKPOINT).write_bytes(b"half way")
    store.discard_torn("p", "m", "k" * 16)
    assert [path.name for path in folder.iterdir()] == [CHECKPOINT]


@pytest.mark.parametrize("stage", [PREDICTIONS, "metrics.jsonl", RECORD])
def test_a_disk_that_fills_up_at_any_file_never_leaves_half_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    store = RunStore(tmp_path)
    store.write(record("other" + "0" * 11), frame(), [])
    synced = os.fsync

    def full(descriptor: int) -> None:
        if stage in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
            raise OSError(errno.ENOSPC, "No space left on device")
        synced(descriptor)

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreError, match=r"the disk is full.*Runs stored before are intact"):
        store.write(record(), frame(), [])
    assert [r.key for r in store.records()] == ["other" + "0" * 11]
    assert not list(tmp_path.rglob(".*")), "no temporary file is left"


def test_too_little_space_is_said_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil._ntuple_diskusage(100, 99, 1)  # type: ignore[attr-defined]
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(StoreError, match="are free below"):
        RunStore(tmp_path).require_writable()


def test_a_damaged_record_or_prediction_names_the_folder(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    folder = store.write(record(), frame(), [])
    (folder / PREDICTIONS).write_bytes(b"not gzip")
    with pytest.raises(StoreError, match="only this run is repeated"):
        store.predictions(record())
    (folder / RECORD).write_text("{}")
    with pytest.raises(StoreError, match="is not a run record"):
        list(store.records())
