"""Fis-V with narrow streams and few videos; where it is kept is the test's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from aqabench.data.features import FeatureSet
from aqabench.data.simulator import simulate
from aqabench.runs import execute
from aqabench.runs.env import environment
from aqabench.runs.plan import Question
from aqabench.search.trials import Trial
from tests.runs.sweeps import narrow_question
from tests.search.toys import TRIALS, searched, toy_search


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home of the test's; packages are looked up once, which takes longer than a run here."""
    monkeypatch.setenv("AQABENCH_HOME", str(tmp_path / "home"))
    found = environment()
    monkeypatch.setattr(execute, "environment", lambda: dict(found))


@pytest.fixture(scope="session")
def two_classes() -> Question:
    return narrow_question()


@pytest.fixture(scope="session")
def question(two_classes: Question) -> Question:
    protocol = two_classes.protocol.model_copy(update={"classes": ("TES",)})
    return replace(two_classes, protocol=protocol)


@pytest.fixture(scope="session")
def data(two_classes: Question) -> FeatureSet:
    return simulate(two_classes.dataset)


@pytest.fixture(scope="session")
def whole(
    question: Question, data: FeatureSet, tmp_path_factory: pytest.TempPathFactory
) -> list[Trial]:
    """The trials of an undisturbed search: the published settings, ten at random, three more."""
    folder = tmp_path_factory.mktemp("whole")
    return searched(toy_search(question, folder), TRIALS, data, folder / "kept")
