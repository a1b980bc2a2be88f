"""Small things several tests build: a feature set, a release on disk, a registry."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from aqabench.data.features import FeatureSet
from aqabench.protocol.schema import ClassSpec, DatasetSpec, ModalitySpec


def small_spec(
    width: int = 6, train: int = 24, test: int = 12, clip_length: int = 8
) -> DatasetSpec:
    """Return a data set of two streams and one class."""
    return DatasetSpec(
        name="small",
        version=1,
        title="Small",
        about="for tests",
        modalities=(
            ModalitySpec(name="video", symbol="v", width=width),
            ModalitySpec(name="audio", symbol="a", width=width - 2),
        ),
        classes=(ClassSpec(name="S", bounds=(0.0, 10.0), train=train, test=test),),
        same_videos=True,
        clip_length=clip_length,
    )


def small_data(spec: DatasetSpec, seed: int = 0, shortest: int = 5) -> FeatureSet:
    """Return features in which every value names its video and clip, and random scores."""
    rng = np.random.default_rng(seed)
    count = spec.classes[0].train + spec.classes[0].test
    lengths = rng.integers(shortest, 2 * spec.clip_length, count)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    video = np.repeat(np.arange(count), lengths)
    clip = np.concatenate([np.arange(n) for n in lengths])
    values = (100 * video + clip).astype(np.float32)
    return FeatureSet(
        dataset=spec.name,
        kind="simulated",
        digest="0" * 64,
        ids=tuple(f"s{i:03d}" for i in range(count)),
        offsets=offsets,
        features={m.name: np.repeat(values[:, None], m.width, 1) for m in spec.modalities},
        scores={"S": rng.uniform(0, 10, count)},
        split=np.array(["train"] * spec.classes[0].train + ["test"] * spec.classes[0].test),
    )


def write_gdlt_release(folder: Path, train: int = 6, test: int = 3, width: int = 1024) -> Path:
    """Write a folder in exactly the layout of the GDLT release of Fis-V."""
    rng = np.random.default_rng(0)
    features = folder / "swintx_avg_fps25_clip32"
    features.mkdir(parents=True)
    for name, ids in (("train", range(1, train + 1)), ("test", range(101, 101 + test))):
        lines = []
        for i in ids:
            np.save(features / f"{i}.npy", rng.normal(size=(4 + i % 3, width)).astype(np.float16))
            lines.append(f"{i} {20 + i % 9}.5 {25 + i % 7}.25 {i % 2}")
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return folder


def _write_lists(folder: Path, names: tuple[str, str], rows: dict[str, list[str]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in zip(names, rows.values(), strict=True):
        (folder / name).write_text("\n".join(lines) + "\n")


def write_fisv_dicts(folder: Path, train: int = 6, test: int = 3, feature_set: int = 1) -> Path:
    """Write Fis-V in exactly the layout of the PAMFN / MCMoE release: a pickled dict per stream."""
    rng = np.random.default_rng(0)
    ids = {"train": range(1, train + 1), "test": range(101, 101 + test)}
    rows = {k: [f"{i} {20 + i % 9}.5 {25 + i % 7}.25 {i % 2}" for i in v] for k, v in ids.items()}
    _write_lists(folder, ("train.txt", "test.txt"), rows)
    features = folder / "Fis-feature"
    features.mkdir(exist_ok=True)
    rgb, audio = (("VST", "AST"), ("UNMT", "MAST"))[feature_set - 1]
    lengths = {str(i): 4 + i % 3 for part in ids.values() for i in part}
    for name, width in ((f"rgb_{rgb}", 1024), (f"audio_{audio}", 768), ("flow_I3D", 1024)):
        tokens = (2,) if feature_set == 2 and name.startswith("rgb") else ()
        found = {
            k: rng.normal(size=(n, *tokens, width)).astype(np.float32) for k, n in lengths.items()
        }
        if name.startswith("flow"):
            found = {k: np.abs(x) for k, x in found.items()}
        np.save(features / f"FISV_{name}.npy", found, allow_pickle=True)  # type: ignore[arg-type]
    return folder


def write_rg_dicts(folder: Path, train: int = 3, test: int = 2) -> Path:
    """Write RG in exactly the layout of the PAMFN / MCMoE release: a dict per apparatus, stream."""
    rng = np.random.default_rng(1)
    header = "id difficulty execution total penalty length"
    rows: dict[str, list[str]] = {"train": [header], "test": [header]}
    features = folder / "RG-feature"
    features.mkdir(parents=True)
    for apparatus in ("Ball", "Clubs", "Hoop", "Ribbon"):
        ids = [f"{apparatus}_{i:03d}" for i in range(1, train + test + 1)]
        for k, name in enumerate(ids):
            rows["train" if k < train else "test"].append(f"{name} 8.0 7.5 {15 + k}.5 0.0 92")
        for name, width in (("rgb_VST", 1024), ("audio_AST", 768), ("flow_I3D", 1024)):
            found = {i: np.abs(rng.normal(size=(5, width))).astype(np.float64) for i in ids}
            path = features / f"{apparatus}_{name}.npy"
            np.save(path, found, allow_pickle=True)  # type: ignore[arg-type]
    _write_lists(folder, ("train.txt", "test.txt"), rows)
    return folder


def write_fs1000_release(folder: Path, train: int = 5, test: int = 3) -> Path:
    """Write FS1000 in exactly its layout: a folder per stream, video with tokens, nine columns."""
    rng = np.random.default_rng(2)
    names = [f"2018_Final_MF_{i}" for i in range(train + test)]
    rows: dict[str, list[str]] = {"train": [], "test": []}
    for k, name in enumerate(names):
        parts = (8.0, 7.5, 7.75, 8.25, 8.5)
        line = f"{name} {60 + k % 40}.5 {2 * sum(parts)} {' '.join(map(str, parts))} 2.0"
        rows["train" if k < train else "test"].append(line)
    _write_lists(folder, ("train_fs1000_new.txt", "val_fs1000_new.txt"), rows)
    for place, shape in (
        ("output_feature_fs1000_new", (3, 768)),
        ("ast_feature_fs1000_new", (768,)),
        ("i3d_avg_clip8_5s_fs1000", (1024,)),
    ):
        (folder / place).mkdir()
        for k, name in enumerate(names):
            array = rng.normal(size=(6 + k % 2, *shape)).astype(np.float32)
            np.save(folder / place / f"{name}.npy", np.abs(array) if "i3d" in place else array)
    return folder


def write_ms_lstm_release(folder: Path) -> Path:
    """Write Fis-V in exactly the layout of the MS-LSTM release: C3D, a file per video."""
    rng = np.random.default_rng(3)
    rows = {"train": [f"{i} 28.71 29.36 1" for i in (1, 3, 5)], "test": ["2 28.88 27.08 1"]}
    _write_lists(folder, ("train_dataset.txt", "test_dataset.txt"), rows)
    (folder / "c3d_feat").mkdir()
    for i in (1, 2, 3, 5):
        np.save(folder / "c3d_feat" / f"{i}.npy", rng.random((4, 4096)).astype(np.float32))
    return folder


def write_tidy(folder: Path, samples: int = 40, streams: int = 4) -> Path:
    """Write a folder of one's own, as docs/data.md shows: any streams, scores, groups, folds."""
    rng = np.random.default_rng(4)
    folder.mkdir(parents=True)
    lengths = rng.integers(3, 9, samples)
    skill = rng.normal(size=samples)
    features = {
        f"sensor-{k}": rng.normal(size=(lengths.sum(), 3 + k)).astype(np.float32)
        + np.repeat(skill, lengths)[:, None].astype(np.float32)
        for k in range(streams)
    }
    np.savez(folder / "features.npz", offsets=np.concatenate([[0], np.cumsum(lengths)]), **features)
    pd.DataFrame(
        {
            "sample_id": [f"p{i:02d}" for i in range(samples)],
            "split": ["train" if i % 4 else "test" for i in range(samples)],
            "score.skill": (50 + 10 * skill).round(2),
            "score.calm": rng.uniform(0, 5, samples).round(2),
            "group.player": [f"m{i % 10}" for i in range(samples)],
            "fold.player": [i % 10 % 5 for i in range(samples)],
        }
    ).to_csv(folder / "meta.csv", index=False)
    return folder
