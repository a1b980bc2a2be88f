"""Weights beside a record: kept for every rule, no number changed, and nothing but tensors read."""

from __future__ import annotations

import errno
import io
import os
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from aqabench.data.features import FeatureSet
from aqabench.errors import StoreError
from aqabench.method.registry import discover
from aqabench.runs import archive as archive_module
from aqabench.runs.exchange import export_runs, import_runs
from aqabench.runs.execute import do_run
from aqabench.runs.job import run_job
from aqabench.runs.listener import Silent
from aqabench.runs.plan import Question, RunSpec, make_plan
from aqabench.runs.prune import LEFTOVER
from aqabench.runs.record import RunRecord
from aqabench.runs.states import pack, unpack
from aqabench.runs.store import CHECKPOINT, METRICS, PREDICTIONS, RECORD, RunStore
from aqabench.runs.vetting import RefusedError
from aqabench.runs.weights import WEIGHTS
from aqabench.train.checkpoint import Checkpoint
from aqabench.train.context import Progress
from tests.runs.stored import make_predictions, make_record, put
from tests.runs.sweeps import small_jobs

STATE = {"layer.weight": torch.arange(6.0).reshape(2, 3), "steps": torch.tensor(7)}


@pytest.fixture(scope="module")
def spec(asked: tuple[Question, FeatureSet]) -> RunSpec:
    """A training of five steps, two an epoch, looked at after each epoch."""
    torch.set_num_threads(1)
    budget = asked[0].budget.model_copy(update={"steps": 5, "evaluations": None})
    question = replace(asked[0], budget=budget)
    return make_plan(question, discover(), ["gdlt"], {}, classes=["TES"])[0]


@pytest.fixture(scope="module")
def kept(
    spec: RunSpec, asked: tuple[Question, FeatureSet], tmp_path_factory: pytest.TempPathFactory
) -> tuple[RunStore, RunRecord]:
    """The run with its weights."""
    store = RunStore(tmp_path_factory.mktemp("kept"))
    record, _ = do_run(spec, asked[1], discover(), store, Silent(), weights=True)
    assert record.status == "finished", record.traceback
    return store, record


def read(store: RunStore, record: RunRecord) -> bytes:
    path = store.weights_file(record)
    assert path is not None
    return path.read_bytes()


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(x, other[name]) for name, x in one.items()
    )


# --- what is kept ---------------------------------------------------------------------------------


def test_weights_of_every_rule_are_kept_and_change_nothing_else(
    tmp_path: Path,
    spec: RunSpec,
    asked: tuple[Question, FeatureSet],
    kept: tuple[RunStore, RunRecord],
) -> None:
    with_weights, record = kept
    without = RunStore(tmp_path)
    plain, _ = do_run(spec, asked[1], discover(), without, Silent())
    assert plain.key == record.key == spec.key
    assert plain.selected_epochs == record.selected_epochs
    assert without.weights_file(plain) is None
    folders = [s.directory("fisv-missing", spec.method, spec.key) for s in (without, with_weights)]
    for name in (PREDICTIONS, METRICS):
        first, second = ((folder / name).read_bytes() for folder in folders)
        assert first == second
    states = unpack(read(with_weights, record))
    assert states.keys() == record.selected_epochs.keys()
    for a, first in record.selected_epochs.items():
        for b, second in record.selected_epochs.items():
            assert (states[a] is states[b]) == (first == second), "equal epochs are stored once"
    assert {x.dtype for x in states["last"].values()} >= {torch.float32}


@pytest.mark.parametrize("before", [True, False])
def test_a_resumed_training_keeps_the_same_weights(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spec: RunSpec,
    asked: tuple[Question, FeatureSet],
    kept: tuple[RunStore, RunRecord],
    before: bool,
) -> None:
    """Where the checkpoint has no weights, the training begins anew."""
    monkeypatch.setattr(Checkpoint, "due", property(lambda self: True))
    steps: list[int] = []

    class Cut(Silent):
        def run_progress(self, spec: RunSpec, progress: Progress) -> None:
            steps.append(progress.step)
            if len(steps) == 4:
                raise KeyboardInterrupt

    store, registry = RunStore(tmp_path), discover()
    with pytest.raises(KeyboardInterrupt):
        do_run(spec, asked[1], registry, store, Cut(), weights=before)
    assert list(tmp_path.rglob(CHECKPOINT))
    record, _ = do_run(spec, asked[1], registry, store, Cut(), weights=True)
    assert steps[4] == (3 if before else 1)
    found, wanted = unpack(read(store, record)), unpack(read(*kept))
    assert found.keys() == wanted.keys()
    assert all(equal(found[rule], wanted[rule]) for rule in wanted)
    assert len(read(store, record)) == len(read(*kept)), "still stored once"


def test_a_job_takes_the_wish_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AQABENCH_HOME", str(tmp_path / "home"))
    (job,) = small_jobs(tmp_path / "runs", ["ridge"], classes=["TES"])
    assert not job.weights
    sent = pickle.loads(pickle.dumps(replace(job, weights=True)))
    run_job(sent, Silent())
    assert (job.folder / WEIGHTS).is_file()
    assert "video+audio" in unpack((job.folder / WEIGHTS).read_bytes())["last"]


# --- the store ------------------------------------------------------------------------------------


def test_what_was_cut_off_is_no_file_of_weights_and_the_run_stays(tmp_path: Path) -> None:
    store, record = RunStore(tmp_path), make_record()
    folder = store.write(record, make_predictions(record), [], pack({"last": STATE}))
    whole = (folder / WEIGHTS).read_bytes()
    assert store.weights_file(record) == folder / WEIGHTS
    (folder / WEIGHTS).write_bytes(whole[: len(whole) // 2])
    assert store.weights_file(record) is None
    assert store.find("fisv-missing", "ridge", record.key) == record
    assert len(store.predictions(record))
    done = export_runs(store, store.summaries().summaries, tmp_path / "a.zip")
    assert (done.runs, done.left_out) == (1, ())
    assert not any(WEIGHTS in name for name in zipfile.ZipFile(tmp_path / "a.zip").namelist())
    (folder / RECORD).unlink()
    store.discard_torn("fisv-missing", "ridge", record.key)
    assert not list(folder.iterdir())
    assert LEFTOVER.fullmatch(f".{WEIGHTS}.{'0' * 32}")


def test_a_disk_that_is_full_of_weights_leaves_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = os.fsync

    def full(descriptor: int) -> None:
        if WEIGHTS in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
            raise OSError(errno.ENOSPC, "No space left on device")
        synced(descriptor)

    monkeypatch.setattr("os.fsync", full)
    store, record = RunStore(tmp_path), make_record()
    with pytest.raises(StoreError, match="the disk is full"):
        store.write(record, make_predictions(record), [], pack({"last": STATE}))
    assert not list(store.records())
    assert not list(tmp_path.rglob("*.pt*"))


def test_weights_go_with_a_run_unless_they_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, record = RunStore(tmp_path / "full"), make_record()
    content = pack({"last": {"large": torch.arange(300_000.0)}})
    store.write(record, make_predictions(record), [], content)
    chosen = store.summaries().summaries
    export_runs(store, chosen, tmp_path / "light.zip", weights=False)
    export_runs(store, chosen, tmp_path / "heavy.zip")
    light, heavy = RunStore(tmp_path / "light"), RunStore(tmp_path / "heavy")
    assert len(import_runs(light, tmp_path / "light.zip").new) == 1
    assert light.weights_file(record) is None
    monkeypatch.setattr(archive_module, "PIECE", 2**16)
    monkeypatch.setattr(archive_module, "MOST_READ", 2**17)  # less than the weights are
    assert len(import_runs(heavy, tmp_path / "heavy.zip").new) == 1
    assert read(heavy, record) == content
    # what is here stays as it is, with weights or without
    assert len(import_runs(light, tmp_path / "heavy.zip").equal) == 1
    assert light.weights_file(record) is None
    assert len(import_runs(heavy, tmp_path / "light.zip").equal) == 1
    assert read(heavy, record) == content


@pytest.mark.parametrize(
    ("status", "content", "problem"),
    [
        ("finished", b"no zip", "torn or no file of weights"),
        ("failed", pack({"last": STATE}), "has failed but comes with weights"),
    ],
)
def test_a_run_with_weights_that_are_none_is_not_imported(
    tmp_path: Path, status: str, content: bytes, problem: str
) -> None:
    store = RunStore(tmp_path / "full")
    record = make_record(status=status)
    put(store, record)
    export_runs(store, store.summaries().summaries, tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip", "a") as file:
        file.writestr(f"fisv-missing/ridge/{record.key}/{WEIGHTS}", content)
    ((_, reason),) = import_runs(RunStore(tmp_path / "empty"), tmp_path / "a.zip").refused
    assert problem in reason


# --- what anybody may have made -------------------------------------------------------------------


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("evil",)


def _saved(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def _compressed() -> bytes:
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(pack({"last": STATE}))) as old,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return buffer.getvalue()


def _flipped() -> bytes:
    content = bytearray(pack({"last": STATE}))
    place = content.index(torch.tensor(5.0).numpy().tobytes())
    content[place] ^= 1
    return bytes(content)


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "code": (lambda: _saved({"last": _Evil()}), "something else than tensors; nothing of it was"),
    "objects": (lambda: _saved({"last": {"a": [1, 2]}}), "something else than tensors"),
    "parameter": (
        lambda: _saved({"last": {"a": torch.nn.Parameter(torch.ones(2))}}),
        "something else than tensors",
    ),
    "names": (lambda: _saved({"last": {1: torch.ones(2)}}), "no dict of tensors"),
    "rules": (lambda: _saved({"best": STATE}), "not sorted by selection rules"),
    "list": (lambda: _saved([STATE]), "not sorted by selection rules"),
    "endless": (
        lambda: _saved({"last": {"a": torch.ones(1).expand(10**6, 10**6)}}),
        "claim more numbers than their file holds",
    ),
    "meta": (lambda: _saved({"last": {"a": torch.ones(2, device="meta")}}), "tensors"),
    "compressed": (_compressed, "compressed"),
    "cut": (lambda: pack({"last": STATE})[:-30], "torn or no file of weights"),
    "flipped": (_flipped, "damaged"),
    "empty": (lambda: b"", "torn or no file of weights"),
    "legacy": (lambda: pickle.dumps(_Evil()), "torn or no file of weights"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_is_more_than_tensors_is_refused_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.chdir(tmp_path)
    make, problem = HOSTILE[case]
    with pytest.raises(RefusedError, match=problem):
        unpack(make())
    assert not list(tmp_path.iterdir())


def test_what_is_packed_is_read_back() -> None:
    found = unpack(pack({"oracle": STATE, "val": STATE}))
    assert list(found) == ["val", "oracle"]
    assert found["val"] is found["oracle"]
    assert equal(found["val"], STATE)
