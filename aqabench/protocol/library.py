"""The protocols and data sets that come with aqabench, by name, and their digests."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from aqabench.disk import home
from aqabench.errors import ProtocolError, UnknownNameError
from aqabench.protocol.digest import digest
from aqabench.protocol.document import Document
from aqabench.protocol.fit import misfits, unknown
from aqabench.protocol.load import NEXT_STEP, load_marked, load_model
from aqabench.protocol.schema import DatasetSpec, Protocol
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

    Seeds and budget are left out: they say which runs to make, not what a run is.
    """
    text = digest(protocol, exclude=PROSE | {"seeds", "budget"}) + digest(
        dataset, exclude=PROSE | OFFERED
    )
    return hashlib.sha256(text.encode()).hexdigest()


def _dataset_of(protocol: Protocol, document: Document) -> DatasetSpec:
    """Return the data set of a protocol, after checking that it has what the protocol names."""
    faults = unknown(document, ("dataset",), protocol.dataset, dataset_names())
    if not faults:
        dataset = load_dataset(protocol.dataset)
        faults = misfits(protocol, dataset, document)
    if faults:
        faults.sort(key=lambda f: (f.line, f.column))
        raise ProtocolError(f"{document.name} cannot be used. {NEXT_STEP}", faults)
    return dataset
