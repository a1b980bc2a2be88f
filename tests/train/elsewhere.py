"""A device that this machine does not have: what would go wrong on a graphics card goes wrong here.

Tensors on it are kept on the processor, but mixing them with tensors that are not on it is refused
as CUDA refuses it, and so is reading them by numpy.  A device is registered for good, so tests use
it in a process of its own: ``python -m tests.train.elsewhere FOLDER METHOD …``
prints by how many points the predictions of each method differ from those made here, on a question
with everything that moves between devices: streams missing in training, moments missing, noise.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_iter, tree_map_only
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from aqabench.data.simulator import simulate
from aqabench.method.registry import discover
from aqabench.protocol.library import load_protocol
from aqabench.runs import execute as executing
from aqabench.runs.plan import Question, RunSpec, make_plan
from aqabench.runs.store import RunStore
from aqabench.train.device import Compute
from tests.runs.sweeps import Heard, narrow_question

AWAY = "away"
aten = torch.ops.aten
MOVES = (aten._to_copy.default, aten.copy_.default)
INDEXED = (
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
)
"""Take indices on the processor, too."""


class Away(torch.Tensor):
    """A tensor on the device."""

    here: torch.Tensor

    @staticmethod
    def __new__(cls, here: torch.Tensor) -> Away:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            here.size(),
            strides=here.stride(),
            storage_offset=here.storage_offset(),
            dtype=here.dtype,
            device=torch.device(AWAY, 0),
        )
        made.here = here
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _do(func, args, kwargs or {})

    def tolist(self) -> Any:
        return self.here.tolist()

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"cannot read a tensor on {AWAY} by numpy: use .cpu() first")


class Apart(TorchDispatchMode):
    """Also catches what makes tensors out of nothing."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _do(func, args, kwargs or {})


def _do(func: Any, args: Any, kwargs: Any) -> Any:
    tensors = [x for x in tree_iter((args, kwargs)) if isinstance(x, torch.Tensor)]
    away = any(isinstance(x, Away) for x in tensors)
    if away and func not in MOVES:
        for x in tensors:
            index = func in INDEXED and x.dtype in (torch.bool, torch.long)
            if not isinstance(x, Away) and x.dim() and not index:
                raise RuntimeError(f"{func}: a tensor {tuple(x.shape)} is on the cpu, others away")
    result_away = isinstance(args[0], Away) if func is aten.copy_.default else away
    if kwargs.get("device") is not None:
        result_away = torch.device(kwargs["device"]).type == AWAY
        kwargs = {**kwargs, "device": torch.device("cpu")}
    own_args, own_kwargs = tree_map_only(Away, lambda x: x.here, (args, kwargs))
    out = func(*own_args, **own_kwargs)
    if not result_away:
        return out
    wrapped = tree_map_only(torch.Tensor, Away, out)
    return return_and_correct_aliasing(func, args, kwargs, wrapped) if away else wrapped


def _register() -> torch.library.Library:
    """Make the device known; what ``torch.tensor(..., device=)`` uses passes modes by."""
    _setup_privateuseone_for_python_backend(AWAY)
    library = torch.library.Library("aten", "IMPL")

    def empty_strided(size: Any, stride: Any, dtype: Any = None, **_: Any) -> Away:
        return Away(torch.empty_strided(size, stride, dtype=dtype))

    def copy_from(source: torch.Tensor, target: torch.Tensor, *_: Any) -> torch.Tensor:
        here = [x.here if isinstance(x, Away) else x for x in (source, target)]
        here[1].copy_(here[0])
        return target

    library.impl("empty_strided", empty_strided, "PrivateUse1")
    library.impl("_copy_from", copy_from, "PrivateUse1")
    torch.inference_mode = torch.no_grad  # wrapped tensors cannot be made in it
    return library


@contextlib.contextmanager
def _computing(_: object) -> Iterator[Compute]:
    with Apart():
        yield Compute(torch.device(AWAY))


def tiny_question() -> Question:
    """Return fisv-missing with two dozen short videos and two steps of training."""
    question = narrow_question(("TES",))
    few = [c.model_copy(update={"train": 24, "test": 8}) for c in question.dataset.classes]
    dataset = question.dataset.model_copy(update={"clip_length": 8, "classes": tuple(few)})
    budget = question.budget.model_copy(update={"steps": 2, "evaluations": 1})
    return replace(question, dataset=dataset, budget=budget)


def _question(trains_incomplete: bool) -> Question:
    """Return the tiny question with worse things than missing streams."""
    question = tiny_question()
    found = [load_protocol(name).protocol for name in ("fisv-noise", "fisv-temporal")]
    other = [
        kind.model_copy(update={"draws": 1, **_last(kind, ("levels", "rates", "on"))})
        for kind in (*found[0].scenarios[1:], *found[1].scenarios[:1])
        if not (trains_incomplete and kind.kind == "swap")
    ]
    scenarios = (*question.protocol.scenarios, *other)
    protocol = question.protocol.model_copy(update={"scenarios": scenarios})
    if trains_incomplete:
        training = load_protocol("fisv-train-missing").protocol.training
        protocol = protocol.model_copy(update={"training": training})
    return replace(question, protocol=protocol)


def _last(kind: object, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(kind, name)[-1:] for name in names if hasattr(kind, name)}


def _predictions(spec: RunSpec, store: Path) -> Any:
    data = simulate(spec.question.dataset)
    (record,) = executing.execute([spec], data, discover(), RunStore(store), Heard()).records
    if record.status == "failed":
        raise SystemExit(f"{spec.method}: {record.traceback}")
    return RunStore(store).predictions(record)["prediction"], record.cost


def main(folder: Path, methods: list[str]) -> None:
    torch.set_num_threads(1)
    registry = discover()
    library, here = _register(), executing.computing
    differences = {}
    for name in methods:
        card = registry.get(name).card
        assert card is not None
        question = _question(not card.needs_complete_training)
        # the processor has a dropout of its own
        (spec,) = make_plan(question, registry, [name], {"dropout": 0.0}, seeds=[0])[:1]
        executing.computing = here
        expected, _ = _predictions(spec, folder / "here")
        executing.computing = _computing
        got, cost = _predictions(spec, folder / AWAY)
        assert cost.device == AWAY, cost
        differences[name] = float((expected - got).abs().max())
    print(json.dumps(differences))
    del library


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
