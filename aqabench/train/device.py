"""Where and how a network computes; the only file that knows devices, precisions and accelerate.

Everything is deterministic: equal keys give equal numbers on one machine, or an operation that
cannot be refuses to run.  Training may use bfloat16 for what tolerates it; scores are predicted in
float32, because bfloat16 has three digits and would tie videos that a judge tells apart.  Weights
stay float32 throughout.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from accelerate.utils import AutocastKwargs
from torch import Tensor, nn

from aqabench.data.batch import keep_resident
from aqabench.data.corrupt import Moments
from aqabench.errors import MethodError, UsageError
from aqabench.train.evaluate import Part
from aqabench.train.numerics import Numerics

__all__ = ["ON_CPU", "Compute", "computing", "has_cuda", "place", "require_device"]

_WORKSPACE = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
"""What cuBLAS needs to be told before it is loaded in order to be deterministic."""


@dataclass(frozen=True)
class Compute:
    """Where a network computes, and in what precision it trains.

    Attributes:
        device: where it lives.
        autocast: makes a block in which matrix products may be of lower precision.
        compiles: are the layers of networks compiled?
    """

    device: torch.device = torch.device("cpu")  # noqa: RUF009 - immutable
    autocast: Callable[[], AbstractContextManager[None]] = nullcontext
    compiles: bool = False

    def prepare(self, net: nn.Module) -> None:
        """Have a network's stacked layers compiled where that was asked for; names stay.

        Layers and no more, because masks that differ between samples make shapes depend on data:
        a whole loss would be compiled again and again.

        Raises:
            MethodError: the network has no stack of layers.
        """
        if not self.compiles:
            return
        layers = [
            layer for stack in net.modules() if isinstance(stack, nn.ModuleList) for layer in stack
        ]
        if not layers:
            raise MethodError(
                f"{type(net).__name__} has no stack of layers (nn.ModuleList) that could be "
                "compiled. Run it without --compile."
            )
        for layer in layers:
            layer.compile(dynamic=True)

    @property
    def _cuda(self) -> bool:
        return self.device.type == "cuda"

    @property
    def generators(self) -> list[torch.device]:
        """Devices with a global random stream of their own, beside the processor's."""
        return [self.device] if self._cuda else []

    def random_state(self) -> list[Tensor]:
        """Return where the global random streams stand, the processor's first."""
        return [torch.get_rng_state(), *(torch.cuda.get_rng_state(d) for d in self.generators)]

    def set_random_state(self, state: Sequence[Tensor]) -> None:
        """Go back to what :meth:`random_state` returned."""
        torch.set_rng_state(state[0])
        for device, own in zip(self.generators, state[1:], strict=True):
            torch.cuda.set_rng_state(own, device)

    def peak_bytes(self) -> int | None:
        """Return the most memory that tensors have had on a graphics card; None without one."""
        return torch.cuda.max_memory_allocated(self.device) if self._cuda else None

    def facts(self) -> dict[str, str]:
        """Return what a record says of the graphics card."""
        if not self._cuda:
            return {}
        return {
            "gpu": torch.cuda.get_device_name(self.device),
            "cuda": str(torch.version.cuda or torch.version.hip),
        }


ON_CPU = Compute()
"""On the processor, in float32."""


def has_cuda() -> bool:
    """Is there a graphics card that this torch can use?"""
    return torch.cuda.is_available()


def require_device(numerics: Numerics) -> None:
    """Refuse a device that is not there.

    Raises:
        UsageError: no graphics card, or a torch that was built without support for one.
    """
    if numerics.device == "cuda" and not has_cuda():
        built = torch.version.cuda or torch.version.hip
        reason = "sees none here" if built else "was built for processors only"
        raise UsageError(
            f"--device cuda needs a graphics card, and torch {torch.__version__} {reason}. "
            "Type --device cpu, or 'nvidia-smi' to see whether the driver works."
        )


@contextmanager
def computing(numerics: Numerics) -> Iterator[Compute]:
    """Set this process up for one run; everything is as it was afterwards.

    Raises:
        UsageError: the device is not there.
    """
    require_device(numerics)
    with _deterministic(numerics):
        _forget_accelerator()  # who made one before would decide
        try:
            accelerator = Accelerator(
                cpu=numerics.device == "cpu",
                mixed_precision={"float32": "no", "bfloat16": "bf16"}[numerics.precision],
                # A method may use a weight without a gradient first and with one afterwards;
                # a kept copy of it in bfloat16 would carry none.
                kwargs_handlers=[AutocastKwargs(cache_enabled=False)],
            )
            compiles = numerics.compiled == "layers"
            compute = Compute(accelerator.device, accelerator.autocast, compiles)
            if numerics.device == "cuda":
                torch.cuda.reset_peak_memory_stats(compute.device)
            yield compute
        finally:
            _forget_accelerator()
            if numerics.device == "cuda":
                torch.cuda.empty_cache()


def place(parts: Mapping[str, Part], device: torch.device) -> dict[str, Part]:
    """Return parts whose features lie on a device, moved once for all of them."""
    keep_resident([part.split for part in parts.values()], device)
    return {
        name: replace(part, moments=_moved(part.moments, device)) for name, part in parts.items()
    }


def _moved(moments: Moments | None, device: torch.device) -> Moments | None:
    if moments is None:
        return None
    mean, spread = (
        {m: x.to(device) for m, x in own.items()} for own in (moments.mean, moments.spread)
    )
    return Moments(mean, spread)


@contextmanager
def _deterministic(numerics: Numerics) -> Iterator[None]:
    """Choose deterministic algorithms, and full float32 where float32 is asked for."""
    name, value = _WORKSPACE
    added = numerics.device == "cuda" and name not in os.environ
    if added:
        os.environ[name] = value
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    torch.use_deterministic_algorithms(True)
    try:
        with torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        ):
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        if added:
            del os.environ[name]


def _forget_accelerator() -> None:
    """Drop the state that all accelerators of a process share; there is no public way."""
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
