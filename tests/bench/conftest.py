"""One release of Fis-V's size (0.8 GB) for all comparisons with published loading."""

from __future__ import annotations

from pathlib import Path

import pytest

from aqabench.data.importer import import_release
from aqabench.data.store import DataStore
from aqabench.protocol.library import load_dataset
from tests.bench.published_loading import write_release


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release")
    write_release(folder)
    return folder


@pytest.fixture(scope="session")
def store(release: Path, tmp_path_factory: pytest.TempPathFactory) -> DataStore:
    store = DataStore(tmp_path_factory.mktemp("home"))
    import_release(release, load_dataset("fisv"), store)
    return store
