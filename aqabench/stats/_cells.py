"""Cells: predictions of one trained network for one class and scenario, joined by sample id.

Turns a list of cells into aligned arrays and delete-one-video replicates of their Fisher-z
average.  Refuses incomplete grids, duplicate ids and labels that differ between cells of one
test, instead of averaging over what happens to be there.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from aqabench.errors import DataError
from aqabench.stats._checks import MIN_SE, FloatArray, undefined_reason, vectors
from aqabench.stats._kernel import jackknife_rho, mid_ranks, rho_limit, to_z
from aqabench.stats._results import Flag, Reason
from aqabench.stats._wald import SampleVariance, jackknife_variance, seed_excess

__all__ = [
    "Cell",
    "CellInput",
    "CellTable",
    "check_same_tests",
    "prepare",
    "select_tests",
]


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
Aligned = tuple[list[Video], FloatArray, FloatArray]
Ids = tuple[str, ...]
Sorted = tuple[list[Video], npt.NDArray[np.intp], str | None]


@dataclass(frozen=True, eq=False, slots=True)
class Test:
    """One class under one scenario: the same videos and labels for every seed."""

    class_name: str
    scenario: str
    columns: npt.NDArray[np.intp]  # (n,) positions of its videos among all videos
    y: FloatArray  # (n,)
    p: FloatArray  # (seeds, n)
    z: FloatArray  # (seeds,) Fisher z; NaN when undefined
    shift: FloatArray  # (seeds, n) what leaving a video out adds to it
    grades: FloatArray  # (n,) mean over seeds of the centred ranks of p, each of length 1
    reason: Reason
    flags: tuple[Flag, ...]


@dataclass(frozen=True, eq=False)
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

    @cached_property
    def left_out(self) -> FloatArray:
        """The mean over seeds without video i (n,)."""
        return np.asarray(self.replicates.mean(axis=0))

    @cached_property
    def samples(self) -> SampleVariance:
        """Variance of the mean over seeds that comes from the videos."""
        return jackknife_variance(self.left_out, self.components)

    @cached_property
    def seed_excess(self) -> float:
        """Variance of the mean over seeds beyond what :attr:`samples` already contains."""
        return seed_excess(self.z, self.replicates, self.components)

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
    known: dict[Ids, Sorted] = {}
    aligned = {
        key: _align(key, [by_seed[s] for s in seeds], key[0] if independent_classes else "", known)
        for key, by_seed in sorted(grouped.items())
    }
    videos = tuple(
        sorted({v for ids in {id(i): i for i, _, _ in aligned.values()}.values() for v in ids})
    )
    where = {video: i for i, video in enumerate(videos)}
    columns = {
        id(ids): np.array([where[video] for video in ids], dtype=np.intp)
        for ids, _, _ in aligned.values()
    }
    ones = _jackknife(list(aligned.values()), undefined_as_zero)
    tests = [
        Test(class_name, scenario, columns[id(ids)], y, p, z, shift, grades, reason, flags)
        for ((class_name, scenario), (ids, y, p)), (z, shift, grades, reason, flags) in zip(
            aligned.items(), ones, strict=True
        )
    ]
    return _table(tests, seeds, videos)


def select_tests(
    table: CellTable, *, classes: Collection[str] = (), scenarios: Collection[str] = ()
) -> CellTable:
    """Return the table of some tests of a prepared one, whose jackknife is not made again.

    Args:
        table: one method's cells.
        classes: names to keep; all by default.
        scenarios: names to keep; all by default.

    Raises:
        DataError: none of the tests has these names.
    """
    kept = [
        test
        for test in table.tests
        if (not classes or test.class_name in classes)
        and (not scenarios or test.scenario in scenarios)
    ]
    if not kept:
        raise DataError(
            f"no test has the class {_any(classes)} and the scenario {_any(scenarios)}. Got "
            f"{', '.join(sorted({f'{t.class_name} / {t.scenario}' for t in table.tests}))}; "
            "name some of those."
        )
    used = np.unique(np.concatenate([test.columns for test in kept]))
    if used.size < table.n:
        place = np.zeros(table.n, dtype=np.intp)
        place[used] = np.arange(used.size)
        kept = [replace(test, columns=place[test.columns]) for test in kept]
    return _table(kept, table.seeds, tuple(table.videos[i] for i in used))


def _any(names: Collection[str]) -> str:
    return " or ".join(names) or "(any)"


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
    key: tuple[str, str], cells: list[Cell], prefix: str, known: dict[Ids, Sorted]
) -> Aligned:
    """Videos (n,) sorted, labels (n,), predictions (seeds, n) of one class and scenario.

    ``known`` keeps what was sorted already: cells on the same videos share it.
    """
    names: list[Video] = []
    labels = np.empty(0)
    rows = []
    for cell in cells:
        ids = [str(i) for i in cell.sample_ids]
        y, p = vectors(ids, y=cell.y, p=cell.p)
        own, order, twice = _sorted(prefix, ids, known)
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


def _sorted(prefix: str, ids: list[str], known: dict[Ids, Sorted]) -> Sorted:
    """Videos in order, where each stands among ``ids``, and an id that occurs twice."""
    key = (prefix, *ids)
    if key not in known:
        order = sorted(range(len(ids)), key=ids.__getitem__)
        own = [(prefix, ids[i]) for i in order]
        twice = next((a[1] for a, b in itertools.pairwise(own) if a == b), None)
        known[key] = own, np.array(order, dtype=np.intp), twice
    return known[key]


def _same_videos(
    where: str, names: list[Video], own: list[Video], labels: FloatArray, y: FloatArray
) -> None:
    if own is not names and own != names:
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
    same = a.videos == b.videos
    for key, ta, tb in zip(keys_a, a.tests, b.tests, strict=True):
        if same and np.array_equal(ta.columns, tb.columns) and np.array_equal(ta.y, tb.y):
            continue
        _same_videos(
            " / ".join(key),
            [a.videos[i] for i in ta.columns],
            [b.videos[i] for i in tb.columns],
            ta.y,
            tb.y,
        )


def _components(tests: Sequence[Test], n: int) -> npt.NDArray[np.intp]:
    """Component of every video (n,): linked through the tests they share."""
    if all(test.y.size == n for test in tests):
        return np.zeros(n, dtype=np.intp)
    rows = np.concatenate([test.columns for test in tests])
    nodes = np.concatenate([np.full(test.y.size, n + i) for i, test in enumerate(tests)])
    size = n + len(tests)
    graph = coo_array((np.ones(rows.size), (rows, nodes)), shape=(size, size))
    labels = connected_components(graph, directed=False)[1][:n]
    return np.unique(labels, return_inverse=True)[1].astype(np.intp)


One = tuple[FloatArray, FloatArray, FloatArray, Reason, tuple[Flag, ...]]
"""What :class:`Test` holds beside its videos, labels and predictions."""


def _jackknife(aligned: Sequence[Aligned], undefined_as_zero: bool) -> list[One]:
    """Jackknife every test; scenarios of one class, which share their labels, together."""
    together: dict[bytes, list[int]] = {}
    for i, (_, y, _) in enumerate(aligned):
        together.setdefault(y.tobytes(), []).append(i)
    found: dict[int, One] = {}
    for members in together.values():
        y = aligned[members[0]][1]
        rho, left = jackknife_rho(y, np.concatenate([aligned[i][2] for i in members]))
        at = 0
        for i in members:
            p = aligned[i][2]
            own = slice(at, at + len(p))
            at += len(p)
            found[i] = _one(y, p, rho[own], left[own], undefined_as_zero)
    return [found[i] for i in range(len(aligned))]


def _one(
    y: FloatArray, p: FloatArray, rho: FloatArray, left: FloatArray, undefined_as_zero: bool
) -> One:
    """Fisher z (seeds,), the shifts of its replicates (seeds, n), grades, reason and flags."""
    m = y.size
    flags = [] if np.isfinite(p).all() else [Flag.NON_FINITE]
    reasons = [undefined_reason(y, row) for row in p]
    allowed = (Reason.NONE, Reason.CONSTANT_PREDICTIONS) if undefined_as_zero else (Reason.NONE,)
    reason = next((r for r in reasons if r not in allowed), Reason.NONE)
    constant = np.isnan(rho)
    if not reason and constant.any():
        flags.append(Flag.UNDEFINED_AS_ZERO)
        rho[constant], left[constant] = 0.0, 0.0
    if not reason and (np.abs(rho) > rho_limit(m)).any():
        flags.append(Flag.CLIPPED)
    z = to_z(rho, m)
    return z, to_z(left, m - 1) - z[:, None], _unit_ranks(p).mean(axis=0), reason, tuple(flags)


def _table(tests: Sequence[Test], seeds: tuple[int, ...], videos: tuple[Video, ...]) -> CellTable:
    """Average tests: z (seeds,) and its delete-one-video replicates (seeds, n)."""
    n, count = len(videos), len(seeds)
    reason = next((test.reason for test in tests if test.reason), Reason.NONE)
    flags = [flag for test in tests for flag in test.flags]
    z = np.full(count, np.nan)
    replicates = np.full((count, n), np.nan)
    if reason:
        flags = [flag for flag in flags if flag is Flag.NON_FINITE]
    else:
        shift = np.zeros((count, n))
        for test in tests:
            shift[:, test.columns] += test.shift
        z = sum((test.z for test in tests), np.zeros(count)) / len(tests)
        replicates = z[:, None] + shift / len(tests)
    return CellTable(
        tests=tuple(tests),
        seeds=seeds,
        videos=videos,
        components=_components(tests, n),
        z=z,
        replicates=replicates,
        reason=reason,
        flags=tuple(dict.fromkeys(flags)),
    )


def mean_overlap(a: CellTable, b: CellTable) -> float:
    """Rank correlation between two methods' predictions, mean over tests and seed pairs."""
    # the mean over pairs of networks of their product is the product of their means
    pairs = zip(a.tests, b.tests, strict=True)
    return min(1.0, float(np.mean([ta.grades @ tb.grades for ta, tb in pairs])))


def _unit_ranks(p: FloatArray) -> FloatArray:
    """Centred ranks of every row (seeds, n), scaled to length 1; constant rows become 0."""
    centred = mid_ranks(p) - (p.shape[1] + 1) / 2
    length = np.sqrt((centred**2).sum(axis=1, keepdims=True))
    return np.asarray(np.divide(centred, length, out=np.zeros_like(centred), where=length > 0))


def _words(seeds: Sequence[int] | dict[int, Cell]) -> str:
    return ", ".join(str(seed) for seed in seeds)
