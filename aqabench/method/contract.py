"""The contract: what every method must keep, as small named checks.

``aqabench check NAME`` and the test suite run the same list over every method, ours or yours.  A
method may opt out of a check only with a reason on its card, which the board shows; an opt-out
that is not needed is itself a failure, so none can outlive its cause.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from aqabench.data.batch import Batch, Split, withhold
from aqabench.data.features import FeatureSet
from aqabench.data.simulator import simulate
from aqabench.method.base import FitContext, Method, Task, mix_streams
from aqabench.method.card import MethodCard, Setting
from aqabench.method.registry import Registry
from aqabench.protocol.mask_laws import Table, keep_one, single, u7
from aqabench.protocol.mask_laws import patterns as subsets_of
from aqabench.protocol.schema import ClassSpec, DatasetSpec, ModalitySpec
from aqabench.protocol.training import Redraw
from aqabench.stats import spearman

TOLERANCE = 1e-5
"""Largest difference between normalised scores that rounding in float32 may make."""
LEARNS, LOOKS = 0.35, 4
"""Spearman on the simulator's 80 test videos that learning must reach, three standard errors, and
how often that is asked on the way, so that what learns fast is checked fast."""
STEPS, LEARNING_STEPS, CLIPS, BATCH, SEED = 2, 100, 12, 8, 1
FEW = 8
"""Samples of a training batch (not in ``learns``) and of a part that lacks streams: one batch."""
STREAMS = tuple(
    ModalitySpec(name=name, symbol=symbol, width=width)
    for name, symbol, width in (("video", "v", 48), ("audio", "a", 32), ("flow", "f", 48))
)
"""The field's three streams, of which methods must not assume that there are no others."""


@dataclass(frozen=True)
class Result:
    """How one check went."""

    check: str
    status: Literal["passed", "failed", "opted out"]
    detail: str = ""


@dataclass(frozen=True)
class Bench:
    """What a check may use: a method's class, a small task with its data, a trained example."""

    kind: type[Method]
    task: Task
    data: FeatureSet
    train: Split
    test: Split
    method: Method

    def new(self) -> Method:
        """Return an untrained method that learns from small batches."""
        return self.kind(self.task, _quick(self.kind.card, self.task))

    def fitted(self) -> Method:
        """Return a freshly trained method."""
        return _fit(self.new(), self.train, SEED, STEPS)

    @property
    def batch(self) -> Batch:
        """A few complete test samples."""
        return self.test.fixed_batches(self.method.test_window, CLIPS, BATCH)[0]

    def subsets(self) -> Iterator[Tensor]:
        """Yield every non-empty subset of the modalities as (M,) bool."""
        yield from torch.from_numpy(subsets_of(len(self.task.modalities)))

    def shown(self, subset: Tensor) -> Tensor:
        """Return (B, M): the same subset for every sample."""
        return subset.expand(len(self.batch), -1)

    def scored_subsets(self, method: Method) -> Tensor:
        """Return (S, B) scores under every subset."""
        shown = torch.stack([self.shown(subset) for subset in self.subsets()])  # (S, B, M)
        return method.predict_scenarios(self.batch, shown)

    def lacking(
        self, exists: Table, redraw: Redraw | None = None, there: float | None = None
    ) -> Split:
        """Return the first training samples with no more than ``exists`` (n, M).

        Args:
            exists: which streams each of them has.
            redraw: draws that anew for each epoch.
            there: what the feature set holds where nothing exists; by default what it always held.
        """
        rows = self.data.rows(self.task.class_name, "train")[: len(exists)]
        features = dict(self.data.features)
        if there is not None:
            for column, m in enumerate(self.task.modalities):
                features[m] = features[m].copy()
                for row in rows[~exists[:, column]]:
                    features[m][self.data.offsets[row] : self.data.offsets[row + 1]] = there
        data = replace(self.data, features=features)
        return Split(data, rows, self.train.class_spec, self.train.modalities, 1, exists, redraw)


Check = Callable[[Bench], str]
"""Returns what went wrong, or an empty string."""


def check_method(
    registry: Registry,
    name: str,
    only: Collection[str] | None = None,
    streams: Sequence[ModalitySpec] = STREAMS,
) -> list[Result]:
    """Run the checks on one method.

    Args:
        registry: where the method is.
        name: which method.
        only: names of checks; all by default.
        streams: of the simulated data; video, audio and flow by default.

    Raises:
        UnknownNameError, MethodError: no such method, or its file is broken.
    """
    kind = registry.load(name)
    spec = _small_dataset(streams)
    data = simulate(spec, seed=0)
    task, train, test = _task(spec, data)
    try:
        method = _fit(kind(task, _quick(kind.card, task)), train, SEED, STEPS)
    except Exception as error:
        return [Result("fits", "failed", f"{type(error).__name__}: {error}")]
    bench = Bench(kind, task, data, train, test, method)
    chosen = [check for key, check in CHECKS.items() if only is None or key in only]
    return [_run(check, bench, kind.card.opt_outs) for check in chosen]


def _run(check: Check, bench: Bench, opt_outs: Mapping[str, str]) -> Result:
    name = check.__name__
    try:
        problem = check(bench)
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
    reason = opt_outs.get(name)
    if reason is None:
        return Result(name, "failed" if problem else "passed", problem)
    if problem:
        return Result(name, "opted out", reason)
    return Result(name, "failed", "passes although the card opts out of it: delete the opt-out")


def fits(bench: Bench) -> str:
    """Training ends and lets the runner look at least once, at the end."""
    looks: list[int] = []
    context = FitContext(1, STEPS, 1, lambda _: None, looks.append)
    bench.new().fit(bench.train, context)
    return "" if looks else "fit never called context.look, so there is nothing to score"


def missing_cannot_matter(bench: Bench) -> str:
    """Whatever lies under a missing modality, the output is the same to the bit."""
    for subset in bench.subsets():
        hidden = withhold(bench.batch, bench.shown(subset))
        expected = bench.method.predict(hidden)
        if not bool(torch.isfinite(expected).all()):
            return f"{_name(bench, subset)} shown: predictions are not finite, so NaN was touched"
        for garbage in (0.0, 1e6):
            filled = {m: torch.nan_to_num(x, nan=garbage) for m, x in hidden.features.items()}
            if not torch.equal(bench.method.predict(replace(hidden, features=filled)), expected):
                return f"{_name(bench, subset)} shown: the output depends on hidden values"
    return ""


def padding_cannot_matter(bench: Bench) -> str:
    """Invalid time steps at the end change nothing, whatever they hold."""
    for garbage in (0.0, 3.0):
        padded = _padded(bench.batch, steps=5, value=garbage)
        gap = _gap(bench.method.predict(padded), bench.method.predict(bench.batch))
        if gap > TOLERANCE:
            return f"5 padded steps of {garbage:g} change a score by {gap:.2g}"
    return ""


def alone_equals_batch(bench: Bench) -> str:
    """A sample by itself scores as it does among others."""
    together = bench.method.predict(bench.batch)
    alone = torch.cat([bench.method.predict(bench.batch.take([i])) for i in range(BATCH)])
    gap = _gap(alone, together)
    return f"a sample alone differs by {gap:.2g}" if gap > TOLERANCE else ""


def order_cannot_matter(bench: Bench) -> str:
    """Permuting the samples permutes the scores."""
    order = list(reversed(range(BATCH)))
    gap = _gap(
        bench.method.predict(bench.batch.take(order)), bench.method.predict(bench.batch)[order]
    )
    return f"another order of the samples changes a score by {gap:.2g}" if gap > TOLERANCE else ""


def mixed_patterns(bench: Bench) -> str:
    """Samples with different modalities in one batch score as in batches of their own."""
    patterns = list(bench.subsets())
    mask = torch.stack([patterns[i % len(patterns)] for i in range(BATCH)])
    mixed = bench.method.predict(withhold(bench.batch, mask))
    for pattern in patterns:
        rows = (mask == pattern).all(1)
        if not bool(rows.any()):
            continue
        own = bench.method.predict(withhold(bench.batch, bench.shown(pattern)))
        gap = _gap(mixed[rows], own[rows])
        if gap > TOLERANCE:
            return f"{_name(bench, pattern)} among other patterns differs by {gap:.2g}"
    return ""


def shared_pass(bench: Bench) -> str:
    """Scoring all scenarios at once gives what scoring each by itself gives."""
    subsets = list(bench.subsets())
    at_once = bench.scored_subsets(bench.method)
    if at_once.shape != (len(subsets), BATCH):
        return f"predict_scenarios gives shape {tuple(at_once.shape)}, not (scenarios, samples)"
    for scores, subset in zip(at_once, subsets, strict=True):
        gap = _gap(scores, bench.method.predict(withhold(bench.batch, bench.shown(subset))))
        if gap > TOLERANCE:
            return f"{_name(bench, subset)} scored with the others differs by {gap:.2g}"
    return ""


def corrupted_pass(bench: Bench) -> str:
    """Scoring spoilt streams together gives what scoring each scenario by itself gives."""
    streams = {m: 1.0 - x for m, x in bench.batch.features.items()}
    chosen = torch.stack(list(bench.subsets()))  # (S, M), which streams are the spoilt ones
    at_once = bench.method.predict_corrupted(bench.batch, [(streams, chosen)])
    for scores, row in zip(at_once, chosen, strict=True):
        mixed = mix_streams(bench.batch.features, streams, bench.task, row)
        gap = _gap(scores, bench.method.predict(replace(bench.batch, features=mixed)))
        if gap > TOLERANCE:
            return f"{_name(bench, row)} spoilt, scored with the others, differs by {gap:.2g}"
    return ""


def labels_cannot_matter(bench: Bench) -> str:
    """Who performs is not looked up: other labels of athlete or event change nothing."""
    nobody = dict.fromkeys(bench.batch.groups, ("nobody",) * BATCH)
    assert nobody  # the simulator labels its athletes
    relabelled = bench.method.predict(replace(bench.batch, groups=nobody))
    gap = _gap(relabelled, bench.method.predict(bench.batch))
    return f"labels of who performs change a score by {gap:.2g}" if gap > 0 else ""


def one_sample(bench: Bench) -> str:
    """A batch of one works under every subset."""
    for subset in bench.subsets():
        one = withhold(bench.batch.take([0]), subset[None])
        if bench.method.predict(one).shape != (1,):
            return f"{_name(bench, subset)}: the shape is not (1,)"
    return ""


def same_seed_same_result(bench: Bench) -> str:
    """Training twice with one seed gives the same scores to the bit and leaves torch's state."""
    before = torch.random.get_rng_state()
    again = bench.fitted()
    if not torch.equal(before, torch.random.get_rng_state()):
        return "training disturbs the global random state; use context.generator"
    gap = _gap(bench.method.predict(bench.batch), again.predict(bench.batch))
    return f"two trainings with one seed differ by {gap:.2g}" if gap > 0 else ""


def refit_forgets(bench: Bench) -> str:
    """A second fit starts afresh."""
    again = _fit(_fit(bench.new(), bench.train, SEED + 1, STEPS), bench.train, SEED, STEPS)
    gap = _gap(again.predict(bench.batch), bench.method.predict(bench.batch))
    return f"a second fit remembers the first: {gap:.2g}" if gap > 0 else ""


def state_round_trip(bench: Bench) -> str:
    """A method rebuilt from its state scores the same to the bit."""
    copy = bench.new()
    copy.load_state(bench.method.state())
    gap = _gap(copy.predict(bench.batch), bench.method.predict(bench.batch))
    return f"the state does not hold everything: {gap:.2g}" if gap > 0 else ""


def predicting_changes_nothing(bench: Bench) -> str:
    """Scoring is repeatable: no dropout, no running statistics, no random draws."""
    first = bench.method.predict(bench.batch)
    bench.method.predict(_padded(bench.batch, steps=3, value=1.0))
    gap = _gap(bench.method.predict(bench.batch), first)
    return f"the same samples score differently the second time: {gap:.2g}" if gap > 0 else ""


def learns(bench: Bench) -> str:
    """Within a small budget it ranks the simulator's test videos clearly better than chance."""
    card = bench.kind.card
    method = bench.kind(bench.task, {**_settings(card, bench.task), **card.contract_settings})
    reached: list[float] = []

    def look(epoch: int) -> None:
        batches = bench.test.fixed_batches(method.test_window, CLIPS, 64)
        predictions = np.concatenate([method.predict(b).double().numpy() for b in batches])
        reached.append(float(spearman(bench.test.points, predictions)))
        if reached[-1] >= LEARNS:
            raise _EnoughError

    try:
        method.fit(bench.train, FitContext(1, LEARNING_STEPS, LOOKS, lambda _: None, look))
    except _EnoughError:
        return ""
    return f"Spearman {max(reached):.2f} on simulated test videos, needs {LEARNS}"


class _EnoughError(Exception):
    """It has learned; the rest of the budget would show no more."""


def trains_incomplete(bench: Bench) -> str:
    """Whatever training samples lack, for good or for an epoch, every subset gets a score."""
    count, rng = len(bench.task.modalities), np.random.default_rng(0)
    trained_on = {
        "one stream each": bench.lacking(_one_each(count)),
        "other streams in each epoch": bench.lacking(
            u7(FEW, count, rng), lambda n, rng: u7(n, count, rng)
        ),
    }
    if count > 1:
        first = next(iter(bench.task.modalities))
        trained_on[f"no {first} at all"] = bench.lacking(single(FEW, count, 0, 0.0, rng))
    for what, split in trained_on.items():
        scores = bench.scored_subsets(_fit(bench.new(), split, SEED, STEPS))
        for subset, finite in zip(bench.subsets(), torch.isfinite(scores).all(1), strict=True):
            if not finite:
                return f"{_name(bench, subset)} is not finite after training on {what}"
    return ""


def hidden_training_cannot_matter(bench: Bench) -> str:
    """What training samples do not have is not looked up: other values there change nothing."""
    exists = _one_each(len(bench.task.modalities))
    plain, garbage = (
        _fit(bench.new(), bench.lacking(exists, there=value), SEED, STEPS).state()
        for value in (None, 1e3)
    )
    different = [name for name in plain if not torch.equal(plain[name], garbage[name])]
    return f"hidden training values change '{different[0]}' of the state" if different else ""


CHECKS: dict[str, Check] = {
    check.__name__: check
    for check in (
        fits,
        missing_cannot_matter,
        padding_cannot_matter,
        alone_equals_batch,
        order_cannot_matter,
        mixed_patterns,
        shared_pass,
        corrupted_pass,
        labels_cannot_matter,
        one_sample,
        same_seed_same_result,
        refit_forgets,
        state_round_trip,
        predicting_changes_nothing,
        learns,
        trains_incomplete,
        hidden_training_cannot_matter,
    )
}


def _one_each(count: int) -> Table:
    """Return the table in which as much is missing as can be: one stream per sample."""
    return keep_one(FEW, count, 1 - 1 / count, np.random.default_rng(0))


def _settings(card: MethodCard, task: Task) -> dict[str, Setting]:
    """Return the first stream for a method that by default reads one which is not there."""
    key = card.stream_setting
    if not key or card.settings[key] in task.modalities:
        return {}
    return {key: next(iter(task.modalities))}


def _quick(card: MethodCard, task: Task) -> dict[str, Setting]:
    """Return settings for checks that ask for no learning."""
    small: dict[str, Setting] = {"batch_size": FEW} if "batch_size" in card.settings else {}
    return {**_settings(card, task), **small}


def _small_dataset(streams: Sequence[ModalitySpec]) -> DatasetSpec:
    """Return a data set small enough for seconds."""
    return DatasetSpec(
        name="contract",
        version=1,
        title="contract",
        about="small simulated data for the contract",
        modalities=tuple(streams),
        classes=(ClassSpec(name="score", bounds=(0.0, 30.0), train=240, test=80),),
        same_videos=True,
        clip_length=CLIPS,
    )


def _task(spec: DatasetSpec, data: FeatureSet) -> tuple[Task, Split, Split]:
    streams = [m.name for m in spec.modalities]
    train, test = (
        Split(data, data.rows("score", part), spec.classes[0], streams)
        for part in ("train", "test")
    )
    symbols = {m.name: m.symbol for m in spec.modalities}
    return Task(spec.name, "score", train.widths, symbols, CLIPS), train, test


def _fit(method: Method, train: Split, seed: int, steps: int) -> Method:
    method.fit(train, FitContext(seed, steps, 1, lambda _: None, lambda _: None))
    return method


def _padded(batch: Batch, steps: int, value: float) -> Batch:
    """Append invalid steps that hold ``value``."""

    def extend(x: Tensor, fill: float) -> Tensor:
        return torch.cat([x, x.new_full((len(x), steps, *x.shape[2:]), fill)], dim=1)

    return replace(
        batch,
        features={m: extend(x, value) for m, x in batch.features.items()},
        observed=extend(batch.observed, False),
        valid=extend(batch.valid, False),
    )


def _gap(a: Tensor, b: Tensor) -> float:
    """Return the largest difference; one that is not a number is larger than any."""
    return float((a - b).abs().nan_to_num(nan=torch.inf).max())


def _name(bench: Bench, subset: Tensor) -> str:
    pairs = zip(bench.task.modalities, subset, strict=True)
    return "".join(bench.task.symbols[m] for m, shown in pairs if shown)
