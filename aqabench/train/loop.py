"""The training loop that all networks share.

Optimiser, cosine schedule, batches, and when the runner may look.  It knows the training part
only: scoring is the runner's, behind ``context.look``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from aqabench.data.batch import Batch, Split
from aqabench.errors import MethodError
from aqabench.train.balance import StreamBalance
from aqabench.train.context import FitContext, Progress
from aqabench.train.device import Compute

if TYPE_CHECKING:
    from aqabench.method.base import TorchMethod

FINAL_LR = 0.01
"""The schedule ends at this share of the first learning rate (GDLT and MCMoE alike)."""


def train_network(method: TorchMethod, train: Split, context: FitContext) -> None:
    """Minimise ``method.loss`` over the training part.

    Settings read from the method: ``optimizer`` (adam | adamw | sgd), ``lr``, ``weight_decay``,
    ``batch_size`` and ``epochs`` (the published number, used when the budget names no steps).
    The learning rate follows a cosine, epoch by epoch, to 1 % of its start.

    Where the context has a checkpoint, training goes on from it with equal results.  It holds the
    network; a method that learns anything outside it cannot be resumed.

    Raises:
        MethodError: a loss that is not finite; says at which step and which term.
    """
    context.compute.prepare(method.net)
    settings = method.settings
    batch_size = cast(int, settings["batch_size"])
    per_epoch = batches_per_epoch(len(train), batch_size)
    steps = context.steps or cast(int, settings["epochs"]) * per_epoch
    epochs = math.ceil(steps / per_epoch)
    looks = _look_steps(steps, per_epoch, context.evaluations)
    optimiser = _optimiser(method)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimiser, T_max=epochs, eta_min=FINAL_LR * cast(float, settings["lr"])
    )
    state = _State(
        method.net,
        optimiser,
        schedule,
        StreamBalance(method.projections()),
        context.generator("batches"),
        context.generator("masks"),
        context.compute,
    )
    with torch.random.fork_rng(devices=context.compute.generators):
        torch.manual_seed(context.generator("dropout").initial_seed())
        saved = context.checkpoint.load() if context.checkpoint else None
        if saved is not None:
            state.restore(saved)
        for epoch in range(state.epoch + 1, epochs + 1):
            for batch in train.random_batches(batch_size, method.task.clip_length, state.batches):
                state.step += 1
                losses = _step(method, batch, state)
                context.report(Progress(state.step, steps, epoch, losses))
                if state.step in looks:
                    context.look(epoch)
                if state.step == steps:
                    break
            state.balance.end_epoch()
            schedule.step()
            state.epoch = epoch
            if context.checkpoint and epoch < epochs and context.checkpoint.due:
                context.checkpoint.save(state.saved())
        context.learning_index = state.balance.index()


@dataclass
class _State:
    """All that the rest of a training depends on, at the end of an epoch."""

    net: nn.Module
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.CosineAnnealingLR
    balance: StreamBalance
    batches: torch.Generator
    masks: torch.Generator
    compute: Compute
    epoch: int = 0
    step: int = 0

    def saved(self) -> dict[str, Any]:
        return {
            "net": self.net.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "balance": self.balance.epochs,
            "batches": self.batches.get_state(),
            "masks": self.masks.get_state(),
            "dropout": self.compute.random_state(),
            "epoch": self.epoch,
            "step": self.step,
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        self.net.load_state_dict(saved["net"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.schedule.load_state_dict(saved["schedule"])
        self.balance.epochs = saved["balance"]
        self.batches.set_state(saved["batches"])
        self.masks.set_state(saved["masks"])
        self.compute.set_random_state(saved["dropout"])
        self.epoch, self.step = saved["epoch"], saved["step"]


def _step(method: TorchMethod, batch: Batch, state: _State) -> dict[str, float]:
    method.net.train()
    state.optimiser.zero_grad(set_to_none=True)  # before the pass, which needs the memory
    with state.compute.autocast():
        terms = method.loss(batch, state.masks)
    if not terms:  # no sample of the batch has what the method reads
        state.balance.add(learned=False)
        state.optimiser.step()  # changes nothing, but the schedule expects it
        return {}
    each = torch.stack([term.float().reshape(()) for term in terms.values()])
    total = each.sum()
    # one copy: a graphics card would be waited for at each
    *own, summed = torch.cat([each, total[None]]).tolist()
    values = dict(zip(terms, own, strict=True))
    if not math.isfinite(summed):
        raise MethodError(
            f"The loss of {method.card.name} is not finite at step {state.step}: "
            + ", ".join(f"{name} = {value:.4g}" for name, value in values.items())
            + ". Lower the learning rate, e.g. --set lr=1e-4, or run 'aqabench check "
            + f"{method.card.name}' to see whether it touches missing values."
        )
    total.backward()  # type: ignore[no-untyped-call]
    state.balance.add(learned=True)
    state.optimiser.step()
    return values


def _optimiser(method: TorchMethod) -> torch.optim.Optimizer:
    settings = method.settings
    lr, decay = cast(float, settings["lr"]), cast(float, settings["weight_decay"])
    parameters: list[nn.Parameter] = [p for p in method.net.parameters() if p.requires_grad]
    match settings["optimizer"]:
        case "adam":  # L2 in the gradient, as the published codes use it
            return torch.optim.Adam(parameters, lr=lr, weight_decay=decay, fused=True)
        case "adamw":
            return torch.optim.AdamW(parameters, lr=lr, weight_decay=decay, fused=True)
        case "sgd":
            momentum = cast(float, settings.get("momentum", 0.9))
            return torch.optim.SGD(
                parameters, lr=lr, momentum=momentum, weight_decay=decay, fused=True
            )
        case other:
            raise MethodError(
                f"The 'optimizer' setting of {method.card.name} must be adam, adamw or sgd. "
                f"Got {other!r} instead. Give one: --set optimizer=adam"
            )


def batches_per_epoch(count: int, batch_size: int) -> int:
    """Return how many batches :meth:`Split.random_batches` makes of so many samples."""
    full, rest = divmod(count, batch_size)
    # a last batch of one sample joins the one before it, see Split.random_batches
    return max(1, full + (1 if rest > 1 or full == 0 else 0))


def _look_steps(steps: int, per_epoch: int, evaluations: int | None) -> set[int]:
    if evaluations is None:
        return {*range(per_epoch, steps + 1, per_epoch), steps}
    return {max(1, round(steps * k / evaluations)) for k in range(1, evaluations + 1)}
