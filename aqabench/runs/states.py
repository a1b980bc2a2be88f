"""What a method had learned at the epochs that the rules choose: gathered, packed, and read back.

The form is a dict of plain dicts, selection rule -> name -> tensor; rules that choose the same
epoch share one.  It is written by ``torch.save`` and read with ``weights_only=True``, which makes
tensors and calls nothing else.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from aqabench.data.checkpoint import load_plain
from aqabench.data.torch_archive import RefusalError
from aqabench.errors import StoreError
from aqabench.method.base import Method
from aqabench.protocol.schema import SELECTION_RULES, SelectionRule
from aqabench.runs.cost import Stopwatch
from aqabench.runs.vetting import RefusedError
from aqabench.runs.weights import problem_of
from aqabench.train.evaluate import Looks

__all__ = ["KeptStates", "State", "pack", "unpack"]

State = dict[str, Tensor]


class KeptStates:
    """Keeps the method's state for each rule that has chosen the look just taken.

    Attributes:
        states: rule -> state, as far as looks were taken.
        watch: the time that keeping takes, which is not that of the training.
    """

    def __init__(self, method: Method, looks: Looks) -> None:
        """Watch the looks of a method; ask after each of them."""
        self.states: dict[SelectionRule, State] = {}
        self.watch = Stopwatch()
        self._method, self._looks = method, looks

    def looked(self) -> None:
        """Keep the state, which is the one that was looked at, for the rules that chose it."""
        with self.watch.running():
            now = {
                name: value.detach().cpu().clone() for name, value in self._method.state().items()
            }
            last = self._looks.selected["last"]
            for rule, chosen in self._looks.selected.items():
                if chosen is last:
                    self.states[rule] = now

    def restore(self, states: Mapping[SelectionRule, State]) -> None:
        """Take back what a checkpoint has of :attr:`states`."""
        self.states = dict(states)


def require_states(state: Mapping[str, Any]) -> Mapping[SelectionRule, State]:
    """Return the states of a checkpoint.

    Raises:
        StoreError: it was written without them, so that the run has to begin anew.
    """
    if "weights" not in state:
        raise StoreError("The checkpoint holds no weights of the epochs chosen so far.")
    found: Mapping[SelectionRule, State] = state["weights"]
    return found


def pack(states: Mapping[SelectionRule, State]) -> bytes:
    """Return the content of a file of weights."""
    buffer = io.BytesIO()
    torch.save({rule: states[rule] for rule in SELECTION_RULES if rule in states}, buffer)
    return buffer.getvalue()


def unpack(content: bytes) -> dict[SelectionRule, State]:
    """Return rule -> state from a file that anybody may have made.

    Raises:
        RefusedError: it is no file of weights; in words that follow the run's name.
    """
    problem = problem_of(content)
    if problem:
        raise RefusedError(problem)
    try:
        found = load_plain(io.BytesIO(content), len(content))
    except RefusalError as refusal:
        raise RefusedError(
            f"has weights that hold something else than tensors; nothing of it was run: "
            f"{refusal.reason}"
        ) from None
    if type(found) is not dict or not set(found) <= set(SELECTION_RULES):
        raise RefusedError("has weights that are not sorted by selection rules")
    for state in found.values():
        _require_tensors(state, len(content))
    return found


def _require_tensors(state: object, most: int) -> None:
    """Refuse anything but a dict of ordinary tensors that the file really holds.

    Raises:
        RefusedError: it is something else.
    """
    if type(state) is not dict or not all(type(name) is str for name in state):
        raise RefusedError("has weights that are no dict of tensors")
    total = 0
    for value in state.values():
        if type(value) is not Tensor or value.layout is not torch.strided or value.is_meta:
            raise RefusedError("has weights that hold something else than tensors")
        total += value.numel() * value.element_size()
    if total > most:
        raise RefusedError("has weights that claim more numbers than their file holds")
