"""Bootstrap replicates of averages: the same drawn videos for every method, class and seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aqabench.stats._cells import CellTable
from aqabench.stats._checks import FloatArray
from aqabench.stats._kernel import bootstrap_rho

__all__ = ["bootstrap_all", "bootstrap_z"]


def bootstrap_z(table: CellTable, counts: FloatArray) -> FloatArray:
    """Average z over tests and seeds in every resample of the videos.

    Args:
        table: one method's cells.
        counts: multiplicities (b, n) of ``table.videos``.

    Returns:
        (b,); NaN where a cell is undefined in the resample.
    """
    return np.asarray(bootstrap_all([table], counts)[0])


def bootstrap_all(tables: Sequence[CellTable], counts: FloatArray) -> FloatArray:
    """:func:`bootstrap_z` of methods on the same tests (k, b), which share the work on labels."""
    total = np.zeros((len(tables), counts.shape[0]))
    for tests in zip(*(table.tests for table in tables), strict=True):
        part = counts[:, tests[0].columns]  # (b, m)
        limit = rho_limit_of(part.sum(axis=1))
        varying = [~np.all(test.p == test.p[:, :1], axis=1) for test in tests]  # (seeds,) each
        rows = np.concatenate([test.p[own] for test, own in zip(tests, varying, strict=True)])
        if not len(rows):
            continue
        z = np.arctanh(np.clip(bootstrap_rho(tests[0].y, rows, part), -limit, limit))  # (rows, b)
        ends = np.cumsum([own.sum() for own in varying])
        for method, (end, own) in enumerate(zip(ends, varying, strict=True)):
            total[method] += z[end - own.sum() : end].sum(axis=0)
    cells = [len(table.tests) * len(table.seeds) for table in tables]
    return np.asarray(total / np.array(cells)[:, None])


def rho_limit_of(totals: FloatArray) -> FloatArray:
    """:func:`rho_limit` for every resample size (b,); 0 for fewer than two videos."""
    n = np.maximum(totals, 2.0)
    return np.asarray(np.where(totals < 2, 0.0, 1.0 - 6.0 / (n**3 - n)))
