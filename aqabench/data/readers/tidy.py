"""Bring your own data: ``features.safetensors`` (or ``.npz``) and ``meta.csv``.

The features file holds ``offsets`` (N + 1,) and one array (total steps, D) per modality: all
samples one after the other, sample i in the rows ``offsets[i]:offsets[i + 1]``.  ``meta.csv`` has
a row per sample, in the same order: ``sample_id``, one ``score.NAME`` per score, and, as far as
there are any, ``split`` (train or test), ``group.NAME`` (who performs) and ``fold.NAME`` (numbers
from 0).  ``score_NAME`` and a bare ``score`` do as well.  A ``dataset.yaml`` beside them may set
what else would be derived: titles, score bounds, window length.  docs/data.md has an example.
"""

from __future__ import annotations

import json
import math
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from aqabench.data.readers.faults import Faults
from aqabench.data.readers.release import Arrays, Label, Piece, Release
from aqabench.errors import DataError
from aqabench.protocol.load import load_model
from aqabench.protocol.schema import ClassSpec, DatasetSpec, ModalitySpec

EXPECTED = "features.safetensors or features.npz (offsets and one array per stream), and meta.csv"
META, SPEC = "meta.csv", "dataset.yaml"
FEATURES = ("features.safetensors", "features.npz")
OFFSETS = "offsets"
COLUMN = re.compile(r"(?P<kind>score|group|fold)(?:[._](?P<name>.+))?")
AS_DERIVED = 90
"""Percentile of the lengths that a derived window covers."""

Array = npt.NDArray[np.generic]


def suits(spec: DatasetSpec) -> bool:
    """Any data set can be tidy."""
    return True


def recognise(folder: Path, spec: DatasetSpec) -> bool:
    """Does the folder hold the two files?"""
    return (folder / META).is_file() and _features_file(folder) is not None


def describe(name: str, folder: Path) -> DatasetSpec:
    """Return the description of a tidy folder: its own ``dataset.yaml``, or one derived from it.

    Derived: streams and widths from the arrays, symbols from their first letters, bounds from the
    lowest and highest score, the window from the lengths.

    Raises:
        DataError: a file is absent or is not what it should be.
        ProtocolError: the ``dataset.yaml`` is wrong.
    """
    if (folder / SPEC).is_file():
        spec = load_model(folder / SPEC, DatasetSpec)
        if spec.name != name:
            raise DataError(
                f"{folder / SPEC} describes '{spec.name}', but '{name}' was to be imported. "
                f"Type: aqabench data import {spec.name} --from {folder}"
            )
        return spec
    faults = Faults(folder)
    meta, store = _meta(folder, faults), _Store.open(folder, faults)
    faults.raise_if_any(name)
    assert store is not None
    labels = _labels(meta, None, faults)
    faults.raise_if_any(name)
    lengths = np.diff(store.offsets())
    shapes = {m: store.shape(m) for m in store.streams}
    flat = [m for m, shape in shapes.items() if len(shape) != 2]
    kinds = [_kind(str(column), None) for column in meta.columns]
    names = [n for kind, n in kinds if kind == "score" and any(n in x.scores for x in labels)]
    if flat or not shapes or not names:
        what = f"{flat[0]} has shape {shapes[flat[0]]}, expected (steps, width)" if flat else ""
        raise DataError(
            f"{folder} cannot be described: {what or 'it needs a stream and a score column'}. "
            f"Expected {EXPECTED}, with score.NAME columns; see docs/data.md."
        )
    try:
        return _derived(name, labels, shapes, names, lengths)
    except ValidationError as error:
        what = "; ".join(
            f"{'.'.join(map(str, e['loc']))}: {e['msg']} (got {e['input']!r})"
            for e in error.errors()[:5]
        )
        raise DataError(
            f"{folder} cannot be made a data set: {what}. Names are lower case letters, digits, "
            "'.', '-' and '_'; there are up to 8 streams, and at least 2 training samples per "
            "score."
        ) from error


def _derived(
    name: str,
    labels: list[Label],
    shapes: dict[str, tuple[int, ...]],
    names: list[str],
    lengths: npt.NDArray[np.int64],
) -> DatasetSpec:
    symbols = _symbols(list(shapes))
    folds = dict.fromkeys(k for label in labels for k in label.folds)
    return DatasetSpec(
        name=name,
        version=1,
        title=name,
        about=f"Imported from a tidy folder with {len(labels)} samples; derived description.",
        modalities=tuple(
            ModalitySpec(name=m, symbol=symbols[m], width=shape[1]) for m, shape in shapes.items()
        ),
        classes=tuple(_class_spec(c, labels) for c in names),
        same_videos=all(len(label.scores) == len(names) for label in labels),
        clip_length=max(1, math.ceil(np.percentile(lengths, AS_DERIVED))),
        groups=tuple(dict.fromkeys(k for label in labels for k in label.groups)),
        folds={k: 1 + max(x.folds[k] for x in labels if k in x.folds) for k in folds},
    )


def open_release(
    folder: Path, spec: DatasetSpec, faults: Faults, feature_set: str | None = None
) -> Release:
    """Read ``meta.csv`` and the shapes; each stream is a piece."""
    meta, store = _meta(folder, faults), _Store.open(folder, faults)
    labels = _labels(meta, spec, faults)
    notes = []
    used = {"sample_id", "split", *(c for c in meta if _kind(str(c), spec)[0])}
    ignored = [str(c) for c in meta if c not in used]
    if ignored:
        notes.append(f"{META}: not used: {', '.join(ignored)}")
    pieces = []
    streams: list[str] = []
    if store is not None:
        known = [m.name for m in spec.modalities]
        for m in store.streams:
            if m not in known:
                faults.add(f"{store.path.name}: {m}", f"is not a stream of {spec.title}: {known}")
        streams = [m for m in known if m in store.streams]
        offsets = store.offsets()
        if not _rising(offsets) or len(offsets) != len(labels) + 1:
            faults.add(
                f"{store.path.name}: {OFFSETS}",
                f"must rise from 0 in {len(labels) + 1} numbers, one more than {META} has rows; "
                f"found {len(offsets)}, first {offsets[:4].tolist()}",
            )
        else:
            ids = [label.sample_id for label in labels]
            for m in streams:
                shape = store.shape(m)
                if len(shape) != 2 or shape[0] != offsets[-1]:
                    faults.add(
                        f"{store.path.name}: {m}",
                        f"has shape {shape}, expected ({offsets[-1]}, width): {OFFSETS} ends there",
                    )
                else:
                    read = _reader(store, m, ids, offsets)
                    pieces.append(Piece(m, (store.path,), read, store.nbytes(m)))
    return Release(
        layout="tidy",
        labels=tuple(labels),
        modalities=tuple(streams),
        pieces=tuple(pieces),
        lists=(folder / META,) if (folder / META).is_file() else (),
        places={m: f"{store.path.name}: {m}" for m in streams} if store else {},
        notes=tuple(notes),
        licence=_licence(folder),
    )


class _Store:
    """Arrays by name in a file of either kind, with their shapes known before they are read."""

    def __init__(self, path: Path, shapes: dict[str, tuple[int, ...]], sizes: dict[str, int]):
        self.path, self._shapes, self._sizes = path, shapes, sizes
        self.streams = [key for key in shapes if key != OFFSETS]

    @classmethod
    def open(cls, folder: Path, faults: Faults) -> _Store | None:
        path = _features_file(folder)
        if path is None:
            faults.add(folder, f"holds neither {' nor '.join(FEATURES)}")
            return None
        try:
            shapes, sizes = _npz(path) if path.suffix == ".npz" else _safetensors(path)
        except (OSError, ValueError, zipfile.BadZipFile, SafetensorError) as error:
            faults.add(path.name, f"cannot be read ({error}); write it again")
            return None
        if OFFSETS not in shapes or len(shapes[OFFSETS]) != 1 or shapes[OFFSETS][0] < 2:
            faults.add(path.name, f"has no '{OFFSETS}' (N + 1,); it holds {', '.join(shapes)}")
            return None
        return cls(path, shapes, sizes)

    def shape(self, key: str) -> tuple[int, ...]:
        return self._shapes[key]

    def nbytes(self, key: str) -> int:
        return self._sizes[key]

    def offsets(self) -> npt.NDArray[np.int64]:
        found = self.array(OFFSETS)
        return found.astype(np.int64) if found.dtype.kind in "iu" else np.zeros(0, np.int64)

    def array(self, key: str) -> Array:
        if self.path.suffix == ".npz":
            with np.load(self.path, allow_pickle=False) as archive:
                found: Array = archive[key]
                return found
        with safe_open(self.path, framework="numpy") as file:
            tensor: Array = file.get_tensor(key)
            return tensor


def _npz(path: Path) -> tuple[dict[str, tuple[int, ...]], dict[str, int]]:
    """Read the headers only; a member whose header claims more than it holds is refused."""
    shapes, sizes = {}, {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            key = member.filename.removesuffix(".npy")
            with archive.open(member) as stream:
                version = np.lib.format.read_magic(stream)
                read = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
                shape, _, dtype = read(stream)
                claimed = math.prod(shape) * dtype.itemsize
                if dtype.hasobject or claimed != member.file_size - stream.tell():
                    raise ValueError(f"'{key}' is not a plain array of the size it claims")
            shapes[key], sizes[key] = shape, member.file_size
    return shapes, sizes


def _safetensors(path: Path) -> tuple[dict[str, tuple[int, ...]], dict[str, int]]:
    shapes, sizes = {}, {}
    with safe_open(path, framework="numpy") as file:
        order = (file.metadata() or {}).get("streams")  # the file itself sorts by name
        keys = list(file.keys())
        wanted = json.loads(order) if order else []
        for key in sorted(keys, key=lambda k: wanted.index(k) if k in wanted else len(wanted)):
            piece = file.get_slice(key)
            shapes[key] = tuple(piece.get_shape())
            bits = int("".join(ch for ch in str(piece.get_dtype()) if ch.isdigit()) or 8)
            sizes[key] = math.prod(shapes[key]) * bits // 8
    return shapes, sizes


def _reader(
    store: _Store, modality: str, ids: list[str], offsets: npt.NDArray[np.int64]
) -> Callable[[Faults], Arrays]:
    def read(faults: Faults) -> Arrays:
        try:
            whole = store.array(modality)
        except (OSError, ValueError, TypeError, SafetensorError) as error:
            faults.add(f"{store.path.name}: {modality}", f"cannot be read ({error})")
            return {}
        return {modality: {s: whole[offsets[i] : offsets[i + 1]] for i, s in enumerate(ids)}}

    return read


def _features_file(folder: Path) -> Path | None:
    return next((folder / name for name in FEATURES if (folder / name).is_file()), None)


def _meta(folder: Path, faults: Faults) -> pd.DataFrame:
    """Return ``meta.csv`` as text, so that no id or number is changed by guessing its type."""
    try:
        meta = pd.read_csv(
            folder / META, dtype=str, keep_default_na=False, encoding="utf-8-sig", sep=None,
            engine="python",
        )  # fmt: skip
    except FileNotFoundError:
        faults.add(META, "is absent; it lists the samples: sample_id, split, score.NAME, …")
    except (OSError, ValueError, pd.errors.ParserError, UnicodeDecodeError) as error:
        faults.add(META, f"cannot be read ({error}); save it as UTF-8 with commas")
    else:
        if "sample_id" in meta:
            return meta
        found = ", ".join(map(str, meta.columns))
        faults.add(META, f"has no column sample_id; it has {found}")
    return pd.DataFrame({"sample_id": []}, dtype=str)


def _licence(folder: Path) -> str:
    """Return what the folder's own description says of the features' use."""
    if not (folder / SPEC).is_file():
        return ""
    hints = load_model(folder / SPEC, DatasetSpec).releases
    return next((h.licence for h in hints if h.layout == "tidy"), "")


def _kind(column: str, spec: DatasetSpec | None) -> tuple[str, str]:
    """Return what a column is (score, group, fold or nothing) and the name it carries."""
    found = COLUMN.fullmatch(column)
    if found:
        return found["kind"], found["name"] or found["kind"]
    if spec is not None and column in [c.name for c in spec.classes]:
        return "score", column
    return "", ""


def _labels(meta: pd.DataFrame, spec: DatasetSpec | None, faults: Faults) -> list[Label]:
    columns = [(c, *_kind(str(c), spec)) for c in meta.columns]
    classes = [c.name for c in spec.classes] if spec else []
    for column, kind, name in columns:
        if kind == "score" and spec and name not in classes:
            faults.add(f"{META}: {column}", f"is not a score of {spec.title}: {classes}")
    labels: list[Label] = []
    seen: set[str] = set()
    for number, row in enumerate(meta.to_dict("records"), 2):
        where = f"{META}:{number}"
        sample = str(row["sample_id"])
        if not sample or sample in seen:
            faults.add(where, f"has the id '{sample}', which must be there and occur once")
        seen.add(sample)
        split = str(row.get("split", "train")) or "train"
        if split not in ("train", "test"):
            faults.add(where, f"has the split '{split}', expected train or test")
        text = {k: {n: str(row[c]) for c, kind, n in columns if kind == k and row[c] != ""}
                for k in ("score", "group", "fold")}  # fmt: skip
        scores = {n: _number(v) for n, v in text["score"].items()}
        folds = {n: _number(v) for n, v in text["fold"].items()}
        for name, value in scores.items():
            if not math.isfinite(value):
                faults.add(where, f"the score {name} is not a finite number: {row}"[:120])
        for name, value in folds.items():
            if not (value == int(value) if math.isfinite(value) else False):
                faults.add(where, f"the fold {name} is not a whole number")
        whole = {n: int(v) for n, v in folds.items() if math.isfinite(v) and v >= 0}
        labels.append(Label(sample, split, scores, text["group"], whole))
    return labels


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _rising(offsets: npt.NDArray[np.int64]) -> bool:
    return len(offsets) > 1 and offsets[0] == 0 and bool((np.diff(offsets) >= 0).all())


def _class_spec(name: str, labels: list[Label]) -> ClassSpec:
    own = [label for label in labels if name in label.scores]
    values = [label.scores[name] for label in own]
    low, high = min(values), max(values)
    return ClassSpec(
        name=name,
        bounds=(low, high if high > low else low + 1.0),
        train=sum(label.split == "train" for label in own),
        test=sum(label.split == "test" for label in own),
    )


def _symbols(names: list[str]) -> dict[str, str]:
    """Return a letter for each stream: its first one that is free, else any free one."""
    free = list("abcdefghijklmnopqrstuvwxyz")
    symbols: dict[str, str] = {}
    for name in names:
        symbols[name] = next((ch for ch in name if ch in free), free[0])
        free.remove(symbols[name])
    return symbols
