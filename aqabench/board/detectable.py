"""What a protocol can tell apart: its test as numbers, and the smallest difference it can see.

The sizes are those that the protocol and its data set declare, so that no data need be installed.
The scenarios of a protocol are the same videos shown in other ways and count once, however many
they are: more ways of hiding streams make no more videos.

Refuses to count a video twice: two scores of the same videos are less than two tests.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from statistics import harmonic_mean

from aqabench.errors import UsageError
from aqabench.protocol.folds import fold_names
from aqabench.protocol.library import Asked
from aqabench.protocol.lock import reference_counts
from aqabench.protocol.schema import DatasetSpec
from aqabench.stats import detectable_difference, required_n

SHARED = {"fisv": 0.5, "fisv-c3d": 0.5, "fs1000": 0.6}
"""Mean correlation between the differences of two scores of the same videos.

Source: simulation with Fis-V's label correlation .81 (bounds 0 to 1) and with FS1000's seven
scores (bounds .26 to .62, of which the careful end is taken).
"""
SHARED_ELSEWHERE = 0.6
"""The careful end, for data sets that nobody simulated."""


@dataclass(frozen=True)
class Question:
    """What is asked of a test.

    Attributes:
        rho: levels of both methods, mean Spearman correlations.
        overlap: Spearman correlations r of the two methods' predictions.
        power: probability with which the difference is found.
        alpha: two-sided level of the test.
    """

    rho: tuple[float, ...] = (0.7, 0.8)
    overlap: tuple[float, ...] = (0.8, 0.9, 0.95)
    power: float = 0.8
    alpha: float = 0.05

    @property
    def pairs(self) -> list[tuple[float, float]]:
        """Every level with every overlap, levels first."""
        return [(rho, r) for rho in self.rho for r in self.overlap]


@dataclass(frozen=True)
class Test:
    """A number in which two methods may differ.

    Attributes:
        what: ``one class`` or ``mean of N``.
        classes: classes averaged.
        folds: parts that are tested one by one and averaged; 1 where there is one test list.
        n: test samples of one fold of one class.
        shared: mean correlation between the classes' differences, 0 for different samples.
    """

    __test__ = False  # a word of the field, not a test of pytest's

    what: str
    classes: int
    folds: int
    n: int
    shared: float

    @property
    def averaged(self) -> int:
        """Correlations averaged: classes times folds."""
        return self.classes * self.folds

    @property
    def correlation(self) -> float:
        """Mean correlation between all of these; folds are different videos.

        ``(1 + (C - 1) c) / (C k) = (1 + (N - 1) s) / N`` with C classes, k folds, N = C k.
        """
        if self.averaged == 1:
            return 0.0
        return (self.classes - 1) * self.shared / (self.averaged - 1)

    @property
    def effective(self) -> float:
        """Samples of one class that would say as much."""
        return self.averaged * self.n / (1 + (self.averaged - 1) * self.correlation)

    @property
    def samples(self) -> str:
        """Number of test samples as a table has it: ``100``, ``4 x 50`` where they differ."""
        parts = self.folds * (self.classes if self.shared == 0.0 else 1)
        return f"{self.n}" if parts == 1 else f"{parts} x {self.n}"

    def at(self, n: int) -> Test:
        """Return the same test with n samples for a class, all folds together."""
        return replace(self, n=n // self.folds)

    def detectable(self, rho: float, r: float, question: Question) -> float:
        """Return the smallest difference that is found; NaN where not even the largest is."""
        return detectable_difference(
            self.n,
            rho,
            r,
            question.power,
            alpha=question.alpha,
            n_classes=self.averaged,
            shared=self.correlation,
        )

    def needed(self, gain: float, rho: float, r: float, question: Question) -> int:
        """Return the test samples of each class, all folds together, that find a gain."""
        of_fold = required_n(
            gain,
            rho,
            r,
            question.power,
            alpha=question.alpha,
            n_classes=self.averaged,
            shared=self.correlation,
        )
        return of_fold * self.folds


@dataclass(frozen=True)
class Design:
    """The tests of one or more protocols on a data set: single classes, then their mean."""

    dataset: DatasetSpec
    protocols: tuple[str, ...]
    tests: tuple[Test, ...]

    @property
    def mean(self) -> Test:
        """The test of the mean over classes, or of the only class."""
        return self.tests[-1]


def shared_of(dataset: DatasetSpec, classes: int, shared: float | None = None) -> float:
    """Return the correlation between the differences of a data set's scores.

    Args:
        dataset: whose scores.
        classes: how many of them are averaged.
        shared: taken in place of the usual one.
    """
    if classes == 1 or not dataset.same_videos:
        return 0.0
    return SHARED.get(dataset.name, SHARED_ELSEWHERE) if shared is None else shared


def design(asked: Asked, shared: float | None = None) -> Design:
    """Return the tests of a protocol.

    Raises:
        UsageError: the data set declares no test samples for its split.
    """
    protocol, dataset = asked.protocol, asked.dataset
    folds = len(fold_names(protocol.split, dataset))
    counts = [
        reference_counts(asked, c).get("test", 0) // folds
        for c in dataset.classes
        if c.name in protocol.classes
    ]
    if min(counts) == 0:
        raise UsageError(
            f"Data set '{dataset.name}' declares no test samples for the split of "
            f"'{protocol.name}', so its power is not known. Write the number of test samples "
            "('test') into the data set's file, or name the sizes yourself: "
            "aqabench power --samples 100"
        )
    return _design(dataset, (protocol.name,), counts, folds, shared)


def official(dataset: DatasetSpec, shared: float | None = None) -> Design:
    """Return the tests of a data set's official list, on which papers report."""
    return _design(dataset, (), [c.test for c in dataset.classes], 1, shared)


def designs(protocols: Iterable[Asked], shared: float | None = None) -> list[Design]:
    """Return the tests of many protocols; those that test alike together."""
    found: dict[tuple[str, tuple[Test, ...]], Design] = {}
    for asked in protocols:
        one = design(asked, shared)
        key = (one.dataset.name, one.tests)
        known = found.get(key)
        names = (*known.protocols, *one.protocols) if known else one.protocols
        found[key] = replace(one, protocols=names)
    return sorted(found.values(), key=lambda d: (d.dataset.name, d.mean.folds, -d.mean.n))


def plain(n: int) -> Test:
    """Return the test of one class on n samples."""
    return Test("one class", 1, 1, n, 0.0)


def _design(
    dataset: DatasetSpec,
    protocols: tuple[str, ...],
    counts: list[int],
    folds: int,
    shared: float | None,
) -> Design:
    tests = [Test("one class", 1, folds, n, 0.0) for n in dict.fromkeys(counts)]
    if len(counts) > 1:
        # the variance of a mean over unequal tests is that of equal ones of the harmonic mean
        n = round(harmonic_mean(counts))
        c = shared_of(dataset, len(counts), shared)
        tests.append(Test(f"mean of {len(counts)}", len(counts), folds, n, c))
    return Design(dataset, protocols, tuple(tests))
