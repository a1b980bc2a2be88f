"""How evenly the streams are optimised: gradient norms for aqabench-MLI (docs/metrics.md).

Reads gradients after a step and changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from aqabench.stats.robustness import learning_index


class StreamBalance:
    """Collects ``||dL/dTheta_m|| / ||Theta_m||`` of the modules that only one stream owns."""

    def __init__(self, owned: Mapping[str, nn.Module]) -> None:
        """Start with no step; ``owned`` is stream -> module, two streams or more to measure."""
        modules = owned if len(owned) > 1 else {}
        self._owned = [list(module.parameters()) for module in modules.values()]
        self._total = [0.0] * len(self._owned)
        self._steps = 0
        self.epochs: list[list[float]] = []  # (E, M), the means so far

    def add(self, learned: bool) -> None:
        """Count a step between its gradients and its update; without a loss it counts as zeros."""
        if not self._owned:
            return
        self._steps += 1
        if not learned:
            return
        for k, parameters in enumerate(self._owned):
            gradients = [p.grad for p in parameters if p.grad is not None]
            if gradients:
                self._total[k] += _norm(gradients) / _norm([p.detach() for p in parameters])

    def end_epoch(self) -> None:
        """Take the mean over the steps of the epoch."""
        if self._steps:
            self.epochs.append([total / self._steps for total in self._total])
        self._total, self._steps = [0.0] * len(self._owned), 0

    def index(self) -> float | None:
        """Return aqabench-MLI over the epochs; None where it is undefined."""
        index = float(learning_index(self.epochs)) if self.epochs else math.nan
        return index if math.isfinite(index) else None


def _norm(tensors: list[Tensor]) -> float:
    return float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(tensors))))
