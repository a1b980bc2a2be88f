"""Published weights into our networks: accept what authors save, complain about what does not fit.

Nothing is unpickled here; the caller brings a dictionary of arrays.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from aqabench.errors import CheckpointError, nearest

__all__ = ["as_tensors", "load_weights"]

_SHOWN = 4


def as_tensors(weights: Mapping[str, Any], source: str) -> dict[str, Tensor]:
    """Return the weights as tensors, without the ``module.`` prefix of parallel training.

    Args:
        weights: name -> numpy array or tensor.
        source: what the weights are said to be, for messages.

    Raises:
        CheckpointError: not a dictionary of arrays.
    """
    tensors: dict[str, Tensor] = {}
    for name, value in weights.items():
        if not isinstance(value, Tensor | np.ndarray | np.generic):
            raise CheckpointError(
                f"The {source} weights must map names to arrays. Got a {type(value).__name__} at "
                f"'{name}' instead. Pass the state_dict itself, e.g. checkpoint['{name}']."
            )
        tensor = torch.as_tensor(value) if isinstance(value, Tensor) else torch.tensor(value)
        tensors[name.removeprefix("module.")] = tensor
    return tensors


def load_weights(
    net: nn.Module, weights: Mapping[str, Tensor], source: str, optional: Collection[str] = ()
) -> None:
    """Copy weights into a network; every name and shape must fit.

    The network becomes float64 if all floating weights are, else it stays float32.

    Args:
        net: the network to fill.
        weights: name -> tensor.
        source: what the weights are said to be, for messages.
        optional: names that may be absent.

    Raises:
        CheckpointError: a name is missing or unknown, a shape differs, or a value is not finite.
    """
    own = net.state_dict()
    missing = sorted(own.keys() - weights.keys() - set(optional))
    unknown = sorted(weights.keys() - own.keys())
    if missing or unknown:
        parts = [
            f"{len(names)} {kind} ({_some(names)})"
            for kind, names in (("missing", missing), ("unexpected", unknown))
            if names
        ]
        guess = nearest(unknown[0], missing) if missing and unknown else None
        hint = f" Is '{unknown[0]}' meant as '{guess}'?" if guess else ""
        raise CheckpointError(
            f"The weights do not have the names of {source}: {' and '.join(parts)}, of "
            f"{len(own)} expected.{hint} Pass the plain state_dict that the official code saves."
        )
    wrong = [
        f"'{name}' is {tuple(weights[name].shape)}, expected {tuple(own[name].shape)}"
        for name in own
        if name in weights and weights[name].shape != own[name].shape
    ]
    if wrong:
        raise CheckpointError(
            f"The weights do not have the shapes of {source}: {_some(wrong)}. Check the feature "
            "widths and the numbers of layers that you ask for."
        )
    broken = [name for name, value in weights.items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise CheckpointError(
            f"The weights for {source} are not finite at {_some(broken)}. Take another checkpoint."
        )
    floating = [value for value in weights.values() if value.is_floating_point()]
    if floating and all(value.dtype == torch.float64 for value in floating):
        net.double()
    net.load_state_dict(dict(weights), strict=False)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
