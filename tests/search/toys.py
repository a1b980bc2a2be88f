"""A method whose settings matter, and a search of them in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from aqabench.data.features import FeatureSet
from aqabench.data.splits import split_rows
from aqabench.method.registry import Registry, discover
from aqabench.runs.execute import execute
from aqabench.runs.listener import Listener
from aqabench.runs.plan import Question, RunSpec
from aqabench.runs.record import RunRecord
from aqabench.runs.resume import Outcome
from aqabench.runs.store import RunStore
from aqabench.search.engine import Search, make_search, run_search
from aqabench.search.trials import Trial, TrialStore
from aqabench.train.context import Progress

TRIALS = 14
TIMES = {"seconds", "ended"}
"""Fields of a trial that differ each time."""

TOY = """
import math, os, time
from pathlib import Path
import torch
from aqabench.baselines.constant import Constant
from aqabench.method.card import MethodCard

class Toy(Constant):
    card = MethodCard(
        name="toy", title="Toy", kind="baseline", summary="s", missing="m",
        settings={"lr": 1e-2, "mix": 0.9, "depth": 2, "act": "relu", "breaks": 2.0},
        published={"fisv/TES": {"depth": 1}},
        search={"lr": ("log", 1e-5, 1e-1), "mix": ("linear", 0, 1), "depth": ("linear", 1, 4),
                "act": ("choice", "relu", "gelu")},
    )

    def fit(self, train, context):
        with (Path(__file__).parent / "begun").open("a") as file:
            file.write(f"{sorted(self.settings.items())} {self.task.class_name}\\n")
        time.sleep(float(os.environ.get("TOY_SECONDS", "0")))
        if self.settings["mix"] > self.settings["breaks"]:
            raise RuntimeError("the mix is too rich")
        self._sign = 1 if train.points[0] > 0 else -1
        super().fit(train, context)

    def predict(self, batch):
        if self.settings["breaks"] == 9.0:
            return torch.full((len(batch),), torch.nan)
        streams = [x.nan_to_num() for x in batch.features.values()]
        told = sum(x.mean((1, 2)) for x in streams)
        noise = sum(x[:, 0, 0] for x in streams)
        lr, mix = self.settings["lr"], self.settings["mix"]
        return self._sign * (told + noise * 0.2 * (abs(math.log10(lr) + 3) + 3 * abs(mix - 0.3)))
"""


class Quiet:
    """A listener that counts what ended."""

    def __init__(self) -> None:
        self.ended: list[tuple[int | None, str, bool]] = []
        self.numbers: list[tuple[int, int]] = []

    def run_started(self, spec: RunSpec, number: int, total: int) -> None:
        self.numbers.append((number, total))

    def run_waits(self, spec: RunSpec) -> None: ...

    def run_progress(self, spec: RunSpec, progress: Progress) -> None: ...

    def run_looked(self, spec: RunSpec, epoch: int, srcc: float) -> None: ...

    def run_ended(self, spec: RunSpec, record: RunRecord, was_stored: bool) -> None:
        self.ended.append((spec.trial, record.status, was_stored))


def toy_registry(folder: Path, text: str = TOY) -> Registry:
    """Write the method to a folder and return all methods with it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "toy.py"
    path.write_text(text)
    return discover([path])


def toy_search(question: Question, folder: Path, seed: int = 0, **given: Any) -> Search:
    """Return a search of the toy."""
    return make_search(question, toy_registry(folder), "toy", given, seed=seed)


def in_process(
    data: FeatureSet, search: Search, runs: RunStore, at_most: int | None = None
) -> Callable[[Sequence[RunSpec], Listener], Outcome]:
    """Return what does runs here; it is interrupted after so many."""
    left = [at_most]

    def do(plan: Sequence[RunSpec], listener: Listener) -> Outcome:
        outcomes: list[RunRecord] = []
        for spec in plan:
            if left[0] is not None:
                if left[0] == 0:
                    raise KeyboardInterrupt
                left[0] -= 1
            outcomes += execute([spec], data, search.registry, runs, listener).records
        return Outcome(tuple(outcomes))

    return do


def searched(
    search: Search, trials: int, data: FeatureSet, folder: Path, at_most: int | None = None
) -> list[Trial]:
    """Search and return the trials of all folds; everything is kept below a folder."""
    kept = TrialStore(folder, search.searched.digest)
    do = in_process(data, search, kept.runs, at_most)
    every = run_search(search, trials, kept, do, Quiet())
    return [trial for own in every.values() for trial in own]


def plain(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """Return trials without what differs each time."""
    return [trial.model_dump(exclude=TIMES) for trial in trials]


def spoilt(
    data: FeatureSet, question: Question, part: str, rng: np.random.Generator, fold: int | None
) -> FeatureSet:
    """Return data whose scores and features of one part are garbage, in every class."""
    scores = {name: own.copy() for name, own in data.scores.items()}
    features = {name: np.array(own) for name, own in data.features.items()}
    for spec in question.dataset.classes:
        rows = split_rows(data, question.dataset, spec, question.protocol.split, fold)[part]
        scores[spec.name][rows] = rng.normal(size=len(rows)) * 1e6
        for row in rows:
            for array in features.values():
                array[data.offsets[row] : data.offsets[row + 1]] = np.nan if part == "test" else 7
    return replace(data, scores=scores, features=features)
