"""Opening a release's dictionary of features safely costs about what opening it unsafely does."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from aqabench.data.safe_npy import load

pytestmark = pytest.mark.bench
CLIPS, STEPS, WIDTH = 500, 142, 1024  # one modality of Fis-V: 290 MB


def fastest(action: Callable[[], object], repeats: int = 5) -> float:
    """Seconds of the fastest of several runs."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times)


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    generator = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("features") / "video.npy"
    made = {
        f"clip {i}": generator.standard_normal((STEPS, WIDTH), dtype="f4") for i in range(CLIPS)
    }
    np.save(path, made)  # type: ignore[arg-type]
    return path


def test_ratio_to_numpy(features: Path, record_property: Callable[[str, object], None]) -> None:
    """Both with a warm cache of files; the fastest of five."""
    numpy_seconds = fastest(lambda: np.load(features, allow_pickle=True).item())
    safe_seconds = fastest(lambda: load(features))
    ratio = safe_seconds / numpy_seconds
    record_property("numpy_seconds", round(numpy_seconds, 3))
    record_property("safe_seconds", round(safe_seconds, 3))
    record_property("ratio", round(ratio, 2))
    assert ratio < 2.0


def test_load(features: Path, benchmark: Callable[..., object]) -> None:
    benchmark(load, features)
