"""Data that are mapped once, against release files that are read again and again.

Both sides in one run, on files of Fis-V's size: 500 videos of 138 clips, 1024 + 768 + 1024 wide,
float32, 0.8 GB.  The slow side restates how published loaders work: every item opens the stream's
pickled dictionary, takes one video of it, and cuts or pads it; three streams an item.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from aqabench.data.batch import Split
from aqabench.data.importer import import_release
from aqabench.data.store import DataStore
from aqabench.protocol.library import load_dataset
from aqabench.protocol.schema import DatasetSpec

pytestmark = pytest.mark.bench

VIDEOS, CLIPS, WINDOW = 500, 138, 124
STREAMS = {"rgb_VST": 1024, "audio_AST": 768, "flow_I3D": 1024}
BATCH = 32


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a release of Fis-V's size in the layout of PAMFN and MCMoE."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("release")
    ids = [str(i) for i in range(1, VIDEOS + 1)]
    for name, own in (("train.txt", ids[:400]), ("test.txt", ids[400:])):
        (folder / name).write_text("".join(f"{i} 29.5 27.25 0\n" for i in own))
    for name, width in STREAMS.items():
        made = {i: np.abs(rng.standard_normal((CLIPS, width), dtype="f4")) for i in ids}
        np.save(folder / f"FISV_{name}.npy", made, allow_pickle=True)  # type: ignore[arg-type]
    return folder


@pytest.fixture(scope="module")
def store(release: Path, tmp_path_factory: pytest.TempPathFactory) -> DataStore:
    store = DataStore(tmp_path_factory.mktemp("home"))
    import_release(release, load_dataset("fisv"), store)
    return store


def seconds(action: Callable[[], object], repeats: int) -> float:
    """Median time of an action."""
    times = []
    for _ in range(repeats):
        gc.collect()
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def read_three_pickles(release: Path) -> list[torch.Tensor]:
    """Read each dictionary once and make it a contiguous tensor, as a careful script would."""
    tensors = []
    for name in STREAMS:
        found = np.load(release / f"FISV_{name}.npy", allow_pickle=True).item()
        tensors.append(torch.from_numpy(np.concatenate(list(found.values()))))
    return tensors


def map_the_cache(store: DataStore, spec: DatasetSpec) -> Split:
    """Load the imported data set, ready to cut batches from."""
    data = store.load(spec)
    rows = data.rows("TES", "train")
    return Split(data, rows, spec.classes[0], ["video", "audio", "flow"])


def published_item(release: Path, video: str, generator: np.random.Generator) -> list[torch.Tensor]:
    """One item as published: three files are read whole for one video, then cut or padded."""
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


def one_epoch(split: Split) -> None:
    for batch in split.random_batches(BATCH, WINDOW, torch.Generator().manual_seed(0)):
        assert batch.features["video"].shape[1:] == (WINDOW, 1024)


def test_loading_is_ten_times_faster(
    release: Path, store: DataStore, record_property: Callable[[str, object], None]
) -> None:
    spec = load_dataset("fisv")
    slow = seconds(lambda: read_three_pickles(release), 3)
    fast = seconds(lambda: map_the_cache(store, spec), 5)
    record_property("pickles_seconds", round(slow, 3))
    record_property("cache_seconds", round(fast, 4))
    record_property("ratio", round(slow / fast, 1))
    print(f"\nloading: {slow:.2f} s against {fast:.4f} s, {slow / fast:.0f}x")
    assert slow / fast > 10


def test_loading_and_reading_every_clip_is_faster_still_counted(
    release: Path, store: DataStore, record_property: Callable[[str, object], None]
) -> None:
    """Mapping defers the reading; here every page is read as well (files are in the disk cache)."""
    spec = load_dataset("fisv")

    def touch() -> float:
        split = map_the_cache(store, spec)
        return sum(float(flat.sum()) for flat in split.flat.values())

    slow = seconds(lambda: [float(t.sum()) for t in read_three_pickles(release)], 3)
    fast = seconds(touch, 3)
    record_property("ratio", round(slow / fast, 1))
    print(f"\nloading and summing all: {slow:.2f} s against {fast:.2f} s, {slow / fast:.1f}x")
    assert slow / fast > 1.5


def test_an_epoch_of_data_is_500_times_faster(
    release: Path, store: DataStore, record_property: Callable[[str, object], None]
) -> None:
    """The published side is timed per item and multiplied by the 400 items of an epoch."""
    generator = np.random.default_rng(0)
    videos = iter(map(str, range(1, VIDEOS)))
    item = seconds(lambda: published_item(release, next(videos), generator), 5)
    split = map_the_cache(store, load_dataset("fisv"))
    one_epoch(split)
    epoch = seconds(lambda: one_epoch(split), 5)
    ratio = 400 * item / epoch
    record_property("published_item_seconds", round(item, 3))
    record_property("epoch_seconds", round(epoch, 3))
    record_property("ratio", round(ratio))
    print(f"\nan epoch: 400 items of {item:.2f} s against {epoch:.3f} s, {ratio:.0f}x")
    assert ratio > 500


def test_epoch(store: DataStore, benchmark: Callable[..., object]) -> None:
    benchmark(one_epoch, map_the_cache(store, load_dataset("fisv")))
