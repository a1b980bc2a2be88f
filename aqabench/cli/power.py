"""``aqabench power``: which differences a protocol can tell apart, and which papers' claims."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from aqabench.cli.options import PROTOCOL, figure_option
from aqabench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aqabench.board.detectable import Design, Question
    from aqabench.board.render.power import Compared
    from aqabench.board.render.sheet import Sheet
    from aqabench.protocol.library import Asked

CORRELATION = click.FloatRange(-1, 1, min_open=True, max_open=True)
SHARE = click.FloatRange(0, 1, min_open=True, max_open=True)


@click.command("power")
@click.option("--protocol", "-p", type=PROTOCOL, help="Default: every shipped protocol.")
@click.option(
    "--published",
    type=click.Choice(["neighbours", "records", "all"]),
    is_flag=False,
    flag_value="neighbours",
    metavar="[PAIRS]",
    help="Flag published pairs, too: neighbours in the ranking, records with the record before, "
    "or all. Default: neighbours.",
)
@click.option(
    "--class",
    "class_name",
    default="average",
    show_default=True,
    metavar="NAME",
    help="With --published: compare on this class.",
)
@click.option(
    "--power",
    "chance",
    type=SHARE,
    default=0.8,
    show_default=True,
    help="Probability with which a difference is to be found.",
)
@click.option("--alpha", type=SHARE, default=0.05, show_default=True, help="Two-sided level.")
@click.option(
    "--rho",
    type=CORRELATION,
    multiple=True,
    default=(0.7, 0.8),
    show_default=True,
    help="Mean Spearman of both methods. May be repeated.",
)
@click.option(
    "--overlap",
    "-r",
    type=CORRELATION,
    multiple=True,
    default=(0.8, 0.9, 0.95),
    show_default=True,
    help="Spearman of the two methods' predictions with each other. May be repeated.",
)
@click.option(
    "--samples",
    "-n",
    "numbers",
    type=click.IntRange(min=10),
    multiple=True,
    help="Numbers of test samples to go through. May be repeated.",
)
@click.option(
    "--shared",
    type=click.FloatRange(0, 1),
    help="Correlation between the differences of two scores of the same samples. Default: 0.5 for "
    "Fis-V, 0.6 elsewhere.",
)
@figure_option("Draw the smallest difference over test samples: FILE.png, .svg or .pdf.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["terminal", "markdown", "json", "csv"]),
    default="terminal",
    show_default=True,
)
def command(
    protocol: str | None,
    published: str | None,
    class_name: str,
    chance: float,
    alpha: float,
    rho: tuple[float, ...],
    overlap: tuple[float, ...],
    numbers: tuple[int, ...],
    shared: float | None,
    figure_path: Path | None,
    form: str,
) -> None:
    r"""Show the smallest difference that a protocol can tell apart.

    No data are needed: numbers of test samples are those that the protocol declares. Scenarios
    of the same samples count once.

    \b
    Examples:
      aqabench power                             every shipped protocol
      aqabench power -p rg-missing               one, and what it would need
      aqabench power -p rg-missing --published   with the claims of papers
      aqabench power --published records         records with the one before
      aqabench power -n 100 --rho 0.75 -r 0.85   a test set of your own
      aqabench power -p fisv-missing --figure power.png

    csv has the pairs where --published is asked for, the table over -n where that is asked for
    without a protocol, else the first table.
    """
    from rich.console import Console

    from aqabench.board.detectable import Question, design, designs
    from aqabench.board.render.sheet import markdown, print_sheet
    from aqabench.protocol.library import load_protocol, protocol_names

    if chance <= alpha:
        raise UsageError(
            f"--power {chance:g} is not above --alpha {alpha:g}: a test that never looks at the "
            f"data does as well. Type: --power 0.8 --alpha {min(alpha, 0.05):g}"
        )
    if class_name != "average" and published is None:
        raise UsageError(
            f"--class {class_name} says which published numbers to compare. Type: --published "
            f"--class {class_name}"
        )
    question = Question(_once(rho), _once(overlap), chance, alpha)
    own = bool(numbers) and protocol is None
    names = [protocol] if protocol else protocol_names()
    needed = not own or published is not None or figure_path is not None
    asked = [load_protocol(name) for name in names] if needed else []
    found = [] if own else designs(asked, shared)
    chosen = design(asked[0], shared) if protocol else None
    compared = [] if published is None else _compared(asked, class_name, published, alpha, shared)
    sizes = sorted(set(numbers))
    if form in ("json", "csv"):
        _records(form, found, chosen, sizes, question, compared)
    else:
        sheets = _sheets(found, chosen, sizes, question, compared)
        if form == "markdown":
            click.echo("\n\n".join(markdown(sheet) for sheet in sheets))
        else:
            console = Console()
            for sheet in sheets:
                print_sheet(sheet, console)
    if figure_path is not None:
        from aqabench.board.power_figure import draw
        from aqabench.figure import write_figure

        write_figure(draw(found or designs(asked, shared), question, compared), figure_path)
        click.echo(f"Drawn: {figure_path}", err=True)


def _once(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(sorted(set(values)))


def _compared(
    asked: Sequence[Asked], class_name: str, pairs: str, alpha: float, shared: float | None
) -> list[Compared]:
    """Return the published pairs of the protocols' data sets.

    Raises:
        UsageError: nothing is published for them, or not for that class.
    """
    from aqabench.board.detectable import official, plain
    from aqabench.board.published.reader import published_datasets
    from aqabench.board.published.standing import PAIRS, flagged, standings
    from aqabench.board.render.power import CONDITIONS, Compared

    datasets = {one.dataset.name: one.dataset for one in asked}
    known = published_datasets()
    found = []
    for name, dataset in datasets.items():
        if name not in known:
            continue
        on = official(dataset, shared)
        sizes = {c.name: c.test for c in dataset.classes}
        test = plain(sizes[class_name]) if class_name in sizes else on.mean
        for condition in CONDITIONS:
            ranking = standings(dataset, class_name, condition)
            if len(ranking) > 1:
                steps = flagged(PAIRS[pairs](ranking), test, alpha)
                every = flagged(PAIRS["all"](ranking), test, alpha)
                found.append(Compared(on, class_name, condition, ranking, pairs, steps, every))
    if found:
        return found
    here = [name for name in datasets if name in known]
    if here:
        classes = sorted({c.name for name in here for c in datasets[name].classes})
        raise UsageError(
            f"No two methods are published for the class '{class_name}' of {', '.join(here)}. "
            f"Choose one of: average, {', '.join(classes)}"
        )
    raise UsageError(
        f"Nothing is published for {', '.join(datasets)}; there are numbers for "
        f"{', '.join(known)}. Type: aqabench power --published"
    )


def _sheets(
    found: Sequence[Design],
    chosen: Design | None,
    sizes: Sequence[int],
    question: Question,
    compared: Sequence[Compared],
) -> list[Sheet]:
    from aqabench.board.render import power

    sheets = power.detectable_sheets(found, question) if found else []
    if chosen is not None:
        sheets += power.size_sheets(chosen.mean, sizes or power.SIZES, question)
        sheets += power.needed_sheets(chosen.mean, question)
    elif sizes:
        sheets += power.size_sheets(None, sizes, question)
    return [*sheets, *map(power.published_sheet, compared)]


def _records(
    form: str,
    found: Sequence[Design],
    chosen: Design | None,
    sizes: Sequence[int],
    question: Question,
    compared: Sequence[Compared],
) -> None:
    from aqabench.board.render import power

    tables = {"detectable": power.detectable_rows(found, question)}
    if chosen is not None or sizes:
        test = chosen.mean if chosen else None
        tables["sizes"] = power.size_rows(test, sizes or power.SIZES, question)
    if compared:
        tables["published"] = [row for one in compared for row in power.published_rows(one)]
    if form == "json":
        click.echo(json.dumps(tables, ensure_ascii=False, indent=1))
        return
    rows = tables.get("published") or tables["detectable"] or tables["sizes"]
    writer = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
