"""Small sweeps to try executors on: narrow data, methods that misbehave, and who is at work."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from aqabench.data.simulator import simulation_digest
from aqabench.data.source import SIMULATION_SEED, Loader
from aqabench.method.registry import discover
from aqabench.protocol.library import load_protocol, protocol_digest
from aqabench.protocol.schema import BUDGETS
from aqabench.runs.job import Job, jobs_of
from aqabench.runs.listener import Progress
from aqabench.runs.plan import Question, RunSpec, make_plan
from aqabench.runs.record import RunRecord
from aqabench.runs.store import RunStore

STEPS = 6


@dataclass
class Heard:
    """A listener that remembers."""

    started: list[str] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)
    steps: dict[str, list[int]] = field(default_factory=dict)
    looks: dict[str, int] = field(default_factory=dict)
    ended: list[tuple[str, str, bool]] = field(default_factory=list)

    def run_started(self, spec: RunSpec, number: int, total: int) -> None:
        self.started.append(spec.label)

    def run_waits(self, spec: RunSpec) -> None:
        self.waits.append(spec.label)

    def run_progress(self, spec: RunSpec, progress: Progress) -> None:
        self.steps.setdefault(spec.label, []).append(progress.step)

    def run_looked(self, spec: RunSpec, epoch: int, srcc: float) -> None:
        self.looks[spec.label] = self.looks.get(spec.label, 0) + 1

    def run_ended(self, spec: RunSpec, record: RunRecord, was_stored: bool) -> None:
        self.ended.append((spec.label, record.status, was_stored))


def narrow_question(classes: Sequence[str] = ("TES", "PCS")) -> Question:
    """Return fisv-missing with narrow streams, few videos and few steps."""
    found = load_protocol("fisv-missing")
    dataset = found.dataset.model_copy(
        update={
            "modalities": tuple(
                m.model_copy(update={"width": 16}) for m in found.dataset.modalities
            ),
            "classes": tuple(
                c.model_copy(update={"train": 60, "test": 20})
                for c in found.dataset.classes
                if c.name in classes
            ),
            "clip_length": 24,
        }
    )
    return Question(
        found.protocol,
        dataset,
        protocol_digest(found.protocol, dataset),
        "simulated",
        simulation_digest(dataset, SIMULATION_SEED),
        BUDGETS["quick"].model_copy(update={"steps": STEPS}),
    )


def small_jobs(
    store: Path,
    methods: Sequence[str],
    plugin: Path | None = None,
    classes: Sequence[str] = ("TES", "PCS"),
    seeds: Sequence[int] = (0,),
) -> list[Job]:
    """Return jobs on simulated data; ``AQABENCH_HOME`` must be a folder of the test's."""
    question = narrow_question()
    registry = discover([plugin] if plugin else [])
    plan = make_plan(question, registry, methods, {}, seeds, classes)
    load = Loader(question.dataset, question.protocol.modalities, None)
    return jobs_of(plan, load, registry, RunStore(store), threads=1)


def plugin_file(path: Path, name: str, fit: str, more: str = "", base: str = "Constant") -> Path:
    """Write a method that is a baseline after doing ``fit``; it may use HERE, its folder.

    Args:
        path: of the file.
        name: of the method.
        fit: lines of the body of ``fit(self, train, context)``; ``me`` is "CLASS SEED".
        more: text at the end of the file.
        base: class of the baseline.
    """
    body = "\n".join(f"        {line}" for line in fit.strip("\n").splitlines())
    path.write_text(
        "import ctypes, os, resource, signal, sys, threading, time\n"
        "from pathlib import Path\n"
        "import numpy as np\n"
        f"from aqabench.baselines.{base.lower()} import {base}\n"
        "from aqabench.method.base import Progress\n"
        "from aqabench.method.card import MethodCard\n"
        "HERE = Path(__file__).parent\n"
        "\n\n"
        f"class Own({base}):\n"
        f"    card = MethodCard(name='{name}', title='Own', kind='baseline', summary='s',\n"
        "                      missing='m', settings={'std': True})\n"
        "\n"
        "    def fit(self, train, context):\n"
        "        me = f'{self.task.class_name} {context.seed}'\n"
        f"{body}\n"
        "        super().fit(train, context)\n"
        f"{more}\n"
    )
    return path


def run_processes() -> list[psutil.Process]:
    """Return the processes at work on runs that this process has started."""
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if child.status() != psutil.STATUS_ZOMBIE and not _is_server(child):
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


def _is_server(process: psutil.Process) -> bool:
    """Is it one of the two that multiprocessing keeps, rather than a fork of it?"""
    words = " ".join(process.cmdline())
    if "resource_tracker" in words:
        return True
    return "forkserver" in words and process.ppid() == psutil.Process().pid


def wait_for(happens: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
