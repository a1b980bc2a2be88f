"""``run --keep-weights``, ``submit`` and ``verify --weights``: predictions come out of weights."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from aqabench.cli import main
from aqabench.cli.asking import ask
from aqabench.method.registry import discover
from aqabench.protocol.load import dump
from aqabench.runs.execute import do_run
from aqabench.runs.listener import Silent
from aqabench.runs.plan import make_plan
from aqabench.runs.record import RunRecord
from aqabench.runs.states import State, pack, unpack
from aqabench.runs.store import RunStore
from aqabench.runs.verify import TOLERANCE
from aqabench.runs.weights import WEIGHTS
from aqabench.stats import mse
from tests.cli.conftest import Run
from tests.helpers import write_gdlt_release

SMALL = """
from torch import nn
from aqabench.method.base import TorchMethod
from aqabench.method.card import MethodCard

class Small(TorchMethod):
    card = MethodCard(name="small", title="Small", kind="baseline", summary="s", missing="m",
                      settings={"optimizer": "adam", "lr": 1e-3, "weight_decay": 0.0,
                                "batch_size": 8, "epochs": 2})

    def build(self, task):
        return nn.ModuleDict({m: nn.Linear(d, 4) for m, d in task.modalities.items()})

    def encode(self, modality, features, valid):
        return self.net[modality](features.mean(1))

    def score(self, encoded, available, valid):
        return sum(e.tanh().sum(1).where(available[:, 0], 0.5) for e in encoded.values())

    def loss(self, batch, generator):
        encoded = self.encode_rows(batch, batch.available)
        found = self.score(encoded, batch.available, batch.valid)
        return {"mse": (found - batch.score).square().mean()}
"""
RUN = ("-p", "fisv-rgb", "--data", "real", "--budget", "quick")


@dataclass(frozen=True)
class Made:
    """A home with a small release of Fis-V, and two finished runs of a network with weights."""

    root: Path

    @property
    def plugin(self) -> tuple[str, Path]:
        return "--plugin", self.root / "small.py"

    @property
    def store(self) -> RunStore:
        return RunStore(self.root / "home" / "runs")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    found = Made(tmp_path_factory.mktemp("made"))
    release = write_gdlt_release(found.root / "release", train=40, test=16)
    found.plugin[1].write_text(SMALL)
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AQABENCH_HOME", str(found.root / "home"))
        with pytest.raises(SystemExit, match="0"):
            main(["data", "import", "fisv", "--from", str(release)])
        asked, source, question = ask("fisv-rgb", "real", "quick")
        registry = discover([found.plugin[1]])
        found.store.keep_protocol("fisv-rgb", dump(asked.protocol))
        for spec in make_plan(question, registry, ["small"], {}):
            record, _ = do_run(spec, source.load(), registry, found.store, Silent(), weights=True)
            assert record.status == "finished", record.traceback
    return found


@pytest.fixture
def home(made: Made, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of these tests; its store is only read."""
    monkeypatch.setenv("AQABENCH_HOME", str(made.root / "home"))
    monkeypatch.setenv("COLUMNS", "100")
    return made.root / "home"


@pytest.fixture
def store(home: Path, tmp_path: Path) -> RunStore:
    """A copy of the runs, to be forged."""
    shutil.copytree(home / "runs", tmp_path / "runs")
    return RunStore(tmp_path / "runs")


def weights_of(store: RunStore, record: RunRecord) -> Path:
    return store.directory("fisv-rgb", record.method, record.key) / WEIGHTS


def change(store: RunStore, what: Callable[[State], Any]) -> str:
    """Forge the weights of a run; return its key."""
    record = next(iter(store.records()))
    path = weights_of(store, record)
    states = unpack(path.read_bytes())
    for state in {id(state): state for state in states.values()}.values():
        what(state)
    path.write_bytes(pack(states))
    return record.key


# --- what is whole comes through ------------------------------------------------------------------


def test_weights_are_handed_in_and_give_the_predictions(
    aqabench: Run, made: Made, tmp_path: Path
) -> None:
    heavy, light = tmp_path / "heavy.zip", tmp_path / "light.zip"
    said = aqabench("submit", "small", "-p", "fisv-rgb", *made.plugin, "-o", heavy)
    assert said.code == 0, said.words
    assert "KiB of it weights" in said.words
    assert "and weights, in which some methods keep training samples: give it only" in said.words
    said = aqabench("submit", "small", "-p", "fisv-rgb", *made.plugin, "-o", light, "--no-weights")
    assert "of it weights" not in said.words
    assert not any(WEIGHTS in name for name in zipfile.ZipFile(light).namelist())
    said = aqabench("verify", heavy, *made.plugin)
    assert said.code == 0
    assert "Weights are kept with 2 of 2 runs, but predictions were not made again." in said.words
    assert f"aqabench verify {heavy} --plugin {made.plugin[1]} --weights" in said.words
    said = aqabench("verify", heavy, *made.plugin, "--weights")
    assert said.code == 0, said.words
    assert "2 of 2 runs predicted again from weights: all" in said.words
    assert "are the same, bit by bit as they are stored" in said.words
    said = aqabench("verify", light, *made.plugin, "--weights")
    assert said.code == 1
    assert "2 runs did not predict again: no weights are kept with them" in said.words


def test_who_has_no_source_or_no_data_is_told(
    aqabench: Run, made: Made, store: RunStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = aqabench("verify", store.root, "--weights")
    assert said.code == 1
    assert "2 runs did not predict again: There is no method called 'small'" in said.words
    other = tmp_path / "small.py"
    other.write_text(SMALL + "# changed\n")
    said = aqabench("verify", store.root, "--weights", "--plugin", other)
    assert said.code == 1
    assert "2 runs did not predict again: small cannot predict again" in said.words
    monkeypatch.setenv("AQABENCH_HOME", str(tmp_path / "empty"))
    said = aqabench("verify", store.root, "--weights", *made.plugin)
    assert said.code == 1
    assert "2 runs did not predict again: their data are not here" in said.words


def test_the_flag_keeps_weights_and_says_what_has_none(aqabench: Run, tmp_path: Path) -> None:
    there = RunStore(tmp_path / "runs")
    place = ("--store", there.root)
    asked, source, question = ask("fisv-rgb", "real", "quick")
    there.keep_protocol("fisv-rgb", dump(asked.protocol))
    (spec,) = make_plan(question, discover(), ["constant"], {}, classes=["PCS"])
    do_run(spec, source.load(), discover(), there, Silent())
    said = aqabench("run", "-m", "constant", *RUN, *place, "--keep-weights")
    assert said.code == 0, said.words
    assert said.words.count("Stored without weights: 1 of 2 runs, which stay as they are") == 1
    said = aqabench("run", "-m", "constant", *RUN, *place, "--class", "TES", "--keep-weights")
    assert "All 1 runs are stored already" in said.words
    assert "without weights" not in said.words
    one, other = there.records()
    shown = {
        r.class_name: aqabench("runs", "show", r.key, *place).words.partition("Files")[0]
        for r in (one, other)
    }
    assert "weights kept, " in shown["TES"]
    assert "weights not kept" in shown["PCS"]
    submit = ("submit", "constant", "-p", "fisv-rgb", *place, "-o", tmp_path / "a.zip")
    said = aqabench(*submit, "--weights")
    assert said.code == 2
    assert "1 of 2 runs have no weights" in said.words
    said = aqabench(*submit)
    assert said.code == 0, said.words
    assert "No weights are in it: 1 of 2 runs have none" in said.words
    said = aqabench("verify", there.root, "--weights")
    assert said.code == 1
    assert "1 of 2 runs predicted again from weights: all" in said.words


# --- what is forged is found ----------------------------------------------------------------------


def test_predictions_that_do_not_come_out_of_the_weights_are_found(
    aqabench: Run, made: Made, store: RunStore
) -> None:
    record = next(iter(store.records()))
    frame, curve = store.predictions(record), store.curve(record)
    frame["prediction"] -= 0.25  # which changes no rank, so that the same epochs are chosen
    for rule, epoch in record.selected_epochs.items():
        for look in curve:
            if look["epoch"] == epoch:
                own = frame[(frame["rule"] == rule) & (frame["part"] == look["part"])]
                look["v"]["mse"] = float(mse(own["score"], own["prediction"]))
    store.write(record, frame, curve)
    said = aqabench("verify", store.root, *made.plugin)
    assert said.code == 0, "consistent in itself, and with the data"
    said = aqabench("verify", store.root, *made.plugin, "--weights")
    assert said.code == 1
    assert f"({record.key}) has predictions that do not come out of its weights" in said.words
    assert "differ, by 0.25 judge points at most" in said.words
    assert "1 of 2 runs predicted again from weights: all" in said.words


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (lambda s: s["video.bias"].add_(0.01), "predictions that do not come out of its weights"),
        (lambda s: s["video.bias"].fill_(torch.nan), "weights that do not fit small: MethodError"),
        (lambda s: s.pop("video.bias"), "weights that do not fit small: RuntimeError"),
        (lambda s: s.update(more=torch.ones(1)), "weights that do not fit small: RuntimeError"),
        (lambda s: s.update({"video.bias": torch.ones(7)}), "do not fit small: RuntimeError"),
    ],
)
def test_forged_weights_are_found(
    aqabench: Run, made: Made, store: RunStore, what: Callable[[State], Any], words: str
) -> None:
    key = change(store, what)
    said = aqabench("verify", store.root, "--weights", *made.plugin)
    assert said.code == 1
    assert words in said.words
    assert f"({key})" in said.words
    assert "1 of 2 runs predicted again from weights: all" in said.words


def test_what_another_machine_may_change_is_said_and_allowed(
    aqabench: Run, made: Made, store: RunStore
) -> None:
    change(store, lambda s: s["video.bias"].add_(1e-7))
    said = aqabench("verify", store.root, "--weights", *made.plugin)
    assert said.code == 0, said.words
    assert "2 of 2 runs predicted again from weights" in said.words
    assert f"judge points at most. {TOLERANCE:g} is allowed" in said.words


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("evil",)


def test_hostile_weights_are_a_line_and_never_run(
    aqabench: Run, made: Made, store: RunStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    record, other = store.records()
    torch.save({"last": _Evil()}, weights_of(store, record))
    torch.save({"last": {"a": torch.ones(1)}}, weights_of(store, other))
    said = aqabench("verify", store.root, "--weights", *made.plugin)
    assert said.code == 1
    assert "something else than tensors; nothing of it was run" in said.words
    assert "has weights for the rules last; its record names" in said.words
    assert "0 of 2 runs predicted again from weights." in said.words
    assert not (tmp_path / "evil").exists()
    assert aqabench("verify", store.root, *made.plugin).code == 0, "nothing else is wrong"
