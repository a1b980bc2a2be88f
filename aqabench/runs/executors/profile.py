"""What a run asks of a cluster: from a file of the user's, from options, or both.

It knows Slurm's words, but asks nothing of a cluster and starts nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from aqabench.errors import UsageError
from aqabench.protocol.load import load_model

__all__ = ["ClusterProfile", "read_profile"]

DURATION = re.compile(
    r"(?:(?P<days>\d+)-)?(?P<hours>\d+):(?P<minutes>[0-5]\d):(?P<seconds>[0-5]\d)"
)


def _minutes(text: str) -> int:
    """Return the whole minutes of a duration, rounded up.

    Slurm's shorter forms (``4:00``, which is four minutes to it) are left to nobody's guess.
    """
    found = DURATION.fullmatch(text)
    if found is None:
        raise ValueError("must be HOURS:MM:SS or DAYS-HOURS:MM:SS, such as 4:00:00")
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return (days * 24 + hours) * 60 + minutes + (seconds > 0)


def _duration(text: str) -> str:
    if _minutes(text) < 1:
        raise ValueError("must be at least a minute, such as 0:01:00")
    return text


def _size(text: str) -> str:
    if not re.fullmatch(r"[1-9]\d*[MGT]", text):
        raise ValueError("must be a whole number with M, G or T for mega-, giga- or terabytes: 8G")
    return text


def _word(text: str) -> str:
    if not text or text.split() != [text]:
        raise ValueError("must be one word")
    return text


def _line(text: str) -> str:
    if text.splitlines() != [text]:
        raise ValueError("must be one line of shell")
    return text


Word = Annotated[str, AfterValidator(_word)]
Line = Annotated[str, AfterValidator(_line)]
Count = Annotated[int, Field(ge=1)]


class ClusterProfile(BaseModel):
    """What every run of a plan gets."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    partition: Word | None = Field(default=None, description="Default: the cluster's own.")
    account: Word | None = None
    qos: Word | None = None
    constraint: Word | None = Field(default=None, description="Features that a node must have.")
    gpus: Annotated[int, Field(ge=0)] = 0
    cpus: Count | None = Field(default=None, description="Cores. Default: one for each thread.")
    time: Annotated[str, AfterValidator(_duration)] = Field(
        default="1:00:00",
        description="Limit of one run, HOURS:MM:SS. One that needs more is put back in the queue "
        "and goes on from its last checkpoint.",
    )
    memory: Annotated[str, AfterValidator(_size)] | None = Field(
        default=None, description="Such as 8G. Default: the cluster's own."
    )
    array_parallelism: Count | None = Field(
        default=None, description="Runs at once. Default: as many as the cluster has room for."
    )
    setup: tuple[Line, ...] = Field(
        default=(), description="Shell lines before each run: module load …"
    )

    @property
    def minutes(self) -> int:
        """The time limit in whole minutes."""
        return _minutes(self.time)


def read_profile(path: Path | None, options: Mapping[str, Any]) -> ClusterProfile:
    """Return the profile of a file with options laid over it.

    Args:
        path: a YAML file; None for the defaults.
        options: by the name of the field; those that are None were not given.

    Raises:
        ProtocolError: all that is wrong in the file.
        UsageError: what is wrong with an option.
    """
    profile = ClusterProfile() if path is None else load_model(path, ClusterProfile)
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return ClusterProfile.model_validate({**profile.model_dump(), **given})
    except ValidationError as error:
        (first, *_) = error.errors()
        name = str(first["loc"][0])
        said = str(first["msg"]).removeprefix("Value error, ")
        raise UsageError(
            f"--{name.replace('_', '-')} {given[name]}: {said[0].lower()}{said[1:]}. "
            "Correct it and type the same command again."
        ) from error
