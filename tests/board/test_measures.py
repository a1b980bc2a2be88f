"""Other measures on boards: by hand and by scipy, undefined where one of their values is."""

from __future__ import annotations

import functools
import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from scipy.stats import kendalltau, spearmanr

from aqabench.board.render.lists import cost_cells, other_cells
from aqabench.board.render.markdown import board_markdown
from aqabench.board.render.terminal import print_board
from aqabench.board.robustness import beside_specialists, kept, references, specialists
from aqabench.board.select import by_condition
from aqabench.board.table import Leaderboard, Row, build
from aqabench.protocol.grammar import FrameScenario, RateScenario, SubsetsScenario
from aqabench.protocol.library import Asked, load_protocol
from aqabench.protocol.scenarios import scenarios
from aqabench.protocol.schema import AverageSpec, ClassSpec
from aqabench.runs.record import Cost, Hidden, RunRecord
from aqabench.runs.store import RunStore, prediction_frame
from aqabench.stats import fisher_mean

Predict = Callable[[str, str, int, np.ndarray], np.ndarray]
"""(class, scenario, seed, labels (n,)) -> predictions (n,)."""
SUBSETS = ("v", "a", "f", "va", "vf", "af", "vaf")
EXAMPLE = dict(zip(SUBSETS, (0.70, 0.30, 0.60, 0.75, 0.75, 0.65, 0.80), strict=True))
N = 16


def question(
    *specs: object,
    bounds: Mapping[str, tuple[float, float]] | None = None,
    average: str = "incomplete",
) -> Asked:
    """Return Fis-V with other scenarios and classes."""
    asked = load_protocol("fisv-missing")
    known = bounds or {"TES": (0.0, 45.0), "PCS": (0.0, 40.0)}
    classes = tuple(ClassSpec(name=n, bounds=b, train=9, test=9) for n, b in known.items())
    changed: dict[str, Any] = {
        "classes": tuple(known),
        "scenarios": specs or asked.protocol.scenarios,
        "average": AverageSpec(name="Avg", over=average),
    }
    return replace(
        asked,
        dataset=asked.dataset.model_copy(update={"classes": classes}),
        protocol=asked.protocol.model_copy(update=changed),
    )


def put(
    store: RunStore,
    asked: Asked,
    method: str,
    predict: Predict,
    *,
    labels: Sequence[float] = tuple(range(N)),
    seeds: Sequence[int] = (0,),
    overrides: Mapping[str, Any] | None = None,
    hidden: Callable[[str, str], Hidden] | None = None,
    training: Hidden | None = None,
    index: Callable[[str, int], float | None] = lambda c, s: None,
) -> None:
    """Store a run of a method for each class and seed, with these predictions under each rule."""
    names = list(scenarios(asked.protocol, asked.dataset))
    truth = np.asarray(labels, dtype=float)
    for class_name in asked.protocol.classes:
        for seed in seeds:
            predictions = np.stack([predict(class_name, n, seed, truth) for n in names])
            record = RunRecord(
                key=re.sub(r"\W", "", f"{method}{overrides}{class_name}{seed}").ljust(16, "0"),
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
                    "seed": seed,
                },
                dataset="fisv",
                protocol_version=1,
                title=method,
                overrides=dict(overrides or {}),
                scenarios=tuple(names),
                hidden={n: hidden(class_name, n) for n in names} if hidden else {},
                training=training,
                learning_index=index(class_name, seed),
                cost=Cost(
                    parameters=1, fit_seconds=1.0, look_seconds=1.0, peak_memory_bytes=1,
                    device="cpu", threads=1,
                ),
                started="2026-01-01",
            )  # fmt: skip
            ids = [str(i) for i in range(len(truth))]
            frames = [
                prediction_frame(rule, "test", names, ids, truth, predictions)
                for rule in ("val", "last", "oracle")
            ]
            store.write(record, pd.concat(frames), [])


@functools.cache
def ranks_at(distance: int) -> np.ndarray:
    """Return an order (N,) of 0, 1, … whose squared distances from them sum to this."""
    rng = np.random.default_rng(0)
    while True:
        ranks = np.argsort(np.argsort(np.arange(N) + rng.normal(size=N) * rng.uniform(0, 30)))
        if ((ranks - np.arange(N)) ** 2).sum() == distance:
            return ranks.astype(float)


def with_rho(values: Mapping[str, float]) -> Predict:
    """Return predictions for labels 0, 1, … 15 whose Spearman is exactly this in each scenario.

    Spearman is 1 - sum(d^2) / 680 there, so that every multiple of 0.05 can be met.
    """
    return lambda class_name, scenario, seed, truth: ranks_at(round(680 * (1 - values[scenario])))


def noisy(size: float) -> Predict:
    def predict(class_name: str, scenario: str, seed: int, truth: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng([seed, *class_name.encode(), *scenario.encode()])
        return truth + size * rng.normal(size=len(truth))

    return predict


def board_of(store: RunStore, asked: Asked) -> Leaderboard:
    (condition, groups), *_ = by_condition(store.records()).items()
    return build(asked, condition, groups, store)


def row_of(board: Leaderboard, name: str) -> Row:
    (row,) = (row for row in board.rows if row.name == name)
    return row


def terminal(board: Leaderboard, width: int = 80) -> str:
    out = io.StringIO()
    print_board(board, Console(file=out, width=width))
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    return text


def words(board: Leaderboard) -> str:
    return " ".join(terminal(board).split())


def table(text: str, title: str) -> list[list[str]]:
    """Return the cells of the Markdown table below a title; the heading first."""
    lines = text.split(f"## {title}\n\n")[1].split("\n\n")[0].splitlines()
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in lines]
    return [cells[0], *cells[2:]]


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path)


# numbers


def test_the_worked_example_of_relative_l2_and_tau_is_on_the_board(store: RunStore) -> None:
    asked = question(SubsetsScenario(kind="subsets", sizes=(1,)), bounds={"C": (5.0, 25.0)})
    guess = (11.0, 12.0, 13.0, 19.0)
    put(store, asked, "m", lambda *_: np.array(guess), labels=(10, 12, 15, 20))
    board = board_of(store, asked)
    others = board.rows[0].classes["C"].others
    assert others.relative_l2 == pytest.approx(0.375)
    assert others.normalised_mse == pytest.approx(1.5 / np.var([10, 12, 15, 20]))
    assert others.kendall == others.arithmetic == 1.0
    said = table(board_markdown(board), "Other measures, mean over classes")
    assert said[0] == ["method", "arithmetic Spearman", "Kendall tau-b", "normalised MSE", "R-l2"]
    assert said[1] == ["m", "1.000", "1.000", "0.1057", "0.3750"]
    assert "by class" not in board_markdown(board), "one class needs no table of classes"
    assert "protocols/datasets/fisv.yaml declares: C 5 to 25." in words(board)


def test_measures_are_arithmetic_means_over_the_average_and_then_over_classes(
    store: RunStore,
) -> None:
    asked = question()
    put(store, asked, "m", noisy(6.0), labels=np.round(np.linspace(3, 30, 40)), seeds=(0, 1))
    board = board_of(store, asked)
    found: dict[str, list[dict[str, float]]] = {}
    for record in store.records():
        frame = store.predictions(record)
        for name in SUBSETS[:6]:
            part = frame[(frame["rule"] == "val") & (frame["scenario"] == name)]
            y, p = part["score"].to_numpy(), part["prediction"].to_numpy()
            span = {"TES": 45.0, "PCS": 40.0}[record.class_name]
            found.setdefault(record.class_name, []).append(
                {
                    "arithmetic": spearmanr(y, p).statistic,
                    "kendall": kendalltau(y, p).statistic,
                    "normalised_mse": np.mean((y - p) ** 2) / np.var(y),
                    "relative_l2": 100 * np.mean(((y - p) / span) ** 2),
                }
            )
    (row,) = board.rows
    assert row.overall is not None
    assert {len(own) for own in found.values()} == {12}, "6 subsets and 2 seeds"
    for measure in ("arithmetic", "kendall", "normalised_mse", "relative_l2"):
        means = {c: np.mean([cell[measure] for cell in own]) for c, own in found.items()}
        for class_name, mean in means.items():
            own = getattr(row.classes[class_name].others, measure)
            assert own == pytest.approx(mean, abs=1e-9), (class_name, measure)
        expected = np.mean(list(means.values()))
        assert getattr(row.overall.others, measure) == pytest.approx(expected, abs=1e-9)
    assert row.overall.others.arithmetic < row.overall.average.estimate, "Fisher's z lies above"
    by_class = table(board_markdown(board), "Other measures by class")
    assert [line[:2] for line in by_class[1:]] == [["m", "TES"], ["m", "PCS"]]
    assert by_class[1][3] == f"{row.classes['TES'].others.kendall:.3f}"


def test_what_does_not_enter_the_average_changes_no_measure(store: RunStore) -> None:
    rho = dict.fromkeys(SUBSETS, 0.5)
    put(store, question(), "same", with_rho(rho))
    put(store, question(), "other", with_rho({**rho, "vaf": -0.5}))
    same, other = (
        r.overall for r in sorted(board_of(store, question()).rows, key=lambda r: r.name)[::-1]
    )
    assert same is not None
    assert other is not None
    assert same.srcc["vaf"] != other.srcc["vaf"]
    assert same.others.kendall == other.others.kendall
    assert same.others.arithmetic == pytest.approx(0.5)


# retention


def test_the_worked_example_of_retention(store: RunStore) -> None:
    put(store, question(), "m", with_rho(EXAMPLE))
    board = board_of(store, question())
    (row,) = board.rows
    left = kept(board, row)
    assert left is not None
    mean, least = left
    assert (mean.ratio, mean.value) == pytest.approx((0.625 / 0.8, 0.625))
    assert (least.ratio, least.value) == pytest.approx((0.375, 0.3))
    assert row.overall is not None
    assert row.overall.average.estimate == pytest.approx(0.6441, abs=5e-5)
    assert row.overall.others.arithmetic == pytest.approx(0.625)
    head, line = table(board_markdown(board), "What missing streams cost, mean over classes")
    said = dict(zip(head, line, strict=True))
    assert said["all streams"] == "0.800"
    assert said["worst subset"] == "0.300 (a)"
    assert said["mean kept"].startswith("0.78 (0.6")
    assert said["least kept"] in ("0.38 (0.30)", "0.37 (0.30)"), "0.375"
    assert said["equity"] == "0.93"
    assert "of specialist" not in said, "there is none on the board"


@pytest.mark.parametrize(("full", "shown"), [(0.15, False), (0.25, True), (-0.4, False)])
def test_nothing_is_kept_of_a_weak_full_model(store: RunStore, full: float, shown: bool) -> None:
    put(store, question(), "m", with_rho({**dict.fromkeys(SUBSETS, 0.1), "vaf": full}))
    board = board_of(store, question())
    left = kept(board, board.rows[0])
    assert left is not None
    assert [math.isfinite(own.ratio) for own in left] == [shown, shown]
    line = table(board_markdown(board), "What missing streams cost, mean over classes")[1]
    assert line[3:5] == (["0.40 (0.10)"] * 2 if shown else ["–", "–"])


def test_specialists_are_the_rows_trained_on_one_stream_with_no_other_setting(
    store: RunStore,
) -> None:
    flat = dict.fromkeys(SUBSETS, 0.0)
    put(store, question(), "m", with_rho(EXAMPLE))
    for overrides, value in (
        ({"stream": "video"}, {"v": 0.4}),
        ({"stream": "flow"}, {"f": 0.8}),
        ({"stream": "audio"}, {"a": 0.15}),
        ({"stream": "video", "lr": 0.1}, {"v": 0.9}),
    ):
        put(store, question(), "unimodal", with_rho({**flat, **value}), overrides=overrides)
    put(store, question(), "other", with_rho(EXAMPLE), overrides={"stream": "flow"})
    board = board_of(store, question())
    assert specialists(board) == pytest.approx({"video": 0.4, "audio": 0.15, "flow": 0.8})
    assert list(references(board)) == ["video", "flow"]
    beside = beside_specialists(board, row_of(board, "m"))
    assert beside is not None
    assert beside.ratio == pytest.approx((0.7 / 0.4 + 0.6 / 0.8) / 2)
    assert beside.value == pytest.approx((0.7 + 0.6) / 2)
    assert beside_specialists(board, row_of(board, "unimodal[stream=video]")) is None
    assert beside_specialists(board, row_of(board, "unimodal[lr=0.1, stream=video]")) is not None
    said = {line[0]: line[5] for line in _costs(board)[1:]}
    assert said["m"] == said["other[stream=flow]"] == "1.25 (0.65)"
    assert said["unimodal[stream=flow]"] == "–"
    assert "mean over video, flow, beside it" in words(board)
    assert "specialists below 0.2 say nothing: audio." in words(board)


def test_a_method_without_a_correlation_where_the_specialist_has_one_gets_a_dash(
    store: RunStore,
) -> None:
    flat = dict.fromkeys(SUBSETS, 0.0)
    put(store, question(), "unimodal", with_rho({**flat, "a": 0.5}), overrides={"stream": "audio"})
    put(store, question(), "m", _constant_in(with_rho(EXAMPLE), {("TES", "a")}))
    put(store, question(), "v-only", _constant_in(with_rho(EXAMPLE), {("TES", "v")}))
    board = board_of(store, question())
    said = {line[0]: line[3:6] for line in _costs(board)[1:]}
    assert said["m"] == ["–", "–", "–"]
    assert said["v-only"] == ["–", "–", "0.60 (0.30)"], "the stream of the specialist is defined"


def _costs(board: Leaderboard) -> list[list[str]]:
    return table(board_markdown(board), "What missing streams cost, mean over classes")


def _constant_in(predict: Predict, where: set[tuple[str, str]]) -> Predict:
    def changed(class_name: str, scenario: str, seed: int, truth: np.ndarray) -> np.ndarray:
        if (class_name, scenario) in where:
            return np.full(len(truth), 7.0)
        return predict(class_name, scenario, seed, truth)

    return changed


# undefined


def test_constant_predictions_have_errors_but_no_correlation(store: RunStore) -> None:
    put(store, question(), "good", with_rho(EXAMPLE))
    put(store, question(), "constant", lambda c, s, k, y: np.full(len(y), y.mean()), seeds=(0, 1))
    board = board_of(store, question())
    row = board.rows[-1]
    assert row.name == "constant"
    assert row.overall is not None
    others = row.overall.others
    assert math.isnan(others.kendall)
    assert math.isnan(others.arithmetic)
    assert others.normalised_mse == pytest.approx(1.0)
    line = table(board_markdown(board), "Other measures, mean over classes")[2]
    assert line[:4] == ["constant", "–", "–", "1.00"]
    said = (
        "constant: 24 of 24 correlations of the average and 4 of 4 beside it are undefined "
        "(constant predictions), so the average is too; it ranks last."
    )
    assert said in words(board)
    assert f"- {said}\n" in board_markdown(board)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        (
            {("TES", "a"), ("PCS", "a")},
            "m: 2 of 12 correlations of the average are undefined in a (constant predictions), so "
            "the average is too; it ranks last.",
        ),
        (
            {("TES", "v"), ("TES", "af"), ("PCS", "a")},
            "m: 3 of 12 correlations of the average are undefined in v, af of TES and in a of PCS "
            "(constant predictions), so the average is too; it ranks last.",
        ),
        (
            {("PCS", "vaf")},
            "m: 0 of 12 correlations of the average and 1 of 2 beside it are undefined in vaf of "
            "PCS (constant predictions).",
        ),
    ],
)
def test_some_undefined_correlations_are_counted_and_placed(
    store: RunStore, where: set[tuple[str, str]], said: str
) -> None:
    put(store, question(), "m", _constant_in(with_rho(EXAMPLE), where))
    put(store, question(), "other", with_rho(dict.fromkeys(SUBSETS, -0.5)))
    board = board_of(store, question())
    assert said in words(board)
    row = row_of(board, "m")
    assert row.overall is not None
    lost = any(scenario != "vaf" for _, scenario in where)
    assert math.isnan(row.overall.average.estimate) == lost
    assert math.isnan(row.overall.others.kendall) == lost
    assert (board.rows[-1] is row) == lost
    assert "other: " not in words(board)


def test_many_undefined_columns_are_not_all_listed(store: RunStore) -> None:
    rates = tuple(round(0.05 * i, 2) for i in range(1, 13))
    asked = question(RateScenario(kind="rate", rates=(0.0, *rates), draws=1))
    put(
        store, asked, "m",
        lambda c, s, k, y: np.zeros(len(y)) if s != "rate=0/0" else y,
    )  # fmt: skip
    put(
        store, asked, "n",
        lambda c, s, k, y: np.zeros(len(y)) if s not in ("rate=0/0", "rate=0.3/0") else y,
    )  # fmt: skip
    said = words(board_of(store, asked))
    assert "m: 24 of 24 correlations of the average are undefined (constant" in said
    assert "n: 22 of 24 correlations of the average are undefined in rate=0.05, " in said
    assert "rate=0.45 and 3 more (constant" in said


# realised rates, training, balance


def test_realised_rates_stand_above_the_grid(store: RunStore) -> None:
    asked = question(RateScenario(kind="rate", rates=(0.0, 0.3, 0.7), draws=2))

    def hidden(class_name: str, scenario: str) -> Hidden:
        rate = float(scenario.split("=")[1].split("/")[0])
        true = min(rate, 2 / 3) + (0.02 if scenario.endswith("/1") else 0.0)
        return Hidden(
            nominal=rate, realised=true - 0.01 * (class_name == "TES") * (rate > 0),
            complete=0.25 if rate == 0.3 else float(rate == 0),
        )  # fmt: skip

    put(store, asked, "old", noisy(3.0), labels=range(30))
    board = board_of(store, asked)
    assert not board.hidden
    assert "% hidden" not in terminal(board) + board_markdown(board), "older records do not know"
    put(store, asked, "m", noisy(3.0), labels=range(30), hidden=hidden, seeds=(0, 1))
    board = board_of(store, asked)
    assert board.hidden["rate=0"] == Hidden(nominal=0.0, realised=0.0, complete=1.0)
    assert board.hidden["rate=0.3"].realised == pytest.approx((0.3 + 0.32 + 0.29 + 0.31) / 4)
    assert board.hidden["rate=0.7"].nominal == 0.7
    lines = table(board_markdown(board), "Spearman")
    assert lines[1] == ["% hidden", "", "0.0", "30.5", "67.2"]
    assert lines[2] == ["% complete", "", "100.0", "25.0", "0.0"]
    errors = table(board_markdown(board), "MSE (squared judge points)")
    assert errors[1][:2] == ["m", "TES"], "masks are the same for both grids and said once"
    said = terminal(board)
    assert re.search(r"^% hidden +0\.0 +30\.5 +67\.2 *$", said, re.M)
    assert re.search(r"^% complete +100\.0 +25\.0 +0\.0 *$", said, re.M)
    assert "one for each stream of a sample; the heading has the nominal rate" in words(board)


def test_each_table_of_masks_counts_once_however_many_runs_used_it(store: RunStore) -> None:
    asked = question(RateScenario(kind="rate", rates=(0.3,), draws=1))
    put(
        store, asked, "m", noisy(3.0), seeds=(0, 1, 2),
        hidden=lambda c, s: Hidden(nominal=0.3, realised={"TES": 0.2, "PCS": 0.4}[c], complete=0.5),
    )  # fmt: skip
    one = board_of(store, asked)
    record = next(r for r in store.records() if r.class_name == "PCS")
    half = record.model_copy(
        update={"key": "half", "identity": {**record.identity, "method": "half"}}
    )
    store.write(half, store.predictions(record), [])
    for board in (one, board_of(store, asked)):
        assert board.hidden["rate=0.3"].realised == pytest.approx(0.3)


def test_missing_steps_are_called_steps_and_subsets_have_no_lines(store: RunStore) -> None:
    share = Hidden(nominal=0.3, realised=0.31, complete=0.4)
    timed = question(FrameScenario(kind="block", rates=(0.3,), draws=2))
    put(store, timed, "m", noisy(3.0), hidden=lambda c, s: share)
    said = words(board_of(store, timed))
    assert "one for each stream of a step; " in said
    assert "% complete: steps that show every stream." in said
    other = RunStore(store.root / "subsets")
    shares = Hidden(nominal=None, realised=1 / 3, complete=0.0)
    put(other, question(), "m", noisy(3.0), hidden=lambda c, s: shares)
    board = board_of(other, question())
    assert board.hidden["va"].realised == pytest.approx(1 / 3)
    assert "% hidden" not in terminal(board) + board_markdown(board)


def test_corruptions_stand_together_by_kind_where_it_is_narrow(store: RunStore) -> None:
    asked = load_protocol("fisv-noise")
    put(store, asked, "m", noisy(3.0))
    board = board_of(store, asked)
    said = terminal(board)
    head = next(line for line in said.splitlines() if "gauss" in line)
    assert head.split() == [
        "class", "3", "of", "3", "gauss", "channels", "shift", "freeze", "swap", "scale",
        "AvgNoise",
    ]  # fmt: skip
    own = [c for c in board.columns if c.startswith("swap ")]
    scores = board.rows[0].classes["TES"].srcc
    mean = fisher_mean([scores[c] for c in own])
    line = next(line for line in said.splitlines() if line.lstrip().startswith("TES"))
    assert f" {mean:.3f} " in line
    assert max(map(len, said.splitlines())) <= 80
    assert "all 57 columns but vaf, each with its draws" in words(board)
    assert all(f" {column} |" in board_markdown(board) for column in board.columns)


@pytest.mark.parametrize("protocol", ["fisv-rate", "fisv-imbalanced", "fisv-temporal"])
def test_boards_of_rates_fit_eighty_columns_with_their_shares(
    store: RunStore, protocol: str
) -> None:
    asked = load_protocol(protocol)
    for method in ("a-method-of-some-length", "b"):
        put(
            store, asked, method, noisy(3.0), overrides={"learning_rate": 0.0001},
            hidden=lambda c, s: Hidden(nominal=0.5, realised=0.4444, complete=0.1234),
            index=lambda c, s: 0.4,
        )  # fmt: skip
    board = board_of(store, asked)
    narrow, wide = (
        re.findall(r" (\d\.\d{3}) ", terminal(board, width).split("Spearman by")[1].split("MSE")[0])
        for width in (80, 1000)
    )
    assert len(narrow) == 2 * 3 * (len(board.columns) + 1), "nothing is cut off"
    assert sorted(narrow) == sorted(wide)
    lines = terminal(board).splitlines()
    parts = sum(line.startswith("% hidden") for line in lines)
    most = {"fisv-rate": 1, "fisv-imbalanced": 2, "fisv-temporal": 3}[protocol]
    assert parts <= most, "a heading of several parts stands below each other"
    for name, share in (("% hidden", "44.4"), ("% complete", "12.3")):
        own = [cell for line in lines if line.startswith(name) for cell in line.split()[2:]]
        assert own == [share] * len(board.columns)


def test_the_names_of_the_shares_are_part_of_what_a_grid_needs(store: RunStore) -> None:
    rates = (0.0, 0.1, 0.2, 0.3, 0.4, 0.1234, 0.2345, 0.3456)
    asked = question(RateScenario(kind="rate", rates=rates, draws=1))
    share = Hidden(nominal=0.3, realised=0.31, complete=0.4)
    put(store, asked, "m", noisy(3.0), hidden=lambda c, s: share)
    said = terminal(board_of(store, asked)).split("Spearman by")[1].split("MSE")[0]
    assert said.count("% complete") == 2, "two parts"
    assert said.count(" 31.0 ") == len(rates)


def test_what_training_went_without_is_said(store: RunStore) -> None:
    put(store, question(), "m", noisy(3.0))
    assert "Trained with" not in words(board_of(store, question()))
    shares = Hidden(nominal=None, realised=0.503, complete=0.1236)
    put(store, question(), "m", noisy(3.0), training=shares)
    said = "Trained with 50.3 % of the slots missing, 12.4 % of the samples complete."
    board = board_of(store, question())
    assert said in words(board)
    assert f"- {said}" in board_markdown(board)


def test_the_learning_index_is_a_column_when_a_method_has_one(store: RunStore) -> None:
    put(store, question(), "flat", noisy(9.0))
    assert "MLI" not in board_markdown(board_of(store, question()))
    indices = {("TES", 0): 0.2, ("TES", 1): 0.4, ("PCS", 0): 0.6, ("PCS", 1): 1.0}
    put(store, question(), "m", noisy(3.0), seeds=(0, 1), index=lambda c, s: indices[c, s])
    put(
        store, question(), "some", noisy(20.0), seeds=(0, 1),
        index=lambda c, s: indices[c, s] if (c, s) != ("PCS", 1) else None,
    )  # fmt: skip
    board = board_of(store, question())
    own = row_of(board, "m")
    assert own.overall is not None
    assert own.classes["TES"].others.learning_index == pytest.approx(0.3)
    assert own.overall.others.learning_index == pytest.approx(0.55)
    text = board_markdown(board)
    means = {line[0]: line[-1] for line in table(text, "Other measures, mean over classes")[1:]}
    assert means == {"m": "0.550", "flat": "–", "some": "–"}, "a run without one is not left out"
    by_class = {tuple(li[:2]): li[-1] for li in table(text, "Other measures by class")[1:]}
    assert by_class["some", "TES"] == "0.300"
    assert by_class["some", "PCS"] == "–"
    assert re.search(r"MLI *$", terminal(board), re.M)
    assert "(aqabench-MLI)" in words(board)


def test_long_names_and_many_methods_fit_eighty_columns(store: RunStore) -> None:
    for stream in ("video", "audio", "flow"):
        put(store, question(), "unimodal", with_rho(EXAMPLE), overrides={"stream": stream})
    for i in range(4):
        overrides = {"learning_rate": 0.0001 * i, "weight_decay": 0.01}
        put(
            store, question(), "a-method-with-a-long-name", noisy(3.0 + i), overrides=overrides,
            index=lambda c, s: 1.234,
        )  # fmt: skip
    board = board_of(store, question())
    for width in (80, 100, 160):
        said = terminal(board, width).split("Other measures")[1].split("  Avg: ")[0]
        for heading in ("Kendall", "R-l2", "MLI", "least", "specialist", "breaks", "equity"):
            assert heading in said
        for row in board.rows:
            assert row.overall is not None
            for cell in (*other_cells(board, row.overall.others), *cost_cells(board, row)):
                assert re.search(rf"(^| ){re.escape(cell)}( |$)", said, re.M), cell


def test_a_missing_class_has_dashes_in_the_mean_only(store: RunStore) -> None:
    one = question(bounds={"TES": (0.0, 45.0)})
    put(store, question(), "whole", with_rho(EXAMPLE))
    put(store, one, "half", with_rho(EXAMPLE))
    board = board_of(store, question())
    half = row_of(board, "half")
    assert half.overall is None
    assert kept(board, half) is None
    text = board_markdown(board)
    means = {line[0]: line[1:] for line in table(text, "Other measures, mean over classes")[1:]}
    assert means["half"] == ["–"] * 4
    assert means["whole"][0] == "0.625"
    by_class = {tuple(line[:2]): line[2] for line in table(text, "Other measures by class")[1:]}
    assert by_class == dict.fromkeys([("whole", "TES"), ("whole", "PCS"), ("half", "TES")], "0.625")
    terminal(board)
