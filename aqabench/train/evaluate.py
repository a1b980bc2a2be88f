"""All scenarios of a protocol in one pass, and which predictions each selection rule keeps.

Selection is not a part of training: the runner looks at the method now and then, keeps the
predictions, and the rules decide afterwards which look counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from aqabench.data.batch import Batch, Split, cover
from aqabench.errors import MethodError
from aqabench.protocol.schema import SelectionRule
from aqabench.stats import mse, spearman

if TYPE_CHECKING:
    from aqabench.method.base import Method

Array = npt.NDArray[np.float64]
ALMOST_ONE = 1 - 1e-6
"""A perfect ranking has an infinite z; epochs are compared with this instead."""


@dataclass(frozen=True)
class Part:
    """Videos to score and what each scenario shows of them.

    Attributes:
        split: the n videos.
        available: scenario -> (n, M) bool.
        observed: timed scenario -> (sum of lengths, M) bool, the videos one after the other.
        filling: modality -> (D,) what a hidden step shows; needed where ``observed`` is not empty.
    """

    split: Split
    available: Mapping[str, npt.NDArray[np.bool_]]
    observed: Mapping[str, npt.NDArray[np.bool_]] = field(default_factory=dict)
    filling: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def scenarios(self) -> tuple[str, ...]:
        """Names, in the order of the rows of predictions."""
        return (*self.available, *self.observed)


def predict_part(method: Method, part: Part, batch_size: int) -> Array:
    """Return (S, n) normalised predictions of all scenarios, sharing what they have in common.

    Raises:
        MethodError: a prediction is not finite; names the samples.
    """
    window, length = method.test_window, method.task.clip_length
    batches = part.split.fixed_batches(window, length, batch_size)
    found = [_whole(method, part, batches)] if part.available else []
    for table in part.observed.values():
        shown = part.split.observed(torch.from_numpy(table), window, length, batch_size)
        covered = (
            cover(batch, observed, part.filling)
            for batch, observed in zip(batches, shown, strict=True)
        )
        found.append(np.concatenate([_numbers(method.predict(b)) for b in covered])[None])
    predictions = np.concatenate(found)
    expected = (len(part.scenarios), len(part.split))
    if predictions.shape != expected:
        raise MethodError(
            f"{method.card.name} returned predictions of shape {predictions.shape}, expected "
            f"{expected}. Run 'aqabench check {method.card.name}'."
        )
    bad = np.argwhere(~np.isfinite(predictions))
    if bad.size:
        names = part.scenarios
        where = ", ".join(f"{part.split.ids[i]} under {names[s]}" for s, i in bad[:5])
        raise MethodError(
            f"{method.card.name} predicted a value that is not finite for {len(bad)} cases "
            f"({where}). Run 'aqabench check {method.card.name}' to see whether it touches "
            "missing values."
        )
    return predictions


def _whole(method: Method, part: Part, batches: Sequence[Batch]) -> Array:
    """Return (S, n) predictions with whole modalities missing, sharing what they have in common."""
    masks = torch.from_numpy(np.stack(list(part.available.values())))  # (S, n, M)
    found, first = [], 0
    for batch in batches:
        shown = masks[:, first : first + len(batch)]
        found.append(_numbers(method.predict_scenarios(batch, shown)))
        first += len(batch)
    return np.concatenate(found, axis=1)


def _numbers(scores: Tensor) -> Array:
    numbers: Array = scores.detach().cpu().double().numpy()
    return numbers


@dataclass(frozen=True)
class Selected:
    """What one rule kept: predictions in judge points, (S, n) per part, and from which epoch."""

    epoch: int
    predictions: Mapping[str, Array]


@dataclass
class Looks:
    """Scores a method whenever it is ready and keeps the predictions each rule would choose.

    The rules compare the mean over scenarios of Fisher's z: ``val`` on the validation part,
    ``oracle`` on the test part, ``last`` takes the last look.
    """

    method: Method
    parts: Mapping[str, Part]
    batch_size: int = 32
    curve: list[dict[str, Any]] = field(default_factory=list)
    selected: dict[SelectionRule, Selected] = field(default_factory=dict)
    _best: dict[str, float] = field(default_factory=dict)

    def __call__(self, epoch: int) -> None:
        """Score all parts under all scenarios; keep what a rule prefers to what it had."""
        predictions: dict[str, Array] = {}
        criterion: dict[str, float] = {}
        for name, part in self.parts.items():
            predictions[name] = part.split.to_points(
                predict_part(self.method, part, self.batch_size)
            )
            criterion[name] = self._measure(name, part, predictions[name], epoch)
        kept = Selected(epoch, predictions)
        self.selected["last"] = kept
        rules: tuple[tuple[SelectionRule, str], ...] = (("val", "val"), ("oracle", "test"))
        for rule, name in rules:
            if name in criterion and criterion[name] > self._best.get(rule, -math.inf):
                self._best[rule] = criterion[name]
                self.selected[rule] = kept

    def _measure(self, name: str, part: Part, predictions: Array, epoch: int) -> float:
        row: dict[str, Any] = {"epoch": epoch, "part": name}
        total = 0.0
        for scenario, predicted in zip(part.scenarios, predictions, strict=True):
            rho = spearman(part.split.points, predicted)
            defined = math.isfinite(rho)
            error = float(mse(part.split.points, predicted))
            row[scenario] = {"srcc": float(rho) if defined else None, "mse": error}
            # an undefined correlation ranks nothing, so it counts as 0 when epochs are compared
            total += math.atanh(max(-ALMOST_ONE, min(ALMOST_ONE, rho))) if defined else 0.0
        row["criterion"] = total / len(predictions)
        self.curve.append(row)
        return total / len(predictions)
