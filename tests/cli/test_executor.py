"""``aqabench run --executor``: what is refused before anything runs, and in which words."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from aqabench.errors import UsageError
from tests.cli.conftest import Run

ASKED = ("run", "-m", "ridge", "-p", "fisv-rgb", "--data", "real", "--budget", "quick")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--gpus", "0"), "--gpus is for a cluster, but the runs are to be done here (--executor "
         "local). Leave it out, or add --executor slurm."),
        (("--executor", "background", "--array-parallelism", "2"), "--array-parallelism is for a"),
        (("--profile", "x.yaml"), "--profile is for a cluster"),
        (("--executor", "slurm", "--jobs", "2"), "--array-parallelism for a limit of your own"),
        (("--executor", "slurm", "--time", "4:00"), "--time 4:00: must be HOURS:MM:SS or "
         "DAYS-HOURS:MM:SS, such as 4:00:00."),
        (("--executor", "slurm", "--time", "0:00:00"), "must be at least a minute"),
        (("--executor", "slurm", "--memory", "8"), "--memory 8: must be a whole number with M, G"),
        (("--executor", "slurm", "--partition", "a b"), "--partition a b: must be one word"),
        (("--executor", "slurm", "--gpus", "-1"), "--gpus -1: input should be greater than or"),
        (("--executor", "slurm", "--profile", "nowhere.yaml"), "There is no file nowhere.yaml."),
        (("--executor", "ray"), "'local', 'background', 'slurm'"),
    ],
)  # fmt: skip
def test_wrong_usage_is_one_helpful_sentence(
    aqabench: Run, arguments: tuple[str, ...], message: str
) -> None:
    said = aqabench(*ASKED, *arguments)
    assert said.code == 2
    assert message in said.words
    assert "Traceback" not in said.words


@pytest.mark.parametrize("executor", ["background", "slurm"])
def test_a_missing_package_is_named_with_the_command_that_installs_it(
    aqabench: Run, monkeypatch: pytest.MonkeyPatch, executor: str
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    said = aqabench(*ASKED, "--executor", executor)
    assert said.code == 2
    assert (
        f"--executor {executor} needs the package submitit, which is not installed. Install it: "
        "pip install 'aqabench[cluster]'" in said.words
    )


def test_a_malformed_profile_lists_all_its_faults(aqabench: Run, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("partiton: gpu\ngpus: many\ntime: 90\nsetup: module load cuda\n")
    said = aqabench(*ASKED, "--executor", "slurm", "--profile", path)
    assert said.code == 2
    for part in ("has 4 faults", "did you mean 'partition'", ":2:7: gpus", ":3:7: time", "setup"):
        assert part in said.words, said.words


def test_a_machine_without_slurm_is_told_where_to_type_it(
    aqabench: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    monkeypatch.setenv("PATH", str(tmp_path))
    said = aqabench(*ASKED, "--executor", "slurm")
    assert said.code == 2
    assert "There is no sbatch on this machine" in said.words
    assert "login node of your cluster" in said.words


@pytest.mark.parametrize(
    ("method", "gpus", "refused"),
    [("gdlt", "0", True), ("gdlt", "1", False), ("ridge", "0", False)],
)
def test_a_card_that_slurm_would_not_give_is_refused_before_anything_is_handed_over(
    installed: Run, monkeypatch: pytest.MonkeyPatch, method: str, gpus: str, refused: bool
) -> None:
    from aqabench.runs.executors import cluster, queues, slurm

    def handed_over(*_: object) -> None:
        raise UsageError("handed over")

    monkeypatch.setattr(queues, "require_submitit", lambda _: None)
    monkeypatch.setattr(slurm.Slurm, "reach", lambda profile, threads: slurm.Slurm(profile, 1, 9))
    monkeypatch.setattr(cluster, "execute_queued", handed_over)
    asked = ("run", "-m", method, *ASKED[3:], "--executor", "slurm", "--device", "cuda")
    said = installed(*asked, "--gpus", gpus)
    assert said.code == 2
    assert ("Slurm would give the runs none. Add --gpus 1" in said.words) == refused, said.words
    assert ("handed over" in said.words) != refused
