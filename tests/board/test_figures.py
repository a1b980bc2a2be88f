"""Figures of boards: what is drawn are the board's numbers, and undefined ones are seen to be."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import FillBetweenPolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from aqabench.board import figures
from aqabench.board.select import by_condition
from aqabench.board.table import Leaderboard, build
from aqabench.errors import StoreError, UsageError
from aqabench.figure import check_path, write_figure
from aqabench.protocol.grammar import (
    CorruptionScenario,
    ImbalancedScenario,
    QuotaScenario,
    RateScenario,
    SubsetsScenario,
    SwapScenario,
)
from aqabench.protocol.library import Asked, load_protocol
from aqabench.protocol.scenarios import scenarios
from aqabench.protocol.schema import ClassSpec, ModalitySpec
from aqabench.runs.record import Cost, RunRecord
from aqabench.runs.store import RunStore, prediction_frame
from aqabench.stats import average_ci, fisher_mean

N = 12
SUBSETS = SubsetsScenario(kind="subsets")
RATES = RateScenario(kind="rate", rates=(0.7, 0.0, 0.3), draws=2)
RARER = ImbalancedScenario(kind="imbalanced", rates=((0.3, 0.5, 0.7), (0.7, 0.5, 0.3)), draws=2)

Noise = Callable[[int, str], float]
"""(place of the class, scenario) -> SD of the errors; infinite: the same prediction for all."""


def question(*specs: object, classes: int = 2, streams: int = 3) -> Asked:
    """Return Fis-V with other scenarios, and as many classes and streams as wanted."""
    asked = load_protocol("fisv-missing")
    letters = "vafbcdeg"[:streams]
    modalities = tuple(ModalitySpec(name=f"stream-{x}", symbol=x, width=4) for x in letters)
    names = tuple(f"C{i}" for i in range(classes))
    return replace(
        asked,
        dataset=asked.dataset.model_copy(
            update={
                "modalities": modalities,
                "classes": tuple(
                    ClassSpec(name=n, bounds=(0.0, 1.0), train=9, test=N) for n in names
                ),
            }
        ),
        protocol=asked.protocol.model_copy(
            update={
                "scenarios": specs,
                "classes": names,
                "modalities": tuple(m.name for m in modalities),
            }
        ),
    )


def put(
    store: RunStore,
    asked: Asked,
    method: str,
    noise: Noise,
    seeds: Sequence[int] = (0,),
    skip: str = "",
    kind: str = "simulated",
) -> None:
    """Store runs of a method whose errors have a known size in each scenario."""
    names = list(scenarios(asked.protocol, asked.dataset))
    ids = [str(i) for i in range(N)]
    for number, class_name in enumerate(asked.protocol.classes):
        truth = np.random.default_rng(number).uniform(0, 1, N)
        for seed in seeds if class_name != skip else ():
            rng = np.random.default_rng([number, seed, *method.encode()])
            sizes = np.array([noise(number, name) for name in names])[:, None]
            flat = np.isinf(sizes)
            own = truth + np.where(flat, 0, sizes) * rng.normal(size=(len(names), N))
            predictions = np.where(flat, 0.5, own)
            record = RunRecord(
                key=f"{method}{number}{seed}".ljust(16, "0"),
                status="finished",
                identity={
                    "protocol": asked.protocol.name,
                    "protocol_digest": asked.digest,
                    "data_kind": kind,
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
                scenarios=tuple(names),
                cost=Cost(
                    parameters=1, fit_seconds=1.0, look_seconds=1.0, peak_memory_bytes=1,
                    device="cpu", threads=1,
                ),
                started="2026-01-01",
            )  # fmt: skip
            frames = [
                prediction_frame(rule, "test", names, ids, truth, predictions)
                for rule in ("val", "last", "oracle")
            ]
            store.write(record, pd.concat(frames), [])


def board_of(store: RunStore, asked: Asked) -> Leaderboard:
    (condition, groups), *_ = by_condition(store.records()).items()
    return build(asked, condition, groups, store)


def rate_of(scenario: str) -> float:
    """Return the rate in a scenario's name, 0 for a subset."""
    found = re.search(r"=([\d.]+)", scenario)
    return float(found[1]) if found else 0.0


def steady(size: float) -> Noise:
    return lambda number, scenario: size * (1 + rate_of(scenario)) * (1 + 0.3 * number)


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "runs")


def panel(figure: Figure, title: str) -> Axes:
    (axis,) = (a for a in figure.axes if a.get_title() == title)
    return axis


def lines(axis: Axes) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return x and y of the lines that are methods."""
    return [line.get_data() for line in axis.lines if line.get_marker() not in ("x", "None", None)]


def maps(figure: Figure) -> list[np.ma.MaskedArray]:
    """Return the arrays of all maps of Spearman."""
    found = [image for axis in figure.axes for image in axis.images]
    return [i.get_array() for i in found if i.get_cmap().name == "viridis"]


def words(figure: Figure) -> list[str]:
    return [
        " ".join(t.get_text().split()) for t in figure.findobj(lambda a: hasattr(a, "get_text"))
    ]


def test_curves_are_the_boards_numbers_over_realised_rates(store: RunStore) -> None:
    asked = question(RATES)
    put(store, asked, "good", steady(0.1), seeds=(0, 1))
    put(store, asked, "weak", steady(0.5), seeds=(0, 1))
    board = board_of(store, asked)
    figure = figures.draw(board)
    columns = {0.0: "rate=0", 0.3: "rate=0.3", 2 / 3: "rate=0.7"}
    for title, class_name in (("mean over classes", None), ("C0", "C0"), ("C1", "C1")):
        axis = panel(figure, title)
        bands = [c for c in axis.collections if isinstance(c, FillBetweenPolyCollection)]
        assert len(bands) == len(board.rows) == 2
        for row, (x, y), band in zip(board.rows, lines(axis), bands, strict=True):
            scores = row.overall if class_name is None else row.classes[class_name]
            assert scores is not None
            assert x == pytest.approx(list(columns), abs=1e-12)
            assert y == pytest.approx([scores.srcc[c] for c in columns.values()], abs=1e-12)
            corners = band.get_paths()[0].vertices
            for rate, column in columns.items():
                cells = [
                    c
                    for c in board.tested[row.name]
                    if c.scenario in board.columns[column] and class_name in (None, c.class_name)
                ]
                assert len(cells) == 2 * (1 if column == "rate=0" else 2) * (
                    2 if class_name is None else 1
                )
                interval = average_ci(cells)
                there = corners[np.isclose(corners[:, 0], rate)][:, 1]
                assert (there.min(), there.max()) == pytest.approx((interval.low, interval.high))
                assert interval.low < scores.srcc[column] < interval.high
    assert "jackknife over test videos and seeds" in " ".join(words(figure))


def test_an_undefined_point_breaks_the_line_and_is_marked(store: RunStore) -> None:
    asked = question(RateScenario(kind="rate", rates=(0.0, 0.1, 0.2, 0.3, 0.4), draws=2))
    put(store, asked, "good", steady(0.2))
    put(store, asked, "gap", lambda c, s: math.inf if c == 0 and rate_of(s) == 0.1 else 0.2)
    put(store, asked, "constant", lambda c, s: math.inf)
    put(store, asked, "half", steady(0.1), skip="C1")
    figure = figures.draw(board_of(store, asked))
    crosses = {
        title: [list(i.get_xdata()) for i in panel(figure, title).lines if i.get_marker() == "x"]
        for title in ("mean over classes", "C0", "C1")
    }
    everywhere = [0.0, 0.1, 0.2, 0.3, 0.4]
    assert sorted(crosses["C0"], key=len) == [[0.1], everywhere]
    assert crosses["C1"] == [everywhere]
    assert sorted(map(len, crosses["mean over classes"])) == [1, 5]
    assert len(lines(panel(figure, "mean over classes"))) == 3, "a missing class makes no mean"
    assert len(lines(panel(figure, "C0"))) == 4
    heights = {i.get_ydata()[0] for i in panel(figure, "C0").lines if i.get_marker() == "x"}
    assert len(heights) == 2, "crosses of two methods do not hide each other"
    for title, rows in (("C0", 2), ("C1", 1)):
        axis = panel(figure, title)
        (strip,) = axis.patches
        own = [i.get_ydata()[0] for i in axis.lines if i.get_marker() == "x"]
        assert 0 < min(own) <= max(own) < strip.get_height() == pytest.approx(0.04 * rows + 0.02)
        to_axes = axis.transData + axis.transAxes.inverted()
        ticks = [to_axes.transform((0, tick))[1] for tick in axis.get_yticks()]
        assert min(ticks) > max(own), "no cross stands beside a number of the scale"
        heights = [to_axes.transform((0, y))[1] for _, own in lines(axis) for y in own if y == y]
        assert min(heights) > strip.get_height(), "no number stands in the strip"
    said = words(figure)
    assert {"constant (undefined)", "gap (undefined)", "half (no mean)", "good"} <= set(said)
    assert any("half: no finished run for C1, so no mean." in text for text in said)
    # the point left of the gap has no neighbour: its interval is a line, not a band of no width
    alone = [c for c in panel(figure, "C0").collections if len(c.get_paths()) == 1]
    assert any(np.allclose(c.get_paths()[0].vertices[:, 0], 0.0) for c in alone)


@pytest.mark.parametrize("methods", [1, 2, 7, 12])
def test_no_two_methods_look_alike_and_none_is_forgotten(store: RunStore, methods: int) -> None:
    asked = question(RATES, SUBSETS, classes=1)
    for i in range(methods):
        put(store, asked, f"method-{i}[rate=0.0001,width=128]", steady(0.1 + 0.05 * i))
    board = board_of(store, asked)
    figure = figures.draw(board)
    figure.draw_without_rendering()
    axis = panel(figure, "C0")
    drawn = [i for i in axis.lines if i.get_marker() not in ("x", "None", None)]
    looks = {(i.get_color(), i.get_marker(), i.get_linestyle()) for i in drawn}
    assert len(looks) == len(drawn) == methods
    bands = [c for c in axis.collections if isinstance(c, FillBetweenPolyCollection)]
    wide = methods if methods <= 6 else 4
    assert len(bands) == wide, "the best of many methods only"
    for band, line in zip(bands, drawn[:wide], strict=True):
        assert to_rgb(band.get_facecolor()[0][:3]) == to_rgb(line.get_color())
    widths = [line.get_linewidth() for line in drawn]
    assert min(widths[:wide]) > max(widths[wide:], default=0.0)
    keys = next(p.legends[0] for p in figure.subfigs if p.legends).get_lines()
    assert [key.get_linewidth() for key in keys] == widths
    assert ("interval of the 4 best methods" in " ".join(words(figure))) == (methods > 6)
    inside = [y for line in drawn for y in line.get_ydata()]
    low, high = axis.get_ylim()
    assert low < min(inside) <= max(inside) < high
    (legend,) = (p.legends[0] for p in figure.subfigs if p.legends)
    entries = ["".join(t.get_text().split()) for t in legend.get_texts()]
    assert entries == [row.name for row in board.rows], "in the order of the board"
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [t.get_window_extent(renderer) for t in legend.get_texts()]
    assert not any(a.overlaps(b) for a, b in itertools.pairwise(boxes))
    assert not any(box.overlaps(axis.get_window_extent(renderer)) for box in boxes)
    assert all(box.x1 <= figure.bbox.x1 and box.y0 >= 0 for box in boxes)
    assert maps(figure)[0].shape == (methods, 7)


@pytest.mark.parametrize("classes", [1, 2, 3, 4, 5])
def test_few_classes_have_a_panel_each(store: RunStore, classes: int) -> None:
    asked = question(QuotaScenario(kind="quota", rates=(0.1, 0.7), draws=1), classes=classes)
    put(store, asked, "m", steady(0.3))
    figure = figures.draw(board_of(store, asked))
    names = [f"C{i}" for i in range(classes)]
    wanted = {1: names, 5: ["mean over classes"]}.get(classes, ["mean over classes", *names])
    assert [a.get_title() for a in figure.axes] == wanted
    assert len({a.get_ylim() for a in figure.axes}) == 1, "panels can be compared"
    assert lines(figure.axes[0])[0][0] == pytest.approx([0.1, 2 / 3])


def test_a_map_holds_the_means_and_dashes(store: RunStore) -> None:
    asked = question(SUBSETS)
    put(store, asked, "good", steady(0.1))
    put(store, asked, "blind", lambda c, s: 0.3 if "v" in s else math.inf)
    put(store, asked, "half", steady(0.1), skip="C1")
    board = board_of(store, asked)
    figure = figures.draw(board)
    (shown,) = maps(figure)
    names = ["v", "a", "f", "va", "vf", "af", "vaf"]
    (axis,) = (a for a in figure.axes if a.images and a.images[0].get_cmap().name == "viridis")
    assert [t.get_text() for t in axis.get_xticklabels()] == names
    printed = [t.get_text() for t in axis.texts]
    for place, row in enumerate(board.rows):
        wanted = [row.overall.srcc[n] if row.overall else math.nan for n in names]
        assert shown[place].filled(np.nan) == pytest.approx(wanted, nan_ok=True)
        assert printed[7 * place : 7 * place + 7] == [
            "–" if math.isnan(v) else f"{v:.3f}" for v in wanted
        ]
    assert shown.mask.sum() == 3 + 7
    key = next(a.images[0].get_array() for a in figure.axes if a.get_xlabel() == "dark: shown")
    assert [sum(column) for column in key.T] == [1, 1, 1, 2, 2, 2, 3]


@pytest.mark.parametrize("streams", [3, 8])
def test_a_map_of_a_corruption_names_the_streams_and_how_strong(
    store: RunStore, streams: int
) -> None:
    noise = CorruptionScenario(kind="gauss", levels=(0.25, 0.5, 1.0, 2.0), on=("each", "all"))
    asked = question(noise, SwapScenario(kind="swap"), streams=streams)
    put(store, asked, "m", steady(0.1))
    figure = figures.draw(board_of(store, asked))
    figure.draw_without_rendering()
    titles = [place.get_suptitle() for place in figure.subfigs[1:]]
    assert "noise of that many standard deviations" in titles[0]
    assert "that of another sample" in titles[1]
    spoilt, swapped = (
        [t.get_text() for t in axis.get_xticklabels()]
        for axis in figure.axes
        if axis.images and axis.images[0].get_cmap().name == "viridis"
    )
    letters = list("vafbcdeg"[:streams])
    each = [f"{x}\n{level}" for x in (*letters, "all") for level in ("0.25", "0.5", "1", "2")]
    assert spoilt == (each if streams == 3 else [*letters, "all"]), "else once for each stream"
    assert swapped == letters


def test_the_complete_set_is_last_whatever_the_order_of_the_protocol(store: RunStore) -> None:
    asked = question(
        SubsetsScenario(kind="subsets", sizes=(3,)), SubsetsScenario(kind="subsets", sizes=(1,))
    )
    put(store, asked, "m", steady(0.1))
    board = board_of(store, asked)
    (row,) = board.rows
    assert row.overall is not None
    (shown,) = maps(figures.draw(board))
    assert shown[0].tolist() == pytest.approx([row.overall.srcc[n] for n in ("v", "a", "f", "vaf")])


def test_rates_of_each_stream_are_a_map_with_its_rates_below(store: RunStore) -> None:
    asked = question(RARER, RateScenario(kind="rate", rates=(0.5,)))
    put(store, asked, "m", steady(0.1))
    board = board_of(store, asked)
    figure = figures.draw(board)
    rarer, single = maps(figure)
    (row,) = board.rows
    assert row.overall is not None
    assert rarer[0].tolist() == pytest.approx(
        [row.overall.srcc[f"imbalanced={r}"] for r in ("0.3,0.5,0.7", "0.7,0.5,0.3")]
    )
    assert single[0].tolist() == pytest.approx([row.overall.srcc["rate=0.5"]]), "no curve of one"
    (key,) = (a for a in figure.axes if a.get_xlabel().startswith("numbers: missing rate"))
    assert [t.get_text() for t in key.texts] == ["0.3", "0.7", "0.5", "0.5", "0.7", "0.3"]


@pytest.mark.parametrize(("streams", "columns"), [(4, 15), (5, 31), (8, 255)])
def test_many_subsets_stay_readable(store: RunStore, streams: int, columns: int) -> None:
    asked = question(SUBSETS, classes=1, streams=streams)
    put(store, asked, "good", steady(0.1))
    put(store, asked, "blind", lambda c, s: 0.3 if "v" in s else math.inf)
    board = board_of(store, asked)
    figure = figures.draw(board)
    figure.draw_without_rendering()
    each, *grouped = maps(figure)
    assert each.shape == (2, columns)
    renderer = FigureCanvasAgg(figure).get_renderer()
    for axis in figure.axes:
        texts = [t for t in (*axis.get_xticklabels(), *axis.texts) if t.get_visible()]
        boxes = [t.get_window_extent(renderer) for t in texts if t.get_text()]
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    if columns < 255:
        assert not grouped
        return
    (sizes,) = grouped
    (row, _) = board.rows
    assert row.overall is not None
    subsets = [n for n in board.columns if len(n) == 2]
    assert sizes.shape == (2, streams)
    assert sizes[0, 1] == pytest.approx(float(fisher_mean([row.overall.srcc[n] for n in subsets])))
    assert sizes.mask.tolist() == [[False] * 8, [True] * 7 + [False]]


@pytest.mark.parametrize("kind", ["real", "simulated"])
def test_the_title_says_what_the_heading_says(store: RunStore, kind: str) -> None:
    asked = question(SUBSETS, RATES)
    put(store, asked, "m", steady(0.1), kind=kind)
    records = list(store.records())
    (condition, groups), *_ = by_condition(r for r in records if r.class_name == "C0").items()
    board = build(asked, condition, groups, store, "oracle")
    figure = figures.draw(board)
    word = "REAL data" if kind == "real" else "SIMULATED data, not real"
    assert figure.get_suptitle() == (f"Fis-V, whole modalities missing (fisv-missing v1) – {word}")
    said = words(figure)
    assert "budget quick · epoch chosen by oracle · C0 only" in said
    assert any("ON THE TEST VIDEOS" in text for text in said)
    assert any("with one seed, without the luck of training" in text for text in said)


def test_a_board_of_failures_is_drawn_as_undefined(store: RunStore) -> None:
    asked = question(SUBSETS, RATES)
    put(store, asked, "m", steady(0.1))
    for record in list(store.records()):
        failed = record.model_copy(update={"status": "failed", "error": "boom"})
        (condition, groups), *_ = by_condition([failed]).items()
        board = build(asked, condition, groups, store)
    figure = figures.draw(board)
    figure.draw_without_rendering()
    assert all(shown.mask.all() for shown in maps(figure))
    assert "m (no mean)" in words(figure)
    assert any("m: 1 FAILED runs." in text for text in words(figure))


@pytest.mark.parametrize("suffix", [".svg", ".pdf"])
def test_the_same_board_gives_the_same_bytes(store: RunStore, tmp_path: Path, suffix: str) -> None:
    asked = question(SUBSETS, RATES, classes=1)
    put(store, asked, "m", steady(0.1))
    put(store, asked, "constant", lambda c, s: math.inf)
    board = board_of(store, asked)
    figure = figures.draw(board)
    # the last digits of a layout differ from time to time, so that equal bytes may be luck
    assert not isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine)
    for box in (
        *(p.bbox_relative for p in figure.subfigs),
        *(a.get_position() for a in figure.axes),
    ):
        assert np.array_equal(np.round(box.bounds, 6), np.round(box.bounds, 12))
    paths = [tmp_path / f"{i}{suffix}" for i in range(2)]
    for path in paths:
        write_figure(figures.draw(board), path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert b"<dc:date>" not in paths[0].read_bytes()


def test_a_file_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Type: --figure 'board\.png'"):
        check_path(Path("board.jpeg"))
    with pytest.raises(UsageError, match="mkdir -p"):
        check_path(tmp_path / "no" / "a.svg")
    with pytest.raises(StoreError, match="Cannot write the figure"):
        write_figure(Figure(), tmp_path / "no" / "a.svg")
