"""Release files of Fis-V's size, and how published loaders read them: the slow side.

Every item opens the stream's pickled dictionary, takes one video of it, and cuts or pads it; three
streams an item.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

VIDEOS, CLIPS, WINDOW = 500, 138, 124
TRAINING = 400
STREAMS = {"rgb_VST": 1024, "audio_AST": 768, "flow_I3D": 1024}
BATCH = 32


def write_release(folder: Path) -> None:
    """Write a release of Fis-V's size in the layout of PAMFN and MCMoE."""
    rng = np.random.default_rng(0)
    ids = [str(i) for i in range(1, VIDEOS + 1)]
    for name, own in (("train.txt", ids[:TRAINING]), ("test.txt", ids[TRAINING:])):
        (folder / name).write_text("".join(f"{i} 29.5 27.25 0\n" for i in own))
    for name, width in STREAMS.items():
        made = {i: np.abs(rng.standard_normal((CLIPS, width), dtype="f4")) for i in ids}
        np.save(folder / f"FISV_{name}.npy", made, allow_pickle=True)  # type: ignore[arg-type]


def published_item(release: Path, video: str, generator: np.random.Generator) -> list[Tensor]:
    """Return one item, three of (124, D): three files are read whole for one video."""
    start = None
    item = []
    for name in STREAMS:
        features = np.load(release / f"FISV_{name}.npy", allow_pickle=True).item()[video]
        if start is None:
            start = int(generator.integers(0, max(1, len(features) - WINDOW)))
        if len(features) > WINDOW:
            features = features[start : start + WINDOW]
        elif len(features) < WINDOW:
            padded = np.zeros((WINDOW, features.shape[1]), features.dtype)
            padded[: len(features)] = features
            features = padded
        item.append(torch.from_numpy(features).float())
    return item


def seconds(action: Callable[[], object], repeats: int) -> float:
    """Median time of an action."""
    times = []
    for _ in range(repeats):
        gc.collect()
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return statistics.median(times)
