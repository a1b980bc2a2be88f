"""A small schema with every shape that protocol files have; only for tests of the loader."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from aqabench.protocol.misfit import Misfit, Note


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Level(Enum):
    LOW = "low"
    HIGH = "high"


class Subsets(Strict):
    kind: Literal["subsets"]
    sizes: tuple[Annotated[int, Field(ge=1)], ...] | None = None


class Rates(Strict):
    kind: Literal["rates"]
    rates: tuple[Annotated[float, Field(ge=0, le=1)], ...]
    exact: bool = False


class Block(Strict):
    kind: Literal["block"]
    length: Annotated[int, Field(ge=1)]
    level: Level = Level.LOW


class Validation(Strict):
    fraction: Annotated[float, Field(gt=0, lt=0.5)]
    strata: Annotated[int, Field(ge=1)] = 5


class Split(Strict):
    scheme: Literal["official", "folds"]
    validation: Validation | None = None


class Plan(Strict):
    name: Annotated[str, Field(min_length=1, max_length=40)]
    dataset: Literal["fisv", "rg", "fs1000"]
    split: Split
    scenarios: Annotated[
        tuple[Annotated[Subsets | Rates | Block, Field(discriminator="kind")], ...],
        Field(min_length=1),
    ]
    bounds: tuple[float, float] = (0.0, 1.0)
    patience: Literal["never"] | int = "never"
    weights: dict[Annotated[str, Field(pattern="^[a-z]+$")], float] = {}
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0,)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        notes = [
            Note(("seeds", place), "seed given twice", got=str(seed))
            for place, seed in enumerate(self.seeds)
            if seed in self.seeds[:place]
        ]
        if notes:
            raise Misfit(*notes)
        if self.bounds[0] > self.bounds[1]:
            raise ValueError("the first bound must not be above the second")
        return self
