"""In what two runs differ: what was asked, data, code, settings, machine, cost, and the numbers.

Names facts; which of them made the numbers differ is said only where there is one candidate.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from aqabench.runs.env import PACKAGES
from aqabench.runs.record import RunRecord
from aqabench.train.numerics import USUAL

if TYPE_CHECKING:
    import pandas as pd

ABSENT = "–"
ROW = ["rule", "part", "scenario", "sample_id"]
GROUPS = ("question", "data", "code", "settings", "shown", "packages", "machine", "cost", "outcome")
CAUSES = {
    "question": "what was asked",
    "data": "the data",
    "code": "the code",
    "settings": "the settings",
    "shown": "what was shown",
}
"""Groups that make it another run, or another version of it."""
SURROUNDINGS = {"packages": "the packages", "machine": "the machine"}
_IDENTITY = {
    "data_kind": "data",
    "data_digest": "data",
    "groups_digest": "data",
    "method": "code",
    "source_digest": "code",
    "settings": "settings",
    "tuned": "settings",
    "numerics": "settings",
}
_RECORD = {
    "dataset": "data",
    "tuned": "settings",
    "protocol_version": "question",
    "title": "code",
    "opt_outs": "code",
    "scenarios": "shown",
    "samples": "shown",
    "masks": "shown",
    "hidden": "shown",
    "training": "shown",
    "cost": "cost",
}
_LEFT_OUT = {"format", "key", "traceback", "overrides", "started", "identity", "environment"}


@dataclass(frozen=True)
class Difference:
    """One thing that two records say differently."""

    group: str
    name: str
    a: str
    b: str


@dataclass(frozen=True)
class Agreement:
    """How far the predictions of two runs agree, under one rule and on one part.

    Attributes:
        rule, part: where.
        shared: predictions that both have (scenario and sample).
        only_a, only_b: those that one of them lacks.
        unequal: shared ones that differ.
        largest: largest difference, in judge points; NaN where one of them is undefined.
        scenario, sample: where it is.
        scores: do the judges' scores agree?
    """

    rule: str
    part: str
    shared: int
    only_a: int
    only_b: int
    unequal: int
    largest: float
    scenario: str
    sample: str
    scores: bool

    @property
    def identical(self) -> bool:
        """Are all predictions the same?"""
        return not (self.only_a or self.only_b or self.unequal)


def differences(a: RunRecord, b: RunRecord) -> list[Difference]:
    """Return what the records say differently, grouped, without the predictions."""
    left, right = dict(_facts(a)), dict(_facts(b))
    found = [
        Difference(group, name, left.get((group, name), ABSENT), right.get((group, name), ABSENT))
        for group, name in dict.fromkeys((*left, *right))
        if left.get((group, name)) != right.get((group, name))
    ]
    return sorted(found, key=lambda d: GROUPS.index(d.group))


def agreements(a: pd.DataFrame, b: pd.DataFrame) -> list[Agreement]:
    """Compare the predictions of two runs, row by row.

    Args:
        a: as the store keeps them; points are compared as they were written, to 9 digits.
        b: the same of the other run.
    """
    both = a.merge(b, on=ROW, how="outer", suffixes=("_a", "_b"), indicator="side")
    return [
        _agreement(str(rule), str(part), rows)
        for (rule, part), rows in both.groupby(["rule", "part"], sort=False)
    ]


def verdict(found: list[Difference], agreed: list[Agreement] | None) -> str:
    """Return in a sentence or two what the differences amount to.

    Args:
        found: what the records say differently.
        agreed: how the predictions compare; None where they were not compared.
    """
    groups = {d.group for d in found}
    causes = [words for group, words in CAUSES.items() if group in groups]
    around = [words for group, words in SURROUNDINGS.items() if group in groups]
    every = _list([*causes, *around])
    if agreed is None:
        return f"The runs differ in {every}." if every else "The runs are of the same identity."
    if all(one.identical for one in agreed):
        if every:
            return f"The predictions are identical, although the runs differ in {every}."
        return "The same run: nothing differs but when it was made and what it took."
    if causes:
        return f"The predictions differ, and the runs differ in {every}."
    if around:
        return (
            f"The predictions differ. It is the same run, made elsewhere: only {every} differ, so "
            "that is where to look first."
        )
    return (
        "Nothing that is recorded differs, but the numbers do: question, data, code, settings, "
        "packages and machine are the same. The method is not deterministic, or something that no "
        "record holds has changed. To find out whether the method depends on luck: aqabench check"
    )


def _facts(record: RunRecord) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield (group, name) and what the record says."""
    said = record.model_dump(mode="json")
    # an identity names only what is not as usual
    numerics = {**asdict(USUAL), **record.identity.get("numerics", {})}
    for key, value in {**record.identity, "numerics": numerics}.items():
        yield from _flat(_IDENTITY.get(key, "question"), key, value)
    for key, value in record.environment.items():
        packages = (*PACKAGES, "aqabench", "python")
        group = "code" if key == "commit" else "packages" if key in packages else "machine"
        yield (group, key), value
    for key, value in said.items():
        if key not in _LEFT_OUT:
            yield from _flat(_RECORD.get(key, "outcome"), key, value)


def _flat(group: str, name: str, value: Any) -> Iterator[tuple[tuple[str, str], str]]:
    if isinstance(value, Mapping):
        inside = "" if name in ("settings", "cost") else f"{name}."
        for key, part in value.items():
            yield from _flat(group, f"{inside}{key}", part)
    elif group == "cost" and isinstance(value, float):
        yield (group, name), f"{value:.4g}"
    else:
        yield (group, name), _written(value)


def _written(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return " ".join(map(_written, value))
    return str(value)


def _agreement(rule: str, part: str, rows: pd.DataFrame) -> Agreement:
    shared = rows[rows["side"] == "both"]
    first, second = (shared[f"prediction_{s}"].to_numpy(float) for s in "ab")
    same = (first == second) | (np.isnan(first) & np.isnan(second))
    gap = np.where(same, 0.0, np.abs(first - second))
    # an undefined prediction beside a defined one is the largest difference there can be
    worst = int(np.argmax(np.where(np.isnan(gap), np.inf, gap))) if gap.size else 0
    there = shared.iloc[worst] if gap.size else {"scenario": "", "sample_id": ""}
    return Agreement(
        rule=rule,
        part=part,
        shared=len(shared),
        only_a=int((rows["side"] == "left_only").sum()),
        only_b=int((rows["side"] == "right_only").sum()),
        unequal=int((~same).sum()),
        largest=float(gap[worst]) if gap.size else 0.0,
        scenario=str(there["scenario"]),
        sample=str(there["sample_id"]),
        scores=bool(np.array_equal(shared["score_a"], shared["score_b"])),
    )


def _list(words: list[str]) -> str:
    if not words:
        return ""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
