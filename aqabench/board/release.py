"""A board as files: in one format, or as the whole set that ``leaderboards/NAME`` ships.

The same records give the same bytes, so that what was committed can be rendered again and compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from aqabench.board.choose import Wanted, comparable
from aqabench.board.folder import RecordsFolder
from aqabench.board.report import Report, make_report

__all__ = [
    "SUFFIXES", "WHOLE_SET", "board_files", "committed", "outdated_files",
    "render",
]  # fmt: skip

SUFFIXES = {
    "terminal": ".txt", "markdown": ".md", "csv": ".csv", "json": ".json", "latex": ".tex",
    "html": ".html",
}  # fmt: skip
WHOLE_SET = tuple(name for name in SUFFIXES if name != "terminal")
"""Formats that a folder gets when none is named."""
WIDTH = 80
"""Columns of a terminal board that is written into a file."""


def render(form: str, reports: Sequence[Report], folder: Path | None) -> str:
    """Return boards in a format.

    Args:
        form: one of :data:`SUFFIXES`.
        reports: the boards; for HTML one.
        folder: where the file will be, from which records are linked; None for the screen.
    """
    if form == "csv":
        from aqabench.board.render.tidy import boards_csv

        return boards_csv(reports)
    if form == "json":
        from aqabench.board.render.tidy import boards_json

        return boards_json(reports)
    if form == "latex":
        from aqabench.board.render.latex import boards_latex

        return boards_latex(reports)
    if form == "html":
        from aqabench.board.render.html.page import board_html

        return board_html(reports[0], folder)
    if form == "markdown":
        from aqabench.board.render.ties import reports_markdown

        return reports_markdown(reports)
    from aqabench.board.render.ties import reports_text

    return reports_text(reports, None if folder is None else WIDTH)


def board_files(reports: Sequence[Report], form: str | None) -> dict[str, tuple[str, list[Report]]]:
    """Return the files of a folder of boards: name -> its format and the boards in it.

    Args:
        reports: the boards.
        form: a format, of which each board gets a file that says what it is; None for the whole
            set: ``board.md``, ``board.csv`` and so on with all boards, and a page for each.
    """
    each = distinct([report.name for report in reports])
    if form is not None:
        return {
            f"{name}{SUFFIXES[form]}": (form, [report])
            for name, report in zip(each, reports, strict=True)
        }
    files = {
        f"board{SUFFIXES[name]}": (name, list(reports)) for name in WHOLE_SET if name != "html"
    }
    pages = each if len(reports) > 1 else ["board"]
    return files | {
        f"{name}{SUFFIXES['html']}": ("html", [report])
        for name, report in zip(pages, reports, strict=True)
    }


def distinct(names: Sequence[str]) -> list[str]:
    """Return names, numbered from their second use on: releases of data differ in digest only."""
    return [
        f"{name}-{before + 1}" if (before := names[:place].count(name)) else name
        for place, name in enumerate(names)
    ]


def committed(folder: Path) -> list[Report]:
    """Return the boards of a folder that ships records, all of them."""
    source = RecordsFolder.read(folder)
    verb = f"aqabench board --records '{folder}'"
    found = comparable(source, Wanted(), verb, lambda text: None)
    return [make_report(asked, condition, runs, source) for asked, condition, runs in found]


def outdated_files(folder: Path, forms: Sequence[str] = WHOLE_SET) -> Iterator[tuple[str, bool]]:
    """Render what is rendered in a folder anew; yield each file, and whether it has other bytes.

    Args:
        folder: with records, and files as ``aqabench board --records FOLDER -o FOLDER`` names them.
        forms: those that are looked at; HTML takes seconds.
    """
    if not [*folder.glob("board.*"), *folder.glob("*.html")]:
        return
    for name, (form, reports) in board_files(committed(folder), None).items():
        path = folder / name
        if form in forms and path.is_file():
            yield name, path.read_bytes() != render(form, reports, folder).encode()
