"""Runs handed to a queue: watched, found again, never done twice, and never waited for in vain."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

pytest.importorskip("submitit", reason="submitit is not installed: pip install 'aqabench[cluster]'")

from aqabench.errors import AqabenchError, StoreError, UsageError
from aqabench.runs.claim import claim
from aqabench.runs.executors import cluster, slurm
from aqabench.runs.executors.background import Background
from aqabench.runs.executors.cluster import execute_queued
from aqabench.runs.executors.ledger import Ledger
from aqabench.runs.executors.parcel import Ear, Parcel
from aqabench.runs.executors.profile import ClusterProfile
from aqabench.runs.executors.queues import Place, Standing, log_of
from aqabench.runs.executors.slurm import Slurm
from aqabench.runs.failure import record_failure
from aqabench.runs.job import Job
from aqabench.runs.plan import RunSpec
from aqabench.runs.record import RunRecord
from aqabench.runs.resume import Outcome
from aqabench.runs.store import METRICS, PREDICTIONS
from tests.runs.queued import MOMENTS, make_command, messages
from tests.runs.sweeps import Heard, plugin_file, small_jobs, wait_for


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AQABENCH_HOME", str(tmp_path / "home"))


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "LOOK", 0.01)
    monkeypatch.setattr(cluster, "GRACE", 0.1)
    monkeypatch.setattr(cluster, "LONG_GRACE", 0.3)


Act = Callable[["Paper", Path, Parcel, str], None]


def does(_: Paper, __: Path, parcel: Parcel, ___: str) -> None:
    """Do the run at once."""
    parcel()


def nothing(*_: object) -> None:
    """Wait in the queue."""


@dataclass
class Paper:
    """A queue on paper.

    Attributes:
        act: done with each run that is handed over.
        script: what is said of all jobs when the queue is asked, by turns; the last one stays.
    """

    act: Act = does
    script: list[str | None] = field(default_factory=lambda: ["RUNNING"])
    room: int | None = None
    most: int = 100
    pause: float = 0.02
    jobs: dict[Place, str] = field(default_factory=dict)
    handed: list[tuple[str, list[str], int]] = field(default_factory=list)
    over: set[str] = field(default_factory=set)
    cancelled: list[str] = field(default_factory=list)
    at_once: int = 0

    def submit(self, folder: Path, parcels: Sequence[Parcel], shares: int) -> list[str]:
        ids = []
        self.handed.append((folder.name, [p.job.spec.label for p in parcels], shares))
        for index, parcel in enumerate(parcels):
            ids.append(f"{len(self.handed)}_{index}")
            self.jobs[folder.name, index] = ids[-1]
            self.at_once = max(self.at_once, len(self.jobs) - len(self.over))
            (folder / f"{ids[-1]}_submitted.pkl").touch()
            self.act(self, folder, parcel, ids[-1])
        return ids

    def standings(self, folders: Collection[Path]) -> dict[Place, Standing] | None:
        names = {folder.name for folder in folders}
        state = self.script[0] if self.jobs else ""
        if len(self.script) > 1 and self.jobs:
            self.script.pop(0)
        if state is None:
            return None
        word, _, reason = state.partition(" ")
        return {
            place: Standing(id_, word, reason, -11 if word == "FAILED" else 0)
            for place, id_ in self.jobs.items()
            if place[0] in names and id_ not in self.over and word
        }

    def cancel(self, ids: Sequence[str]) -> str:
        self.cancelled += ids
        self.over.update(ids)
        return ""

    def how_to_end(self, folders: Collection[Path]) -> str:
        return "tear it up"


def ledger_of(jobs: Sequence[Job]) -> Ledger:
    return Ledger(jobs[0].store, "slurm")


def watch(
    jobs: Sequence[Job], queue: Paper, said: list[str] | None = None
) -> tuple[Outcome, Heard]:
    heard = Heard()
    say = (said if said is not None else []).append
    return execute_queued(jobs, queue, ledger_of(jobs), heard, say), heard


def record_of(job: Job) -> RunRecord | None:
    return job.store.find(job.spec.question.protocol.name, job.spec.method, job.spec.key)


@pytest.mark.usefixtures("_quick")
def test_what_runs_say_is_passed_on_and_what_is_done_is_tidied_away(tmp_path: Path) -> None:
    jobs = small_jobs(tmp_path / "runs", ["constant", "late-fusion"], classes=["TES"])
    queue = Paper(script=["RUNNING", "RUNNING", ""])
    outcome, heard = watch(jobs, queue)
    assert [r.status for r in outcome.records] == ["finished", "finished"]
    assert heard.started == [job.spec.label for job in jobs]
    assert heard.steps["late-fusion TES seed 0"][-1] == 6
    assert heard.looks == {"constant TES seed 0": 1, "late-fusion TES seed 0": 3}
    assert not list((tmp_path / "runs" / ".jobs").rglob("runs.json"))
    again, heard = watch(jobs, queue)
    assert again == outcome
    assert [stored for *_, stored in heard.ended] == [True, True]
    assert len(queue.handed) == 1


@pytest.mark.usefixtures("_quick")
@pytest.mark.parametrize(
    ("state", "error"),
    [
        ("CANCELLED", "Its job 1_0 was cancelled."),
        ("TIMEOUT", "Its job 1_0 ran out of time; give it more: --time."),
        ("OUT_OF_MEMORY", "Its job 1_0 needed more memory than it was given; give it more: "
         "--memory."),
        ("NODE_FAIL", "Its job 1_0 lost its node."),
        ("PREEMPTED", "Its job 1_0 had to make room for another."),
        ("FAILED", "Its job 1_0 was ended by SIGSEGV."),
        ("COMPLETED", "Its job 1_0 left the queue before the run was done."),
        ("", "Its job 1_0 left the queue before the run was done."),
    ],
)  # fmt: skip
def test_a_run_that_leaves_the_queue_without_a_record_is_a_failed_one(
    tmp_path: Path, state: str, error: str
) -> None:
    def speak(_: Paper, folder: Path, __: Parcel, id_: str) -> None:
        log_of(folder, id_).write_text("x\n" * 50_000 + "the last words\n")

    jobs = small_jobs(tmp_path / "runs", ["constant"], classes=["TES"])
    outcome, heard = watch(jobs, Paper(speak, ["PENDING", "RUNNING", state]))
    (record,) = outcome.failed
    assert record.error == error
    assert record.traceback.endswith("x\nthe last words")
    assert record_of(jobs[0]) == record
    assert heard.ended == [("constant TES seed 0", "failed", False)]
    assert list((tmp_path / "runs" / ".jobs").rglob("runs.json")), "its log stays"
    queue = Paper()
    assert not watch(jobs, queue)[0].failed
    assert queue.handed, "what failed is handed over again"
    assert len(list((tmp_path / "runs" / ".jobs").rglob("runs.json"))) == 1


@pytest.mark.usefixtures("_quick")
def test_a_job_that_vanishes_from_the_queue_before_it_began_is_told_as_such(tmp_path: Path) -> None:
    jobs = small_jobs(tmp_path / "runs", ["constant"], classes=["TES"])
    outcome, heard = watch(jobs, Paper(nothing, ["PENDING", ""]))
    assert outcome.failed[0].error == "Its job 1_0 was taken out of the queue before it began."
    assert outcome.failed[0].traceback == ""
    assert heard.started == []


@pytest.mark.usefixtures("_quick")
def test_an_error_that_a_node_reports_is_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StoreError("The disk of the node is full.")

    def broken(_: Paper, __: Path, parcel: Parcel, ___: str) -> None:
        with pytest.raises(StoreError):
            parcel()

    monkeypatch.setattr("aqabench.runs.executors.parcel.run_job", full)
    jobs = small_jobs(tmp_path / "runs", ["constant"], classes=["TES"])
    outcome, _ = watch(jobs, Paper(broken, ["RUNNING", "FAILED"]))
    assert outcome.failed[0].error == "The disk of the node is full."


def test_signs_of_life_are_passed_on_once_and_damaged_ones_left_out(tmp_path: Path) -> None:
    (job,) = small_jobs(tmp_path / "runs", ["constant"], classes=["TES"])
    path, heard = tmp_path / "signs.jsonl", Heard()
    ear = Ear(path)
    assert not ear.heard()
    ear.listen(job.spec, heard)
    step = '{"event": "progress", "step": %d, "steps": 9, "epoch": 1, "loss": {"all": NaN}}\n'
    with path.open("a", buffering=1) as file:
        file.write(step % 1 + '{"event": "prog')  # its process was killed, and another one goes on
        ear.listen(job.spec, heard)
        file.write(step % 2 + step % 3)
        ear.listen(job.spec, heard)
        file.write('{"step": 4}\n[]\n{"event": "progress"}\n5\n\n' + (step % 5)[:20])
        ear.listen(job.spec, heard)
        file.write((step % 5)[20:] + '{"event": "looked", "epoch": 2, "srcc": 0.5}\n')
        ear.listen(job.spec, heard)
    assert heard.steps == {"constant TES seed 0": [1, 3, 5]}
    assert heard.looks == {"constant TES seed 0": 1}
    assert ear.heard()


def test_an_error_of_who_listens_is_not_taken_for_a_damaged_sign(tmp_path: Path) -> None:
    class Broken(Heard):
        def run_looked(self, spec: RunSpec, epoch: int, srcc: float) -> None:
            raise KeyError("a bug of a display")

    (job,) = small_jobs(tmp_path / "runs", ["constant"], classes=["TES"])
    path = tmp_path / "signs.jsonl"
    path.write_text('{"event": "looked", "epoch": 2, "srcc": 0.5}\n')
    with pytest.raises(KeyError, match="a bug of a display"):
        Ear(path).listen(job.spec, Broken())


@pytest.mark.usefixtures("_quick")
def test_a_record_may_come_late_a_job_may_come_back_and_the_queue_may_be_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "GRACE", 1.0)
    monkeypatch.setattr(cluster, "LONG_GRACE", 60.0)
    sent: list[Parcel] = []
    jobs = small_jobs(tmp_path / "runs", ["constant"], classes=["TES"])

    class Late(Paper):
        def standings(self, folders: Collection[Path]) -> dict[Place, Standing] | None:
            if self.script == ["COMPLETED"] and sent:
                threading.Timer(1.5, sent.pop()).start()  # later than a job that ended badly has
            return super().standings(folders)

    queue = Late(
        lambda _, __, parcel, ___: sent.append(parcel),
        ["RUNNING", "NODE_FAIL", "PENDING BeginTime", None, None, "RUNNING", None, "COMPLETED"],
    )
    said: list[str] = []
    outcome, _ = watch(jobs, queue, said)
    assert not outcome.failed
    silence = "the queue does not answer, it will be asked again"
    assert said == ["runs wait in the queue (BeginTime)", silence, silence]


@pytest.mark.usefixtures("_quick")
def test_the_record_of_an_earlier_failure_is_not_taken_for_the_new_one(tmp_path: Path) -> None:
    jobs = small_jobs(tmp_path / "runs", ["constant"], classes=["TES"])
    record_failure(jobs[0], "the old reason", quote_log=False)
    queue = Paper(nothing, ["RUNNING"] * 5 + ["CANCELLED"])
    outcome, _ = watch(jobs, queue)
    assert outcome.failed[0].error == "Its job 1_0 was cancelled."

    def fails(_: Paper, __: Path, parcel: Parcel, ___: str) -> None:
        record_failure(parcel.job, "the newest reason", quote_log=False)

    outcome, _ = watch(jobs, Paper(fails))
    assert outcome.failed[0].error == "the newest reason"


@pytest.mark.usefixtures("_quick")
def test_many_runs_are_cut_into_arrays_and_a_small_queue_is_never_overfull(tmp_path: Path) -> None:
    jobs = small_jobs(tmp_path / "a", ["constant"], seeds=range(5))
    queue = Paper(most=4)
    assert not watch(jobs, queue)[0].failed
    assert [(len(labels), shares) for _, labels, shares in queue.handed] == [(4, 3), (4, 3), (2, 3)]
    assert len({name for name, *_ in queue.handed}) == 3

    def later(queue: Paper, _: Path, parcel: Parcel, id_: str) -> None:
        def end() -> None:
            parcel()
            queue.over.add(id_)

        threading.Timer(0.05, end).start()

    jobs = small_jobs(tmp_path / "b", ["constant"], seeds=range(3))
    queue = Paper(later, room=2, most=1)
    assert not watch(jobs, queue)[0].failed
    assert [labels for _, labels, _ in queue.handed] == [[job.spec.label] for job in jobs]
    assert queue.at_once == 2


@pytest.mark.usefixtures("_quick")
def test_what_is_queued_is_found_again_and_never_handed_over_twice(tmp_path: Path) -> None:
    jobs = small_jobs(tmp_path / "runs", ["constant"], seeds=range(2))
    sent: list[Parcel] = []

    class Interrupting(Paper):
        def standings(self, folders: Collection[Path]) -> dict[Place, Standing] | None:
            if self.jobs:
                raise KeyboardInterrupt
            return super().standings(folders)

    first = Interrupting(lambda _, __, parcel, ___: sent.append(parcel))
    with pytest.raises(KeyboardInterrupt, match=r"^4 runs are in the queue or at work and go on "
                       r"without this command; the same command watches them again\. To end them: "
                       r"tear it up$"):  # fmt: skip
        watch(jobs, first)
    folder = next((tmp_path / "runs" / ".jobs").rglob("runs.json")).parent
    written = json.loads((folder / "runs.json").read_text())
    assert written["name"] == folder.name == first.handed[0][0]
    assert written["jobs"] == {job.spec.key: f"1_{n}" for n, job in enumerate(jobs)}
    assert (folder.parent.stat().st_mode & 0o777) == 0o700, "what lies there is run as code"

    # one is done, one has failed, one is without its work as after SIGKILL, one goes on
    sent[0]()
    record_failure(jobs[1], "early", quote_log=False)
    (folder / "1_2_submitted.pkl").unlink()
    said: list[str] = []

    def act(queue: Paper, *rest: object) -> None:
        does(queue, *rest)
        record = record_of(jobs[3])
        if record is None:
            sent[3]()

    again = Paper(act, jobs=dict(first.jobs), handed=[("", [], 0)])
    outcome, heard = watch(jobs, again, said)
    assert not outcome.failed
    assert "1 runs are in the queue since an earlier command" in said
    assert again.cancelled == ["1_2"]
    assert [labels for _, labels, _ in again.handed[1:]] == [
        [jobs[1].spec.label, jobs[2].spec.label]
    ]
    assert heard.ended[0] == (jobs[0].spec.label, "finished", True)


@pytest.mark.usefixtures("_quick")
def test_a_run_that_another_process_is_at_is_waited_for(tmp_path: Path) -> None:
    jobs = small_jobs(tmp_path / "runs", ["constant"])
    queue = Paper()
    result: list[tuple[Outcome, Heard]] = []
    with claim(jobs[0].folder):
        watcher = threading.Thread(target=lambda: result.append(watch(jobs, queue)))
        watcher.start()
        wait_for(lambda: bool(queue.handed))
        Parcel(jobs[0], tmp_path / "signs")()  # a process that holds a run may claim it again
    watcher.join(60)
    ((outcome, heard),) = result
    assert not outcome.failed
    assert heard.waits == ["constant TES seed 0"]
    assert [labels for _, labels, _ in queue.handed] == [["constant PCS seed 0"]]


@pytest.mark.usefixtures("_quick")
def test_a_queue_that_refuses_leaves_nothing_behind(tmp_path: Path) -> None:
    def refuse(*_: object) -> None:
        raise UsageError("No.")

    jobs = small_jobs(tmp_path / "runs", ["constant"])
    with pytest.raises(UsageError, match=r"^No\.$"):
        watch(jobs, Paper(refuse))
    assert not list((tmp_path / "runs" / ".jobs").rglob("runs.json"))


@pytest.mark.usefixtures("_quick")
def test_what_is_queued_stays_known_when_the_rest_cannot_be_handed_over(tmp_path: Path) -> None:
    class Failing(Paper):
        def submit(self, folder: Path, parcels: Sequence[Parcel], shares: int) -> list[str]:
            if self.handed:
                raise AqabenchError("nobody knows")
            return super().submit(folder, parcels, shares)

    jobs, said = small_jobs(tmp_path / "runs", ["constant"], seeds=range(2)), []
    with pytest.raises(AqabenchError, match=r"^nobody knows$"):
        watch(jobs, Failing(nothing, most=2), said)
    assert said == [
        "2 runs are in the queue or at work and go on without this command; the same command "
        "watches them again, and begins the other 2. To end them: tear it up"
    ]
    assert len(list((tmp_path / "runs" / ".jobs").rglob("runs.json"))) == 2


def test_a_damaged_ledger_is_told(tmp_path: Path) -> None:
    jobs = small_jobs(tmp_path / "runs", ["constant"])
    ledger = ledger_of(jobs)
    with ledger.alone():
        folder = ledger.folder(ledger.begin(jobs))
    (folder / "runs.json").write_text("{}")
    with pytest.raises(StoreError, match=r"runs\.json cannot be read .* Move the folder .* away"):
        watch(jobs, Paper())


# processes in the background


def in_background(jobs: Sequence[Job], room: int, heard: Heard | None = None) -> Outcome:
    ledger = Ledger(jobs[0].store, "background")
    return execute_queued(jobs, Background(room, 1), ledger, heard or Heard(), lambda _: None)


def test_records_are_those_of_runs_in_this_process(tmp_path: Path) -> None:
    found, files = [], []
    for name, do in (
        ("here", lambda jobs: watch(jobs, Paper())[0]),
        ("background", lambda jobs: in_background(jobs, 2)),
    ):
        jobs = small_jobs(tmp_path / name, ["late-fusion"], classes=["TES"])
        outcome = do(jobs)
        assert not outcome.failed, outcome.failed[0].traceback
        records = [json.loads(r.model_dump_json(exclude={"started"})) for r in outcome.records]
        for record in records:
            record["cost"] = {
                key: value
                for key, value in record["cost"].items()
                if not re.search("seconds|memory|joules", key)
            }
        found.append(records)
        files.append(
            {
                str(path.relative_to(tmp_path / name)): path.read_bytes()
                for path in sorted((tmp_path / name).rglob("*"))
                if path.name in {PREDICTIONS, METRICS}
            }
        )
    assert len(files[0]) == 2
    assert files[0] == files[1]
    assert [{**r, "cost": {**r["cost"], "milliseconds": 0}} for r in found[0]] == [
        {**r, "cost": {**r["cost"], "milliseconds": 0}} for r in found[1]
    ]


def test_how_to_end_them_names_these_runs_and_no_others(tmp_path: Path) -> None:
    folders = [tmp_path / f"aqabench-{uuid.uuid4().hex[:12]}" for _ in range(3)]
    code = "import time; time.sleep(60)"
    processes = [subprocess.Popen([sys.executable, "-c", code, str(f)]) for f in folders]
    try:
        subprocess.run(shlex.split(Background(1, 1).how_to_end(folders[:2])), check=True)
        assert [p.wait(30) for p in processes[:2]] == [-signal.SIGKILL] * 2
        assert processes[2].poll() is None
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_a_process_that_dies_is_a_failed_row_with_its_last_words(tmp_path: Path) -> None:
    fit = """
print("the last words of", me)
match me:
    case "TES 0": os.kill(os.getpid(), signal.SIGKILL)
    case "TES 1": ctypes.string_at(0)
"""
    plugin = plugin_file(tmp_path / "deadly.py", "deadly", fit)
    jobs = small_jobs(tmp_path / "runs", ["deadly"], plugin, ["TES"], range(2))
    outcome = in_background(jobs, 2)
    assert len(outcome.failed) == 2
    for record in outcome.failed:
        assert re.fullmatch(r"Its job \d+ left the queue before the run was done\.", record.error)
        assert f"the last words of TES {record.seed}" in record.traceback
    assert re.search(r'Segmentation fault[^$]*File ".*deadly\.py"', outcome.failed[1].traceback)


@pytest.mark.slow
def test_ctrl_c_and_the_end_of_the_terminal_do_not_reach_the_runs(tmp_path: Path) -> None:
    command = make_command(tmp_path, "--executor", "background", "--jobs", "2")
    process = command.start()
    wait_for(lambda: len(command.begun) == 2, 120)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    words = " ".join(err.split())
    assert "2 runs are in the queue or at work and go on without this command" in words
    names = sorted(p.parent.name for p in (command.store / ".jobs").rglob("runs.json"))
    assert f"To end them: pkill -KILL -f '{'|'.join(names)}'" in words
    assert "and begins the other 1" in words
    assert "type the same command again to go on" in words
    os.killpg(process.pid, signal.SIGHUP)
    assert all(psutil.pid_exists(pid) for pid in command.pids)
    again = command.done()
    assert "2 runs are in the queue since an earlier command" in messages(again)
    assert command.begun == {f"TES {seed}": 1 for seed in range(3)}


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_whenever_the_command_is_killed_no_run_is_done_twice(tmp_path: Path, moment: str) -> None:
    command = make_command(tmp_path, "--executor", "background", "--jobs", "2", seeds=2)
    command.killed(MOMENTS[moment].format(kind="background", queue="Background"))
    again = command.done()
    assert ("since an earlier command" in messages(again)) == (
        moment in {"half way", "before the ids are written"}
    )
    assert command.begun == {f"TES {seed}": 1 for seed in range(2)}
    assert len(list(command.store.rglob("record.json"))) == 2
    assert not list((command.store / ".jobs").rglob("runs.json"))


@pytest.mark.slow
def test_two_commands_at_once_share_the_work(tmp_path: Path) -> None:
    command = make_command(tmp_path, "--executor", "background", "--jobs", "1")
    (tmp_path / "go").touch()
    both = [command.start(), command.start()]
    said = [process.communicate(timeout=200) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert command.begun == {f"TES {seed}": 1 for seed in range(3)}


# what Slurm is asked and what it says, with programs of our own in its place


def programs(folder: Path, monkeypatch: pytest.MonkeyPatch, **scripts: str) -> None:
    folder.mkdir(exist_ok=True)
    standard = {"scontrol": "echo 'MaxArraySize            = 4'"}
    for name in ("sbatch", "srun", "squeue", "scancel", "scontrol"):
        path = folder / name
        path.write_text(f"#!/bin/bash\n{scripts.get(name, standard.get(name, 'true'))}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_a_machine_without_slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match=r"There is no sbatch on this machine, .* login node"):
        Slurm.reach(ClusterProfile(), 1)


def test_a_slurm_that_is_down(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    down = "echo 'slurm_load_ctl_conf error: Unable to contact slurm controller' >&2; exit 1"
    programs(tmp_path / "bin", monkeypatch, scontrol=down, squeue=down)
    with pytest.raises(UsageError, match=r"Slurm does not answer: .*Unable to contact"):
        Slurm.reach(ClusterProfile(), 1)
    assert Slurm(ClusterProfile(), 1, 4).standings([tmp_path / "aqabench-1"]) is None


def test_what_sbatch_is_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    programs(
        tmp_path / "bin", monkeypatch,
        sbatch=f"cat $1 > {tmp_path}/batch.sh; echo Submitted batch job 77",
    )  # fmt: skip
    profile = ClusterProfile(
        partition="gpu", account="me", qos="high", constraint="a100|h100", gpus=2, cpus=6,
        time="1-00:30:00", memory="8G", array_parallelism=5, setup=("module load cuda",),
    )  # fmt: skip
    queue = Slurm.reach(profile, threads=3)
    assert queue.most == 4
    jobs = small_jobs(tmp_path / "runs", ["constant"])
    folder = tmp_path / "runs" / ".jobs" / "aqabench-1"
    folder.mkdir(parents=True)
    ids = queue.submit(folder, [Parcel(job, folder / job.spec.key) for job in jobs], 2)
    assert ids == ["77_0", "77_1"]
    text = (tmp_path / "batch.sh").read_text()
    for line in (
        "--job-name=aqabench-1", "--partition=gpu", "--account=me", "--qos=high",
        "--constraint='a100|h100'", "--gpus-per-node=2", "--cpus-per-task=6", "--time=1470",
        "--requeue", "--mem=8G", "--array=0-1%2", "--signal=USR2@90", "--nodes=1",
    ):  # fmt: skip
        assert f"#SBATCH {line}\n" in text, text
    assert "wckey" not in text
    assert "\nmodule load cuda\n" in text
    (command,) = re.findall(r"^srun .*", text, re.MULTILINE)
    assert "--cpus-per-task=6" in command
    assert "OMP_NUM_THREADS=3" in command
    assert sys.executable in command


def test_a_refusal_in_slurms_own_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    programs(
        tmp_path / "bin", monkeypatch,
        sbatch="echo 'sbatch: error: invalid partition specified: nope' >&2;"
        "echo 'sbatch: error: Batch job submission failed: Invalid partition name specified' >&2;"
        "exit 1",
    )  # fmt: skip
    jobs = small_jobs(tmp_path / "runs", ["constant"])
    queue = Slurm.reach(ClusterProfile(partition="nope"), 1)
    with pytest.raises(UsageError, match=r"^Slurm did not take the runs: invalid partition "
                       r"specified: nope; Batch job submission failed: Invalid partition name "
                       r"specified\. .*'sinfo'.* type the same command again\.$"):  # fmt: skip
        execute_queued(jobs, queue, ledger_of(jobs), Heard(), lambda _: None)
    assert capsys.readouterr() == ("", "")


def test_an_sbatch_that_never_answers_is_ended_and_what_it_left_is_cancelled_later(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(slurm, "SILENCE", 0.5)
    programs(tmp_path / "bin", monkeypatch, sbatch="sleep 60; true")
    jobs, said = small_jobs(tmp_path / "runs", ["constant"]), []
    queue = Slurm.reach(ClusterProfile(), 1)
    before = time.monotonic()
    with pytest.raises(
        AqabenchError,
        match=r"^sbatch gave no answer in .*, so nobody knows "
        r"whether .*\. Try 'sinfo'; .* type the same command again: ",
    ) as hung:
        execute_queued(jobs, queue, ledger_of(jobs), Heard(), said.append)
    assert not isinstance(hung.value, UsageError)
    assert time.monotonic() - before < 20
    (written,) = (tmp_path / "runs" / ".jobs").rglob("runs.json")
    # Slurm has taken them all the same, and then does not let go of them
    rows = [f"{written.parent.name}|7|{n}|PENDING|0|None|" for n in range(2)]
    programs(
        tmp_path / "bin", monkeypatch, squeue=f"echo '{rows[0]}'; echo '{rows[1]}'",
        scancel="echo 'scancel: error: Access/permission denied' >&2; exit 1",
        sbatch="echo 'sbatch: error: no' >&2; exit 1",
    )  # fmt: skip
    monkeypatch.setattr(slurm, "SILENCE", 60.0)
    with pytest.raises(UsageError, match="Slurm did not take the runs: no"):
        execute_queued(jobs, queue, ledger_of(jobs), Heard(), said.append)
    assert said == [
        "2 jobs have nothing to do, because their command ended early, and could not be cancelled "
        "(Access/permission denied; to end them: scancel 7_0 7_1)"
    ]
    assert written.exists()


def test_programs_that_hang_are_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(slurm, "SILENCE", 0.2)
    scripts = dict.fromkeys(("scontrol", "squeue", "scancel"), "exec sleep 60")
    programs(tmp_path / "bin", monkeypatch, **scripts)
    with pytest.raises(UsageError, match="Slurm does not answer: scontrol gave no answer in"):
        Slurm.reach(ClusterProfile(), 1)
    queue = Slurm(ClusterProfile(), 1, 4)
    assert queue.standings([tmp_path / "aqabench-1"]) is None
    assert queue.cancel(["8"]) == "scancel gave no answer in 0 s; to end them: scancel 8"


def test_what_squeue_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rows = [
        ("aqabench-1", "7", "0", "RUNNING", "0", "None"),
        ("aqabench-1", "7", "1", "PENDING", "0", "JobArrayTaskLimit"),
        ("aqabench-1", "7", "2", "FAILED", "768", "NonZeroExitCode"),
        ("aqabench-1", "7", "3", "FAILED", "35072", "NonZeroExitCode"),
        ("aqabench-1", "7", "4", "FAILED", "11", "None"),
        ("aqabench-1", "7", "5", "OUT_OF_MEMORY", "125", "OutOfMemory"),
        ("aqabench-1", "7", "6", "COMPLETING", "4294967294", "None"),
        ("aqabench-2", "9", "N/A", "CANCELLED", "15", "None"),
    ]
    text = "\n".join("|".join(f"{part:<60}" for part in row) + "|" for row in rows)
    (tmp_path / "said").write_text(text)
    programs(
        tmp_path / "bin", monkeypatch,
        squeue=f'echo "$@" > {tmp_path}/asked; cat {tmp_path}/said',
    )  # fmt: skip
    queue = Slurm.reach(ClusterProfile(), 1)
    found = queue.standings([tmp_path / "aqabench-1", tmp_path / "aqabench-2"])
    assert found == {
        ("aqabench-1", 0): Standing("7_0", "RUNNING"),
        ("aqabench-1", 1): Standing("7_1", "PENDING", "JobArrayTaskLimit"),
        ("aqabench-1", 2): Standing("7_2", "FAILED", "NonZeroExitCode", 3),
        ("aqabench-1", 3): Standing("7_3", "FAILED", "NonZeroExitCode", -9),
        ("aqabench-1", 4): Standing("7_4", "FAILED", "", -11),
        ("aqabench-1", 5): Standing("7_5", "OUT_OF_MEMORY", "OutOfMemory", -125),
        ("aqabench-1", 6): Standing("7_6", "COMPLETING"),
        ("aqabench-2", 0): Standing("9", "CANCELLED", "", -15),
    }
    assert [found["aqabench-1", n].is_over for n in range(7)] == [False] * 2 + [True] * 4 + [False]
    assert found["aqabench-1", 2].ending() == (
        "Its job 7_2 ended with exit code 3 before the run was done."
    )
    asked = (tmp_path / "asked").read_text()
    assert f"--user={os.getuid()} --name=aqabench-1,aqabench-2" in asked
    assert queue.standings([]) == {}
    (tmp_path / "said").write_text(text[:-80])
    cut = queue.standings([tmp_path / "aqabench-1"])
    assert cut is None, "of half an answer, what it lacks would be taken for ended"
