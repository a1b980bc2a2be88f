"""``aqabench verify --weights``: do predictions come out of the weights that are kept with them?"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from aqabench.cli.runs.words import named, runs
from aqabench.errors import AqabenchError
from aqabench.runs.weights import LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable

    from aqabench.board.folder import RecordsFolder, StoredRuns
    from aqabench.runs.audit import Finding
    from aqabench.runs.record import RunRecord
    from aqabench.runs.verify import Predicted

__all__ = ["predicted_again", "weights_of"]


def weights_of(kept: RecordsFolder | StoredRuns, record: RunRecord) -> Path | None:
    """Return where the weights of a run are; a folder of records has none."""
    from aqabench.board.folder import StoredRuns

    return kept.store.weights_file(record) if isinstance(kept, StoredRuns) else None


def predicted_again(
    kept: RecordsFolder | StoredRuns, good: Sequence[Finding], plugins: Sequence[Path]
) -> tuple[str, list[str]]:
    """Predict again with the weights of every run.

    Args:
        kept: where the runs are.
        good: those of which everything else is well.
        plugins: files of methods that whoever asks trusts.

    Returns:
        A sentence on what was compared, and what is wrong or could not be done.
    """
    from aqabench.board.choose import asked_of
    from aqabench.method.registry import discover
    from aqabench.runs.audit import ground_of
    from aqabench.runs.verify import predict_again
    from aqabench.runs.vetting import RefusedError

    registry = discover(plugins)
    undone: Counter[str] = Counter()
    problems: list[str] = []
    groups = defaultdict(list)
    for one in good:
        path, identity = weights_of(kept, one.record), one.record.identity
        if path is None:
            undone["no weights are kept with them. To train one of them again: --retrain"] += 1
        elif not one.data:
            undone["their data are not here. To import them: aqabench data import"] += 1
        else:
            group = identity["protocol"], identity["data_kind"], identity["data_digest"]
            groups[group].append((one.record, path))
    done: list[Predicted] = []
    with _bar(sum(map(len, groups.values()))) as step:
        for (protocol, _, _), own in groups.items():
            asked = asked_of(kept, protocol)
            source = ground_of(own[0][0], asked).source
            assert source is not None
            data = source.load()
            for record, path in own:
                step(named(record))
                if path.stat().st_size > LIMIT:
                    problems.append(f"{named(record)} has weights of more than {LIMIT:,} bytes")
                    continue
                frame, content = kept.predictions(record), path.read_bytes()
                try:
                    found = predict_again(record, frame, content, asked, source, data, registry)
                except RefusedError as error:
                    problems.append(f"{named(record)} {error}")
                except AqabenchError as error:  # the method that is here is not theirs
                    undone[" ".join(str(error).split())] += 1
                else:
                    done += [found] if found.holds else []
                    problems += [] if found.holds else [f"{named(record)} {_unlike(found)}"]
    problems += [
        f"{runs(count)} did not predict again: {reason}" for reason, count in undone.items()
    ]
    return _summary(done, len(good)), problems


def _unlike(found: Predicted) -> str:
    from aqabench.runs.verify import TOLERANCE

    return (
        f"has predictions that do not come out of its weights: {found.unequal:,} of "
        f"{found.count:,} differ, by {found.largest:.3g} judge points at most ({TOLERANCE:g} is "
        "allowed)"
    )


def _summary(done: Sequence[Predicted], total: int) -> str:
    from aqabench.runs.verify import TOLERANCE

    count, unequal = sum(one.count for one in done), sum(one.unequal for one in done)
    said = f"{len(done):,} of {runs(total)} predicted again from weights"
    if not done:
        return f"{said}."
    if not unequal:
        return f"{said}: all {count:,} predictions are the same, bit by bit as they are stored."
    largest = max(one.largest for one in done)
    return (
        f"{said}: {unequal:,} of {count:,} predictions differ, by {largest:.3g} judge points at "
        f"most. {TOLERANCE:g} is allowed, because other processors and versions of torch change "
        "last digits."
    )


@contextmanager
def _bar(total: int) -> Iterator[Callable[[str], None]]:
    """Show in a terminal which run is being done; give what to call before each."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}", markup=False))
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("", total=total, completed=-1)

        def step(name: str) -> None:
            bar.update(task, advance=1, description=name)

        yield step
