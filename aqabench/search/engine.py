"""Trials one generation after the other, until as many are done as were asked for.

A trial knows the results of the generations before its own, never those of its own, whoever is
done first: so the trials are the same whatever runs at once and wherever a search was cut off.
Nothing here can see a test score: the runs of a trial have no test part
(:func:`aqabench.runs.parts.make_parts`), and only their curves are read.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

from aqabench.errors import UsageError
from aqabench.method.card import MethodCard, Setting
from aqabench.method.registry import Registry
from aqabench.protocol.folds import fold_names
from aqabench.runs.listener import Listener, Progress
from aqabench.runs.plan import Question, RunSpec, make_plan
from aqabench.runs.record import RunRecord
from aqabench.runs.resume import Outcome
from aqabench.runs.tuning import Choice, Params, Searched
from aqabench.search.propose import STARTUP, Known, optuna_version, propose
from aqabench.search.space import Range, ranges_of
from aqabench.search.trials import Trial, TrialStore
from aqabench.seeds import seed
from aqabench.train.numerics import USUAL, Numerics

__all__ = ["Search", "conclude", "known_trials", "make_search", "ordered", "run_search"]

TOGETHER = 4
"""Trials of a generation after the first: enough for the cores of a laptop, few enough to learn."""
Execute = Callable[[Sequence[RunSpec], Listener], Outcome]
"""Does runs that are not done yet."""


@dataclass(frozen=True)
class Search:
    """What is searched.

    Attributes:
        question: protocol, data and the budget of each trial.
        registry: where the method comes from.
        method: whose settings.
        given: settings that are not searched, but as the user wants them.
        ranges: setting -> what it may be.
        seeds: of the runs of each trial.
        numerics: device and precision.
        seed: of the proposals.
    """

    question: Question
    registry: Registry
    method: str
    given: Mapping[str, Setting]
    ranges: Mapping[str, Range]
    seeds: tuple[int, ...]
    numerics: Numerics
    seed: int

    @property
    def card(self) -> MethodCard:
        """The method's card."""
        card = self.registry.get(self.method).card
        assert card is not None
        return card

    @property
    def folds(self) -> tuple[int | None, ...]:
        """The folds, each with a search of its own; ``(None,)`` for a single split.

        Every sample is tested in some fold, so that settings chosen over all folds would have been
        chosen on what tests them.
        """
        return fold_names(self.question.protocol.split, self.question.dataset)

    @property
    def searched(self) -> Searched:
        """Everything that can change a trial."""
        first = self.plan(0, self.folds[0], {})[0]
        identity = first.identity
        budget: dict[str, Setting] = self.question.budget.model_dump(
            mode="json", exclude={"about", "seeds"}
        )
        return Searched(
            protocol=self.question.protocol.name,
            protocol_digest=self.question.protocol_digest,
            data_kind=self.question.data_kind,
            data_digest=self.question.data_digest,
            groups_digest=str(identity.get("groups_digest", "")),
            budget=budget,
            method=self.method,
            source_digest=first.source_digest,
            given=dict(sorted(self.given.items())),
            ranges={name: own.written for name, own in self.ranges.items()},
            seeds=self.seeds,
            numerics=first.numerics.changed,
            sampler={"name": "tpe", "startup": STARTUP, "together": TOGETHER, "seed": self.seed},
        )

    @property
    def published(self) -> dict[str, Setting] | None:
        """Trial 0 as a point of the ranges; None where it is none, or differs between classes."""
        dataset = self.question.protocol.dataset
        every = [self.card.resolve(dataset, c, self.given) for c in self.question.protocol.classes]
        point = {name: every[0][name] for name in self.ranges}
        if any(own[name] != value for own in every for name, value in point.items()):
            return None
        inside = all(self.ranges[name].holds(value) for name, value in point.items())
        return point if inside else None

    def plan(self, number: int, fold: int | None, settings: Mapping[str, Setting]) -> list[RunSpec]:
        """Return the runs of a trial: one for each class and seed."""
        specs = make_plan(
            self.question, self.registry, [self.method], {**self.given, **settings}, self.seeds,
            numerics=self.numerics,
        )  # fmt: skip
        return [
            replace(spec, trial=number, overrides={**self.given, **spec.numerics.changed})
            for spec in specs
            if spec.fold == fold
        ]


def make_search(
    question: Question,
    registry: Registry,
    method: str,
    given: Mapping[str, Setting],
    count: int = 1,
    numerics: Numerics = USUAL,
    seed: int = 0,
) -> Search:
    """Return a search, after checking that there is something to search, and to search it on.

    Args:
        question: protocol, data and budget.
        registry: where the method comes from.
        method: its name.
        given: settings by hand; they are not searched.
        count: seeds of each trial, the first of the protocol's.
        numerics: device and precision.
        seed: of the proposals.

    Raises:
        UsageError: no validation part, no ranges, an unsuitable method, or too many seeds.
        MethodError: a range on the card cannot be meant.
    """
    protocol = question.protocol
    if protocol.split.validation is None:
        raise UsageError(
            f"Protocol {protocol.name} has no validation part, so that settings could only be "
            "chosen on its test videos, which is not offered. Search under a protocol of "
            f"{protocol.dataset} whose split has one; to see them: aqabench list protocols"
        )
    if count > len(protocol.seeds):
        raise UsageError(
            f"Protocol {protocol.name} has {len(protocol.seeds)} seeds, {count} were asked for. "
            f"Type --seeds {len(protocol.seeds)} or fewer."
        )
    card = registry.get(method).card
    assert card is not None
    if card.per_modality and not given.get(card.stream_setting):
        raise UsageError(
            f"Method {method} is a row for each stream, and a search is of one. Choose one: "
            f"--set {card.stream_setting}={protocol.modalities[0]}"
        )
    resolved = card.resolve(protocol.dataset, protocol.classes[0], given)
    given = {name: resolved[name] for name in given}  # 1 and 1.0 are one search
    ranges = ranges_of(card, given)
    if not ranges:
        others = [e.name for e in registry.entries if e.card is not None and e.card.search]
        why = (
            f"all its ranges ({', '.join(sorted(card.search))}) are fixed by --set"
            if card.search
            else "its card has no search ranges"
        )
        raise UsageError(
            f"There is nothing to search for {method}: {why}. "
            + (
                "Leave out one of them."
                if card.search
                else f"Methods that have some: {', '.join(sorted(others))}"
            )
        )
    search = Search(
        question, registry, method, given, ranges, protocol.seeds[:count], numerics, seed
    )
    search.plan(0, search.folds[0], {})  # refuses what does not suit
    return search


def run_search(
    search: Search, trials: int, kept: TrialStore, execute: Execute, listener: Listener
) -> dict[int | None, list[Trial]]:
    """Do the trials that are not done yet.

    Args:
        search: what is searched.
        trials: how many each fold gets, the published settings among them.
        kept: where trials are kept.
        execute: does runs, in ``kept.runs``.
        listener: told of every run; runs that were done before come as stored.

    Returns:
        Fold -> its trials in order.

    Raises:
        AqabenchError: results cannot be kept or the data cannot be read.
    """
    every: dict[int | None, list[Trial]] = {}
    units = len(search.plan(0, search.folds[0], {}))
    total = len(search.folds) * trials * units
    for place, fold in enumerate(search.folds):
        every[fold] = []
        for numbers in generations(trials):
            watch = _Watch(search, fold, kept, listener, total)
            known = known_trials(search, every[fold])
            pending: list[Mapping[str, Setting]] = []
            for number in numbers:
                done = kept.find(fold, number)
                settings = done.settings if done else {}
                if done is None and number:
                    own = seed(search.seed, use="trial", fold=fold, number=number)
                    settings = propose(search.ranges, known, pending, own)
                point = settings if number else search.published
                if point is not None:
                    pending.append(point)
                specs = search.plan(number, fold, settings)
                if done is None:
                    watch.expect(number, settings, specs)
                else:
                    watch.ended[number] = done
                    _tell_stored(specs, kept, listener)
            before = place * trials + numbers.start + len(watch.ended)
            watch.started = before * units
            if watch.plan:
                execute(list(watch.plan.values()), watch)
            every[fold] += [watch.ended[number] for number in numbers]
    return every


def generations(trials: int) -> Iterator[range]:
    """Yield the numbers of trials that do not know of each other's results."""
    begin, end = 0, STARTUP + 1
    while begin < trials:
        yield range(begin, min(end, trials))
        begin, end = end, end + TOGETHER


def conclude(
    search: Search, trials: int, every: Mapping[int | None, Sequence[Trial]]
) -> Params | None:
    """Return the best settings of each fold, the earlier of equals; None if a fold has none."""
    choices = []
    for fold, own in every.items():
        best = next(iter(ordered(own)), None)
        if best is None or best.validation is None:
            return None
        choices.append(
            Choice(
                fold=fold,
                trial=best.number,
                settings=best.settings,
                validation=best.validation,
                of_published=own[0].validation,
            )
        )
    searched = search.searched
    return Params(search=searched.digest, searched=searched, trials=trials, choices=tuple(choices))


def ordered(trials: Sequence[Trial]) -> list[Trial]:
    """Return the finished trials, the best first, the earlier first of equals."""
    finished = [(-t.criterion, t.number, t) for t in trials if t.criterion is not None]
    return [trial for _, _, trial in sorted(finished, key=lambda own: own[:2])]


def known_trials(search: Search, trials: Sequence[Trial]) -> list[Known]:
    """Return what trials teach; trial 0 nothing where it is no point of the ranges."""
    settings = {0: search.published}
    own = [(settings.get(trial.number, trial.settings), trial.criterion) for trial in trials]
    return [(point, value) for point, value in own if point is not None]


def _tell_stored(specs: Sequence[RunSpec], kept: TrialStore, listener: Listener) -> None:
    for spec in specs:
        record = kept.runs.find(spec.question.protocol.name, spec.method, spec.key)
        if record is not None:
            listener.run_ended(spec, record, True)


@dataclass
class _Open:
    """A trial that is on: its settings, and the records of its runs as far as they have ended."""

    settings: Mapping[str, Setting]
    records: dict[str, RunRecord | None]


@dataclass
class _Watch:
    """Passes on what it hears, and keeps a trial as soon as its last run has ended.

    Attributes:
        search, fold, kept, listener: as there.
        total: runs of the whole search.
        started: runs that come before those of this generation.
        plan: the runs to do, by key: trials of equal settings share them.
        ended: trials that have ended, by number.
    """

    search: Search
    fold: int | None
    kept: TrialStore
    listener: Listener
    total: int
    started: int = 0
    plan: dict[str, RunSpec] = field(default_factory=dict)
    ended: dict[int, Trial] = field(default_factory=dict)
    _open: dict[int, _Open] = field(default_factory=dict)

    def expect(
        self, number: int, settings: Mapping[str, Setting], specs: Sequence[RunSpec]
    ) -> None:
        """Prepare for the runs of a trial."""
        self.plan = {**self.plan, **{spec.key: spec for spec in specs}}
        self._open[number] = _Open(settings, dict.fromkeys(spec.key for spec in specs))

    def run_started(self, spec: RunSpec, number: int, total: int) -> None:
        """Count on from the generations before."""
        self.listener.run_started(spec, self.started + number, self.total)

    def run_waits(self, spec: RunSpec) -> None:
        """Pass it on."""
        self.listener.run_waits(spec)

    def run_progress(self, spec: RunSpec, progress: Progress) -> None:
        """Pass it on."""
        self.listener.run_progress(spec, progress)

    def run_looked(self, spec: RunSpec, epoch: int, srcc: float) -> None:
        """Pass it on."""
        self.listener.run_looked(spec, epoch, srcc)

    def run_ended(self, spec: RunSpec, record: RunRecord, was_stored: bool) -> None:
        """Keep the trials whose last run this was."""
        for number, own in self._open.items():
            if spec.key not in own.records:
                continue
            own.records[spec.key] = record
            records = [found for found in own.records.values() if found is not None]
            if len(records) == len(own.records):
                trial = _summed_up(self, number, own.settings, records)
                self.kept.write(trial)
                self.ended[number] = trial
            self.listener.run_ended(spec, record, was_stored)


def _summed_up(
    watch: _Watch, number: int, settings: Mapping[str, Setting], records: Sequence[RunRecord]
) -> Trial:
    """Return a trial from its runs; one failed run fails it."""
    last = watch.search.question.protocol.selection == "last"
    reached: dict[str, list[float]] = {}
    errors = []
    for record in records:
        if record.status == "failed":
            errors.append(f"{record.class_name} seed {record.seed}: {record.error}")
            continue
        looks = [row["criterion"] for row in watch.kept.runs.curve(record) if row["part"] == "val"]
        reached.setdefault(record.class_name, []).append(looks[-1] if last else max(looks))
    by_class = {name: fmean(values) for name, values in reached.items()}
    criterion = None if errors else fmean(by_class.values())
    costs = [record.cost for record in records if record.cost is not None]
    return Trial(
        search=watch.kept.digest,
        fold=watch.fold,
        number=number,
        settings=dict(settings),
        status="failed" if errors else "finished",
        error="; ".join(errors),
        criterion=criterion,
        validation=None if criterion is None else math.tanh(criterion),
        classes={name: math.tanh(value) for name, value in by_class.items()},
        runs=tuple(record.key for record in records),
        seconds=sum(cost.fit_seconds + cost.look_seconds for cost in costs),
        optuna=optuna_version(),
        ended=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
