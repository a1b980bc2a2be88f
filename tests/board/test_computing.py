"""What methods take: one rule for each quantity, undefined last, times of other places marked."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from aqabench.board.costs import (
    QUANTITIES,
    known_costs,
    mark,
    places,
    row_costs,
    row_places,
    sort_by_cost,
)
from aqabench.board.render.costs import computing_cells, computing_headings
from aqabench.board.render.markdown import board_markdown
from aqabench.board.render.terminal import print_board
from aqabench.board.select import by_condition
from aqabench.board.table import Leaderboard, Row, build
from aqabench.cli.compare import COSTS
from aqabench.protocol.library import Asked, load_protocol
from aqabench.runs.record import Cost, RunRecord
from aqabench.runs.store import RunStore
from tests.board.test_board import put


def run(class_name: str = "TES", seed: int = 0, gpu: str = "", **cost: Any) -> RunRecord:
    usual = {
        "parameters": 10, "fit_seconds": 1.0, "look_seconds": 1.0, "peak_memory_bytes": 5,
        "device": "cpu", "threads": 1,
    }  # fmt: skip
    return RunRecord(
        key="0" * 16,
        status="finished",
        identity={"class_name": class_name, "seed": seed},
        dataset="fisv",
        protocol_version=1,
        title="m",
        scenarios=(),
        cost=Cost(**{**usual, **cost}),
        environment={"cores": "8", **({"gpu": gpu} if gpu else {})},
        started="2026-01-01",
    )


@pytest.fixture(scope="module")
def asked() -> Asked:
    return load_protocol("fisv-missing")


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory, asked: Asked) -> Leaderboard:
    """Three methods by score: dear, middling and cheap, the last undefined in score."""
    store = RunStore(tmp_path_factory.mktemp("runs"))
    for method, noise in (("dear", 3.0), ("middling", 25.0), ("cheap", math.inf)):
        put(store, asked, method, noise)
    (condition, groups), *_ = by_condition(store.records()).items()
    return build(asked, condition, groups, store)


def costing(board: Leaderboard, name: str, **costs: float) -> Leaderboard:
    rows = (replace(r, costs={**r.costs, name: costs[r.name]}) for r in board.rows)
    return replace(board, rows=tuple(rows))


def elsewhere(board: Leaderboard, **own: str) -> Leaderboard:
    rows = (replace(r, places=(own[r.name],) if r.name in own else r.places) for r in board.rows)
    return replace(board, rows=tuple(rows))


def named(rows: Iterable[Row]) -> list[str]:
    return [row.name for row in rows]


def printed(board: Leaderboard, width: int) -> str:
    out = io.StringIO()
    print_board(board, Console(file=out, width=width))
    return out.getvalue()


def test_the_command_line_names_every_quantity() -> None:
    assert tuple(QUANTITIES) == COSTS


def test_runs_become_one_number_by_the_rule_of_each_quantity() -> None:
    subsets = {"v": 10, "a": 20, "va": 60}
    records = [
        run("TES", 0, fit_seconds=1.0, parameters=7, flops=subsets, milliseconds={"v": 1, "va": 2}),
        run("PCS", 0, fit_seconds=2.0, parameters=9, flops=subsets, milliseconds={"v": 1, "va": 3}),
        run("TES", 1, fit_seconds=10.0, flops=subsets, milliseconds={"v": 3, "va": 9}),
        run("PCS", 1, fit_seconds=20.0, flops=subsets, milliseconds={"v": 1, "va": 4}),
        run("TES", 2, fit_seconds=3.0, flops=subsets, milliseconds={"v": 1, "va": 5}),
        run("PCS", 2, fit_seconds=4.0, flops=subsets, milliseconds={"v": 1, "va": 900}),
    ]
    found = row_costs(records)
    assert found["train-time"] == 7.0, "median of 3, 30 and 7"
    assert found["params"] == 10
    assert (found["flops"], found["flops-mean"]) == (60, 30)
    assert found["sample-time"] == 4.5, "median of runs: one slow moment says nothing"
    assert found["sample-time-mean"] == 2.75
    assert found["memory"] == 5
    assert math.isnan(found["gpu-memory"])
    assert math.isnan(found["energy"])


def test_a_run_without_a_cost_leaves_the_sum_undefined() -> None:
    found = row_costs([run(energy_joules=3.0), run("PCS"), run(seed=1, energy_joules=3.0)])
    assert math.isnan(found["energy"])
    assert row_costs([run(energy_joules=3.0), run("PCS", energy_joules=4.0)])["energy"] == 7.0
    assert all(math.isnan(cost) for cost in row_costs([]).values())


def test_what_torch_does_not_count_is_not_free() -> None:
    found = row_costs([run(flops={"v": 0, "a": 0, "va": 0})])
    assert math.isnan(found["flops"])
    assert math.isnan(found["flops-mean"])
    one = row_costs([run(flops={"v": 5}, milliseconds={"v": 2.0})])
    assert (one["flops"], one["sample-time"]) == (5, 2.0)
    assert math.isnan(one["flops-mean"]), "of one subset there is no mean beside it"


def test_a_method_without_all_classes_is_not_called_cheap(tmp_path: Path, asked: Asked) -> None:
    store = RunStore(tmp_path)
    put(store, asked, "whole", 5.0)
    put(store, asked, "half", 5.0, skip="PCS")
    (condition, groups), *_ = by_condition(store.records()).items()
    board = build(asked, condition, groups, store)
    costs = {row.name: row.costs["train-time"] for row in board.rows}
    assert costs["whole"] == 4.0
    assert math.isnan(costs["half"])
    assert named(sort_by_cost(board, "train-time").rows) == ["whole", "half"]


def test_the_least_cost_comes_first_and_undefined_ones_last(board: Leaderboard) -> None:
    assert named(board.rows) == ["dear", "middling", "cheap"]
    own = costing(board, "flops", dear=9e9, middling=math.nan, cheap=1e6)
    assert named(sort_by_cost(own, "flops").rows) == ["cheap", "dear", "middling"]
    assert named(sort_by_cost(own, "params").rows) == ["dear", "middling", "cheap"], "ties by score"
    text = " ".join(printed(sort_by_cost(own, "flops"), 80).split())
    assert "Sorted by FLOPs per sample, all streams, the least first; undefined last." in text
    assert "it ranks last" not in text
    assert "it ranks last" in printed(own, 400)


@pytest.mark.parametrize("width", [80, 100, 160])
@pytest.mark.parametrize("name", ["score", *COSTS])
def test_every_order_fits_the_terminal_and_shows_its_column(
    board: Leaderboard, name: str, width: int
) -> None:
    for number, cost in enumerate(COSTS):
        board = costing(board, cost, dear=30000.0 * (number + 1), middling=math.nan, cheap=0.5)
    board = elsewhere(board, dear="NVIDIA H100, 1 thread")
    text = printed(board if name == "score" else sort_by_cost(board, name), width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    summary = text.split("Spearman by class")[0]
    if name not in ("score", "params", "train-time"):
        assert QUANTITIES[name].title.split()[0] in summary


def test_units_stand_in_headings_and_numbers_keep_three_digits(board: Leaderboard) -> None:
    board = costing(board, "flops", dear=2.5e9, middling=4.25e6, cheap=math.nan)
    board = costing(board, "train-time", dear=7200.0, middling=90.0, cheap=0.6)
    board = costing(board, "memory", dear=2.0**31, middling=2.0**30, cheap=2.0**20)
    board = costing(board, "params", dear=12.0, middling=1.0, cheap=0.0)
    headings = computing_headings(board)
    assert headings == [
        "parameters",
        "FLOPs per sample, all streams (G)",
        "training time (min)",
        "peak memory (GiB)",
    ]
    assert [computing_cells(board, row) for row in board.rows] == [
        ["12", "2.50", "120", "2.00"],
        ["1", "0.00425", "1.50", "1.00"],
        ["0", "–", "0.01", "0.000977"],
    ]
    text = board_markdown(board)
    assert "## What they take" in text
    assert "| middling | 1 | 0.00425 | 1.50 | 1.00 |" in text


def test_times_of_other_devices_and_threads_are_marked(board: Leaderboard) -> None:
    assert [mark(board, row, "train-time") for row in board.rows] == ["", "", ""]
    assert "Times were taken on cpu, 1 thread." in board_markdown(board)
    mixed = elsewhere(board, dear="NVIDIA H100, 1 thread of 16 cores")
    assert places(mixed) == {"cpu, 1 thread": "a", "NVIDIA H100, 1 thread of 16 cores": "b"}
    assert [mark(mixed, row, "train-time") for row in mixed.rows] == ["b", "a", "a"]
    assert [mark(mixed, row, "params") for row in mixed.rows] == ["", "", ""]
    text = board_markdown(sort_by_cost(mixed, "train-time"))
    assert "4.00 b" in text
    assert "CANNOT be compared: a: cpu, 1 thread; b: NVIDIA H100, 1 thread of 16 cores." in text
    assert "The order says nothing across letters." in text
    assert "4 s b" in printed(mixed, 100).split("Spearman by class")[0]


def test_a_place_is_the_card_or_device_with_threads_and_cores() -> None:
    assert row_places([run(), run("PCS")]) == ("cpu, 1 thread of 8 cores",)
    assert row_places([run(threads=4), run(device="cuda:0", gpu="NVIDIA H100")]) == (
        "NVIDIA H100, 1 thread of 8 cores",
        "cpu, 4 threads of 8 cores",
    )


def test_costs_that_no_method_has_take_no_column(board: Leaderboard) -> None:
    assert known_costs(board) == ["params", "train-time", "memory"]
    assert "energy" not in board_markdown(board)
