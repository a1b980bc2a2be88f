"""What an imported data set is, and the hashes that prove it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from aqabench.protocol.schema import DataKind

FORMAT = 2


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceFile(_Frozen):
    """A file of the release, as it was read."""

    name: str
    bytes: int
    sha256: str


class Stream(_Frozen):
    """One modality as stored."""

    width: int
    dtype: str
    nan: int = Field(description="Values that are not finite; an import with any is refused.")
    low: float
    high: float
    float16_error: float = Field(
        default=0.0, description="Largest absolute rounding error where float16 was asked for."
    )


class Manifest(_Frozen):
    """Written last: a folder without it is not a data set."""

    format: int = FORMAT
    dataset: str
    kind: DataKind = Field(description="simulated for simulated data that were exported.")
    dataset_version: int
    layout: str
    feature_set: str = ""
    digest: str = Field(description="sha256 over features, scores and splits.")
    groups_digest: str = Field(default="", description="sha256 over the group labels.")
    groups: tuple[str, ...] = ()
    folds: tuple[str, ...] = ()
    streams: dict[str, Stream]
    samples: int
    clips: int
    ids: tuple[str, ...]
    sha256: dict[str, str] = Field(description="Stored file -> sha256.")
    sources: tuple[SourceFile, ...]
    licence: str
    notes: tuple[str, ...] = ()
    imported: str = Field(description="UTC, ISO 8601.")
