"""From a question to the list of runs that answer it.

A run is one method, one class, one seed.  Its key is a hash of everything that can change its
numbers, so that a run done once is never done again, and a changed one is never taken for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from aqabench.data.source import Source
from aqabench.errors import UsageError
from aqabench.method.card import MethodCard, Setting
from aqabench.method.registry import Entry, Registry, source_digest
from aqabench.protocol.folds import fold_names, group_kinds
from aqabench.protocol.library import Asked
from aqabench.protocol.schema import Budget, DataKind, DatasetSpec, Protocol
from aqabench.runs.record import Tuned, identity_key, row_name
from aqabench.train.numerics import USUAL, Numerics


@dataclass(frozen=True)
class Question:
    """A protocol with its data set and the digests that make its numbers comparable.

    Attributes:
        protocol: what is asked.
        dataset: the data set it is asked on.
        protocol_digest: sha256 of both, without their prose.
        data_kind: real or simulated.
        data_digest: sha256 of the features, scores and splits.
        budget: how much training every method gets.
        groups: kinds of group that the data have labels for.
        groups_digest: sha256 of the labels.
    """

    protocol: Protocol
    dataset: DatasetSpec
    protocol_digest: str
    data_kind: DataKind
    data_digest: str
    budget: Budget
    groups: tuple[str, ...] = ()
    groups_digest: str = ""

    @classmethod
    def of(cls, asked: Asked, source: Source, budget: Budget) -> Question:
        """Return what a protocol asks of the data at hand."""
        return cls(
            asked.protocol,
            asked.dataset,
            asked.digest,
            source.kind,
            source.digest,
            budget,
            source.groups,
            source.groups_digest,
        )


@dataclass(frozen=True)
class RunSpec:
    """One run to do.

    Attributes:
        question: what is asked.
        method: who answers.
        source_digest: of the source that can change what it computes.
        settings: all of them.
        class_name: the score to predict.
        seed: of all that is drawn.
        overrides: what was given by hand.
        fold: which is tested, or None for a single split.
        reads_groups: does the method read labels of who performs?
        numerics: device and precision.
        trial: number of the trial of a search that it is a part of.  Such a run has no test part:
            it is scored on validation, and nothing of it can tell what test would have said.
        tuned: the search that chose its settings.
    """

    question: Question
    method: str
    source_digest: str
    settings: Mapping[str, Setting]
    class_name: str
    seed: int
    overrides: Mapping[str, Setting] = field(default_factory=dict)
    fold: int | None = None
    reads_groups: bool = False
    numerics: Numerics = USUAL
    trial: int | None = None
    tuned: Tuned | None = None

    @property
    def identity(self) -> dict[str, object]:
        """Everything that can change a number of this run."""
        split = self.question.protocol.split
        folded = {} if self.fold is None else {"fold": self.fold}
        grouped = self.reads_groups or group_kinds(split)
        numerics = self.numerics.changed
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
            **folded,
            **({"groups_digest": self.question.groups_digest} if grouped else {}),
            **({"numerics": numerics} if numerics else {}),
            **({"validation_only": True} if self.trial is not None else {}),
            **(
                {"tuned": {"search": self.tuned.search, "trials": self.tuned.trials}}
                if self.tuned
                else {}
            ),
        }

    @property
    def key(self) -> str:
        """The key of :attr:`identity`."""
        return identity_key(self.identity)

    @property
    def label(self) -> str:
        """What people call the run."""
        fold = "" if self.fold is None else f" fold {self.fold}"
        return f"{self.row} {self.class_name} seed {self.seed}{fold}"

    @property
    def row(self) -> str:
        """The row of a board that it belongs to; of a trial, which is on none, its name."""
        name = row_name(self.method, self.overrides, self.tuned)
        return name if self.trial is None else f"{name} trial {self.trial}"


def make_plan(
    question: Question,
    registry: Registry,
    methods: Sequence[str],
    overrides: Mapping[str, Setting],
    seeds: Sequence[int] | None = None,
    classes: Sequence[str] | None = None,
    numerics: Numerics = USUAL,
) -> list[RunSpec]:
    """Return the runs, method by method, class by class, seed by seed, fold by fold.

    A method that reads one stream of your choice gets a row for each, if you choose none.  Numerics
    are those of networks; what is not as usual becomes a part of their rows' names.

    Raises:
        UsageError: an unknown method or class, or a method that the protocol cannot feed.
    """
    protocol = question.protocol
    entries = [registry.get(name) for name in dict.fromkeys(methods)]
    for entry in entries:
        check_suits(entry, question.protocol, question.dataset, question.groups)
    folds = fold_names(protocol.split, question.dataset)
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
        own = numerics if _is_network(entry.card) else USUAL
        for given in _rows(entry.card, protocol, overrides):
            for class_name in chosen:
                settings = entry.card.resolve(protocol.dataset, class_name, given)
                for seed in seeds or protocol.seeds[: question.budget.seeds]:
                    first = RunSpec(
                        question, entry.name, digest, settings, class_name, seed,
                        {**given, **own.changed},
                        reads_groups=entry.card.reads_groups, numerics=own,
                    )  # fmt: skip
                    plan += [replace(first, fold=fold) for fold in folds]
    return plan


def _is_network(card: MethodCard) -> bool:
    """Does the shared loop train it?  Whatever else computes does so in its own way."""
    return "optimizer" in card.settings


def _rows(
    card: MethodCard, protocol: Protocol, overrides: Mapping[str, Setting]
) -> list[Mapping[str, Setting]]:
    """Return the overrides of each row that a method gets: as given, or one for each stream.

    Raises:
        UsageError: the method would read a stream that the protocol does not have.
    """
    key = card.stream_setting
    if not key:
        return [overrides]
    stream = overrides.get(key, card.settings[key])
    if card.per_modality and not stream:
        return [{**overrides, key: name} for name in protocol.modalities]
    if stream not in protocol.modalities:
        raise UsageError(
            f"Method {card.name} reads the stream '{stream}', but protocol {protocol.name} has "
            f"{', '.join(protocol.modalities)}. Choose one: --set {key}={protocol.modalities[0]}"
        )
    return [overrides]


def check_suits(
    entry: Entry, protocol: Protocol, dataset: DatasetSpec, groups: Sequence[str]
) -> None:
    """Refuse a method that cannot run on a protocol's modalities or training, or without labels.

    Raises:
        UsageError: names what is needed and what is there.
    """
    card = entry.card
    assert card is not None
    if card.reads_groups and not groups:
        kinds = ",".join(dataset.groups) or "group"
        raise UsageError(
            f"Method {card.name} predicts from who performs, but the installed {dataset.title} has "
            f"no such labels. Add them: aqabench data import {dataset.name} --groups FILE.csv "
            f"(columns sample_id,{kinds}), or leave {card.name} out."
        )
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
    if card.needs_complete_training and protocol.training != "complete":
        raise UsageError(
            f"Method {card.name} cannot train where samples lack modalities "
            f"({card.needs_complete_training}), and in protocol {protocol.name} training samples "
            f"do. Leave {card.name} out, or take another protocol: aqabench list protocols"
        )
