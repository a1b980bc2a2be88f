"""What a run asks of a cluster: files, options over them, and every fault in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aqabench.errors import ProtocolError, UsageError
from aqabench.runs.executors.profile import ClusterProfile, read_profile

MANUAL = Path(__file__).resolve().parents[2] / "docs" / "cluster.md"


def test_the_example_of_the_manual_can_be_read(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", MANUAL.read_text(), re.DOTALL)
    path = tmp_path / "gpu.yaml"
    path.write_text(example)
    profile = read_profile(path, {})
    default = ClusterProfile().model_dump()
    assert all(value != default[name] for name, value in profile.model_dump().items())


def test_options_win_over_the_file_and_the_rest_stays(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("partition: slow\ngpus: 1\nmemory: 8G\n")
    profile = read_profile(path, {"partition": "fast", "gpus": 0, "time": None, "memory": None})
    assert profile == ClusterProfile(partition="fast", gpus=0, memory="8G")


@pytest.mark.parametrize(
    ("time", "minutes"),
    [("0:01:00", 1), ("1:00:00", 60), ("4:30:01", 271), ("2-00:00:00", 2880), ("100:00:00", 6000)],
)
def test_times(time: str, minutes: int) -> None:
    assert read_profile(None, {"time": time}).minutes == minutes


@pytest.mark.parametrize(
    "time", ["90", "4:00", "1:60:00", "0:00:00", "1-0", "-1:00:00", "1:00:00 "]
)
def test_times_that_slurm_might_take_for_something_else_are_refused(time: str) -> None:
    with pytest.raises(UsageError, match=rf"^--time {time}: must be "):
        read_profile(None, {"time": time})


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("partition: a b", "partition"), ("account: ''", "account"), ("memory: 8GB", "memory"),
        ("memory: 0G", "memory"), ("cpus: 0", "cpus"), ("array_parallelism: 0", "array"),
        ('setup: ["a\\nb"]', "setup"), ("time: 90", "time"), ("gpu: 1", "gpu"),
    ],
)  # fmt: skip
def test_what_a_profile_may_not_say(tmp_path: Path, line: str, key: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"qos: high\n{line}\n")
    with pytest.raises(ProtocolError, match=rf"mine\.yaml:2:\d+: {key}"):
        read_profile(path, {})
