"""``aqabench protocol new``: a file to begin with, which is without fault as it stands."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from aqabench.cli.options import DATASET
from aqabench.cli.protocol.starters import (
    KINDS,
    NOISE,
    TABLES,
    TRAININGS,
    average,
    hides_nothing,
    pair,
    refuse,
    scenario_lines,
    training_lines,
)

if TYPE_CHECKING:
    from aqabench.protocol.schema import ClassSpec, DatasetSpec

MOST_CLASSES = 7
FOLDS = 5


@click.command("new")
@click.argument("name")
@click.option("--dataset", type=DATASET, required=True, help="The data set that is asked about.")
@click.option(
    "--kind",
    type=click.Choice(list(KINDS)),
    default="subsets",
    show_default=True,
    metavar="KIND",
    help=f"What is missing or wrong at test: {', '.join(KINDS)}. quota needs three modalities.",
)
@click.option(
    "--training",
    type=click.Choice(list(TRAININGS)),
    default="complete",
    show_default=True,
    metavar="KIND",
    help=f"What training goes without: {', '.join(TRAININGS)}.",
)
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    metavar="DIR",
    help="Folder of the new file. Default: the one you are in.",
)
def command(name: str, dataset: str, kind: str, training: str, folder: Path) -> None:
    """Write NAME.yaml, a protocol that can be run at once and is yours to change.

    A file that is there already is never overwritten.
    """
    from aqabench.disk import storing
    from aqabench.errors import UsageError
    from aqabench.protocol.library import load_dataset

    name = name.removesuffix(".yaml")
    _check_name(name)
    path = folder / f"{name}.yaml"
    text = template(name, load_dataset(dataset), kind, folder, training)
    with storing(path, "Choose another folder with --to DIR"):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError as error:
            raise UsageError(
                f"{path} is there already and is not overwritten: choose another name, or another "
                "folder with --to DIR"
            ) from error
    word = shlex.quote(str(path))
    click.echo(
        f"Written: {path}\n"
        "Write your question into it, then type:\n"
        f"  aqabench protocol check {word}\n"
        f"  aqabench run -m ridge -p {word}"
    )


def template(
    name: str, dataset: DatasetSpec, kind: str, folder: Path, training: str = "complete"
) -> str:
    """Return the text of a new protocol.

    Args:
        name: of the protocol.
        dataset: with its classes, streams and folds, from which the defaults are taken.
        kind: of the scenario.
        folder: where the file will be; a schema that lies there is named for editors.
        training: what training goes without.

    Raises:
        UsageError: what the data set cannot be asked.
    """
    refuse(kind, training, dataset)
    classes = dataset.classes[:MOST_CLASSES]
    streams = [m.name for m in dataset.modalities]
    others = len(dataset.classes) - len(classes)
    more = f" ({others} more: aqabench show {dataset.name})" if others else ""
    ending = "one stream" if hides_nothing(kind, len(streams)) else KINDS[kind][0]
    lines = [
        *_schema_line(folder),
        "# One question, asked of every method in the same way. It can be run as it stands.",
        pair("name", name),
        "version: 1  # raise it with every change that can change a number",
        pair("title", f"{dataset.title}, {ending}"),
        "question: >-",
        "  Say here in a paragraph what this protocol finds out.",
        pair("dataset", dataset.name),
        f"# a model is trained for each of these{more}",
        pair("classes", [c.name for c in classes]),
        "# what methods may use; delete some, but keep the order",
        pair("modalities", streams),
        "split:",
        *(f"  {line}" for line in _split(dataset, classes)),
        *training_lines(training, streams),
        "scenarios:",
        *(f"  {line}" for line in scenario_lines(kind, streams)),
        "# the headline number; 'over: all' counts the scenarios that hide nothing, too",
        f"average: {average(kind, len(streams))}",
        "# the epoch that ranks: val, last, or oracle (the best on test, as papers do)",
        "selection: val",
    ]
    if kind in NOISE:
        lines += ["# epochs are compared where nothing is wrong; mean: on all scenarios"]
        lines += ["criterion: complete"]
    return "\n".join([*lines, f"seeds: [{'0, 1, 2' if training in TABLES else '0, 1, 2, 3, 4'}]\n"])


def _check_name(name: str) -> None:
    """Refuse names that a protocol cannot have, or that would be taken for a shipped one."""
    from pydantic import TypeAdapter, ValidationError

    from aqabench.errors import UsageError
    from aqabench.protocol.grammar import Name
    from aqabench.protocol.library import protocol_names

    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError as error:
        raise UsageError(
            f"'{name}' cannot be the name of a protocol: use up to 64 lower case letters, digits, "
            "dots, dashes and underscores, a letter or digit first; for a folder add --to DIR"
        ) from error
    if name in protocol_names():
        raise UsageError(
            f"'{name}' is the name of a shipped protocol: choose another, such as my-{name}"
        )


def _schema_line(folder: Path) -> list[str]:
    """Return the line by which editors find the schema, if it lies beside the file."""
    from aqabench.protocol.json_schema import schema_text
    from aqabench.protocol.schema import Protocol

    path = folder / "schema.json"
    if path.is_file() and path.read_bytes() == schema_text(Protocol).encode():
        return ["# yaml-language-server: $schema=schema.json"]
    return []


def _split(dataset: DatasetSpec, classes: tuple[ClassSpec, ...]) -> list[str]:
    """Return the split: official lists, else published folds, else folds of groups, else any."""
    group = ""
    if all(c.test for c in classes):
        scheme = ["scheme: official  # or published-folds, kfold, grouped"]
    elif dataset.folds:
        folds = next(iter(dataset.folds))
        group = folds if folds in dataset.groups else ""
        known = ", ".join(dataset.folds)
        scheme = ["scheme: published-folds", f"{pair('folds', folds)}  # there are: {known}"]
    elif dataset.groups:
        group = dataset.groups[0]
        known = ", ".join(dataset.groups)
        scheme = ["scheme: grouped", f"{pair('group', group)}  # there are: {known}"]
        scheme.append(f"k: {FOLDS}")
    else:
        scheme = ["scheme: kfold", f"k: {FOLDS}"]
    note = "# selects the epoch; drawn from the training list"
    if dataset.groups and not group:
        note += f"; add '{pair('group', dataset.groups[0])}' to hold those out whole"
    held = f", {pair('group', group)}" if group else ""
    return [*scheme, note, f"validation: {{fraction: 0.15, strata: 5{held}}}"]
