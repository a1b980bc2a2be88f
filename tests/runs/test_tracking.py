"""Trackers watch runs: what they keep is re-read from disk, and no record depends on them."""

from __future__ import annotations

import importlib.util
import logging
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from aqabench.cli import main
from aqabench.data.simulator import simulate
from aqabench.errors import UsageError
from aqabench.method.registry import discover
from aqabench.runs import tracking
from aqabench.runs.execute import do_run
from aqabench.runs.plan import RunSpec, make_plan
from aqabench.runs.record import RunRecord
from aqabench.runs.store import METRICS, PREDICTIONS, RunStore
from aqabench.runs.tracking import BACK_ENDS, FOLDER, require_trackers
from aqabench.train.context import Progress
from tests.runs.sweeps import STEPS, Heard, narrow_question

PARTS = ("val", "test")
SUBSETS = ("v", "a", "f", "va", "vf", "af", "vaf")
MEASURED = {f"{part}/{subset}/{m}" for part in PARTS for subset in SUBSETS for m in ("srcc", "mse")}
LOSS = {"loss/task", "loss/diversity"}


def _needs(name: str) -> pytest.MarkDecorator:
    absent = [m for m in BACK_ENDS[name] if importlib.util.find_spec(m) is None]
    reason = f"{', '.join(absent)} not installed: pip install 'aqabench[{name}]'"
    return pytest.mark.skipif(bool(absent), reason=reason)


def _spec(method: str = "gdlt") -> RunSpec:
    return make_plan(narrow_question(("TES",)), discover(), [method], {}, seeds=[0])[0]


def _run(spec: RunSpec, store: Path, *track: str) -> RunRecord:
    torch.set_num_threads(1)
    data = simulate(spec.question.dataset)
    record, _ = do_run(spec, data, discover(), RunStore(store), Heard(), track)
    assert record.error == "", record.traceback
    return record


class Flaky:
    """A tracker that breaks at a word of it."""

    def __init__(self, breaks_at: str, after: int = 0) -> None:
        self.breaks_at, self.after = breaks_at, after
        self.heard: list[str] = []
        self.numbers: dict[int, dict[str, float]] = {}

    def _hear(self, word: str) -> None:
        self.heard.append(word)
        if word == self.breaks_at and self.heard.count(word) > self.after:
            raise OSError("the server is gone")

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self._hear("settings")

    def log(self, values: dict[str, float], step: int) -> None:
        self._hear("numbers")
        self.numbers.setdefault(step, {}).update(values)

    def finish(self) -> None:
        self._hear("finish")


# --- what is not there ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(BACK_ENDS))
def test_a_missing_back_end_is_an_error_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    find, absent = importlib.util.find_spec, BACK_ENDS[name][-1]
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda m, *a: None if m == absent else find(m, *a)
    )
    with pytest.raises(UsageError, match=rf"needs .*{absent}.*pip install 'aqabench\[{name}\]'"):
        require_trackers([name])
    monkeypatch.setenv("AQABENCH_HOME", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        main(["run", "-m", "constant", "-p", "fisv-missing", "--track", name])
    assert ended.value.code == 2
    assert f"--track {name} needs" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_folder_of_logs_is_no_back_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "logs_of_it").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(BACK_ENDS, "wandb", ("logs_of_it",))
    with pytest.raises(UsageError, match="needs logs_of_it"):
        require_trackers(["wandb"])


# --- what goes wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize("breaks_at", ["start", "settings", "numbers", "finish", ""])
def test_a_tracker_that_fails_costs_its_log_and_not_the_run(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path,
    breaks_at: str,
) -> None:  # fmt: skip
    flaky = Flaky(breaks_at)

    def make(*_: object) -> Flaky:
        if breaks_at == "start":
            raise OSError("the server is gone")
        return flaky

    monkeypatch.setitem(tracking._MAKERS, "wandb", make)
    spec = _spec()
    with caplog.at_level(logging.WARNING):
        record = _run(spec, tmp_path / "watched", "wandb")
    said = [r.getMessage() for r in caplog.records if r.name == "aqabench.runs.tracking"]
    assert len(said) == bool(breaks_at)
    if breaks_at:
        assert (
            "--track wandb has ended for gdlt TES seed 0 (OSError: the server is gone)" in said[0]
        )
        assert flaky.heard.count(breaks_at) <= 1
    _run(spec, tmp_path / "alone")
    files = [
        (
            RunStore(tmp_path / name).directory("fisv-missing", "gdlt", record.key) / file
        ).read_bytes()
        for file in (PREDICTIONS, METRICS)
        for name in ("watched", "alone")
    ]
    assert files[0] == files[1]
    assert files[2] == files[3]


def test_a_disk_that_is_full_at_step_30_is_said_once_and_asked_no_more(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    flaky, other = Flaky("numbers", after=29), Flaky("")
    for name, tracker in (("wandb", flaky), ("mlflow", other)):
        monkeypatch.setitem(tracking._MAKERS, name, lambda *_, tracker=tracker: tracker)
    monkeypatch.setattr(tracking, "EVERY", 0.0)
    names = ("wandb", "mlflow")
    with caplog.at_level(logging.WARNING), tracking.Tracking(names, _spec(), tmp_path) as watching:
        for step in range(1, 61):
            watching.report(Progress(step, 60, 1, {"task": 1.0}))
    assert len(caplog.records) == 1
    assert flaky.heard == ["settings"] + ["numbers"] * 30
    assert (max(flaky.numbers), max(other.numbers), other.heard[-1]) == (29, 60, "finish")


@pytest.mark.trackers
@_needs("mlflow")
def test_an_mlflow_that_is_locked_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    from filelock import FileLock

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(tracking, "PATIENCE", 0.2)
    (tmp_path / FOLDER).mkdir()
    with (
        caplog.at_level(logging.WARNING),
        FileLock(tmp_path / FOLDER / "mlflow.lock"),
        tracking.Tracking(("mlflow",), _spec(), tmp_path),
    ):
        pass
    assert any("--track mlflow has ended" in r.getMessage() for r in caplog.records)


@pytest.mark.trackers
@_needs("mlflow")
def test_a_server_that_is_silent_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    import mlflow

    for name in ("MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"):
        monkeypatch.setenv(name, "")  # so that it is put back to what it was
        monkeypatch.delenv(name)
    monkeypatch.setattr(tracking, "PATIENCE", 1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.getsockname()[1]}")
        mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])  # as in a new process
        before = time.monotonic()
        with (
            caplog.at_level(logging.WARNING),
            tracking.Tracking(("mlflow",), _spec(), tmp_path) as watching,
        ):
            watching.report(Progress(1, 1, 1, {"task": 1.0}))
    assert time.monotonic() - before < 30
    assert sum("--track mlflow has ended" in r.getMessage() for r in caplog.records) == 1


# --- what is kept ---------------------------------------------------------------------------------


def test_losses_are_means_since_the_last_report_and_looks_are_kept_at_their_step(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kept = Flaky("")
    monkeypatch.setitem(tracking._MAKERS, "wandb", lambda *_: kept)
    clock = iter([0.0, 0.5, 1.0, 9.0, 9.5, 10.0])
    monkeypatch.setattr(
        tracking, "time", SimpleNamespace(monotonic=lambda: next(clock)), raising=True
    )
    with tracking.Tracking(("wandb",), _spec(), tmp_path) as watching:
        for step, loss in enumerate((1.0, 2.0, 6.0), 1):
            watching.report(Progress(step, 3, 1, {"task": loss}))
        row = {"epoch": 1, "part": "test", "criterion": 0.1}
        looked = {"frame-iid=0.5/0": {"srcc": None, "mse": 2.0}}
        watching.looked(1, [{**row, **looked}])
    assert kept.numbers == {
        1: {"loss/task": 1.0},
        3: {"loss/task": 4.0, "test/frame-iid_0.5/0/mse": 2.0},
    }


def test_what_reports_no_step_is_kept_by_epoch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kept = Flaky("")
    monkeypatch.setitem(tracking._MAKERS, "wandb", lambda *_: kept)
    record = _run(_spec("ridge"), tmp_path, "wandb")
    (numbers,) = kept.numbers.values()
    assert {name for name in numbers if not name.startswith("cost/")} == MEASURED
    assert record.cost is not None
    assert numbers["cost/parameters"] == record.cost.parameters
    assert numbers["cost/milliseconds/vaf"] == record.cost.milliseconds["vaf"]


def _check(series: dict[str, list[int]], record: RunRecord, store: Path) -> None:
    """Compare what was kept with the curve; gdlt reads video, without it nothing is ranked."""
    ranked = {f"{part}/{subset}/srcc" for part in PARTS for subset in SUBSETS if "v" in subset}
    errors = {name for name in MEASURED if name.endswith("mse")}
    assert {name for name in series if not name.startswith("cost/")} == LOSS | ranked | errors
    assert {"cost/fit_seconds", "cost/flops/vaf"} <= set(series)
    assert series["loss/task"] == [1, STEPS]
    looks = {row["epoch"] for row in RunStore(store).curve(record)}
    assert len(series["test/v/srcc"]) == len(looks)
    assert series["test/v/srcc"][-1] == STEPS
    assert list(RunStore(store).records()) == [record]  # their folder is no protocol


def _last_mse(store: Path, record: RunRecord) -> float:
    rows = [row for row in RunStore(store).curve(record) if row["part"] == "test"]
    return float(rows[-1]["vaf"]["mse"])


@_needs("tensorboard")
def test_tensorboard_reads_what_was_kept(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    spec = _spec()
    record = _run(spec, tmp_path, "tensorboard")
    (folder,) = (tmp_path / FOLDER / "tensorboard" / "fisv-missing").iterdir()
    assert folder.name == f"gdlt TES seed 0 {spec.key}"
    events = EventAccumulator(str(folder)).Reload()
    series = {name: [e.step for e in events.Scalars(name)] for name in events.Tags()["scalars"]}
    _check(series, record, tmp_path)
    last = events.Scalars("test/vaf/mse")[-1].value
    assert last == pytest.approx(_last_mse(tmp_path, record), rel=1e-6)
    (settings,) = folder.glob("*/hparams.yml")
    assert f"key: {spec.key}" in settings.read_text()
    assert "settings.lr: 0.01" in settings.read_text()


def _wandb_records(log: bytes) -> Iterator[bytes]:
    """Read wandb's log: blocks of pieces, each with checksum, length and kind (last or not)."""
    block, at, found = 2**15, 7, b""
    while at < len(log):
        if block - at % block < 7:  # no piece begins here
            at += block - at % block
            continue
        _, size, kind = struct.unpack_from("<IHB", log, at)
        found += log[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):
            yield found
            found = b""


@pytest.mark.trackers
@_needs("wandb")
def test_wandb_keeps_it_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)  # offline even where a key is at hand
    from wandb.proto import wandb_internal_pb2

    spec = _spec()
    record = _run(spec, tmp_path, "wandb")
    (log,) = (tmp_path / FOLDER / "wandb").glob("offline-run-*/run-*.wandb")
    series: dict[str, list[int]] = {}
    values: dict[str, str] = {}
    names: set[tuple[str, str, str]] = set()
    for data in _wandb_records(log.read_bytes()):
        message = wandb_internal_pb2.Record()
        message.ParseFromString(data)
        if message.HasField("run"):
            names.add((message.run.project, message.run.display_name, message.run.run_group))
        items = message.history.item
        own = {(item.key or "/".join(item.nested_key)): item.value_json for item in items}
        for name, value in own.items():
            if not name.startswith("_"):
                series.setdefault(name, []).append(int(own["_step"]))
                values[name] = value
    assert names == {("aqabench-fisv-missing", "gdlt TES seed 0", "gdlt")}
    _check(series, record, tmp_path)
    assert float(values["test/vaf/mse"]) == pytest.approx(_last_mse(tmp_path, record))


@pytest.mark.trackers
@_needs("mlflow")
@pytest.mark.parametrize("name", ["plain", "a b#c%41d", "e?f"])
def test_mlflow_keeps_it_in_sqlite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    import sqlalchemy
    from mlflow.tracking import MlflowClient

    if "?" in name and sqlalchemy.__version__ < "2.1":
        with pytest.raises(UsageError, match=r"pip install 'sqlalchemy>=2\.1'"):
            tracking._sqlite_uri(tmp_path / name)
        return
    spec, tmp_path = _spec(), tmp_path / name
    record = _run(spec, tmp_path, "mlflow")
    assert (tmp_path / FOLDER / "mlflow.db").is_file()
    client = MlflowClient(tracking._sqlite_uri(tmp_path / FOLDER / "mlflow.db"))
    (experiment,) = client.search_experiments(filter_string="name = 'fisv-missing'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "gdlt TES seed 0"
    assert run.info.status == "FINISHED"
    assert run.data.params["key"] == spec.key
    assert run.data.params["settings.lr"] == "0.01"
    series = {
        name: [m.step for m in client.get_metric_history(run.info.run_id, name)]
        for name in run.data.metrics
    }
    _check(series, record, tmp_path)
    assert run.data.metrics["test/vaf/mse"] == pytest.approx(_last_mse(tmp_path, record))
    assert not (Path.cwd() / "mlruns").exists()


@pytest.mark.trackers
@_needs("tensorboard")
@_needs("wandb")
@_needs("mlflow")
def test_two_processes_with_all_of_them_at_once(tmp_path: Path) -> None:
    """Through the command line, as users do it; nothing is kept anywhere else."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB", "MLFLOW"))}
    environment["AQABENCH_HOME"] = str(tmp_path / "home")
    every = [word for name in BACK_ENDS for word in ("--track", name)]
    command = [sys.executable, "-m", "aqabench", "run", "-m", "ridge", "-p", "rg-missing"]
    said = subprocess.run(
        [*command, "--data", "simulated", "--jobs", "2", "--seeds", "1", *every],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stdout + said.stderr
    logs = {p: p.read_text() for p in (tmp_path / "home" / "runs").rglob("log.txt")}
    assert not any("has ended" in text for text in logs.values()), logs
    kept = tmp_path / "home" / "runs" / FOLDER
    assert len(list(kept.glob("tensorboard/rg-missing/*/events*"))) == 4
    assert len(list(kept.glob("wandb/offline-run-*/run-*.wandb"))) == 4
    assert (kept / "mlflow.db").is_file()
    assert {p.name for p in tmp_path.iterdir()} == {"home"}


def test_a_spec_says_its_settings_in_plain_values() -> None:
    spec = replace(_spec(), fold=3)
    said = tracking._settings(spec)
    assert said["fold"] == 3
    assert said["row"] == "gdlt"
    assert said["settings.dropout"] == 0.7
    assert all(isinstance(value, bool | int | float | str) for value in said.values())
