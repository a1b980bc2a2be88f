"""From a scenario in a protocol to the table of what it shows: data, not a random draw in a loop.

Every method is tested under the same tables, so that all comparisons are paired.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

from aqabench.protocol.schema import DatasetSpec, Protocol


def subset_names(protocol: Protocol, dataset: DatasetSpec) -> dict[str, tuple[bool, ...]]:
    """Return scenario name -> which modalities it shows, in the protocol's order.

    Subsets come by size, then in the order of the modalities: v, a, f, va, vf, af, vaf.
    """
    symbols = {m.name: m.symbol for m in dataset.modalities}
    names: dict[str, tuple[bool, ...]] = {}
    for spec in protocol.scenarios:
        for size in range(1, len(protocol.modalities) + 1):
            if spec.sizes is not None and size not in spec.sizes:
                continue
            for subset in combinations(protocol.modalities, size):
                name = "".join(symbols[m] for m in subset)
                names[name] = tuple(m in subset for m in protocol.modalities)
    return names


def availability(
    protocol: Protocol, dataset: DatasetSpec, ids: Sequence[str]
) -> dict[str, npt.NDArray[np.bool_]]:
    """Return scenario -> (n, M) bool for the samples ``ids``."""
    return {
        name: np.tile(np.asarray(shown, dtype=bool), (len(ids), 1))
        for name, shown in subset_names(protocol, dataset).items()
    }


def averaged_scenarios(protocol: Protocol, dataset: DatasetSpec) -> tuple[str, ...]:
    """Return the scenarios that enter the protocol's headline average."""
    names = subset_names(protocol, dataset)
    if protocol.average.over == "all":
        return tuple(names)
    return tuple(name for name, shown in names.items() if not all(shown))
