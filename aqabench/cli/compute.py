"""In what a run computes and who watches it: options of ``aqabench run`` and ``search``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click

from aqabench.errors import UsageError

if TYPE_CHECKING:
    from aqabench.cli.executor import Executor
    from aqabench.runs.plan import RunSpec
    from aqabench.train.numerics import Numerics

F = TypeVar("F", bound=Callable[..., Any])

OPTIONS = (
    click.option(
        "--device",
        type=click.Choice(["auto", "cpu", "cuda"]),
        default="auto",
        show_default=True,
        help="Where networks live. auto: on a graphics card where there is one. Runs on one are a "
        "row of their own.",
    ),
    click.option(
        "--precision",
        type=click.Choice(["float32", "bfloat16"]),
        default="float32",
        show_default=True,
        help="Of matrix products in training; scores are predicted in float32. Runs in bfloat16 "
        "are a row of their own.",
    ),
    click.option(
        "--compile",
        "compiled",
        is_flag=True,
        help="Compile the layers of networks: a minute or more before the first step, worth it in "
        "long trainings on graphics cards. Such runs are a row of their own.",
    ),
)


TRACKING = click.option(
    "--track",
    type=click.Choice(["tensorboard", "wandb", "mlflow"]),
    multiple=True,
    help="Log curves for an experiment tracker, below .trackers in the store. May be repeated.",
)


def compute_options(function: F) -> F:
    """Add the options; the function gets those of :func:`device_options` and ``track``."""
    return device_options(TRACKING(function))


def device_options(function: F) -> F:
    """Add those that can change a number: ``device``, ``precision`` and ``compiled``."""
    for option in reversed(OPTIONS):
        function = option(function)
    return function


def numerics_of(device: str, precision: str, compiled: bool, executor: Executor) -> Numerics:
    """Return what was asked for; torch is asked only where a graphics card may be."""
    from aqabench.train.numerics import Numerics, may_have_gpu

    if device == "auto":
        device = "cpu"
        if executor.kind == "slurm":
            device = "cuda" if _gpus(executor) else "cpu"
        elif may_have_gpu():
            from aqabench.train.device import has_cuda

            device = "cuda" if has_cuda() else "cpu"
    compiled_parts = "layers" if compiled else "nothing"
    return Numerics(device, precision, compiled_parts)  # type: ignore[arg-type]


def require_here(plan: Sequence[RunSpec], executor: Executor) -> None:
    """Refuse runs on a graphics card that is not here, or that a cluster would not give them.

    Raises:
        UsageError: no graphics card.
    """
    on_gpu = [spec for spec in plan if spec.numerics.device != "cpu"]
    if not on_gpu:
        return
    if executor.kind != "slurm":
        from aqabench.train.device import require_device

        require_device(on_gpu[0].numerics)
    elif not _gpus(executor):
        raise UsageError(
            "--device cuda needs a graphics card, and Slurm would give the runs none. Add --gpus "
            "1, or 'gpus: 1' to the profile."
        )


def _gpus(executor: Executor) -> int:
    """Return how many graphics cards Slurm gives a run."""
    from aqabench.runs.executors.slurm import Slurm

    assert isinstance(executor.queue, Slurm)
    return executor.queue.profile.gpus
