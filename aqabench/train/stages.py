"""Training in stages: one after the other on one network, each as the shared loop trains.

A stage has settings and, by the method's doing, a loss of its own.  Only the last one may be looked
at, so that what is selected is always the finished method; no stage sees a validation part, so it
hands over its last weights.  To the runner it is one training: steps and epochs count on, and a
checkpoint says in which stage it was made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

from aqabench.data.batch import Split
from aqabench.seeds import seed
from aqabench.train.checkpoint import Checkpoint, State
from aqabench.train.context import FitContext, Progress
from aqabench.train.loop import batches_per_epoch, train_network

if TYPE_CHECKING:
    from aqabench.method.base import TorchMethod
    from aqabench.method.card import Setting

__all__ = ["Stage", "share_steps", "train_in_stages"]


@dataclass(frozen=True)
class Stage:
    """One training of several.

    Attributes:
        method: what is trained; a view of the method where the loss is another.
        settings: those that differ from the method's in this stage.
        begin: called before it: which parameters require gradients, what starts where.
    """

    method: TorchMethod
    settings: Mapping[str, Setting] = field(default_factory=dict)
    begin: Callable[[], None] = lambda: None

    def whole_number(self, name: str) -> int:
        """Return a setting of the stage."""
        return cast(int, {**self.method.settings, **self.settings}[name])


def train_in_stages(stages: Sequence[Stage], train: Split, context: FitContext) -> None:
    """Train a network that all stages share.

    Each has its optimiser, its schedule and its random streams.  A budget of steps is shared in
    the proportion of the stages' epochs; without one, each has its epochs.

    Args:
        stages: in order; one without steps is left out.
        train: the training part.
        context: of the whole training; looks come in the last stage, as many as it says.
    """
    saved = context.checkpoint.load() if context.checkpoint else None
    begin = 0 if saved is None else cast(int, saved["stage"])
    per_epoch = [batches_per_epoch(len(train), s.whole_number("batch_size")) for s in stages]
    published = [s.whole_number("epochs") for s in stages]
    if context.steps is None:
        steps = [e * n for e, n in zip(published, per_epoch, strict=True)]
    else:
        steps = share_steps(context.steps, published)
    for i, stage in enumerate(stages):
        if i < begin or not steps[i]:
            continue
        epochs = sum(math.ceil(s / n) for s, n in zip(steps[:i], per_epoch[:i], strict=True))
        last = i == len(stages) - 1
        own = replace(
            context,
            seed=context.seed if last else seed(context.seed, stage=i),
            steps=steps[i],
            evaluations=context.evaluations if last else 1,
            report=_counted_on(context.report, sum(steps[:i]), sum(steps), epochs),
            look=_later(context.look, epochs) if last else _not_looked_at,
            checkpoint=_of_stage(context.checkpoint, i, saved if i == begin else None),
        )
        stage.begin()
        with _set(stage):
            train_network(stage.method, train, own)
        context.learning_index = own.learning_index


def share_steps(steps: int, epochs: Sequence[int]) -> list[int]:
    """Share steps in the proportion of epochs; the last stage has one at least.

    A stage before it that has epochs has a step too, as long as there are enough.
    """
    shares, left = [], steps
    for i, own in enumerate(epochs[:-1]):
        fair = max(round(left * own / sum(epochs[i:])), 1) if own else 0
        shares.append(min(fair, left - 1))
        left -= shares[-1]
    return [*shares, left]


@contextmanager
def _set(stage: Stage) -> Iterator[None]:
    usual = stage.method.settings
    stage.method.settings = {**usual, **stage.settings}
    try:
        yield
    finally:
        stage.method.settings = usual


@dataclass
class _StageCheckpoint(Checkpoint):
    """The run's checkpoint as one stage writes and reads it."""

    stage: int = 0
    begun: State | None = None

    def load(self) -> State | None:
        return self.begun

    def save(self, training: State) -> None:
        super().save({**training, "stage": self.stage})


def _of_stage(whole: Checkpoint | None, stage: int, begun: State | None) -> Checkpoint | None:
    if whole is None:
        return None
    return _StageCheckpoint(
        whole.path, whole.outside, whole.restore, whole.every, stage=stage, begun=begun
    )


def _counted_on(
    report: Callable[[Progress], None], before: int, steps: int, epochs: int
) -> Callable[[Progress], None]:
    return lambda p: report(Progress(before + p.step, steps, epochs + p.epoch, p.loss))


def _later(look: Callable[[int], None], epochs: int) -> Callable[[int], None]:
    return lambda epoch: look(epochs + epoch)


def _not_looked_at(epoch: int) -> None:
    """It is no answer yet."""
