"""The page of a board as people use it, in a real headless Chromium."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aqabench.board.render.html.page import board_html
from aqabench.protocol.library import load_protocol
from aqabench.runs.store import RunStore
from tests.board.made import HOSTILE, put, report_of

pytestmark = pytest.mark.browser

NARROW, WIDE = {"width": 360, "height": 740}, {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install aqabench[browser]"
    )
    system = shutil.which("chromium") or shutil.which("chromium-browser")
    with playwright.sync_playwright() as started:
        try:
            chromium = started.chromium.launch(executable_path=system, args=["--no-sandbox"])
        except playwright.Error as error:
            pytest.skip(f"no Chromium starts here (apt-get install chromium): {error}")
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def file(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    store, asked = RunStore(folder / "runs"), load_protocol("fisv-rgb")
    for method, noise in ((HOSTILE, 4.0), ("beta", 14.0), ("Alpha", 30.0), ("none", math.inf)):
        put(store, asked, method, noise, seeds=(0,), curves=method == "beta")
    (folder / "board.html").write_text(board_html(report_of(store), folder), encoding="utf-8")
    return folder / "board.html"


class Open:
    """An opened page, and what it said and asked for since."""

    def __init__(self, browser: Any, file: Path, size: dict[str, int], scheme: str) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page = browser.new_page(viewport=size, color_scheme=scheme)
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(file.as_uri())

    def methods(self) -> list[str]:
        names = self.page.locator("table.scores:visible tbody.measured th a")
        return [" ".join(text.split()) for text in names.all_inner_texts()]

    def head(self, name: str) -> Any:
        heads = self.page.locator("table.scores:visible thead button")
        return heads.filter(has_text=name).first


@pytest.fixture
def opened(browser: Any, file: Path) -> Iterator[Open]:
    one = Open(browser, file, WIDE, "light")
    yield one
    assert one.said == [], "nothing is said on the console"
    assert one.asked == [file.as_uri()], "nothing but the page itself is asked for"
    one.page.close()


def test_a_click_on_a_heading_sorts_and_another_turns_round(opened: Open) -> None:
    assert opened.methods() == [HOSTILE, "beta", "Alpha", "none"]
    head = opened.head("MSE")
    head.click()
    column = head.evaluate("(button) => button.closest('th').cellIndex")
    values = opened.page.locator("table.scores:visible tbody.measured tr").evaluate_all(
        f"(rows) => rows.map((row) => Number(row.cells[{column}].dataset.key))"
    )
    assert len(set(values)) == 4
    assert values == sorted(values, reverse=True)
    assert opened.methods()[-1] == HOSTILE, "the best has the least error"
    cell = head.locator("xpath=ancestor::th")
    assert cell.get_attribute("aria-sort") == "descending"
    head.click()
    assert cell.get_attribute("aria-sort") == "ascending"
    assert opened.methods()[0] == HOSTILE


def test_the_keyboard_sorts_too_and_undefined_stays_last(opened: Open) -> None:
    head = opened.head("Avg1")
    head.focus()
    opened.page.keyboard.press("Enter")
    assert opened.methods() == [HOSTILE, "beta", "Alpha", "none"]
    opened.page.keyboard.press("Space")
    assert opened.methods() == ["Alpha", "beta", HOSTILE, "none"]
    opened.page.keyboard.press("Shift+Tab")
    opened.page.keyboard.press("Shift+Tab")
    opened.page.keyboard.press("Enter")
    assert opened.methods() == [HOSTILE, "Alpha", "beta", "none"]


def test_published_rows_stay_where_they_are(opened: Open) -> None:
    rows = opened.page.locator("table.scores:visible tbody.published th a")
    before = rows.all_inner_texts()
    assert "GDLT (2022)" in before
    opened.head("Avg1").click()
    assert rows.all_inner_texts() == before


def test_views_switch_by_click_and_by_keyboard(opened: Open) -> None:
    shown = opened.page.locator("section.view:visible")
    assert shown.count() == 1
    assert shown.get_attribute("data-view") == "average"
    opened.page.get_by_role("button", name="TES").click()
    assert shown.get_attribute("data-view") == "TES"
    opened.page.keyboard.press("Tab")
    opened.page.keyboard.press("Enter")
    assert shown.get_attribute("data-view") == "PCS"
    pressed = opened.page.locator("[data-show][aria-pressed=true]")
    assert pressed.all_inner_texts() == ["PCS"]


def test_a_number_opens_the_runs_it_is_made_of(opened: Open, file: Path) -> None:
    opened.page.locator("table.scores:visible td.score a").nth(1).click()
    runs = opened.page.locator("details.method[open] table.runs")
    assert runs.count() == 1
    links = runs.locator("a")
    assert links.count() == 2
    for k in range(2):
        assert (file.parent / str(links.nth(k).get_attribute("href"))).is_file()


def test_a_hostile_name_does_nothing(opened: Open) -> None:
    assert opened.page.locator("img").count() == 0
    assert HOSTILE in opened.methods()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_page_does_not_scroll_sideways(browser: Any, file: Path, scheme: str) -> None:
    one = Open(browser, file, NARROW, scheme)
    for name in ("mean over classes", "TES"):
        one.page.get_by_role("button", name=name).click()
        one.page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true })")
        assert one.page.evaluate("document.documentElement.scrollWidth") <= 360
    one.page.evaluate("scrollTo(200, 0)")
    assert one.page.evaluate("scrollX") == 0
    paper = one.page.evaluate("getComputedStyle(document.body).backgroundColor")
    ink = one.page.evaluate(
        "getComputedStyle(document.querySelector('section:not([hidden]) .chart text')).fill"
    )
    light = [sum(map(int, colour[4:-1].split(","))) > 384 for colour in (paper, ink)]
    assert light == ([True, False] if scheme == "light" else [False, True])
    assert one.said == []
    assert len(one.asked) == 1
    one.page.close()


def test_everything_is_there_without_the_script(browser: Any, file: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(file.as_uri())
    assert page.locator("section.view:visible").count() == 3
    context.close()
