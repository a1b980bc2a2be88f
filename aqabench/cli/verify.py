"""``aqabench verify``: do numbers follow from predictions, and predictions from the method?

What predicting again takes is in :mod:`aqabench.cli.predicting`.
"""

from __future__ import annotations

import os
import shlex
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import rich_click as click

from aqabench.cli.options import plugin_words, plugins_option
from aqabench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from aqabench.board.folder import RecordsFolder, StoredRuns
    from aqabench.runs.audit import Finding
    from aqabench.runs.verify import Retrained

SHOWN = 10
"""Problems that are printed."""


@click.command("verify")
@click.argument("place", type=click.Path(path_type=Path), metavar="FILE.zip|FOLDER")
@plugins_option
@click.option(
    "--weights",
    is_flag=True,
    help="Also predict again with the weights of every run, and compare predictions.",
)
@click.option("--retrain", is_flag=True, help="Also train one run again and compare predictions.")
@click.option(
    "--draw",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="SEED",
    help="Which run --retrain takes: drawn with this seed. Choose one that nobody expects.",
)
@click.option(
    "--write", is_flag=True, help="Keep what was found in verified.json, which boards show."
)
@click.option(
    "--into",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Lay the runs into FOLDER/records, as leaderboards/ has them, if all of them hold.",
)
def command(
    place: Path,
    plugins: tuple[Path, ...],
    weights: bool,
    retrain: bool,
    draw: int,
    write: bool,
    into: Path | None,
) -> int:
    """Check runs that somebody hands in: a file of 'aqabench submit', or a folder.

    A folder is one of records, as leaderboards/ ships them, or a store. Every number is recomputed
    from predictions; videos, scores and masks are compared with the data where they are installed;
    boards that lie in the folder are rendered again and compared. Where weights were kept,
    --weights makes all predictions anew. Code in FILE.zip is never run: --weights and --retrain
    take methods that are installed, or that you name with --plugin.

    Exit code: 0 all is well, 1 something is not, 2 wrong usage.
    """
    from aqabench.board.folder import RecordsFolder, StoredRuns
    from aqabench.board.release import outdated_files
    from aqabench.cli.runs.words import named, plain, runs
    from aqabench.runs.store import RunStore

    def say(text: str) -> None:
        click.echo(plain(text))

    problems: list[str] = []
    with TemporaryDirectory() as scratch:
        kept: RecordsFolder | StoredRuns
        if place.is_dir():
            kept = _folder(place)
        else:
            kept = StoredRuns(RunStore(Path(scratch)))
            problems += _unpack(place, kept)
        flat = kept if isinstance(kept, RecordsFolder) else None
        if write and flat is None:
            raise UsageError(
                f"'{place}' is no folder of records, and verified.json lies beside one. Leave "
                "--write away, or name a folder as leaderboards/ has them."
            )
        findings = []
        for finding, remark in _findings(kept):
            findings.append(finding)
            if remark:
                say(remark)
        problems += [
            f"{named(one.record)} {problem}" for one in findings for problem in one.problems
        ]
        good = [one for one in findings if not one.problems]
        lacking = len(kept.lacking)
        if lacking:
            problems.append(f"{runs(lacking)} without predictions: nothing is made of them")
        if not place.is_dir():
            for remark in _sources(place, findings, plugins):
                say(remark)
        problems += _weighed(kept, good, plugins, place, weights, say)
        again = None
        if retrain and good:
            again = _retrained(kept, good, plugins, draw)
            if again[1].same:
                say(again[1].said)
            else:
                problems.append(again[1].said)
        if flat is not None and not write:
            problems += [
                f"{name} in {place} is not what its records give. Render it again: {_again(flat)}"
                for name, differs in outdated_files(flat.verified_file.parent)
                if differs
            ]
        numbers = sum(one.numbers for one in good)
        compared = sum(one.data for one in good)
        say(
            f"{len(good):,} of {runs(len(findings) + lacking)} hold: {numbers:,} numbers "
            f"recomputed from predictions; videos, scores and masks of {compared:,} are those of "
            "the data."
        )
        if into is not None:
            _lay(kept, good, into, problems)
        if flat is not None and write:
            _write(flat, good, again)
            say(f"Written: {flat.verified_file}. To show it: {_again(flat)}")
    for problem in problems[:SHOWN]:
        click.secho(f"Not verified: {plain(problem)}", fg="red", err=True)
    if len(problems) > SHOWN:
        click.echo(f"… and {len(problems) - SHOWN:,} more", err=True)
    return 1 if problems else 0


def _folder(place: Path) -> RecordsFolder | StoredRuns:
    """Return the runs of a folder: of records, or of a store.

    Raises:
        UsageError: it is neither.
    """
    from aqabench.board.folder import RECORDS, RecordsFolder, StoredRuns
    from aqabench.runs.store import RunStore

    store = RunStore(place)
    if not (place / RECORDS).is_dir() and not any(place.glob("*.json")) and store.places():
        return StoredRuns(store)
    return RecordsFolder.read(place)


def _again(flat: RecordsFolder) -> str:
    """Return what renders the boards of a folder of records."""
    where = shlex.quote(os.path.relpath(flat.verified_file.parent))
    return f"aqabench board --records {where} -o {where}"


def _unpack(path: Path, kept: StoredRuns) -> list[str]:
    """Take an archive apart into a store of its own; return what was refused of it."""
    from aqabench.runs.exchange import import_runs

    done = import_runs(kept.store, path)
    if not done.new and not done.refused:
        raise UsageError(f"There is no run in {path}. Ask for one that 'aqabench submit' has made.")
    return [f"{place} {reason}" for place, reason in done.refused]


def _findings(kept: RecordsFolder | StoredRuns) -> Iterator[tuple[Finding, str]]:
    """Yield what is found of each finished run with predictions; with a remark on its data."""
    from aqabench.board.choose import asked_of
    from aqabench.runs.audit import audit, ground_of

    groups = defaultdict(list)
    for record in kept.records():
        identity = record.identity
        if record.status == "finished" and record.key not in kept.lacking:
            groups[identity["protocol"], identity["data_kind"], identity["data_digest"]].append(
                record
            )
    for (protocol, _, _), records in groups.items():
        asked = asked_of(kept, protocol)
        ground = ground_of(records[0], asked)
        data = ground.load()
        remark = f"{protocol}: {ground.remark}" if ground.remark else ""
        for record in records:
            yield audit(record, kept.files(record), asked, ground, data), remark
            remark = ""


def _sources(path: Path, findings: Sequence[Finding], plugins: Sequence[Path]) -> list[str]:
    from aqabench.method.registry import discover
    from aqabench.runs.audit import source_remarks

    digests: dict[str, set[str]] = defaultdict(set)
    for one in findings:
        identity = one.record.identity
        digests[f"{identity['protocol']}/{one.record.method}"].add(identity["source_digest"])
    return list(source_remarks(path, digests, discover(plugins)))


def _weighed(
    kept: RecordsFolder | StoredRuns,
    good: Sequence[Finding],
    plugins: Sequence[Path],
    place: Path,
    wanted: bool,
    say: Callable[[str], None],
) -> list[str]:
    """Predict again with weights where that is wanted; return what is wrong.

    Otherwise say how it is done, if there are weights.
    """
    from aqabench.cli.predicting import predicted_again, weights_of
    from aqabench.cli.runs.words import runs

    if wanted and good:
        said, problems = predicted_again(kept, good, plugins)
        say(said)
        return problems
    there = sum(weights_of(kept, one.record) is not None for one in good)
    if there and not wanted:
        extra = plugin_words(plugins)
        say(
            f"Weights are kept with {there:,} of {runs(len(good))}, but predictions were not made "
            f"again. To do so: aqabench verify {shlex.quote(str(place))}{extra} --weights"
        )
    return []


def _retrained(
    kept: RecordsFolder | StoredRuns, good: Sequence[Finding], plugins: Sequence[Path], draw: int
) -> tuple[str, Retrained]:
    """Train one run again; return its key and what came of it.

    Raises:
        UsageError: there are no data for any run.
    """
    import numpy as np

    from aqabench.board.choose import asked_of
    from aqabench.method.registry import discover
    from aqabench.runs.audit import ground_of
    from aqabench.runs.verify import retrain

    known = sorted((one.record for one in good if one.data), key=lambda r: r.key)
    if not known:
        raise UsageError(
            "No run can be trained again, because their data are not here. Import them (aqabench "
            "data import), or leave --retrain away."
        )
    record = known[int(np.random.default_rng(draw).integers(len(known)))]
    asked = asked_of(kept, record.identity["protocol"])
    source = ground_of(record, asked).source
    assert source is not None
    frame = kept.predictions(record)
    return record.key, retrain(record, frame, asked, source, discover(plugins))


def _lay(
    kept: RecordsFolder | StoredRuns, good: Sequence[Finding], into: Path, problems: Sequence[str]
) -> None:
    """Lay runs into a folder of records, all or none of them."""
    from aqabench.board.folder import add_run
    from aqabench.cli.runs.words import runs

    if problems:
        click.echo(f"Nothing was laid into {into}.", err=True)
        return
    new = sum(add_run(into, one.record, kept.files(one.record)) for one in good)
    where = shlex.quote(str(into))
    click.echo(
        f"Laid {runs(new)} into {into}; {len(good) - new:,} were there already. Next: aqabench "
        f"verify {where} --write && aqabench board --records {where} -o {where}"
    )


def _write(
    flat: RecordsFolder, good: Sequence[Finding], again: tuple[str, Retrained] | None
) -> None:
    """Keep what was found; what training again has shown before stays true of the same files."""
    from aqabench.runs.verified import Checks, fingerprint, write_verified

    found = {}
    for one in good:
        key = one.record.key
        before = flat.verified.get(key)
        same = again is not None and again[0] == key and again[1].same
        found[key] = Checks(
            files=fingerprint(flat.files(one.record)),
            data=one.data or (before is not None and before.data),
            retrained=same or (before is not None and before.retrained),
        )
    write_verified(flat.verified_file, found)
