"""A small question on simulated data, and a listener that only counts."""

from __future__ import annotations

import pytest

from aqabench.data.features import FeatureSet
from aqabench.data.simulator import simulate, simulation_digest
from aqabench.protocol.library import load_protocol, protocol_digest
from aqabench.protocol.schema import BUDGETS
from aqabench.runs.listener import Silent
from aqabench.runs.plan import Question, RunSpec
from aqabench.train.context import Progress


class Counting(Silent):
    """A listener that counts."""

    def __init__(self) -> None:
        self.steps = 0

    def run_progress(self, spec: RunSpec, progress: Progress) -> None:
        self.steps += 1


@pytest.fixture(scope="session")
def asked() -> tuple[Question, FeatureSet]:
    """Fis-V with narrow streams and few videos."""
    found = load_protocol("fisv-missing")
    dataset = found.dataset.model_copy(
        update={
            "modalities": tuple(
                m.model_copy(update={"width": 16}) for m in found.dataset.modalities
            ),
            "classes": tuple(
                c.model_copy(update={"train": 60, "test": 20}) for c in found.dataset.classes
            ),
            "clip_length": 24,
        }
    )
    digest = protocol_digest(found.protocol, dataset)
    question = Question(
        found.protocol,
        dataset,
        digest,
        "simulated",
        simulation_digest(dataset, 0),
        BUDGETS["quick"].model_copy(update={"steps": 6}),
    )
    return question, simulate(dataset)
