"""Fixtures every test may use."""

from __future__ import annotations

import os

# One thread per test process, set before numpy and torch read it: pytest runs several at once.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the real data, which is never part of the repository."""
    root = Path(os.environ.get("AQABENCH_SHARED", REPOSITORY.parent / "shared"))
    if not (root / "data").is_dir():
        pytest.skip(f"real data not at hand: {root / 'data'} is absent (set AQABENCH_SHARED)")
    return root / "data"
