"""Export and import: whole runs come through to the byte, and nothing else comes through."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import shutil
import stat
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from aqabench.errors import StoreError
from aqabench.method.registry import discover
from aqabench.protocol.library import load_protocol
from aqabench.protocol.load import dump
from aqabench.protocol.schema import BUDGETS
from aqabench.runs import archive as archive_module
from aqabench.runs import vetting
from aqabench.runs.archive import write_archive
from aqabench.runs.exchange import Imported, export_runs, import_runs
from aqabench.runs.plan import Question, make_plan
from aqabench.runs.record import RunRecord, identity_key
from aqabench.runs.store import CHECKPOINT, LOCK, LOG, METRICS, PREDICTIONS, RECORD, RunStore
from tests.runs.stored import make_predictions, make_record, put

Files = dict[str, bytes]


@pytest.fixture
def full(tmp_path: Path) -> RunStore:
    """A store of two finished runs and a failed one, with their protocol."""
    store = RunStore(tmp_path / "full")
    store.keep_protocol("fisv-missing", dump(load_protocol("fisv-missing").protocol))
    put(store, make_record(seed=0))
    put(store, make_record(seed=1))
    put(store, make_record(seed=2, status="failed", error="broke", traceback="in\na line"))
    return store


@pytest.fixture
def empty(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "empty")


def exported(store: RunStore, path: Path) -> Path:
    done = export_runs(store, store.summaries().summaries, path)
    assert not done.left_out
    return path


def tree(root: Path) -> Files:
    """Every file below a folder but locks, which stay where a run was."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != LOCK
    }


def members_of(path: Path) -> Files:
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


# --- what comes through ---------------------------------------------------------------------------


def test_a_round_trip_is_exact_and_leaves_logs_and_checkpoints(
    full: RunStore, empty: RunStore, tmp_path: Path
) -> None:
    expected = tree(full.root)
    folder = next(full.root.glob("*/*/*"))
    for name in (LOG, CHECKPOINT, LOCK):
        (folder / name).write_text("of this machine")
    done = import_runs(empty, exported(full, tmp_path / "a.zip"))
    assert (len(done.new), done.equal, done.refused) == (3, (), ())
    assert done.protocols == ("fisv-missing",)
    assert tree(empty.root) == expected
    assert list(empty.records()) == list(full.records())


def test_equal_runs_are_equal_files(full: RunStore, empty: RunStore, tmp_path: Path) -> None:
    first = exported(full, tmp_path / "a.zip")
    import_runs(empty, first)
    assert exported(empty, tmp_path / "b.zip").read_bytes() == first.read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_only_what_is_chosen_is_exported(full: RunStore, empty: RunStore, tmp_path: Path) -> None:
    chosen = [one for one in full.summaries().summaries if one.status == "failed"]
    assert export_runs(full, chosen, tmp_path / "a.zip").runs == 1
    import_runs(empty, tmp_path / "a.zip")
    assert [record.error for record in empty.records()] == ["broke"]


def test_what_could_not_be_imported_is_not_exported(full: RunStore, tmp_path: Path) -> None:
    folder = full.directory("fisv-missing", "ridge", make_record(seed=1).key)
    (folder / METRICS).write_bytes(b"{}\n" * (6 * 2**20))
    done = export_runs(full, full.summaries().summaries, tmp_path / "a.zip")
    assert done.runs == 2
    assert [place for place, _ in done.left_out] == [f"fisv-missing/ridge/{folder.name}"]


def test_the_key_is_the_one_of_a_plan() -> None:
    asked = load_protocol("fisv-missing")
    question = Question(
        asked.protocol, asked.dataset, asked.digest, "simulated", "f" * 64, BUDGETS["quick"]
    )
    plan = make_plan(question, discover(), ["mcmoe", "ridge"], {})
    assert [identity_key(json.loads(json.dumps(s.identity))) for s in plan] == [s.key for s in plan]


# --- what is here stays ---------------------------------------------------------------------------


def test_what_is_here_is_skipped_if_equal_and_kept_if_not(
    full: RunStore, empty: RunStore, tmp_path: Path
) -> None:
    path = exported(full, tmp_path / "a.zip")
    put(empty, make_record(seed=0))
    put(empty, make_record(seed=1), shift=0.5)
    put(empty, make_record(seed=2, status="failed", error="broke elsewhere"))
    before = tree(empty.root)
    done = import_runs(empty, path)
    assert [place[-16:] for place in done.equal] == [make_record(seed=0).key]
    reasons = {place[-16:]: reason for place, reason in done.refused}
    other, failed = make_record(seed=1).key, make_record(seed=2).key
    assert f"runs diff {other} --other-store" in reasons[other]
    assert "runs prune --failed" in reasons[failed]
    assert {k: v for k, v in tree(empty.root).items() if "protocol" not in k} == before


def test_a_run_that_is_being_done_here_is_left_alone(
    full: RunStore, empty: RunStore, tmp_path: Path
) -> None:
    path = exported(full, tmp_path / "a.zip")
    folder = empty.directory("fisv-missing", "ridge", make_record(seed=0).key)
    folder.mkdir(parents=True)
    script = (
        "import sys; from filelock import FileLock\n"
        "with FileLock(sys.argv[1]): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(folder / LOCK)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        done = import_runs(empty, path)
        process.stdin.close()
    assert len(done.new) == 2
    assert "is being done here" in done.refused[0][1]
    assert not (folder / RECORD).exists()
    assert len(import_runs(empty, path).new) == 1


def test_an_import_that_is_cut_off_never_leaves_half_a_run(
    full: RunStore, empty: RunStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = exported(full, tmp_path / "a.zip")
    synced = os.fsync
    with monkeypatch.context() as patched:

        def full_disk(descriptor: int) -> None:
            if RECORD in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
                raise OSError(28, "No space left on device")
            synced(descriptor)

        patched.setattr("os.fsync", full_disk)
        with pytest.raises(StoreError, match="the disk is full"):
            import_runs(empty, path)
    assert list(empty.records()) == []
    assert len(import_runs(empty, path).new) == 3
    assert tree(empty.root) == tree(full.root)


def test_a_file_that_does_not_fit_the_disk_is_refused_at_once(
    full: RunStore, empty: RunStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = exported(full, tmp_path / "a.zip")
    usage = shutil._ntuple_diskusage(100, 99, 1)  # type: ignore[attr-defined]
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(StoreError, match="Nothing was imported"):
        import_runs(empty, path)


def test_nothing_is_written_by_way_of_a_link(
    full: RunStore, empty: RunStore, tmp_path: Path
) -> None:
    path = exported(full, tmp_path / "a.zip")
    outside = tmp_path / "outside"
    outside.mkdir()
    empty.root.mkdir()
    (empty.root / "fisv-missing").symlink_to(outside)
    done = import_runs(empty, path)
    assert {reason for _, reason in done.refused} == {"would lie behind a link"}
    assert not list(outside.iterdir())


# --- protocols ------------------------------------------------------------------------------------

OWN = (
    "name: mine\nversion: 1\ntitle: t\nquestion: q\ndataset: fisv\nclasses: [TES]\n"
    "modalities: [video]\nscenarios: [{kind: subsets}]\naverage: {name: A, over: all}\n"
)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (OWN, ""),
        (None, "is not shipped, and the file does not bring it"),
        (OWN.replace("dataset: fisv", "dataset: elsewhere"), "cannot be used here"),
        (OWN.replace("name: mine", "name: yours"), "brings one called yours"),
        (OWN + "more: 1\n", "cannot be used here"),
        ("&a [*a]", "cannot be used here"),
    ],
)
def test_a_run_comes_with_a_protocol_that_can_be_used(
    tmp_path: Path, empty: RunStore, text: str | None, problem: str
) -> None:
    store = RunStore(tmp_path / "own")
    put(store, make_record(protocol="mine"))
    if text is not None:
        store.keep_protocol("mine", text)
    done = import_runs(empty, exported(store, tmp_path / "a.zip"))
    assert [reason for _, reason in done.refused if problem in reason] == [
        reason for _, reason in done.refused
    ]
    assert len(done.new) == (not problem)
    assert empty.protocol_file("mine").is_file() == (not problem)


# --- files that no export wrote -------------------------------------------------------------------


def refused_whole(path: Path, store: RunStore, problem: str) -> None:
    """An import that says no to the whole file, and writes nothing anywhere."""
    around = {p for p in path.parent.rglob("*") if p != path}
    with pytest.raises(StoreError, match=problem) as said:
        import_runs(store, path)
    assert "aqabench runs export" in str(said.value)
    assert "\x1b" not in str(said.value)
    assert {p for p in path.parent.rglob("*") if p != path} == around


PLACE = "fisv-missing/ridge/0123456789abcdef"


@pytest.mark.parametrize(
    "name",
    [
        "../evil/ridge/0123456789abcdef/record.json",
        "/etc/ridge/0123456789abcdef/record.json",
        "fisv-missing/../0123456789abcdef/record.json",
        "fisv-missing/ridge/../record.json",
        "fisv-missing/.hidden/0123456789abcdef/record.json",
        "fisv-missing\\ridge\\0123456789abcdef\\record.json",
        "C:/ridge/0123456789abcdef/record.json",
        "fisv-missing//0123456789abcdef/record.json",
        f"{PLACE}/record.json/",
        f"{PLACE}/../../../record.json",
        f"{PLACE}/evil.sh",
        f"{PLACE}/.lock",
        f"{PLACE}/checkpoint.pt",
        "fisv-missing/ridge/0123456789ABCDEF/record.json",
        "fisv-missing/\x1b[2J/0123456789abcdef/record.json",
        "record.json",
        "index.sqlite",
        "x" * 300 + "/ridge/0123456789abcdef/record.json",
    ],
)
def test_a_name_that_is_no_file_of_a_run(tmp_path: Path, empty: RunStore, name: str) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{PLACE}/metrics.jsonl", b"")
        file.writestr(name, b"{}")
    refused_whole(path, empty, "is no file of a run|has a name that hides|is a link or no file")


def _member(name: str = f"{PLACE}/record.json", **changes: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    for key, value in changes.items():
        setattr(info, key, value)
    return info


@pytest.mark.parametrize(
    ("infos", "content", "problem"),
    [
        ([_member(external_attr=(stat.S_IFLNK | 0o777) << 16)], b"/etc/passwd", "is a link"),
        ([_member(external_attr=(stat.S_IFIFO | 0o777) << 16)], b"", "is a link or no file"),
        ([_member(), _member()], b"{}", "is there twice"),
        ([_member(compress_type=zipfile.ZIP_BZIP2)], b"{}", "packed in a way"),
        ([_member(compress_type=zipfile.ZIP_LZMA)], b"{}", "packed in a way"),
        ([_member(compress_type=zipfile.ZIP_DEFLATED)], b" " * (5 * 2**20), "unpacks to 5,242,880"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_no_plain_file(
    tmp_path: Path, empty: RunStore, infos: list[zipfile.ZipInfo], content: bytes, problem: str
) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        for info in infos:
            file.writestr(info, content, info.compress_type)
    refused_whole(path, empty, problem)


def _patched(path: Path, offset: int, value: bytes) -> None:
    """Change bytes of the first entry of the list of members."""
    content = bytearray(path.read_bytes())
    start = content.index(b"PK\x01\x02") + offset
    content[start : start + len(value)] = value
    path.write_bytes(content)


def test_an_encrypted_member(tmp_path: Path, empty: RunStore) -> None:
    path = tmp_path / "a.zip"
    write_archive(path, [(f"{PLACE}/record.json", b"{}")])
    _patched(path, 8, b"\x01\x00")
    refused_whole(path, empty, "is encrypted")


def test_a_member_that_is_larger_than_it_says(tmp_path: Path, empty: RunStore) -> None:
    path = tmp_path / "a.zip"
    write_archive(path, [(f"{PLACE}/record.json", b"{" + b" " * 100_000 + b"}")])
    _patched(path, 24, struct.pack("<I", 10))
    ((place, reason),) = import_runs(empty, path).refused
    assert place == PLACE
    assert "is damaged" in reason


def test_a_list_of_members_that_would_fill_the_memory(tmp_path: Path, empty: RunStore) -> None:
    path = tmp_path / "a.zip"
    size = 600 * 2**20
    with path.open("wb") as file:
        file.truncate(size)  # takes no room on the disk
        file.seek(size)
        file.write(struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 65535, 65535, size, 0, 0))
    tracemalloc.start()
    refused_whole(path, empty, "its list of members is too long")
    assert tracemalloc.get_traced_memory()[1] < 100 * 2**20
    tracemalloc.stop()


def test_more_runs_than_a_file_may_have(
    tmp_path: Path, empty: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_module, "MOST_RUNS", 3)
    path = tmp_path / "a.zip"
    write_archive(path, [(f"fisv-missing/ridge/{i:016x}/record.json", b"{}") for i in range(4)])
    refused_whole(path, empty, "holds more than 3 runs")


@pytest.mark.parametrize(
    "content",
    [b"", b"PK", b"not a zip" * 100, gzip.compress(b"tar?", mtime=0)],
    ids=["empty", "two letters", "text", "gzip"],
)
def test_other_files(tmp_path: Path, empty: RunStore, content: bytes) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    refused_whole(path, empty, "cannot be read as a zip file")
    with pytest.raises(StoreError, match="There is no file"):
        import_runs(empty, tmp_path)


def test_no_damage_brings_anything_in_that_was_not_exported(
    full: RunStore, empty: RunStore, tmp_path: Path
) -> None:
    good = exported(full, tmp_path / "a.zip").read_bytes()
    expected, rng, taken = tree(full.root), random.Random(0), 0
    path = tmp_path / "b.zip"
    for _ in range(80):
        bad = bytearray(good)
        for _ in range(rng.choice((1, 2, 30))):
            bad[rng.randrange(len(bad))] = rng.randrange(256)
        path.write_bytes(bad[: rng.choice((len(bad), len(bad), rng.randrange(len(bad))))])
        try:
            taken += len(import_runs(empty, path).new)
        except StoreError:
            continue
        stored = {k: v for k, v in tree(empty.root).items() if k.endswith(RECORD)}
        assert stored.items() <= expected.items()
        shutil.rmtree(empty.root)
    assert taken, "some damage is in one run only"


# --- runs that are none ---------------------------------------------------------------------------


def _record(files: Files, **changes: object) -> None:
    """Change a record, keeping its key right where that can be."""
    said = json.loads(files[RECORD])
    said.update(changes)
    files[RECORD] = json.dumps(said).encode()


def _csv(files: Files, change: Callable[[str], str]) -> None:
    files[PREDICTIONS] = gzip.compress(
        change(gzip.decompress(files[PREDICTIONS]).decode()).encode()
    )


def _identity(files: Files, **changes: object) -> None:
    said = json.loads(files[RECORD])
    said["identity"].update(changes)
    files[RECORD] = json.dumps(said).encode()


def _cell(text: str, row: int, column: int, value: str) -> str:
    lines = [line.split(",") for line in text.splitlines()]
    lines[row][column] = value
    return "\n".join(map(",".join, lines)) + "\n"


def _claims_a_search(files: Files) -> None:
    tuned = {
        "search": "0" * 16, "trials": 20, "budget": "quick", "seeds": 1, "trial": 3,
        "settings": {}, "validation": 0.5, "of_published": None,
    }  # fmt: skip
    _record(files, tuned=tuned)


BAD: dict[str, tuple[Callable[[Files], object], str]] = {
    "other key in the record": (lambda f: _record(f, key="0" * 16), "not the hash of its identity"),
    "a search that its identity knows nothing of": (_claims_a_search, "says of a search what its"),
    "a trial of a search": (lambda f: _identity(f, validation_only=True), "is a trial of a search"),
    "other identity": (lambda f: _identity(f, seed=99), "not the hash of its identity"),
    "other digest": (lambda f: _identity(f, data_kind="real"), "not the hash of its identity"),
    "no json": (lambda f: f.update({RECORD: b"{"}), "no record of this version"),
    "deep json": (lambda f: f.update({RECORD: b"[" * 10**6}), "no record of this version"),
    "unknown field": (lambda f: _record(f, score=1.0), "no record of this version"),
    "other format": (lambda f: _record(f, format=2), "record of format 2"),
    "no record": (lambda f: f.pop(RECORD), "has no record"),
    "no predictions": (lambda f: f.pop(PREDICTIONS), "lacks its predictions"),
    "no curve": (lambda f: f.pop(METRICS), "lacks its predictions or its curve"),
    "failed": (lambda f: _record(f, status="failed"), "has failed but comes with predictions"),
    "curve": (lambda f: f.update({METRICS: b"{}\n{\n"}), "curve that cannot be read, line 2"),
    "deep curve": (lambda f: f.update({METRICS: b"[" * 10**6}), "curve that cannot be read"),
    "curve of numbers": (lambda f: f.update({METRICS: b"1\n"}), "line 1 is no look"),
    "terminal": (lambda f: _record(f, title="\x1b[2Jgone"), "control characters"),
    "terminal, 8 bit": (lambda f: _record(f, title="\x9b2Jgone"), "control characters"),
    "not gzip": (lambda f: f.update({PREDICTIONS: b"rule,part"}), "cannot be unpacked"),
    "cut off": (lambda f: f.update({PREDICTIONS: f[PREDICTIONS][:-9]}), "are cut off"),
    "empty file": (lambda f: f.update({PREDICTIONS: b""}), "cannot be read"),
    "no rows": (lambda f: _csv(f, lambda t: t.splitlines()[0] + "\n"), "has no predictions"),
    "columns": (lambda f: _csv(f, lambda t: t.replace("score", "points", 1)), "columns are not"),
    "more columns": (lambda f: _csv(f, lambda t: t + "1," * 99 + "\n"), "cannot be read"),
    "words": (lambda f: _csv(f, lambda t: _cell(t, 3, 5, "high")), "are no numbers"),
    "no score": (lambda f: _csv(f, lambda t: _cell(t, 3, 4, "nan")), "not finite"),
    "scenario": (lambda f: _csv(f, lambda t: _cell(t, 3, 2, "q")), "scenarios that there are not"),
    "rule": (lambda f: _csv(f, lambda t: _cell(t, 3, 0, "best")), "rules or for scenarios"),
    "sample": (lambda f: _csv(f, lambda t: _cell(t, 3, 3, "other")), "more samples than"),
    "part": (lambda f: _csv(f, lambda t: _cell(t, 3, 1, "extra")), "more samples than"),
    "twice": (lambda f: _csv(f, lambda t: t + t.splitlines()[-1] + "\n"), "two predictions of one"),
}


def _with_a_bad_run(tmp_path: Path, spoil: Callable[[Files], object]) -> tuple[Path, str]:
    """Return an export of a good and a spoilt run, and the key of the latter."""
    store = RunStore(tmp_path / "full")
    put(store, make_record(seed=0))
    bad = make_record(seed=1)
    put(store, bad)
    files = members_of(exported(store, tmp_path / "good.zip"))
    own = {name.rpartition("/")[2]: text for name, text in files.items() if bad.key in name}
    spoil(own)
    others = [(name, text) for name, text in files.items() if bad.key not in name]
    spoilt = [(f"fisv-missing/ridge/{bad.key}/{name}", text) for name, text in own.items()]
    write_archive(tmp_path / "bad.zip", others + spoilt)
    return tmp_path / "bad.zip", bad.key


def _refused_one(done: Imported, store: RunStore, problem: str) -> None:
    assert len(done.new) == 1
    ((place, reason),) = done.refused
    assert problem in reason, reason
    assert not (store.root / place).exists()
    assert [record.seed for record in store.records()] == [0]


@pytest.mark.parametrize("case", BAD)
def test_a_run_that_is_none_is_refused_and_the_others_are_not(
    tmp_path: Path, empty: RunStore, case: str
) -> None:
    spoil, problem = BAD[case]
    path, _ = _with_a_bad_run(tmp_path, spoil)
    _refused_one(import_runs(empty, path), empty, problem)


@pytest.mark.parametrize(
    ("piece", "problem"),
    [(b"\0" * 2**20, "lines that are too long"), (b"val,test,v,s1,1,1\n" * 2**16, "more than")],
)
def test_predictions_that_unpack_to_more_than_the_memory(
    tmp_path: Path, empty: RunStore, monkeypatch: pytest.MonkeyPatch, piece: bytes, problem: str
) -> None:
    monkeypatch.setattr(vetting, "UNPACKED", 4 * 2**20)

    def bomb(files: Files) -> None:
        buffer = io.BytesIO()
        with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as file:
            for _ in range(64):
                file.write(piece)
        files[PREDICTIONS] = buffer.getvalue()

    path, _ = _with_a_bad_run(tmp_path, bomb)
    tracemalloc.start()
    done = import_runs(empty, path)
    assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    tracemalloc.stop()
    _refused_one(done, empty, problem)


def test_a_run_in_the_folder_of_another_method(tmp_path: Path, empty: RunStore) -> None:
    store = RunStore(tmp_path / "full")
    record = make_record()
    put(store, record)
    files = members_of(exported(store, tmp_path / "a.zip"))
    moved = [(name.replace("/ridge/", "/mcmoe/"), text) for name, text in files.items()]
    write_archive(tmp_path / "b.zip", moved)
    ((_, reason),) = import_runs(empty, tmp_path / "b.zip").refused
    assert reason == "lies in the folder of another protocol or method"


def test_an_identity_that_leads_elsewhere_has_no_place(tmp_path: Path, empty: RunStore) -> None:
    record = make_record(protocol="../../elsewhere")
    text = record.model_dump_json().encode()
    write_archive(tmp_path / "a.zip", [(f"fisv-missing/ridge/{record.key}/record.json", text)])
    ((_, reason),) = import_runs(empty, tmp_path / "a.zip").refused
    assert reason == "lies in the folder of another protocol or method"


def test_predictions_are_those_that_were_stored(
    full: RunStore, empty: RunStore, tmp_path: Path
) -> None:
    import_runs(empty, exported(full, tmp_path / "a.zip"))
    record: RunRecord = make_record(seed=1)
    assert empty.predictions(record)["prediction"].to_numpy() == pytest.approx(
        make_predictions(record)["prediction"].to_numpy(), rel=1e-8
    )
