"""The figure of switches: what is drawn are the effects, and what has none is said."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import same_color

from aqabench.board.ablation import Effect, effects
from aqabench.board.ablation_figure import UNTOLD, draw_effects
from aqabench.board.render.ablation import ablation_sheet
from aqabench.board.table import Leaderboard
from aqabench.figure import BLUE, VERMILLION, write_figure
from aqabench.runs.store import RunStore
from aqabench.stats import compare_runs
from tests.board.test_figures import SUBSETS, board_of, put, question, steady, words

SWITCHES = {"Q1 worse": "worse", "Q2 better": "better", "Q3 the same": "alike", "Q4 lost": "flat"}


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Leaderboard:
    asked, store = question(SUBSETS), RunStore(tmp_path_factory.mktemp("runs"))
    sizes = {"usual": 0.3, "worse": 1.0, "better": 0.02, "alike": 0.301, "flat": math.inf}
    for name, size in sizes.items():
        put(store, asked, name, steady(size), seeds=(0, 1))
    for record in [r for r in store.records() if r.method == "usual"]:
        named = {**record.identity, "method": "twin"}
        key = record.key.replace("usual", "twins")
        twin = record.model_copy(update={"key": key, "identity": named})
        store.write(twin, store.predictions(record), [])
    return board_of(store, asked)


def drawn(axis: Axes, height: int) -> tuple[list[float], float | None]:
    """Return the ends of the line and the point at a height; nothing where nothing is drawn."""
    own = [i for i in axis.lines if i.get_marker() == "o" or len(i.get_xdata()) == 2]
    here = [i for i in own if set(np.atleast_1d(i.get_ydata())) == {height}]
    ends = [list(map(float, i.get_xdata())) for i in here if i.get_marker() != "o"]
    points = [float(np.atleast_1d(i.get_xdata())[0]) for i in here if i.get_marker() == "o"]
    return (ends[0] if ends else []), (points[0] if points else None)


def test_every_switch_has_its_difference_interval_and_verdict(board: Leaderboard) -> None:
    found = effects(board, "usual", SWITCHES)
    assert [e.real for e in found] == [True, True, False, False]
    figure = draw_effects(board, "usual", found)
    (axis,) = figure.axes
    for height, effect in enumerate(found[:3]):
        assert effect.result is not None
        ends, point = drawn(axis, height)
        assert ends == pytest.approx([effect.result.low, effect.result.high])
        assert point == pytest.approx(effect.result.difference)
    dots = [i for i in axis.lines if i.get_marker() == "o"]
    assert [
        next(c for c in (BLUE, VERMILLION, UNTOLD) if same_color(i.get_color(), c)) for i in dots
    ] == [VERMILLION, BLUE, UNTOLD]
    assert [same_color(i.get_markerfacecolor(), "white") for i in dots] == [False, False, True]
    assert [t.get_text() for t in axis.get_yticklabels()] == list(SWITCHES)
    assert "undefined" in words(figure)
    notes = " ".join(ablation_sheet(board, "usual", found).notes)
    assert "ranked as" not in notes
    with_twin = [*found, *effects(board, "usual", {"Q6 idle": "twin"})]
    notes = " ".join(ablation_sheet(board, "usual", with_twin).notes)
    assert "The videos are ranked as without it in every run: Q6 idle." in notes
    assert any("SIMULATED" in word for word in words(figure))
    figure.draw_without_rendering()
    ticks = [t.get_text() for t in axis.get_xticklabels()]
    assert len(set(ticks)) == len(ticks)
    low, high = axis.get_ylim()
    assert low > high, "read from top to bottom"


def test_ticks_of_small_differences_are_told_apart(board: Leaderboard) -> None:
    (effect,) = effects(board, "usual", {"Q3 the same": "alike"})
    assert effect.result is not None
    near = replace(effect.result, difference=0.001, low=-0.002, high=0.004)
    figure = draw_effects(board, "usual", [replace(effect, result=near)])
    figure.draw_without_rendering()
    ticks = [t.get_text() for t in figure.axes[0].get_xticklabels()]
    assert len(ticks) > 3
    assert len(set(ticks)) == len(ticks)
    assert "0" in ticks


def test_a_failed_switch_is_said_to_have_failed(board: Leaderboard, tmp_path: Path) -> None:
    found = [*effects(board, "usual", {"Q1 worse": "worse"}), Effect("Q5", None, failed=("why",))]
    figure = draw_effects(board, "usual", found)
    assert "failed" in words(figure)
    assert drawn(figure.axes[0], 1) == ([], None)
    for name in ("a.svg", "b.svg"):
        write_figure(draw_effects(board, "usual", found), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_runs_of_one_seed_are_paired(tmp_path: Path) -> None:
    """A small loss in every seed is found, however different the seeds are."""
    asked, store = question(SUBSETS), RunStore(tmp_path)
    for seed, size in enumerate((0.03, 0.08, 0.2)):
        put(store, asked, "usual", steady(size), seeds=(seed,))
        put(store, asked, "worse", steady(1.8 * size), seeds=(seed,))
    found = board_of(store, asked)
    (effect,) = effects(found, "usual", {"Q1 worse": "worse"})
    assert effect.real
    assert effect.result is not None
    apart = compare_runs(found.tables["worse"], found.tables["usual"])
    assert not apart.significant
    assert effect.result.difference == apart.difference
    assert "Seeds apart" not in " ".join(ablation_sheet(found, "usual", [effect]).notes)
    put(store, asked, "usual", steady(0.2), seeds=(3,))
    found = board_of(store, asked)
    (effect,) = effects(found, "usual", {"Q1 worse": "worse"})
    assert effect.result is not None
    assert effect.result.n_seeds_a < effect.result.n_seeds_b
    assert not effect.real, "without partners seeds stand apart"
    said = "Seeds apart, because runs are lacking: Q1 worse."
    assert said in ablation_sheet(found, "usual", [effect]).notes
    assert said in " ".join(words(draw_effects(found, "usual", [effect]))).replace("\n", " ")
