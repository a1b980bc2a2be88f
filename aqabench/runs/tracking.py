"""Experiment trackers as options: they watch a run, and nothing of a record depends on them.

Through accelerate's trackers, each in the process that does the run.  Everything is kept below
``<store>/.trackers``.  A tracker that fails costs its own log: the run's log says so once, and the
run goes on.  A back end that is not installed is refused before anything runs, where accelerate
would leave it out without a word.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from aqabench.errors import UsageError
from aqabench.runs.cost import Stopwatch
from aqabench.runs.listener import Progress
from aqabench.runs.plan import RunSpec
from aqabench.runs.record import Cost

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

__all__ = ["BACK_ENDS", "Tracking", "require_trackers"]

BACK_ENDS = {
    "tensorboard": ("tensorboard",),
    "wandb": ("wandb",),
    "mlflow": ("mlflow", "sqlalchemy", "alembic"),
}
"""Tracker -> the modules it needs; the extra that installs them has the tracker's name."""
FOLDER = ".trackers"
"""Where they write, below the store; names with a dot are no runs."""
EVERY = 2.0
"""Seconds between two reports of the loss."""
PATIENCE = 30
"""Seconds that a run waits for MLflow: for its lock, and for an answer of a server."""
AT_ONCE = 500
"""Numbers that are handed over together; MLflow takes a thousand."""

_LOG = logging.getLogger(__name__)
_Numbers = Mapping[str, float]


def require_trackers(names: Iterable[str]) -> None:
    """Refuse trackers that are not installed.

    Raises:
        UsageError: names the packages and the way to get them.
    """
    for name in names:
        absent = [module for module in BACK_ENDS[name] if not _installed(module)]
        if absent:
            raise UsageError(
                f"--track {name} needs {' and '.join(absent)}, not installed here. Type: pip "
                f"install 'aqabench[{name}]', or leave --track {name} out."
            )


def _installed(module: str) -> bool:
    found = importlib.util.find_spec(module)
    # a folder of that name, such as the logs of wandb, looks like a package without a file
    return found is not None and found.origin is not None


class Tracking:
    """The trackers of one run; used in a ``with`` block inside :func:`computing`.

    Reported are the loss by term, Spearman and MSE by part and scenario at every look, and the
    cost.
    """

    def __init__(self, names: Sequence[str], spec: RunSpec, store: Path) -> None:
        """Prepare; nothing is written before the ``with`` block.

        Args:
            names: keys of :data:`BACK_ENDS`.
            spec: the run.
            store: the folder of the store.
        """
        self._names, self._spec, self._folder = names, spec, (store / FOLDER).absolute()
        self._live: list[tuple[str, GeneralTracker]] = []
        self._watch = Stopwatch()
        self._step, self._said = 0, -EVERY
        self._loss: dict[str, list[float]] = {}

    @property
    def seconds(self) -> float:
        """How long the trackers have taken of the training, which is no part of its cost."""
        return self._watch.total

    def __enter__(self) -> Self:
        """Begin to track."""
        for name in self._names:
            try:
                tracker = _MAKERS[name](self._spec, self._folder)
                tracker.store_init_configuration(_settings(self._spec))
            except Exception as error:
                self._give_up(name, error)
            else:
                self._live.append((name, tracker))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the logs."""
        self._each(lambda tracker: tracker.finish())

    def report(self, progress: Progress) -> None:
        """Hand on the mean loss since the last time, now and then and at the last step."""
        if not self._live:
            return
        self._step = progress.step
        for name, value in progress.loss.items():
            self._loss.setdefault(f"loss/{name}", []).append(value)
        if time.monotonic() - self._said < EVERY and progress.step < progress.steps:
            return
        self._log({name: sum(values) / len(values) for name, values in self._loss.items()})
        self._loss, self._said = {}, time.monotonic()

    def looked(self, epoch: int, rows: Iterable[Mapping[str, Any]]) -> None:
        """Hand on what a look has measured; undefined correlations are left out.

        Args:
            epoch: of the look; takes the place of the step where a method reports none.
            rows: of the curve, one for each part.
        """
        self._step = self._step or epoch
        self._log(
            {
                f"{row['part']}/{scenario}/{name}": value
                for row in rows
                for scenario, measured in row.items()
                if isinstance(measured, dict)
                for name, value in measured.items()
                if value is not None
            }
        )

    def cost(self, cost: Cost) -> None:
        """Hand on what the run took."""
        numbers: dict[str, float] = {}
        for name, value in cost.model_dump().items():
            by_subset = value.items() if isinstance(value, dict) else [("", value)]
            for subset, number in by_subset:
                if isinstance(number, int | float):
                    numbers["/".join(filter(None, ("cost", name, subset)))] = number
        self._log(numbers)

    def _log(self, numbers: _Numbers) -> None:
        named = [(_plain(name), value) for name, value in numbers.items()]
        parts = [dict(named[i : i + AT_ONCE]) for i in range(0, len(named), AT_ONCE)]

        def log(tracker: GeneralTracker) -> None:
            for some in parts:
                tracker.log(some, step=self._step)

        self._each(log)

    def _each(self, do: Callable[[GeneralTracker], None]) -> None:
        with self._watch.running():
            for name, tracker in tuple(self._live):
                try:
                    do(tracker)
                except Exception as error:  # whatever it is, it is not the run's
                    self._live.remove((name, tracker))
                    self._give_up(name, error)

    def _give_up(self, name: str, error: Exception) -> None:
        _LOG.warning(
            "--track %s has ended for %s (%s: %s). The run goes on, and its record does not need "
            "it.",
            name, self._spec.label, type(error).__name__, error,
        )  # fmt: skip


def _settings(spec: RunSpec) -> dict[str, str | int | float | bool]:
    """Return what a tracker says of a run: what it is, then the settings of its method."""
    identity = spec.identity
    said: dict[str, object] = {
        "key": spec.key,
        "row": spec.row,
        **{k: v for k, v in identity.items() if not isinstance(v, dict)},
        "budget": spec.question.budget.name,
        **spec.numerics.changed,
        **{f"settings.{k}": v for k, v in spec.settings.items()},
    }
    return {k: v if isinstance(v, bool | int | float | str) else str(v) for k, v in said.items()}


def _plain(name: str) -> str:
    """Return a name in the letters that every tracker takes."""
    return re.sub(r"[^\w\-. :/]", "_", name, flags=re.ASCII)


def _tensorboard(spec: RunSpec, folder: Path) -> GeneralTracker:
    from accelerate.tracking import TensorBoardTracker

    own = _plain(f"{spec.label} {spec.key}").replace("/", "_")
    tracker = TensorBoardTracker(own, folder / "tensorboard" / spec.question.protocol.name)
    tracker.start()
    return tracker


def _wandb(spec: RunSpec, folder: Path) -> GeneralTracker:
    import wandb
    from accelerate.tracking import WandBTracker

    folder.mkdir(parents=True, exist_ok=True)
    tracker = WandBTracker(
        f"aqabench-{spec.question.protocol.name}",
        name=spec.label,
        group=spec.row,
        dir=folder,
        mode=os.environ.get("WANDB_MODE", "offline"),
        settings=wandb.Settings(console="off", silent=True),
    )
    tracker.start()
    return tracker


def _mlflow(spec: RunSpec, folder: Path) -> GeneralTracker:
    import mlflow
    from accelerate.tracking import MLflowTracker
    from filelock import FileLock

    folder.mkdir(parents=True, exist_ok=True)
    if "MLFLOW_TRACKING_URI" not in os.environ:
        mlflow.set_tracking_uri(_sqlite_uri(folder / "mlflow.db"))
    # by itself it asks a server that is silent for a quarter of an hour, while the run waits
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(PATIENCE))
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    tracker = MLflowTracker(
        spec.question.protocol.name,
        logging_dir=str(folder / "mlflow-artifacts"),
        run_name=spec.label,
    )
    with FileLock(folder / "mlflow.lock", PATIENCE):  # two that begin at once both make the tables
        tracker.start()
    return tracker


def _sqlite_uri(path: Path) -> str:
    """Return the address of a data base; what must be quoted depends on SQLAlchemy's version.

    Raises:
        UsageError: it has none.
    """
    from sqlalchemy import URL, make_url

    quoted = URL.create("sqlite", database=str(path)).render_as_string()
    for uri in (f"sqlite:///{path}", quoted):
        if make_url(uri).database == str(path):
            return uri
    raise UsageError(
        f"SQLAlchemy has no address for {path}, because of a letter such as '?'. Type: pip install "
        "'sqlalchemy>=2.1', or set MLFLOW_TRACKING_URI."
    )


_MAKERS: dict[str, Callable[[RunSpec, Path], GeneralTracker]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "mlflow": _mlflow,
}
