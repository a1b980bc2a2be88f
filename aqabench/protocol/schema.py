"""What is asked: the frozen types a protocol or data-set file turns into.

These classes hold no path and no machine; everything that changes a number is here and enters the
digest.  Reading files, and saying what is wrong in them, is :mod:`aqabench.protocol.load`'s work.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=64)]
"""File-name-safe: lower case letters, digits, dot, dash, underscore."""
SelectionRule = Literal["val", "last", "oracle"]
SELECTION_RULES: tuple[SelectionRule, ...] = ("val", "last", "oracle")
DataKind = Literal["real", "simulated"]
ADDED_LATER: dict[str, JsonValue] = {"x-added-later": True}
"""Marks a field that came after the first release: at its default it stays out of the digest."""


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ModalitySpec(_Frozen):
    """One feature stream of a data set."""

    name: Name = Field(description="Key of the stream in a batch, e.g. video.")
    symbol: Annotated[str, Field(pattern=r"^[a-z]{1,3}$")] = Field(
        description="Short form that names subsets: v and a make the subset va."
    )
    width: Annotated[int, Field(ge=1, le=65536)] = Field(description="Feature width D.")


class ClassSpec(_Frozen):
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


class ReleaseHint(_Frozen):
    """Where a feature release is found, in words; nothing is ever downloaded."""

    layout: str = Field(description="Name of the reader, as in: aqabench data import --layout.")
    have: tuple[Name, ...] = Field(description="Streams it has.")
    files: str = Field(description="What to put into one folder.")
    get: str = Field(description="Who publishes it, and where to look.")
    licence: str = Field(description="What its authors say of its use.")


class DatasetSpec(_Frozen):
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
        names = [c.name for c in self.classes]
        if len(set(names)) < len(names):
            raise ValueError("two classes have the same name")
        return self


class ValidationSpec(_Frozen):
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


class SplitSpec(_Frozen):
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

    @model_validator(mode="after")
    def _fits_scheme(self) -> Self:
        needed = {"published-folds": {"folds"}, "kfold": {"k"}, "grouped": {"k", "group"}}
        for key in ("k", "folds", "group"):
            wanted = key in needed.get(self.scheme, set())
            if wanted and getattr(self, key) is None:
                raise ValueError(f"scheme '{self.scheme}' needs '{key}'")
            if not wanted and getattr(self, key) is not None:
                raise ValueError(f"scheme '{self.scheme}' has no '{key}'")
        return self


class SubsetsScenario(_Frozen):
    """Whole modalities missing: one scenario for each shown subset (FIX7 for three)."""

    kind: Literal["subsets"]
    sizes: tuple[Annotated[int, Field(ge=1)], ...] | None = Field(
        default=None, description="Keep subsets of these sizes only; null keeps all 2^M - 1."
    )


Rate = Annotated[float, Field(ge=0, lt=1)]
Draws = Annotated[int, Field(ge=1, le=20)]


class RateScenario(_Frozen):
    """Each sample misses modalities at random so that a given share of all slots is hidden."""

    kind: Literal["rate"]
    rates: Annotated[tuple[Rate, ...], Field(min_length=1)] = Field(
        description="Shares of (sample, modality) slots to hide, up to 1 - 1/M."
    )
    law: Literal["exact", "keep-one"] = Field(
        default="exact",
        description=(
            "keep-one: one random modality stays, others are switched on at random (GCNet, "
            "CPM-Net); exact: the same pattern shares without the noise of the draw."
        ),
    )
    draws: Draws = Field(default=5, description="Tables drawn for each rate.")


class QuotaScenario(_Frozen):
    """Fixed shares of samples miss two, one or no modality (IMDer, DiCMoR); three streams only."""

    kind: Literal["quota"]
    rates: Annotated[tuple[Rate, ...], Field(min_length=1)] = Field(
        description="Rows of the published table: 0.1, 0.2, … 0.7."
    )
    draws: Draws = Field(default=5, description="Tables drawn for each rate.")


class ImbalancedScenario(_Frozen):
    """Each modality is missing at a rate of its own (BALM)."""

    kind: Literal["imbalanced"]
    rates: Annotated[tuple[tuple[Rate, ...], ...], Field(min_length=1)] = Field(
        description="Configurations: one rate per modality, in the protocol's order."
    )
    draws: Draws = Field(default=5, description="Tables drawn for each configuration.")


Share = Annotated[float, Field(ge=0, le=1)]


class FrameScenario(_Frozen):
    """Steps inside each sample are missing; hidden ones get the mean of the training samples."""

    kind: Literal["frame-iid", "rate-t", "block", "outage", "prefix", "suffix"] = Field(
        description=(
            "frame-iid: each step of each modality by itself; rate-t: the law of rate at every "
            "step; block: one run in each modality; outage: one run in all; prefix, suffix: the "
            "beginning or the end of all."
        )
    )
    rates: Annotated[tuple[Share, ...], Field(min_length=1)] = Field(
        description="Shares of the steps to hide."
    )
    draws: Draws = Field(
        default=3, description="Tables drawn for each rate; prefix and suffix need none."
    )


class MixScenario(_Frozen):
    """Some modalities are shown, and steps inside them are missing (CorrKD)."""

    kind: Literal["mix"]
    shown: Annotated[tuple[Name, ...], Field(min_length=1)] = Field(
        description="Modalities that are shown."
    )
    rates: Annotated[tuple[Share, ...], Field(min_length=1)] = Field(
        description="Shares of their steps to hide."
    )
    draws: Draws = Field(default=3, description="Tables drawn for each rate.")


ScenarioSpec = Annotated[
    SubsetsScenario
    | RateScenario
    | QuotaScenario
    | ImbalancedScenario
    | FrameScenario
    | MixScenario,
    Field(discriminator="kind"),
]


class AverageSpec(_Frozen):
    """The headline number: Fisher-z mean of Spearman, arithmetic mean of MSE."""

    name: str = Field(description="Column title, e.g. Avg6.")
    over: Literal["incomplete", "all"] = Field(
        description="incomplete leaves the scenarios that hide nothing out."
    )


class Protocol(_Frozen):
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
    training: Literal["complete"] = Field(
        default="complete", description="complete: every training video has every modality."
    )
    scenarios: Annotated[tuple[ScenarioSpec, ...], Field(min_length=1)]
    average: AverageSpec
    selection: SelectionRule = Field(
        default="val", description="The rule that ranks the board; the others are shown beside it."
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


class Budget(_Frozen):
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
