"""Cards of two columns, as ``aqabench show`` prints them, and what they say of a protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from aqabench.protocol.library import Asked
    from aqabench.protocol.schema import Protocol, SplitSpec

Lines = list[tuple[str, Any]]
"""Heading and what stands beside it: text, or a list of lines; empty ones are not printed."""


FEW = 16
"""Columns up to which those that enter an average are named."""


def protocol_lines(asked: Asked) -> Lines:
    """Return what there is to say of a protocol."""
    from aqabench.cli.protocol.shares import brief
    from aqabench.protocol.scenarios import averaged_scenarios, columns

    protocol = asked.protocol
    part = protocol.split.validation
    whole = f", every {part.group} whole" if part and part.group else ""
    every = columns(protocol, asked.dataset)
    averaged = set(averaged_scenarios(protocol, asked.dataset))
    counted = {column for column, names in every.items() if averaged.issuperset(names)}
    return [
        (protocol.name, f"{protocol.title}, version {protocol.version}"),
        ("question", protocol.question),
        ("data set", asked.dataset.title),
        ("classes", ", ".join(protocol.classes)),
        ("modalities", ", ".join(protocol.modalities)),
        ("split", _split(protocol.split)),
        ("validation", f"{part.fraction:.0%} of the training list{whole}" if part else "none"),
        ("training", training_line(protocol)),
        ("test scenarios", brief(asked)),
        (protocol.average.name, _counted(asked, counted, list(every))),
        (
            "epoch chosen by",
            f"{protocol.selection}"
            + (", on what hides nothing" if protocol.criterion == "complete" else ""),
        ),
        ("budget", protocol.budget or ""),
        ("seeds", ", ".join(map(str, protocol.seeds))),
        ("digest", asked.digest),
    ]


def _counted(asked: Asked, counted: set[str], every: list[str]) -> str | list[str]:
    """Return the columns that enter the average; of many those that do not."""
    from aqabench.cli.protocol.shares import brief

    left_out = [column for column in every if column not in counted]
    if len(every) <= FEW:
        return brief(asked, counted)
    return f"all but {' '.join(left_out)}" if left_out else "all"


def print_lines(console: Console, lines: Lines) -> None:
    """Print headings and texts in two columns."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for key, value in lines:
        text = "\n".join(value) if isinstance(value, list) else str(value)
        if text:
            table.add_row(key, Text(text))
    console.print(table)


def training_line(protocol: Protocol) -> str:
    """Return what training goes without, in words."""
    from aqabench.protocol.grammar import (
        BernTraining,
        ImbalancedTraining,
        RateTraining,
        SingleTraining,
    )

    tables = "one table for all seeds"
    spec = protocol.training
    if isinstance(spec, RateTraining | ImbalancedTraining | SingleTraining) and spec.tables > 1:
        tables = f"{spec.tables} tables, in turn for the seeds"
    match spec:
        case "complete":
            return "complete: every sample has every stream"
        case RateTraining():
            return f"{spec.rate:g} of all streams do not exist ({spec.law}), {tables}"
        case ImbalancedTraining():
            rates = ", ".join(
                f"{m} {rate:g}" for m, rate in zip(protocol.modalities, spec.rates, strict=True)
            )
            return f"streams do not exist at rates of their own ({rates}), {tables}"
        case SingleTraining():
            return f"{spec.modality} exists in {spec.share:.0%} of the samples, {tables}"
        case BernTraining():
            return f"each epoch hides each stream with probability {spec.p:g} (bern)"
        case _:
            return f"each epoch shows a newly drawn part of each sample ({spec.kind})"


def _split(split: SplitSpec) -> str:
    """Return the split in words."""
    skipped = f", the first {split.skipped} of each left out" if split.skipped else ""
    return {
        "official": f"official lists{skipped}",
        "published-folds": f"published folds by {split.folds}",
        "kfold": f"{split.k} folds of like score distribution",
        "grouped": f"{split.k} folds that share no {split.group}",
    }[split.scheme]
