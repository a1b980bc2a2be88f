"""What is kept of a run, as a schema.

A record holds identity, curves, cost and environment.  Scores are recomputed from the stored
predictions whenever they are shown; a record never carries a number that cannot be.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from aqabench.method.card import Setting
from aqabench.protocol.schema import DataKind

FORMAT = 1


class Cost(BaseModel):
    """What a run took."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    parameters: int | None = Field(description="Learned numbers.")
    fit_seconds: float = Field(description="Wall time of training, without the looks at val/test.")
    look_seconds: float = Field(description="Wall time of scoring val and test, all looks.")
    peak_memory_bytes: int = Field(description="Largest resident size of the process so far.")
    device: str
    gpu_memory_bytes: int | None = Field(
        default=None, description="Most memory that tensors had on a graphics card; None without."
    )
    threads: int
    flops: dict[str, int] = Field(
        default_factory=dict, description="Subset -> operations per sample; 2 per multiply-add."
    )
    milliseconds: dict[str, float] = Field(
        default_factory=dict, description="Subset -> wall time of a prediction per sample."
    )
    energy_joules: float | None = Field(
        default=None,
        description="Energy of the whole machine while training, where it can be read.",
    )


class Hidden(BaseModel):
    """How much a mask table hides, beside the nominal rate that its scenario is called by."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    nominal: float | None = Field(description="Rate as the protocol names it; None for a subset.")
    realised: float = Field(description="Share of (sample, modality) or (step, modality) slots.")
    complete: float = Field(description="Share of samples, or of steps, that show everything.")


class Tuned(BaseModel):
    """Where the settings of a run come from that a search has chosen on validation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    search: str = Field(description="16 hex digits of what the search was; see its search.json.")
    trials: int = Field(ge=1, description="Settings that were tried, the published among them.")
    budget: str = Field(description="Budget of each trial.")
    seeds: int = Field(description="Seeds of each trial.")
    trial: int = Field(description="The chosen one; 0 is the published settings.")
    settings: dict[str, Setting] = Field(description="What was chosen, beside what is given.")
    validation: float = Field(description="Mean Spearman of the chosen trial on validation.")
    of_published: float | None = Field(description="The same of trial 0; None if it failed.")


class RunRecord(BaseModel):
    """One run, finished or failed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = FORMAT
    key: str
    status: Literal["finished", "failed"]
    error: str = ""
    traceback: str = ""
    identity: dict[str, Any]
    dataset: str
    protocol_version: int
    title: str = Field(description="The method's name in tables.")
    opt_outs: dict[str, str] = Field(default_factory=dict)
    overrides: dict[str, Any] = Field(
        default_factory=dict,
        description="Settings, and numerics, given by hand; they make a row of their own.",
    )
    tuned: Tuned | None = Field(
        default=None, description="The search that chose settings; it makes a row of its own."
    )
    scenarios: tuple[str, ...]
    selected_epochs: dict[str, int] = Field(default_factory=dict)
    samples: dict[str, int] = Field(default_factory=dict, description="Videos per part.")
    masks: dict[str, str] = Field(
        default_factory=dict, description="Part -> sha256 of what its scenarios show."
    )
    hidden: dict[str, Hidden] = Field(
        default_factory=dict, description="Scenario -> what it hides of the test part."
    )
    training: Hidden | None = Field(
        default=None, description="What the training table hides; None where all is complete."
    )
    learning_index: float | None = Field(
        default=None, description="aqabench-MLI; None where streams own no projection."
    )
    cost: Cost | None = None
    environment: dict[str, str] = Field(default_factory=dict)
    started: str = Field(description="UTC, ISO 8601, to the millisecond: the newest run decides.")

    @property
    def method(self) -> str:
        """Name of the method."""
        return str(self.identity["method"])

    @property
    def row(self) -> str:
        """The row of a board that it belongs to."""
        return row_name(self.method, self.overrides, self.tuned)

    @property
    def class_name(self) -> str:
        """Name of the class."""
        return str(self.identity["class_name"])

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return int(self.identity["seed"])

    @property
    def fold(self) -> int | None:
        """Fold that was tested, or None for a single split."""
        found = self.identity.get("fold")
        return None if found is None else int(found)

    @property
    def data_kind(self) -> DataKind:
        """Real or simulated."""
        kind: DataKind = self.identity["data_kind"]
        return kind


def row_name(method: str, overrides: Mapping[str, Any], tuned: Tuned | None = None) -> str:
    """Return the method's name with the settings given by hand, and whether it is tuned."""
    given = ", ".join(f"{k}={v}" for k, v in sorted(overrides.items()))
    name = f"{method}[{given}]" if given else method
    return f"{name} (tuned, {tuned.trials} trials)" if tuned else name


def identity_key(identity: Mapping[str, Any]) -> str:
    """Return the key of a run: 16 hex digits of the sha256 of its identity."""
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
