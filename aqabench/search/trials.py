"""What is kept of a search: a file per trial, from which everything else can be made.

``<store>/.search/<protocol>/<method>/<digest>/`` holds ``search.json`` (what is searched),
``trials/0007.json`` (a finished or failed trial; ``fold2-0007.json`` where there are folds),
``params-20.json`` (the outcome after 20 trials) and ``runs``, a store of the runs that the trials
are made of.  Its name begins with a dot: nothing in it is a run of the store, or on any board.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aqabench.disk import replace_file, storing
from aqabench.errors import StoreError
from aqabench.method.card import Setting
from aqabench.runs.store import RunStore
from aqabench.runs.tuning import Params, Searched

__all__ = ["FOLDER", "Trial", "TrialStore", "write_params"]

FOLDER = ".search"


class Trial(BaseModel):
    """One set of settings, tried."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = 1
    search: str = Field(description="Digest of the search that it is a part of.")
    fold: int | None
    number: int = Field(ge=0, description="0 is the published settings.")
    settings: dict[str, Setting] = Field(description="What was proposed; nothing in trial 0.")
    status: Literal["finished", "failed"]
    error: str = ""
    criterion: float | None = Field(
        default=None,
        description="Mean over classes and seeds of Fisher's z, by which epochs are selected too.",
    )
    validation: float | None = Field(default=None, description="The same as a Spearman.")
    classes: dict[str, float] = Field(
        default_factory=dict, description="Class -> Spearman on validation, mean over seeds."
    )
    runs: tuple[str, ...] = Field(description="Keys of its runs.")
    seconds: float = Field(description="Training and looking, summed over its runs.")
    optuna: str = Field(description="Version that has proposed the settings.")
    ended: str = Field(description="UTC, ISO 8601.")


@dataclass(frozen=True)
class TrialStore:
    """The trials of one search, below one folder."""

    root: Path
    digest: str

    @classmethod
    def below(cls, store: RunStore, searched: Searched) -> TrialStore:
        """Return where a search is kept in a store."""
        digest = searched.digest
        root = store.root.absolute() / FOLDER / searched.protocol / searched.method / digest
        return cls(root, digest)

    @property
    def runs(self) -> RunStore:
        """Where the runs of trials are kept."""
        return RunStore(self.root / "runs")

    def keep_search(self, searched: Searched) -> None:
        """Write down what is searched.

        Raises:
            StoreError: the disk is full or may not be written.
        """
        self._write("search.json", searched)

    def find(self, fold: int | None, number: int) -> Trial | None:
        """Return a trial that has ended, or None.

        Raises:
            StoreError: its file is damaged, or of another search.
        """
        path = self.root / _name(fold, number)
        if not path.is_file():
            return None
        try:
            trial = Trial.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            first = str(error).splitlines()[0]
            raise StoreError(
                f"{path} is not a trial of this version ({first}). Move it away and type the same "
                "command again: the trial is made anew from its runs."
            ) from error
        if (trial.search, trial.fold, trial.number) != (self.digest, fold, number):
            raise StoreError(
                f"{path} is another trial: number {trial.number} of search {trial.search}. Move it "
                "away and type the same command again."
            )
        return trial

    def write(self, trial: Trial) -> None:
        """Keep a trial that has ended.

        Raises:
            StoreError: the disk is full or may not be written.
        """
        self._write(_name(trial.fold, trial.number), trial)

    def write_params(self, params: Params) -> Path:
        """Keep the outcome of the search; return the file."""
        return write_params(self.root / f"params-{params.trials}.json", params)

    def _write(self, name: str, what: BaseModel) -> None:
        _write(self.root / name, what)


def write_params(path: Path, params: Params) -> Path:
    """Write the outcome of a search to a file of one's choice; return it.

    Raises:
        StoreError: the disk is full or may not be written.
    """
    _write(path, params)
    return path


def _write(target: Path, what: BaseModel) -> None:
    with storing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_file(target, (what.model_dump_json(indent=1) + "\n").encode())


def _name(fold: int | None, number: int) -> str:
    of_fold = "" if fold is None else f"fold{fold}-"
    return f"trials/{of_fold}{number:04d}.json"
