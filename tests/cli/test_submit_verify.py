"""``aqabench submit`` and ``verify``: what is handed in whole comes through, what is forged not."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from aqabench.board.folder import RECORDS
from aqabench.cli import main
from aqabench.cli.asking import ask
from aqabench.method.registry import discover
from aqabench.protocol.load import dump
from aqabench.runs.execute import execute
from aqabench.runs.listener import Silent
from aqabench.runs.places import RECORD
from aqabench.runs.plan import make_plan
from aqabench.runs.record import RunRecord
from aqabench.runs.store import RunStore
from aqabench.runs.verified import VERIFIED
from aqabench.stats import mse
from tests.board.made import ship
from tests.cli.conftest import Run
from tests.helpers import write_gdlt_release

OUTSIDE = """
from aqabench.baselines.ridge import Ridge
from aqabench.method.card import MethodCard

class Outside(Ridge):
    card = MethodCard(name="outside", title="Ours", kind="baseline", summary="s", missing="m",
                      settings={"std": True})
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a small release of Fis-V and finished runs of a method from outside."""
    root = tmp_path_factory.mktemp("made")
    release = write_gdlt_release(root / "release", train=40, test=16)
    (root / "outside.py").write_text(OUTSIDE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AQABENCH_HOME", str(root / "home"))
        with pytest.raises(SystemExit, match="0"):
            main(["data", "import", "fisv", "--from", str(release)])
        registry, store = discover([root / "outside.py"]), RunStore(root / "home" / "runs")
        asked, source, question = ask("fisv-rgb", "real", "quick")
        store.keep_protocol("fisv-rgb", dump(asked.protocol))
        torch.set_num_threads(1)
        plan = make_plan(question, registry, ["outside"], {})
        assert not execute(plan, source.load(), registry, store, Silent()).failed
    return root


@pytest.fixture
def home(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of these tests; the store is only read."""
    monkeypatch.setenv("AQABENCH_HOME", str(made / "home"))
    monkeypatch.setenv("COLUMNS", "100")
    return made / "home"


@pytest.fixture
def store(home: Path, tmp_path: Path) -> RunStore:
    """A copy of the runs, to be forged."""
    shutil.copytree(home / "runs", tmp_path / "runs")
    return RunStore(tmp_path / "runs")


def forge(store: RunStore, change: Callable[[pd.DataFrame, list[Any], dict[str, Any]], Any]) -> str:
    """Change a run where its key does not show it; return the key."""
    record = next(iter(store.records()))
    folder = store.directory("fisv-rgb", record.method, record.key)
    frame, curve = store.predictions(record), store.curve(record)
    told = json.loads((folder / RECORD).read_text())
    changed = change(frame, curve, told)
    frame = changed if isinstance(changed, pd.DataFrame) else frame
    store.write(RunRecord.model_validate(told), frame, curve)
    return record.key


# --- what is whole comes through ------------------------------------------------------------------


def test_a_submission_is_one_file_that_its_reader_can_check(
    aqabench: Run, made: Path, tmp_path: Path
) -> None:
    plugin, file = ("--plugin", made / "outside.py"), tmp_path / "ours.zip"
    said = aqabench("submit", "outside", "-p", "fisv-rgb", *plugin, "-o", file)
    assert said.code == 0, said.words
    assert "Packed 2 runs" in said.words
    assert "It holds the judges' scores" in said.words
    with zipfile.ZipFile(file) as packed:
        assert packed.read("fisv-rgb/outside/source/outside.py").decode() == OUTSIDE
        assert json.loads(packed.read("fisv-rgb/outside/card.json"))["title"] == "Ours"
    before = file.read_bytes()
    assert aqabench("submit", "outside", "-p", "fisv-rgb", *plugin, "-o", file).code == 2
    aqabench("submit", "outside", "-p", "fisv-rgb", *plugin, "-o", file, "--overwrite")
    assert file.read_bytes() == before
    said = aqabench("verify", file)
    assert said.code == 0, said.words
    assert "outside.py is what its runs were made from" in said.words
    assert "2 of 2 runs hold: 24 numbers recomputed" in said.words
    assert "videos, scores and masks of 2 are those of the data" in said.words
    said = aqabench("runs", "import", file, "--store", tmp_path / "there")
    assert "Imported 2 runs" in said.words
    assert not list((tmp_path / "there").rglob("*.py"))


def test_training_again_needs_the_source_named_by_hand(
    aqabench: Run, made: Path, tmp_path: Path
) -> None:
    store = made / "home" / "runs"
    said = aqabench("verify", store, "--retrain", "--plugin", made / "outside.py", "--draw", "3")
    assert said.code == 0, said.words
    assert "trained again: all" in said.words
    said = aqabench("verify", store, "--retrain")
    assert said.code == 2
    assert "There is no method called 'outside'" in said.words
    other = tmp_path / "outside.py"
    other.write_text(OUTSIDE + "# changed\n")
    said = aqabench("verify", store, "--retrain", "--plugin", other)
    assert said.code == 1
    assert "another version of its source" in said.words


def test_without_the_data_it_is_said_what_was_not_checked(
    aqabench: Run, store: RunStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AQABENCH_HOME", str(tmp_path / "empty"))
    said = aqabench("verify", store.root)
    assert said.code == 0
    assert "videos and scores are not checked: Fis-V is not installed here" in said.words
    assert "masks of 0 are those of the data" in said.words


def test_a_board_shows_what_is_verified_until_a_byte_changes(
    aqabench: Run, store: RunStore, tmp_path: Path
) -> None:
    folder = tmp_path / "fisv"
    ship(store, folder)
    show = ("board", "--records", folder, "--format", "markdown")
    assert "- outside: unverified: as it was handed in." in aqabench(*show).out
    said = aqabench("verify", folder, "--write")
    assert said.code == 0, said.words
    assert (folder / VERIFIED).is_file()
    verified = "verified: numbers recomputed from predictions, videos, scores and masks as in the"
    assert f"- outside: {verified} data." in aqabench(*show).out
    aqabench("board", "--records", folder, "-o", folder / "board.csv")
    assert aqabench("verify", folder).code == 0
    one = sorted((folder / RECORDS).glob("*.predictions.csv.gz"))[0]
    text = gzip.decompress(one.read_bytes())
    one.write_bytes(gzip.compress(text, mtime=1))
    assert "- outside: unverified: 1 of 2 runs." in aqabench(*show).out
    (folder / "board.csv").write_text("mine")
    said = aqabench("verify", folder)
    assert said.code == 1
    assert "board.csv" in said.words
    assert "Render it again: aqabench board --records" in said.words


def test_runs_that_hold_are_laid_into_a_leaderboard(
    aqabench: Run, made: Path, store: RunStore, tmp_path: Path
) -> None:
    folder = tmp_path / "board"
    said = aqabench("verify", store.root, "--into", folder)
    assert said.code == 0, said.words
    assert "Laid 2 runs into" in said.words
    records = sorted(p.name for p in (folder / RECORDS).iterdir())
    assert len(records) == 6
    assert "0 runs into" in aqabench("verify", store.root, "--into", folder).words
    assert sorted(p.name for p in (folder / RECORDS).iterdir()) == records
    assert aqabench("verify", folder, "--write").code == 0
    forge(store, _better)
    other = tmp_path / "other"
    said = aqabench("verify", store.root, "--into", other)
    assert said.code == 1
    assert "Nothing was laid into" in said.words
    assert not other.exists()


# --- what is not whole is not handed in -----------------------------------------------------------


def test_what_is_missing_is_named_with_the_command(
    aqabench: Run, made: Path, store: RunStore, tmp_path: Path
) -> None:
    plugin, place = ("--plugin", made / "outside.py"), ("--store", store.root)
    submit = ("submit", "outside", "-p", "fisv-rgb", *place, "-o", tmp_path / "a.zip")
    said = aqabench(*submit)
    assert said.code == 2
    assert "Name its file: --plugin FILE.py" in said.words
    changed = tmp_path / "outside.py"
    changed.write_text(OUTSIDE + "# another\n")
    said = aqabench(*submit, "--plugin", changed)
    assert said.code == 2
    assert "another version of outside.py" in said.words
    record = next(r for r in store.records() if r.class_name == "PCS")
    shutil.rmtree(store.directory("fisv-rgb", "outside", record.key))
    said = aqabench(*submit, *plugin)
    assert said.code == 2
    assert "1 of the 2 finished runs" in said.words
    assert "missing: PCS seed 0. Run: aqabench run -m outside -p fisv-rgb" in said.words
    again = f"--class PCS --plugin {made / 'outside.py'}"
    assert again in said.words
    assert f"{again} --keep-weights" not in said.words
    assert f"{again} --keep-weights" in aqabench(*submit, *plugin, "--weights").words
    assert aqabench("submit", "outsde", "-p", "fisv-rgb", *place).code == 2
    assert aqabench("submit", "outside", "-p", "fisv-rgb", "-o", "a.tar").code == 2
    assert not (tmp_path / "a.zip").exists()


# --- what is forged is found ----------------------------------------------------------------------


def _better(frame: pd.DataFrame, curve: list[Any], told: dict[str, Any]) -> None:
    frame["prediction"] += 0.5 * (frame["score"] - frame["prediction"])


def _other_epoch(frame: pd.DataFrame, curve: list[Any], told: dict[str, Any]) -> None:
    told["selected_epochs"]["val"] += 1


def _dropped(frame: pd.DataFrame, curve: list[Any], told: dict[str, Any]) -> pd.DataFrame:
    hard = frame.loc[frame["part"] == "test", "sample_id"].iloc[0]
    return frame.loc[frame["sample_id"] != hard]


def _dropped_and_told(frame: pd.DataFrame, curve: list[Any], told: dict[str, Any]) -> pd.DataFrame:
    told["samples"]["test"] -= 1
    return _consistent(_dropped(frame, curve, told), curve)


def _scores(frame: pd.DataFrame, curve: list[Any], told: dict[str, Any]) -> pd.DataFrame:
    frame["score"] = np.round(frame["score"] + 1.0, 6)
    return _consistent(frame, curve)


def _curve(frame: pd.DataFrame, curve: list[Any], told: dict[str, Any]) -> None:
    curve[0]["criterion"] += 0.01


def _infinite(frame: pd.DataFrame, curve: list[Any], told: dict[str, Any]) -> None:
    frame.loc[0, "prediction"] = np.inf


def _budget(frame: pd.DataFrame, curve: list[Any], told: dict[str, Any]) -> None:
    told["identity"]["budget"]["steps"] = 600


def _consistent(frame: pd.DataFrame, curve: list[Any]) -> pd.DataFrame:
    """Make the curve tell the errors of changed predictions; their order is as before."""
    from aqabench.stats import spearman

    for look in curve:
        own = frame[(frame["part"] == look["part"]) & (frame["rule"] == "last")]
        told = {"srcc": float(spearman(own["score"], own["prediction"])),
                "mse": float(mse(own["score"], own["prediction"]))}  # fmt: skip
        look["v"], look["criterion"] = told, float(np.arctanh(told["srcc"]))
    return frame


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_better, "its predictions give"),
        (_other_epoch, "has no look at"),
        (_dropped, "of 16 test predictions"),
        (_dropped_and_told, "has parts of other sizes than its data set"),
        (_scores, "its data set says"),
        (_curve, "its correlations give"),
        (_infinite, "has predictions that are not finite"),
        (_budget, "has a key that is not the hash of its identity"),
    ],
)
def test_a_forged_run_is_found(aqabench: Run, store: RunStore, change: Any, words: str) -> None:
    key = forge(store, change)
    said = aqabench("verify", store.root)
    assert said.code == 1
    assert words in said.words
    assert key in said.words
    assert "1 of 2 runs hold" in said.words


def test_predictions_that_did_not_come_out_of_the_method_need_training_again(
    aqabench: Run, made: Path, store: RunStore
) -> None:
    def shifted(frame: pd.DataFrame, curve: list[Any], told: dict[str, Any]) -> pd.DataFrame:
        frame["prediction"] = np.round(frame["prediction"] - 0.25, 6)
        return _consistent(frame, curve)

    key = forge(store, shifted)
    assert aqabench("verify", store.root).code == 0  # consistent in itself, and with the data
    keys = sorted(r.key for r in store.records())
    draw = next(s for s in range(99) if keys[np.random.default_rng(s).integers(2)] == key)
    said = aqabench(
        "verify", store.root, "--retrain", "--draw", draw, "--plugin", made / "outside.py"
    )
    assert said.code == 1
    assert "predictions differ, by 0.25 judge points at most" in said.words


def test_a_number_that_does_not_follow_is_not_handed_in(
    aqabench: Run, made: Path, store: RunStore, tmp_path: Path
) -> None:
    forge(store, _better)
    file = tmp_path / "a.zip"
    said = aqabench(
        "submit", "outside", "-p", "fisv-rgb", "--store", store.root, "-o", file,
        "--plugin", made / "outside.py",
    )  # fmt: skip
    assert said.code == 1
    assert "so it is not handed in" in said.words
    assert not file.exists()


@pytest.mark.parametrize(
    "name",
    ["../evil.py", "fisv-rgb/outside/source/../../evil.py", "fisv-rgb/outside/source/.evil.py",
     "fisv-rgb/outside/source/evil.sh", "fisv-rgb/outside/weights.pt"],
)  # fmt: skip
def test_a_hostile_file_is_refused_as_a_whole(aqabench: Run, tmp_path: Path, name: str) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr(name, "raise SystemExit(7)")
    (tmp_path / "evil.zip").write_bytes(packed.getvalue())
    said = aqabench("verify", tmp_path / "evil.zip")
    assert said.code == 1
    assert "is no file of a run" in said.words


def test_what_is_no_submission_is_an_error(aqabench: Run, tmp_path: Path, made: Path) -> None:
    (tmp_path / "none").mkdir()
    for arguments, code, words in (
        ((tmp_path / "none",), 2, "There is no record in"),
        ((tmp_path / "none.zip",), 1, "There is no file"),
        ((made / "home" / "runs", "--write"), 2, "is no folder of records"),
    ):
        said = aqabench("verify", *arguments)
        assert said.code == code
        assert words in said.words
