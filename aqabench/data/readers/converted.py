"""The two open data sets as converted for this project: ``NAME.npz`` and ``meta.csv``.

speechocean762 and PercePiano as flat arrays ``x_<stream>`` with ``offsets`` and ``sample_id``.
PercePiano's renderings of the bare score (no performer) are left out, and said to be.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from aqabench.data.readers.faults import Faults
from aqabench.data.readers.release import Arrays, Label, Piece, Release
from aqabench.protocol.schema import DatasetSpec

EXPECTED = "speechocean762.npz or percepiano.npz, and meta.csv, as converted for this project"


@dataclass(frozen=True)
class _Source:
    """Names in the files of one data set."""

    archive: str
    groups: dict[str, str]
    folds: dict[str, str]
    left_out: str = ""


SOURCES = {
    "speechocean": _Source(
        "speechocean762.npz", {"speaker": "speaker"}, {"speaker": "fold5_speaker"}
    ),
    "percepiano": _Source(
        "percepiano.npz",
        {"composition": "composition_id", "player": "player"},
        {"composition": "fold5_composition", "player": "fold5_player"},
        left_out="is_score_render",
    ),
}


def suits(spec: DatasetSpec) -> bool:
    """Is it one of the two?"""
    return spec.name in SOURCES


def recognise(folder: Path, spec: DatasetSpec) -> bool:
    """Does the folder hold the archive and the table?"""
    return (folder / SOURCES[spec.name].archive).is_file() and (folder / "meta.csv").is_file()


def open_release(
    folder: Path, spec: DatasetSpec, faults: Faults, feature_set: str | None = None
) -> Release:
    """Read the table and the offsets; each stream is a piece."""
    source = SOURCES[spec.name]
    path = folder / source.archive
    meta = pd.read_csv(folder / "meta.csv", dtype=str, keep_default_na=False)
    with np.load(path, allow_pickle=False) as archive:
        ids = [str(s) for s in archive["sample_id"]]
        offsets = archive["offsets"]
    if ids != meta["sample_id"].tolist() or len(offsets) != len(ids) + 1:
        faults.add(path.name, "does not have the samples of meta.csv in the same order")
    left_out = set()
    if source.left_out:
        left_out = set(meta.loc[meta[source.left_out] == "1", "sample_id"])
    labels = []
    for row in meta.to_dict("records"):
        if row["sample_id"] in left_out:
            continue
        labels.append(
            Label(
                row["sample_id"],
                row.get("split", "train"),
                {c.name: float(row[c.name]) for c in spec.classes},
                {kind: row[column] for kind, column in source.groups.items()},
                {name: int(row[column]) for name, column in source.folds.items()},
            )
        )
    span = {s: slice(offsets[i], offsets[i + 1]) for i, s in enumerate(ids) if s not in left_out}
    size = path.stat().st_size
    return Release(
        layout="converted",
        labels=tuple(labels),
        modalities=tuple(m.name for m in spec.modalities),
        pieces=tuple(
            Piece(m.name, (path,), _reader(path, m.name, span), size) for m in spec.modalities
        ),
        lists=(folder / "meta.csv",),
        places={m.name: f"{path.name}: x_{m.name}" for m in spec.modalities},
        notes=(f"{len(left_out)} renderings of the bare score are left out",) if left_out else (),
    )


def _reader(path: Path, modality: str, span: dict[str, slice]) -> Callable[[Faults], Arrays]:
    def read(faults: Faults) -> Arrays:
        with np.load(path, allow_pickle=False) as archive:
            whole = archive[f"x_{modality}"]
        return {modality: {sample: whole[rows] for sample, rows in span.items()}}

    return read
