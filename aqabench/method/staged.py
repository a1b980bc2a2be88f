"""Methods trained twice: one network, one after the other, within one budget of optimiser steps."""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import cast

from aqabench.data.batch import Split
from aqabench.errors import UsageError
from aqabench.method.base import FitContext, TorchMethod
from aqabench.train.stages import Stage, train_in_stages

__all__ = ["StagedMethod"]


class StagedMethod(TorchMethod):
    """A network trained in two stages; ``loss`` asks :attr:`stage` which one it is in.

    The first gets the share of epochs or steps that the ``first_stage`` setting names.
    """

    stage: int = 1
    """0 in the first stage of a training, 1 in the second and after it."""

    @abstractmethod
    def begin(self, stage: int) -> None:
        """Set the network up for a stage: which parameters require gradients, what starts where."""

    def learn(self, train: Split, context: FitContext) -> None:
        """Train with the shared loop, twice.

        Raises:
            UsageError: ``first_stage`` is no share.
        """
        share, epochs = self._share(), cast(int, self.settings["epochs"])
        first = max(1, round(epochs * share))
        parts = first, max(1, epochs - first)
        stages = [Stage(self, {"epochs": n}, partial(self._enter, k)) for k, n in enumerate(parts)]
        train_in_stages(stages, train, context)
        self.stage = 1

    def _enter(self, stage: int) -> None:
        self.stage = stage
        self.begin(stage)

    def _share(self) -> float:
        share = cast(float, self.settings["first_stage"])
        if not 0.0 < share < 1.0:
            raise UsageError(
                f"The 'first_stage' setting of {self.card.name} must lie between 0 and 1, both "
                f"excluded. Got {share:g} instead. Give a share of the budget: --set "
                f"first_stage={self.card.settings['first_stage']}"
            )
        return share
