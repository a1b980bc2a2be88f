"""A report as one self-contained page.

The policy of its content allows the one style sheet and the one script by their hashes, images of
the page itself, and nothing else: it can ask no server for anything.  Every text is escaped by
Jinja2.  The same report at the same place gives the same bytes.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from aqabench.board.costs import QUANTITIES
from aqabench.board.render.html import charts, portraits
from aqabench.board.render.html.cells import (
    Grid,
    column_grid,
    numbers_of,
    pair_grid,
    pair_id,
    runs_id,
    score_grid,
    title,
    view_id,
)
from aqabench.board.render.html.svg import inline_svg, look
from aqabench.board.render.notes import footnotes
from aqabench.board.render.text import heading
from aqabench.board.render.ties import verdict
from aqabench.board.report import Report, View
from aqabench.board.table import Row
from aqabench.runs.record import RunRecord

HERE = Path(__file__).parent
AWAY = 2
"""Folders that a link may go up; records further away are named and not linked."""


@dataclass(frozen=True)
class Part:
    """A view as the template wants it."""

    name: str
    title: str
    verdict: str
    scores: Grid
    ties: Markup | None
    gap: Markup | None
    columns: Grid | None
    curves: Sequence[tuple[str, Markup]]
    pairs: Grid | None
    sentences: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Run:
    """A run in the list of a method."""

    key: str
    id: str
    class_name: str
    seed: str
    status: str
    epochs: str
    link: str
    place: str


@dataclass(frozen=True)
class Method:
    """A method as the template wants it."""

    id: str
    name: str
    notes: Sequence[str]
    scatter: Markup | None
    training: Markup | None
    runs_id: str
    runs: Sequence[Run]


def board_html(report: Report, folder: Path | None = None) -> str:
    """Return the page of a board.

    Args:
        report: what is shown.
        folder: where the page will be; records near it are linked.
    """
    style, script = _asset("page.css"), _asset("page.js")
    with look():
        parts = [_part(report, view) for view in report.views]
        methods = [
            _method(report, row, number, folder) for number, row in enumerate(report.board.rows)
        ]
        costs = [
            (
                QUANTITIES[name].title,
                said,
                inline_svg(
                    figure,
                    f"cost-{name}",
                    f"Score against {QUANTITIES[name].title}",
                    cropped=True,
                ),
            )
            for name, said, figure in charts.cost_charts(report.board)
        ]
    page: str = _template().render(
        policy=_policy(style, script),
        style=Markup(style),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        report=report,
        board=report.board,
        heading=heading(report.board),
        facts=_facts(report),
        warnings=_warnings(report),
        parts=parts,
        costs=costs,
        methods=methods,
        column=portraits.fullest(report),
        notes=footnotes(report.board),
        single=all(len(row.seeds) < 2 for row in report.board.rows),
    )
    return page


def _asset(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("page.html.j2")


def _policy(style: str, script: str) -> str:
    """Return the content policy: what the page has inside, by hash, and nothing from outside."""

    def of(text: str) -> str:
        return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

    return (
        f"default-src 'none'; style-src 'sha256-{of(style)}'; script-src 'sha256-{of(script)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _facts(report: Report) -> list[tuple[str, str]]:
    """Return what every number of the page depends on."""
    board = report.board
    condition = board.condition
    videos = [row.overall.average.n for row in board.rows if row.overall]
    return [
        ("Protocol", f"{condition.protocol} v{board.asked.protocol.version}"),
        ("Test videos", str(max(videos)) if videos else "unknown"),
        ("Classes", ", ".join(board.classes)),
        ("Budget", condition.budget),
        ("Epoch chosen by", board.rule),
        ("Protocol digest", condition.protocol_digest[:12]),
        ("Data digest", condition.data_digest[:12]),
    ]


def _warnings(report: Report) -> list[str]:
    """Return what no reader of the page may miss."""
    found = []
    if report.board.rule == "oracle":
        found.append(
            "The epoch is chosen ON THE TEST VIDEOS, as papers do: these are no honest estimates."
        )
    finished = [r for own in report.runs.values() for r in own if r.status == "finished"]
    lacking = sum(record.key in report.lacking for record in finished)
    if lacking:
        found.append(
            f"No predictions lie beside the records of {lacking} of {len(finished)} runs: no "
            "number is made of these."
        )
    failed = sum(len(row.failed) for row in report.board.rows)
    if failed:
        found.append(f"{failed} run{'s' if failed > 1 else ''} FAILED; see method by method.")
    return found


def _part(report: Report, view: View) -> Part:
    ties, rules = charts.ties_chart(view), charts.rules_chart(view.board)
    words, own = title(view), view_id(report, view)
    return Part(
        name=view.name,
        title=words,
        verdict=verdict(view),
        scores=score_grid(report, view),
        ties=inline_svg(ties, f"ties-{own}", f"Scores and tie groups, {words}") if ties else None,
        gap=inline_svg(rules, f"gap-{own}", f"Score under each selection rule, {words}")
        if rules
        else None,
        columns=column_grid(report, view),
        curves=[
            (what, inline_svg(figure, f"curve-{own}-{k}", f"Spearman over {what}, {words}"))
            for k, (what, figure) in enumerate(charts.curve_charts(view))
        ],
        pairs=pair_grid(report, view),
        sentences=[(pair_id(report, view, k), pair.sentence) for k, pair in enumerate(view.pairs)],
    )


def _method(report: Report, row: Row, number: int, folder: Path | None) -> Method:
    scatter = portraits.scatter_chart(report, row)
    training = portraits.training_chart(report, row)
    seen: set[str] = set()
    runs = []
    for record in report.runs[row.name]:
        first = record.class_name not in seen
        seen.add(record.class_name)
        own = runs_id(report, number, record.class_name) if first else ""
        runs.append(_run(report, record, own, folder))
    named = f"of {row.name}"
    return Method(
        id=f"method-{numbers_of(report)[row.name]}",
        name=row.name,
        notes=[*row.notes, *(f"FAILED {line}" for line in row.failed)],
        scatter=inline_svg(scatter, f"scatter-{number}", f"Predicted and true scores {named}")
        if scatter
        else None,
        training=inline_svg(training, f"training-{number}", f"Training curves {named}")
        if training
        else None,
        runs_id=f"runs-{number}",
        runs=runs,
    )


def _run(report: Report, record: RunRecord, own_id: str, folder: Path | None) -> Run:
    file = report.files[record.key]
    fold = "" if record.fold is None else f", fold {record.fold}"
    epochs = ", ".join(
        f"{rule} {record.selected_epochs[rule]}"
        for rule in ("val", "last", "oracle")
        if rule in record.selected_epochs
    )
    return Run(
        key=record.key,
        id=own_id,
        class_name=record.class_name,
        seed=f"{record.seed}{fold}",
        status=record.status,
        epochs=epochs,
        link=record_link(file, folder),
        place=file.relative_to(report.source.root).as_posix(),
    )


def record_link(file: Path, folder: Path | None) -> str:
    """Return the way from the page to a record; empty where that is far, and tells of a machine.

    Args:
        file: the record.
        folder: where the page will be; None where nobody knows.
    """
    if folder is None:
        return ""
    way = Path(os.path.relpath(file.resolve(), folder.resolve()))
    return "" if way.parts.count("..") > AWAY else quote(way.as_posix())
