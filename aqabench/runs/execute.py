"""Executing a plan: what is stored is skipped, what fails becomes a row, the rest goes on.

The only file of this room that needs torch.  It shows nothing itself: it tells a listener what
happens, and the command line draws it.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from aqabench.data.features import FeatureSet
from aqabench.errors import AqabenchError, StoreError
from aqabench.method.base import FitContext, Method, Progress, Task
from aqabench.method.registry import Registry
from aqabench.protocol.scenarios import (
    all_subsets,
    compared_scenarios,
)
from aqabench.protocol.schema import SelectionRule
from aqabench.runs.claim import claim
from aqabench.runs.cost import EnergyMeter, Stopwatch, peak_memory_bytes
from aqabench.runs.env import environment, now
from aqabench.runs.listener import Listener
from aqabench.runs.masks import keep_masks
from aqabench.runs.parts import hidden_shares, make_parts, mask_digest, training_share
from aqabench.runs.plan import RunSpec
from aqabench.runs.record import Cost, RunRecord
from aqabench.runs.resume import Outcome, finished
from aqabench.runs.states import KeptStates, pack, require_states
from aqabench.runs.store import CHECKPOINT, RunStore, prediction_frame
from aqabench.runs.tracking import Tracking
from aqabench.train.checkpoint import Checkpoint
from aqabench.train.device import Compute, computing, place
from aqabench.train.evaluate import Looks, Part, Selected
from aqabench.train.inference import inference_cost


def execute(
    plan: Sequence[RunSpec],
    data: FeatureSet | None,
    registry: Registry,
    store: RunStore,
    listener: Listener,
) -> Outcome:
    """Do the runs of a plan that are not done yet, one after the other in this process.

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
        record = finished(spec, store)
        was_stored = record is not None
        if record is None:
            assert data is not None
            listener.run_started(spec, number, len(plan))
            record, was_stored = do_run(spec, data, registry, store, listener)
        records.append(record)
        listener.run_ended(spec, record, was_stored)
    return Outcome(tuple(records))


def do_run(
    spec: RunSpec,
    data: FeatureSet,
    registry: Registry,
    store: RunStore,
    listener: Listener,
    track: Sequence[str] = (),
    weights: bool = False,
) -> tuple[RunRecord, bool]:
    """Train and score one run and store it, unless another process has just done so.

    Args:
        spec: the run.
        data: the features.
        registry: where the methods come from.
        store: where the record goes.
        listener: told of every step.
        track: experiment trackers that watch it.
        weights: is what it learns kept beside its record?  Changes no number.

    Returns:
        Its record, and whether it was stored by somebody else meanwhile.

    Raises:
        StoreError: results cannot be kept.
    """
    protocol = spec.question.protocol
    folder = store.directory(protocol.name, spec.method, spec.key)
    with claim(folder, lambda: listener.run_waits(spec)):
        stored = finished(spec, store)
        if stored is not None:
            return stored, True
        store.discard_torn(protocol.name, spec.method, spec.key)
        return _run(spec, data, registry, store, listener, track, weights), False


def _run(
    spec: RunSpec,
    data: FeatureSet,
    registry: Registry,
    store: RunStore,
    listener: Listener,
    track: Sequence[str],
    weights: bool,
) -> RunRecord:
    protocol = spec.question.protocol
    card = registry.get(spec.method).card
    assert card is not None
    parts = make_parts(spec, data)
    digests = {name: digest for name, part in parts.items() if (digest := mask_digest(part))}
    if spec.trial is None:
        for name, digest in digests.items():
            keep_masks(store.root / protocol.name, parts[name], digest)
    folder = store.directory(protocol.name, spec.method, spec.key)
    started = now()
    common: dict[str, Any] = {
        "key": spec.key,
        "identity": spec.identity,
        "dataset": protocol.dataset,
        "protocol_version": protocol.version,
        "title": card.title,
        "opt_outs": dict(card.opt_outs),
        "overrides": dict(spec.overrides),
        "tuned": spec.tuned,
        "scenarios": parts["test" if "test" in parts else "val"].scenarios,
        "samples": {name: len(part.split) for name, part in parts.items()},
        "masks": digests,
        "hidden": hidden_shares(spec, parts["test"]) if "test" in parts else {},
        "training": training_share(spec, parts["train"].split),
        "environment": environment(),
        "started": started,
    }
    try:
        with (
            computing(spec.numerics) as compute,
            Tracking(track, spec, store.root) as tracking,
        ):
            common["environment"] |= compute.facts()
            looks, states, cost, balance = _fit(
                spec, parts, registry, store, listener, compute, tracking, weights
            )
            tracking.cost(cost)
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
    frame = predictions_of(looks.selected, parts)
    store.write(record, frame, looks.curve, pack(states.states) if states else None)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return record


def _fit(
    spec: RunSpec,
    parts: Mapping[str, Part],
    registry: Registry,
    store: RunStore,
    listener: Listener,
    compute: Compute,
    tracking: Tracking,
    weights: bool,
) -> tuple[Looks, KeptStates | None, Cost, float | None]:
    budget = spec.question.budget
    parts = place(parts, compute.device)
    method, looks = method_of(spec, parts, registry)
    states = KeptStates(method, looks) if weights else None
    looking = Stopwatch()

    def look(epoch: int) -> None:
        seen = len(looks.curve)
        with looking.running():
            looks(epoch)
        if states:
            states.looked()
        tracking.looked(epoch, looks.curve[seen:])
        listener.run_looked(spec, epoch, looks.compared_by)

    fitting = Stopwatch()

    def report(progress: Progress) -> None:
        tracking.report(progress)
        listener.run_progress(spec, progress)

    def beside() -> float:
        return tracking.seconds + (states.watch.total if states else 0.0)

    def outside() -> dict[str, Any]:
        seconds = {"fitting": fitting.total - beside(), "looking": looking.total}
        kept = {"weights": dict(states.states)} if states else {}
        return {"looks": looks.state(), **seconds, **kept}

    def restore(state: dict[str, Any]) -> None:
        if states:
            states.restore(require_states(state))
        looks.restore(state["looks"])
        fitting.seconds, looking.seconds = state["fitting"], state["looking"]

    folder = store.directory(spec.question.protocol.name, spec.method, spec.key)
    context = FitContext(
        seed=spec.seed,
        steps=budget.steps,
        evaluations=budget.evaluations,
        report=report,
        look=look,
        compute=compute,
        checkpoint=Checkpoint(folder / CHECKPOINT, outside, restore),
    )
    energy = EnergyMeter()
    with fitting.running():
        method.fit(parts["train"].split, context)
    # the counters know nothing of a graphics card
    joules = energy.joules() if compute.device.type == "cpu" else None
    flops, milliseconds = {}, {}
    if "test" in parts:
        each = inference_cost(
            method,
            looks.batches("test")[0],
            all_subsets(spec.question.protocol, spec.question.dataset),
        )
        flops, milliseconds = dict(each.flops), dict(each.milliseconds)
    cost = Cost(
        parameters=method.parameters(),
        fit_seconds=fitting.total - looking.total - beside(),
        look_seconds=looking.total,
        peak_memory_bytes=peak_memory_bytes(),
        device=str(compute.device),
        gpu_memory_bytes=compute.peak_bytes(),
        threads=torch.get_num_threads(),
        flops=flops,
        milliseconds=milliseconds,
        energy_joules=joules,
    )
    return looks, states, cost, context.learning_index


def method_of(spec: RunSpec, parts: Mapping[str, Part], registry: Registry) -> tuple[Method, Looks]:
    """Return the untrained method of a run, and what will look at it.

    Args:
        spec: the run.
        parts: its parts, from :func:`aqabench.runs.parts.make_parts`.
        registry: where the method comes from.
    """
    dataset = spec.question.dataset
    task = Task(
        dataset=dataset.name,
        class_name=spec.class_name,
        modalities=parts["train"].split.widths,
        symbols={m.name: m.symbol for m in dataset.modalities},
        clip_length=dataset.clip_length,
        stride=spec.question.budget.stride,
    )
    method = registry.load(spec.method)(task, spec.settings)
    looks = Looks(
        method,
        {name: part for name, part in parts.items() if name != "train"},
        compared_scenarios(spec.question.protocol, dataset),
    )
    return method, looks


def predictions_of(
    selected: Mapping[SelectionRule, Selected], parts: Mapping[str, Part]
) -> pd.DataFrame:
    """Return what each rule kept, in the store's columns."""
    frames = []
    for rule, kept in selected.items():
        for name, predictions in kept.predictions.items():
            part = parts[name]
            scores = np.asarray(part.split.points)
            frames.append(
                prediction_frame(rule, name, part.scenarios, part.split.ids, scores, predictions)
            )
    frame = pd.concat(frames, ignore_index=True)
    # a validation sample of which a scenario shows nothing is not scored
    return frame[frame["prediction"].notna()].reset_index(drop=True)
