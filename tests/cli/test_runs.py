"""``aqabench runs`` and ``aqabench index``: list, show, diff, prune, export, import."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aqabench.runs import index as index_module
from aqabench.runs.index import INDEX
from aqabench.runs.store import CHECKPOINT, LOCK, PREDICTIONS, RECORD, RunStore
from tests.cli.conftest import Run
from tests.runs.stored import age, make_record, put

VERBS = ("list", "show", "diff", "prune", "export", "import")
NEW, OLD = "2" * 64, "1" * 64
WIDE = {"budget": "standard", "data_kind": "real"}


@pytest.fixture
def store(home: Path) -> RunStore:
    """Runs of two methods, one of them in an older version too, a failed and a torn one."""
    store = RunStore(home / "runs")
    for seed in (0, 1):
        put(store, make_record(seed=seed, source=OLD, started=f"2026-11-2{seed}T08:00:00+00:00"))
        put(store, make_record(seed=seed, source=NEW, started=f"2026-11-2{seed}T09:00:00+00:00"))
    row = {"overrides": {"stream": "audio"}, "settings": {"stream": "audio"}}
    put(store, make_record(method="unimodal", class_name="PCS", **row))
    put(store, make_record(method="unimodal", class_name="PCS", seed=3, **row, **WIDE))
    broken = make_record(
        method="mcmoe", status="failed", error="RuntimeError: broke\nbadly", traceback="line 1\n  x"
    )
    put(store, broken)
    torn = store.root / "fisv-missing" / "mcmoe" / ("f" * 16)
    torn.mkdir()
    (torn / PREDICTIONS).write_bytes(b"half")
    return store


def files(root: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in root.rglob("*") if p.is_file() and p.name != LOCK}


# --- help and imports -----------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_that_fits_80_columns(
    aqabench: Run, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    said = aqabench("runs", verb, "--help")
    assert said.code == 0
    assert f"Usage: aqabench runs {verb}" in said.words
    assert "--store" in said.out
    assert max(map(len, said.out.splitlines())) <= 80
    assert verb in aqabench("runs", "--help").words
    assert "index" in aqabench("--help").words


def test_no_verb_imports_torch(store: RunStore, tmp_path: Path) -> None:
    a, b = make_record(source=OLD).key, make_record(source=NEW).key
    lines = [
        *([["runs", verb, "--help"] for verb in VERBS]),
        ["index"],
        ["runs", "list"],
        ["runs", "show", a],
        ["runs", "diff", a, b],
        ["runs", "prune", "--failed", "--yes"],
        ["runs", "export", str(tmp_path / "a.zip")],
        ["runs", "import", str(tmp_path / "a.zip"), "--store", str(tmp_path / "other")],
    ]
    code = (
        "import sys; from aqabench.cli import main\n"
        f"for line in {lines!r}:\n"
        "    try: main(line)\n"
        "    except SystemExit as e: assert not e.code, (line, e.code)\n"
        "    assert 'torch' not in sys.modules, line\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


# --- list -----------------------------------------------------------------------------------------


def test_list_shows_the_newest_first_in_80_columns(
    aqabench: Run, store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    said = aqabench("runs", "list")
    assert said.code == 0
    assert max(len(line.rstrip()) for line in said.out.splitlines()[:12]) <= 80
    assert said.out.startswith("protocol fisv-missing\n"), "what all have in common, once"
    assert "protocol" not in said.out.splitlines()[1]
    assert "7 runs: 1 failed, 6 finished." in said.words
    assert "1 run without a record" in said.words
    rows = [line for line in said.out.splitlines() if " ridge " in line]
    assert [row.split()[0] for row in rows] == [
        make_record(seed=seed, source=source).key[:8] for seed in (1, 0) for source in (NEW, OLD)
    ]
    assert "unimodal[stream=audio]" in aqabench("runs", "list", "--data", "real").words


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        (["-p", "fisv-missing"], 7),
        (["--method", "ridge"], 4),
        (["--method", "unimodal"], 2),
        (["--method", "unimodal[stream=audio]", "-m", "mcmoe"], 3),
        (["--class", "PCS"], 2),
        (["--status", "failed"], 1),
        (["--data", "real"], 1),
        (["--budget", "quick", "--class", "PCS"], 1),
        (["--budget", "paper"], 0),
    ],
)
def test_list_filters(aqabench: Run, store: RunStore, filters: list[str], count: int) -> None:
    said = aqabench("runs", "list", "--format", "json", *filters)
    assert said.code == 0
    assert len(json.loads(said.out)) == count
    words = aqabench("runs", "list", *filters).words
    assert (f"{count} run" if count else "None of the 7 runs") in words


def test_list_for_programs(aqabench: Run, store: RunStore) -> None:
    rows = json.loads(aqabench("runs", "list", "--format", "json", "--limit", 1).out)
    assert rows[0]["fold"] is None
    assert rows[0]["row"] == "unimodal[stream=audio]"
    assert Path(rows[0]["folder"], RECORD).is_file()
    table = list(csv.DictReader(io.StringIO(aqabench("runs", "list", "--format", "csv").out)))
    assert len(table) == 7
    assert {row["error"] for row in table} == {"", "RuntimeError: broke"}


def test_list_limits_what_a_terminal_shows(aqabench: Run, store: RunStore) -> None:
    said = aqabench("runs", "list", "--limit", 2)
    assert "7 runs" in said.words
    assert "These are the newest 2. For all of them: --limit 0" in said.words
    assert "mcmoe" not in said.words


@pytest.mark.parametrize(
    ("option", "name", "near"),
    [("-p", "fisv-mising", "fisv-missing"), ("-m", "rigde", "ridge"), ("--class", "PSC", "PCS")],
)
def test_a_name_that_no_run_has_is_said(
    aqabench: Run, store: RunStore, option: str, name: str, near: str
) -> None:
    for verb in (["list"], ["export", "x.zip"], ["prune", "--failed"]):
        said = aqabench("runs", *verb, option, name)
        if verb[0] == "list" or option in ("-p", "-m", "--class"):
            assert (said.code, f"Did you mean '{near}'?" in said.words) == (2, True), said


def test_a_store_without_runs_says_how_to_make_some(aqabench: Run, tmp_path: Path) -> None:
    for verb in (["runs", "list"], ["runs", "list", "-p", "fisv-missing"]):
        said = aqabench(*verb, "--store", tmp_path / "none")
        assert (said.code, "aqabench run --method" in said.words) == (0, True)
    assert aqabench("runs", "list", "--format", "json").out.split() == ["[", "]"]
    assert aqabench("runs", "export", tmp_path / "a.zip").code == 2
    assert "There are no runs" in aqabench("index").words


def test_a_file_that_is_no_record_is_named_and_the_rest_is_listed(
    aqabench: Run, store: RunStore
) -> None:
    path = store.directory("fisv-missing", "ridge", make_record(source=OLD).key) / RECORD
    path.write_text("{}")
    said = aqabench("runs", "list")
    assert said.code == 0
    assert "6 runs" in said.words
    assert f"1 files are no run records of this version, e.g. {path}" in said.words


def test_keys_are_as_long_as_it_takes(aqabench: Run, store: RunStore) -> None:
    key = make_record(source=OLD).key
    twin = store.root / "fisv-missing" / "ridge" / (key[:9] + "0" * 7)
    shutil.copytree(store.directory("fisv-missing", "ridge", key), twin)
    assert f"{key[:10]} " in aqabench("runs", "list").out
    said = aqabench("runs", "show", key[:9])
    assert said.code == 2
    assert "2 runs have keys that begin with" in said.words
    assert "Give more digits" in said.words


# --- show -----------------------------------------------------------------------------------------


def test_show_says_everything_of_a_run(aqabench: Run, store: RunStore) -> None:
    record = make_record(source=OLD)
    said = aqabench("runs", "show", record.key[:6])
    assert said.code == 0
    for part in (
        record.key, "finished", "fisv-missing, version 1", "a" * 64, "b" * 64, OLD,
        "quick (steps 60, stride 8, evaluations 3)", "std = True", "lr = 0.0002",
        "val: 2, last: 3", "torch 2.13.0", "20 train, 4 val, 12 test", PREDICTIONS,
        str(store.directory("fisv-missing", "ridge", record.key)),
    ):  # fmt: skip
        assert part in said.words, part


def test_show_a_failed_and_a_torn_run(aqabench: Run, store: RunStore) -> None:
    said = aqabench("runs", "show", make_record(method="mcmoe").key)
    assert "RuntimeError: broke badly" in said.words
    assert "Traceback\nline 1\n  x" in said.out
    said = aqabench("runs", "show", "ffff")
    assert said.code == 0
    assert "cut off" in said.words
    assert "predictions.csv.gz 4 bytes" in said.words
    said = aqabench("runs", "diff", "ffff", make_record(source=OLD).key)
    assert (said.code, "has no record" in said.words) == (1, True)


def test_nothing_in_a_record_rules_the_terminal(aqabench: Run, store: RunStore) -> None:
    wild = make_record(seed=7, title="\x1b[2Jgone", overrides={"x": "\x1b]0;t\x07"})
    put(store, wild)
    for verb in (["list"], ["show", wild.key], ["diff", wild.key, make_record(source=OLD).key]):
        said = aqabench("runs", *verb)
        assert said.code == 0
        assert not {"\x1b", "\x07"} & set(said.out.replace("\x1b[0m", "")), verb
        assert "\\x1b]0;t\\x07" in said.words.replace(" ", "")


def test_an_unknown_key(aqabench: Run, store: RunStore) -> None:
    said = aqabench("runs", "show", "nothing")
    assert said.code == 2
    assert "whose key begins with 'nothing'" in said.words
    assert "aqabench runs list" in said.words


# --- diff -----------------------------------------------------------------------------------------


def test_diff_names_what_differs_one_by_one(aqabench: Run, store: RunStore) -> None:
    other = make_record(
        seed=5,
        source=NEW,
        settings={"std": False, "lr": 2e-4, "width": 8},
        environment={"python": "3.12.1", "torch": "2.13.0", "system": "Linux", "cores": "8"},
        selected_epochs={"val": 1, "last": 3},
        masks={"test": "9" * 64},
    )
    put(store, other, shift=0.25)
    said = aqabench("runs", "diff", make_record(source=OLD).key, other.key)
    assert said.code == 0
    lines = [" ".join(line.split()) for line in said.out.splitlines()]
    for line in (
        "question seed 0 5",
        f"code source_digest {OLD[:16]} {NEW[:16]}",
        "settings std yes no",
        "width – 8",
        "shown masks.test – " + "9" * 16,
        "packages python 3.11.7 3.12.1",
        "machine cores 2 8",
        "outcome selected_epochs.val 2 1",
    ):
        assert line in lines, (line, lines)
    assert not any(line.startswith(("lr", "torch", "class_name")) for line in lines)
    assert "val test 36 of 36 differ, by at most" in said.words
    assert (
        "The predictions differ, and the runs differ in what was asked, the code, the settings, "
        "what was shown, the packages and the machine." in said.words
    )


def test_diff_names_device_and_precision(aqabench: Run, store: RunStore) -> None:
    first, other = make_record(source=OLD), make_record(source=OLD, numerics={"precision": "bf"})
    put(store, other, shift=0.25)
    said = aqabench("runs", "diff", first.key, other.key)
    lines = [" ".join(line.split()) for line in said.out.splitlines()]
    assert "settings numerics.precision float32 bf" in lines, lines
    assert not any("numerics.device" in line for line in lines), "both are on the processor"
    assert "The predictions differ, and the runs differ in the settings." in said.words


def test_diff_of_another_question_compares_no_predictions(aqabench: Run, store: RunStore) -> None:
    ridge = make_record(source=OLD).key
    for other, why in (
        (make_record(method="mcmoe"), "B has failed and has no predictions"),
        (make_record(class_name="PCS"), "The classes differ"),
        (make_record(seed=8, dataset="rg"), "The data differ"),
    ):
        put(store, other) if other.class_name == "PCS" or other.seed == 8 else None
        said = aqabench("runs", "diff", ridge, other.key)
        assert said.code == 0
        assert f"Predictions: {why}" in said.words
        assert "The runs differ in" in said.words


def test_diff_with_another_store(aqabench: Run, store: RunStore, tmp_path: Path) -> None:
    record = make_record(source=OLD)
    other = RunStore(tmp_path / "other")

    def diff() -> str:
        said = aqabench("runs", "diff", record.key, "--other-store", other.root)
        assert said.code == 0
        return said.words

    put(other, record.model_copy(update={"started": "2026-12-01T00:00:00+00:00"}))
    assert "val test identical (36)" in diff()
    assert "The same run: nothing differs" in diff()
    put(other, record, shift=0.5)
    assert "36 of 36 differ, by at most 0.5 points" in diff()
    assert "Nothing that is recorded differs, but the numbers do" in diff()
    put(other, record.model_copy(update={"environment": {"torch": "2.14.0"}}), shift=0.5)
    assert "It is the same run, made elsewhere: only the packages and the machine differ" in diff()
    put(other, record.model_copy(update={"environment": {"torch": "2.14.0"}}))
    assert "The predictions are identical, although" in diff()


def test_diff_needs_two_runs(aqabench: Run, store: RunStore) -> None:
    said = aqabench("runs", "diff", make_record(source=OLD).key)
    assert (said.code, "--other-store FOLDER" in said.words) == (2, True)


# --- prune ----------------------------------------------------------------------------------------


def test_prune_deletes_only_what_is_named_and_only_with_yes(aqabench: Run, store: RunStore) -> None:
    before = files(store.root)
    said = aqabench("runs", "prune", "--failed", "--torn", "--older")
    assert said.code == 0
    assert "older" in said.words
    assert "RuntimeError: broke" in said.words
    assert (
        "Nothing is deleted yet: 1 failed runs, 2 runs of older versions, 1 runs cut off"
        in said.words
    )
    assert files(store.root) == before
    for flag, gone in (("--torn", "f" * 16), ("--failed", make_record(method="mcmoe").key)):
        assert "Deleted: 1 " in aqabench("runs", "prune", flag, "--yes").words
        before = {name: text for name, text in before.items() if gone not in name}
        assert files(store.root) == before
    assert "Deleted: 2 runs of older versions" in aqabench(
        "runs", "prune", "--older", "--yes"
    ).words  # fmt: skip
    assert {record.identity["source_digest"] for record in store.records()} == {NEW, OLD}
    assert all(r.identity["source_digest"] == NEW for r in store.records() if r.method == "ridge")
    said = aqabench("runs", "prune", "--failed", "--torn", "--older", "--yes")
    assert "There is nothing to delete." in said.words


def test_prune_needs_to_be_told(aqabench: Run, store: RunStore) -> None:
    said = aqabench("runs", "prune", "--yes")
    assert (said.code, "--failed, --torn, --older" in said.words) == (2, True)


def test_prune_keeps_to_its_filters(aqabench: Run, store: RunStore) -> None:
    flags = ("--failed", "--torn", "--older", "--yes")
    assert "nothing to delete" in aqabench("runs", "prune", *flags, "-m", "unimodal").words
    assert "nothing to delete" in aqabench("runs", "prune", *flags, "--class", "PCS").words
    assert "Deleted: 2 runs of older" in aqabench("runs", "prune", *flags, "-m", "ridge").words


def test_a_newer_version_that_only_failed_makes_nothing_old(aqabench: Run, store: RunStore) -> None:
    newest = "3" * 64
    when = "2026-11-25T00:00:00+00:00"
    put(store, make_record(source=newest, status="failed", error="broke", started=when))
    said = aqabench("runs", "prune", "--older")
    assert "2 runs of older versions" in said.words
    assert make_record(source=NEW).key[:8] not in said.words
    put(store, make_record(source=newest, seed=1, started=when))
    assert "4 runs of older versions" in aqabench("runs", "prune", "--older").words


def test_another_condition_or_row_has_its_own_versions(aqabench: Run, store: RunStore) -> None:
    put(store, make_record(method="unimodal", source=NEW, started="2026-12-01T00:00:00+00:00"))
    put(store, make_record(source="4" * 64, budget="paper", started="2026-12-01T00:00:00+00:00"))
    assert "2 runs of older versions" in aqabench("runs", "prune", "--older").words


def test_prune_leaves_a_run_that_is_at_work(aqabench: Run, store: RunStore) -> None:
    torn = store.root / "fisv-missing" / "mcmoe" / ("f" * 16)
    (torn / CHECKPOINT).write_bytes(b"so far")
    assert "could go on from its checkpoint" in aqabench("runs", "prune", "--torn").words
    script = (
        "import sys; from filelock import FileLock\n"
        "with FileLock(sys.argv[1]): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(torn / LOCK)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        assert "a process is at work on it" in aqabench("runs", "show", "ffff").words
        said = aqabench("runs", "prune", "--torn", "--yes")
        process.stdin.close()
    assert "Left alone, because a process is at work on it" in said.words
    assert (torn / CHECKPOINT).exists()
    assert "Deleted: 1 runs cut off" in aqabench("runs", "prune", "--torn", "--yes").words
    assert not torn.exists()


def test_prune_follows_no_link(aqabench: Run, store: RunStore, tmp_path: Path) -> None:
    outside = RunStore(tmp_path / "outside")
    put(outside, make_record(method="mcmoe", seed=9, status="failed", error="elsewhere"))
    treasure = tmp_path / "treasure"
    treasure.mkdir()
    (treasure / "file").write_text("precious")
    (store.root / "fisv-missing" / "linked").symlink_to(outside.root / "fisv-missing" / "mcmoe")
    (store.root / "other").symlink_to(treasure.parent)
    torn = store.root / "fisv-missing" / "mcmoe" / ("f" * 16)
    (torn / "link").symlink_to(treasure)
    before = files(outside.root)
    said = aqabench("runs", "prune", "--failed", "--torn", "--yes")
    assert said.code == 0
    assert "it is or lies behind a link" in said.words
    assert not torn.exists(), "the link in it is deleted, not what it leads to"
    assert (treasure / "file").read_text() == "precious"
    assert files(outside.root) == before


def test_a_run_that_changed_since_it_was_chosen_stays(store: RunStore) -> None:
    from aqabench.runs.prune import choose, delete

    doomed, _ = choose(store, failed=True)
    put(store, make_record(method="mcmoe"))  # it was done again, and finished
    (kept,) = delete(doomed)
    assert kept is not None
    assert "changed" in kept.reason
    assert store.find("fisv-missing", "mcmoe", make_record(method="mcmoe").key) is not None


def test_prune_takes_old_temporary_files_and_leaves_young_ones(
    aqabench: Run, store: RunStore
) -> None:
    folder = store.directory("fisv-missing", "ridge", make_record(source=NEW).key)
    old = [folder / f".{RECORD}.{'0' * 32}", store.root / f".{INDEX}.{'1' * 32}"]
    young, own = folder / f".{RECORD}.{'2' * 32}", folder / ".my-notes"
    for path in (*old, young, own):
        path.write_text("x")
        age(path, 7200 if path in old or path is own else 0)
    said = aqabench("runs", "prune", "--torn", "--yes")
    assert "2 files of killed processes" in said.words
    assert not any(path.exists() for path in old)
    assert young.exists()
    assert own.exists()


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only a superuser can mount a small disk"
)
def test_a_store_that_may_not_be_written(aqabench: Run, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        store = RunStore(disk)
        put(store, make_record(status="failed", error="broke"))
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        own = ("--store", disk)
        assert "1 run: 1 failed" in aqabench("runs", "list", *own).words
        assert aqabench("runs", "show", make_record().key, *own).code == 0
        said = aqabench("runs", "prune", "--failed", "--yes", *own)
        assert (said.code, "read-only" in said.words) == (1, True), said
        said = aqabench("index", *own)
        assert (said.code, "only slower" in said.words) == (1, True), said
        assert aqabench("runs", "export", tmp_path / "a.zip", *own).code == 0
        said = aqabench("runs", "export", disk / "a.zip", *own)
        assert (said.code, "the disk is read-only" in said.words) == (1, True), said
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


# --- export, import, index ------------------------------------------------------------------------


def test_export_and_import(aqabench: Run, store: RunStore, tmp_path: Path) -> None:
    path, other = tmp_path / "a.zip", tmp_path / "other"
    said = aqabench("runs", "export", path, "-m", "ridge", "--status", "finished")
    assert said.code == 0
    assert "Exported 4 runs" in said.words
    said = aqabench("runs", "export", path)
    assert (said.code, "--overwrite" in said.words) == (2, True)
    assert "Exported 7 runs" in aqabench("runs", "export", path, "--overwrite").words
    assert aqabench("runs", "export", tmp_path / "a.tar").code == 2
    said = aqabench("runs", "import", path, "--store", other)
    assert said.code == 0
    assert "Imported 7 runs; 0 were here already; 0 refused" in said.words
    said = aqabench("runs", "import", path, "--store", other)
    assert "Imported 0 runs; 7 were here already; 0 refused" in said.words
    shutil.rmtree(other)
    put(RunStore(other), make_record(source=OLD), shift=1.0)
    said = aqabench("runs", "import", path, "--store", other)
    assert said.code == 1
    assert "Imported 6 runs; 0 were here already; 1 refused" in said.words
    assert "is stored here with other content, which stays" in said.words
    assert aqabench("runs", "import", tmp_path / "none.zip").code == 1


def test_index_is_made_on_demand_and_may_be_deleted(
    aqabench: Run, store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "SETTLED", -(10**12))
    before = aqabench("runs", "list").out
    said = aqabench("index")
    assert said.code == 0
    assert "7 runs in" in said.words
    assert str(store.root / INDEX) in said.words
    assert aqabench("runs", "list").out == before
    (store.root / INDEX).unlink()
    assert aqabench("runs", "list").out == before
    assert not (store.root / INDEX).exists()


def test_real_runs_go_through_all_verbs(installed: Run, tmp_path: Path) -> None:
    """Records as ``aqabench run`` writes them, not as this file does."""
    real = ("-p", "fisv-rgb", "--data", "real", "--budget", "quick", "--class", "TES")
    assert installed("run", "-m", "ridge", *real).code == 0
    (row,) = json.loads(installed("runs", "list", "--format", "json").out)
    assert "epoch chosen" in installed("runs", "show", row["key"]).words
    board = installed("compare").out
    assert installed("runs", "export", tmp_path / "a.zip").code == 0
    other = ("--store", tmp_path / "other")
    assert "Imported 1 run;" in installed("runs", "import", tmp_path / "a.zip", *other).words
    assert installed("compare", *other).out == board
    assert "The same run" in installed("runs", "diff", row["key"], "--other-store", other[1]).words
