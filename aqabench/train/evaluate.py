"""All scenarios of a protocol in one pass, and which predictions each selection rule keeps.

Selection is not a part of training: the runner looks at the method now and then, keeps the
predictions, and the rules decide afterwards which look counts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from aqabench.data.batch import Batch, FixedBatches, Split, cover
from aqabench.data.corrupt import Moments, damaged_batches
from aqabench.errors import MethodError
from aqabench.protocol.scenarios import Corruption
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
        corruptions: tables of what is spoilt, each with its scenarios.
        moments: of the training clips; needed by timed and by corrupted scenarios.
    """

    split: Split
    available: Mapping[str, npt.NDArray[np.bool_]]
    observed: Mapping[str, npt.NDArray[np.bool_]] = field(default_factory=dict)
    corruptions: Sequence[Corruption] = ()
    moments: Moments | None = None

    @property
    def scenarios(self) -> tuple[str, ...]:
        """Names, in the order of the rows of predictions."""
        spoilt = [name for corruption in self.corruptions for name in corruption.targets]
        return (*self.available, *self.observed, *spoilt)


def predict_part(method: Method, part: Part, batch_size: int) -> Array:
    """Return (S, n) normalised predictions of all scenarios, sharing what they have in common.

    A sample of which a scenario would show nothing has NaN there: it is not scored.

    Raises:
        MethodError: a prediction is not finite; names the samples.
    """
    packed = not method.batch_matters
    batches = part.split.fixed_batches(
        method.test_window, method.task.clip_length, batch_size, packed
    )
    found = [_whole(method, part, batches)] if part.available else []
    for table in part.observed.values():
        assert part.moments is not None
        shown = batches.observed(torch.from_numpy(table))
        covered = (
            cover(batch, observed, part.moments.mean)
            for batch, observed in zip(batches, shown, strict=True)
        )
        found.append(_in_list_order(batches, [method.predict(b)[None] for b in covered]))
    if part.corruptions:
        found.append(_corrupted(method, part, batches))
    predictions = np.concatenate(found)
    expected = (len(part.scenarios), len(part.split))
    if predictions.shape != expected:
        raise MethodError(
            f"{method.card.name} returned predictions of shape {predictions.shape}, expected "
            f"{expected}. Run 'aqabench check {method.card.name}'."
        )
    bad = np.argwhere(~np.isfinite(predictions) & scored(part))
    if bad.size:
        names = part.scenarios
        where = ", ".join(f"{part.split.ids[i]} under {names[s]}" for s, i in bad[:5])
        raise MethodError(
            f"{method.card.name} predicted a value that is not finite for {len(bad)} cases "
            f"({where}). Run 'aqabench check {method.card.name}' to see whether it touches "
            "missing values."
        )
    return predictions


def scored(part: Part) -> npt.NDArray[np.bool_]:
    """Return (S, n) bool, the samples of which a scenario shows something."""
    exists = part.split.available.numpy()  # (n, M)
    found = np.ones((len(part.scenarios), len(part.split)), dtype=bool)
    for row, table in enumerate(part.available.values()):
        found[row] = (table & exists).any(1)
    return found


def _whole(method: Method, part: Part, batches: FixedBatches) -> Array:
    """Return (S, n) predictions with whole modalities missing, sharing what they have in common."""
    masks = torch.from_numpy(np.stack(list(part.available.values())))  # (S, n, M)
    exists = part.split.available
    empty = ~(masks & exists).any(-1)  # (S, n)
    shown = torch.where(empty[..., None], exists, masks)
    found = [
        method.predict_scenarios(batch, shown[:, rows].to(batch.available.device))
        for rows, batch in zip(batches.rows, batches, strict=True)
    ]
    predictions = _in_list_order(batches, found)
    if bool(empty.any()) and predictions.shape == empty.shape:
        predictions[empty.numpy()] = np.nan
    return predictions


def _corrupted(method: Method, part: Part, batches: FixedBatches) -> Array:
    """Return (S, n) predictions with streams spoilt; each spoilt stream is encoded once."""
    assert part.moments is not None
    modalities = part.split.modalities
    chosen = [
        torch.tensor([[m in target for m in modalities] for target in c.targets.values()])
        for c in part.corruptions
    ]  # each (scenarios of the table, M)
    spoilt = [damaged_batches(c.damage, part.moments, batches) for c in part.corruptions]
    found = []
    for batch in batches:
        versions = ((next(streams), rows) for streams, rows in zip(spoilt, chosen, strict=True))
        found.append(method.predict_corrupted(batch, versions))
    return _in_list_order(batches, found)


def _in_list_order(batches: FixedBatches, scores: Sequence[Tensor]) -> Array:
    """Return (S, n) numbers from the (S, B) scores of each batch."""
    joined: Array = torch.cat([x.detach().cpu() for x in scores], 1).double().numpy()
    order = np.argsort(torch.cat(batches.rows).numpy())
    if joined.shape[1] != len(order):
        return joined  # a method's mistake, which the caller names
    return joined[:, order]


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

    Attributes:
        method: what is scored.
        parts: ``val`` (if there is one) and ``test``.
        compared: the scenarios whose mean is compared.
        batch_size: videos scored at once.
        curve: a row per look and part.
        selected: what each rule has kept so far.
    """

    method: Method
    parts: Mapping[str, Part]
    compared: tuple[str, ...]
    batch_size: int = 32
    curve: list[dict[str, Any]] = field(default_factory=list)
    selected: dict[SelectionRule, Selected] = field(default_factory=dict)
    _best: dict[str, float] = field(default_factory=dict)

    def batches(self, part: str) -> Sequence[Batch]:
        """Return the complete batches of a part, as they are scored."""
        method = self.method
        window, length = method.test_window, method.task.clip_length
        return self.parts[part].split.fixed_batches(window, length, self.batch_size)

    @property
    def compared_by(self) -> float:
        """The last look's mean Spearman of what epochs are compared by: validation, else test."""
        rows = [row for row in self.curve if row["epoch"] == self.curve[-1]["epoch"]]
        own = {row["part"]: row["criterion"] for row in rows}
        return math.tanh(own["val"] if "val" in own else own["test"])

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

    def state(self) -> dict[str, Any]:
        """Return what has been kept so far, for a checkpoint."""
        kept = {id(chosen): chosen for chosen in self.selected.values()}
        return {
            "curve": json.dumps(self.curve),
            "best": dict(self._best),
            "kept": [
                {
                    "rules": [rule for rule, own in self.selected.items() if own is chosen],
                    "epoch": chosen.epoch,
                    "predictions": {
                        name: torch.from_numpy(values)
                        for name, values in chosen.predictions.items()
                    },
                }
                for chosen in kept.values()
            ],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what :meth:`state` returned."""
        self.curve = json.loads(state["curve"])
        self._best = dict(state["best"])
        self.selected = {}
        for item in state["kept"]:
            predictions = {name: x.numpy() for name, x in item["predictions"].items()}
            for rule in item["rules"]:
                self.selected[rule] = Selected(item["epoch"], predictions)

    def _measure(self, name: str, part: Part, predictions: Array, epoch: int) -> float:
        row: dict[str, Any] = {"epoch": epoch, "part": name}
        compared: list[float] = []
        for scenario, predicted in zip(part.scenarios, predictions, strict=True):
            finite = np.isfinite(predicted)
            points, predicted = part.split.points[finite], predicted[finite]
            rho = spearman(points, predicted)
            defined = math.isfinite(rho)
            error = float(mse(points, predicted))
            row[scenario] = {"srcc": float(rho) if defined else None, "mse": error}
            if scenario in self.compared:
                # an undefined correlation ranks nothing: it counts as 0 when epochs are compared
                bounded = max(-ALMOST_ONE, min(ALMOST_ONE, rho))
                compared.append(math.atanh(bounded) if defined else 0.0)
        row["criterion"] = fmean(compared)
        self.curve.append(row)
        return fmean(compared)
