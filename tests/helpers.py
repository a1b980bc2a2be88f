"""Small things several tests build: a feature set, a release on disk, a registry."""

from __future__ import annotations

from pathlib import Path

import numpy as np

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
