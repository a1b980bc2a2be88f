"""What is asked: the frozen types a protocol or data-set file turns into.

These classes hold no path and no machine; everything that changes a number is here and enters the
digest.  Reading files, and saying what is wrong in them, is :mod:`aqabench.protocol.load`'s work.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, model_validator

from aqabench.protocol.grammar import Frozen, Name, ScenarioSpec, TrainingSpec

SelectionRule = Literal["val", "last", "oracle"]
SELECTION_RULES: tuple[SelectionRule, ...] = ("val", "last", "oracle")
DataKind = Literal["real", "simulated"]
ADDED_LATER: dict[str, JsonValue] = {"x-added-later": True}
"""Marks a field that came after the first release: at its default it stays out of the digest."""


class ModalitySpec(Frozen):
    """One feature stream of a data set."""

    name: Name = Field(description="Key of the stream in a batch, e.g. video.")
    symbol: Annotated[str, Field(pattern=r"^[a-z]{1,3}$")] = Field(
        description="Short form that names subsets: v and a make the subset va."
    )
    width: Annotated[int, Field(ge=1, le=65536)] = Field(description="Feature width D.")


class ClassSpec(Frozen):
    """One score to predict; one model is trained for each."""

    name: Annotated[str, Field(min_length=1, max_length=40)]
    bounds: tuple[float, float] = Field(
        description="Declared lowest and highest score in judge points; targets are scaled by them."
    )
    train: Annotated[int, Field(ge=2)] = Field(description="Samples in the official training list.")
    test: Annotated[int, Field(ge=0)] = Field(
        description="Samples in the official test list; 0 where there is no official split."
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.bounds[0] < self.bounds[1]:
            raise ValueError("the first bound must be below the second")
        return self


class ReleaseHint(Frozen):
    """Where a feature release is found, in words; nothing is ever downloaded."""

    layout: str = Field(description="Name of the reader, as in: aqabench data import --layout.")
    have: tuple[Name, ...] = Field(description="Streams it has.")
    files: str = Field(description="What to put into one folder.")
    get: str = Field(description="Who publishes it, and where to look.")
    licence: str = Field(description="What its authors say of its use.")


class DatasetSpec(Frozen):
    """A data set as its authors publish it: streams, scores, official split."""

    name: Name
    version: Annotated[int, Field(ge=1)]
    title: str = Field(description="How papers write the name.")
    about: str = Field(description="One paragraph: what is scored, by whom, where features are.")
    modalities: Annotated[tuple[ModalitySpec, ...], Field(min_length=1, max_length=8)]
    classes: Annotated[tuple[ClassSpec, ...], Field(min_length=1)]
    same_videos: bool = Field(
        description="Are the classes several scores of the same videos (True), or disjoint sets?"
    )
    clip_length: Annotated[int, Field(ge=1)] = Field(
        description="Clips T of a training window, as published."
    )
    groups: tuple[Name, ...] = Field(
        default=(),
        description="Kinds of label that samples may share (athlete, speaker), for fair splits.",
        json_schema_extra=ADDED_LATER,
    )
    folds: dict[Name, Annotated[int, Field(ge=2, le=20)]] = Field(
        default={},
        description="Published folds: name and number of folds.",
        json_schema_extra=ADDED_LATER,
    )
    releases: tuple[ReleaseHint, ...] = Field(
        default=(),
        description="Feature releases that can be imported.",
        json_schema_extra=ADDED_LATER,
    )

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        for what in ("name", "symbol"):
            values = [getattr(modality, what) for modality in self.modalities]
            if len(set(values)) < len(values):
                raise ValueError(f"two modalities have the same {what}")
            if {"each", "all"} & set(values):
                raise ValueError(f"'each' and 'all' mean others, so no modality has such a {what}")
        names = [c.name for c in self.classes]
        if len(set(names)) < len(names):
            raise ValueError("two classes have the same name")
        return self


class ValidationSpec(Frozen):
    """The part of the training list that selects the epoch; the same videos for every method."""

    fraction: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        default=0.15, description="Share of the training list."
    )
    strata: Annotated[int, Field(ge=1, le=20)] = Field(
        default=5, description="Score quantile groups that the part is drawn from evenly."
    )
    seed: Annotated[int, Field(ge=0)] = Field(default=20260, description="Seed of the draw.")
    group: Name | None = Field(
        default=None,
        description="Kind of group (athlete, speaker) that is held out whole or not at all.",
        json_schema_extra=ADDED_LATER,
    )


class SplitSpec(Frozen):
    """Which samples train, select and test."""

    scheme: Literal["official", "published-folds", "kfold", "grouped"] = Field(
        default="official",
        description=(
            "official: the lists published with the data set; published-folds: folds that come "
            "with it; kfold: random folds of equal score distribution; grouped: folds that never "
            "share a group. Folds test every sample once, each time with a newly trained model."
        ),
    )
    validation: ValidationSpec | None = Field(
        default=ValidationSpec(),
        description="null trains on the whole list; then there is nothing to select on but test.",
    )
    k: Annotated[int, Field(ge=2, le=20)] | None = Field(
        default=None,
        description="Number of folds, for kfold and grouped.",
        json_schema_extra=ADDED_LATER,
    )
    folds: Name | None = Field(
        default=None,
        description="Which published folds, for published-folds.",
        json_schema_extra=ADDED_LATER,
    )
    group: Name | None = Field(
        default=None,
        description="Kind of group that no two folds share, for grouped.",
        json_schema_extra=ADDED_LATER,
    )
    seed: Annotated[int, Field(ge=0)] = Field(
        default=20261, description="Seed of the folds.", json_schema_extra=ADDED_LATER
    )
    skipped: Annotated[int, Field(ge=0)] = Field(
        default=0,
        description=(
            "Samples left out at the head of each official list, as a published loader does that "
            "takes the first line for a header."
        ),
        json_schema_extra=ADDED_LATER,
    )

    @model_validator(mode="after")
    def _fits_scheme(self) -> Self:
        needed = {"published-folds": {"folds"}, "kfold": {"k"}, "grouped": {"k", "group"}}
        for key in ("k", "folds", "group"):
            wanted = key in needed.get(self.scheme, set())
            if wanted and getattr(self, key) is None:
                raise ValueError(f"scheme '{self.scheme}' needs '{key}'")
            if not wanted and getattr(self, key) is not None:
                raise ValueError(f"scheme '{self.scheme}' has no '{key}'")
        if self.skipped and self.scheme != "official":
            raise ValueError(f"scheme '{self.scheme}' has no list to skip the head of")
        return self


class AverageSpec(Frozen):
    """The headline number: Fisher-z mean of Spearman, arithmetic mean of MSE."""

    name: str = Field(description="Column title, e.g. Avg6.")
    over: Literal["incomplete", "all"] = Field(
        description="incomplete leaves the scenarios that hide nothing out."
    )


class Protocol(Frozen):
    """One question asked of every method in the same way."""

    name: Name
    version: Annotated[int, Field(ge=1)] = Field(
        description="Must rise with any change that can change a number."
    )
    title: str
    question: str = Field(description="One paragraph: what this protocol finds out.")
    dataset: Name
    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    modalities: Annotated[tuple[Name, ...], Field(min_length=1)] = Field(
        description="Streams that methods may use, in the data set's order."
    )
    split: SplitSpec = SplitSpec()
    training: Literal["complete"] | TrainingSpec = Field(
        default="complete",
        description=(
            "complete: every training sample has every modality; otherwise what is missing in "
            "training, physically withheld from every method."
        ),
    )
    scenarios: Annotated[tuple[ScenarioSpec, ...], Field(min_length=1)]
    average: AverageSpec
    selection: SelectionRule = Field(
        default="val", description="The rule that ranks the board; the others are shown beside it."
    )
    criterion: Literal["mean", "complete"] = Field(
        default="mean",
        description=(
            "What val and oracle compare epochs by: the mean over all scenarios, or the scenario "
            "that hides nothing, as papers do."
        ),
        json_schema_extra=ADDED_LATER,
    )
    budget: Literal["quick", "standard", "paper"] | None = Field(
        default=None,
        description="Budget of a run on real data that names none; standard without it.",
        json_schema_extra=ADDED_LATER,
    )
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0, 1, 2, 3, 4)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.selection == "val" and self.split.validation is None:
            raise ValueError("selection 'val' needs a validation part; use 'last' or 'oracle'")
        for what in ("classes", "modalities", "seeds"):
            values = getattr(self, what)
            if len(set(values)) < len(values):
                raise ValueError(f"{what} are listed twice")
        return self


class Budget(Frozen):
    """How much training every method gets."""

    name: Literal["quick", "standard", "paper"]
    about: str
    steps: int | None = Field(description="Optimiser steps; None follows the published epochs.")
    stride: int = Field(description="Every how-manyth clip is used; 1 uses all.")
    evaluations: int | None = Field(description="Looks at val and test; None looks every epoch.")
    seeds: int = Field(description="How many of the protocol's seeds run by default.")


BUDGETS: dict[str, Budget] = {
    budget.name: budget
    for budget in (
        Budget(
            name="quick",
            about="about a minute on a laptop: 60 steps on every 8th clip; a first look only",
            steps=60,
            stride=8,
            evaluations=3,
            seeds=1,
        ),
        Budget(
            name="standard",
            about="equal optimiser steps for every method, all clips",
            steps=2000,
            stride=1,
            evaluations=20,
            seeds=3,
        ),
        Budget(
            name="paper",
            about="the published epochs of each method and class, a look after every epoch",
            steps=None,
            stride=1,
            evaluations=None,
            seeds=1,
        ),
    )
}
