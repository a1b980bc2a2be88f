"""Score against cost: points and fronts are the board's, names never hide each other."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from aqabench.board.table import Leaderboard
from aqabench.board.tradeoff import FRONT, draw_against, pareto
from aqabench.figure import write_figure
from aqabench.runs.store import RunStore
from tests.board.test_figures import SUBSETS, board_of, put, question, steady, words

NAMES = (
    "mcmoe", "gdlt", "ridge", "constant", "early-fusion", "late-fusion", "unimodal[stream=audio]",
    "unimodal[stream=rgb-video]", "mcmoe[precision=bfloat16]", "identity",
    "mcmoe[hidden=512, n_experts=4]", "pamfn",
)  # fmt: skip


@pytest.fixture(scope="module")
def twelve(tmp_path_factory: pytest.TempPathFactory) -> Leaderboard:
    """Twelve methods, of which one has no score, with operations that lie close together."""
    asked, store = question(SUBSETS), RunStore(tmp_path_factory.mktemp("runs"))
    for number, name in enumerate(NAMES):
        size = math.inf if name == "constant" else 0.1 + 0.05 * (number % 4)
        put(store, asked, name, steady(size))
    board = board_of(store, asked)
    rng = np.random.default_rng(0)
    rows = [
        replace(row, costs={**row.costs, "flops": float(10 ** rng.uniform(7, 8))})
        for row in board.rows
    ]
    return replace(board, rows=tuple(rows))


def some(board: Leaderboard, count: int) -> Leaderboard:
    return replace(board, rows=board.rows[:count])


def drawn(figure: Figure) -> dict[tuple[float, float], str]:
    """Return the points of methods, in the board's order, with their looks."""
    (axis,) = figure.axes
    return {
        (float(line.get_xdata()[0]), float(line.get_ydata()[0])): (
            f"{line.get_marker()}{line.get_color()}"
        )
        for line in axis.lines
        if line.get_marker() not in ("None", None)
    }


def front(axis: Axes) -> list[tuple[float, float]]:
    (line,) = (line for line in axis.lines if line.get_color() == FRONT)
    return [(float(x), float(y)) for x, y in line.get_xydata()]


@pytest.mark.parametrize("count", [1, 3, 12])
def test_points_are_the_boards_numbers_and_each_looks_its_own_way(
    twelve: Leaderboard, count: int
) -> None:
    board = some(twelve, count)
    figure = draw_against(board, "flops")
    scores = [
        (row.costs["flops"] / 1e6, row.overall.average.estimate)
        for row in board.rows
        if row.overall is not None and math.isfinite(row.overall.average.estimate)
    ]
    looks = drawn(figure)
    assert list(looks) == [pytest.approx(own) for own in scores]
    assert len(set(looks.values())) == len(scores) == min(count, 11)
    (axis,) = figure.axes
    assert axis.get_xscale() == "log"
    assert axis.get_xlabel() == "FLOPs per sample, all streams (M)"
    said = " ".join(words(figure))
    assert "SIMULATED data, not real" in said
    assert ("because score or cost is undefined: constant." in said) == (count == 12)


@pytest.mark.parametrize("count", [3, 12])
def test_names_hide_neither_each_other_nor_a_point(twelve: Leaderboard, count: int) -> None:
    figure = draw_against(some(twelve, count), "flops")
    (axis,) = figure.axes
    figure.draw_without_rendering()
    names = [a for a in axis.get_children() if isinstance(a, Annotation)]
    assert len(names) == min(count, 11)
    boxes = [name.get_window_extent() for name in names]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    points = axis.transData.transform(list(drawn(figure)))
    assert not any(box.contains(*point) for box in boxes for point in points)
    inside = axis.get_window_extent()
    assert all(inside.x0 <= b.x0 and b.x1 <= inside.x1 for b in boxes)


def test_times_of_different_places_have_letters_and_no_front(twelve: Leaderboard) -> None:
    board = some(twelve, 3)
    said = " ".join(words(draw_against(board, "train-time")))
    assert "Pareto front" in said
    first = replace(board.rows[0], places=("cpu, 4 threads",))
    board = replace(board, rows=(first, *board.rows[1:]))
    figure = draw_against(board, "train-time")
    said = " ".join(words(figure))
    assert "CANNOT be compared, so that no front is drawn: a: cpu, 1 thread; b: cpu, 4 thr" in said
    assert front(figure.axes[0]) == []
    assert " (b)" in said
    assert front(draw_against(board, "flops").axes[0]), "operations are the same everywhere"


def test_a_cost_of_zero_has_a_place_of_its_own(twelve: Leaderboard) -> None:
    rows = [
        replace(r, costs={**r.costs, "params": k * 1000.0}) for k, r in enumerate(twelve.rows[:3])
    ]
    figure = draw_against(replace(twelve, rows=tuple(rows)), "params")
    (axis,) = figure.axes
    spots = sorted(x for x, _ in drawn(figure))
    assert 0 < spots[0] < spots[1] / 2
    assert axis.get_xlim()[0] < spots[0]
    assert "0" in words(figure)
    assert all(not t.get_text() for t in axis.get_xticklabels() if t.get_position()[0] <= spots[0])


def test_where_nothing_is_defined_the_figure_says_so(twelve: Leaderboard) -> None:
    figure = draw_against(some(twelve, 3), "energy")
    assert "nothing is defined" in words(figure)


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_the_same_board_gives_the_same_bytes(
    twelve: Leaderboard, tmp_path: Path, kind: str
) -> None:
    board = some(twelve, 4)
    paths = [tmp_path / f"{k}.{kind}" for k in range(2)]
    for path in paths:
        write_figure(draw_against(board, "flops"), path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


Points = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=8)


@given(Points)
def test_a_front_is_what_nothing_beats(points: list[tuple[int, int]]) -> None:
    def beaten(k: int) -> bool:
        cost, score = points[k]
        return any(c <= cost and s >= score and (c, s) != (cost, score) for c, s in points)

    found = pareto([(float(c), float(s)) for c, s in points])
    assert set(found) == {k for k in range(len(points)) if not beaten(k)}
    assert [points[k][0] for k in found] == sorted(points[k][0] for k in found)
