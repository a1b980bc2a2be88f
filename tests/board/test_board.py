"""Boards: every number recomputed from predictions, undefined ones kept undefined."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy.stats import spearmanr

from aqabench.board.pairs import compare_all
from aqabench.board.render.markdown import board_markdown
from aqabench.board.render.pairs import print_pairs
from aqabench.board.render.terminal import print_board
from aqabench.board.select import by_condition
from aqabench.board.table import Leaderboard, build
from aqabench.protocol.library import Asked, load_protocol
from aqabench.protocol.scenarios import scenarios
from aqabench.runs.record import Cost, RunRecord
from aqabench.runs.store import RunStore, prediction_frame

N = 60


def put(
    store: RunStore,
    asked: Asked,
    method: str,
    noise: float,
    *,
    seed: int = 0,
    source: str = "s",
    started: str = "2026-01-01",
    skip: str = "",
    rng_seed: int = 0,
) -> None:
    """Store runs of a method whose errors have a known size."""
    import pandas as pd

    for class_name in asked.protocol.classes:
        if class_name == skip:
            continue
        rng = np.random.default_rng([rng_seed, seed, len(method), ord(class_name[0])])
        truth = np.random.default_rng(ord(class_name[0])).uniform(5, 40, N)
        names = list(scenarios(asked.protocol, asked.dataset))
        predictions = truth + noise * rng.normal(size=(len(names), N))
        if math.isinf(noise):
            predictions = np.full((len(names), N), 20.0)
        ids = [str(i) for i in range(N)]
        frames = [
            prediction_frame(rule, "test", names, ids, truth, predictions + shift)
            for rule, shift in (("val", 0), ("last", 1), ("oracle", 0))
        ]
        record = RunRecord(
            key=f"{method}{class_name}{seed}{source}".ljust(16, "0"),
            status="finished",
            identity={
                "protocol": asked.protocol.name,
                "protocol_digest": asked.digest,
                "data_kind": "simulated",
                "data_digest": "e",
                "budget": {"name": "quick"},
                "method": method,
                "source_digest": source,
                "class_name": class_name,
                "seed": seed,
            },
            dataset=asked.protocol.dataset,
            protocol_version=1,
            title=method,
            scenarios=tuple(names),
            cost=Cost(
                parameters=1234,
                fit_seconds=2.0,
                look_seconds=1.0,
                peak_memory_bytes=1,
                device="cpu",
                threads=1,
            ),
            started=started,
        )
        store.write(record, pd.concat(frames), [])


@pytest.fixture(scope="module")
def asked() -> Asked:
    return load_protocol("fisv-missing")


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path)


def board_of(store: RunStore, asked: Asked) -> Leaderboard:
    (condition, groups), *_ = by_condition(store.records()).items()
    return build(asked, condition, groups, store)


def test_numbers_are_those_of_scipy(store: RunStore, asked: Asked) -> None:
    put(store, asked, "good", 5.0)
    board = board_of(store, asked)
    row = board.rows[0]
    frame = store.predictions(next(store.records()))
    part = frame[(frame["rule"] == "val") & (frame["scenario"] == "va")]
    rho = spearmanr(part["score"], part["prediction"]).statistic
    assert row.classes["PCS"].srcc["va"] == pytest.approx(rho, abs=1e-12)
    assert row.classes["PCS"].mse["va"] == pytest.approx(
        ((part["score"] - part["prediction"]) ** 2).mean()
    )
    z = [math.atanh(row.classes[c].srcc[s]) for c in ("TES", "PCS") for s in board.averaged]
    assert row.overall is not None
    assert row.overall.average.estimate == pytest.approx(math.tanh(np.mean(z)))
    assert row.overall.average.low < row.overall.average.estimate < row.overall.average.high
    assert row.gap == 0.0
    assert board.averaged == ("v", "a", "f", "va", "vf", "af")


def test_better_methods_come_first_and_undefined_ones_last(store: RunStore, asked: Asked) -> None:
    put(store, asked, "weak", 25.0)
    put(store, asked, "constant", math.inf)
    put(store, asked, "strong", 3.0)
    board = board_of(store, asked)
    assert [row.name for row in board.rows] == ["strong", "weak", "constant"]
    last = board.rows[-1]
    assert last.overall is not None
    assert math.isnan(last.overall.average.estimate)
    assert math.isfinite(last.overall.average_mse)


def test_a_clear_difference_is_found_and_no_difference_is_not(
    store: RunStore, asked: Asked
) -> None:
    put(store, asked, "strong", 3.0)
    put(store, asked, "weak", 25.0)
    put(store, asked, "twin", 25.0, rng_seed=1)
    pairs = {(p.better, p.worse): p for p in compare_all(board_of(store, asked))}
    assert len(pairs) == 3
    for (better, _), pair in pairs.items():
        assert pair.adjusted >= pair.result.p_value
        if better == "strong":
            assert pair.adjusted < 0.001
            assert pair.sentence.startswith("strong ranks better than")
        else:
            assert pair.adjusted > 0.05
            assert "cannot be told apart" in pair.sentence


def test_a_missing_class_makes_no_average(store: RunStore, asked: Asked) -> None:
    put(store, asked, "whole", 5.0)
    put(store, asked, "half", 1.0, skip="PCS")
    board = board_of(store, asked)
    half = next(row for row in board.rows if row.name == "half")
    assert half.overall is None
    assert board.rows[-1].name == "half"
    assert any("no finished run for PCS" in note for note in half.notes)
    assert "half" not in board.cells


def test_seeds_are_averaged_and_only_full_grids_count(store: RunStore, asked: Asked) -> None:
    for seed in (0, 1, 2):
        put(store, asked, "m", 8.0, seed=seed, skip="PCS" if seed == 2 else "")
    (row,) = board_of(store, asked).rows
    assert row.seeds == (0, 1)
    assert row.costs["train-time"] == 4.0
    assert row.overall is not None
    assert row.overall.average.n_seeds == 2


def test_an_older_source_is_left_out_and_said_so(store: RunStore, asked: Asked) -> None:
    put(store, asked, "m", 30.0, source="old")
    put(store, asked, "m", 3.0, source="new", started="2026-02-01")
    (row,) = board_of(store, asked).rows
    assert row.overall is not None
    assert row.overall.average.estimate > 0.9
    assert row.notes == ("2 runs of an older version of its source are left out",)


@pytest.mark.parametrize("width", [80, 140])
def test_the_terminal_board_fits_its_width(store: RunStore, asked: Asked, width: int) -> None:
    put(store, asked, "a-method", 5.0)
    put(store, asked, "another-method", 9.0)
    board = board_of(store, asked)
    out = io.StringIO()
    console = Console(file=out, width=width)
    print_board(board, console)
    print_pairs(board, compare_all(board), console)
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in out.getvalue()
    assert "SIMULATED data" in out.getvalue()
    assert "say nothing about real performances" in " ".join(out.getvalue().split())


def test_markdown_has_every_rule_and_is_reproducible(store: RunStore, asked: Asked) -> None:
    put(store, asked, "m", 5.0)
    text = board_markdown(board_of(store, asked))
    assert text == board_markdown(board_of(store, asked))
    assert "| method | Avg6 | 95 % interval | val | last | oracle | gap |" in text
    assert text.count("| m | TES |") == 3, "Spearman, MSE, other measures"
