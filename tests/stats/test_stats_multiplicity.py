"""Adjusted p values against statsmodels and R; max-T against its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from statsmodels.stats.multitest import multipletests

from aqabench.errors import DataError, UsageError
from aqabench.stats import (
    Cell,
    Status,
    adjust,
    average_ci,
    bootstrap_z,
    compare_all,
    compare_runs,
    max_t,
    prepare,
    tie_groups,
)

R = {
    "holm": [0.02, math.nan, 0.03],
    "bh": [0.02, math.nan, 0.03],
}


@pytest.mark.parametrize("method", ["holm", "bh"])
def test_nan_is_left_out_and_put_back_as_in_r(method):
    assert adjust([0.01, math.nan, 0.03], method) == pytest.approx(R[method], nan_ok=True)
    assert np.isnan(adjust([math.nan, math.nan], method)).all()
    assert adjust([], method).shape == (0,)


@pytest.mark.slow  # its import takes a quarter of a minute
@settings(max_examples=40, deadline=None)
@given(hnp.arrays(float, st.integers(1, 40), elements=st.floats(0, 1)))
def test_equal_statsmodels(p):
    assert adjust(p) == pytest.approx(multipletests(p, method="holm")[1])
    assert adjust(p, "bh") == pytest.approx(multipletests(p, method="fdr_bh")[1])


def test_benjamini_hochberg_1995_example():
    p = [.0001, .0004, .0019, .0095, .0201, .0278, .0298, .0344, .0459, .3240, .4262, .5719, .6528, .7590, 1.]  # noqa: E501  # fmt: skip
    assert (adjust(p, "bh") <= 0.05).sum() == 4
    assert (adjust(p) <= 0.05).sum() == 3


def test_bad_p_values():
    with pytest.raises(DataError, match=r"lie in \[0, 1\]. Got 1.2"):
        adjust([0.1, 1.2])
    with pytest.raises(UsageError, match="holm, bh"):
        adjust([0.1], "bonferroni")


def test_max_t_by_definition():
    rng = np.random.default_rng(0)
    d, se = np.array([0.3, -0.9, 0.1]), np.array([0.2, 0.25, 0.1])
    draws = d + se * rng.normal(size=(199, 3))
    t, stars = np.abs(d) / se, np.abs(draws - d) / se
    single = [(1 + (stars.max(axis=1) >= x).sum()) / 200 for x in t]
    # step-down: order of T is 1, 0, 2
    first = single[1]
    second = max(first, (1 + (stars[:, [0, 2]].max(axis=1) >= t[0]).sum()) / 200)
    third = max(second, (1 + (stars[:, 2] >= t[2]).sum()) / 200)
    result = max_t(d, se, draws)
    assert result.statistic == pytest.approx(t)
    assert result.p_single_step == pytest.approx(single)
    assert result.p_value == pytest.approx([second, first, third])
    assert result.critical == pytest.approx(np.quantile(stars.max(axis=1), 0.95))
    assert "max-T over 3 differences (199 resamples)" in str(result)


def test_max_t_with_undefined_members():
    rng = np.random.default_rng(1)
    d, se = np.array([0.5, math.nan, 0.0]), np.array([0.2, 0.2, 0.0])
    draws = np.column_stack([rng.normal(0.5, 0.2, 400), np.full(400, math.nan), np.zeros(400)])
    result = max_t(d, se, draws)
    assert math.isnan(result.p_value[1])
    assert result.p_value[2] == 1.0
    alone = max_t(d[:1], se[:1], draws[:, :1])
    assert result.p_value[0] == pytest.approx(alone.p_value[0])
    draws[:10, 0] = math.nan
    assert np.isnan(max_t(d, se, draws).p_value).all()
    assert max_t(d, se, draws).dropped == 10
    with pytest.raises(DataError, match="one column per difference"):
        max_t(d, se, draws[:, :2])


def _board(names_and_noise, n=80, seeds=2):
    labels = np.random.default_rng(7)
    y = labels.normal(size=n)
    ids = [f"v{i:03d}" for i in range(n)]
    board = {}
    for at, (name, noise) in enumerate(names_and_noise.items()):
        rng = np.random.default_rng(at)
        board[name] = [
            Cell("TES", "full", s, ids, y, y + noise * rng.normal(size=n)) for s in range(seeds)
        ]
    return board


def test_board():
    board = _board({"good": 0.4, "also good": 0.42, "poor": 1.5, "worst": 4.0})
    table = compare_all(board, n_resamples=999)
    assert table.names == tuple(board)
    good, poor = table.names.index("good"), table.names.index("poor")
    pair = table.comparisons["good", "poor"]
    assert pair == compare_runs(board["good"], board["poor"])
    assert table.p_raw[good, poor] == table.p_raw[poor, good] == pair.p_value
    upper = np.triu_indices(4, 1)
    assert (table.p_max_t[upper] >= 1 / 1000).all()
    assert (table.p_holm[upper] >= table.p_raw[upper]).all()
    assert table.p_holm[upper] == pytest.approx(adjust(table.p_raw[upper]))
    assert table.p_adjusted is table.p_max_t
    assert np.isnan(np.diag(table.p_adjusted)).all()
    scores = [average_ci(cells).estimate for cells in board.values()]
    groups = tie_groups(table.names, scores, table.p_adjusted)
    assert set(groups.top) == {"good", "also good"}
    assert "pairs separated at 5 % (max-T)" in str(table)
    again = compare_all(board, n_resamples=999)
    assert np.array_equal(table.p_max_t, again.p_max_t, equal_nan=True)


def test_no_pair_is_surer_among_many_than_alone_where_seeds_differ():
    """Pairs whose p has 2 degrees of freedom stand beside pairs whose p has 79."""
    board = _board({"a": 0.5, "b": 0.55, "c": 0.6, "d": 0.65}, seeds=3)
    for name in ("b", "d"):
        for s, cell in enumerate(board[name]):
            board[name][s] = cell._replace(p=cell.p + (0.0, 0.5, 2.0)[s] * cell.y)
    table = compare_all(board, n_resamples=1999)
    upper = np.triu_indices(4, 1)
    raw, adjusted = table.p_raw[upper], table.p_max_t[upper]
    order = np.argsort(raw)
    assert (np.diff(adjusted[order]) >= 0).all(), "the surer alone, the surer among many"
    assert (adjusted >= raw - 0.01).all()
    assert min(c.df for c in table.comparisons.values()) < 4
    assert max(c.df for c in table.comparisons.values()) > 20


def test_board_without_resamples_falls_back_to_holm():
    table = compare_all(_board({"a": 0.4, "b": 0.5, "c": 0.6}), n_resamples=0)
    assert np.isnan(table.p_max_t).all()
    assert table.p_adjusted is table.p_holm
    assert "(Holm)" in str(table)


def test_board_with_twins_and_a_broken_method():
    board = _board({"a": 0.4, "b": 0.9})
    board["twin"] = [c._replace(p=c.p * 2) for c in board["a"]]
    board["broken"] = [c._replace(p=np.ones(80)) for c in board["a"]]
    table = compare_all(board, n_resamples=499)
    assert table.comparisons["a", "twin"].status is Status.IDENTICAL_RANKINGS
    assert table.p_max_t[0, 2] == 1.0
    assert np.isnan(table.p_max_t[3, :]).all()
    assert table.p_max_t[0, 1] == pytest.approx(table.p_max_t[2, 1])
    assert math.isfinite(table.p_max_t[0, 1])
    with pytest.raises(UsageError, match="at least two methods"):
        compare_all({"a": board["a"]})


def test_bootstrap_of_constant_predictions_is_undefined():
    board = _board({"a": 0.4})
    table = prepare([c._replace(p=np.ones(80)) for c in board["a"]], undefined_as_zero=True)
    assert bootstrap_z(table, np.ones((3, 80))).tolist() == [0, 0, 0]
