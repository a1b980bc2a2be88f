"""A real Slurm of one node, without accounting; see docs/cluster.md for the command."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

pytest.importorskip("submitit", reason="pip install 'aqabench[cluster]'")

from aqabench.errors import UsageError
from aqabench.runs.execute import execute
from aqabench.runs.executors.cluster import execute_queued
from aqabench.runs.executors.ledger import Ledger
from aqabench.runs.executors.profile import ClusterProfile
from aqabench.runs.executors.slurm import Slurm
from aqabench.runs.job import Job
from aqabench.runs.plan import RunSpec
from aqabench.runs.record import RunRecord
from aqabench.runs.resume import Outcome
from aqabench.runs.store import METRICS, PREDICTIONS
from tests.runs.queued import COUNTING, MOMENTS, make_command, messages
from tests.runs.slurm_site import Site, slurm_site
from tests.runs.sweeps import Heard, plugin_file, small_jobs, wait_for

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600)]

PROFILE = ClusterProfile(partition="main", array_parallelism=2, time="0:20:00")


@dataclass
class Timed(Heard):
    """Remembers when a run ended as well."""

    times: dict[str, float] = field(default_factory=dict)

    def run_ended(self, spec: RunSpec, record: RunRecord, was_stored: bool) -> None:
        super().run_ended(spec, record, was_stored)
        self.times[spec.label] = time.time()


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with slurm_site() as site:
        yield site


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AQABENCH_HOME", str(tmp_path / "home"))


def watch(
    jobs: list[Job], heard: Heard, profile: ClusterProfile = PROFILE, said: list[str] | None = None
) -> Outcome:
    queue = replace(Slurm.reach(profile, 1), pause=2.0)
    say = (said if said is not None else []).append
    return execute_queued(jobs, queue, Ledger(jobs[0].store, "slurm"), heard, say)


def begun(folder: Path) -> dict[str, tuple[int, float]]:
    """Return process and time by "CLASS SEED"."""
    if not (folder / "begun").exists():
        return {}
    lines = [line.split() for line in (folder / "begun").read_text().splitlines()]
    return {f"{name} {seed}": (int(pid), float(when)) for name, seed, pid, when in lines}


def test_six_runs_as_an_array_two_at_a_time(site: Site, tmp_path: Path) -> None:
    plugin = plugin_file(tmp_path / "slow.py", "slow", COUNTING + "\ntime.sleep(2)")
    jobs = small_jobs(tmp_path / "runs", ["slow", "late-fusion"], plugin, ["TES"], range(3))
    heard, said = Timed(), []
    outcome = watch(jobs, heard, said=said)
    assert not outcome.failed, outcome.failed[0].traceback
    assert [r.key for r in outcome.records] == [job.spec.key for job in jobs]
    assert heard.steps["late-fusion TES seed 0"][-1] == 6
    assert heard.looks["late-fusion TES seed 0"] >= 1
    assert any("JobArrayTaskLimit" in words for words in said), said
    assert not list((tmp_path / "runs" / ".jobs").rglob("runs.json"))

    other = small_jobs(tmp_path / "here", ["slow", "late-fusion"], plugin, ["TES"], range(3))
    execute([j.spec for j in other], other[0].load(), other[0].registry, other[0].store, Heard())
    for name in (PREDICTIONS, METRICS):
        for there, here in zip(jobs, other, strict=True):
            assert (there.folder / name).read_bytes() == (here.folder / name).read_bytes()


def test_what_is_killed_is_a_failed_row_within_seconds(site: Site, tmp_path: Path) -> None:
    fit = COUNTING + "\nif me != 'TES 3': time.sleep(600)"
    plugin = plugin_file(tmp_path / "slow.py", "slow", fit)
    jobs = small_jobs(tmp_path / "runs", ["slow"], plugin, ["TES"], range(4))
    heard = Timed()
    killed: dict[str, float] = {}

    def kill() -> None:
        wait_for(lambda: len(begun(tmp_path)) == 2, 120)
        ids = {line.split()[0].split("_")[1]: line.split()[0] for line in site.queue()}
        subprocess.run(["scancel", ids["2"]], check=True)  # it waits
        killed["slow TES seed 2"] = time.time()
        subprocess.run(["scancel", ids["0"]], check=True)
        killed["slow TES seed 0"] = time.time()
        os.kill(begun(tmp_path)["TES 1"][0], signal.SIGKILL)
        killed["slow TES seed 1"] = time.time()

    killer = threading.Thread(target=kill)
    killer.start()
    outcome = watch(jobs, heard)
    killer.join()
    assert [r.status for r in outcome.records] == ["failed", "failed", "failed", "finished"]
    reasons = [re.sub(r"job \d+_", "job N_", r.error) for r in outcome.records]
    assert reasons[0] == "Its job N_0 was cancelled."
    assert reasons[1] == "Its job N_1 was ended by SIGKILL."
    assert reasons[2] == "Its job N_2 was taken out of the queue before it began."
    assert "Killed" in outcome.records[1].traceback
    assert "CANCELLED" in outcome.records[0].traceback
    waits = {label: heard.times[label] - when for label, when in killed.items()}
    print({label: round(seconds, 1) for label, seconds in waits.items()})
    assert max(waits.values()) < 30, waits


def test_a_run_that_needs_more_than_its_time_goes_on_later(site: Site, tmp_path: Path) -> None:
    fit = COUNTING + "\nif (HERE / 'begun').read_text().count('\\n') == 1: time.sleep(600)"
    plugin = plugin_file(tmp_path / "long.py", "long", fit)
    jobs = small_jobs(tmp_path / "runs", ["long"], plugin, ["TES"])

    def notice() -> None:  # as Slurm gives it before the time is over
        wait_for(lambda: bool(begun(tmp_path)), 120)
        (job,) = site.queue("%i")
        subprocess.run(["scancel", "--signal=USR2", job], check=True)

    thread = threading.Thread(target=notice)
    thread.start()
    outcome = watch(jobs, Heard())
    thread.join()
    assert not outcome.failed, outcome.failed
    assert len((tmp_path / "begun").read_text().splitlines()) == 2


def test_more_runs_than_fit_in_an_array(site: Site, tmp_path: Path) -> None:
    jobs = small_jobs(tmp_path / "runs", ["constant"], None, ["TES", "PCS"], range(4))
    assert Slurm.reach(PROFILE, 1).most == 6
    outcome = watch(jobs, Heard(), ClusterProfile(array_parallelism=4))
    assert not outcome.failed
    assert len(outcome.records) == 8


def test_a_partition_that_is_not_there_is_told_in_slurms_words(site: Site, tmp_path: Path) -> None:
    jobs = small_jobs(tmp_path / "runs", ["constant"])
    with pytest.raises(UsageError, match=r"invalid partition specified: nope; .*Invalid partition"):
        watch(jobs, Heard(), ClusterProfile(partition="nope"))
    assert not list((tmp_path / "runs" / ".jobs").rglob("runs.json"))


def test_a_slurm_that_does_not_answer_costs_no_run(site: Site, tmp_path: Path) -> None:
    plugin = plugin_file(tmp_path / "slow.py", "slow", COUNTING + "\ntime.sleep(8)")
    jobs = small_jobs(tmp_path / "runs", ["slow"], plugin, ["TES"])
    said: list[str] = []

    def outage() -> None:
        wait_for(lambda: bool(begun(tmp_path)), 120)
        site.stop("slurmctld")
        wait_for(lambda: any("does not answer" in words for words in said), 120)
        site.start("slurmctld")

    thread = threading.Thread(target=outage)
    thread.start()
    outcome = watch(jobs, Heard(), said=said)
    thread.join()
    assert not outcome.failed, outcome.failed
    site.ready()


OPTIONS = ("--executor", "slurm", "--partition", "main", "--array-parallelism", "2")


def test_a_command_that_was_killed_finds_its_runs_again(site: Site, tmp_path: Path) -> None:
    command = make_command(tmp_path, *OPTIONS, seeds=5)
    process = command.start()
    wait_for(lambda: len(command.begun) >= 1, 120)
    process.kill()
    process.communicate()
    jobs = site.queue("%i")
    assert len(jobs) >= 4
    again = command.done()
    assert "are in the queue since an earlier command" in messages(again)
    assert command.begun == {f"TES {seed}": 1 for seed in range(5)}
    assert not list((command.store / ".jobs").rglob("runs.json"))


@pytest.mark.parametrize("moment", MOMENTS)
def test_whenever_a_command_is_killed_no_run_is_done_twice(
    site: Site, tmp_path: Path, moment: str
) -> None:
    command = make_command(tmp_path, *OPTIONS)
    command.killed(MOMENTS[moment].format(kind="slurm", queue="Slurm"))
    handed = len(site.queue())
    assert handed == (0 if moment == "before anything is handed over" else 3)
    again = command.done()
    assert ("since an earlier command" in messages(again)) == (
        moment in {"half way", "before the ids are written"}
    )
    assert command.begun == {f"TES {seed}": 1 for seed in range(3)}
    assert len(list(command.store.rglob("record.json"))) == 3
    assert not list((command.store / ".jobs").rglob("runs.json"))


def test_ctrl_c_leaves_the_runs_in_the_queue_and_says_so(site: Site, tmp_path: Path) -> None:
    command = make_command(tmp_path, *OPTIONS)
    process = command.start()
    wait_for(lambda: len(command.begun) >= 1, 120)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    words = " ".join(err.split())
    assert "3 runs are in the queue or at work and go on without this command" in words
    assert re.search(r"To end them: scancel --name=aqabench-\w+", words)
    assert len(site.queue()) >= 2
    command.done()
    assert command.begun == {f"TES {seed}": 1 for seed in range(3)}
