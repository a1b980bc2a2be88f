"""What a network keeps once for each stream, whatever the streams are called.

Keys are the streams' symbols, so that published state dicts keep their names.
"""

from __future__ import annotations

from torch import nn

__all__ = ["PerStream"]


class PerStream(nn.ModuleDict):
    """One module for each stream.

    ``nn.ModuleDict`` refuses keys that are names of its own methods; ``pop`` and ``cpu`` are
    symbols like any other here.
    """

    def __setitem__(self, key: str, module: nn.Module) -> None:
        """Keep a module under the symbol of its stream."""
        self._modules[key] = module
