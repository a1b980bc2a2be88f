"""A board as CSV, JSON, LaTeX, Markdown, text and HTML: the same numbers, the same bytes."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import math
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from aqabench.board.render.html.page import board_html, record_link
from aqabench.board.render.html.svg import inline_svg, look
from aqabench.board.render.latex import board_latex, escaped
from aqabench.board.render.tidy import boards_csv, boards_json
from aqabench.board.render.ties import reports_markdown, reports_text
from aqabench.board.report import AVERAGE, Report
from aqabench.protocol.library import load_protocol
from aqabench.runs.store import RunStore
from tests.board.made import HOSTILE, put, report_of


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    store, asked = RunStore(tmp_path_factory.mktemp("formats") / "runs"), load_protocol("fisv-rgb")
    for method, noise in ((HOSTILE, 4.0), ("alike", 14.0), ("gdlt", 14.1), ("none", math.inf)):
        seeds = (0, 1) if method == "alike" else (0,)
        put(store, asked, method, noise, seeds=seeds, curves=method == "gdlt")
    return store


@pytest.fixture(scope="module")
def report(store: RunStore) -> Report:
    return report_of(store)


@pytest.fixture(scope="module")
def page(store: RunStore, report: Report) -> str:
    return board_html(report, store.root.parent)


class Elements(HTMLParser):
    """All elements of a page with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.ends: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        self.ends.append(tag)

    def values(self, name: str) -> list[str]:
        return [a[name] or "" for _, a in self.found if name in a]


def test_csv_has_every_number_with_interval_ties_seeds_and_runs(report: Report) -> None:
    lines = list(csv.DictReader(io.StringIO(boards_csv([report]))))
    view = report.views[0]
    (line,) = [
        x for x in lines
        if (x["method"], x["class"], x["column"], x["metric"]) == ("alike", AVERAGE, "Avg1", "srcc")
    ]  # fmt: skip
    row = next(r for r in view.board.rows if r.name == "alike")
    assert row.overall is not None
    assert float(line["value"]) == pytest.approx(row.overall.average.estimate, abs=1e-8)
    assert float(line["low"]) < float(line["value"]) < float(line["high"])
    assert (line["tie_group"], line["top_group"], line["seeds"]) == ("b", "no", "0 1")
    assert line["runs"].split() == report.keys(report.views[0], "alike")
    assert len(line["runs"].split()) == 4
    lost = [x for x in lines if x["method"] == "none" and x["metric"] == "srcc"]
    assert {x["value"] for x in lost} == {""}
    assert all("constant" in x["note"] for x in lost)
    claims = [x for x in lines if x["kind"] == "published"]
    assert claims
    assert all(x["source"] and not x["tie_group"] and not x["runs"] for x in claims)
    assert {x["kind"] for x in lines} == {"measured", "published"}


def test_json_says_the_same_and_null_for_what_is_undefined(report: Report) -> None:
    (board,) = json.loads(boards_json([report]))["boards"]
    assert board["simulated"] is True
    assert [v["class"] for v in board["views"]] == [None, "TES", "PCS"]
    whole = board["views"][0]
    assert whole["tie_groups"] == [[HOSTILE], ["alike", "gdlt"]]
    rows = {row["method"]: row for row in whole["rows"]}
    assert rows["none"]["score"]["value"] is None
    assert rows["none"]["score"]["undefined"] == "constant predictions"
    assert rows["alike"]["columns"]["v"]["low"] < rows["alike"]["columns"]["v"]["value"]
    for key in rows["alike"]["runs"]:
        run = board["runs"][key]
        assert run["method"] == "alike"
        assert (report.source.root / run["record"]).is_file()
    pair = next(p for p in whole["pairs"] if {p["better"], p["worse"]} == {"alike", "gdlt"})
    assert pair["adjusted_p"] >= pair["p"] > 0.05
    assert "cannot be told apart" in pair["sentence"]


def test_no_format_has_a_strict_rank(report: Report, page: str) -> None:
    document = json.loads(boards_json([report]))
    keys = re.findall(r'"([a-z_]+)":', json.dumps(document))
    assert not {k for k in keys if "rank" in k}
    heads = boards_csv([report]).splitlines()[0].split(",")
    assert "rank" not in heads
    assert not re.search(r"<th[^>]*>(<button[^>]*>)?\s*(#|rank)", page, re.IGNORECASE)


def test_latex_is_bold_for_the_whole_top_group(store: RunStore, tmp_path: Path) -> None:
    tied = RunStore(tmp_path)
    for method, noise in (("alike", 14.0), ("gdlt", 14.1), ("weak", 90.0)):
        put(tied, load_protocol("fisv-rgb"), method, noise)
    report = report_of(tied)
    assert report.views[0].top == ("alike", "gdlt")
    lines = board_latex(report).splitlines()
    bold = {line.split(" & ")[0]: line.split(" & ")[3] for line in lines if " & " in line}
    for name in ("alike", "gdlt"):
        assert bold[name].startswith(r"\textbf{0."), name
    assert bold["weak"].startswith("0.")


def test_latex_has_the_form_of_booktabs(report: Report) -> None:
    text = board_latex(report)
    for command in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert command in text
    assert r"\hline" not in text
    assert text.count(r"\begin{") == text.count(r"\end{") == 2
    width = len(re.search(r"\\begin{tabular}{([lr]+)}", text)[1])  # type: ignore[index]
    for line in text.splitlines():
        if line.endswith(r"\\") and not line.startswith(r"\multicolumn"):
            assert len(re.findall(r"(?<!\\)&", line)) == width - 1, line
    claims = text.split("As published")[1]
    assert r"\textit{GDLT (2022)}" in claims
    assert r"\textbf" not in claims
    assert escaped(HOSTILE) in text
    assert not re.search(r"(?<!\\)[%#$_^](?![+\\\\$])", escaped(HOSTILE))


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex on this machine")
def test_latex_compiles(report: Report, tmp_path: Path) -> None:
    body = board_latex(report)
    (tmp_path / "t.tex").write_text(
        "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\n"
        f"{body}\\end{{document}}\n"
    )
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"],
        cwd=tmp_path, capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]


def test_markdown_and_text_show_ties_and_claims_apart(report: Report) -> None:
    markdown = reports_markdown([report])
    assert "| alike | b |" in markdown
    assert markdown.index("| alike | b |") < markdown.index("Published, not measured here")
    text = reports_text([report], 80)
    assert max(map(len, text.splitlines())) <= 80
    assert "SIMULATED" in text
    assert re.search(r"^alike +b +0\.", text, re.MULTILINE)
    words = " ".join(text.split())
    assert "neither ranked nor tested with what was measured" in words


def test_the_page_may_ask_nobody_for_anything(page: str) -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy is not None
    said = policy[1].replace("&#39;", "'")
    assert said.startswith("default-src 'none'; ")
    assert "unsafe" not in said
    assert "http" not in said
    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        own = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{directive} 'sha256-{own}'" in said
    elements = Elements(page)
    assert not elements.values("style"), "a style at an element is against the policy"
    assert not [name for _, a in elements.found for name in a if name.startswith("on")]
    assert not elements.values("src")
    for link in elements.values("href"):
        assert link.startswith(("#", "data:,", "runs/")), link


def test_every_link_inside_the_page_arrives_once(page: str) -> None:
    elements = Elements(page)
    ids = elements.values("id")
    assert len(ids) == len(set(ids))
    targets = {link[1:] for link in elements.values("href") if link.startswith("#")}
    assert targets <= set(ids), sorted(targets - set(ids))[:5]
    assert {name for v in re.findall(r"url\(#([^)]+)\)", page) for name in [v]} <= set(ids)


def test_numbers_lead_to_records_that_are_there(store: RunStore, page: str) -> None:
    links = [v for v in Elements(page).values("href") if v.startswith("runs/")]
    assert len(links) == 10, "a record of each of 10 runs"
    for link in links:
        assert (store.root.parent / unquote(link)).is_file()


def test_a_record_far_away_is_named_and_not_linked(tmp_path: Path) -> None:
    record = tmp_path / "runs" / "p" / "m x" / "k" / "record.json"
    assert record_link(record, tmp_path) == "runs/p/m%20x/k/record.json"
    assert record_link(record, tmp_path / "boards" / "old") == "../../runs/p/m%20x/k/record.json"
    assert record_link(record, tmp_path / "a" / "b" / "c") == ""
    assert record_link(record, None) == ""


def test_a_hostile_name_is_text_everywhere(page: str) -> None:
    elements = Elements(page)
    assert "img" not in {tag for tag, _ in elements.found}
    assert "<img" not in page
    assert page.count("&lt;img src=x onerror=alert(1)&gt;") > 5


def test_the_page_names_what_is_simulated_and_what_it_shows(page: str) -> None:
    assert "<title>SIMULATED: " in page
    assert 'class="kind simulated"' in page
    labels = [a["aria-label"] for tag, a in Elements(page).found if tag == "svg" and "role" in a]
    said = " ".join(filter(None, labels))
    for what in ("Scores and tie groups", "selection rule", "against parameters",
                 "Predicted and true scores", "Training curves"):  # fmt: skip
        assert what in said


def test_published_rows_stand_apart_and_are_not_sorted(page: str) -> None:
    published = re.findall(r'<tbody class="published">(.*?)</tbody>', page, re.DOTALL)
    measured = re.findall(r'<tbody class="measured">(.*?)</tbody>', page, re.DOTALL)
    assert published
    assert all("GDLT (2022)" not in part for part in measured)
    assert any("GDLT (2022)" in part for part in published)
    assert all("data-key" not in part for part in published)


def test_the_same_records_give_the_same_bytes(store: RunStore, report: Report) -> None:
    again = report_of(RunStore(store.root))  # a page: tests/cli/test_board_verb.py
    for render in (boards_csv, boards_json, reports_markdown):
        assert render([again]) == render([report])
    assert board_latex(again) == board_latex(report)
    assert reports_text([again], 100) == reports_text([report], 100)


def test_greys_follow_the_text_and_colours_stay() -> None:
    from matplotlib.figure import Figure

    with look():
        figure = Figure(figsize=(2, 2))
        axis = figure.add_subplot()
        axis.plot([0, 1], [0, 1], color="#d55e00")
        axis.plot([0, 1], [1, 0], color="0.6")
        axis.set_title("$no formula")
    drawn = str(inline_svg(figure, "x", "two <lines>"))
    assert 'stroke="#d55e00"' in drawn
    assert re.search(r'stroke="currentColor"[^>]*stroke-opacity="0\.4"', drawn)
    assert "style=" not in drawn
    assert "<style" not in drawn
    assert "#000000" not in drawn
    assert "#ffffff" not in drawn
    assert "$no formula" in drawn
    assert 'aria-label="two &lt;lines&gt;"' in drawn
