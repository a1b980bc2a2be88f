"""Late fusion: one specialist per stream, and the weighted mean of those whose stream is there.

    ŷ = Σ_{m ∈ S} w_m ŷ_m / Σ_{m ∈ S} w_m                                  for a subset S of streams

The specialists share no parameter, so training them by the sum of their losses is training each
by itself; each learns from the samples that have its stream.

``weights=precision`` is w_m = 1 / MSE_m.  The errors must be those on videos that the specialists
were not trained on: on the others a network's error says how well it remembers, and the weights
would favour the stream that overfits.  A method gets the training part only, so ``held_out`` of it
(spread over the scores) trains nothing and weighs the streams, anew at every look.  The video sets
of selection and test are never touched.  A stream that fewer than ten held-out videos have counts
as if it said the mean score: its MSE is the variance of the training scores.

``weights=mean`` is w_m = 1, and trains on everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from aqabench.data.batch import Batch, Split
from aqabench.errors import UsageError
from aqabench.method.base import FitContext, Task, TorchMethod
from aqabench.method.card import MethodCard
from aqabench.nn.losses import grade_loss
from aqabench.nn.specialist import Specialist
from aqabench.nn.streams import PerStream

WEIGHTS = ("precision", "mean")
FEWEST = 10
"""Held-out videos below which an error says nothing of a stream."""
AT_ONCE = 64
LEAST_ERROR = 1e-6


class LateFusion(TorchMethod):
    """The weighted mean score of the specialists for the streams that are there."""

    card = MethodCard(
        name="late-fusion",
        title="Late fusion",
        kind="baseline",
        summary=(
            "One network per stream (the unimodal baseline), trained side by side; the score is "
            "the mean over the streams that are there, each weighted by its precision."
        ),
        missing=(
            "Left out of the mean, and in training out of that stream's loss. Nothing is filled "
            "in, and training hides nothing of what there is."
        ),
        differs=(
            "Precisions are measured on a share of the training part that trains nothing "
            "(weights=mean: none is held out, and all streams count alike)."
        ),
        settings={
            "weights": "precision",
            "held_out": 0.15,
            "optimizer": "adam",
            "lr": 2e-4,
            "weight_decay": 1e-4,
            "batch_size": 32,
            "epochs": 300,
            "layers": 3,
            "heads": 2,
            "dropout": 0.3,
            "alpha": 1.0,
            "task_weight": 10.0,
        },
        published={"fisv": {"alpha": 0.5}, "fs1000": {"lr": 1e-4}},
        search={"lr": ("log", 5e-5, 1e-3), "dropout": ("linear", 0.0, 0.6)},
        min_modalities=2,
        contract_settings={"batch_size": 8, "layers": 1},
    )

    _held: frozenset[str] = frozenset()
    """Ids of the training videos that only weigh."""

    def build(self, task: Task) -> nn.Module:
        """Return the untrained specialists.

        Raises:
            UsageError: no such weights, or a share that leaves nothing to train or to weigh by.
        """
        weights, share = str(self.settings["weights"]), cast(float, self.settings["held_out"])
        if weights not in WEIGHTS:
            raise UsageError(
                f"The 'weights' setting of late-fusion must be {' or '.join(WEIGHTS)}. "
                f"Got '{weights}' instead. Give one: --set weights={WEIGHTS[0]}"
            )
        if not 0.0 < share < 1.0:
            raise UsageError(
                "The 'held_out' setting of late-fusion must lie between 0 and 1, both excluded. "
                f"Got {share:g} instead. Give one: --set held_out=0.15, or --set weights=mean"
            )
        layers, heads = cast(int, self.settings["layers"]), cast(int, self.settings["heads"])
        dropout = cast(float, self.settings["dropout"])
        net = PerStream(
            {
                task.symbols[m]: Specialist(width, layers, heads, dropout)
                for m, width in task.modalities.items()
            }
        )
        net.register_buffer("stream_weights", torch.ones(len(task.modalities)))  # (M,)
        return net

    def fit(self, train: Split, context: FitContext) -> None:
        """Train, and weigh the streams whenever the method may be looked at."""
        if self.settings["weights"] == "mean":
            self._held = frozenset()
            super().fit(train, context)
            return
        rows = held_out_rows(
            train.score, cast(float, self.settings["held_out"]), context.generator("held out")
        )
        self._held = frozenset(train.ids[row] for row in rows.tolist())

        def look(epoch: int) -> None:
            self._weigh(train, rows)
            context.look(epoch)

        own = replace(context, look=look)
        super().fit(train, own)
        context.learning_index = own.learning_index

    def _weigh(self, train: Split, rows: Tensor) -> None:
        """Set the weights to the precisions on the training videos ``rows`` (n,)."""
        self.net.eval()
        total = torch.zeros(2, len(self.task.modalities), dtype=torch.float64)  # errors, videos
        with torch.inference_mode():
            for some in torch.split(rows, AT_ONCE):
                start, length = train.cut(some, self.test_window, self.task.clip_length)
                batch = train.window(some, start, length, train.available[some], with_score=True)
                assert batch.score is not None
                said = self.encode_rows(batch, batch.available)
                for column, m in enumerate(self.task.modalities):
                    there = batch.available[:, column]
                    if m in said:
                        errors = (said[m] - batch.score)[there].double().square().sum()
                        total[:, column] += torch.stack([errors, there.sum()]).cpu()
        errors, count = total
        spread = float(train.score.double().var(correction=0))
        mse = torch.where(count < FEWEST, spread, errors / count)  # (M,)
        self._weights.copy_(1 / mse.clamp_min(LEAST_ERROR))

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Sum up the specialists' losses, each on the samples that have its stream."""
        if self._held:
            rows = [i for i, sample in enumerate(batch.ids) if sample not in self._held]
            batch = batch.take(rows)
        assert batch.score is not None
        task, alpha = (cast(float, self.settings[k]) for k in ("task_weight", "alpha"))
        terms: dict[str, Tensor] = {}
        for column, (m, features) in enumerate(batch.features.items()):
            there = batch.available[:, column]
            if not bool(there.any()):
                continue
            net, valid = self._specialist(m), batch.valid[there]
            grades = net.grade(net.encode(features[there], valid), valid)
            for name, term in grade_loss(grades, batch.score[there], task, alpha).items():
                terms[f"{name} {self.task.symbols[m]}"] = term
        return terms

    def projections(self) -> Mapping[str, nn.Module]:
        """Return the specialists' projections."""
        return {m: self._specialist(m).in_proj for m in self.task.modalities}

    def encode(self, modality: str, features: Tensor, valid: Tensor) -> Tensor:
        """Return what the stream's specialist says, (R,) scores."""
        net = self._specialist(modality)
        return net.grade(net.encode(features, valid), valid).score

    def score(self, encoded: Mapping[str, Tensor], available: Tensor, valid: Tensor) -> Tensor:
        """Average over the streams that each sample has, by their weights."""
        total = valid.new_zeros(len(available), dtype=torch.float32)  # (B,)
        for column, m in enumerate(self.task.modalities):
            if m in encoded:
                own = self._weights[column] * encoded[m]
                total = total + torch.where(available[:, column], own, 0.0)
        return total / torch.where(available, self._weights, 0.0).sum(1)

    @property
    def _weights(self) -> Tensor:
        return self.net.get_buffer("stream_weights")

    def _specialist(self, modality: str) -> Specialist:
        return cast(Specialist, cast(PerStream, self.net)[self.task.symbols[modality]])


def held_out_rows(score: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Draw videos that are spread over the scores.

    Args:
        score: (n,) of the training videos.
        share: of them.
        generator: source of randomness, on the CPU.

    Returns:
        (round(n × share),) rows, sorted: one of each of as many neighbourhoods of equal size.
    """
    count = round(len(score) * share)
    if not count:
        return torch.empty(0, dtype=torch.long)
    near = torch.argsort(score, stable=True).tensor_split(count)
    draw = torch.rand(count, generator=generator)
    chosen = [int(rows[int(x * len(rows))]) for rows, x in zip(near, draw.tolist(), strict=True)]
    return torch.tensor(sorted(chosen))
