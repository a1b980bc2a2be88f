"""``aqabench board``: what was run, as a board that people read, or that programs do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from aqabench.cli.options import rule_option, store_option, stored_runs_options
from aqabench.errors import StoreError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aqabench.board.folder import RecordsFolder, StoredRuns
    from aqabench.board.report import Report

FORMATS = ("terminal", "markdown", "csv", "json", "latex", "html")
"""The names of :data:`aqabench.board.release.SUFFIXES`, for a help that loads no pandas."""


@click.command("board")
@click.argument("methods", nargs=-1)
@stored_runs_options
@rule_option
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="Default: what the ending of --output says; all but terminal for a folder, else terminal.",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    metavar="FILE|FOLDER",
    help="Write here and not to the screen. html needs it. A folder gets a file for each board; "
    "without --format board.md, .csv, .json, .tex and .html.",
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
    from aqabench.board.choose import Wanted, comparable
    from aqabench.board.folder import RecordsFolder, StoredRuns
    from aqabench.board.release import board_files, render
    from aqabench.board.report import make_report
    from aqabench.runs.store import RunStore

    form = _form(form, output)
    if folder is not None:
        source: RecordsFolder | StoredRuns = RecordsFolder.read(folder)
    else:
        source = StoredRuns(RunStore(store_folder) if store_folder else RunStore.default())
    wanted = Wanted(methods, protocol, data, budget, classes)
    reports = [
        make_report(asked, condition, runs, source, rule)  # type: ignore[arg-type]
        for asked, condition, runs in comparable(
            source, wanted, "aqabench board", lambda text: click.echo(text, err=True)
        )
    ]
    if not reports:
        raise UsageError(
            "There is no board to show: all runs are of other versions of their protocols. Run "
            "them again, or type: aqabench runs list"
        )
    if output is None:
        click.echo(render(form or "terminal", reports, None), nl=False)
    elif _is_folder(output):
        _make_folder(output)
        for name, (each, own) in board_files(reports, form).items():
            _write(output / name, render(each, own, output))
    else:
        assert form is not None
        _require_one_page(form, output, reports)
        _write(output, render(form, reports, output.parent))
    return 1 if any(row.failed for report in reports for row in report.board.rows) else 0


def _form(form: str | None, output: Path | None) -> str | None:
    """Return the format that is meant; None for the screen's, or for all that a folder gets.

    Raises:
        UsageError: the ending of the file says none, HTML without a file, or no folder for it.
    """
    if form is None and output is not None and not _is_folder(output):
        from aqabench.board.release import SUFFIXES

        known = {suffix: name for name, suffix in SUFFIXES.items()}
        form = known.get(output.suffix.lower())
        if form is None:
            raise UsageError(
                f"The ending of '{output}' says no format; there are {', '.join(known)}. Type: "
                f"--format html --output '{output.with_suffix('.html')}'"
            )
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


def _require_one_page(form: str, output: Path, reports: Sequence[Report]) -> None:
    """Refuse several boards on one page.

    Raises:
        UsageError: says how to narrow them down.
    """
    if form == "html" and len(reports) > 1:
        raise UsageError(
            f"A page has one board, and these are {len(reports)}: "
            f"{', '.join(r.name for r in reports)}. Narrow them down with -p, --data or --budget, "
            f"or write them all into a folder: --format html --output '{output.with_suffix('')}'"
        )


ADVICE = "Nothing was lost. Choose another place with --output"


def _make_folder(path: Path) -> None:
    """Make the folder that boards are written to.

    Raises:
        StoreError: the disk may not be written.
    """
    from aqabench.disk import storing

    with storing(path, ADVICE):
        path.mkdir(parents=True, exist_ok=True)


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
    click.echo(f"Written: {path}", err=True)
