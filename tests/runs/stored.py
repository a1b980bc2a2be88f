"""Runs as a sweep would have stored them, made in no time."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aqabench.runs.record import RunRecord, identity_key
from aqabench.runs.store import RECORD, RunStore, prediction_frame

SCENARIOS = ("v", "a", "va")
IDS = tuple(f"s{i}" for i in range(12))


def make_record(
    *,
    protocol: str = "fisv-missing",
    method: str = "ridge",
    class_name: str = "TES",
    seed: int = 0,
    fold: int | None = None,
    source: str = "1" * 64,
    budget: str = "quick",
    data_kind: str = "simulated",
    settings: dict[str, Any] | None = None,
    overrides: dict[str, Any] | None = None,
    numerics: dict[str, str] | None = None,
    **changes: Any,
) -> RunRecord:
    """Return a record whose key is right."""
    identity: dict[str, Any] = {
        "protocol": protocol,
        "protocol_digest": "a" * 64,
        "data_kind": data_kind,
        "data_digest": "b" * 64,
        "budget": {"name": budget, "steps": 60, "stride": 8, "evaluations": 3},
        "method": method,
        "source_digest": source,
        "settings": settings or {"std": True, "lr": 2e-4},
        "class_name": class_name,
        "seed": seed,
        **({} if fold is None else {"fold": fold}),
        **({"numerics": numerics} if numerics else {}),
    }
    return RunRecord(
        **{
            "key": identity_key(identity),
            "status": "finished",
            "identity": identity,
            "dataset": "fisv",
            "protocol_version": 1,
            "title": "Ridge on pooled features",
            "overrides": overrides or {},
            "scenarios": SCENARIOS,
            "selected_epochs": {"val": 2, "last": 3},
            "samples": {"train": 20, "val": 4, "test": len(IDS)},
            "environment": {"python": "3.11.7", "torch": "2.13.0", "system": "Linux", "cores": "2"},
            "started": "2026-11-22T08:40:32+00:00",
            **changes,
        }
    )


def make_predictions(record: RunRecord, shift: float = 0.0) -> pd.DataFrame:
    """Return predictions of every rule on the test part; the same for the same key."""
    rng = np.random.default_rng(int(record.key, 16))
    scores = np.linspace(10, 40, len(IDS))
    made = scores + rng.normal(size=(len(SCENARIOS), len(IDS))) + shift
    frames = [
        prediction_frame(rule, "test", SCENARIOS, IDS, scores, made) for rule in ("val", "last")
    ]
    return pd.concat(frames, ignore_index=True)


def put(store: RunStore, record: RunRecord, shift: float = 0.0) -> Path:
    """Store a run and return its folder."""
    frame = make_predictions(record, shift) if record.status == "finished" else None
    return store.write(record, frame, [{"epoch": 1, "part": "val", "criterion": 0.5}])


def put_many(root: Path, count: int, *, protocol: str = "fisv-missing", method: str = "m") -> None:
    """Write so many records and nothing else, quickly."""
    for seed in range(count):
        record = make_record(protocol=protocol, method=method, seed=seed)
        folder = root / protocol / method / record.key
        folder.mkdir(parents=True)
        (folder / RECORD).write_text(record.model_dump_json(indent=1) + "\n")


def age(path: Path, seconds: float) -> None:
    """Make a file look as if it had been written so long ago."""
    then = time.time() - seconds
    os.utime(path, (then, then), follow_symlinks=False)
