"""The protocols and data sets that come with aqabench, by name, and their digests."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from aqabench.disk import home
from aqabench.errors import Fault, ProtocolError, UnknownNameError, nearest
from aqabench.protocol.digest import digest
from aqabench.protocol.document import Document, Loc
from aqabench.protocol.load import NEXT_STEP, load_marked, load_model
from aqabench.protocol.mask_laws import LABEL_SLACK, QUOTAS
from aqabench.protocol.schema import (
    DatasetSpec,
    MixScenario,
    Protocol,
    QuotaScenario,
    RateScenario,
    SubsetsScenario,
)
from aqabench.resources import folder

PROSE = {"title", "question", "about"}
"""Fields that explain and change no number; they stay out of the digest."""
OFFERED = {"releases", "groups", "folds"}
"""What a data set has to offer; a number changes only when a protocol's split asks for it."""


@dataclass(frozen=True)
class Asked:
    """A protocol together with its data set."""

    protocol: Protocol
    dataset: DatasetSpec
    digest: str


def protocol_names() -> list[str]:
    """Return the names of the shipped protocols, sorted."""
    return sorted(p.stem for p in folder("protocols").glob("*.yaml"))


def shipped_dataset_names() -> list[str]:
    """Return the names of the shipped data sets, sorted."""
    return sorted(p.stem for p in (folder("protocols") / "datasets").glob("*.yaml"))


def dataset_names() -> list[str]:
    """Return the names of all data sets: shipped, or brought by the user; sorted."""
    own = (p.parent.name for p in (home() / "data").glob("[!.]*/dataset.yaml"))
    return sorted({*shipped_dataset_names(), *own})


def load_dataset(name: str) -> DatasetSpec:
    """Return a data set by name: a shipped one, or one that was imported with its description.

    Raises:
        UnknownNameError: there is none of that name.
        ProtocolError: its file is wrong; lists all faults.
    """
    if name not in dataset_names():
        raise UnknownNameError("data set", name, dataset_names(), "aqabench list datasets")
    path = folder("protocols") / "datasets" / f"{name}.yaml"
    if not path.is_file():
        path = home() / "data" / name / "dataset.yaml"
    return load_model(path, DatasetSpec)


def load_protocol(name: str) -> Asked:
    """Return a protocol by name, or by the path of a YAML file, with its data set.

    Raises:
        UnknownNameError: there is none of that name.
        ProtocolError: the file is wrong; lists all faults.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        if name not in protocol_names():
            raise UnknownNameError("protocol", name, protocol_names(), "aqabench list protocols")
        path = folder("protocols") / f"{name}.yaml"
    protocol, document = load_marked(path, Protocol)
    dataset = _dataset_of(protocol, document)
    return Asked(protocol, dataset, protocol_digest(protocol, dataset))


def protocol_digest(protocol: Protocol, dataset: DatasetSpec) -> str:
    """Return sha256 of everything in a protocol and its data set that can change a number.

    The list of seeds is left out: it says which runs to make, not what a run is.
    """
    text = digest(protocol, exclude=PROSE | {"seeds"}) + digest(dataset, exclude=PROSE | OFFERED)
    return hashlib.sha256(text.encode()).hexdigest()


def _dataset_of(protocol: Protocol, document: Document) -> DatasetSpec:
    """Return the data set of a protocol, after checking that it has what the protocol names."""
    names = dataset_names()
    faults = _unknown(document, ("dataset",), protocol.dataset, names)
    if not faults:
        dataset = load_dataset(protocol.dataset)
        classes = [c.name for c in dataset.classes]
        streams = [m.name for m in dataset.modalities]
        for i, name in enumerate(protocol.classes):
            faults += _unknown(document, ("classes", i), name, classes)
        for i, name in enumerate(protocol.modalities):
            faults += _unknown(document, ("modalities", i), name, streams)
        split = protocol.split
        if split.folds is not None:
            faults += _unknown(document, ("split", "folds"), split.folds, list(dataset.folds))
        if split.group is not None:
            faults += _unknown(document, ("split", "group"), split.group, list(dataset.groups))
        if split.validation and split.validation.group is not None:
            loc = ("split", "validation", "group")
            faults += _unknown(document, loc, split.validation.group, list(dataset.groups))
        faults += _scenario_faults(protocol, document)
        used = [m for m in streams if m in protocol.modalities]
        if not faults and list(protocol.modalities) != used:
            order = f"must be in the order of the data set: {', '.join(used)}"
            faults.append(document.fault(("modalities",), order, key=True))
    if faults:
        raise ProtocolError(f"{document.name} cannot be used. {NEXT_STEP}", faults)
    return dataset


def _scenario_faults(protocol: Protocol, document: Document) -> list[Fault]:
    """Return what is wrong with rates on this number of modalities."""
    count = len(protocol.modalities)
    largest = 1 - 1 / count
    faults = []
    for i, spec in enumerate(protocol.scenarios):
        if isinstance(spec, SubsetsScenario):
            continue
        if isinstance(spec, MixScenario):
            for j, name in enumerate(spec.shown):
                loc: Loc = ("scenarios", i, "shown", j)
                faults += _unknown(document, loc, name, list(protocol.modalities))
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


def _unknown(document: Document, loc: Loc, value: str, known: list[str]) -> list[Fault]:
    if value in known:
        return []
    offered = f"one of {', '.join(known)}" if known else "offered: the data set has none"
    problem = f"'{value}' is not {offered}"
    return [document.fault(loc, problem, suggestion=nearest(value, known) or "")]
