"""``aqabench submit``: whole rows for a leaderboard, in one file."""

from __future__ import annotations

import shlex
from pathlib import Path

import rich_click as click

from aqabench.cli.options import (
    PROTOCOL,
    plugin_words,
    plugins_option,
    store_option,
    stored_budget_option,
    stored_data_option,
)
from aqabench.errors import StoreError, UsageError


@click.command("submit")
@click.argument("methods", nargs=-1, required=True)
@plugins_option
@click.option("--protocol", "-p", type=PROTOCOL, required=True, help="Of the leaderboard.")
@stored_data_option
@stored_budget_option
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.zip",
    help="Default: METHOD-PROTOCOL-DATA-BUDGET.zip.",
)
@click.option(
    "--weights/--no-weights",
    default=None,
    help="Pack what the methods have learned, for 'aqabench verify --weights'. Default: if it is "
    "kept with every run.",
)
@click.option("--overwrite", is_flag=True, help="Replace the file if it is there.")
@store_option
def command(
    methods: tuple[str, ...],
    plugins: tuple[Path, ...],
    protocol: str,
    data: str | None,
    budget: str | None,
    output: Path | None,
    weights: bool | None,
    overwrite: bool,
    store_folder: Path | None,
) -> int:
    """Pack the runs of METHODS, rows of a board, for a leaderboard.

    Only whole rows: every class, seed and fold that the protocol asks for under the budget, from
    one version of the source, with numbers that follow from their predictions. The file is one that
    'aqabench runs import' reads; it also holds each method's card and source file.

    Exit code: 0 fine, 1 a number does not follow, 2 wrong usage or runs are missing.
    """
    from aqabench.board.choose import Wanted, comparable
    from aqabench.board.submission import origins, packed_weights, require_whole
    from aqabench.cli.runs.words import runs, size
    from aqabench.method.registry import discover
    from aqabench.runs.exchange import export_runs
    from aqabench.runs.recompute import recheck
    from aqabench.runs.store import RunStore

    if output is not None and output.suffix != ".zip":
        raise UsageError(f"The file is a zip, but '{output}' is not called so. Type {output}.zip")
    store = RunStore(store_folder) if store_folder else RunStore.default()
    found = comparable(
        store,
        Wanted(methods, protocol, data, budget),
        "aqabench board",
        lambda text: click.echo(text, err=True),
    )
    if len(found) != 1:
        there = "; ".join(f"{c.data_kind} data, {c.budget}" for _, c, _ in found) or "none is left"
        raise UsageError(
            f"A submission is of one protocol, data and budget, and these are {len(found)}: "
            f"{there}. Choose one with --data and --budget; to see what there is: aqabench board"
        )
    ((asked, condition, groups),) = found
    extra = plugin_words(plugins) + (" --keep-weights" if weights else "")
    require_whole(asked, condition, groups, extra)
    members = origins(condition, groups, discover(plugins), extra)
    records = [record for group in groups for record in group.finished]
    for record in records:
        _, problems = recheck(record, store.predictions(record), store.curve(record), asked)
        if problems:
            raise StoreError(
                f"The run {record.key} of {record.row} {problems[0]}, so it is not handed in. "
                f"Look at it: aqabench runs show {record.key}"
            )
    heavy = packed_weights(store, records, weights)
    name = "+".join(dict.fromkeys(record.method for record in records))
    file = output or Path(
        f"{name}-{condition.protocol}-{condition.data_kind}-{condition.budget}.zip"
    )
    if file.exists() and not overwrite:
        raise UsageError(f"There is a file {file} already. Choose another --output, or --overwrite")
    keys = {record.key for record in records}
    chosen = [s for s in store.summaries(condition.protocol).summaries if s.key in keys]
    done = export_runs(store, chosen, file, members, weights=heavy.packed)
    for place, reason in done.left_out:
        raise StoreError(f"{place} cannot be handed in: {reason}. Delete {file}.")
    share = f" ({size(heavy.bytes)} of it weights)" if heavy.packed else ""
    click.echo(f"Packed {runs(done.runs)}, {size(done.bytes)}{share}: {file}")
    if heavy.remark:
        click.echo(heavy.remark)
    if condition.data_kind == "real":
        more = ", and weights, in which some methods keep training samples" if heavy.packed else ""
        click.echo(
            "It holds the judges' scores of the validation and test videos of "
            f"{asked.dataset.title}{more}: give it only to whom the licence of the data allows."
        )
    click.echo(f"To check it as its reader will: aqabench verify {shlex.quote(str(file))}")
    return 0
