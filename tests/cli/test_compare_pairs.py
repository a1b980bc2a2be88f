"""``aqabench compare`` between methods, as it is typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from aqabench.protocol.library import load_protocol
from aqabench.runs.store import RunStore
from tests.board.made import put
from tests.cli.conftest import Run

NAME = "fisv-rgb"


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    """Three methods on one board, and a fourth on other data."""
    store, asked = RunStore(tmp_path / "runs"), load_protocol(NAME)
    for name, noise in (("strong", 4.0), ("weak", 30.0), ("middle", 9.0)):
        put(store, asked, name, noise, seeds=(0,))
    put(store, asked, "elsewhere", 5.0, seeds=(0,), data="real")
    return store


def test_two_methods_with_a_margin(
    aqabench: Run, store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    typed = ("compare", "strong", "weak", "--store", store.root, "--margin", "0.02")
    said = aqabench(*typed, "--class", "TES")
    assert said.code == 0
    assert max(map(len, said.out.splitlines())) <= 80
    assert "strong ranks better than weak: difference" in said.words
    assert "swap permutation p = 0.001" in said.words
    assert "as good: is the worse one less than 0.02 worse" in said.words
    assert "That weak" not in said.words, "it is worse, and that has been said"
    assert "found at" in said.words
    assert "Selection rules side by side: Avg1" in said.words
    assert "middle" not in said.out
    assert "as good" not in aqabench("compare", "strong", "weak", "--store", store.root).words


def test_many_methods_in_markdown_are_reproducible(aqabench: Run, store: RunStore) -> None:
    typed = ("compare", "-p", NAME, "--data", "simulated", "--store", store.root)
    said = aqabench(*typed, "--format", "markdown")
    assert said.code == 0
    assert said.out == aqabench(*typed, "--format", "markdown").out
    assert "| better > worse | difference | 95 % interval | p | adj., p | swap, p |" in said.out
    assert "adjusted over all pairs by max-T" in said.out
    assert "**Selection rules side by side: Avg1, and the optimism gap**" in said.out
    assert said.out.count("- strong ranks better than weak") == 1


def test_one_subset_of_streams(aqabench: Run, store: RunStore) -> None:
    typed = ("compare", "strong", "middle", "--store", store.root, "--scenario")
    assert "Differences in v on the same" in aqabench(*typed, "v").words
    said = aqabench(*typed, "va")
    assert said.code == 2
    assert "There is no scenario of fisv-rgb called 'va'" in said.words


def test_data_of_two_kinds_are_not_mixed(aqabench: Run, store: RunStore) -> None:
    said = aqabench("compare", "strong", "elsewhere", "--store", store.root)
    assert said.code == 2
    assert "cannot be compared, because they are of other kinds of data" in said.words
    assert "aqabench run -m strong -p fisv-rgb --data real --budget quick" in said.words
    assert not said.out


def test_versions_of_a_protocol_are_not_mixed(aqabench: Run, store: RunStore) -> None:
    for path in store.root.glob("*/strong/*/record.json"):
        text = path.read_text()
        path.write_text(text.replace(load_protocol(NAME).digest, "0" * 64))
    said = aqabench("compare", "strong", "weak", "--store", store.root)
    assert said.code == 2
    assert "they are of other versions of the protocol" in said.words
    assert "aqabench run -m strong -p fisv-rgb --data simulated --budget quick" in said.words
    said = aqabench("compare", "--store", store.root, "--data", "simulated")
    assert said.code == 0
    assert "2 runs of another version of this protocol are left out. Run them again" in said.words


def test_a_missing_class_is_named_with_what_to_type(aqabench: Run, store: RunStore) -> None:
    for path in store.root.glob("*/weak/*/record.json"):
        if '"class_name": "PCS"' in path.read_text() or '"class_name":"PCS"' in path.read_text():
            path.unlink()
    said = aqabench("compare", "strong", "weak", "--store", store.root)
    assert "weak: no difference, for want of PCS" in said.words
    assert (
        "aqabench run -m weak -p fisv-rgb --data simulated --budget quick --class PCS" in said.words
    )
    assert "or compare what all have: --class TES" in said.words


def test_a_margin_of_nothing_is_refused(aqabench: Run) -> None:
    assert aqabench("compare", "--margin", "0").code == 2
