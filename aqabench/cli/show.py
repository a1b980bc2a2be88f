"""``aqabench show``: everything about one method, protocol or data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from click.shell_completion import CompletionItem

from aqabench.cli.options import dataset_names, method_names, plugins_option, protocol_names
from aqabench.errors import UnknownNameError

if TYPE_CHECKING:
    from aqabench.method.card import MethodCard
    from aqabench.protocol.library import Asked
    from aqabench.protocol.schema import DatasetSpec, SplitSpec


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    names = method_names() + protocol_names() + dataset_names()
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


@click.command("show")
@click.argument("name", shell_complete=_complete)
@plugins_option
def command(name: str, plugins: tuple[Path, ...]) -> None:
    """Show the card of a method, a protocol or a data set by NAME."""
    from rich.console import Console

    from aqabench.method.registry import discover
    from aqabench.protocol.library import load_dataset, load_protocol

    registry = discover(plugins)
    methods = [e.name for e in registry.entries]
    console = Console()
    if name in methods:
        card = registry.get(name).card
        assert card is not None
        lines = _method(card)
    elif name in protocol_names() or name.endswith((".yaml", ".yml")):
        lines = _protocol(load_protocol(name))
    elif name in dataset_names():
        lines = _dataset(load_dataset(name))
    else:
        known = [*methods, *protocol_names(), *dataset_names()]
        raise UnknownNameError(
            "method, protocol or data set", name, known, "aqabench list methods|protocols|datasets"
        )
    _print(console, lines)


def _method(card: MethodCard) -> list[tuple[str, Any]]:
    return [
        (card.name, card.title),
        ("kind", card.kind),
        ("idea", card.summary),
        ("missing modalities", card.missing),
        ("paper", card.paper),
        ("code", card.code),
        ("licence", card.licence),
        ("differs", card.differs),
        ("needs", _needs(card)),
        ("settings", [f"{k} = {v}" for k, v in card.settings.items()]),
        ("published settings", [f"{k}: {_pairs(v)}" for k, v in card.published.items()]),
        ("search ranges", [f"{k}: {', '.join(map(str, v))}" for k, v in card.search.items()]),
        ("opts out of", [f"{k}: {v}" for k, v in card.opt_outs.items()]),
        ("citation", card.citation),
    ]


def _needs(card: MethodCard) -> str:
    streams = ", ".join(card.needs) or (
        f"{card.min_modalities} modalities or more" if card.min_modalities > 1 else "any modality"
    )
    if card.reads_groups:
        return f"{streams}; labels of who performs"
    if card.stream_setting:
        return f"{streams}; reads one, chosen by --set {card.stream_setting}=NAME"
    return streams


def _protocol(asked: Asked) -> list[tuple[str, Any]]:
    from aqabench.protocol.scenarios import averaged_scenarios, subset_names

    protocol = asked.protocol
    part = protocol.split.validation
    whole = f", every {part.group} whole" if part and part.group else ""
    return [
        (protocol.name, f"{protocol.title}, version {protocol.version}"),
        ("question", protocol.question),
        ("data set", asked.dataset.title),
        ("classes", ", ".join(protocol.classes)),
        ("modalities", ", ".join(protocol.modalities)),
        ("split", _split(protocol.split)),
        ("validation", f"{part.fraction:.0%} of the training list{whole}" if part else "none"),
        ("test scenarios", " ".join(subset_names(protocol, asked.dataset))),
        (protocol.average.name, " ".join(averaged_scenarios(protocol, asked.dataset))),
        ("epoch chosen by", protocol.selection),
        ("seeds", ", ".join(map(str, protocol.seeds))),
        ("digest", asked.digest),
    ]


def _split(split: SplitSpec) -> str:
    """Return the split in words."""
    return {
        "official": "official lists",
        "published-folds": f"published folds by {split.folds}",
        "kfold": f"{split.k} folds of like score distribution",
        "grouped": f"{split.k} folds that share no {split.group}",
    }[split.scheme]


def _dataset(spec: DatasetSpec) -> list[tuple[str, Any]]:
    from aqabench.data.store import DataStore
    from aqabench.disk import home

    manifest = DataStore(home() / "data").manifest(spec.name)
    return [
        (spec.name, spec.title),
        ("about", spec.about),
        ("streams", [f"{m.symbol}  {m.name}, width {m.width}" for m in spec.modalities]),
        (
            "classes",
            [
                f"{c.name}: {c.train} training and {c.test} test samples, "
                f"{c.bounds[0]:g} to {c.bounds[1]:g} points"
                for c in spec.classes
            ],
        ),
        ("same videos", "yes, several scores of each" if spec.same_videos else "no"),
        ("training window", f"{spec.clip_length} clips"),
        ("groups", ", ".join(spec.groups)),
        ("published folds", ", ".join(f"{n} ({k})" for n, k in spec.folds.items())),
        (
            "installed",
            f"{', '.join(manifest.streams)} of {manifest.samples} samples ({manifest.layout})"
            if manifest
            else f"no; aqabench data import {spec.name} --from FOLDER",
        ),
    ]


def _pairs(settings: Any) -> str:
    return ", ".join(f"{k} = {v}" for k, v in settings.items())


def _print(console: Any, lines: list[tuple[str, Any]]) -> None:
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
