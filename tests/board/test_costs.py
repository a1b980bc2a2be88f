"""What missing streams cost, as a board says it: from its own numbers, or undefined."""

from __future__ import annotations

import io
import math
import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from aqabench.board.render.markdown import board_markdown
from aqabench.board.render.terminal import print_board
from aqabench.board.robustness import rate_area, subset_summary
from aqabench.board.select import by_condition
from aqabench.board.table import Leaderboard, build
from aqabench.protocol.library import Asked, load_protocol
from aqabench.runs.store import RunStore
from tests.board.test_board import put


def board_of(store: RunStore, asked: Asked) -> Leaderboard:
    (condition, groups), *_ = by_condition(store.records()).items()
    return build(asked, condition, groups, store)


def test_subsets_are_summed_up_from_the_mean_over_classes(tmp_path: Path) -> None:
    asked, store = load_protocol("fisv-missing"), RunStore(tmp_path)
    put(store, asked, "m", 8.0)
    put(store, asked, "constant", math.inf)
    board = board_of(store, asked)
    row = board.rows[0]
    summary = subset_summary(board, row)
    assert summary is not None
    assert row.overall is not None
    assert summary.full == row.overall.srcc["vaf"]
    assert summary.worst.value == min(row.overall.srcc.values())
    six = [row.overall.srcc[name] for name in ("v", "a", "f", "va", "vf", "af")]
    assert float(summary.average_incomplete) == pytest.approx(np.tanh(np.mean(np.arctanh(six))))
    text, out = board_markdown(board), io.StringIO()
    print_board(board, Console(file=out, width=80))
    for said in (text, out.getvalue()):
        assert re.search(r"worst\s", said)
        assert f"{summary.violations.count} of 9" in said
    flat = subset_summary(board, board.rows[1])
    assert flat is not None
    assert flat.n_undefined == 7
    assert "| constant | – | – (v) | – | – | – | – |" in text


def test_a_board_without_all_subsets_says_nothing_of_them(tmp_path: Path) -> None:
    asked, store = load_protocol("fisv-rgb"), RunStore(tmp_path)
    put(store, asked, "m", 8.0)
    board = board_of(store, asked)
    assert subset_summary(board, board.rows[0]) is None
    assert "missing streams cost" not in board_markdown(board)


def test_the_area_under_a_curve_is_over_true_rates(tmp_path: Path) -> None:
    asked, store = load_protocol("fisv-rate"), RunStore(tmp_path)
    put(store, asked, "m", 6.0)
    board = board_of(store, asked)
    (row,) = board.rows
    assert row.overall is not None
    rates = [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 2 / 3]
    values = [row.overall.srcc[f"rate={r:g}"] for r in (*rates[:-1], 0.6667)]
    expected = float(np.trapezoid(values, rates)) / (2 / 3)
    assert rate_area(board, row) == pytest.approx(expected)
    assert f"| m | {expected:.3f} |" in board_markdown(board)
    out = io.StringIO()
    print_board(board, Console(file=out, width=80))
    assert "…" not in out.getvalue()
    assert max(map(len, out.getvalue().splitlines())) <= 80
    assert "rate=0.1 (5 draws)" in " ".join(out.getvalue().split())
