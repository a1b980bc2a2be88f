"""From a question to the list of runs that answer it.

A run is one method, one class, one seed.  Its key is a hash of everything that can change its
numbers, so that a run done once is never done again, and a changed one is never taken for it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aqabench.errors import UsageError
from aqabench.method.card import Setting
from aqabench.method.registry import Entry, Registry, source_digest
from aqabench.protocol.schema import Budget, DataKind, DatasetSpec, Protocol


@dataclass(frozen=True)
class Question:
    """A protocol with its data set and the digests that make its numbers comparable.

    Attributes:
        protocol: what is asked.
        dataset: the data set it is asked on.
        protocol_digest: sha256 of both, without their prose.
        data_kind: real or simulated.
        data_digest: sha256 of the features and scores.
        budget: how much training every method gets.
    """

    protocol: Protocol
    dataset: DatasetSpec
    protocol_digest: str
    data_kind: DataKind
    data_digest: str
    budget: Budget


@dataclass(frozen=True)
class RunSpec:
    """One run to do."""

    question: Question
    method: str
    source_digest: str
    settings: Mapping[str, Setting]
    class_name: str
    seed: int
    overrides: Mapping[str, Setting] = field(default_factory=dict)

    @property
    def identity(self) -> dict[str, object]:
        """Everything that can change a number of this run."""
        return {
            "protocol": self.question.protocol.name,
            "protocol_digest": self.question.protocol_digest,
            "data_kind": self.question.data_kind,
            "data_digest": self.question.data_digest,
            "budget": self.question.budget.model_dump(mode="json", exclude={"about", "seeds"}),
            "method": self.method,
            "source_digest": self.source_digest,
            "settings": dict(sorted(self.settings.items())),
            "class_name": self.class_name,
            "seed": self.seed,
        }

    @property
    def key(self) -> str:
        """16 hex digits of the sha256 of :attr:`identity`."""
        text = json.dumps(self.identity, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def label(self) -> str:
        """What people call the run."""
        return f"{self.method} {self.class_name} seed {self.seed}"


def make_plan(
    question: Question,
    registry: Registry,
    methods: Sequence[str],
    overrides: Mapping[str, Setting],
    seeds: Sequence[int] | None = None,
    classes: Sequence[str] | None = None,
) -> list[RunSpec]:
    """Return the runs, method by method, class by class, seed by seed.

    Raises:
        UsageError: an unknown method or class, or a method that the protocol cannot feed.
    """
    protocol = question.protocol
    entries = [registry.get(name) for name in dict.fromkeys(methods)]
    for entry in entries:
        check_suits(entry, question.protocol, question.dataset)
    chosen = list(classes or protocol.classes)
    for name in chosen:
        if name not in protocol.classes:
            raise UsageError(
                f"Protocol {protocol.name} has no class '{name}'; it has "
                f"{', '.join(protocol.classes)}. Give one: --class {protocol.classes[0]}"
            )
    plan = []
    for entry in entries:
        assert entry.card is not None
        digest = source_digest(entry)
        for class_name in chosen:
            settings = entry.card.resolve(protocol.dataset, class_name, overrides)
            for seed in seeds or protocol.seeds[: question.budget.seeds]:
                plan.append(
                    RunSpec(question, entry.name, digest, settings, class_name, seed, overrides)
                )
    return plan


def check_suits(entry: Entry, protocol: Protocol, dataset: DatasetSpec) -> None:
    """Refuse a method that cannot run on the modalities of a protocol.

    Raises:
        UsageError: names what is needed and what is there.
    """
    card = entry.card
    assert card is not None
    symbols = [m.symbol for m in dataset.modalities if m.name in protocol.modalities]
    absent = [s for s in card.needs if s not in symbols]
    if absent or len(symbols) < card.min_modalities:
        needs = (
            f"the modality {', '.join(absent)}"
            if absent
            else f"at least {card.min_modalities} modalities"
        )
        raise UsageError(
            f"Method {card.name} needs {needs}, but protocol {protocol.name} has "
            f"{', '.join(symbols)} only. To see other protocols: aqabench list protocols"
        )
