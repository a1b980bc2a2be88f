"""The lock: shipped protocols cannot change unnoticed, and the writer cannot be talked into it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from aqabench.data.splits import validation_part
from aqabench.errors import ProtocolError
from aqabench.protocol import library, lock, mask_laws, noise_laws, scenarios, training
from aqabench.protocol.library import load_protocol, protocol_names
from aqabench.protocol.mask_laws import Table, keep_one
from aqabench.protocol.schema import DatasetSpec, Protocol
from aqabench.resources import folder


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of three shipped protocols, locked, that may be spoilt."""
    copy = tmp_path / "protocols"
    shutil.copytree(folder("protocols") / "datasets", copy / "datasets")
    for name in ("fisv-missing", "fisv-rate", "rg-missing"):
        shutil.copy(folder("protocols") / f"{name}.yaml", copy)
    monkeypatch.setattr(library, "folder", lambda name: tmp_path / name)
    monkeypatch.setattr(lock, "folder", lambda name: tmp_path / name)
    lock.write_lock()
    assert lock.check_lock() == []
    return copy


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def refused(shipped: Path) -> str:
    """Return why the lock is not written; the file must stay as it was."""
    before = (shipped / "lock.json").read_bytes()
    with pytest.raises(ProtocolError) as caught:
        lock.write_lock()
    assert (shipped / "lock.json").read_bytes() == before
    return str(caught.value)


def test_the_shipped_lock_is_not_stale() -> None:
    assert lock.check_lock() == []


def test_subsets_are_pinned_by_a_digest_anybody_can_compute() -> None:
    pinned = json.loads((folder("protocols") / "lock.json").read_text(encoding="utf-8"))
    subsets = ["100", "010", "001", "110", "101", "011", "111"]
    row = [bit == "1" for subset in subsets for bit in subset]
    ids = [f"{i:05d}" for i in range(100)]
    header = json.dumps([[100, 21], None, ids], separators=(",", ":")).encode()
    bits = np.packbits(np.tile(row, (100, 1))).tobytes()
    expected = hashlib.sha256(header + b"\n" + bits).hexdigest()
    part = pinned["protocols"]["fisv-missing"]["classes"]["PCS"]["test"]
    assert part == {"samples": 100, "masks": expected}


@pytest.mark.parametrize("name", protocol_names())
def test_the_validation_size_is_that_of_the_split_rule(name: str) -> None:
    asked = load_protocol(name)
    split = asked.protocol.split
    for spec in (c for c in asked.dataset.classes if c.name in asked.protocol.classes):
        counts = lock.reference_counts(asked, spec)
        if split.scheme != "official":
            assert counts["test"] == counts["val"] == spec.train + spec.test
            continue
        assert counts["test"] == spec.test - split.skipped
        if split.validation is None:
            assert "val" not in counts
        elif split.validation.group is not None:
            assert counts["val"] == spec.train
        else:
            ids = [str(i) for i in range(spec.train)]
            scores = np.linspace(0, 1, spec.train)
            held = validation_part(ids, scores, split.validation, asked.dataset.name, spec.name)
            assert counts["val"] == held.sum()


def test_a_change_needs_a_new_version(shipped: Path) -> None:
    path = shipped / "fisv-missing.yaml"
    edit(path, "{kind: subsets}", "{kind: subsets, sizes: [1, 2]}")
    (sentence,) = lock.check_lock()
    assert sentence == refused(shipped).splitlines()[1].strip()
    assert "protocol 'fisv-missing' changed and its version did not" in sentence
    assert "the fields of the protocol or of its data set" in sentence
    assert "the mask tables of TES test, TES val, PCS test and 1 more" in sentence
    assert "write 'version: 2' in fisv-missing.yaml" in sentence
    edit(path, "version: 1", "version: 2")
    (sentence,) = lock.check_lock()
    assert "has version 2 and protocols/lock.json says 1: type python -m" in sentence
    lock.write_lock()
    assert lock.check_lock() == []
    edit(path, "version: 2", "version: 1")
    assert "below the 2" in lock.check_lock()[0]
    assert "write 'version: 3'" in refused(shipped)


def test_prose_may_be_mended(shipped: Path) -> None:
    edit(shipped / "fisv-missing.yaml", "title: Fis-V,", "title: FisV,")
    edit(shipped / "datasets" / "fisv.yaml", "500 ladies' short", "500 short")
    assert lock.check_lock() == []


def test_a_data_set_counts_for_all_its_protocols(shipped: Path) -> None:
    edit(shipped / "datasets" / "fisv.yaml", "clip_length: 124", "clip_length: 125")
    sentences = lock.check_lock()
    assert [s.split("'")[1] for s in sentences] == ["fisv-missing", "fisv-rate"]
    assert all("mask tables" not in sentence for sentence in sentences)
    assert refused(shipped).count("changed and its version did not") == 2


def test_a_law_that_draws_something_else_is_seen(
    shipped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scenarios, "keep_one_exact", keep_one)
    (sentence,) = lock.check_lock()
    assert "'fisv-rate' changed and its version did not: the mask tables of TES test" in sentence
    assert "the fields" not in sentence
    refused(shipped)


def test_tables_of_steps_are_pinned_too(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(folder("protocols") / "fisv-temporal.yaml", shipped)
    lock.write_lock()
    pinned = json.loads((shipped / "lock.json").read_text())["protocols"]["fisv-temporal"]
    assert set(pinned["classes"]["TES"]["val"]) == {"samples", "time_masks"}
    monkeypatch.setattr(scenarios, "block", scenarios.outage)
    (sentence,) = lock.check_lock()
    assert "'fisv-temporal' changed and its version did not: the mask tables of" in sentence


@pytest.fixture(scope="module")
def noisy_lock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of protocols with corruption and with training tables, locked once."""
    copy = tmp_path_factory.mktemp("noisy") / "protocols"
    shutil.copytree(folder("protocols") / "datasets", copy / "datasets")
    for name in ("fisv-noise", "fisv-train-missing", "fisv-missing"):
        shutil.copy(folder("protocols") / f"{name}.yaml", copy)
    text = (copy / "fisv-missing.yaml").read_text(encoding="utf-8")
    text = text.replace("name: fisv-missing", "name: fisv-u7")
    text = text.replace("scenarios:", "training: {kind: u7}\nscenarios:")
    (copy / "fisv-u7.yaml").write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "folder", lambda name: copy.parent / name)
        patch.setattr(lock, "folder", lambda name: copy.parent / name)
        lock.write_lock()
    return copy


@pytest.fixture
def noisy(noisy_lock: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, in place of the shipped protocols."""
    monkeypatch.setattr(library, "folder", lambda name: noisy_lock.parent / name)
    monkeypatch.setattr(lock, "folder", lambda name: noisy_lock.parent / name)
    return noisy_lock


def test_corruption_and_training_are_pinned(noisy: Path) -> None:
    assert lock.check_lock() == []
    pinned = json.loads((noisy / "lock.json").read_text())["protocols"]
    parts = {name: pinned[name]["classes"]["TES"] for name in pinned}
    for part in ("test", "val"):
        assert set(parts["fisv-noise"][part]) == {"samples", "masks", "damage"}
    assert "train" not in parts["fisv-noise"]
    missing = parts["fisv-train-missing"]
    assert set(missing["train"]) == {"samples", "training"}
    assert set(missing["val"]) == {"samples", "masks", "training"}
    assert set(missing["test"]) == {"samples", "masks"}, "the test part is complete"
    assert [missing[part]["samples"] for part in ("train", "val", "test")] == [340, 60, 100]
    assert set(parts["fisv-u7"]["train"]) == {"samples", "training"}
    assert set(parts["fisv-u7"]["val"]) == {"samples", "masks"}, "validation is complete"


@pytest.mark.parametrize(
    ("law", "other"),
    [
        ("noise_seeds", lambda n, rng: np.arange(n, dtype=np.uint64)),
        ("normal_noise", lambda seed, count: np.zeros(count, dtype=np.float32)),
        ("channels", lambda n, width, share, rng: np.ones((n, width), dtype=bool)),
        ("shift", lambda n, steps, rng: np.full(n, int(steps), dtype=np.int64)),
        ("freeze", lambda lengths, share, rng: np.ones((len(lengths), 2), dtype=np.int64)),
        ("swap", lambda n, rng: np.roll(np.arange(n), 1)),
    ],
)
def test_a_corruption_law_that_draws_something_else_is_seen(
    noisy: Path, monkeypatch: pytest.MonkeyPatch, law: str, other: Callable[..., object]
) -> None:
    monkeypatch.setattr(noise_laws, law, other)
    (sentence,) = lock.check_lock(["fisv-noise", "fisv-train-missing"])
    assert "'fisv-noise' changed and its version did not: the mask tables of TES" in sentence
    assert "the fields" not in sentence
    assert sentence in refused(noisy)


@pytest.mark.parametrize(
    ("law", "other", "name"),
    [
        ("keep_one", mask_laws.keep_one_exact, "fisv-train-missing"),
        ("u7", mask_laws.size, "fisv-u7"),
    ],
)
def test_a_training_law_that_draws_something_else_is_seen(
    noisy: Path,
    monkeypatch: pytest.MonkeyPatch,
    law: str,
    other: Callable[..., object],
    name: str,
) -> None:
    monkeypatch.setattr(training, law, other)
    (sentence,) = lock.check_lock()
    assert f"'{name}' changed and its version did not: the mask tables of TES" in sentence
    assert "TES train" in sentence
    assert "the fields" not in sentence
    assert sentence in refused(noisy)


def test_every_table_of_training_is_pinned(noisy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of the last of three tables alone is seen, and of no table beyond."""
    drawn = lock.training_table

    def changed(which: int) -> Callable[..., Table | None]:
        def table(
            protocol: Protocol, dataset: DatasetSpec, ids: list[str], part: str, seed: int
        ) -> Table | None:
            found = drawn(protocol, dataset, ids, part, seed)
            return found if found is None or seed != which else np.ones_like(found)

        return table

    for which in (0, 1, 2):
        monkeypatch.setattr(lock, "training_table", changed(which))
        (sentence,) = lock.check_lock(["fisv-train-missing"])
        assert "the mask tables of TES val, TES train, PCS val and 1 more" in sentence
    monkeypatch.setattr(lock, "training_table", changed(3))
    assert lock.check_lock(["fisv-train-missing"]) == []


def test_new_protocols_are_asked_for_and_added(shipped: Path) -> None:
    before = json.loads((shipped / "lock.json").read_text())["protocols"]
    shutil.copy(folder("protocols") / "fs1000-missing.yaml", shipped)
    assert lock.check_lock() == [
        f"protocol 'fs1000-missing' is not in protocols/lock.json: type {lock.COMMAND}"
    ]
    assert lock.check_lock(["rg-missing"]) == []
    lock.write_lock()
    after = json.loads((shipped / "lock.json").read_text())["protocols"]
    assert set(after) - set(before) == {"fs1000-missing"}
    assert {name: after[name] for name in before} == before


def test_a_locked_protocol_does_not_vanish(shipped: Path) -> None:
    (shipped / "rg-missing.yaml").unlink()
    (sentence,) = lock.check_lock()
    assert "'rg-missing' is in protocols/lock.json but there is no rg-missing.yaml" in sentence
    assert sentence in refused(shipped)


def test_a_broken_file_does_not_hide_the_others(shipped: Path) -> None:
    edit(shipped / "fisv-missing.yaml", "audio, flow", "audio, flwo")
    edit(shipped / "rg-missing.yaml", "{kind: subsets}", "{kind: subsets, sizes: [1]}")
    broken, changed = lock.check_lock()
    assert "did you mean 'flow'" in broken
    assert "'rg-missing' changed" in changed
    assert "did you mean 'flow'" in refused(shipped)


def test_a_lock_that_is_absent_or_damaged(shipped: Path) -> None:
    path = shipped / "lock.json"
    whole = path.read_text()
    path.write_text(whole[:-9])
    with pytest.raises(ProtocolError, match="is damaged"):
        lock.check_lock()
    assert "is damaged" in refused(shipped)
    path.unlink()
    with pytest.raises(ProtocolError, match="version control"):
        lock.check_lock()
    lock.write_lock()
    assert path.read_text() == whole


def test_the_command_says_what_it_did(shipped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lock.main() == 0
    assert capsys.readouterr().out.endswith("pins 3 protocols.\n")
    edit(shipped / "fisv-missing.yaml", "[TES, PCS]", "[TES]")
    assert lock.main() == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("Error: protocols/lock.json is left as it was:")
