"""Checkpoints: tensors load, everything else is refused by the names it asked for."""

from __future__ import annotations

import collections
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from npy_forge import TOUCH, Evil
from safetensors.torch import save_file
from torch import nn

from aqabench.data.checkpoint import load_checkpoint
from aqabench.errors import CheckpointError, UnsafeFileError


@pytest.fixture(autouse=True)
def in_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def save(value: Any, old: bool = False, name: str = "weights.pt") -> Path:
    torch.save(value, name, _use_new_zipfile_serialization=not old)
    return Path(name)


def rewritten(change: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    """The archive of one tensor of four zeros, with pieces of its members replaced."""
    source = zipfile.ZipFile(save({"w": torch.zeros(4)}, name="honest.pt"))
    with zipfile.ZipFile("weights.pt", "w", method) as out:
        for item in source.infolist():
            raw = source.read(item)
            for old, new in change.items():
                if item.filename.endswith("data.pkl"):
                    raw = raw.replace(old.encode("latin-1"), new)
            out.writestr(item.filename, raw)
    return Path("weights.pt")


@pytest.mark.parametrize("old", [False, True])
def test_state_dict(old: bool) -> None:
    state = network().state_dict()
    got = load_checkpoint(save(state, old))
    assert list(got) == list(state)
    assert all(torch.equal(got[name], state[name]) for name in state)
    assert all(got[name].dtype == state[name].dtype for name in state)
    assert all(not tensor.requires_grad for tensor in got.values())


def test_safetensors() -> None:
    state = {name: value.contiguous() for name, value in network().state_dict().items()}
    save_file(state, "weights.safetensors")
    got = load_checkpoint("weights.safetensors")
    assert set(got) == set(state)
    assert all(torch.equal(got[name], state[name]) for name in state)


def test_parameters_half_precision_and_views() -> None:
    base = torch.arange(12.0).reshape(3, 4)
    state = {
        "parameter": nn.Parameter(torch.ones(2)),
        "half": torch.ones(3, dtype=torch.bfloat16),
        "view": base[:, 1],
        "transposed": base.T,
    }
    got = load_checkpoint(save(state))
    assert all(torch.equal(got[name], value) for name, value in state.items())
    assert not got["parameter"].requires_grad


@pytest.mark.parametrize("old", [False, True])
def test_a_training_checkpoint_needs_its_key(old: bool) -> None:
    state = network().state_dict()
    path = save({"epoch": 3, "model": state, "note": "best"}, old)
    with pytest.raises(CheckpointError, match="key='model'"):
        load_checkpoint(path)
    assert list(load_checkpoint(path, key="model")) == list(state)
    with pytest.raises(CheckpointError, match=r"no entry 'weights'.*key='model'"):
        load_checkpoint(path, key="weights")


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize(
    ("value", "named"),
    [
        (Evil(os.system, TOUCH), "posix.system"),
        ({"w": torch.ones(2), "x": Evil(eval, "1+1")}, "eval"),
        ({"w": np.ones(2)}, "numpy"),
        ({"w": collections.deque([1])}, "collections.deque"),
    ],
)
def test_refusals_name_the_globals(value: Any, named: str, old: bool) -> None:
    path = save(value, old)
    with pytest.raises(UnsafeFileError, match=named) as caught:
        load_checkpoint(path)
    assert "state_dict" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [entry.name for entry in Path().iterdir()] == [path.name]


def test_a_whole_module_is_refused_by_its_classes() -> None:
    path = save(network())
    with pytest.raises(UnsafeFileError, match="Linear") as caught:
        load_checkpoint(path)
    assert "torch.save(model.state_dict(), FILE)" in str(caught.value)


def test_the_file_above_does_run_without_the_switch() -> None:
    path = save(Evil(os.system, TOUCH))
    torch.load(path, weights_only=False)
    assert Path("canary").exists()


def test_torchscript_is_refused() -> None:
    torch.jit.script(network()).save("weights.pt")
    with pytest.raises(UnsafeFileError, match="TorchScript"):
        load_checkpoint("weights.pt")


@pytest.mark.parametrize(
    "change",
    [
        {"K\x00K\x04\x85": b"K\x00J\xff\xff\xff\x3f\x85"},  # a shape beyond the storage
        {"K\x04tq": b"J\xff\xff\xff\x3ftq"},  # a storage beyond the record
        {"K\x00K\x04\x85q\x08K\x01": b"K\x00J\xff\xff\xff\x3f\x85q\x08K\x00"},  # stride 0
        {"K\x00K\x04\x85": b"J\xff\xff\xff\x3fK\x04\x85"},  # an offset beyond the storage
        {"FloatStorage": b"FlotsStorage"},
        {"_rebuild_tensor_v2": b"_rebuild_anything"},
        {"storage": b"stoRage"},
        {"tq": b"Qq"},
        {".": b""},
    ],
)
def test_shapes_and_storages_that_lie(change: dict[str, bytes]) -> None:
    with pytest.raises(UnsafeFileError):
        load_checkpoint(rewritten(change))


def test_compressed_members_are_refused() -> None:
    assert torch.equal(load_checkpoint(rewritten({}))["w"], torch.zeros(4))
    with pytest.raises(UnsafeFileError, match="compressed"):
        load_checkpoint(rewritten({}, zipfile.ZIP_DEFLATED))


@pytest.mark.parametrize(
    "value",
    [
        {"w": torch.sparse_coo_tensor(torch.tensor([[0]]), torch.ones(1), (10**9,))},
        {"w": torch.empty(10**9, device="meta")},
        {"w": torch.zeros(1).expand(10**9)},
    ],
)
def test_tensors_without_their_values_are_refused(value: Any) -> None:
    with pytest.raises(UnsafeFileError, match="refused"):
        load_checkpoint(save(value))


@pytest.mark.parametrize("value", [[torch.ones(2)], {"a": 1}, {1: torch.ones(1)}, torch.ones(2)])
def test_other_contents_are_no_state(value: Any) -> None:
    with pytest.raises(CheckpointError, match="no state_dict"):
        load_checkpoint(save(value))


def test_damaged_files() -> None:
    whole = save(network().state_dict()).read_bytes()
    for length in (0, 1, 10, 100, len(whole) // 2, len(whole) - 1):
        Path("cut.pt").write_bytes(whole[:length])
        with pytest.raises(UnsafeFileError):
            load_checkpoint("cut.pt")
    Path("pickle.pt").write_bytes(pickle.dumps(Evil(os.system, TOUCH), 2))
    with pytest.raises(UnsafeFileError, match=r"posix\.system"):
        load_checkpoint("pickle.pt")
    for raw in (b"", b"\x08\0\0\0\0\0\0\0{}", b"\xff" * 8 + b"{}", b"x" * 100):
        Path("cut.safetensors").write_bytes(raw)
        with pytest.raises(UnsafeFileError, match="safetensors"):
            load_checkpoint("cut.safetensors")


def test_what_is_no_file() -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint("absent.pt")
    Path("folder.pt").mkdir()
    with pytest.raises(UnsafeFileError, match="a folder"):
        load_checkpoint("folder.pt")
    os.mkfifo("pipe.pt")
    with pytest.raises(UnsafeFileError, match="a pipe"):
        load_checkpoint("pipe.pt")
