"""Runs that tell what each switch of a method changes: one beside the usual form for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aqabench.errors import UnknownNameError, UsageError
from aqabench.method.card import MethodCard, Setting
from aqabench.method.registry import Registry
from aqabench.runs.plan import Question, RunSpec, make_plan
from aqabench.train.numerics import USUAL, Numerics

Switches = dict[str, Mapping[str, Setting]]
"""What a table calls a switch -> the settings that throw it."""


def switches_of(
    card: MethodCard, given: Mapping[str, Setting], only: Sequence[str] = ()
) -> Switches:
    """Return the switches of a card, or all its yes-or-no settings, each turned over.

    Args:
        card: of the method.
        given: settings given by hand, which no switch may change.
        only: beginnings of the names of the wanted ones, e.g. ``Q1``; none for all.

    Raises:
        UsageError: the method has none.
        UnknownNameError: a wanted one does not exist.
    """
    usual = {**card.settings, **given}
    flips = {f"{k} = {not v}": {k: not v} for k, v in usual.items() if isinstance(v, bool)}
    every: Switches = {
        name: sets for name, sets in (card.switches or flips).items() if not set(sets) & set(given)
    }
    if not every:
        raise UsageError(
            f"{card.name} has nothing to switch: no behaviour of it is on or off. See: aqabench "
            f"show {card.name}"
        )
    wanted: Switches = {}
    for begin in only:
        found = [n for n in every if n.split()[0] == begin] or [
            n for n in every if n.startswith(begin)
        ]
        if not found:
            raise UnknownNameError("switch", begin, list(every), f"aqabench show {card.name}")
        wanted |= {name: every[name] for name in found}
    return wanted or every


def ablation_plan(
    question: Question,
    registry: Registry,
    method: str,
    given: Mapping[str, Setting],
    switches: Switches,
    seeds: Sequence[int] | None = None,
    classes: Sequence[str] | None = None,
    numerics: Numerics = USUAL,
) -> tuple[list[RunSpec], dict[str, list[RunSpec]]]:
    """Return the runs of the usual form, and those of each switch that changes anything here.

    A switch that the paper's settings for this data set throw already has no runs of its own.
    """

    def plan(more: Mapping[str, Setting]) -> list[RunSpec]:
        return make_plan(question, registry, [method], {**given, **more}, seeds, classes, numerics)

    base = plan({})
    keys = {spec.key for spec in base}
    thrown = {name: plan(sets) for name, sets in switches.items()}
    return base, {n: specs for n, specs in thrown.items() if {s.key for s in specs} - keys}
