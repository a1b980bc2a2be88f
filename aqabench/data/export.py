"""A data set as a tidy folder, which anything can read and ``aqabench data import`` reads back.

``features.safetensors`` (or ``.npz``), ``meta.csv``, ``dataset.yaml`` and a ``README.txt``; the
format is described in :mod:`aqabench.data.readers.tidy`.  Features and scores come back to the bit.

Simulated data stay marked.  A folder has no kind of its own, so the mark is in the name: an
exported simulation is called ``simulated-…``, its title and description say so, another name is
refused, and an import of that name counts as simulated again.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import uuid
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import TypeAdapter, ValidationError

from aqabench.data.features import SIMULATED_PREFIX, FeatureSet
from aqabench.data.mapped import save_arrays
from aqabench.data.readers.tidy import FEATURES, META, OFFSETS, SPEC
from aqabench.disk import storing
from aqabench.errors import DataError, StoreError, UsageError
from aqabench.protocol.grammar import Name
from aqabench.protocol.library import shipped_dataset_names
from aqabench.protocol.load import dump
from aqabench.protocol.schema import DatasetSpec, ReleaseHint

README = "README.txt"
OURS = {*FEATURES, META, SPEC, README}
"""What an export consists of; a folder with anything else is never replaced."""

Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Exported:
    """What was written: the folder, the name to import it under, and its size in bytes."""

    folder: Path
    name: str
    bytes: int


def is_simulated(data: FeatureSet) -> bool:
    """Are these simulated data, be it that they were exported and imported since?"""
    return data.kind == "simulated" or data.dataset.startswith(SIMULATED_PREFIX)


def export_tidy(
    data: FeatureSet,
    spec: DatasetSpec,
    folder: Path,
    *,
    licence: str,
    name: str | None = None,
    npz: bool = False,
    overwrite: bool = False,
) -> Exported:
    """Write a data set as a tidy folder, whole or not at all.

    Args:
        data: features and scores; with the streams it has.
        spec: its description.
        folder: a new or empty one, or with ``overwrite`` an earlier export.
        licence: what the authors of the data say of their use.
        name: what ``dataset.yaml`` calls it; by default its own name, or for simulated data that
            with ``simulated-`` before it.
        npz: write ``features.npz`` instead of ``features.safetensors``.
        overwrite: may an earlier export be replaced?

    Raises:
        UsageError: a name that cannot be, or a folder that is in use.
        DataError: a stream has a name that the format needs for itself.
        StoreError: too little space, or the disk may not be written.
    """
    described = describe_export(data, spec, name, licence)
    if OFFSETS in data.features:
        raise DataError(
            f"{spec.title} cannot be exported: a tidy folder keeps '{OFFSETS}' for itself, and a "
            "stream has that name. Rename the stream in the data set's dataset.yaml."
        )
    folder = folder.expanduser().resolve()
    need = sum(array.nbytes for array in data.features.values()) + 2**20
    temporary = folder.parent / f".{folder.name}-{uuid.uuid4().hex}"
    with storing(folder, "Nothing was exported. Choose another --to DIR"):
        _check_target(folder, overwrite)
        _check_space(folder, spec, need)
        try:
            temporary.mkdir(parents=True)
            arrays: dict[str, Array] = {OFFSETS: data.offsets, **data.features}
            (_write_npz if npz else _write_safetensors)(temporary, arrays)
            (temporary / META).write_bytes(_meta(data, spec))
            (temporary / SPEC).write_text(dump(described), encoding="utf-8")
            text = _readme(data, described, licence, FEATURES[npz])
            (temporary / README).write_text(text, encoding="utf-8")
            size = _sync(temporary)
            _put_in_place(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return Exported(folder, described.name, size)


def describe_export(
    data: FeatureSet, spec: DatasetSpec, name: str | None, licence: str
) -> DatasetSpec:
    """Return the description that goes with an export: what the data have, under its new name.

    Raises:
        UsageError: the name is not one, belongs to another data set, or hides that the data are
            simulated.
    """
    simulated = is_simulated(data)
    mark = SIMULATED_PREFIX if simulated and not spec.name.startswith(SIMULATED_PREFIX) else ""
    given = f"{mark}{spec.name}" if name is None else name
    if simulated and not given.startswith(SIMULATED_PREFIX):
        raise UsageError(
            f"These data are simulated, so their name must begin with '{SIMULATED_PREFIX}', got "
            f"'{given}'. Type: --name {SIMULATED_PREFIX}{given}"
        )
    try:
        TypeAdapter(Name).validate_python(given)
    except ValidationError as error:
        raise UsageError(
            f"'{given}' cannot name a data set: up to 64 lower case letters, digits, '.', '-' and "
            f"'_' can, beginning with a letter or digit. Type: --name {spec.name}-2"
        ) from error
    if given != spec.name and given in shipped_dataset_names():
        raise UsageError(
            f"'{given}' is another data set that aqabench knows. Type: --name {spec.name}-2"
        )
    what = "SIMULATED data, made by the aqabench simulator after the description that follows; "
    hint = ReleaseHint(
        layout="tidy",
        have=tuple(data.features),
        files=f"{FEATURES[0]} or {FEATURES[1]}, {META} and {SPEC}",
        get=f"aqabench data export {spec.name} --to FOLDER",
        licence=licence,
    )
    return spec.model_copy(
        update={
            "name": given,
            "title": f"{spec.title} (SIMULATED)" if mark else spec.title,
            "about": f"{what}not one value is real. {spec.about}" if mark else spec.about,
            "modalities": tuple(m for m in spec.modalities if m.name in data.features),
            "groups": tuple(data.groups),
            "folds": {n: k for n, k in spec.folds.items() if n in data.folds},
            "releases": (hint,),
        }
    )


def _check_target(folder: Path, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file. Name a folder: --to '{folder}.d'")
    here = Path.cwd()
    if folder == here or folder in here.parents:
        raise UsageError(
            f"{folder} is the folder you are in, or holds it, and cannot be replaced. Name a new "
            "one: --to ./export"
        )
    held = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
    foreign = [name for name in held if name not in OURS]
    if foreign:
        raise UsageError(
            f"{folder} holds {', '.join(foreign[:3])}, which is no part of an export, and nothing "
            f"in it is replaced. Name a new folder: --to '{folder / 'tidy'}'"
        )
    if held and not overwrite:
        raise UsageError(
            f"{folder} is not empty: it holds {', '.join(held)}. Name a new folder, or replace "
            "that export: --overwrite"
        )


def _check_space(folder: Path, spec: DatasetSpec, need: int) -> None:
    disk = next(p for p in folder.parents if p.is_dir())
    free = shutil.disk_usage(disk).free
    if free < need:
        raise StoreError(
            f"Exporting {spec.title} to {folder} needs {need / 2**20:,.0f} MiB, but "
            f"{free / 2**20:,.0f} MiB are free. Free some space, or choose another place: --to DIR"
        )


def _write_safetensors(folder: Path, arrays: dict[str, Array]) -> None:
    """The file sorts its arrays; the order of the streams stands in its metadata."""
    order = json.dumps([name for name in arrays if name != OFFSETS])
    plain = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    save_arrays(plain, folder / FEATURES[0], {"streams": order})


def _write_npz(folder: Path, arrays: dict[str, Array]) -> None:
    """As ``numpy.savez`` does, which cannot take a stream called ``file``."""
    with zipfile.ZipFile(folder / FEATURES[1], "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)


def _meta(data: FeatureSet, spec: DatasetSpec) -> bytes:
    """Return the table of samples; a score that is not there is an empty cell."""
    scores = {c.name: data.scores[c.name].tolist() for c in spec.classes}
    table = pd.DataFrame(
        {
            "sample_id": list(data.ids),
            "split": data.split.tolist(),
            **{
                f"score.{name}": [repr(x) if np.isfinite(x) else "" for x in values]
                for name, values in scores.items()
            },
            **{f"group.{kind}": labels.tolist() for kind, labels in data.groups.items()},
            **{
                f"fold.{name}": [str(x) if x >= 0 else "" for x in number.tolist()]
                for name, number in data.folds.items()
            },
        }
    )
    text = io.StringIO()
    table.to_csv(text, index=False, lineterminator="\n")
    return text.getvalue().encode()


def _readme(data: FeatureSet, described: DatasetSpec, licence: str, features: str) -> str:
    kind = (
        "SIMULATED data, made by the simulator of aqabench. Not one value is real."
        if is_simulated(data)
        else "REAL data, exported from an import into aqabench."
    )
    streams = ", ".join(f"{m} {a.shape[1]} {a.dtype}" for m, a in data.features.items())
    return (
        f"{described.title} ({described.name})\n"
        f"{kind}\n\n"
        f"{len(data.ids)} samples, {int(data.offsets[-1])} clips; streams: {streams}\n"
        f"{features}: an array (clips, width) for each stream, and {OFFSETS}: sample i has the "
        f"rows {OFFSETS}[i] to {OFFSETS}[i + 1].\n"
        f"{META}: the samples in the same order, with split, score.NAME, group.NAME, fold.NAME.\n"
        f"{SPEC}: the description.\n\n"
        f"Licence: {licence}\n"
        f"Digest of the exported data: {data.digest}\n"
        f"To read it again: aqabench data import {described.name} --from FOLDER\n"
    )


def _sync(folder: Path) -> int:
    """Bring all files to the disk; return their size."""
    size = 0
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
        size += path.stat().st_size
    return size


def _put_in_place(temporary: Path, folder: Path) -> None:
    """Exchange an old export or empty folder for the new one; if that fails, it stays."""
    old = folder.with_name(f".old-{folder.name}-{uuid.uuid4().hex}")
    was_there = folder.exists()
    if was_there:
        folder.rename(old)
    try:
        temporary.rename(folder)
    except OSError:
        if was_there:
            old.rename(folder)
        raise
    if was_there:
        shutil.rmtree(old, ignore_errors=True)
