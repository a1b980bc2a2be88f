"""Which published methods can be told apart?

Papers print a correlation and no predictions, so the answer depends on how much the predictions of
two methods overlap (:func:`aqabench.stats.separable`).  Averages are Fisher means of the printed
classes wherever those were printed, because papers average in several ways.

Refuses to mix measured rows in: a published number has no videos behind it that could be paired.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

from aqabench.board.detectable import Test
from aqabench.board.published.reader import published
from aqabench.board.published.schema import AVERAGE, Claim
from aqabench.protocol.schema import DatasetSpec
from aqabench.stats import Separability, fisher_mean, separable

FLAGS = ("separated", "depends on overlap", "cannot be separated")
NEAR = 0.02
"""A gap as papers claim it."""
ROUNDING = 5e-4
"""Half of the last printed digit."""


@dataclass(frozen=True)
class Standing:
    """One method's number on one class or average.

    Attributes:
        claim: what was printed, or the first class where no average was.
        value: the number used.
        printed: the printed average; None where none was, or for a single class.
    """

    claim: Claim
    value: float
    printed: float | None

    @property
    def method(self) -> str:
        """Its name."""
        return self.claim.method

    @property
    def corrected(self) -> bool:
        """Is the number another than the printed one, or was none printed?"""
        return self.printed is None or abs(self.value - self.printed) > 2 * ROUNDING


@dataclass(frozen=True)
class Step:
    """Two published methods, the better first, and whether they can be told apart."""

    better: Standing
    worse: Standing
    verdict: Separability


def standings(
    dataset: DatasetSpec,
    class_name: str = AVERAGE,
    condition: str = "complete",
    claims: Sequence[Claim] | None = None,
) -> list[Standing]:
    """Return the published results of a data set, best first; one for each method.

    Args:
        dataset: whose.
        class_name: a class, or the average of all.
        condition: with which streams, see :class:`Claim`; of ``subset`` there is no ranking.
        claims: what to rank; everything shipped where not given.
    """
    results = [
        c
        for c in (published() if claims is None else claims)
        if (c.dataset, c.condition, c.metric, c.role) == (dataset.name, condition, "srcc", "result")
    ]
    by_method: dict[str, dict[str, Claim]] = {}
    for claim in results:
        by_method.setdefault(claim.method, {})[claim.class_name] = claim
    names = [c.name for c in dataset.classes]
    found = []
    for own in by_method.values():
        if class_name == AVERAGE and own.keys() >= set(names):
            mean = float(fisher_mean([own[name].value for name in names]))
            printed = own.get(AVERAGE)
            value = printed.value if printed else None
            found.append(Standing(printed or own[names[0]], mean, value))
        elif class_name in own:
            value = own[class_name].value
            found.append(Standing(own[class_name], value, value))
    return sorted(found, key=lambda s: (-s.value, s.method))


def neighbours(ranking: Sequence[Standing]) -> list[tuple[Standing, Standing]]:
    """Return each method with the next one."""
    return list(pairwise(ranking))


def records(ranking: Sequence[Standing]) -> list[tuple[Standing, Standing]]:
    """Return each record with the one that it broke, the newest first.

    Methods of one year count in rising order; those whose year is not known are left out.
    """
    dated = [s for s in ranking if s.claim.year is not None]
    found: list[tuple[Standing, Standing]] = []
    best: Standing | None = None
    for one in sorted(dated, key=lambda s: (s.claim.year or 0, s.value)):
        if best is None or one.value > best.value:
            found += [(one, best)] if best else []
            best = one
    return found[::-1]


def every(ranking: Sequence[Standing]) -> list[tuple[Standing, Standing]]:
    """Return every two methods."""
    return list(combinations(ranking, 2))


PAIRS: dict[str, Callable[[Sequence[Standing]], list[tuple[Standing, Standing]]]] = {
    "neighbours": neighbours,
    "records": records,
    "all": every,
}


def flagged(
    pairs: Sequence[tuple[Standing, Standing]], test: Test, alpha: float = 0.05
) -> list[Step]:
    """Return whether the methods of each pair can be told apart on a test."""
    return [
        Step(
            a,
            b,
            separable(
                a.value,
                b.value,
                test.n,
                n_classes=test.averaged,
                shared=test.correlation,
                alpha=alpha,
            ),
        )
        for a, b in pairs
    ]


def counted(steps: Sequence[Step]) -> dict[str, int]:
    """Return flag -> number of steps, of all three flags."""
    found = Counter(step.verdict.flag for step in steps)
    return {flag: found[flag] for flag in FLAGS}


def near(steps: Sequence[Step]) -> list[Step]:
    """Return the steps with a gap as small as papers claim."""
    return [s for s in steps if s.verdict.difference <= NEAR + 1e-9]
