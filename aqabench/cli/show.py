"""``aqabench show``: everything about one method, protocol or data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from click.shell_completion import CompletionItem

from aqabench.cli.lines import Lines, print_lines, protocol_lines
from aqabench.cli.options import dataset_names, method_names, plugins_option, protocol_names
from aqabench.errors import UnknownNameError

if TYPE_CHECKING:
    from aqabench.method.card import MethodCard
    from aqabench.method.registry import Registry
    from aqabench.protocol.schema import DatasetSpec


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    names = method_names() + protocol_names() + dataset_names()
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


@click.command("show")
@click.argument("name", shell_complete=_complete)
@plugins_option
@click.option(
    "--cost/--no-cost",
    default=True,
    help="Of a method: count parameters and operations, which takes some seconds.",
    show_default=True,
)
def command(name: str, plugins: tuple[Path, ...], cost: bool) -> None:
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
        print_lines(console, _method(card))
        lines = []
        if cost:
            with console.status("counting parameters and operations"):
                lines = [("cost", _cost(registry, name))]
    elif name in protocol_names() or name.endswith((".yaml", ".yml")):
        lines = protocol_lines(load_protocol(name))
    elif name in dataset_names():
        lines = _dataset(load_dataset(name))
    else:
        known = [*methods, *protocol_names(), *dataset_names()]
        raise UnknownNameError(
            "method, protocol or data set", name, known, "aqabench list methods|protocols|datasets"
        )
    print_lines(console, lines)


def _method(card: MethodCard) -> Lines:
    from aqabench.board.published.reader import claims_of

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
        ("claims", [str(claim) for claim in claims_of(card.claims)]),
        ("switches", [f"{k}: {_pairs(v)}" for k, v in card.switches.items()]),
        ("settings", [f"{k} = {v}" for k, v in card.settings.items()]),
        ("published settings", [f"{k}: {_pairs(v)}" for k, v in card.published.items()]),
        ("search ranges", [f"{k}: {', '.join(map(str, v))}" for k, v in card.search.items()]),
        ("opts out of", [f"{k}: {v}" for k, v in card.opt_outs.items()]),
        ("citation", card.citation),
    ]


def _cost(registry: Registry, name: str) -> str:
    """Return what a method takes on the first data set that has the streams it needs."""
    from aqabench.board.render.text import count
    from aqabench.errors import AqabenchError
    from aqabench.method.size import size_of
    from aqabench.protocol.library import load_dataset

    card = registry.get(name).card
    assert card is not None
    for dataset in map(load_dataset, ("fisv", *dataset_names())):
        symbols = {m.symbol for m in dataset.modalities}
        if set(card.needs) <= symbols and len(symbols) >= card.min_modalities:
            break
    try:
        size = size_of(registry.load(name), dataset)
    except AqabenchError as error:
        return f"could not be counted: {error}"
    streams = ", ".join(f"{m.symbol} {m.width}" for m in dataset.modalities)
    said = f"{count(size.parameters)} parameters on the streams of {dataset.title} ({streams})"
    if not size.flops:
        return said
    giga = [f"{n / 1e9:.3g}" for n in (size.flops, size.least, size.most)]
    return (
        f"{said}; {giga[0]} GFLOP for {size.clips} clips of all streams, {giga[1]} to {giga[2]} "
        "over all subsets of them (2 per multiplication with addition)"
    )


def _needs(card: MethodCard) -> str:
    streams = ", ".join(card.needs) or (
        f"{card.min_modalities} modalities or more" if card.min_modalities > 1 else "any modality"
    )
    if card.reads_groups:
        return f"{streams}; labels of who performs"
    if card.stream_setting:
        return f"{streams}; reads one, chosen by --set {card.stream_setting}=NAME"
    return streams


def _dataset(spec: DatasetSpec) -> Lines:
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
