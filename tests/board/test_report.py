"""What every format of a board shows: views, tie groups, claims, and folders of records."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
from scipy.stats import spearmanr

from aqabench.board.folder import RecordsFolder, StoredRuns
from aqabench.board.report import AVERAGE, Report, make_report, per_seed
from aqabench.board.select import by_condition
from aqabench.errors import StoreError, UsageError
from aqabench.protocol.library import load_protocol
from aqabench.runs.store import RunStore
from aqabench.stats import fisher_mean
from tests.board.made import made_store, put, report_of


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    return made_store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def report(store: RunStore) -> Report:
    return report_of(store)


def test_methods_that_are_alike_share_a_letter_and_others_do_not(report: Report) -> None:
    view = report.views[0]
    letters = view.letters
    assert letters["strong"] == "a"
    assert letters["alike-one"] == letters["alike-two"] == "b"
    assert letters["mcmoe"] == "c"
    assert "constant" not in letters
    assert view.top == ("strong",)
    assert view.separated == (5, 6)


def test_every_class_is_a_view_with_pairs_of_its_own(report: Report) -> None:
    assert [v.name for v in report.views] == [AVERAGE, "TES", "PCS"]
    whole, tes, _ = report.views
    scores = {row.name: row for row in tes.board.rows}
    in_whole = {row.name: row.classes["TES"] for row in whole.board.rows}
    assert scores["strong"].overall is not None
    assert scores["strong"].overall.srcc == in_whole["strong"].srcc
    assert len(tes.pairs) == len(whole.pairs) == 10
    assert {p.adjusted for p in tes.pairs} != {p.adjusted for p in whole.pairs}


def test_a_column_has_its_number_and_an_interval_around_it(store: RunStore, report: Report) -> None:
    tes = report.views[1]
    found = tes.columns["alike-one", "va"]
    values = []
    for record in report.runs["alike-one"]:
        if record.class_name == "TES":
            frame = store.predictions(record)
            part = frame[(frame["rule"] == "val") & (frame["scenario"] == "va")]
            values.append(spearmanr(part["score"], part["prediction"]).statistic)
    assert len(values) == 2
    assert found.estimate == pytest.approx(float(fisher_mean(values)), abs=1e-12)
    assert found.low < found.estimate < found.high


def test_seeds_apart_average_to_the_score(report: Report) -> None:
    row = next(r for r in report.board.rows if r.name == "mcmoe")
    seeds = per_seed(report.board, row)
    assert list(seeds) == [0, 1]
    assert row.overall is not None
    assert float(fisher_mean(list(seeds.values()))) == pytest.approx(row.overall.average.estimate)


def test_a_number_knows_its_runs_and_their_files(store: RunStore, report: Report) -> None:
    assert len(report.keys(report.views[0], "strong")) == 4
    tes = report.keys(report.views[1], "strong")
    assert len(tes) == 2
    for key in tes:
        assert report.files[key].is_file()
        assert key in report.files[key].read_text()


def test_claims_stand_by_what_was_shown_and_in_the_order_of_names(report: Report) -> None:
    names = [claim.method.casefold() for claim in report.claims]
    assert names == sorted(names)
    mcmoe = next(c for c in report.claims if c.method == "MCMoE")
    assert mcmoe.measured == ("mcmoe",)
    assert mcmoe.numbers[AVERAGE, "Avg6"].condition == "avg6"
    lmac = next(c for c in report.claims if c.method == "LMAC-Net")
    assert lmac.numbers[AVERAGE, "vaf"].value == 0.850
    assert all(one.role == "result" for c in report.claims for one in c.numbers.values())
    for claim in report.claims:
        for (_, column), one in claim.numbers.items():
            if column in report.board.columns:
                assert set(column) == set(one.modalities.split("+"))


def _folder(store: RunStore, target: Path, predictions: bool) -> Path:
    """Lay a store out as leaderboards/ ships records."""
    records = target / "records"
    records.mkdir(parents=True)
    for record in store.records():
        home = store.directory("fisv-rgb", record.method, record.key)
        shutil.copy(home / "record.json", records / f"{record.key}.json")
        shutil.copy(home / "metrics.jsonl", records / f"{record.key}.curve.jsonl")
        if predictions:
            name = "predictions.csv.gz"
            shutil.copy(home / name, records / f"{record.key}.{name}")
    return target


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    store = RunStore(tmp_path_factory.mktemp("small"))
    put(store, load_protocol("fisv-rgb"), "ridge", 8.0, data="real")
    put(store, load_protocol("fisv-rgb"), "gdlt", 20.0, data="real")
    return store


def _report(source: RecordsFolder | StoredRuns) -> Report:
    ((condition, groups),) = by_condition(source.records()).items()
    return make_report(load_protocol("fisv-rgb"), condition, groups, source)


def test_a_folder_of_records_gives_the_board_of_the_store(small: RunStore, tmp_path: Path) -> None:
    folder = RecordsFolder.read(_folder(small, tmp_path, predictions=True))
    assert folder.lacking == frozenset()
    there, here = _report(folder), _report(StoredRuns(small))
    scores = [[(r.name, r.overall and r.overall.average) for r in one.board.rows]
              for one in (there, here)]  # fmt: skip
    assert scores[0] == scores[1]
    assert there.views[0].letters == here.views[0].letters
    (_, looks), *_ = there.curves("ridge")
    assert looks[0]["epoch"] == 1


def test_without_predictions_no_number_is_made_and_it_is_said(
    small: RunStore, tmp_path: Path
) -> None:
    report = _report(RecordsFolder.read(_folder(small, tmp_path, predictions=False)))
    assert len(report.lacking) == 8
    for row in report.board.rows:
        assert row.overall is None
        assert row.notes == (
            "unverified: as it was handed in",
            "no predictions lie beside the records of 4 runs: no number is made of them",
        )
        assert math.isfinite(row.costs["params"])
    assert report.views[0].ties is None


def test_the_shipped_records_are_read(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2] / "leaderboards" / "fisv-rgb"
    folder = RecordsFolder.read(root)
    assert {r.method for r in folder.records("fisv-rgb")} == {"gdlt", "ridge", "constant"}
    assert len(list(folder.records("fisv-rgb", lambda run: run.class_name == "TES"))) == 3


def test_a_folder_without_records_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no folder"):
        RecordsFolder.read(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="There is no record in"):
        RecordsFolder.read(tmp_path)
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(StoreError, match=r"a\.json is not a run record"):
        RecordsFolder.read(tmp_path)


def test_one_run_in_two_files_is_refused(small: RunStore, tmp_path: Path) -> None:
    folder = _folder(small, tmp_path, predictions=False) / "records"
    first = min(folder.glob("*.json"))
    shutil.copy(first, folder / "zz.json")
    with pytest.raises(StoreError, match="the same run"):
        RecordsFolder.read(tmp_path)
