"""In what arithmetic a run computes: on which device, in which precision, compiled or not.

A run's identity names what is not as usual, so this file knows no torch; what is done about it is
in :mod:`aqabench.train.device`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

__all__ = ["USUAL", "Compiled", "Device", "Numerics", "Precision", "may_have_gpu"]

Device = Literal["cpu", "cuda"]
Precision = Literal["float32", "bfloat16"]
Compiled = Literal["nothing", "layers"]
_DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""What Linux shows of a graphics card that torch may use: NVIDIA, AMD, and either inside WSL."""


@dataclass(frozen=True)
class Numerics:
    """What can change the numbers of a network without being one of its settings.

    Attributes:
        device: where networks live.
        precision: of the matrix products in training; scores are always predicted in float32.
        compiled: what of a network is compiled; its stacked layers are alike, and compiled once.
    """

    device: Device = "cpu"
    precision: Precision = "float32"
    compiled: Compiled = "nothing"

    @property
    def changed(self) -> dict[str, str]:
        """What is not as usual, by name."""
        own = {f.name: (getattr(self, f.name), f.default) for f in fields(self)}
        return {name: value for name, (value, usual) in own.items() if value != usual}


USUAL = Numerics()
"""On the processor, in float32, as written."""


def may_have_gpu() -> bool:
    """Is it worth asking torch for a graphics card?  Importing torch takes longer than this."""
    return sys.platform != "linux" or any(Path(driver).exists() for driver in _DRIVERS)
