"""The index: the same answers as the records, whatever happens to either."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from aqabench.errors import StoreError
from aqabench.runs import index as index_module
from aqabench.runs.index import INDEX, RunIndex, Summary
from aqabench.runs.record import RunRecord
from aqabench.runs.store import RECORD, RunStore
from tests.runs.stored import make_record, put, put_many


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few records are many, and every file is old."""
    monkeypatch.setattr(index_module, "MANY", 5)
    monkeypatch.setattr(index_module, "CHANGES", 4)
    monkeypatch.setattr(index_module, "SETTLED", -(10**12))


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    """Two protocols whose names sort differently as folders and as texts."""
    root = tmp_path / "runs"
    put_many(root, 6, protocol="fisv")
    put_many(root, 6, protocol="fisv-missing", method="a")
    put_many(root, 3, protocol="fisv-missing", method="b.c")
    return RunStore(root)


def plain(store: RunStore, protocol: str = "*") -> list[RunRecord]:
    """What the store held before there was an index: every file, in the order of the paths."""
    paths = sorted(store.root.glob(f"{protocol}/*/*/{RECORD}"))
    return [RunRecord.model_validate_json(path.read_bytes()) for path in paths]


def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that record files are added to when they are read."""
    read: list[str] = []
    whole, bare = Path.read_bytes, index_module._Reader.file

    def counted(path: Path) -> bytes:
        read.append(str(path))
        return whole(path)

    def counted_too(reader: index_module._Reader, place: str) -> bytes:
        read.append(place)
        return bare(reader, place)

    monkeypatch.setattr(Path, "read_bytes", counted)
    monkeypatch.setattr(index_module._Reader, "file", counted_too)
    return read


def test_records_are_the_same_with_and_without(store: RunStore) -> None:
    expected = plain(store)
    assert list(store.records()) == expected, "makes the index"
    assert (store.root / INDEX).is_file()
    assert list(store.records()) == expected, "reads it"
    assert list(store.records("fisv-missing")) == plain(store, "fisv-missing")
    assert list(store.records("absent")) == []
    (store.root / INDEX).unlink()
    assert list(store.records()) == expected


def test_what_the_index_knows_is_not_read_again(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert RunIndex(store.root).rebuild() == 15
    read = reads(monkeypatch)
    assert len(list(store.records())) == 15
    assert len(store.summaries().summaries) == 15
    assert read == []


def test_few_runs_make_no_index(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "MANY", 100)
    assert len(list(store.records())) == 15
    assert not (store.root / INDEX).exists()


def test_where_chooses_the_same_runs_with_and_without(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def where(one: Summary) -> bool:
        return one.seed % 2 == 1 and one.protocol == "fisv-missing"

    expected = [r for r in plain(store, "fisv-missing") if r.seed % 2]
    monkeypatch.setattr(index_module, "MANY", 100)
    assert list(store.records(where=where)) == expected
    RunIndex(store.root).rebuild()
    late = make_record(protocol="fisv-missing", method="z", seed=9)
    put(store, late)
    assert list(store.records(where=where)) == [*expected, late]


def test_a_new_a_deleted_and_a_changed_record_are_seen_at_once(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    RunIndex(store.root).rebuild()
    written = (store.root / INDEX).stat().st_ino
    gone, changed = plain(store)[:2]
    shutil.rmtree(store.directory("fisv", "m", gone.key))
    path = store.directory("fisv", "m", changed.key) / RECORD
    before = path.stat()
    path.write_text(path.read_text().replace('"title": "Ridge', '"title": "Rigde'))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as large, and as old
    assert path.stat().st_size == before.st_size
    new = make_record(protocol="fisv", method="n")
    put(store, new)
    read = reads(monkeypatch)
    found = list(store.records())
    assert len(read) == 2, "the new and the changed one"
    monkeypatch.undo()
    assert found == plain(store)
    assert new in found
    assert gone.key not in {record.key for record in found}
    assert "Rigde on pooled features" in {record.title for record in found}
    assert {s.key for s in store.summaries().summaries} == {r.key for r in found}
    assert (store.root / INDEX).stat().st_ino == written, "three changes are not worth a new one"


def test_many_changes_renew_the_index_and_leave_other_protocols_in_it(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    RunIndex(store.root).rebuild()
    shutil.rmtree(store.root / "fisv" / "m")
    put_many(store.root, 2, protocol="fisv", method="late")
    assert len(list(store.records("fisv"))) == 2
    read = reads(monkeypatch)
    assert len(list(store.records())) == 11
    assert read == []
    with sqlite3.connect(store.root / INDEX) as db:
        assert db.execute("SELECT count(*) FROM runs").fetchone() == (11,)
        assert db.execute("SELECT count(*) FROM texts").fetchone() == (11,)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"not a database" * 100),
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        lambda path: path.write_bytes(path.read_bytes()[:5000] + b"\xff" * 4000),
        lambda path: (path.unlink(), path.mkdir()),
    ],
    ids=["empty", "other file", "cut off", "garbled", "folder"],
)
def test_a_damaged_index_is_as_good_as_none(store: RunStore, damage: object) -> None:
    expected = plain(store)
    RunIndex(store.root).rebuild()
    damage(store.root / INDEX)  # type: ignore[operator]
    assert list(store.records()) == expected
    assert len(store.summaries().summaries) == len(expected)
    assert list(store.records()) == expected


def test_an_index_of_another_version_is_made_anew(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    RunIndex(store.root).rebuild()
    with sqlite3.connect(store.root / INDEX) as db:
        db.execute("UPDATE version SET version = 'older'")
        db.execute("UPDATE runs SET summary = '[]'")
    assert len(store.summaries().summaries) == 15
    read = reads(monkeypatch)
    assert len(store.summaries().summaries) == 15
    assert read == []


def test_the_text_in_an_index_is_not_believed_over_the_file(store: RunStore) -> None:
    RunIndex(store.root).rebuild()
    with sqlite3.connect(store.root / INDEX) as db:
        db.execute("UPDATE texts SET text = ?", (b"{}",))
    assert list(store.records()) == plain(store)


@pytest.mark.parametrize("summary", ["nonsense", "[1, 2", '["finished"]', "null", b"\xff", ""])
def test_a_summary_that_makes_no_sense_is_made_anew(store: RunStore, summary: str | bytes) -> None:
    expected = store.summaries()
    RunIndex(store.root).rebuild()
    with sqlite3.connect(store.root / INDEX) as db:
        db.execute("UPDATE runs SET summary = ? WHERE rowid = 3", (summary,))
    assert store.summaries() == expected
    odd = [r for r in plain(store) if r.seed % 2]
    assert list(store.records(where=lambda one: one.seed % 2 == 1)) == odd


def test_an_index_of_other_folders_says_nothing(store: RunStore, tmp_path: Path) -> None:
    RunIndex(store.root).rebuild()
    other = RunStore(tmp_path / "other")
    put_many(other.root, 6, protocol="fisv")
    for path in other.root.rglob(RECORD):
        path.write_text(path.read_text().replace('"title": "Ridge', '"title": "Other'))
    shutil.copy(store.root / INDEX, other.root / INDEX)
    assert {r.title for r in other.records()} == {"Other on pooled features"}


def test_a_file_of_this_very_moment_is_read_each_time(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "SETTLED", 60 * 10**9)
    assert RunIndex(store.root).rebuild() == 0
    assert len(list(store.records())) == 15


def test_records_that_are_none_are_named_once_and_do_not_hide_the_others(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = sorted(store.root.glob(f"fisv/m/*/{RECORD}"))[:4]
    for path in bad[:3]:
        path.write_text("{}")
    text = bad[3].read_text()
    bad[3].write_text(text.replace('"budget": {', '"effort": {'))
    for _ in range(2):  # without an index, then with one
        found = store.summaries()
        assert [path for path, _ in found.unreadable] == bad
        assert "budget" in found.unreadable[3][1]
        assert len(found.summaries) == 11
    read = reads(monkeypatch)
    store.summaries()
    assert read == [], "that it is none is in the index, too"
    with pytest.raises(StoreError, match="is not a run record of this version"):
        list(store.records())
    assert len(list(store.records("fisv-missing"))) == 9


def test_torn_runs_and_hidden_folders_are_no_records(store: RunStore) -> None:
    (store.root / "fisv" / "m" / "torn").mkdir()
    hidden = store.root / "fisv" / "m" / ".moving"
    hidden.mkdir()
    shutil.copy(next(store.root.glob(f"fisv/m/*/{RECORD}")), hidden)
    (store.root / "fisv" / "protocol.yaml").write_text("")
    found = store.summaries()
    assert found.torn == ("fisv/m/torn",)
    assert len(found.summaries) == 15


def test_a_run_that_is_deleted_while_records_are_read_is_left_out(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "MANY", 100)
    records = store.records("fisv")
    first = next(records)
    last = max(store.root.glob("fisv/m/*"))
    shutil.rmtree(last)
    keys = [first.key, *(record.key for record in records)]
    assert len(keys) == 5
    assert last.name not in keys


def test_a_store_that_cannot_be_written_works_without(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(*arguments: object, **options: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "touch", closed)
    assert list(store.records()) == plain(store)
    assert len(store.summaries().summaries) == 15
    assert not list(store.root.glob("*index*"))
    with pytest.raises(StoreError, match="works without it, only slower"):
        RunIndex(store.root).rebuild()


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only a superuser can mount a small disk"
)
def test_a_store_on_a_read_only_or_full_disk_for_real(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        put_many(disk, 60)
        store = RunStore(disk)
        expected = plain(store)
        (disk / "filler").write_bytes(b"x" * (shutil.disk_usage(disk).free - 40 * 1024))
        assert list(store.records()) == expected
        assert not (disk / INDEX).exists(), "no room is taken from runs"
        with pytest.raises(StoreError, match="cannot be written"):
            RunIndex(disk).rebuild()
        assert not list(disk.glob(".index*"))
        (disk / "filler").unlink()
        RunIndex(disk).rebuild()
        shutil.rmtree(next(disk.glob("fisv-missing/m/*")))
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        assert list(store.records()) == plain(store)
        with pytest.raises(StoreError, match="cannot be written"):
            RunIndex(disk).rebuild()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


def test_a_folder_that_cannot_be_read_is_said(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = os.scandir

    def closed(folder: str) -> object:
        if str(folder).endswith("b.c"):
            raise PermissionError(13, "Permission denied")
        return scan(folder)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(
        StoreError, match=r"b\.c of the run store cannot be read: permission denied"
    ):
        list(store.records())
    assert len(list(store.records("fisv"))) == 6


def test_two_processes_at_once_leave_one_whole_index(store: RunStore) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from aqabench.runs import index; from aqabench.runs.index import RunIndex\n"
        "index.MANY, index.CHANGES, index.SETTLED = 5, 1, 0\n"
        "root = Path(sys.argv[1])\n"
        "for i in range(12):\n"
        "    RunIndex(root).rebuild() if i % 3 == 0 else None\n"
        "    found = RunIndex(root).summaries()\n"
        "    assert len(found.summaries) == 15, len(found.summaries)\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", script, str(store.root)], stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    for process in processes:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said.decode()
    assert list(store.records()) == plain(store)
    assert [path.name for path in store.root.iterdir() if "index" in path.name] == [INDEX]


def test_listing_needs_neither_torch_nor_pandas(store: RunStore) -> None:
    script = (
        "import sys; from pathlib import Path; from aqabench.runs.store import RunStore\n"
        "assert len(RunStore(Path(sys.argv[1])).summaries().summaries) == 15\n"
        "assert not {'torch', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script, str(store.root)], check=True)
