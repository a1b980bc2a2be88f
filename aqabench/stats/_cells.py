"""Cells: predictions of one trained network for one class and scenario, joined by sample id.

Turns a list of cells into aligned arrays and delete-one-video replicates of their Fisher-z
average.  Refuses incomplete grids, duplicate ids and labels that differ between cells of one
test, instead of averaging over what happens to be there.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from aqabench.errors import DataError
from aqabench.stats._checks import MIN_SE, FloatArray, undefined_reason, vectors
from aqabench.stats._kernel import bootstrap_rho, jackknife_rho, mid_ranks, rho_limit, to_z
from aqabench.stats._results import Flag, Reason

__all__ = ["Cell", "CellInput", "CellTable", "bootstrap_z", "check_same_tests", "prepare"]


class Cell(NamedTuple):
    """Predictions of one trained network on one class under one scenario.

    Attributes:
        class_name: e.g. ``"TES"``.
        scenario: e.g. ``"full"`` or ``"video+audio"``.
        seed: training seed.
        sample_ids: ids of the test videos (n,).
        y: labels (n,) in judge points.
        p: predictions (n,) in any unit.
    """

    class_name: str
    scenario: str
    seed: int
    sample_ids: Sequence[str]
    y: npt.ArrayLike
    p: npt.ArrayLike


CellInput = Cell | tuple[str, str, int, Sequence[str], npt.ArrayLike, npt.ArrayLike]
Video = tuple[str, str]  # (class or "", sample id)


@dataclass(frozen=True, eq=False, slots=True)
class Test:
    """One class under one scenario: the same videos and labels for every seed."""

    class_name: str
    scenario: str
    columns: npt.NDArray[np.intp]  # (n,) positions of its videos among all videos
    y: FloatArray  # (n,)
    p: FloatArray  # (seeds, n)


@dataclass(frozen=True, eq=False, slots=True)
class CellTable:
    """One method's cells, aligned, with the jackknife of their average.

    Attributes:
        tests: class x scenario, sorted by name.
        seeds: training seeds, in order of appearance.
        videos: all test videos, sorted.
        components: (n,) videos of one component share a test set, directly or by a chain.
        z: Fisher-z average over tests, one per seed (seeds,); NaN when undefined.
        replicates: the same without video i (seeds, n).
        reason: why the average is undefined.
        flags: warnings.
    """

    tests: tuple[Test, ...]
    seeds: tuple[int, ...]
    videos: tuple[Video, ...]
    components: npt.NDArray[np.intp]
    z: FloatArray
    replicates: FloatArray
    reason: Reason
    flags: tuple[Flag, ...]

    @property
    def n(self) -> int:
        """Number of distinct test videos."""
        return len(self.videos)

    @property
    def smallest(self) -> int:
        """Videos of the smallest test."""
        return min(test.y.size for test in self.tests)

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len({test.class_name for test in self.tests})

    @property
    def n_scenarios(self) -> int:
        """Number of scenarios."""
        return len({test.scenario for test in self.tests})


def prepare(
    cells: Sequence[CellInput] | CellTable,
    *,
    independent_classes: bool = False,
    undefined_as_zero: bool = False,
) -> CellTable:
    """Align a method's cells and jackknife their Fisher-z average once, for many comparisons.

    Deleting a video deletes it from every cell that contains it; a cell without the video
    keeps its full-sample z.

    Args:
        cells: :class:`Cell` objects or equal tuples; every class x scenario must hold the same
            seeds exactly once.  A prepared table is returned as it is.
        independent_classes: the classes' test videos are different people's performances even
            where the ids coincide (by default videos are joined by sample id across classes).
        undefined_as_zero: count constant predictions as correlation 0 (flagged) instead of
            making the average undefined.

    Raises:
        DataError: no cell, an incomplete grid, duplicate ids, NaN, or labels that differ.
    """
    if isinstance(cells, CellTable):
        return cells
    grouped = _group([Cell(*cell) for cell in cells])
    seeds = tuple(next(iter(grouped.values())))
    for key, by_seed in grouped.items():
        if set(by_seed) != set(seeds):
            raise DataError(
                f"every class and scenario must hold the same seeds ({_words(seeds)}). Got "
                f"{_words(by_seed)} for {' / '.join(key)} instead; run the missing seeds, or "
                "leave the extra ones out."
            )
    aligned = {
        key: _align(key, [by_seed[seed] for seed in seeds], independent_classes)
        for key, by_seed in sorted(grouped.items())
    }
    videos = tuple(sorted({video for ids, _, _ in aligned.values() for video in ids}))
    where = {video: i for i, video in enumerate(videos)}
    tests = tuple(
        Test(*key, np.array([where[video] for video in ids], dtype=np.intp), y, p)
        for key, (ids, y, p) in aligned.items()
    )
    reason = _reason(tests, undefined_as_zero)
    z, replicates, flags = _jackknife_average(tests, len(videos), len(seeds), reason)
    return CellTable(
        tests, seeds, videos, _components(tests, len(videos)), z, replicates, reason, flags
    )


def _group(cells: list[Cell]) -> dict[tuple[str, str], dict[int, Cell]]:
    if not cells:
        raise DataError("an average needs at least one cell. Got none; pass one Cell per run.")
    grouped: dict[tuple[str, str], dict[int, Cell]] = {}
    for cell in cells:
        by_seed = grouped.setdefault((str(cell.class_name), str(cell.scenario)), {})
        if cell.seed in by_seed:
            raise DataError(
                f"seed {cell.seed} of {cell.class_name} / {cell.scenario} is given twice; pass "
                "each run once (an ensemble is a method of its own)."
            )
        by_seed[cell.seed] = cell
    return grouped


def _align(
    key: tuple[str, str], cells: list[Cell], independent_classes: bool
) -> tuple[list[Video], FloatArray, FloatArray]:
    """Videos (n,) sorted, labels (n,), predictions (seeds, n) of one class and scenario."""
    prefix = key[0] if independent_classes else ""
    names: list[Video] = []
    labels = np.empty(0)
    rows = []
    for cell in cells:
        ids = [str(i) for i in cell.sample_ids]
        y, p = vectors(ids, y=cell.y, p=cell.p)
        order = sorted(range(len(ids)), key=ids.__getitem__)
        own: list[Video] = [(prefix, ids[i]) for i in order]
        twice = next((a[1] for a, b in itertools.pairwise(own) if a == b), None)
        if twice is not None:
            raise DataError(
                f"{' / '.join(key)}, seed {cell.seed}: sample id '{twice}' occurs twice; keep one "
                "prediction per video."
            )
        if not names:
            names, labels = own, y[order]
        _same_videos(f"{' / '.join(key)}, seed {cell.seed}", names, own, labels, y[order])
        rows.append(p[order])
    if labels.size < MIN_SE:
        raise DataError(
            f"{' / '.join(key)} must have at least {MIN_SE} test videos. Got {labels.size} "
            "instead; use a class with a larger test set."
        )
    return names, labels, np.stack(rows)


def _same_videos(
    where: str, names: list[Video], own: list[Video], labels: FloatArray, y: FloatArray
) -> None:
    if own != names:
        odd = sorted(set(own) ^ set(names))
        raise DataError(
            f"{where}: the test videos differ from those of the other runs ({len(odd)} ids in one "
            f"only, e.g. '{odd[0][1]}'); re-run on the same protocol digest."
        )
    if not np.array_equal(y, labels):
        first = names[int(np.flatnonzero(y != labels)[0])][1]
        raise DataError(
            f"{where}: the label of sample '{first}' differs from that of the other runs; re-run "
            "on the same data digest."
        )


def check_same_tests(a: CellTable, b: CellTable) -> None:
    """Refuse two methods that were not tested on the same classes, scenarios and videos.

    Raises:
        DataError: names the first difference.
    """
    keys_a = [(t.class_name, t.scenario) for t in a.tests]
    keys_b = [(t.class_name, t.scenario) for t in b.tests]
    if keys_a != keys_b:
        odd = min(set(keys_a) ^ set(keys_b))
        raise DataError(
            f"both methods must be tested on the same classes and scenarios; only one of them has "
            f"{' / '.join(odd)}. Run it for the other, or leave it out for both."
        )
    for key, ta, tb in zip(keys_a, a.tests, b.tests, strict=True):
        _same_videos(
            " / ".join(key),
            [a.videos[i] for i in ta.columns],
            [b.videos[i] for i in tb.columns],
            ta.y,
            tb.y,
        )


def _reason(tests: tuple[Test, ...], undefined_as_zero: bool) -> Reason:
    for test in tests:
        for p in test.p:
            reason = undefined_reason(test.y, p)
            if reason and not (undefined_as_zero and reason is Reason.CONSTANT_PREDICTIONS):
                return reason
    return Reason.NONE


def _components(tests: tuple[Test, ...], n: int) -> npt.NDArray[np.intp]:
    """Component of every video (n,): linked through the tests they share."""
    if all(test.y.size == n for test in tests):
        return np.zeros(n, dtype=np.intp)
    rows = np.concatenate([test.columns for test in tests])
    nodes = np.concatenate([np.full(test.y.size, n + i) for i, test in enumerate(tests)])
    size = n + len(tests)
    graph = coo_array((np.ones(rows.size), (rows, nodes)), shape=(size, size))
    labels = connected_components(graph, directed=False)[1][:n]
    return np.unique(labels, return_inverse=True)[1].astype(np.intp)


def _jackknife_average(
    tests: tuple[Test, ...], n: int, n_seeds: int, reason: Reason
) -> tuple[FloatArray, FloatArray, tuple[Flag, ...]]:
    """Average z (seeds,), its delete-one-video replicates (seeds, n), and flags."""
    flags: list[Flag] = []
    if any(not np.isfinite(test.p).all() for test in tests):
        flags.append(Flag.NON_FINITE)
    if reason:
        return np.full(n_seeds, np.nan), np.full((n_seeds, n), np.nan), tuple(flags)
    z = np.zeros(n_seeds)
    shift = np.zeros((n_seeds, n))  # what deleting video i adds to the average
    for test in tests:
        rho, left = jackknife_rho(test.y, test.p)  # (seeds,), (seeds, m)
        m = test.y.size
        constant = np.isnan(rho)
        if constant.any():
            flags.append(Flag.UNDEFINED_AS_ZERO)
            rho[constant], left[constant] = 0.0, 0.0
        if (np.abs(rho) > rho_limit(m)).any():
            flags.append(Flag.CLIPPED)
        full = to_z(rho, m)
        z += full
        shift[:, test.columns] += to_z(left, m - 1) - full[:, None]
    z /= len(tests)
    return z, z[:, None] + shift / len(tests), tuple(dict.fromkeys(flags))


def bootstrap_z(table: CellTable, counts: FloatArray) -> FloatArray:
    """Average z over tests and seeds in every resample of the videos.

    Args:
        table: one method's cells.
        counts: multiplicities (b, n) of ``table.videos``.

    Returns:
        (b,); NaN where a cell is undefined in the resample.
    """
    total = np.zeros(counts.shape[0])
    for test in table.tests:
        part = counts[:, test.columns]  # (b, m)
        constant = np.all(test.p == test.p[:, :1], axis=1)  # (seeds,)
        if constant.all():
            continue
        rho = bootstrap_rho(test.y, test.p[~constant], part)  # (varying seeds, b)
        limit = rho_limit_of(part.sum(axis=1))
        total += np.arctanh(np.clip(rho, -limit, limit)).sum(axis=0)
    return np.asarray(total / (len(table.tests) * len(table.seeds)))


def rho_limit_of(totals: FloatArray) -> FloatArray:
    """:func:`rho_limit` for every resample size (b,); 0 for fewer than two videos."""
    n = np.maximum(totals, 2.0)
    return np.asarray(np.where(totals < 2, 0.0, 1.0 - 6.0 / (n**3 - n)))


def mean_overlap(a: CellTable, b: CellTable) -> float:
    """Rank correlation between two methods' predictions, mean over tests and seed pairs."""
    values = []
    for ta, tb in zip(a.tests, b.tests, strict=True):
        ra, rb = _unit_ranks(ta.p), _unit_ranks(tb.p)
        values.append(np.clip(ra @ rb.T, -1.0, 1.0).mean())
    return float(np.mean(values))


def _unit_ranks(p: FloatArray) -> FloatArray:
    """Centred ranks of every row (seeds, n), scaled to length 1; constant rows become 0."""
    centred = mid_ranks(p) - (p.shape[1] + 1) / 2
    length = np.sqrt((centred**2).sum(axis=1, keepdims=True))
    return np.asarray(np.divide(centred, length, out=np.zeros_like(centred), where=length > 0))


def _words(seeds: Sequence[int] | dict[int, Cell]) -> str:
    return ", ".join(str(seed) for seed in seeds)
