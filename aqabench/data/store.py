"""The feature store: data sets as imported, mapped into memory in no time, checked by hash.

``<root>/<dataset>/`` holds one ``<modality>.safetensors`` per stream, ``samples.csv``, perhaps
``groups.csv`` and ``dataset.yaml``, and, written last, ``manifest.json``; a folder without it is
never taken for a data set.  Every byte is hashed at import and by ``verify``; loading hashes again
only when a file's size or time is not what it was, because hashing takes longer than loading.
"""

from __future__ import annotations

import datetime
import hashlib
import io
import json
import os
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import ValidationError

from aqabench.data.features import SIMULATED_PREFIX, FeatureSet, check_features
from aqabench.data.manifest import FORMAT, Manifest, SourceFile, Stream
from aqabench.data.mapped import map_array, save_arrays
from aqabench.data.readers.release import Release
from aqabench.disk import DATA, replace_file, sha256_file, storing
from aqabench.errors import DataError
from aqabench.protocol.load import dump
from aqabench.protocol.schema import DatasetSpec

MANIFEST, SAMPLES, GROUPS, SPEC, SEAL = (
    "manifest.json", "samples.csv", "groups.csv", "dataset.yaml", "seal.json",
)  # fmt: skip
ARRAY = "features"
"""Name of the tensor in each stream's file."""

Array = npt.NDArray[np.generic]


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
            DataError: there is a manifest that cannot be read, or of another version.
        """
        path = self.folder(dataset) / MANIFEST
        if not path.is_file():
            return None
        try:
            manifest = Manifest.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise DataError(
                f"{path} is not a manifest of this version ({str(error).splitlines()[0]}). Import "
                f"the data again: aqabench data import {dataset} --from FOLDER"
            ) from error
        if manifest.format != FORMAT:
            raise DataError(
                f"{path} has format {manifest.format}, this version reads {FORMAT}. Import the "
                f"data again: aqabench data import {dataset} --from FOLDER"
            )
        return manifest

    def load(self, spec: DatasetSpec) -> FeatureSet:
        """Load an imported data set: scores are read, features are mapped, not copied.

        Raises:
            DataError: not imported, changed since, or not what the data set declares.
        """
        manifest = self.manifest(spec.name)
        again = f"Import it again: aqabench data import {spec.name} --from FOLDER"
        if manifest is None:
            raise DataError(f"The {spec.title} features are not installed. {again}")
        folder = self.folder(spec.name)
        if not self._sealed(folder, manifest):
            for problem in self.verify(spec.name):
                raise DataError(f"{problem}. {again}")
        samples = _read_table(folder / SAMPLES)
        lengths = samples["clips"].to_numpy(dtype=np.int64)
        total = int(lengths.sum())
        data = FeatureSet(
            dataset=spec.name,
            kind=manifest.kind,
            digest=manifest.digest,
            ids=tuple(samples["sample_id"]),
            offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            features={
                m: map_array(folder / f"{m}.safetensors", ARRAY, (total, s.width), s.dtype)
                for m, s in manifest.streams.items()
            },
            scores={
                c.name: np.array([float(x) if x else np.nan for x in samples[f"score.{c.name}"]])
                for c in spec.classes
                if f"score.{c.name}" in samples
            },
            split=samples["split"].to_numpy(dtype=str),
            groups={
                str(c).removeprefix("group."): column.to_numpy(dtype=str)
                for c, column in _read_table(folder / GROUPS).items()
                if str(c).startswith("group.")
            }
            if manifest.groups
            else {},
            folds={
                name: samples[f"fold.{name}"].to_numpy(dtype=np.int64) for name in manifest.folds
            },
            source=f"{manifest.layout} release, imported to {folder}",
        )
        check_features(data, spec)
        return data

    def unchanged(self, dataset: str) -> bool:
        """Have all files the size and time that they had when their hashes were last right?"""
        manifest = self.manifest(dataset)
        return manifest is not None and self._sealed(self.folder(dataset), manifest)

    def verify(self, dataset: str) -> list[str]:
        """Hash every stored file; return what is wrong, which is nothing for a sound data set.

        Raises:
            DataError: the data set is not there, or its manifest cannot be read.
        """
        manifest = self.manifest(dataset)
        if manifest is None:
            raise DataError(
                f"{dataset} is not installed. Import it: aqabench data import {dataset} --from "
                "FOLDER"
            )
        problems = []
        for name, expected in manifest.sha256.items():
            path = self.folder(dataset) / name
            if not path.is_file():
                problems.append(f"{path} is absent")
            elif sha256_file(path) != expected:
                problems.append(f"{path} has changed since it was imported (sha256)")
        if not problems:
            self._seal(self.folder(dataset), manifest)
        return problems

    def write(
        self,
        spec: DatasetSpec,
        release: Release,
        lengths: Sequence[int],
        join: Callable[[str], tuple[Array, float]],
        sources: Sequence[SourceFile],
        tell: Callable[[str], None] = lambda _: None,
    ) -> Manifest:
        """Write a data set; the manifest comes last, and the old one stays until then.

        Args:
            spec: the data set.
            release: labels in order, streams, notes.
            lengths: (N,) clips of each sample.
            join: returns a stream's (total clips, D) array and its float16 error.
            sources: the files that the features were read from.
            tell: told what is being written.

        Raises:
            StoreError: the disk is full or may not be written.
        """
        folder = self.folder(spec.name)
        temporary = self.root / f".{spec.name}-{uuid.uuid4().hex}"
        with storing(folder, DATA):
            try:
                temporary.mkdir(parents=True)
                streams = {}
                for modality in release.modalities:
                    tell(modality)
                    array, error = join(modality)
                    save_arrays({ARRAY: array}, temporary / f"{modality}.safetensors")
                    streams[modality] = _stream(array, error)
                replace_file(temporary / SAMPLES, _samples(release, spec, lengths))
                groups = _groups(release)
                if groups:
                    replace_file(temporary / GROUPS, groups)
                replace_file(temporary / SPEC, dump(spec).encode())
                manifest = _manifest(spec, release, lengths, streams, sources, temporary)
                text = manifest.model_dump_json(indent=1) + "\n"
                replace_file(temporary / MANIFEST, text.encode())
                _sync(temporary)
                _put_in_place(temporary, folder)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
            self._seal(folder, manifest)
        return manifest

    def set_groups(self, dataset: str, groups: Mapping[str, Mapping[str, str]]) -> Manifest:
        """Add or replace group labels of an imported data set; features and scores stay.

        Args:
            dataset: which one.
            groups: kind -> sample id -> label, for every sample.

        Raises:
            DataError: the data set is not installed.
            StoreError: the disk may not be written.
        """
        manifest = self.manifest(dataset)
        if manifest is None:
            raise DataError(
                f"{dataset} is not installed. Import it: aqabench data import {dataset} --from "
                "FOLDER --groups FILE"
            )
        folder = self.folder(dataset)
        old = _read_table(folder / GROUPS) if manifest.groups else None
        table = pd.DataFrame({"sample_id": list(manifest.ids)})
        for kind in dict.fromkeys((*manifest.groups, *groups)):
            table[f"group.{kind}"] = (
                [groups[kind][i] for i in manifest.ids]
                if kind in groups or old is None
                else old[f"group.{kind}"].tolist()
            )
        content = table.to_csv(index=False).encode()
        digest = hashlib.sha256(content).hexdigest()
        changed = manifest.model_copy(
            update={
                "groups": tuple(dict.fromkeys((*manifest.groups, *groups))),
                "groups_digest": digest,
                "sha256": {**manifest.sha256, GROUPS: digest},
            }
        )
        with storing(folder, DATA):
            # in this order: a kill in between leaves a file that the hash tells from the manifest
            replace_file(folder / GROUPS, content)
            replace_file(folder / MANIFEST, (changed.model_dump_json(indent=1) + "\n").encode())
        self._seal(folder, changed)
        return changed

    def _seal(self, folder: Path, manifest: Manifest) -> None:
        """Keep sizes and times of files whose hashes are known to be right."""
        states = {name: _state(folder / name) for name in manifest.sha256}
        try:
            replace_file(folder / SEAL, json.dumps(states).encode())
        except OSError:  # a read-only store is hashed every time, which is slow but right
            return

    def _sealed(self, folder: Path, manifest: Manifest) -> bool:
        try:
            known = json.loads((folder / SEAL).read_bytes())
            return bool(known == {name: _state(folder / name) for name in manifest.sha256})
        except (OSError, ValueError):
            return False


def _state(path: Path) -> list[int]:
    at = path.stat()
    return [at.st_size, at.st_mtime_ns]


def _read_table(path: Path) -> pd.DataFrame:
    """Read a CSV as text, so that Python's float reads every score back to the bit."""
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def _stream(array: Array, error: float) -> Stream:
    return Stream(
        width=int(array.shape[1]),
        dtype=str(array.dtype),
        nan=int(array.size - np.isfinite(array).sum()),
        low=float(array.min()),
        high=float(array.max()),
        float16_error=error,
    )


def _samples(release: Release, spec: DatasetSpec, lengths: Sequence[int]) -> bytes:
    folds = [name for name in spec.folds if any(name in label.folds for label in release.labels)]
    rows = [
        {
            "sample_id": label.sample_id,
            "split": label.split,
            "clips": length,
            **{f"score.{c.name}": label.scores.get(c.name, "") for c in spec.classes},
            **{f"fold.{name}": label.folds.get(name, -1) for name in folds},
        }
        for label, length in zip(release.labels, lengths, strict=True)
    ]
    return _csv(pd.DataFrame(rows))


def _groups(release: Release) -> bytes:
    kinds = list(dict.fromkeys(k for label in release.labels for k in label.groups))
    if not kinds:
        return b""
    rows = [
        {
            "sample_id": label.sample_id,
            **{f"group.{k}": label.groups.get(k, "") for k in kinds},
        }
        for label in release.labels
    ]
    return _csv(pd.DataFrame(rows))


def _csv(frame: pd.DataFrame) -> bytes:
    text = io.StringIO()
    frame.to_csv(text, index=False)
    return text.getvalue().encode()


def _manifest(
    spec: DatasetSpec,
    release: Release,
    lengths: Sequence[int],
    streams: Mapping[str, Stream],
    sources: Sequence[SourceFile],
    at: Path,
) -> Manifest:
    hashes = {path.name: sha256_file(path) for path in sorted(at.iterdir())}
    counted = {n: h for n, h in hashes.items() if n not in (GROUPS, SPEC)}
    hints = [r for r in spec.releases if r.layout == release.layout]
    lists = [
        SourceFile(name=p.name, bytes=p.stat().st_size, sha256=sha256_file(p))
        for p in release.lists
    ]
    labels = release.labels
    return Manifest(
        dataset=spec.name,
        kind="simulated" if spec.name.startswith(SIMULATED_PREFIX) else "real",
        dataset_version=spec.version,
        layout=release.layout,
        feature_set=release.feature_set,
        digest=hashlib.sha256(json.dumps(counted, sort_keys=True).encode()).hexdigest(),
        groups_digest=hashes.get(GROUPS, ""),
        groups=tuple(dict.fromkeys(k for label in labels for k in label.groups)),
        folds=tuple(n for n in spec.folds if any(n in label.folds for label in labels)),
        streams=dict(streams),
        samples=len(labels),
        clips=int(sum(lengths)),
        ids=tuple(label.sample_id for label in labels),
        sha256=hashes,
        sources=(*lists, *sources),
        licence=release.licence
        or (hints[0].licence if hints else "not known; ask whoever made the features"),
        notes=release.notes,
        imported=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
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
