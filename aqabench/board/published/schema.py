"""One number that was published, and where it comes from.

Refuses what could not be a number of its kind: a correlation of 82, a class that the data set does
not have, an average without word of how it was taken.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

AVERAGE = "average"
"""The class of a mean over all classes."""
STRICT = ConfigDict(extra="forbid", str_strip_whitespace=True)
TEXT = "text"
"""A stream that some methods read and no data set here has."""

Metric = Literal["srcc", "mse", "rl2", "params_m", "gflops", "latency_ms"]
COSTS = ("params_m", "gflops", "latency_ms")
Role = Literal["result", "repeat", "variant", "ablation", "log", "other-protocol"]
Rule = Literal["", "fisher", "arithmetic", "either", "neither", "unchecked"]
Year = Annotated[
    Annotated[int, Field(ge=1990, le=2100)] | None,
    BeforeValidator(lambda text: None if text == "" else text),
]


@dataclass(frozen=True, config=STRICT)
class Source:
    """Where numbers were read.

    Attributes:
        key: how rows name it.
        title: the paper or page.
        address: where it is; empty where unknown.
        seen: what was at hand of it; none of these is the paper's own page.
    """

    key: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
    title: Annotated[str, Field(min_length=3)]
    address: Annotated[str, Field(pattern=r"^(https://\S+)?$")]
    seen: Annotated[str, Field(min_length=3)]


@dataclass(frozen=True, config=STRICT)
class Claim:
    """One published number.

    Attributes:
        dataset: short name; empty for costs, which belong to the method.
        class_name: a class, ``average``, or empty for costs.
        method: the name under which it was published.
        year: of publication; None where it was not said.
        modalities: symbols of the streams shown, joined by ``+``.
        condition: ``complete`` (all streams the method reads), ``subset`` (some of them),
            ``avg6`` (mean over the six incomplete subsets) or ``random-10`` (per cent hidden).
        metric: ``srcc``, ``mse`` (squared points), ``rl2`` (R-l2 times 100) or a cost.
        value: as printed.
        role: ``result``, one for each method; ``repeat``, the same in another source; ``variant``,
            other features; ``ablation``; ``log``, from a training log; ``other-protocol``.
        averaging: for an average over classes, the rule that gives the printed value from the
            printed classes; ``unchecked`` where the classes were not printed.
        source: where it was read.
        place: the table in it.
        conflict: what contradicts the number; such a number is not to be relied on.
        note: what else a reader should know.
        file: name of the file that has it.
        line: in that file.
    """

    dataset: str
    class_name: str
    method: Annotated[str, Field(min_length=1)]
    year: Year
    modalities: Annotated[str, Field(pattern=r"^([a-z]+(\+[a-z]+)*)?$")]
    condition: Annotated[str, Field(pattern=r"^(complete|subset|avg6|random-\d{1,2})?$")]
    metric: Metric
    value: Annotated[float, Field(allow_inf_nan=False)]
    role: Role
    averaging: Rule
    source: Source
    place: str
    conflict: str
    note: str
    file: str
    line: int

    def __str__(self) -> str:
        """Return e.g. ``rg average, complete (v+a+f): srcc 0.842 (MCMoE, …, main table)``."""
        shown = f" ({self.modalities})" if self.modalities else ""
        what = (
            f"{self.dataset} {self.class_name}, {self.condition}{shown}: " if self.dataset else ""
        )
        where = f"{self.source.title}, {self.place}" if self.place else self.source.title
        said = f"{what}{self.metric} {self.value:g} ({where})"
        return f"{said}; contradicted: {self.conflict}" if self.conflict else said

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.metric == "srcc" and not abs(self.value) < 1:
            raise ValueError("a Spearman correlation lies in (-1, 1); per cent are not taken")
        if self.metric != "srcc" and not self.value > 0:
            raise ValueError(f"{self.metric} is above 0")
        if (self.metric in COSTS) != (self.dataset == ""):
            raise ValueError("costs stand in costs.csv, everything else in the data set's file")
        if (self.dataset == "") != (self.condition == ""):
            raise ValueError("every score has a condition and no cost has one")
        if (self.class_name == AVERAGE) != (self.averaging != ""):
            raise ValueError("averages over classes, and only they, say how they were taken")
        random = self.condition.startswith("random")
        if self.dataset and not random and not self.modalities:
            raise ValueError("the streams shown are not said")
        if random and self.role != "other-protocol":
            raise ValueError("what is hidden at random belongs to another protocol")
        return self
