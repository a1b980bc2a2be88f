"""``aqabench data show``: a portrait of a data set in figures, bars and, if wanted, a picture."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from aqabench.cli.data.chosen import data_option, open_data
from aqabench.cli.options import DATASET, figure_option
from aqabench.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from aqabench.cli.data.chosen import Chosen
    from aqabench.data.features import FeatureSet

NEAREST = 4


@click.command("show")
@click.argument("name", type=DATASET)
@data_option
@click.option("--sample", "sample_id", metavar="ID", help="Look at this sample, too.")
@figure_option("Draw lengths, scores and one sample's streams over time: FILE.png, .svg or .pdf.")
def command(name: str, wanted: str, sample_id: str | None, figure_path: Path | None) -> None:
    """Show what data set NAME is like: streams, lengths, scores, groups, folds, odd samples.

    Statistics of streams are taken from a part of the samples, everything else from all. The
    figure shows the streams of --sample, or of a sample of median length.
    """
    from rich.console import Console

    from aqabench.cli.data import figures
    from aqabench.cli.data.portrait import portrait, sample_portrait
    from aqabench.data.export import is_simulated
    from aqabench.data.summary import summarise
    from aqabench.figure import write_figure

    console = Console()
    with console.status(f"opening {name}"):
        chosen = open_data(name, wanted)
        row = None if sample_id is None else _row(chosen.data, name, sample_id)
        summary = summarise(chosen.data, chosen.spec)
    simulated = is_simulated(chosen.data)
    portrait(console, chosen, summary, simulated)
    if row is not None:
        sample_portrait(console, chosen, row)
    if figure_path is None:
        _next(console, chosen)
        return
    with console.status("drawing"):
        shown = figures.typical_row(chosen.data) if row is None else row
        figure = figures.draw(chosen.data, chosen.spec, shown, simulated)
        write_figure(figure, figure_path)
    console.print(f"\nDrawn: {figure_path}", highlight=False, markup=False, soft_wrap=True)


def _row(data: FeatureSet, name: str, sample_id: str) -> int:
    """Return the row of a sample.

    Raises:
        UsageError: there is none of that id; names the nearest ones.
    """
    if sample_id in data.ids:
        return data.ids.index(sample_id)
    near = difflib.get_close_matches(sample_id, data.ids, n=NEAREST, cutoff=0.4)
    near = near or [data.ids[0], data.ids[-1]]
    raise UsageError(
        f"There is no sample '{sample_id}' among the {len(data.ids)} of {name} "
        f"({'simulated' if data.kind == 'simulated' else 'real'} data). The nearest: "
        f"{', '.join(near)}. Type: aqabench data show {name} --sample {near[0]}"
    )


def _next(console: Console, chosen: Chosen) -> None:
    name = chosen.spec.name
    option = " --data simulated" if chosen.why == "as asked" else ""
    console.print(
        f"\nTo see it: aqabench data show {name}{option} --figure {name}.png", highlight=False
    )
