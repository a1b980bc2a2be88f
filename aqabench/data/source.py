"""Which data a protocol runs on: the real features where they are installed, else the simulator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from aqabench.data.features import FeatureSet
from aqabench.data.store import DataStore
from aqabench.errors import DataError
from aqabench.protocol.library import Asked
from aqabench.protocol.schema import DataKind

Wanted = Literal["auto", "real", "simulated"]
SIMULATION_SEED = 0


@dataclass(frozen=True)
class Source:
    """Data that have been chosen but not loaded.

    Attributes:
        kind: real or simulated.
        digest: sha256 of the data.
        remark: one line that says what was chosen and why.
        load: reads or generates them.
    """

    kind: DataKind
    digest: str
    remark: str
    load: Callable[[], FeatureSet]


def choose(asked: Asked, wanted: Wanted, store: DataStore) -> Source:
    """Choose the data of a protocol.

    Args:
        asked: protocol and data set.
        wanted: ``auto`` takes the real ones where they are installed; ``real`` insists on them.
        store: where real data sets are installed.

    Raises:
        DataError: ``real`` was asked for and the features, or some modalities, are not there.
    """
    spec, needed = asked.dataset, asked.protocol.modalities
    manifest = None if wanted == "simulated" else store.manifest(spec.name)
    absent = [m for m in needed if manifest is None or m not in manifest.modalities]
    if manifest is not None and not absent:
        remark = f"{spec.title}: real {', '.join(needed)} features ({manifest.layout} release)."
        return Source("real", manifest.digest, remark, lambda: store.load(spec))
    what = f"{spec.title} features" + (f" ({', '.join(absent)})" if manifest is not None else "")
    if wanted == "real":
        raise DataError(
            f"The {what} that protocol {asked.protocol.name} needs are not installed. Import them: "
            f"aqabench data import {spec.name} --from FOLDER, or leave out '--data real' to run "
            "on simulated data."
        )
    from aqabench.data.simulator import simulate, simulation_digest

    reason = "as asked" if wanted == "simulated" else f"the {what} are not installed"
    remark = f"{spec.title}: running on SIMULATED data ({reason})."
    return Source(
        "simulated",
        simulation_digest(spec, SIMULATION_SEED),
        remark,
        lambda: simulate(spec, seed=SIMULATION_SEED),
    )
