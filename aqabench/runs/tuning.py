"""Settings that a search has chosen, as a file that ``aqabench run --params`` takes.

The file says what was searched, how often and on what, so that a run made from it is a row of its
own: tuned, with how many trials of which budget.  It is refused where it was made for something
else, because a row must not claim a search that it did not have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aqabench.errors import UsageError
from aqabench.method.card import Setting
from aqabench.method.registry import Registry
from aqabench.protocol.schema import DataKind
from aqabench.runs.plan import Question, RunSpec, make_plan
from aqabench.runs.record import Tuned, identity_key
from aqabench.train.numerics import USUAL, Numerics

__all__ = ["Choice", "Params", "Searched", "read_params", "tuned_plan"]


class Searched(BaseModel):
    """Everything that can change a trial of a search; not how many there are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    protocol: str
    protocol_digest: str
    data_kind: DataKind
    data_digest: str
    groups_digest: str = Field(description="Of the labels, where split or method reads them.")
    budget: dict[str, Setting] = Field(description="Of each trial.")
    method: str
    source_digest: str
    given: dict[str, Setting] = Field(description="Settings given by hand: not searched.")
    ranges: dict[str, tuple[Setting, ...]] = Field(description="As on the method's card.")
    seeds: tuple[int, ...] = Field(description="Of the runs that each trial is made of.")
    numerics: dict[str, str] = Field(description="What is not as usual.")
    sampler: dict[str, Setting] = Field(description="How settings are proposed, with its seed.")

    @property
    def digest(self) -> str:
        """By what a search is told from others: 16 hex digits."""
        return identity_key(self.model_dump(mode="json"))


class Choice(BaseModel):
    """What was chosen for a single split, or for one fold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fold: int | None
    trial: int = Field(ge=0, description="0 is the published settings.")
    settings: dict[str, Setting] = Field(description="Beside those that were given by hand.")
    validation: float = Field(description="Mean Spearman on validation.")
    of_published: float | None = Field(description="The same of trial 0; None if it failed.")


class Params(BaseModel):
    """The outcome of a search."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = 1
    search: str = Field(description="Digest of what was searched.")
    searched: Searched
    trials: int = Field(ge=1, description="Of each fold; failed ones count.")
    choices: tuple[Choice, ...] = Field(min_length=1)


def read_params(path: Path) -> Params:
    """Return the outcome of a search from its file.

    Raises:
        UsageError: it is not such a file, or what it says of the search was changed.
    """
    try:
        params = Params.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error).splitlines()[0]
        raise UsageError(
            f"'--params {path}' is no outcome of a search ({reason}). Make one: aqabench search "
            "--method METHOD --protocol PROTOCOL"
        ) from error
    if params.search != params.searched.digest:
        raise UsageError(
            f"'--params {path}' was changed by hand: what it says of the search has the digest "
            f"{params.searched.digest}, not {params.search}. Take the file as the search wrote it; "
            "settings of your own are given with --set NAME=VALUE."
        )
    return params


def tuned_plan(
    params: Params,
    question: Question,
    registry: Registry,
    seeds: Sequence[int] | None = None,
    classes: Sequence[str] | None = None,
    numerics: Numerics = USUAL,
) -> list[RunSpec]:
    """Return the runs of a method under the settings that a search has chosen.

    Args:
        params: from :func:`read_params`.
        question: must be the one that was searched, but for the budget.
        registry: where the method comes from.
        seeds: of the runs; the protocol's by default.
        classes: of the runs; the protocol's by default.
        numerics: of the runs.

    Raises:
        UsageError: the search was of another protocol, other data or another source.
    """
    searched = params.searched
    given = searched.given
    plan: list[RunSpec] = []
    for choice in params.choices:
        tuned = Tuned(
            search=params.search,
            trials=params.trials,
            budget=str(searched.budget["name"]),
            seeds=len(searched.seeds),
            trial=choice.trial,
            settings=choice.settings,
            validation=choice.validation,
            of_published=choice.of_published,
        )
        specs = make_plan(
            question, registry, [searched.method], {**given, **choice.settings}, seeds, classes,
            numerics,
        )  # fmt: skip
        _require_same(params, specs[0])
        plan += [
            replace(spec, overrides={**given, **spec.numerics.changed}, tuned=tuned)
            for spec in specs
            if spec.fold == choice.fold
        ]
    return plan


def _require_same(params: Params, spec: RunSpec) -> None:
    """Refuse settings that were chosen for something else."""
    searched, identity = params.searched, spec.identity
    for what, was, now in (
        ("protocol", searched.protocol_digest, identity["protocol_digest"]),
        ("data", searched.data_digest, identity["data_digest"]),
        ("labels", searched.groups_digest, identity.get("groups_digest", "")),
        ("source of the method", searched.source_digest, identity["source_digest"]),
    ):
        if was != now:
            raise UsageError(
                f"The settings of search {params.search} were chosen for {searched.method} on "
                f"{searched.protocol}, {searched.data_kind} data; here the {what} is another one "
                f"({identity['protocol']}, {identity['data_kind']} data: {str(now)[:16]}, "
                f"searched {was[:16]}). Search again: aqabench search --method {searched.method} "
                f"--protocol {identity['protocol']}"
            )
