"""The study of validity: the page is what the table says, and a small run sees a broken test."""

from __future__ import annotations

import csv
import importlib
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from aqabench.figure import write_figure
from aqabench.stats import averages, compare_spearman

STUDIES = Path(__file__).resolve().parents[2] / "docs" / "studies"


@pytest.fixture(scope="module")
def study():
    sys.path.insert(0, str(STUDIES))
    try:
        yield importlib.import_module("validity")
    finally:
        sys.path.remove(str(STUDIES))


@pytest.fixture(scope="module")
def made(study):
    return importlib.import_module("validity_page")


def test_the_page_is_what_the_table_says(made):
    rows = made.read_rows(STUDIES / "validity.csv")
    assert made.page(rows) == (STUDIES / "validity.md").read_text(encoding="utf-8")


def test_the_table_is_of_one_whole_run(study, made, tmp_path):
    rows = made.read_rows(STUDIES / "validity.csv")
    assert {(r.part, r.n) for r in rows} == {(part, n) for part, _, n, _ in study.jobs()}
    assert {r.part for r in rows} == set(made.PARTS)
    paired = [r for r in rows if r.part == "paired"]
    assert max(r.draws for r in paired) == study.DRAWS
    made.write_rows(rows, tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (STUDIES / "validity.csv").read_bytes()
    with (STUDIES / "validity.csv").open(newline="") as file:
        for line in csv.DictReader(file):
            share = int(line["hits"]) / int(line["draws"])
            assert float(line["rate"]) == pytest.approx(share, abs=1e-5)


def test_a_change_in_the_table_changes_the_page(made):
    rows = made.read_rows(STUDIES / "validity.csv")
    old = made.page(rows)
    for i in range(0, len(rows), 11):
        row = rows[i]
        hits = row.hits // 2 if row.hits > 1 else row.draws // 2
        changed = [*rows[:i], made.Row(**{**vars(row), "hits": hits}), *rows[i + 1 :]]
        assert made.page(changed) != old, row


def test_the_picture_has_the_same_bytes_every_time(made, tmp_path):
    rows = made.read_rows(STUDIES / "validity.csv")
    for name in ("a.svg", "b.svg"):
        write_figure(made.draw(rows), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert b"Dunn-Clark" in (STUDIES / "validity.svg").read_bytes()


def test_a_part_alone_gives_the_numbers_of_the_whole(study, made, tmp_path):
    study.main(["--draws", "6", "--only", "losses", "--out", str(tmp_path / "one.csv")])
    alone = made.read_rows(tmp_path / "one.csv")
    assert list(tmp_path.iterdir()) == [tmp_path / "one.csv"]
    both = study.run(6, ["families", "losses"])
    again = [(r.design, r.n, r.method, r.hits) for r in both if r.part == "losses"]
    assert [(r.design, r.n, r.method, r.hits) for r in alone] == again
    assert {r.n for r in alone} == {50, 100, 250}


def test_mirrored_methods_are_equally_good_and_not_exchangeable(study):
    design = study.NULLS[-1]
    y, a, b = study.draw_pair(np.random.default_rng(0), design, 200_000)
    rho_a, rho_b = (float(study.spearman(y, p)) for p in (a, b))
    assert rho_a == pytest.approx(rho_b, abs=0.004)
    weak = y < -1
    assert np.std((a - y)[weak]) > 1.8 * np.std((b - y)[weak])


@pytest.mark.parametrize(("shape", "rho", "r"), [("gaussian", 0.8, 0.9), ("t4", 0.787, 0.891)])
def test_the_copula_has_the_correlations_it_says(study, shape, rho, r):
    design = next(d for d in study.NULLS if d.shape == shape and d.rho == 0.8)
    y, a, b = study.draw_pair(np.random.default_rng(1), design, 200_000, 0.04)
    assert float(study.spearman(y, a)) == pytest.approx(rho + 0.02, abs=0.005)
    assert float(study.spearman(y, b)) == pytest.approx(rho - 0.02, abs=0.005)
    assert float(study.spearman(a, b)) == pytest.approx(r, abs=0.004)


def _false_alarms(copula, draws=200):
    rng = np.random.default_rng(11)
    hits = 0
    for _ in range(draws):
        y, (a, b) = copula(rng, 50, (0.8, 0.8), 0.9, 4)
        hits += compare_spearman(y, a, b).significant
    return hits / draws


def test_the_default_keeps_its_level_and_one_with_half_the_error_would_not(copula, monkeypatch):
    most = 0.05 + 3.3 * math.sqrt(0.05 * 0.95 / 200)
    assert _false_alarms(copula) < most
    real = averages.jackknife_variance

    def too_small(*args):
        found = real(*args)
        return type(found)(found.variance / 4, found.df, found.dropped)

    monkeypatch.setattr(averages, "jackknife_variance", too_small)
    assert _false_alarms(copula) > 2 * most
