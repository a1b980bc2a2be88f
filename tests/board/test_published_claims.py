"""Published numbers as data: the schema, every average computed anew, and what is refused."""

from __future__ import annotations

import csv
import math
from collections import Counter
from pathlib import Path
from statistics import fmean

import pytest

from aqabench.board.published.reader import (
    COLUMNS,
    claims_of,
    published,
    published_datasets,
    published_rows,
    read,
)
from aqabench.board.published.schema import AVERAGE, Claim
from aqabench.errors import DataError, UnknownNameError
from aqabench.protocol.library import load_dataset

ROW = {
    "class": "TES", "method": "Some-Net", "year": "2025", "modalities": "v+a",
    "condition": "complete", "metric": "srcc", "value": "0.700", "role": "result",
    "averaging": "", "source": "paper", "place": "Table 1", "conflict": "", "note": "",
}  # fmt: skip


def _folder(tmp_path: Path, *rows: dict[str, str], name: str = "fisv.csv") -> Path:
    (tmp_path / "sources.csv").write_text(
        "key,title,address,seen\npaper,A paper,https://example.org/paper,its tables\n"
    )
    with (tmp_path / name).open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows({**ROW, **row} for row in rows)
    return tmp_path


def _printed(claim: Claim) -> tuple[str, ...]:
    """What an average shares with the classes it was printed with."""
    c = claim
    return (c.dataset, c.method, c.source.key, c.condition, c.modalities, c.metric)


def test_rows_are_counted() -> None:
    assert Counter(claim.dataset for claim in published()) == {
        "fisv": 117, "rg": 152, "fs1000": 78, "": 11,
    }  # fmt: skip
    assert published_datasets() == ["fisv", "fs1000", "rg"]
    assert {c.file for c in published()} == {"costs.csv", "fisv.csv", "fs1000.csv", "rg.csv"}


def test_every_average_follows_the_rule_that_is_stated() -> None:
    rules: Counter[tuple[str, str]] = Counter()
    classes: dict[tuple[str, ...], dict[str, float]] = {}
    for claim in published():
        if claim.class_name != AVERAGE:
            classes.setdefault(_printed(claim), {})[claim.class_name] = claim.value
    names = {d: {c.name for c in load_dataset(d).classes} for d in published_datasets()}
    for claim in published_rows("fisv") + published_rows("rg") + published_rows("fs1000"):
        own = classes.get(_printed(claim), {})
        if set(own) != names[claim.dataset]:
            assert claim.averaging == "unchecked", claim
            continue
        agrees = []
        if claim.metric == "srcc":
            fisher = math.tanh(fmean(math.atanh(value) for value in own.values()))
            agrees += ["fisher"] * (abs(fisher - claim.value) <= 1e-3)
        agrees += ["arithmetic"] * (abs(fmean(own.values()) - claim.value) <= 1e-3)
        rule = "either" if len(agrees) == 2 else agrees[0] if agrees else "neither"
        assert claim.averaging == rule, claim
        assert claim.conflict or rule != "neither", "what nothing reproduces is marked"
        rules[claim.metric, rule] += 1
    # as leaderboards/published/README.md says
    assert {rule: n for (metric, rule), n in rules.items() if metric == "srcc"} == {
        "fisher": 23, "arithmetic": 2, "either": 5, "neither": 4,
    }  # fmt: skip


def test_no_contradicted_number_is_a_result_unless_its_classes_were_printed() -> None:
    doubtful = [c for c in published() if c.conflict and c.role == "result"]
    assert doubtful
    for claim in doubtful:
        assert claim.class_name == AVERAGE, claim
        assert claim.averaging in ("arithmetic", "neither", "either"), claim
    slips = {(c.method, c.value): c.role for c in published() if c.dataset == "fisv" and c.conflict}
    assert slips["GDLT", 0.820] == slips["ACTION-NET", 0.744] == "repeat"


def test_claims_of_a_method_and_rows_of_a_board() -> None:
    found = claims_of(["MCMoE"])
    assert {c.dataset for c in found} == {"", "fisv", "rg", "fs1000"}
    assert any(c.value == 0.842 and c.source.title.startswith("MCMoE") for c in found)
    assert str(found[0]) == "params_m 4.9 (MCMoE, AAAI 2026, arXiv 2511.17397)"
    slip = next(
        c for c in claims_of(["GDLT"]) if (c.dataset, c.value) == ("fisv", 0.820) and c.conflict
    )
    assert str(slip).startswith("fisv average, complete (v): srcc 0.82 (LMAC-Net, ")
    assert str(slip).endswith("contradicted: every other source has 0.761; 0.820 is its PCS")
    assert len(claims_of(("MCMoE", "GDLT"))) == len(found) + len(claims_of(["GDLT"]))
    with pytest.raises(UnknownNameError, match=r"no published method called 'MCMoA'.*'MCMoE'"):
        claims_of(["MCMoA"])
    assert {c.class_name for c in published_rows("rg")} == {AVERAGE}
    assert {c.class_name for c in published_rows("rg", "Ball")} == {"Ball"}
    assert published_rows("percepiano") == ()


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ({"value": "84.2"}, r"fisv\.csv:2:1: a Spearman correlation lies in \(-1, 1\)"),
        ({"value": "high"}, r"fisv\.csv:2:7: value: .*number.*'high'"),
        ({"value": "nan"}, r"fisv\.csv:2:7: value: .*finite"),
        ({"metric": "mse", "value": "-1"}, "mse is above 0"),
        ({"metric": "spearman"}, r"fisv\.csv:2:6: metric: "),
        ({"class": "TEZ"}, r"fisv\.csv:2:1: class: is not known \(got 'TEZ'\).*'TES'"),
        ({"modalities": "v+x"}, r"fisv\.csv:2:4: modalities: is not known \(got 'x'\)"),
        ({"modalities": ""}, "the streams shown are not said"),
        ({"source": "papers"}, r"fisv\.csv:2:10: source: is not known.*'paper'"),
        ({"class": "average"}, "averages over classes, and only they"),
        ({"averaging": "fisher"}, "averages over classes, and only they"),
        ({"year": "204"}, r"fisv\.csv:2:3: year: "),
        ({"condition": "some"}, r"fisv\.csv:2:5: condition: "),
        ({"condition": "random-10"}, "belongs to another protocol"),
        ({"role": "winner"}, r"fisv\.csv:2:8: role: "),
        ({"method": ""}, r"fisv\.csv:2:2: method: "),
        ({"metric": "params_m"}, r"costs stand in costs\.csv"),
    ],
)
def test_a_wrong_cell_is_named_with_its_place(
    tmp_path: Path, cells: dict[str, str], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        read(_folder(tmp_path, cells))


def test_all_faults_are_listed_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read(_folder(tmp_path, {"value": "x"}, {}, {"class": "Ball", "year": "1"}))
    said = str(caught.value)
    assert "correct these lines and type the same command again" in said
    assert "fisv.csv:2:7" in said
    assert "fisv.csv:4:1" in said


def test_a_method_has_one_result(tmp_path: Path) -> None:
    assert len(read(_folder(tmp_path, {}, {"role": "repeat", "value": "0.71"}))) == 2
    with pytest.raises(DataError, match=r"fisv\.csv:3:1: Some-Net: has its like in line 2"):
        read(_folder(tmp_path, {}, {"value": "0.71"}))
    with pytest.raises(DataError, match="has its like in line 2"):
        read(_folder(tmp_path, {"role": "repeat"}, {"role": "repeat"}))


def test_a_wrong_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"fiss\.csv:1:1: is called like no data set.*'fisv'"):
        read(_folder(tmp_path, {}, name="fiss.csv"))
    (tmp_path / "fiss.csv").unlink()
    path = _folder(tmp_path, {}) / "fisv.csv"
    text = path.read_text()
    path.write_text(text.replace("year", "when"))
    with pytest.raises(DataError, match=r"fisv\.csv:1:1: the heading must be class,method,year"):
        read(tmp_path)
    path.write_text(text + "TES,one cell less\n")
    with pytest.raises(DataError, match=r"fisv\.csv:3:1: 13 cells are needed \(got 2\)"):
        read(tmp_path)
    path.write_text(text + 'TES,"open')
    with pytest.raises(DataError, match=r"fisv\.csv:3:1: is no CSV"):
        read(tmp_path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"fisv\.csv:1:1: cannot be read"):
        read(tmp_path)


def test_sources_are_there_and_distinct(tmp_path: Path) -> None:
    folder = _folder(tmp_path, {})
    (folder / "sources.csv").write_text("key,title,address,seen\npaper,A paper,,x y z\n" * 1)
    assert read(folder)[0].source.address == ""
    (folder / "sources.csv").write_text("key,title,address,seen\n" + "paper,A paper,,notes\n" * 2)
    with pytest.raises(DataError, match=r"sources\.csv:3:1: key: stands there twice \(got paper\)"):
        read(folder)
    (folder / "sources.csv").unlink()
    with pytest.raises(DataError, match=r"sources\.csv:1:1: cannot be read"):
        read(folder)


def test_nothing_of_the_collected_facts_is_lost(shared_data: Path) -> None:
    """Every number of the collection is here, but for two sizes that were quoted from memory."""
    files = {"Fis-V": "fisv", "RG": "rg", "FS1000": "fs1000"}
    metrics = {
        "SRCC": "srcc", "MSE": "mse", "R-l2": "rl2", "params(M)": "params_m", "GFLOPs": "gflops",
        "latency(ms)": "latency_ms",
    }  # fmt: skip
    facts: Counter[tuple[str, str, str, str, float]] = Counter()
    with (shared_data / "published_results.csv").open(newline="") as rows:
        for row in csv.DictReader(rows):
            if row["method"] != "dataset":
                name = "" if row["class"] == "n/a" else row["class"]
                method = row["method"].split(" (author log")[0]
                where = (files.get(row["dataset"], ""), name, method, metrics[row["metric"]])
                facts[*where, round(float(row["value"]), 3)] += 1
    here = Counter(
        (c.dataset, c.class_name, c.method, c.metric, round(c.value, 3)) for c in published()
    )
    assert here == facts
