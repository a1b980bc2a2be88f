"""Which data a protocol runs on: the real features where they are installed, else the simulator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from aqabench.data.features import SIMULATED_PREFIX, FeatureSet
from aqabench.data.store import DataStore
from aqabench.errors import DataError
from aqabench.protocol.folds import group_kinds
from aqabench.protocol.library import Asked
from aqabench.protocol.schema import DataKind, DatasetSpec

Wanted = Literal["auto", "real", "simulated"]
SIMULATION_SEED = 0


@dataclass(frozen=True)
class Loader:
    """Reads or generates the chosen data; small, so that it can be sent to another process.

    Attributes:
        spec: the data set.
        needed: streams that the protocol uses.
        store: where the data are installed; None for simulated ones.
    """

    spec: DatasetSpec
    needed: tuple[str, ...]
    store: DataStore | None

    def __call__(self) -> FeatureSet:
        """Return the data."""
        if self.store is not None:
            return self.store.load(self.spec)
        from aqabench.data.simulated import load_simulated

        return load_simulated(self.spec, SIMULATION_SEED, self.needed)


@dataclass(frozen=True)
class Source:
    """Data that have been chosen but not loaded.

    Attributes:
        kind: real or simulated.
        digest: sha256 of the data.
        groups_digest: sha256 of the group labels; empty where there are none.
        groups: kinds of group that the data have labels for.
        remark: one line that says what was chosen and why.
        load: reads or generates them.
    """

    kind: DataKind
    digest: str
    groups_digest: str
    groups: tuple[str, ...]
    remark: str
    load: Loader


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
    exported = spec.name.startswith(SIMULATED_PREFIX)  # simulated data that were imported again
    manifest = store.manifest(spec.name) if wanted != "simulated" or exported else None
    if manifest is not None and wanted == "real" and manifest.kind != "real":
        manifest = None
    absent = [m for m in needed if manifest is None or m not in manifest.streams]
    unlabelled = [
        k for k in group_kinds(asked.protocol.split) if manifest and k not in manifest.groups
    ]
    if manifest is not None and not absent and not unlabelled:
        kind = "real" if manifest.kind == "real" else "imported SIMULATED"
        return Source(
            manifest.kind,
            manifest.digest,
            manifest.groups_digest,
            manifest.groups,
            f"{spec.title}: {kind} {', '.join(needed)} features ({manifest.layout} release).",
            Loader(spec, needed, store),
        )
    lacking, how = f"The {spec.title} features", "--from FOLDER"
    if absent and manifest is not None:
        lacking += f" ({', '.join(absent)})"
    elif unlabelled:
        lacking = f"The {', '.join(unlabelled)} labels of {spec.title}"
        how = f"--groups FILE.csv (columns sample_id,{','.join(unlabelled)})"
    if wanted == "real":
        raise DataError(
            f"{lacking} that protocol {asked.protocol.name} needs are not installed. Import them: "
            f"aqabench data import {spec.name} {how}; or leave out '--data real' to run on "
            "simulated data."
        )
    from aqabench.data.simulator import simulated_groups, simulation_digest

    reason = (
        "as asked"
        if wanted == "simulated"
        else f"{lacking[0].lower()}{lacking[1:]} are not installed"
    )
    digest = simulation_digest(spec, SIMULATION_SEED)
    return Source(
        "simulated",
        digest,
        digest,
        simulated_groups(spec),
        f"{spec.title}: running on SIMULATED data ({reason}).",
        Loader(spec, needed, None),
    )
