"""A process for each run: whatever one of them does, it costs that run alone."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from contextlib import ExitStack
from multiprocessing import forkserver
from pathlib import Path

import pytest

from aqabench.data.importer import import_release
from aqabench.data.source import Loader
from aqabench.data.store import DataStore
from aqabench.errors import DataError, StoreError, UsageError
from aqabench.method.registry import Registry
from aqabench.protocol.library import load_protocol
from aqabench.runs.claim import claim
from aqabench.runs.execute import execute
from aqabench.runs.executors import local
from aqabench.runs.executors.local import execute_processes, usual_jobs
from aqabench.runs.job import Job
from aqabench.runs.plan import RunSpec
from aqabench.runs.record import RunRecord
from aqabench.runs.store import METRICS, PREDICTIONS
from tests.helpers import write_gdlt_release
from tests.runs.sweeps import STEPS, Heard, plugin_file, run_processes, small_jobs, wait_for

COUNTING = """
with (HERE / "begun").open("a") as file:
    file.write(me + "\\n")
"""

DEADLY = (
    COUNTING
    + """
print("the last words on stdout of", me)
print("the last words on stderr of", me, file=sys.stderr)
if not (HERE / "healed").exists():
    match me:
        case "TES 0": os._exit(7)
        case "TES 1": os.kill(os.getpid(), signal.SIGKILL)
        case "TES 2": ctypes.string_at(0)
        case "TES 3": raise RuntimeError("out of luck")
        case "TES 4": sys.exit("no")
        case "PCS 0":
            resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
            np.ones(1 << 29)
        case "PCS 1": os._exit(0)
        case "PCS 2": os.kill(os.getpid(), signal.SIGRTMIN + 1)
"""
)


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AQABENCH_HOME", str(tmp_path / "home"))


def test_whatever_a_process_dies_of_costs_its_run_alone(tmp_path: Path) -> None:
    plugin = plugin_file(tmp_path / "deadly.py", "deadly", DEADLY)
    jobs = small_jobs(tmp_path / "runs", ["deadly"], plugin, seeds=range(5))
    outcome = execute_processes(jobs, 2, Heard())
    assert [r.key for r in outcome.records] == [job.spec.key for job in jobs]
    found = {f"{r.class_name} {r.seed}": r for r in outcome.records}
    reasons = {name: r.error for name, r in found.items() if r.status == "failed"}
    assert reasons == {
        "TES 0": "Its process ended with exit code 7 before the run was done.",
        "TES 1": "Its process was ended by SIGKILL, which is how a system that is out of memory "
        "ends one.",
        "TES 2": "Its process was ended by SIGSEGV: a crash in compiled code.",
        "TES 3": "RuntimeError: out of luck",
        "TES 4": "Its process ended with exit code 1 before the run was done.",
        "PCS 0": reasons["PCS 0"],
        "PCS 1": "Its process ended with exit code 0 before the run was done.",
        "PCS 2": "Its process was ended by signal 35.",
    }
    assert re.search(r"Unable to allocate 4\.00 GiB", reasons["PCS 0"])
    for name, record in found.items():
        said = record.traceback
        if name == "TES 3":
            assert said.endswith("RuntimeError: out of luck\n")
        elif name == "PCS 0":
            assert "MemoryError" in said
        elif record.status == "failed":
            assert f"the last words on stdout of {name}" in said
            assert f"the last words on stderr of {name}" in said
    assert re.search(r'Segmentation fault.*File ".*deadly.py", line \d+ in fit',
                     found["TES 2"].traceback, re.DOTALL)  # fmt: skip
    assert not run_processes()

    begun = tmp_path / "begun"
    assert Counter(begun.read_text().splitlines()) == dict.fromkeys(found, 1)
    begun.unlink()
    (tmp_path / "healed").touch()
    heard = Heard()
    assert not execute_processes(jobs, 2, heard).failed
    assert Counter(begun.read_text().splitlines()) == dict.fromkeys(reasons, 1)
    stored = {label for label, _, was_stored in heard.ended if was_stored}
    assert stored == {f"deadly {name.replace(' ', ' seed ')}" for name in {*found} - {*reasons}}


def test_a_log_keeps_its_end_however_long_it_is(tmp_path: Path) -> None:
    fit = """
    for number in range(30000):
        print("line", number, "\\N{SNOWMAN}")
    os.write(1, b"\\xff" * 50 + b"\\n")
    os._exit(9)
    """
    plugin = plugin_file(tmp_path / "chatty.py", "chatty", _flush_left(fit))
    (record,) = execute_processes(
        small_jobs(tmp_path / "runs", ["chatty"], plugin, ["TES"]), 1, Heard()
    ).failed
    lines = record.traceback.splitlines()
    assert lines[-2] == "line 29999 \N{SNOWMAN}"
    assert set(lines[-1]) == {"\N{REPLACEMENT CHARACTER}"}
    assert len(lines) == 40
    log = next((tmp_path / "runs").rglob("log.txt"))
    assert log.read_text(errors="replace").startswith("line 0 \N{SNOWMAN}\n")


def test_a_silent_run_leaves_no_log_and_words_of_an_earlier_try_are_not_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = plugin_file(tmp_path / "silent.py", "silent", "pass")
    jobs = small_jobs(tmp_path / "runs", ["silent"], plugin, ["TES"])
    assert not execute_processes(jobs, 1, Heard()).failed
    assert {p.name for p in jobs[0].folder.iterdir()} == {
        ".lock", PREDICTIONS, METRICS, "record.json",
    }  # fmt: skip
    other = small_jobs(tmp_path / "runs", ["silent"], plugin, ["PCS"])[0]
    other.folder.mkdir(parents=True)
    (other.folder / "log.txt").write_text("of an earlier try")

    class NoProcess:
        def __init__(self, **_: object) -> None: ...

        def start(self) -> None:
            raise BlockingIOError(11, "Resource temporarily unavailable")

    real = local._context(1)

    class Refusing:
        Pipe = staticmethod(real.Pipe)
        Process = NoProcess

    monkeypatch.setattr(local, "_context", lambda _: Refusing)
    (record,) = execute_processes([other], 1, Heard()).failed
    assert record.error == (
        "No process could be started for it ([Errno 11] Resource temporarily unavailable)."
    )
    assert record.traceback == ""


def test_a_run_that_is_stored_stays_finished_however_its_process_ends(tmp_path: Path) -> None:
    after = """
def _die(self, *rest, whole=__import__("aqabench.runs.store").runs.store.RunStore.write):
    done = whole(self, *rest)
    os.kill(os.getpid(), signal.SIGSEGV)
    return done
__import__("aqabench.runs.store").runs.store.RunStore.write = _die
"""
    plugin = plugin_file(tmp_path / "late.py", "late", "pass", after)
    jobs = small_jobs(tmp_path / "runs", ["late"], plugin)
    heard = Heard()
    outcome = execute_processes(jobs, 1, heard)
    assert [r.status for r in outcome.records] == ["finished", "finished"]
    assert [stored for *_, stored in heard.ended] == [False, False]


def test_a_thread_that_never_ends_does_not_hold_up_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "GRACE", 0.3)
    fit = "threading.Thread(target=time.sleep, args=(600,)).start()"
    plugin = plugin_file(tmp_path / "thready.py", "thready", fit)
    outcome = execute_processes(small_jobs(tmp_path / "runs", ["thready"], plugin), 1, Heard())
    assert [r.status for r in outcome.records] == ["finished", "finished"]
    assert not run_processes()


def test_a_method_may_start_processes_of_its_own(tmp_path: Path) -> None:
    fit = """
    import torch.utils.data as data
    loader = data.DataLoader(data.TensorDataset(train.score), num_workers=1, batch_size=16)
    assert sum(len(rows) for (rows,) in loader) == len(train)
    """
    plugin = plugin_file(tmp_path / "workers.py", "workers", _flush_left(fit))
    jobs = small_jobs(tmp_path / "runs", ["workers"], plugin, ["TES"])
    (record,) = execute_processes(jobs, 1, Heard()).records
    assert (record.status, record.error) == ("finished", "")


def test_odd_reports_of_a_method_reach_the_listener_or_fail_its_run(tmp_path: Path) -> None:
    fit = """
    import torch
    context.report(Progress(0, 0, 0, {"loss": torch.tensor(float("nan"))}))
    if self.task.class_name == "PCS":
        context.report(Progress(1, 1, 1, {"loss": "high"}))
    context.report(Progress(1, 1, 1, {"loss": np.float32(0.5), 3: 4}))
    """
    plugin = plugin_file(tmp_path / "odd.py", "odd", _flush_left(fit))
    heard = Heard()
    outcome = execute_processes(small_jobs(tmp_path / "runs", ["odd"], plugin), 1, heard)
    assert [r.error for r in outcome.records] == [
        "", "ValueError: could not convert string to float: 'high'"
    ]  # fmt: skip
    assert heard.steps == {"odd TES seed 0": [0, 1], "odd PCS seed 0": [0]}


@pytest.mark.parametrize(
    ("fit", "error", "says"),
    [
        (
            "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))",
            StoreError,
            "the file is larger than the disk or your limits allow. Runs stored before are intact",
        ),
        (
            "from aqabench.errors import StoreError; raise StoreError('full up')",
            StoreError,
            "full up",
        ),
    ],
)
def test_a_store_that_takes_no_more_ends_the_sweep(
    tmp_path: Path, fit: str, error: type[Exception], says: str
) -> None:
    sleepy = f"if me == 'PCS 1':\n    {fit}\nelif me != 'TES 0':\n    time.sleep(60)"
    plugin = plugin_file(tmp_path / "writer.py", "writer", sleepy)
    jobs = small_jobs(tmp_path / "runs", ["writer"], plugin, ["PCS", "TES"], seeds=(0, 1))
    order = [jobs[2], jobs[0], jobs[1], jobs[3]]  # TES 0, PCS 0, PCS 1, TES 1
    heard = Heard()
    with pytest.raises(error, match=re.escape(says)):
        execute_processes(order, 2, heard)
    assert not run_processes()
    assert heard.ended == [("writer TES seed 0", "finished", False)]
    assert [p.parent for p in (tmp_path / "runs").rglob("record.json")] == [jobs[2].folder]


def test_data_that_cannot_be_read_end_the_sweep(tmp_path: Path) -> None:
    jobs = small_jobs(tmp_path / "runs", ["constant"])
    load = Loader(jobs[0].load.spec, jobs[0].load.needed, DataStore(tmp_path / "nowhere"))
    broken = [Job(j.spec, j.number, load, j.registry, j.store, 1, j.home) for j in jobs]
    with pytest.raises(DataError, match="Fis-V"):
        execute_processes(broken, 2, Heard())
    assert not run_processes()
    assert not list((tmp_path / "runs").rglob("record.json"))


def test_an_error_with_a_constructor_of_its_own_is_relayed_as_a_plain_one(tmp_path: Path) -> None:
    (job,) = small_jobs(tmp_path / "runs", ["constant"], classes=["TES"])
    none = Job(job.spec, 1, job.load, Registry([]), job.store, 1, job.home)
    with pytest.raises(UsageError, match="There is no method called 'constant'"):
        execute_processes([none], 1, Heard())


TINY = '''
"""A network with dropout, as small as they come."""

import torch
from torch import nn

from aqabench.method.base import TorchMethod
from aqabench.method.card import MethodCard


class Tiny(TorchMethod):
    card = MethodCard(
        name="tiny", title="Tiny", kind="baseline", summary="s", missing="m",
        settings={"optimizer": "adam", "lr": 1e-2, "weight_decay": 0.0, "batch_size": 16,
                  "epochs": 2},
    )

    def build(self, task):
        width = sum(task.modalities.values())
        return nn.Sequential(nn.Linear(width, 8), nn.Dropout(0.5), nn.Linear(8, 1))

    def loss(self, batch, generator):
        encoded = {m: self.encode(m, x, batch.valid) for m, x in batch.features.items()}
        scored = self.score(encoded, batch.available, batch.valid)
        return {"mse": (scored - batch.score).square().mean()}

    def encode(self, modality, features, valid):
        return features.mean(1)

    def score(self, encoded, available, valid):
        parts = [
            torch.where(shown[:, None], encoded[m], 0.0) if m in encoded
            else torch.zeros(len(available), width)
            for (m, width), shown in zip(self.task.modalities.items(), available.T)
        ]
        return self.net(torch.cat(parts, 1))[:, 0]
'''


def test_the_same_numbers_whatever_the_number_of_jobs(tmp_path: Path) -> None:
    (tmp_path / "tiny.py").write_text(TINY)
    methods = ["constant", "ridge", "tiny"]
    found: dict[str, list[dict[str, object]]] = {}
    files: dict[str, dict[str, bytes]] = {}
    for name in ("in process", "1", "2", "3"):
        store = tmp_path / name
        jobs = small_jobs(store, methods, tmp_path / "tiny.py")
        heard = Heard()
        if name == "in process":
            plan = [job.spec for job in jobs]
            outcome = execute(plan, jobs[0].load(), jobs[0].registry, jobs[0].store, heard)
        else:
            outcome = execute_processes(jobs, int(name), heard)
            assert not outcome.failed, outcome.failed[0].traceback
            assert sorted(heard.started) == sorted(j.spec.label for j in jobs)
            assert heard.steps["tiny TES seed 0"][-1] == STEPS
            assert heard.looks["tiny TES seed 0"] >= 1
        assert not outcome.failed, outcome.failed[0].traceback
        found[name] = [json.loads(r.model_dump_json(exclude={"started"})) for r in outcome.records]
        for record in found[name]:
            cost = record["cost"]
            assert isinstance(cost, dict)
            for key in [k for k in cost if "seconds" in k or "memory" in k]:
                del cost[key]
        files[name] = {
            str(p.relative_to(store)): p.read_bytes()
            for p in sorted(store.rglob("*"))
            if p.name in {PREDICTIONS, METRICS}
        }
        assert len(files[name]) == 2 * 2 * len(methods)
    for name in ("1", "2", "3"):
        assert files[name] == files["in process"]
        assert found[name] == found["in process"]


def test_jobs_and_threads_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "available_cores", lambda: 8)
    monkeypatch.setattr(local, "available_bytes", lambda: 100 * 2**30)
    assert [usual_jobs(threads) for threads in (1, 2, 3, 16)] == [8, 4, 2, 1]
    monkeypatch.setattr(local, "available_bytes", lambda: 5 * 2**30)
    assert usual_jobs(1) == 3
    monkeypatch.setattr(local, "available_bytes", lambda: 0)
    assert usual_jobs(1) == 1


def test_the_loss_of_the_server_costs_the_runs_that_were_on(tmp_path: Path) -> None:
    fit = COUNTING + "\nif me == 'TES 0':\n    time.sleep(600)"
    plugin = plugin_file(tmp_path / "served.py", "served", fit)
    jobs = small_jobs(tmp_path / "runs", ["served"], plugin, ["TES"], seeds=range(3))

    def kill() -> None:
        wait_for((tmp_path / "begun").exists)
        os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)  # type: ignore[attr-defined]

    killer = threading.Thread(target=kill)
    killer.start()
    outcome = execute_processes(jobs, 1, Heard())
    killer.join()
    assert [(r.status, r.error) for r in outcome.records] == [
        (
            "failed",
            "Its process was lost, because the one that starts all others was ended.",
        ),
        ("finished", ""),
        ("finished", ""),
    ]
    assert (tmp_path / "begun").read_text().splitlines() == ["TES 0", "TES 1", "TES 2"]
    assert not run_processes(), "the one that was lost has ended itself"


def test_what_another_process_is_doing_comes_last_and_its_result_is_taken(tmp_path: Path) -> None:
    jobs = small_jobs(tmp_path / "runs", ["constant"], seeds=(0, 1))
    other = ExitStack()
    other.enter_context(claim(jobs[0].folder))

    class Releasing(Heard):
        def run_ended(self, spec: RunSpec, record: RunRecord, was_stored: bool) -> None:
            super().run_ended(spec, record, was_stored)
            if len(self.ended) == 3:
                assert jobs[0].spec.label not in self.started
                jobs[0].store.write(record.model_copy(update=of_first), None, [])

        def run_waits(self, spec: RunSpec) -> None:
            super().run_waits(spec)
            other.close()

    of_first = {"key": jobs[0].spec.key, "identity": jobs[0].spec.identity}
    heard = Releasing()
    outcome = execute_processes(jobs, 1, heard)
    assert [record.key for record in outcome.records] == [job.spec.key for job in jobs]
    assert heard.ended[-1] == ("constant TES seed 0", "finished", True)


def test_two_commands_share_the_work_on_one_store(tmp_path: Path) -> None:
    """Plans that overlap: each run is done once, and both print the same numbers."""
    home = tmp_path / "home"
    release = write_gdlt_release(tmp_path / "release", train=40, test=16)
    import_release(release, load_protocol("fisv-rgb").dataset, DataStore(home / "data"))
    fit = """
    time.sleep(0.5)
    """
    plugin = plugin_file(tmp_path / "slow.py", "slow", COUNTING + _flush_left(fit), base="Ridge")
    command = [
        sys.executable, "-m", "aqabench", "run", "--plugin", str(plugin), "-m", "slow",
        "--protocol", "fisv-rgb", "--data", "real", "--budget", "quick", "--jobs", "2",
        "--progress", "json",
    ]  # fmt: skip
    environment = {**os.environ, "AQABENCH_HOME": str(home), "COLUMNS": "100"}
    asked = (["--seeds", "4"], ["--seeds", "4", "-m", "constant"])
    both = [
        subprocess.Popen(
            [*command, *more],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for more in asked
    ]  # fmt: skip
    said = [process.communicate(timeout=120) for process in both]
    assert [p.returncode for p in both] == [0, 0], said
    expected = {f"{name} {seed}": 1 for name in ("TES", "PCS") for seed in range(4)}
    assert Counter((tmp_path / "begun").read_text().splitlines()) == expected
    events = [[json.loads(line) for line in out.splitlines()] for out, _ in said]
    done = [[e["run"] for e in own if e["event"] == "ended" and not e["stored"]] for own in events]
    together = [run for own in done for run in own]
    assert len(together) == len(set(together)) == 8 + 8
    rows = [next(x.split() for x in err.splitlines() if x.startswith("slow")) for _, err in said]
    assert rows[0][:8] == rows[1][:8], "all but what it cost"
    assert re.fullmatch(r"[-−]?0\.\d+", rows[0][1]), rows


def _flush_left(text: str) -> str:
    lines = text.strip("\n").splitlines()
    indent = len(lines[0]) - len(lines[0].lstrip())
    return "\n".join(line[indent:] for line in lines)
