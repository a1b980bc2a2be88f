"""Executing a plan: what is stored is skipped, what fails becomes a row, the rest goes on.

The only file of this room that needs torch.  It shows nothing itself: it tells a listener what
happens, and the command line draws it.
"""

from __future__ import annotations

import datetime
import os
import time
import traceback
from collections.abc import Mapping, Sequence
from typing import Any
from typing import Protocol as Interface

import numpy as np
import pandas as pd
import torch

from aqabench.data.features import FeatureSet
from aqabench.errors import AqabenchError, StoreError
from aqabench.method.base import FitContext, Progress, Task
from aqabench.method.registry import Registry
from aqabench.protocol.scenarios import (
    compared_scenarios,
)
from aqabench.runs.cost import Stopwatch, peak_memory_bytes
from aqabench.runs.env import environment
from aqabench.runs.masks import keep_masks
from aqabench.runs.parts import hidden_shares, make_parts, mask_digest, training_share
from aqabench.runs.plan import RunSpec
from aqabench.runs.record import Cost, RunRecord
from aqabench.runs.resume import Outcome, finished
from aqabench.runs.store import RunStore, prediction_frame
from aqabench.train.evaluate import Looks, Part


class Listener(Interface):
    """Who wants to know what happens."""

    def run_started(self, spec: RunSpec, number: int, total: int) -> None:
        """A run begins; ``number`` counts from 1."""

    def run_progress(self, spec: RunSpec, progress: Progress) -> None:
        """A run has done a step."""

    def run_ended(self, spec: RunSpec, record: RunRecord, was_stored: bool) -> None:
        """A run is in the store, because it was done now or before."""


def use_threads(threads: int | None) -> int:
    """Set torch's threads on purpose: as asked, or all cores this process may use."""
    count = threads or len(os.sched_getaffinity(0))
    torch.set_num_threads(count)
    return count


def execute(
    plan: Sequence[RunSpec],
    data: FeatureSet | None,
    registry: Registry,
    store: RunStore,
    listener: Listener,
) -> Outcome:
    """Do the runs of a plan that are not done yet.

    Args:
        plan: from :func:`aqabench.runs.plan.make_plan`.
        data: the features; None is fine when every run is stored.
        registry: where the methods come from.
        store: where records go.
        listener: told of every start, step and end.

    Raises:
        StoreError: results cannot be kept, so going on would lose work.
    """
    records: list[RunRecord] = []
    for number, spec in enumerate(plan, 1):
        stored = finished(spec, store)
        if stored is not None:
            records.append(stored)
            listener.run_ended(spec, stored, True)
            continue
        assert data is not None
        store.discard_torn(spec.question.protocol.name, spec.method, spec.key)
        listener.run_started(spec, number, len(plan))
        record = _run(spec, data, registry, store, listener)
        records.append(record)
        listener.run_ended(spec, record, False)
    return Outcome(tuple(records))


def _run(
    spec: RunSpec, data: FeatureSet, registry: Registry, store: RunStore, listener: Listener
) -> RunRecord:
    protocol = spec.question.protocol
    card = registry.get(spec.method).card
    assert card is not None
    parts = make_parts(spec, data)
    digests = {name: digest for name, part in parts.items() if (digest := mask_digest(part))}
    for name, digest in digests.items():
        keep_masks(store.root / protocol.name, parts[name], digest)
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    common: dict[str, Any] = {
        "key": spec.key,
        "identity": spec.identity,
        "dataset": protocol.dataset,
        "protocol_version": protocol.version,
        "title": card.title,
        "opt_outs": dict(card.opt_outs),
        "overrides": dict(spec.overrides),
        "scenarios": parts["test"].scenarios,
        "samples": {name: len(part.split) for name, part in parts.items()},
        "masks": digests,
        "hidden": hidden_shares(spec, parts["test"]),
        "training": training_share(spec, parts["train"].split),
        "environment": environment(),
        "started": started,
    }
    try:
        looks, cost, balance = _fit(spec, parts, registry, listener)
    except StoreError:
        raise
    except Exception as error:
        # a bug in one method must not cost the others; the record keeps what happened
        short = (
            str(error) if isinstance(error, AqabenchError) else f"{type(error).__name__}: {error}"
        )
        record = RunRecord(status="failed", error=short, traceback=traceback.format_exc(), **common)
        store.write(record, None, [])
        return record
    record = RunRecord(
        status="finished",
        selected_epochs={rule: kept.epoch for rule, kept in looks.selected.items()},
        learning_index=balance,
        cost=cost,
        **common,
    )
    store.write(record, _predictions(looks, parts), looks.curve)
    return record


def _fit(
    spec: RunSpec, parts: Mapping[str, Part], registry: Registry, listener: Listener
) -> tuple[Looks, Cost, float | None]:
    dataset, budget = spec.question.dataset, spec.question.budget
    train = parts["train"].split
    task = Task(
        dataset=dataset.name,
        class_name=spec.class_name,
        modalities=train.widths,
        symbols={m.name: m.symbol for m in dataset.modalities},
        clip_length=dataset.clip_length,
        stride=budget.stride,
    )
    method = registry.load(spec.method)(task, spec.settings)
    looks = Looks(
        method,
        {name: part for name, part in parts.items() if name != "train"},
        compared_scenarios(spec.question.protocol, dataset),
    )
    looking = Stopwatch()

    def look(epoch: int) -> None:
        with looking.running():
            looks(epoch)

    context = FitContext(
        seed=spec.seed,
        steps=budget.steps,
        evaluations=budget.evaluations,
        report=lambda progress: listener.run_progress(spec, progress),
        look=look,
    )
    start = time.perf_counter()
    method.fit(train, context)
    total = time.perf_counter() - start
    cost = Cost(
        parameters=method.parameters(),
        fit_seconds=total - looking.seconds,
        look_seconds=looking.seconds,
        peak_memory_bytes=peak_memory_bytes(),
        device=str(context.device),
        threads=torch.get_num_threads(),
    )
    return looks, cost, context.learning_index


def _predictions(looks: Looks, parts: Mapping[str, Part]) -> pd.DataFrame:
    frames = []
    for rule, kept in looks.selected.items():
        for name, predictions in kept.predictions.items():
            part = parts[name]
            scores = np.asarray(part.split.points)
            frames.append(
                prediction_frame(rule, name, part.scenarios, part.split.ids, scores, predictions)
            )
    frame = pd.concat(frames, ignore_index=True)
    # a validation sample of which a scenario shows nothing is not scored
    return frame[frame["prediction"].notna()].reset_index(drop=True)
