"""The store: one directory per run, readable without aqabench, never half a run.

``<root>/<protocol>/<method>/<key>/`` holds ``predictions.csv.gz``, ``metrics.jsonl``, if they are
kept ``weights.pt`` and, written last by renaming it into place, ``record.json``: where that file
is, the run is complete.  Many records are read by way of the index (:mod:`aqabench.runs.index`),
which changes nothing but the time it takes.
"""

from __future__ import annotations

import gzip
import io
import json
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from aqabench.disk import home, replace_file, storing
from aqabench.errors import StoreError
from aqabench.runs.index import Entry, Found, RunIndex, Summary, summary_of
from aqabench.runs.places import RECORD, places, protocols
from aqabench.runs.record import RunRecord
from aqabench.runs.weights import WEIGHTS, is_whole

if TYPE_CHECKING:  # pandas takes longer to import than listing a store
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

PREDICTIONS, METRICS = "predictions.csv.gz", "metrics.jsonl"
PROTOCOL = "protocol.yaml"
LOCK, LOG, CHECKPOINT = ".lock", "log.txt", "checkpoint.pt"
KEPT = (LOCK, LOG, CHECKPOINT)
"""What a torn run keeps: who is at work on it, what it said, and how far it came."""
COLUMNS = ("rule", "part", "scenario", "sample_id", "score", "prediction")


@dataclass(frozen=True)
class RunStore:
    """Runs on disk below one folder."""

    root: Path

    @classmethod
    def default(cls) -> RunStore:
        """Return the store below :func:`home`."""
        return cls(home() / "runs")

    def directory(self, protocol: str, method: str, key: str) -> Path:
        """Return where a run lies or will lie."""
        return self.root / protocol / method / key

    def find(self, protocol: str, method: str, key: str) -> RunRecord | None:
        """Return the record of a run, or None if it is not there or was cut off."""
        path = self.directory(protocol, method, key) / RECORD
        return _read_record(path) if path.is_file() else None

    def write(
        self,
        record: RunRecord,
        predictions: pd.DataFrame | None,
        curve: Iterable[Mapping[str, Any]],
        weights: bytes | None = None,
    ) -> Path:
        """Keep a run; its record comes last.

        Args:
            record: finished or failed.
            predictions: columns rule, part, scenario, sample_id, score, prediction (judge
                points); None for a failed run.
            curve: one line per look.
            weights: content of the file of weights; None where none are kept.

        Raises:
            StoreError: the disk is full or may not be written; nothing stored before is touched.
        """
        target = self.directory(str(record.identity["protocol"]), record.method, record.key)
        with storing(target):
            target.mkdir(parents=True, exist_ok=True)
            if predictions is not None:
                text = predictions[list(COLUMNS)].to_csv(index=False, float_format="%.9g")
                replace_file(target / PREDICTIONS, _gzipped(text))
            lines = "".join(json.dumps(row, sort_keys=True) + "\n" for row in curve)
            replace_file(target / METRICS, lines.encode())
            if weights is not None:
                replace_file(target / WEIGHTS, weights)
            replace_file(target / RECORD, (record.model_dump_json(indent=1) + "\n").encode())
        return target

    def keep_protocol(self, name: str, text: str) -> None:
        """Keep the protocol beside its runs, so that one of a user's own is found again."""
        target = self.root / name / PROTOCOL
        with storing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            replace_file(target, text.encode())

    def protocol_file(self, name: str) -> Path:
        """Return where :meth:`keep_protocol` puts a protocol."""
        return self.root / name / PROTOCOL

    def records(
        self, protocol: str | None = None, where: Callable[[Summary], bool] | None = None
    ) -> Iterator[RunRecord]:
        """Yield all records, of one protocol or of all, in the order of their paths.

        Args:
            protocol: only runs of this one.
            where: only runs whose summary it says yes to.  The others' records are not parsed, and
                those that the index knows are not even read.

        Raises:
            StoreError: a record is not one; names the file.
        """
        for entry in RunIndex(self.root).entries(protocol, where):
            try:
                record = self._parsed(entry)
            except FileNotFoundError:  # deleted since the folders were listed
                continue
            if where is None or entry.chosen or where(self._summary(entry.place, record)):
                yield record

    def summaries(self, protocol: str | None = None) -> Found:
        """Return what is listed and filtered of all runs; see :meth:`RunIndex.summaries`."""
        return RunIndex(self.root).summaries(protocol)

    def protocols(self) -> list[str]:
        """Return the names of the protocols that runs were begun under, sorted."""
        return protocols(self.root)

    def places(self, prefix: str = "") -> list[str]:
        """Return ``protocol/method/key`` of the runs, whole or torn, whose keys begin like this."""
        return [p for p in places(self.root) if p.rpartition("/")[2].startswith(prefix)]

    def predictions(self, record: RunRecord) -> pd.DataFrame:
        """Return the stored predictions of a finished run.

        Raises:
            StoreError: the file is absent or damaged.
        """
        folder = self.directory(str(record.identity["protocol"]), record.method, record.key)
        return read_predictions(folder / PREDICTIONS)

    def curve(self, record: RunRecord) -> list[dict[str, Any]]:
        """Return the looks of a run, in order."""
        folder = self.directory(str(record.identity["protocol"]), record.method, record.key)
        lines = (folder / METRICS).read_text().splitlines()
        return [json.loads(line) for line in lines]

    def weights_file(self, record: RunRecord) -> Path | None:
        """Return where the weights of a finished run are; None where none are, or torn ones."""
        folder = self.directory(str(record.identity["protocol"]), record.method, record.key)
        path = folder / WEIGHTS
        return path if record.status == "finished" and is_whole(path) else None

    def _parsed(self, entry: Entry) -> RunRecord:
        try:
            return RunRecord.model_validate_json(entry.text())
        except FileNotFoundError:
            raise
        except (OSError, ValidationError):
            return _read_record(self.root / entry.place / RECORD)  # the file has the last word

    def _summary(self, place: str, record: RunRecord) -> Summary:
        try:
            return summary_of(place, record)
        except (KeyError, TypeError, ValueError) as error:
            raise _not_a_record(self.root / place / RECORD, error) from error

    def discard_torn(self, protocol: str, method: str, key: str) -> None:
        """Remove what a killed process left of a run, so that it can be done again.

        Its checkpoint stays: the run goes on from there.  So does the record of a failure.
        """
        folder = self.directory(protocol, method, key)
        if not folder.is_dir():
            return
        whole = (RECORD, PREDICTIONS, METRICS) if (folder / RECORD).is_file() else ()
        with storing(folder):
            for path in folder.iterdir():
                if path.name not in (*KEPT, *whole):
                    path.unlink()

    def require_writable(self, need_bytes: int = 16 * 2**20) -> None:
        """Refuse to start runs whose results could not be kept.

        Raises:
            StoreError: not writable, or less than ``need_bytes`` free.
        """
        with storing(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            probe = self.root / f".probe-{uuid.uuid4().hex}"
            try:
                probe.write_bytes(b"\0" * 4096)
            finally:
                probe.unlink(missing_ok=True)
            free = shutil.disk_usage(self.root).free
        if free < need_bytes:
            raise StoreError(
                f"Only {free / 2**20:.0f} MiB are free below {self.root}, at least "
                f"{need_bytes / 2**20:.0f} MiB are needed. Free some space or choose another "
                "place: --store FOLDER"
            )


def prediction_frame(
    rule: str,
    part: str,
    scenarios: Iterable[str],
    ids: Iterable[str],
    scores: npt.NDArray[np.float64],
    predictions: npt.NDArray[np.float64],
) -> pd.DataFrame:
    """Return (S * n) rows of predictions in the store's columns; ``predictions`` is (S, n)."""
    import numpy as np
    import pandas as pd

    names, samples = list(scenarios), list(ids)
    return pd.DataFrame(
        {
            "rule": rule,
            "part": part,
            "scenario": np.repeat(names, len(samples)),
            "sample_id": np.tile(samples, len(names)),
            "score": np.tile(scores, len(names)),
            "prediction": predictions.reshape(-1),
        }
    )


def read_predictions(path: Path) -> pd.DataFrame:
    """Return the predictions in a file of the store.

    Raises:
        StoreError: the file is absent or damaged.
    """
    import pandas as pd

    folder = path.parent
    try:
        frame = pd.read_csv(path, dtype={"sample_id": str})
    except (OSError, ValueError, EOFError) as error:
        raise StoreError(
            f"The predictions in {path} cannot be read ({error}). Delete the folder {folder} "
            "and run the same 'aqabench run' again: only this run is repeated."
        ) from error
    if tuple(frame.columns) != COLUMNS:
        raise StoreError(
            f"{path} has the columns {', '.join(frame.columns)}, expected "
            f"{', '.join(COLUMNS)}. Delete the folder {folder} and run again."
        )
    return frame


def _read_record(path: Path) -> RunRecord:
    try:
        return RunRecord.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise _not_a_record(path, error) from error


def _not_a_record(path: Path, error: Exception) -> StoreError:
    first = str(error).splitlines()[0]
    return StoreError(
        f"{path} is not a run record of this version ({first}). Move the folder "
        f"{path.parent} away and type the same command again."
    )


def _gzipped(text: str) -> bytes:
    """Compress so that equal text gives equal bytes."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", fileobj=buffer, mode="wb", mtime=0) as file:
        file.write(text.encode())
    return buffer.getvalue()
