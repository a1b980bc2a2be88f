"""What can be told apart, as tables: detectable differences, samples needed, published pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from aqabench.board.detectable import Design, Question, Test, plain
from aqabench.board.published.standing import Standing, Step, counted, near
from aqabench.board.render.sheet import Sheet

GAINS = (0.005, 0.01, 0.02, 0.05)
"""Differences as papers claim them."""
SIZES = (50, 100, 200, 500, 1000, 2000)
"""Test samples that a table goes through."""
ABREAST = 6
"""Columns of numbers that fit beside each other."""
CONDITIONS = {"complete": "all streams", "avg6": "mean over the six incomplete subsets"}


@dataclass(frozen=True)
class Compared:
    """Published methods of a data set under one condition.

    Attributes:
        design: the official test list of the data set.
        class_name: a class, or the average.
        condition: see :class:`aqabench.board.published.schema.Claim`.
        ranking: all of them, best first.
        pairs: which pairs ``steps`` has: ``neighbours``, ``records`` or ``all``.
        steps: these pairs with their flags.
        every: all pairs with their flags.
    """

    design: Design
    class_name: str
    condition: str
    ranking: Sequence[Standing]
    pairs: str
    steps: Sequence[Step]
    every: Sequence[Step]


SHORT_LISTS = (
    "For long test lists. On 50 to 100 samples such a difference is found some 9 points less often "
    "(docs/studies/validity.md)."
)


def question_line(question: Question) -> str:
    """Return what all numbers of the tables have in common."""
    return (
        f"Two-sided test at alpha {question.alpha:g}, found with {100 * question.power:g} % "
        "probability. ρ: Spearman of both methods; r: of their predictions with each other."
    )


def detectable_sheets(designs: Sequence[Design], question: Question) -> list[Sheet]:
    """Return the smallest detectable difference of every design, as many columns as fit."""
    tests = [(design, test) for design in designs for test in design.tests]
    notes = [
        f"{design.dataset.title}, {design.mean.samples} test samples: {', '.join(design.protocols)}"
        for design in designs
    ]
    sheets = [
        Sheet(
            "The smallest difference in Spearman that is found",
            ("data set", "of", "samples"),
            _heads(pairs),
            [
                (design.dataset.title, test.what, test.samples, *_smallest(test, pairs, question))
                for design, test in tests
            ],
        )
        for pairs in _abreast(question)
    ]
    return _with_notes(sheets, (question_line(question), SHORT_LISTS, *notes))


def size_sheets(test: Test | None, sizes: Sequence[int], question: Question) -> list[Sheet]:
    """Return the smallest detectable difference of a test over numbers of test samples.

    Args:
        test: whose samples become more or fewer; one class of any data set where None.
        sizes: test samples of each score.
        question: levels, overlaps, power and alpha.
    """
    asked = plain(sizes[0]) if test is None else test
    return [
        Sheet(
            f"The same with other numbers of test samples ({asked.what})"
            if test is not None
            else "The smallest difference in Spearman that is found (one class)",
            ("test samples",),
            _heads(pairs),
            [(asked.at(n).samples, *_smallest(asked.at(n), pairs, question)) for n in sizes],
            () if test is not None else (question_line(question),),
        )
        for pairs in _abreast(question)
    ]


def needed_sheets(test: Test, question: Question) -> list[Sheet]:
    """Return how many test samples would find gains as papers claim them."""
    each = "for each class" if test.classes > 1 and test.shared == 0.0 else "in all"
    return [
        Sheet(
            f"Test samples that a gain would need, {each} ({test.what})",
            ("gain",),
            _heads(pairs),
            [
                (f"{gain:g}", *(f"{test.needed(gain, rho, r, question):,}" for rho, r in pairs))
                for gain in GAINS
            ],
        )
        for pairs in _abreast(question)
    ]


def published_sheet(compared: Compared) -> Sheet:
    """Return the published pairs of a data set with their flags."""
    dataset = compared.design.dataset
    what = (
        f"mean of {len(dataset.classes)} classes"
        if compared.class_name == "average"
        else compared.class_name
    )
    corrected = [one for one in compared.ranking if one.corrected]
    return Sheet(
        f"Published on {dataset.title}, {what}, {CONDITIONS[compared.condition]}: "
        f"{len(compared.ranking)} methods",
        ("better", "ρ", "than", "ρ", "gap", "told apart"),
        (),
        [
            (
                *_named(step.better),
                *_named(step.worse),
                f"{step.verdict.difference:.3f}",
                flag_words(step),
            )
            for step in compared.steps
        ],
        (*_summary(compared), *_corrections(corrected)),
        whole=("ρ", "gap", "told apart"),
    )


def flag_words(step: Step) -> str:
    """Return the flag with what it hangs on."""
    verdict = step.verdict
    if verdict.flag == "depends on overlap":
        return f"{verdict.flag}, r* {verdict.r_star:.2f}"
    return (
        f"{verdict.flag} (p {_p(verdict.p_independent)})"
        if verdict.flag == "separated"
        else (verdict.flag)
    )


def detectable_rows(designs: Sequence[Design], question: Question) -> list[dict[str, object]]:
    """Return every number of the first table as a record."""
    return [
        {
            "dataset": design.dataset.name,
            "protocols": " ".join(design.protocols),
            "of": test.what,
            "n": test.n,
            "correlations_averaged": test.averaged,
            "shared": round(test.correlation, 6),
            "rho": rho,
            "overlap": r,
            "power": question.power,
            "alpha": question.alpha,
            "detectable": _rounded(test.detectable(rho, r, question)),
        }
        for design in designs
        for test in design.tests
        for rho, r in question.pairs
    ]


def size_rows(
    test: Test | None, sizes: Sequence[int], question: Question
) -> list[dict[str, object]]:
    """Return every number of the table over test samples as a record."""
    tests = [plain(n) if test is None else test.at(n) for n in sizes]
    return [
        {
            "of": one.what,
            "n": one.n,
            "correlations_averaged": one.averaged,
            "shared": round(one.correlation, 6),
            "rho": rho,
            "overlap": r,
            "power": question.power,
            "alpha": question.alpha,
            "detectable": _rounded(one.detectable(rho, r, question)),
        }
        for one in tests
        for rho, r in question.pairs
    ]


def published_rows(compared: Compared) -> list[dict[str, object]]:
    """Return every published pair as a record."""
    return [
        {
            "dataset": compared.design.dataset.name,
            "class": compared.class_name,
            "condition": compared.condition,
            "better": step.better.method,
            "better_rho": round(step.better.value, 6),
            "better_printed": step.better.printed,
            "better_source": step.better.claim.source.key,
            "worse": step.worse.method,
            "worse_rho": round(step.worse.value, 6),
            "worse_printed": step.worse.printed,
            "worse_source": step.worse.claim.source.key,
            "difference": round(step.verdict.difference, 6),
            "flag": step.verdict.flag,
            "r_star": _rounded(step.verdict.r_star),
            "p_independent": _rounded(step.verdict.p_independent),
            "p_high": _rounded(step.verdict.p_high),
            "r_high": _rounded(step.verdict.r_high),
            "m": _rounded(step.verdict.m),
            "alpha": step.verdict.alpha,
        }
        for step in compared.steps
    ]


def _abreast(question: Question) -> list[list[tuple[float, float]]]:
    pairs = question.pairs
    return [pairs[k : k + ABREAST] for k in range(0, len(pairs), ABREAST)]


def _heads(pairs: Sequence[tuple[float, float]]) -> tuple[str, ...]:
    return tuple(f"ρ {rho:g}, r {r:g}" for rho, r in pairs)


def _smallest(
    test: Test, pairs: Sequence[tuple[float, float]], question: Question
) -> tuple[str, ...]:
    return tuple(_number(test.detectable(rho, r, question)) for rho, r in pairs)


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "–"


def _rounded(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None


def _p(value: float) -> str:
    return "< 0.0001" if value < 1e-4 else f"{value:.2g}"


def _named(one: Standing) -> tuple[str, str]:
    return one.method, f"{one.value:.3f}{'*' if one.corrected else ''}"


def _with_notes(sheets: Sequence[Sheet], notes: tuple[str, ...]) -> list[Sheet]:
    """Return the sheets, the last of them with notes."""
    *first, last = sheets
    return [*first, Sheet(last.title, last.names, last.heads, last.rows, notes)]


def _summary(compared: Compared) -> tuple[str, ...]:
    close = near(compared.every)
    whole = len(compared.steps) == len(compared.every)
    shown = [] if whole else [(_SHOWN[compared.pairs], compared.steps)]
    groups = [*shown, ("All pairs", compared.every), ("Pairs at most 0.02 apart", close)]
    said = [f"{name}: {_in_words(steps)}." for name, steps in groups if steps]
    if any(step.verdict.flag == "separated" for step in compared.steps):
        said.append(
            "p holds if errors are independent; the test is optimistic on ranks: trust p < 0.01."
        )
    if compared.condition == "avg6":
        said.append("The six subsets are the same samples and count as one test.")
    return tuple(said)


def _in_words(steps: Sequence[Step]) -> str:
    counts = counted(steps)
    if len(steps) > 1 and len(steps) in counts.values():
        flag = next(flag for flag, number in counts.items() if number)
        return f"all {len(steps)} {_PLURAL.get(flag, flag)}"
    return ", ".join(
        f"{number} {flag if number == 1 else _PLURAL.get(flag, flag)}"
        for flag, number in counts.items()
    )


_SHOWN = {
    "neighbours": "Shown, each with the next",
    "records": "Shown, each record with the one before",
}
_PLURAL = {"depends on overlap": "depend on overlap"}


def _corrections(standings: Sequence[Standing]) -> tuple[str, ...]:
    if not standings:
        return ()
    said = "; ".join(
        f"{one.method} printed {one.printed:.3f}" if one.printed is not None
        else f"{one.method} printed no average"
        for one in standings
    )  # fmt: skip
    return (f"* Fisher mean of the printed classes, here and wherever they were printed: {said}.",)
