"""``aqabench board``: what was run, as a board that people read, or that programs do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from aqabench.cli.options import PROTOCOL, store_option
from aqabench.errors import StoreError, UnknownNameError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aqabench.board.folder import RecordsFolder, StoredRuns
    from aqabench.board.report import Report

SUFFIXES = {
    "terminal": ".txt", "markdown": ".md", "csv": ".csv", "json": ".json", "latex": ".tex",
    "html": ".html",
}  # fmt: skip
WIDTH = 80
"""Columns of a terminal board that is written into a file."""


@click.command("board")
@click.argument("methods", nargs=-1)
@click.option("--protocol", "-p", type=PROTOCOL, help="Default: every protocol that has runs.")
@click.option(
    "--data", type=click.Choice(["real", "simulated"]), help="Only runs on data of this kind."
)
@click.option("--budget", type=click.Choice(["quick", "standard", "paper"]), help="Only this one.")
@click.option("--class", "classes", multiple=True, help="Only this class. May be repeated.")
@click.option(
    "--rule",
    type=click.Choice(["val", "last", "oracle"]),
    help="How the epoch is chosen. Default: the protocol's own rule.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(list(SUFFIXES)),
    help="Default: what the ending of --output says, else terminal.",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    metavar="FILE|FOLDER",
    help="Write here and not to the screen; into a folder, a file for each board. html needs it.",
)
@click.option(
    "--records",
    "folder",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Render the records in this folder, as leaderboards/ ships them, instead of the store.",
)
@store_option
def command(
    methods: tuple[str, ...],
    protocol: str | None,
    data: str | None,
    budget: str | None,
    classes: tuple[str, ...],
    rule: str | None,
    form: str | None,
    output: Path | None,
    folder: Path | None,
    store_folder: Path | None,
) -> int:
    """Render what has been run: all METHODS in the store, or the ones you name.

    Shows tie groups, never ranks: methods that cannot be told apart share a letter. The same
    records give the same bytes.

    Exit code: 0 fine, 1 a shown method has failed runs, 2 wrong usage or nothing to show.
    """
    from aqabench.board.folder import RecordsFolder, StoredRuns
    from aqabench.runs.store import RunStore

    form = _form(form, output)
    if folder is not None:
        source: RecordsFolder | StoredRuns = RecordsFolder.read(folder)
    else:
        source = StoredRuns(RunStore(store_folder) if store_folder else RunStore.default())
    reports = _reports(source, methods, protocol, data, budget, classes, rule)
    if output is None:
        click.echo(_text(form, reports, None), nl=False)
    else:
        for path, own in _files(form, output, reports).items():
            _write(path, _text(form, own, path.parent))
            click.echo(f"Written: {path}", err=True)
    return 1 if any(row.failed for report in reports for row in report.board.rows) else 0


def _form(form: str | None, output: Path | None) -> str:
    """Return the format that is meant.

    Raises:
        UsageError: the ending of the file says none, HTML without a file, or no folder for it.
    """
    if form is None and output is not None and not _is_folder(output):
        known = {suffix: name for name, suffix in SUFFIXES.items()}
        form = known.get(output.suffix.lower())
        if form is None:
            raise UsageError(
                f"The ending of '{output}' says no format; there are {', '.join(known)}. Type: "
                f"--format html --output '{output.with_suffix('.html')}'"
            )
    form = form or "terminal"
    if form == "html" and output is None:
        raise UsageError("An HTML page goes into a file. Type: --format html --output board.html")
    if output is not None and not _is_folder(output) and not output.parent.is_dir():
        raise UsageError(
            f"There is no folder {output.parent} for the board. Make it first (mkdir -p "
            f"'{output.parent}'), or type: --output '{output.name}'"
        )
    return form


def _is_folder(output: Path) -> bool:
    return output.is_dir() or not output.suffix


def _reports(
    source: RecordsFolder | StoredRuns,
    methods: Sequence[str],
    protocol: str | None,
    data: str | None,
    budget: str | None,
    classes: Sequence[str],
    rule: str | None,
) -> list[Report]:
    """Return the boards of the chosen runs.

    Raises:
        UsageError: there are none.
        UnknownNameError: a method has no runs.
    """
    from aqabench.board.report import make_report
    from aqabench.board.select import by_condition
    from aqabench.protocol.library import load_protocol, protocol_names

    if protocol is not None and protocol not in protocol_names():
        protocol = load_protocol(protocol).protocol.name
    records = source.records(
        protocol,
        lambda run: (
            (not classes or run.class_name in classes)
            and data in (None, run.data_kind)
            and budget in (None, run.budget)
        ),
    )
    conditions = by_condition(records)
    known = {run.name for runs in conditions.values() for run in runs}
    if not known:
        raise UsageError(
            f"There are no such runs{f' of {protocol}' if protocol else ''} in {source.root} yet. "
            f"Make some: aqabench run --method mcmoe --protocol {protocol or 'fisv-missing'}"
        )
    for name in methods:
        if name not in known:
            raise UnknownNameError("method among the stored runs", name, known, "aqabench board")
    found = []
    others = 0
    for condition, runs in conditions.items():
        chosen = [r for r in runs if not methods or r.name in methods]
        if methods and len(chosen) < len(set(methods)):
            continue
        shipped = condition.protocol in protocol_names()
        asked = load_protocol(
            condition.protocol if shipped else str(source.protocol_file(condition.protocol))
        )
        if asked.digest != condition.protocol_digest:
            count = sum(len(r.records) for r in chosen)
            others += count
            click.echo(
                f"{condition.protocol}: {count} runs of another version of this protocol are left "
                "out; run them again to show them.",
                err=True,
            )
            continue
        found.append(make_report(asked, condition, chosen, source, rule))  # type: ignore[arg-type]
    if not found:
        why = (
            f"All {others} runs are of other versions of their protocols. Run them again"
            if others
            else "The named methods have no runs under one protocol, data and budget. Name fewer"
        )
        raise UsageError(f"There is no board to show. {why}, or type: aqabench runs list")
    return found


def _files(form: str, output: Path, reports: Sequence[Report]) -> dict[Path, Sequence[Report]]:
    """Return file -> boards in it.

    Raises:
        UsageError: one page for several boards.
        StoreError: the folder cannot be made.
    """
    suffix = SUFFIXES[form]
    if _is_folder(output):
        from aqabench.disk import storing

        with storing(output, ADVICE):
            output.mkdir(parents=True, exist_ok=True)
        names = [report.name for report in reports]
        return {
            output / f"{_distinct(name, names, k)}{suffix}": [reports[k]]
            for k, name in enumerate(names)
        }
    if form == "html" and len(reports) > 1:
        raise UsageError(
            f"A page has one board, and these are {len(reports)}: "
            f"{', '.join(r.name for r in reports)}. Narrow them down with -p, --data or --budget, "
            f"or write them all into a folder: --format html --output '{output.with_suffix('')}'"
        )
    return {output: reports}


def _distinct(name: str, names: Sequence[str], place: int) -> str:
    """Return the name, numbered from its second use on: releases of data differ in digest only."""
    before = names[:place].count(name)
    return f"{name}-{before + 1}" if before else name


ADVICE = "Nothing was lost. Choose another place with --output"


def _write(path: Path, text: str) -> None:
    """Write a board whole or not at all.

    Raises:
        StoreError: the disk is full or may not be written.
    """
    from aqabench.disk import replace_file, storing

    if path.is_dir():
        raise StoreError(f"'{path}' is a folder. Choose another place with --output")
    with storing(path, ADVICE):
        replace_file(path, text.encode())


def _text(form: str, reports: Sequence[Report], folder: Path | None) -> str:
    """Return the boards in a format.

    Args:
        form: one of the formats.
        reports: the boards.
        folder: where the file will be, from which records are linked.
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
