"""A store of 100,000 runs: listed, filtered and made into a board by way of the index, and without.

The slow side restates how a store without an index works: every record.json below the folder is
opened, read and parsed.  Both sides in one run, in processor time of the process and the system,
with the files in the system's cache, which favours the slow side.  Records have the size of real
ones; the twenty methods of the board have predictions as well.
"""

from __future__ import annotations

import gc
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
import pandas as pd
import pytest

from aqabench.board.select import by_condition
from aqabench.board.table import Leaderboard, build
from aqabench.protocol.library import Asked, load_protocol
from aqabench.protocol.scenarios import subset_names
from aqabench.runs import index as index_module
from aqabench.runs.index import INDEX, RunIndex, Summary
from aqabench.runs.record import Cost, RunRecord, identity_key
from aqabench.runs.store import RECORD, RunStore, prediction_frame

T = TypeVar("T")
pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]

RUNS = 100_000
METHODS, SEEDS, CLASSES = 20, 5, ("TES", "PCS")
PROTOCOLS = 10
"""Protocols that share the records; the board is of one of them."""


def record_of(asked: Asked, protocol: str, method: int, number: int) -> RunRecord:
    """One run; a protocol's first (classes x seeds) of a method are its newest version."""
    cell, version = number % (len(CLASSES) * SEEDS), number // (len(CLASSES) * SEEDS)
    identity = {
        "protocol": protocol,
        "protocol_digest": asked.digest,
        "data_kind": "simulated",
        "data_digest": "d" * 64,
        "budget": {"name": "quick", "steps": 60, "stride": 8, "evaluations": 3},
        "method": f"method-{method:02d}",
        "source_digest": f"{version:064x}",
        "settings": {"lr": 2e-4, "dropout": 0.3, "epochs": 400, "alpha": 1.0, "batch_size": 32},
        "class_name": CLASSES[cell % len(CLASSES)],
        "seed": cell // len(CLASSES),
    }
    return RunRecord(
        key=identity_key(identity),
        status="failed" if version and number % 50 == 0 else "finished",
        identity=identity,
        dataset="fisv",
        protocol_version=1,
        title=f"Method {method}",
        scenarios=tuple(subset_names(asked.protocol, asked.dataset)),
        selected_epochs={"val": 12, "last": 20, "oracle": 9},
        samples={"train": 340, "val": 60, "test": 100},
        masks={part: part[0] * 64 for part in ("train", "val", "test")},
        cost=Cost(
            parameters=8616776, fit_seconds=34.17, look_seconds=31.63,
            peak_memory_bytes=985460736, device="cpu", threads=1,
        ),
        environment={
            "aqabench": "0.1.0", "python": "3.11.7", "system": "Linux 6.18 x86_64", "cores": "2",
            "torch": "2.13.0", "numpy": "2.4.6", "scipy": "1.17.1", "pandas": "3.1.1",
            "commit": "686e32b5ec28c94a2210ffe5393e4f4555d17031",
        },
        started=f"{2025 + (not version)}-01-01T{method:02d}:{cell:02d}:00+00:00",
    )  # fmt: skip


def predictions_of(record: RunRecord) -> pd.DataFrame:
    """Predictions of the test part that correlate with the scores, better for later methods."""
    rng = np.random.default_rng(int(record.key, 16))
    scores = np.random.default_rng(0).uniform(10, 40, 100)
    noise = 12 - 0.4 * int(record.method[-2:])
    made = scores + noise * rng.normal(size=(len(record.scenarios), 100))
    ids = [str(i) for i in range(100)]
    rules = record.selected_epochs
    frames = [prediction_frame(r, "test", record.scenarios, ids, scores, made) for r in rules]
    return pd.concat(frames, ignore_index=True)


@pytest.fixture(scope="module")
def asked() -> Asked:
    return load_protocol("fisv-missing")


@pytest.fixture(scope="module")
def store(asked: Asked, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunStore]:
    """Write 100,000 records, and wait until their files are not of this very moment."""
    store = RunStore(tmp_path_factory.mktemp("store"))
    names = ["fisv-missing", *(f"protocol-{i}" for i in range(1, PROTOCOLS))]
    each = RUNS // PROTOCOLS // METHODS
    for name in names:
        for method in range(METHODS):
            for number in range(each):
                record = record_of(asked, name, method, number)
                folder = store.directory(name, record.method, record.key)
                folder.mkdir(parents=True)
                if name == names[0] and number < len(CLASSES) * SEEDS:
                    store.write(record, predictions_of(record), [])
                else:
                    (folder / RECORD).write_text(record.model_dump_json(indent=1) + "\n")
    time.sleep(index_module.SETTLED / 10**9 + 0.1)
    yield store
    shutil.rmtree(store.root)


@pytest.fixture
def indexed(store: RunStore) -> RunStore:
    if not (store.root / INDEX).is_file():
        RunIndex(store.root).rebuild()
    return store


def timed(action: Callable[[], T], repeats: int = 3) -> tuple[float, T]:
    """Median processor time of an action, and what it returned last."""
    times = []
    for _ in range(repeats):
        gc.collect()
        start = time.process_time()
        result = action()
        times.append(time.process_time() - start)
    return statistics.median(times), result


def plain_records(store: RunStore, protocol: str = "*") -> Iterator[RunRecord]:
    """Read every record file."""
    for path in sorted(store.root.glob(f"{protocol}/*/*/{RECORD}")):
        yield RunRecord.model_validate_json(path.read_bytes())


def wanted(one: Summary | RunRecord) -> bool:
    """The filter of the bench: what failed, of one method, seed and class."""
    return (one.status, one.method, one.seed, one.class_name) == ("failed", "method-07", 0, "TES")


def say(what: str, slow: float, fast: float, record: Callable[[str, object], None]) -> float:
    record(f"{what}, plain seconds", round(slow, 2))
    record(f"{what}, index seconds", round(fast, 2))
    record(f"{what}, ratio", round(slow / fast, 1))
    print(f"\n{what}: {slow:.2f} s without, {fast:.2f} s with the index, {slow / fast:.1f}x")
    return slow / fast


def test_the_index_is_made_in_seconds(
    store: RunStore, record_property: Callable[[str, object], None]
) -> None:
    took, count = timed(lambda: RunIndex(store.root).rebuild(), 1)
    size = (store.root / INDEX).stat().st_size / 2**20
    record_property("seconds", round(took, 1))
    record_property("MiB", round(size))
    print(f"\naqabench index: {count:,} runs in {took:.1f} s, {size:.0f} MiB")
    assert count == RUNS
    assert took < 60


def test_list_and_filter(indexed: RunStore, record_property: Callable[[str, object], None]) -> None:
    """What ``aqabench runs list`` does, and the whole records of what a filter chooses."""
    slow, expected = timed(lambda: [r for r in plain_records(indexed) if wanted(r)])
    fast, listed = timed(lambda: [s for s in indexed.summaries().summaries if wanted(s)])
    whole, records = timed(lambda: list(indexed.records(where=wanted)))
    assert expected
    assert [s.key for s in listed] == [r.key for r in expected]
    assert records == expected
    assert say("list and filter", slow, fast, record_property) > 1.5
    assert say("records chosen by a filter", slow, whole, record_property) > 1.5
    assert fast < 10


def test_every_record(indexed: RunStore, record_property: Callable[[str, object], None]) -> None:
    """All whole records, as an unfiltered board reads them: parsing is most of it on both sides."""
    slow, expected = timed(lambda: sum(1 for _ in plain_records(indexed)))
    fast, found = timed(lambda: sum(1 for _ in indexed.records()))
    assert expected == found == RUNS
    assert say("every record", slow, fast, record_property) > 0.9


def test_a_board_of_one_protocol(
    indexed: RunStore, asked: Asked, record_property: Callable[[str, object], None]
) -> None:
    """20 methods, 2 classes, 5 seeds, among 10,000 runs of the protocol and 90,000 of others."""

    def board() -> Leaderboard:
        ((condition, runs),) = by_condition(indexed.records("fisv-missing")).items()
        return build(asked, condition, runs, indexed)

    slow, expected = timed(lambda: list(plain_records(indexed, "fisv-missing")))
    fast, found = timed(lambda: list(indexed.records("fisv-missing")))
    assert found == expected
    say("the records of one protocol", slow, fast, record_property)
    made, shown = timed(board, 1)
    assert [len(row.seeds) for row in shown.rows] == [SEEDS] * METHODS
    record_property("board, seconds", round(made, 1))
    print(
        f"\nboard of {METHODS} methods x {len(CLASSES)} classes x {SEEDS} seeds among {RUNS:,} "
        f"runs: {made:.1f} s, of which finding and reading the records {fast:.2f} s"
    )
    assert made < 60


def test_summaries(indexed: RunStore, benchmark: Callable[..., object]) -> None:
    found = benchmark.pedantic(indexed.summaries, rounds=3)  # type: ignore[attr-defined]
    assert len(found.summaries) == RUNS
