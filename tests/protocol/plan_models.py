"""A small schema with every shape that protocol files have; only for tests of the loader.

Nested models, lists of models told apart by ``kind``, literals, enumerations, tuples, mappings,
bounds, and validators over several keys.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Literal, Self

import pytest
from pydantic import BaseModel, ConfigDict, Field, model_validator

from aqabench.errors import Fault, ProtocolError
from aqabench.protocol.load import load_model
from aqabench.protocol.misfit import MisfitError, Note


class Strict(BaseModel):
    """Base of the test schema."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Level(Enum):
    """An enumeration is written by its value."""

    LOW = "low"
    HIGH = "high"


class Subsets(Strict):
    """Kind ``subsets``."""

    kind: Literal["subsets"]
    sizes: tuple[Annotated[int, Field(ge=1)], ...] | None = None


class Rates(Strict):
    """Kind ``rates``."""

    kind: Literal["rates"]
    rates: tuple[Annotated[float, Field(ge=0, le=1)], ...]
    exact: bool = False


class Block(Strict):
    """Kind ``block``."""

    kind: Literal["block"]
    length: Annotated[int, Field(ge=1)]
    level: Level = Level.LOW


class Validation(Strict):
    """Nested twice."""

    fraction: Annotated[float, Field(gt=0, lt=0.5)]
    strata: Annotated[int, Field(ge=1)] = 5


class Split(Strict):
    """Nested once."""

    scheme: Literal["official", "folds"]
    validation: Validation | None = None


class Plan(Strict):
    """The root."""

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
            raise MisfitError(*notes)
        if self.bounds[0] > self.bounds[1]:
            raise ValueError("the first bound must not be above the second")
        return self


def faults(text: str | bytes | Path, model: type[BaseModel] = Plan) -> list[Fault]:
    """Return what is wrong with a text, which must be something."""
    with pytest.raises(ProtocolError) as caught:
        load_model(text, model, name="f.yaml")
    assert caught.value.exit_code == 2
    return list(caught.value.faults)
