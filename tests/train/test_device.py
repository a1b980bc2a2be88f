"""Devices and precision: one place decides, everything is put back, and the key says so."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from aqabench.board.select import by_condition
from aqabench.cli import main
from aqabench.data.batch import Batch, Split, keep_resident
from aqabench.data.simulator import simulate
from aqabench.errors import MethodError, UsageError
from aqabench.method.base import FitContext, Task, TorchMethod
from aqabench.method.card import MethodCard
from aqabench.method.registry import discover
from aqabench.runs.execute import execute
from aqabench.runs.plan import RunSpec, make_plan
from aqabench.runs.store import RunStore
from aqabench.train import device, numerics
from aqabench.train.device import computing, require_device
from aqabench.train.evaluate import Looks, Part
from aqabench.train.numerics import USUAL, Numerics, may_have_gpu
from tests.runs.sweeps import Heard
from tests.train.elsewhere import tiny_question

BFLOAT16 = Numerics(precision="bfloat16")
NETWORKS = sorted(
    name
    for name in discover().names()
    if "optimizer" in discover().get(name).card.settings  # type: ignore[union-attr]
)

FEW = "gdlt", "mcmoe"
SOME_FAST = [*FEW, *(pytest.param(m, marks=pytest.mark.slow) for m in NETWORKS if m not in FEW)]
"""All networks, most of them in the slow tests."""


def _spec(method: str, chosen: Numerics = USUAL) -> RunSpec:
    question = tiny_question()
    return make_plan(question, discover(), [method], {}, seeds=[0], numerics=chosen)[0]


# --- the key --------------------------------------------------------------------------------------


def test_what_is_usual_is_no_part_of_a_key() -> None:
    spec = _spec("mcmoe")
    assert "numerics" not in spec.identity
    assert spec.row == "mcmoe"


@pytest.mark.parametrize(
    ("chosen", "row"),
    [
        (BFLOAT16, "mcmoe[precision=bfloat16]"),
        (Numerics("cuda"), "mcmoe[device=cuda]"),
        (Numerics("cuda", "bfloat16"), "mcmoe[device=cuda, precision=bfloat16]"),
        (Numerics(compiled="layers"), "mcmoe[compiled=layers]"),
    ],
)
def test_other_numerics_are_other_runs_and_a_row_of_their_own(chosen: Numerics, row: str) -> None:
    spec = _spec("mcmoe", chosen)
    assert spec.identity["numerics"] == chosen.changed
    assert spec.key != _spec("mcmoe").key
    assert spec.row == row
    assert "precision" not in spec.settings


def test_what_is_no_network_computes_as_always() -> None:
    usual = _spec("ridge")
    assert _spec("ridge", Numerics("cuda", "bfloat16")) == usual


def test_the_shared_loop_trains_exactly_what_has_an_optimizer() -> None:
    """By that setting a plan tells networks without importing them."""
    registry = discover()
    trained = {n for n in registry.names() if issubclass(registry.load(n), TorchMethod)}
    assert trained == set(NETWORKS)


# --- the process ----------------------------------------------------------------------------------


@pytest.fixture
def _fresh() -> None:
    """Tests in which runs share this process, in threads, may leave it as a run wants it."""
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = False
    torch.backends.cudnn.allow_tf32 = True


def test_an_operation_that_cannot_be_deterministic_refuses_to_run() -> None:
    twice = torch.tensor([1, 1])
    with computing(USUAL), pytest.raises(RuntimeError, match="deterministic"):
        torch.zeros(4).put_(twice, torch.tensor([1.0, 2.0]))


@pytest.mark.usefixtures("_fresh")
def test_everything_is_as_it_was_and_runs_do_not_disturb_each_other() -> None:
    environment, stream = dict(os.environ), torch.get_rng_state()
    for chosen in (BFLOAT16, USUAL, BFLOAT16):
        with computing(chosen) as compute:
            assert torch.are_deterministic_algorithms_enabled()
            assert not torch.backends.cudnn.allow_tf32
            with compute.autocast():
                product = torch.ones(2, 2) @ torch.ones(2, 2)
            assert str(product.dtype) == f"torch.{chosen.precision}"
        assert not torch.are_deterministic_algorithms_enabled()
        assert torch.backends.cudnn.allow_tf32
    assert dict(os.environ) == environment
    assert torch.equal(torch.get_rng_state(), stream)


@pytest.mark.usefixtures("_fresh")
def test_a_failing_run_leaves_nothing_behind() -> None:
    with pytest.raises(ZeroDivisionError), computing(BFLOAT16):
        _ = 1 / 0
    assert not torch.are_deterministic_algorithms_enabled()
    with computing(USUAL) as compute, compute.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_the_random_state_can_be_taken_back() -> None:
    with computing(USUAL) as compute, torch.random.fork_rng(devices=compute.generators):
        state = compute.random_state()
        first = torch.rand(3)
        compute.set_random_state(state)
        assert torch.equal(torch.rand(3), first)


def test_a_weight_that_was_used_without_gradients_first_still_learns_in_bfloat16() -> None:
    """As the encoder of mcmoe is, which first encodes what is hidden."""
    weight, x = nn.Parameter(torch.ones(4, 4)), torch.ones(2, 4)
    with computing(BFLOAT16) as compute, compute.autocast():
        assert not torch.is_autocast_cache_enabled()
        with torch.no_grad():
            functional.linear(x, weight)
        functional.linear(x, weight).sum().backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    assert weight.grad.dtype == torch.float32


@pytest.mark.parametrize(
    ("built", "reason"), [(None, "was built for processors only"), ("12.8", "sees none here")]
)
def test_a_graphics_card_that_is_not_there_is_refused(
    monkeypatch: pytest.MonkeyPatch, built: str | None, reason: str
) -> None:
    monkeypatch.setattr(device, "has_cuda", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", built)
    with pytest.raises(UsageError, match=f"{reason}.*--device cpu"):
        require_device(Numerics("cuda"))
    with pytest.raises(UsageError, match=reason), computing(Numerics("cuda")):
        pass
    require_device(USUAL)


def test_the_command_line_refuses_it_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(device, "has_cuda", lambda: False)
    monkeypatch.setenv("AQABENCH_HOME", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        main(["run", "-m", "unimodal", "-p", "fisv-missing", "--device", "cuda"])
    assert ended.value.code == 2
    assert "--device cuda needs a graphics card" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_torch_is_asked_for_a_graphics_card_only_where_one_may_be(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(numerics.sys, "platform", "linux")
    monkeypatch.setattr(numerics, "_DRIVERS", (str(tmp_path / "none"),))
    assert not may_have_gpu()
    monkeypatch.setattr(numerics, "_DRIVERS", (str(tmp_path / "none"), str(tmp_path)))
    assert may_have_gpu()
    monkeypatch.setattr(numerics, "_DRIVERS", ())
    monkeypatch.setattr(numerics.sys, "platform", "win32")
    assert may_have_gpu()


# --- networks -------------------------------------------------------------------------------------


class Asking(TorchMethod):
    """Notes in what precision its parts are called."""

    card = MethodCard(
        name="asking", title="A", kind="baseline", summary="s", missing="m",
        settings={"optimizer": "adam", "lr": 1e-3, "weight_decay": 0.0, "batch_size": 8,
                  "epochs": 1},
    )  # fmt: skip

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.seen: dict[str, set[torch.dtype]] = {"loss": set(), "score": set()}

    def build(self, task: Task) -> nn.Module:
        return nn.Linear(task.modalities["video"], 1)

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        assert batch.score is not None
        out = self.net(batch.features["video"].mean(1))[:, 0]
        self.seen["loss"].add(out.dtype)
        return {"task": functional.mse_loss(out, batch.score)}

    def encode(self, modality: str, features: Tensor, valid: Tensor) -> Tensor:
        return features.mean(1)

    def score(self, encoded: Mapping[str, Tensor], available: Tensor, valid: Tensor) -> Tensor:
        out: Tensor = self.net(encoded["video"])[:, 0]
        self.seen["score"].add(out.dtype)
        return out


@pytest.fixture(scope="module")
def split() -> Split:
    dataset = tiny_question().dataset
    data = simulate(dataset)
    return Split(data, data.rows("TES", "train"), dataset.classes[0], ("video",))


def test_training_is_in_bfloat16_and_scoring_in_float32(split: Split) -> None:
    method = Asking(Task("fisv", "TES", split.widths, {"video": "v"}, 8))
    shown = {"v": np.ones((len(split), 1), dtype=bool)}
    looks = Looks(method, {"test": Part(split, shown)}, ("v",))
    with computing(BFLOAT16) as compute:
        method.fit(split, FitContext(0, 3, 1, lambda _: None, looks, compute=compute))
    assert method.seen == {"loss": {torch.bfloat16}, "score": {torch.float32}}
    assert all(p.dtype == torch.float32 for p in method.net.parameters())


def test_features_are_moved_once_for_all_splits_that_share_them() -> None:
    dataset = tiny_question().dataset
    data = simulate(dataset)
    train, test = (
        Split(data, data.rows("TES", part), dataset.classes[0], ("video", "audio"))
        for part in ("train", "test")
    )
    keep_resident([train, test], torch.device("meta"))
    assert train.flat["video"].device.type == "meta"
    assert train.flat["video"] is test.flat["video"]
    assert train.flat["video"] is not train.flat["audio"]


@pytest.mark.parametrize("method", SOME_FAST)
def test_every_network_trains_in_bfloat16_and_deterministically_close_to_float32(
    tmp_path: Path, method: str
) -> None:
    torch.set_num_threads(1)
    store, found = RunStore(tmp_path), []
    for chosen in (USUAL, BFLOAT16):
        spec = _spec(method, chosen)
        data = simulate(spec.question.dataset)
        (record,) = execute([spec], data, discover(), store, Heard()).records
        assert record.error == "", record.traceback
        assert {**record.overrides, **chosen.changed} == record.overrides
        found.append(store.predictions(record)["prediction"].to_numpy())
    ((_, rows),) = by_condition(store.records()).items()
    assert [len(row.records) for row in rows] == [1, 1]
    low, high = spec.question.dataset.classes[0].bounds
    assert 0 < np.abs(found[0] - found[1]).max() < 0.01 * (high - low)


COMPILED = Numerics(compiled="layers")


@pytest.mark.parametrize("method", SOME_FAST)
def test_layers_of_every_network_can_be_compiled_and_keep_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Without a compiler, which takes minutes: what it is given, is run as it is."""
    torch.set_num_threads(1)
    given: list[str] = []

    def compile_nothing(layer: nn.Module, *, dynamic: bool) -> None:
        assert dynamic
        given.append(type(layer).__name__)
        layer._compiled_call_impl = layer._call_impl  # type: ignore[assignment]

    monkeypatch.setattr(nn.Module, "compile", compile_nothing)
    found = []
    for chosen in (USUAL, COMPILED):
        spec = _spec(method, chosen)
        data = simulate(spec.question.dataset)
        (record,) = execute([spec], data, discover(), RunStore(tmp_path), Heard()).records
        assert record.error == "", record.traceback
        assert bool(given) == (chosen is COMPILED)
        found.append(RunStore(tmp_path).predictions(record)["prediction"].to_numpy())
    assert np.array_equal(*found)


def test_a_network_without_layers_is_not_compiled_in_silence() -> None:
    with computing(COMPILED) as compute, pytest.raises(MethodError, match="without --compile"):
        compute.prepare(nn.Linear(2, 2))


@pytest.mark.slow
def test_what_torch_compiles_computes_the_same(tmp_path: Path) -> None:
    """Two real runs; needs a C++ compiler."""
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        pytest.skip("no C++ compiler here, which torch.compile needs on a processor")
    torch.set_num_threads(1)
    found = []
    for chosen in (USUAL, COMPILED):
        spec = _spec("gdlt", chosen)
        data = simulate(spec.question.dataset)
        (record,) = execute([spec], data, discover(), RunStore(tmp_path), Heard()).records
        assert record.error == "", record.traceback
        found.append(RunStore(tmp_path).predictions(record)["prediction"].to_numpy())
    low, high = spec.question.dataset.classes[0].bounds
    assert np.abs(found[0] - found[1]).max() < 1e-3 * (high - low)


def _elsewhere(folder: Path, *methods: str) -> dict[str, float]:
    """Return by how many points predictions made on a device apart differ from those made here."""
    said = subprocess.run(
        [sys.executable, "-m", "tests.train.elsewhere", str(folder), *methods],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stderr[-4000:]
    found: dict[str, float] = json.loads(said.stdout.splitlines()[-1])
    return found


def test_nothing_is_left_on_another_device_than_the_network(tmp_path: Path) -> None:
    (gap,) = _elsewhere(tmp_path, "unimodal").values()
    assert gap < 0.01


@pytest.mark.slow
def test_nothing_is_left_on_another_device_than_any_network(tmp_path: Path) -> None:
    differences = _elsewhere(tmp_path, *NETWORKS)
    assert set(differences) == set(NETWORKS)
    assert max(differences.values()) < 0.05
