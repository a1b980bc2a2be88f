"""The feature store: real data sets as imported, checked by hash whenever they are loaded.

``<root>/<dataset>/`` holds ``features.safetensors``, ``samples.csv`` and, written last,
``manifest.json``; a folder without its manifest is never taken for a data set.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from aqabench.data.features import FeatureSet, check_features
from aqabench.data.readers.release import Release
from aqabench.disk import sha256_file, storing
from aqabench.errors import DataError
from aqabench.protocol.schema import DatasetSpec

MANIFEST, FEATURES, SAMPLES = "manifest.json", "features.safetensors", "samples.csv"
FORMAT = 1


class Manifest(BaseModel):
    """What an imported data set is, and the hashes that prove it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = FORMAT
    dataset: str
    dataset_version: int
    layout: str
    digest: str
    modalities: dict[str, int]
    videos: int
    clips: int
    dtype: dict[str, str]
    sha256: dict[str, str]
    sources: dict[str, str]
    licence: str = "as stated by the authors of the data set; the cache is for local use only"


@dataclass(frozen=True)
class DataStore:
    """Imported data sets below one folder."""

    root: Path

    def folder(self, dataset: str) -> Path:
        """Return where a data set lies or will lie."""
        return self.root / dataset

    def manifest(self, dataset: str) -> Manifest | None:
        """Return the manifest of an imported data set, or None if it is not there.

        Raises:
            DataError: there is a manifest that cannot be read.
        """
        path = self.folder(dataset) / MANIFEST
        if not path.is_file():
            return None
        try:
            return Manifest.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise DataError(
                f"{path} is not a manifest of this version ({str(error).splitlines()[0]}). Import "
                f"the data again: aqabench data import {dataset} --from FOLDER"
            ) from error

    def load(self, spec: DatasetSpec) -> FeatureSet:
        """Load an imported data set, checking every byte against the manifest.

        Raises:
            DataError: not imported, changed since, or not what the data set declares.
        """
        manifest = self.manifest(spec.name)
        again = f"Import it again: aqabench data import {spec.name} --from FOLDER"
        if manifest is None:
            raise DataError(f"The {spec.title} features are not installed. {again}")
        folder = self.folder(spec.name)
        for name, expected in manifest.sha256.items():
            path = folder / name
            if not path.is_file():
                raise DataError(f"{path} is absent. {again}")
            if sha256_file(path) != expected:
                raise DataError(f"{path} has changed since it was imported (sha256). {again}")
        try:
            tensors = load_file(folder / FEATURES)
        except (OSError, SafetensorError) as error:
            raise DataError(f"{folder / FEATURES} cannot be read ({error}). {again}") from error
        # as text, so that Python's float reads every score back to the bit
        samples = pd.read_csv(folder / SAMPLES, dtype=str, keep_default_na=False)
        data = FeatureSet(
            dataset=spec.name,
            kind="real",
            digest=manifest.digest,
            ids=tuple(samples["sample_id"]),
            offsets=tensors.pop("offsets"),
            features=tensors,
            scores={
                c.name: np.array([float(x) if x else np.nan for x in samples[c.name]])
                for c in spec.classes
                if c.name in samples
            },
            split=samples["split"].to_numpy(dtype=str),
            source=f"{manifest.layout} release, imported to {folder}",
        )
        check_features(data, spec)
        return data

    def add(self, spec: DatasetSpec, release: Release) -> Manifest:
        """Write a release into the store; the manifest comes last.

        Raises:
            StoreError: the disk is full or may not be written; what was there before stays.
        """
        folder = self.folder(spec.name)
        tensors, samples = _arrays(release), _samples(release, spec)
        need = sum(t.nbytes for t in tensors.values()) + 2**20
        temporary = self.root / f".{spec.name}-{uuid.uuid4().hex}"
        with storing(folder):
            self.root.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.root).free
            if free < need:
                raise DataError(
                    f"Importing {spec.title} needs {need / 2**20:.0f} MiB, but {free / 2**20:.0f} "
                    f"MiB are free below {self.root}. Free some space, or set AQABENCH_HOME to "
                    "a larger disk."
                )
            try:
                temporary.mkdir()
                save_file(dict(tensors), temporary / FEATURES)
                (temporary / SAMPLES).write_text(samples.to_csv(index=False), encoding="utf-8")
                manifest = _manifest(spec, release, tensors, temporary)
                (temporary / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n")
                _sync(temporary)
                _put_in_place(temporary, folder)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        return manifest


def _arrays(release: Release) -> dict[str, npt.NDArray[np.generic]]:
    """Return offsets and, per modality, all clips one after the other."""
    ids = [label.sample_id for label in release.labels]
    first = next(iter(release.features.values()))
    lengths = [len(first[sample]) for sample in ids]
    tensors: dict[str, npt.NDArray[np.generic]] = {
        "offsets": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    }
    for modality, arrays in release.features.items():
        joined = np.concatenate([arrays[sample] for sample in ids])
        narrow = joined.dtype.newbyteorder("=")
        tensors[modality] = joined.astype(narrow if narrow.itemsize <= 4 else np.float32)
    return tensors


def _samples(release: Release, spec: DatasetSpec) -> pd.DataFrame:
    rows: list[Mapping[str, object]] = [
        {
            "sample_id": label.sample_id,
            "split": label.split,
            **{c.name: label.scores.get(c.name, float("nan")) for c in spec.classes},
        }
        for label in release.labels
    ]
    return pd.DataFrame(rows)


def _manifest(
    spec: DatasetSpec, release: Release, tensors: Mapping[str, npt.NDArray[np.generic]], at: Path
) -> Manifest:
    hashes = {name: sha256_file(at / name) for name in (FEATURES, SAMPLES)}
    digest = hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()
    return Manifest(
        dataset=spec.name,
        dataset_version=spec.version,
        layout=release.layout,
        digest=digest,
        modalities={m: int(tensors[m].shape[1]) for m in release.features},
        videos=len(release.labels),
        clips=int(tensors["offsets"][-1]),
        dtype={m: str(tensors[m].dtype) for m in release.features},
        sha256=hashes,
        sources={path.name: sha256_file(path) for path in release.sources},
    )


def _sync(folder: Path) -> None:
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _put_in_place(temporary: Path, folder: Path) -> None:
    """Exchange the old import for the new one; a kill in between leaves one of the two whole."""
    old = folder.with_name(f".old-{folder.name}-{uuid.uuid4().hex}")
    if folder.exists():
        folder.rename(old)
    temporary.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
