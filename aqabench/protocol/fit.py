"""Does a protocol fit its data set?  Every fault with its line.

The schema has judged the file by itself; here are the names and numbers that only the data set
can judge.
"""

from __future__ import annotations

from aqabench.errors import Fault, nearest
from aqabench.protocol.document import Document, Loc
from aqabench.protocol.grammar import (
    CorruptionScenario,
    ImbalancedTraining,
    MixScenario,
    QuotaScenario,
    RateScenario,
    RateTraining,
    SingleTraining,
    SubsetsScenario,
    SwapScenario,
    TableTraining,
)
from aqabench.protocol.mask_laws import LABEL_SLACK, QUOTAS
from aqabench.protocol.scenarios import columns, scenarios
from aqabench.protocol.schema import DatasetSpec, Protocol

__all__ = ["misfits", "unknown"]


def misfits(protocol: Protocol, dataset: DatasetSpec, document: Document) -> list[Fault]:
    """Return every fault of a protocol that its data set shows, in no particular order."""
    faults: list[Fault] = []
    classes = [c.name for c in dataset.classes]
    streams = [m.name for m in dataset.modalities]
    for i, name in enumerate(protocol.classes):
        faults += unknown(document, ("classes", i), name, classes)
    for i, name in enumerate(protocol.modalities):
        faults += unknown(document, ("modalities", i), name, streams)
    split = protocol.split
    if split.folds is not None:
        faults += unknown(document, ("split", "folds"), split.folds, list(dataset.folds))
    if split.group is not None:
        faults += unknown(document, ("split", "group"), split.group, list(dataset.groups))
    if split.validation and split.validation.group is not None:
        loc = ("split", "validation", "group")
        faults += unknown(document, loc, split.validation.group, list(dataset.groups))
    faults += _scenario_faults(protocol, document) + _training_faults(protocol, document)
    used = [m for m in streams if m in protocol.modalities]
    if not faults and list(protocol.modalities) != used:
        order = f"must be in the order of the data set: {', '.join(used)}"
        faults.append(document.fault(("modalities",), order, key=True))
    faults += _list_faults(protocol, dataset, document)
    if faults:
        return faults
    faults = _asked_twice(protocol, dataset, document)
    if faults or protocol.criterion == "mean":
        return faults
    if not any(s.complete for s in scenarios(protocol, dataset).values()):
        problem = "'complete' needs a scenario that hides nothing, and there is none"
        faults.append(document.fault(("criterion",), problem))
    return faults


def _list_faults(protocol: Protocol, dataset: DatasetSpec, document: Document) -> list[Fault]:
    """Return a fault where nothing of a list is left after its head is skipped."""
    skipped = protocol.split.skipped
    used = [c for c in dataset.classes if c.name in protocol.classes]
    shortest = min((min(c.train, c.test) for c in used), default=skipped + 1)
    if not skipped or skipped < shortest:
        return []
    problem = f"must leave something of the shortest list, which has {shortest} samples"
    return [document.fault(("split", "skipped"), problem, got=str(skipped))]


def _asked_twice(protocol: Protocol, dataset: DatasetSpec, document: Document) -> list[Fault]:
    """Return a fault for every scenario whose columns an earlier one has already."""
    seen: dict[str, int] = {}
    faults = []
    for i, spec in enumerate(protocol.scenarios):
        alone = protocol.model_copy(update={"scenarios": (spec,)})
        own = columns(alone, dataset)
        again = [name for name in own if name in seen]
        if again:
            problem = f"'{again[0]}' is asked for by scenario {seen[again[0]] + 1} already"
            faults.append(document.fault(("scenarios", i), problem))
        seen |= dict.fromkeys(own, i)
    return faults


def _scenario_faults(protocol: Protocol, document: Document) -> list[Fault]:
    """Return what is wrong with rates on this number of modalities."""
    count = len(protocol.modalities)
    largest = 1 - 1 / count
    faults = []
    for i, spec in enumerate(protocol.scenarios):
        if isinstance(spec, SubsetsScenario):
            for j, size in enumerate(spec.sizes or ()):
                if size > count:
                    problem = f"there are {count} modalities"
                    faults.append(
                        document.fault(("scenarios", i, "sizes", j), problem, got=str(size))
                    )
            continue
        if isinstance(spec, CorruptionScenario | SwapScenario):
            faults += _corruption_faults(spec, ("scenarios", i), protocol, document)
            continue
        if isinstance(spec, MixScenario):
            for j, name in enumerate(spec.shown):
                loc: Loc = ("scenarios", i, "shown", j)
                faults += unknown(document, loc, name, list(protocol.modalities))
        rates: tuple[float | tuple[float, ...], ...] = spec.rates
        for j, rate in enumerate(rates):
            loc = ("scenarios", i, "rates", j)
            if isinstance(rate, tuple):
                if len(rate) != count:
                    problem = f"must hold {count} rates, one for each modality, not {len(rate)}"
                    faults.append(document.fault(loc, problem))
            elif isinstance(spec, QuotaScenario) and (count != 3 or round(rate, 9) not in QUOTAS):
                rows = ", ".join(f"{known:g}" for known in QUOTAS)
                problem = f"quota is defined for three modalities and the rates {rows}"
                faults.append(document.fault(loc, problem))
            elif (
                isinstance(spec, RateScenario) or spec.kind == "rate-t"
            ) and rate > largest + LABEL_SLACK:
                problem = (
                    f"with {count} modalities of which one always stays at most {largest:.4g} of "
                    "the slots can be hidden"
                )
                faults.append(document.fault(loc, problem))
    return faults


def _corruption_faults(
    spec: CorruptionScenario | SwapScenario, at: Loc, protocol: Protocol, document: Document
) -> list[Fault]:
    """Return what is wrong with the targets and levels of a corruption."""
    faults = []
    words = ["each", "all", *protocol.modalities]
    for j, name in enumerate(spec.on):
        faults += unknown(document, (*at, "on", j), name, words)
    if isinstance(spec, SwapScenario):
        if isinstance(protocol.training, TableTraining):
            problem = "swap needs complete validation samples: give 'training: complete'"
            faults.append(document.fault((*at, "kind"), problem))
        return faults
    for j, level in enumerate(spec.levels):
        if spec.kind in ("channels", "freeze") and level > 1:
            problem = f"{spec.kind} takes shares from 0 to 1"
            faults.append(document.fault((*at, "levels", j), problem, got=f"{level:g}"))
        if spec.kind == "shift" and level != round(level):
            problem = "shift takes whole numbers of steps"
            faults.append(document.fault((*at, "levels", j), problem, got=f"{level:g}"))
    return faults


def _training_faults(protocol: Protocol, document: Document) -> list[Fault]:
    """Return what is wrong with training on this number of modalities, and with the criterion."""
    spec, count = protocol.training, len(protocol.modalities)
    faults: list[Fault] = []
    if spec != "complete" and count < 2:
        problem = "with one modality nothing can be missing in training: write 'complete'"
        return [document.fault(("training",), problem)]
    match spec:
        case RateTraining(rate=rate) if rate > 1 - 1 / count + LABEL_SLACK:
            problem = f"with {count} modalities at most {1 - 1 / count:.4g} can be missing"
            faults.append(document.fault(("training", "rate"), problem, got=f"{rate:g}"))
        case ImbalancedTraining(rates=rates) if len(rates) != count:
            problem = f"must hold {count} rates, one for each modality, not {len(rates)}"
            faults.append(document.fault(("training", "rates"), problem))
        case SingleTraining(modality=name):
            faults += unknown(document, ("training", "modality"), name, [*protocol.modalities])
    return faults


def unknown(document: Document, loc: Loc, value: str, known: list[str]) -> list[Fault]:
    """Return a fault where a name is not among the known ones."""
    if value in known:
        return []
    offered = f"one of {', '.join(known)}" if known else "offered: the data set has none"
    problem = f"'{value}' is not {offered}"
    return [document.fault(loc, problem, suggestion=nearest(value, known) or "")]
