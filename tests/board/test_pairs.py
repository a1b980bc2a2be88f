"""Pairs of a board: what is claimed, what is checked, what it would need, and the gap of rules."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from aqabench.board.mixing import nothing_shared
from aqabench.board.pairs import Pair, compare_all, squared_errors
from aqabench.board.render.markdown import board_markdown
from aqabench.board.render.pairs import pair_sheets, pairs_markdown, print_pairs, sentences
from aqabench.board.render.rules import rules_sheet
from aqabench.board.select import by_condition
from aqabench.board.table import Leaderboard, build
from aqabench.errors import UnknownNameError
from aqabench.protocol.library import load_protocol
from aqabench.runs.store import RunStore
from aqabench.stats import (
    adjust,
    compare_average,
    compare_choices,
    compare_mean_loss,
    compare_runs,
    non_inferiority,
    prepare,
)
from tests.board.made import made_store, put


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    return made_store(tmp_path_factory.mktemp("store"))


def board_of(store: RunStore, rule: str | None = None) -> Leaderboard:
    ((condition, groups),) = by_condition(store.records()).items()
    return build(load_protocol("fisv-missing"), condition, groups, store, rule)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def board(store: RunStore) -> Leaderboard:
    return board_of(store)


@pytest.fixture(scope="module")
def by_test(store: RunStore) -> Leaderboard:
    """The same runs, each with the epoch that is best on the test videos."""
    return board_of(store, "oracle")


@pytest.fixture(scope="module")
def pairs(board: Leaderboard) -> list[Pair]:
    return compare_all(board)


def found(pairs: list[Pair], better: str, worse: str) -> Pair:
    return next(p for p in pairs if (p.better, p.worse) == (better, worse))


def test_the_jackknife_decides_and_the_swap_checks(board: Leaderboard, pairs: list[Pair]) -> None:
    assert len(pairs) == 10
    cells = board.cells
    claim = found(pairs, "strong", "mcmoe")
    assert claim.result == compare_runs(cells["strong"], cells["mcmoe"])
    assert claim.adjusted_by == "max-t"
    assert claim.separated
    assert claim.check is not None
    assert claim.check.method in ("swap", "swap-linear")
    assert claim.check.p_value < 0.05
    alike = next(p for p in pairs if {p.better, p.worse} == {"alike-one", "alike-two"})
    assert alike.check is None, "what is not claimed is not checked"
    assert not alike.separated
    known = [p for p in pairs if math.isfinite(p.result.p_value)]
    assert all(p.adjusted >= p.result.p_value for p in known)
    assert len(known) == 6, "the constant is compared with nobody"


def test_the_weakest_claims_are_ranked_again(pairs: list[Pair]) -> None:
    claims = [p for p in pairs if p.check is not None]
    exact = [p.result.p_value for p in claims if p.check and p.check.method == "swap"]
    linear = [p.result.p_value for p in claims if p.check and p.check.method == "swap-linear"]
    assert exact
    assert all(min(exact) >= p for p in linear)


def test_holm_where_max_t_is_not_asked_for(board: Leaderboard, pairs: list[Pair]) -> None:
    plain = compare_all(board, n_resamples=0)
    expected = adjust([p.result.p_value for p in plain])
    for pair, p in zip(plain, expected, strict=True):
        assert pair.adjusted == pytest.approx(p, nan_ok=True)
        assert pair.adjusted_by == "holm"
    assert any(a.adjusted != b.adjusted for a, b in zip(plain, pairs, strict=True))


def test_two_methods_are_not_adjusted(board: Leaderboard) -> None:
    two = replace(board, rows=tuple(r for r in board.rows if r.name in ("strong", "alike-one")))
    (pair,) = compare_all(two)
    assert pair.adjusted_by == ""
    assert pair.adjusted == pair.result.p_value
    assert ", p " in pair.sentence
    assert "adj., p" not in pair_sheets(two, [pair])[0].heads


def test_nothing_is_claimed_where_the_swap_disagrees(
    board: Leaderboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aqabench.board import pairs as module

    def doubtful(tables, asked, **_):  # type: ignore[no-untyped-def]
        return {
            (a, b): replace(compare_average(tables[a], tables[b]), method="swap", p_value=0.2)
            for a, b in asked
        }

    monkeypatch.setattr(module, "cross_check", doubtful)
    disputed = [p for p in compare_all(board) if p.check is not None]
    assert disputed
    for pair in disputed:
        assert pair.disputed
        assert not pair.separated
        assert pair.adjusted == 0.2
        assert "cannot be told apart" in pair.sentence
        assert "but not by the swap permutation, p = 0.200, so that nothing" in pair.sentence


def test_one_column_alone(board: Leaderboard) -> None:
    cells = {r.name: [c for c in board.tested[r.name] if c.scenario == "vaf"] for r in board.rows}
    (first, *_) = compare_all(board, columns=("vaf",), n_resamples=0)
    assert first.result == compare_runs(cells[first.better], cells[first.worse])
    assert first.result.n_scenarios == 1
    (two, *_) = compare_all(board, columns=("v", "a"), n_resamples=0)
    assert two.result.n_scenarios == 2
    assert all(
        p.result.difference >= 0
        for p in compare_all(board, columns=("f",), n_resamples=0)
        if math.isfinite(p.result.p_value)
    )
    with pytest.raises(UnknownNameError, match="scenario of fisv-missing called 'vfa'"):
        compare_all(board, columns=("vfa",))


def test_errors_beside_ranks(board: Leaderboard, pairs: list[Pair]) -> None:
    rows = {row.name: row for row in board.rows}
    losses = {name: squared_errors(prepare(cells)) for name, cells in board.cells.items()}
    for name, loss in losses.items():
        overall = rows[name].overall
        assert overall is not None
        assert loss.mean() == pytest.approx(overall.average_mse)
    pair = found(pairs, "strong", "mcmoe")
    assert pair.loss == compare_mean_loss(losses["strong"], losses["mcmoe"])
    assert pair.loss.difference < 0


def test_as_good_needs_a_margin(board: Leaderboard, pairs: list[Pair]) -> None:
    assert all(p.as_good is None for p in pairs)
    asked = compare_all(board, columns=("v",), margin=0.3, n_resamples=0)
    alike = next(p for p in asked if {p.better, p.worse} == {"alike-one", "alike-two"})
    own = {n: [c for c in cells if c.scenario == "v"] for n, cells in board.cells.items()}
    turned = compare_runs(own[alike.worse], own[alike.better])
    expected = non_inferiority(turned, 0.3)
    assert alike.as_good is not None
    assert alike.as_good.p_value == pytest.approx(expected.p_value)
    assert (alike.as_good.low, alike.as_good.shown) == (pytest.approx(expected.low), True)
    assert f"{alike.worse} is as good within 0.3" in alike.sentence
    narrow = compare_all(board, columns=("v",), margin=0.001, n_resamples=0)
    alike = next(p for p in narrow if {p.better, p.worse} == {"alike-one", "alike-two"})
    assert "is not shown and cannot be on fewer than about" in alike.sentence
    assert "as good, within 0.001" in pair_sheets(board, narrow)[1].heads


def test_the_number_of_videos_that_it_would_need(pairs: list[Pair]) -> None:
    alike = next(p for p in pairs if {p.better, p.worse} == {"alike-one", "alike-two"})
    clear = found(pairs, "strong", "mcmoe")
    assert clear.needed < clear.result.n < alike.needed


@pytest.mark.parametrize("width", [80, 120])
def test_pairs_fit_a_terminal(board: Leaderboard, width: int) -> None:
    asked = compare_all(board, columns=("v",), margin=0.05, n_resamples=99)
    out = io.StringIO()
    print_pairs(board, asked, Console(file=out, width=width), ["v"])
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    words = " ".join(text.split())
    assert "told apart: both say so" in words
    assert "Not compared, because their average is undefined: constant." in words
    document = pairs_markdown(board, asked)
    assert document.count("| strong > mcmoe |") == 2
    assert "- strong ranks better than mcmoe: difference" in document


def test_a_terminal_shows_few_of_many_pairs(board: Leaderboard) -> None:
    names = [f"m{k}" for k in range(11)]
    rows = tuple(replace(board.rows[0], name=name) for name in names)
    rng = np.random.default_rng(0)
    first = [c for c in board.cells["strong"] if c.scenario == "v"]
    cells = {
        name: [c._replace(p=np.asarray(c.p) + k * rng.normal(size=len(c.y))) for c in first]  # type: ignore[arg-type]
        for k, name in enumerate(names)
    }
    many = replace(board, rows=rows, tested=cells, tables={}, averaged=("v",))
    asked = compare_all(many, n_resamples=99)
    assert len(asked) == 55
    out = io.StringIO()
    print_pairs(many, asked, Console(file=out, width=100))
    assert "45 more pairs: --format markdown, or name METHODS." in out.getvalue()
    assert len(sentences(asked)) == 10
    assert pairs_markdown(many, asked).count(" > ") == 112, "two tables"


def test_the_optimism_gap_is_paired(board: Leaderboard, by_test: Leaderboard) -> None:
    for row in board.rows[:-1]:
        assert row.optimism is not None
        chosen = by_test.cells[row.name]
        assert row.optimism == compare_choices(chosen, board.cells[row.name])
        assert row.optimism.difference == pytest.approx(row.gap, nan_ok=True)
    strong = next(row for row in board.rows if row.name == "strong")
    assert strong.gap > 0
    assert strong.optimism is not None
    # both epochs are of the same runs: far narrower than the interval of either
    assert strong.overall is not None
    width = strong.overall.average.high - strong.overall.average.low
    assert strong.optimism.high - strong.optimism.low < width / 2


def test_a_board_chosen_on_test_says_what_that_added(
    by_test: Leaderboard, board: Leaderboard
) -> None:
    gaps = {row.name: row.gap for row in board.rows}
    for row in by_test.rows:
        assert row.gap == pytest.approx(gaps[row.name], nan_ok=True), "oracle minus val in both"
    sheet = rules_sheet(by_test)
    assert sheet is not None
    assert sheet.heads[:4] == ("val", "last", "oracle", "gap, oracle - val")
    assert "Selection rules side by side" in board_markdown(board)


def test_rules_that_agree_have_no_interval(board: Leaderboard) -> None:
    sheet = rules_sheet(board)
    assert sheet is not None
    cells = {row[0]: row for row in sheet.rows}
    assert cells["constant"][-2:] == ("–", "–")
    assert cells["strong"][-1].startswith("[")
    without = tuple(replace(row, optimism=None) for row in board.rows)
    assert rules_sheet(replace(board, rows=without)) is None


def test_what_differs_is_named(tmp_path: Path) -> None:
    asked = load_protocol("fisv-missing")
    stores = [RunStore(tmp_path / kind) for kind in ("simulated", "real")]
    for store, names in zip(stores, (("strong", "mcmoe"), ("alike",)), strict=True):
        for name in names:
            put(store, asked, name, 9.0, seeds=(0,), data=store.root.name)
    conditions = by_condition(r for store in stores for r in store.records("fisv-missing"))
    said = nothing_shared(["strong", "alike"], conditions)
    assert "they are of other kinds of data" in said
    assert "Run again: aqabench run -m strong -p fisv-missing --data real --budget quick" in said
    said = nothing_shared(["strong", "mcmoe"], conditions, list(conditions), ["TES"])
    assert "their protocol has changed since" in said
    again = "-m strong -m mcmoe -p fisv-missing --data simulated --budget quick --class TES"
    assert said.endswith(again)
