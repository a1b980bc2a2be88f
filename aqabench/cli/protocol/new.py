"""``aqabench protocol new``: a file to begin with, which is without fault as it stands."""

from __future__ import annotations

import shlex
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from aqabench.cli.options import DATASET

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aqabench.protocol.schema import ClassSpec, DatasetSpec

KINDS = {
    "subsets": ("whole modalities missing", "every non-empty subset; 'sizes: [1]' keeps some"),
    "rate": ("modalities missing at a rate", "shares of hidden slots; one stream always stays"),
    "quota": ("modalities missing by quota", "fixed shares with two, one or none missing"),
    "imbalanced": ("modalities missing at unequal rates", "one rate per modality, in their order"),
}
"""Kind -> end of the title, and what is said of it in the file."""
MOST_CLASSES = 7
FOLDS = 5
LEAST_RATE, LARGEST_RATE = 0.3, 0.7
"""Ends of the unequal rates: .3, .5 and .7 for three streams, as in BALM."""


@click.command("new")
@click.argument("name")
@click.option("--dataset", type=DATASET, required=True, help="The data set that is asked about.")
@click.option(
    "--kind",
    type=click.Choice(list(KINDS)),
    default="subsets",
    show_default=True,
    help="How modalities go missing; quota needs three of them.",
)
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    metavar="DIR",
    help="Folder of the new file. Default: the one you are in.",
)
def command(name: str, dataset: str, kind: str, folder: Path) -> None:
    """Write NAME.yaml, a protocol that can be run at once and is yours to change.

    A file that is there already is never overwritten.
    """
    from aqabench.disk import storing
    from aqabench.errors import UsageError
    from aqabench.protocol.library import load_dataset

    name = name.removesuffix(".yaml")
    _check_name(name)
    path = folder / f"{name}.yaml"
    text = template(name, load_dataset(dataset), kind, folder)
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


def template(name: str, dataset: DatasetSpec, kind: str, folder: Path) -> str:
    """Return the text of a new protocol.

    Args:
        name: of the protocol.
        dataset: with its classes, streams and folds, from which the defaults are taken.
        kind: a key of :data:`KINDS`.
        folder: where the file will be; a schema that lies there is named for editors.

    Raises:
        UsageError: quota on other than three modalities.
    """
    classes = dataset.classes[:MOST_CLASSES]
    streams = len(dataset.modalities)
    scenario, average = _scenario(kind, dataset)
    others = len(dataset.classes) - len(classes)
    more = f" ({others} more: aqabench show {dataset.name})" if others else ""
    ending, meaning = KINDS[kind] if streams > 1 else ("one stream", "nothing can be missing")
    lines = [
        *_schema_line(folder),
        "# One question, asked of every method in the same way. It can be run as it stands.",
        _pair("name", name),
        "version: 1  # raise it with every change that can change a number",
        _pair("title", f"{dataset.title}, {ending}"),
        "question: >-",
        "  Say here in a paragraph what this protocol finds out.",
        _pair("dataset", dataset.name),
        f"# a model is trained for each of these{more}",
        _pair("classes", [c.name for c in classes]),
        "# what methods may use; delete some, but keep the order",
        _pair("modalities", [m.name for m in dataset.modalities]),
        "split:",
        *(f"  {line}" for line in _split(dataset, classes)),
        "scenarios:",
        f"  # {meaning}",
        *(f"  {line}" for line in scenario),
        "# the headline number; 'over: all' counts the scenarios that hide nothing, too",
        f"average: {average}",
        "# the epoch that ranks: val, last, or oracle (the best on test, as papers do)",
        "selection: val",
        "seeds: [0, 1, 2, 3, 4]",
    ]
    return "\n".join(lines) + "\n"


def _check_name(name: str) -> None:
    """Refuse names that a protocol cannot have, or that would be taken for a shipped one."""
    from pydantic import TypeAdapter, ValidationError

    from aqabench.errors import UsageError
    from aqabench.protocol.library import protocol_names
    from aqabench.protocol.schema import Name

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
        scheme = ["scheme: published-folds", f"{_pair('folds', folds)}  # there are: {known}"]
    elif dataset.groups:
        group = dataset.groups[0]
        known = ", ".join(dataset.groups)
        scheme = ["scheme: grouped", f"{_pair('group', group)}  # there are: {known}"]
        scheme.append(f"k: {FOLDS}")
    else:
        scheme = ["scheme: kfold", f"k: {FOLDS}"]
    note = "# selects the epoch; drawn from the training list"
    if dataset.groups and not group:
        note += f"; add '{_pair('group', dataset.groups[0])}' to hold those out whole"
    held = f", {_pair('group', group)}" if group else ""
    return [*scheme, note, f"validation: {{fraction: 0.15, strata: 5{held}}}"]


def _scenario(kind: str, dataset: DatasetSpec) -> tuple[list[str], str]:
    """Return the lines of the scenario, and the headline average.

    Raises:
        UsageError: quota on other than three modalities.
    """
    from aqabench.errors import UsageError
    from aqabench.protocol.mask_laws import QUOTAS

    count = len(dataset.modalities)
    average = {
        "subsets": f"Avg{2**count - 2}",
        "rate": "AvgRate",
        "quota": "AvgQuota",
        "imbalanced": "AvgImbalanced",
    }[kind]
    over = "incomplete"
    if count == 1:  # with one stream nothing is incomplete, and an average needs something
        average, over = "Avg1", "all"
    match kind:
        case "subsets":
            lines = ["- {kind: subsets}"]
        case "rate":
            lines = [f"- {{kind: rate, rates: {_flow(_rates(count))}, law: exact, draws: 5}}"]
        case "quota" if count != 3:
            raise UsageError(
                f"quota is defined for 3 modalities only and {dataset.name} has {count}: write "
                "--kind rate, which is defined for any number"
            )
        case "quota":
            lines = [f"- {{kind: quota, rates: {_flow(list(QUOTAS))}, draws: 5}}"]
        case _:
            rows = [f"    - {_flow(list(rates))}" for rates in _unequal_rates(count)]
            lines = ["- kind: imbalanced", "  draws: 5", "  rates:", *rows]
    return lines, f"{{name: {average}, over: {over}}}"


def _rates(count: int) -> list[float]:
    """Return 0, .1, … and the largest possible rate, ``1 - 1/M``, to four decimals."""
    largest = round(1 - 1 / count, 4)
    return [*(i / 10 for i in range(10) if i / 10 < largest), largest]


def _unequal_rates(count: int) -> list[tuple[float, ...]]:
    """Return configurations in which every modality has each rate equally often.

    All orders up to three modalities; of more only the rotations, of which there are M.
    """
    if count == 1:
        return [(0.0,)]
    step = (LARGEST_RATE - LEAST_RATE) / (count - 1)
    rates = tuple(round(LEAST_RATE + step * i, 2) for i in range(count))
    if count <= 3:
        return list(permutations(rates))
    return [rates[i:] + rates[:i] for i in range(count)]


def _pair(key: str, value: str | Sequence[str]) -> str:
    """Return ``key: value`` with quotes where YAML needs them, a list on one line."""
    from aqabench.protocol.emit import emit

    return emit({key: value if isinstance(value, str) else [*value]}).rstrip()


def _flow(rates: Sequence[float]) -> str:
    """Return a list of rates on one line."""
    return f"[{', '.join(map(repr, rates))}]"
