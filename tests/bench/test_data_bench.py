"""Data that are mapped once, against release files that are read again and again.

Both sides in one run, on files of Fis-V's size: 500 videos of 138 clips, 1024 + 768 + 1024 wide,
float32, 0.8 GB.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from aqabench.data.batch import Split
from aqabench.data.store import DataStore
from aqabench.protocol.library import load_dataset
from aqabench.protocol.schema import DatasetSpec
from tests.bench.published_loading import (
    BATCH,
    STREAMS,
    TRAINING,
    VIDEOS,
    WINDOW,
    published_item,
    seconds,
)

pytestmark = pytest.mark.bench


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
    ratio = TRAINING * item / epoch
    record_property("published_item_seconds", round(item, 3))
    record_property("epoch_seconds", round(epoch, 3))
    record_property("ratio", round(ratio))
    print(f"\nan epoch: 400 items of {item:.2f} s against {epoch:.3f} s, {ratio:.0f}x")
    assert ratio > 500


def test_epoch(store: DataStore, benchmark: Callable[..., object]) -> None:
    benchmark(one_epoch, map_the_cache(store, load_dataset("fisv")))
