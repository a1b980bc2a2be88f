"""A small store of made-up runs whose differences are known: for boards in every format."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from aqabench.board.folder import RECORDS, StoredRuns
from aqabench.board.report import Report, make_report
from aqabench.board.select import by_condition
from aqabench.protocol.library import Asked, load_protocol
from aqabench.protocol.scenarios import scenarios
from aqabench.runs.places import RECORD
from aqabench.runs.record import Cost, RunRecord
from aqabench.runs.store import METRICS, PREDICTIONS, RunStore, prediction_frame

N = 40
HOSTILE = "<img src=x onerror=alert(1)>\"'&$x^_{%#"
"""A method's name that would like to be HTML, LaTeX and a formula."""


def put(
    store: RunStore,
    asked: Asked,
    method: str,
    noise: float,
    *,
    seeds: Sequence[int] = (0, 1),
    data: str = "simulated",
    started: str = "2026-01-01",
    curves: bool = True,
) -> None:
    """Store runs of a method whose errors have a known size; an infinite one is a constant."""
    names = list(scenarios(asked.protocol, asked.dataset))
    ids = [f"v{i:02}" for i in range(N)]
    for number, class_name in enumerate(asked.protocol.classes):
        truth = np.random.default_rng(number).uniform(5, 40, N)
        shared = np.random.default_rng(number + 7).normal(size=(len(names), N))
        for seed in seeds:
            rng = np.random.default_rng([number, seed, *method.encode()])
            errors = 0.5 * shared + rng.normal(size=(len(names), N))
            made = truth + noise * errors if math.isfinite(noise) else np.full((len(names), N), 9.0)
            closer = truth + 0.9 * (made - truth) if math.isfinite(noise) else made
            frames = [
                prediction_frame(rule, "test", names, ids, truth, own)
                for rule, own in (("val", made), ("last", made), ("oracle", closer))
            ]
            record = RunRecord(
                key=f"{abs(hash_of(method, class_name, seed)):016x}",
                status="finished",
                identity={
                    "protocol": asked.protocol.name,
                    "protocol_digest": asked.digest,
                    "data_kind": data,
                    "data_digest": "e" * 64,
                    "budget": {"name": "quick"},
                    "method": method,
                    "source_digest": "s",
                    "class_name": class_name,
                    "seed": seed,
                },
                dataset=asked.protocol.dataset,
                protocol_version=1,
                title=method,
                scenarios=tuple(names),
                selected_epochs={"val": 6, "last": 8, "oracle": 4},
                cost=Cost(
                    parameters=1000 + 137 * len(method),
                    fit_seconds=2.0 + len(method),
                    look_seconds=1.0,
                    peak_memory_bytes=1,
                    device="cpu",
                    threads=1,
                ),
                started=started,
            )
            looks = [
                {"epoch": e, "part": part, "criterion": round(0.1 * e - 0.005 * e * e, 6)}
                for e in range(1, 9 if curves else 1)
                for part in ("val", "test")
            ]
            store.write(record, pd.concat(frames), looks)


def hash_of(method: str, class_name: str, seed: int) -> int:
    """Return a number that differs between runs and not between processes."""
    rng = np.random.default_rng([seed, *class_name.encode(), *method.encode()])
    return int(rng.integers(2**60))


def made_store(root: Path, protocol: str = "fisv-missing", data: str = "simulated") -> RunStore:
    """Return a store with one strong method, two that are alike, a weak one and a constant."""
    store, asked = RunStore(root), load_protocol(protocol)
    for method, noise in (
        ("strong", 4.0), ("alike-one", 14.0), ("alike-two", 14.1), ("mcmoe", 30.0),
        ("constant", math.inf),
    ):  # fmt: skip
        put(store, asked, method, noise, data=data, curves=method != "constant")
    return store


def report_of(store: RunStore) -> Report:
    """Return the report of a store that has one board."""
    source = StoredRuns(store)
    ((condition, groups),) = by_condition(source.records()).items()
    return make_report(load_protocol(condition.protocol), condition, groups, source)


def ship(store: RunStore, folder: Path) -> None:
    """Lay the finished runs of a store into a folder as ``leaderboards/`` has them."""
    records = folder / RECORDS
    records.mkdir(parents=True)
    for record in store.records():
        home = store.directory(record.identity["protocol"], record.method, record.key)
        stem = f"{record.method}-{record.class_name}-{record.seed}"
        for name, ending in ((RECORD, ".json"), (PREDICTIONS, f".{PREDICTIONS}"),
                             (METRICS, ".curve.jsonl")):  # fmt: skip
            shutil.copy(home / name, records / f"{stem}{ending}")
