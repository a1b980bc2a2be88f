"""Boards over folds, and boards with more subsets than a terminal has columns."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pandas as pd
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
from aqabench.protocol.scenarios import subset_names
from aqabench.runs.record import Cost, RunRecord
from aqabench.runs.store import RunStore, prediction_frame

FOLDS, N = 5, 30


@pytest.fixture(scope="module")
def asked() -> Asked:
    return load_protocol("percepiano-missing")


def put(
    store: RunStore, asked: Asked, method: str, noise: float, folds: range = range(FOLDS)
) -> dict[tuple[str, int, str], tuple[np.ndarray, np.ndarray]]:
    """Store a run per class and fold; each fold has a level of its own that no method sees."""
    made = {}
    for number, class_name in enumerate(asked.protocol.classes):
        for fold in folds:
            truth = np.random.default_rng([number, fold]).uniform(0, 0.2, N) + 0.2 * fold
            rng = np.random.default_rng([number, fold, len(method)])
            names = list(subset_names(asked.protocol, asked.dataset))
            predictions = truth - 0.4 * fold + noise * rng.normal(size=(len(names), N))
            ids = [f"{fold}-{i}" for i in range(N)]
            frame = pd.concat(
                prediction_frame(r, "test", names, ids, truth, predictions)
                for r in ("val", "last", "oracle")
            )
            record = RunRecord(
                key=f"{method}{number}{fold}".ljust(16, "0"),
                status="finished",
                identity={
                    "protocol": asked.protocol.name,
                    "protocol_digest": asked.digest,
                    "data_kind": "real",
                    "data_digest": "e",
                    "budget": {"name": "quick"},
                    "method": method,
                    "source_digest": "s",
                    "class_name": class_name,
                    "seed": 0,
                    "fold": fold,
                },
                dataset="percepiano",
                protocol_version=1,
                title=method,
                scenarios=tuple(names),
                cost=Cost(
                    parameters=1, fit_seconds=1.0, look_seconds=1.0, peak_memory_bytes=1,
                    device="cpu", threads=1,
                ),
                started="2026-01-01",
            )  # fmt: skip
            store.write(record, frame, [])
            for row, name in enumerate(names):
                made[class_name, fold, name] = (truth, predictions[row])
    return made


def board_of(store: RunStore, asked: Asked) -> Leaderboard:
    (condition, groups), *_ = by_condition(store.records()).items()
    return build(asked, condition, groups, store)


def test_a_class_is_the_mean_of_its_folds_and_not_of_the_pooled_samples(
    tmp_path: Path, asked: Asked
) -> None:
    store = RunStore(tmp_path)
    made = put(store, asked, "m", 0.05)
    (row,) = board_of(store, asked).rows
    for class_name in asked.protocol.classes:
        z = [math.atanh(spearmanr(*made[class_name, k, "dt"]).statistic) for k in range(FOLDS)]
        assert row.classes[class_name].srcc["dt"] == pytest.approx(math.tanh(np.mean(z)), abs=1e-9)
        errors = [np.mean((t - p) ** 2) for t, p in (made[class_name, k, "dt"] for k in range(5))]
        assert row.classes[class_name].mse["dt"] == pytest.approx(np.mean(errors))
    assert row.overall is not None
    assert row.overall.average.n == FOLDS * N
    assert 0 < row.overall.average.high - row.overall.average.low < 0.3


def test_a_seed_counts_only_with_all_its_folds(tmp_path: Path, asked: Asked) -> None:
    store = RunStore(tmp_path)
    put(store, asked, "m", 0.05, range(4))
    (row,) = board_of(store, asked).rows
    assert row.overall is None
    assert row.seeds == ()
    assert any("no finished run" in note for note in row.notes)
    put(store, asked, "m", 0.05, range(4, 5))
    (row,) = board_of(store, asked).rows
    assert row.seeds == (0,)


@pytest.mark.parametrize("width", [80, 100, 200])
def test_fifteen_subsets_fit_the_terminal(tmp_path: Path, asked: Asked, width: int) -> None:
    store = RunStore(tmp_path)
    put(store, asked, "first", 0.03)
    put(store, asked, "unimodal[stream=dynamics]", 0.2)
    board = board_of(store, asked)
    out = io.StringIO()
    print_board(board, Console(file=out, width=width))
    print_pairs(board, compare_all(board), Console(file=out, width=width))
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    assert "[stream=dynamics]" in "".join(text.split()), "a setting is not taken for markup"
    assert ("3 of 4" in text) == (width < 200)
    assert "5 folds: each sample is tested once" in " ".join(text.split())
    markdown = board_markdown(board)
    assert all(f" {name} " in markdown for name in board.columns)
