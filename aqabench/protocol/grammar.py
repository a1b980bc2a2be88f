"""The grammar of missing data: what a scenario hides at test, and what training goes without.

Each class is one ``kind`` of a protocol file.  The laws behind them are in
:mod:`aqabench.protocol.mask_laws`, :mod:`aqabench.protocol.time_laws` and
:mod:`aqabench.protocol.noise_laws`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=64)]
"""File-name-safe: lower case letters, digits, dot, dash, underscore."""


class Frozen(BaseModel):
    """Strict, unchangeable, without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class SubsetsScenario(Frozen):
    """Whole modalities missing: one scenario for each shown subset (FIX7 for three)."""

    kind: Literal["subsets"]
    sizes: tuple[Annotated[int, Field(ge=1)], ...] | None = Field(
        default=None, description="Keep subsets of these sizes only; null keeps all 2^M - 1."
    )


Rate = Annotated[float, Field(ge=0, lt=1)]
Draws = Annotated[int, Field(ge=1, le=20)]


class RateScenario(Frozen):
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


class QuotaScenario(Frozen):
    """Fixed shares of samples miss two, one or no modality (IMDer, DiCMoR); three streams only."""

    kind: Literal["quota"]
    rates: Annotated[tuple[Rate, ...], Field(min_length=1)] = Field(
        description="Rows of the published table: 0.1, 0.2, … 0.7."
    )
    draws: Draws = Field(default=5, description="Tables drawn for each rate.")


class ImbalancedScenario(Frozen):
    """Each modality is missing at a rate of its own (BALM)."""

    kind: Literal["imbalanced"]
    rates: Annotated[tuple[tuple[Rate, ...], ...], Field(min_length=1)] = Field(
        description="Configurations: one rate per modality, in the protocol's order."
    )
    draws: Draws = Field(default=5, description="Tables drawn for each configuration.")


Share = Annotated[float, Field(ge=0, le=1)]


class FrameScenario(Frozen):
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


class MixScenario(Frozen):
    """Some modalities are shown, and steps inside them are missing (CorrKD)."""

    kind: Literal["mix"]
    shown: Annotated[tuple[Name, ...], Field(min_length=1)] = Field(
        description="Modalities that are shown."
    )
    rates: Annotated[tuple[Share, ...], Field(min_length=1)] = Field(
        description="Shares of their steps to hide."
    )
    draws: Draws = Field(default=3, description="Tables drawn for each rate.")


Targets = Annotated[
    tuple[Name, ...],
    Field(
        min_length=1,
        description="each: every modality by itself; all: all at once; or names of modalities.",
    ),
]


class CorruptionScenario(Frozen):
    """Streams are there but wrong, and no mask says so; tested only, never trained on."""

    kind: Literal["gauss", "channels", "shift", "freeze", "scale"] = Field(
        description=(
            "gauss: noise of that many standard deviations; channels: that share of the channels "
            "shows its mean; shift: that many steps early or late; freeze: for that share of the "
            "steps the same one; scale: distance from the mean times that."
        )
    )
    levels: Annotated[tuple[Annotated[float, Field(ge=0, le=100)], ...], Field(min_length=1)] = (
        Field(description="How strong; each is a column.")
    )
    on: Targets = ("each", "all")
    draws: Draws = Field(default=3, description="Tables drawn for each level; scale needs none.")


class SwapScenario(Frozen):
    """A stream is that of another sample of the part, and no mask says so."""

    kind: Literal["swap"]
    on: Targets = ("each",)
    draws: Draws = Field(default=3, description="Tables drawn.")


ScenarioSpec = Annotated[
    SubsetsScenario
    | RateScenario
    | QuotaScenario
    | ImbalancedScenario
    | FrameScenario
    | MixScenario
    | CorruptionScenario
    | SwapScenario,
    Field(discriminator="kind"),
]

Tables = Annotated[int, Field(ge=1, le=20)]


class RateTraining(Frozen):
    """A table, drawn once, says what each training and validation sample has (T-MISS)."""

    kind: Literal["rate"]
    rate: Rate = Field(description="Share of (sample, modality) slots that do not exist.")
    law: Literal["keep-one", "exact"] = Field(
        default="keep-one", description="As for the scenario 'rate'."
    )
    tables: Tables = Field(default=3, description="Seed s trains on table s mod this.")


class ImbalancedTraining(Frozen):
    """A table, drawn once, in which each modality is missing at a rate of its own."""

    kind: Literal["imbalanced"]
    rates: tuple[Rate, ...] = Field(description="One rate per modality, in the protocol's order.")
    tables: Tables = Field(default=3, description="Seed s trains on table s mod this.")


class SingleTraining(Frozen):
    """One modality exists in a share of the training samples, the others in all (SMIL)."""

    kind: Literal["single"]
    modality: Name = Field(description="The scarce modality.")
    share: Annotated[float, Field(gt=0, le=1)] = Field(
        description="Share of the samples that have it."
    )
    tables: Tables = Field(default=3, description="Seed s trains on table s mod this.")


class RedrawnTraining(Frozen):
    """Every sample exists whole, and each epoch shows a newly drawn part of it (LIMSSR)."""

    kind: Literal["u7", "u6", "size"] = Field(
        description=(
            "u7: every non-empty subset is as likely; u6: every incomplete one; size: every "
            "number of modalities. Validation is complete."
        )
    )


class BernTraining(Frozen):
    """Each epoch hides each modality of each sample with a probability; never all of them."""

    kind: Literal["bern"]
    p: Rate = Field(description="Probability of being hidden.")


TrainingSpec = Annotated[
    RateTraining | ImbalancedTraining | SingleTraining | RedrawnTraining | BernTraining,
    Field(discriminator="kind"),
]
TableTraining = RateTraining | ImbalancedTraining | SingleTraining
