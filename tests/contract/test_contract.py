"""Every method keeps the contract, and the contract catches those that do not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from aqabench.method.contract import CHECKS, check_method
from aqabench.method.registry import discover
from aqabench.protocol.schema import ModalitySpec

REGISTRY = discover()


FOUR = (
    ModalitySpec(name="spectral", symbol="s", width=26),
    ModalitySpec(name="prosody", symbol="p", width=10),
    ModalitySpec(name="pron", symbol="n", width=8),
    ModalitySpec(name="text", symbol="t", width=18),
)
TWO = (
    ModalitySpec(name="left.eye", symbol="pop", width=5),
    ModalitySpec(name="cpu", symbol="cpu", width=40),
)
"""Names and symbols that trip up a module which uses them as attributes."""


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


LEARNERS = ("constant", "ridge", "unimodal", "modality-dropout", "mcmoe", "cofinal", "usdl")
"""Methods of every kind that are asked here whether they learn; all are in the slow tests."""


@pytest.mark.parametrize("name", [e.name for e in REGISTRY.entries])
def test_contract(name: str) -> None:
    checks = [c for c in CHECKS if c != "learns" or name in LEARNERS]
    results = check_method(REGISTRY, name, checks)
    failed = [f"{r.check}: {r.detail}" for r in results if r.status == "failed"]
    assert not failed, failed
    assert {r.check for r in results} == set(checks)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(REGISTRY.names()) - set(LEARNERS)))
def test_it_learns(name: str) -> None:
    (result,) = check_method(REGISTRY, name, ("learns",))
    assert result.status != "failed", result


@pytest.mark.parametrize(
    "streams",
    [pytest.param(FOUR, id="four"), pytest.param(TWO, id="two", marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("name", REGISTRY.names())
def test_no_method_assumes_the_fields_three_streams(
    name: str, streams: tuple[ModalitySpec, ...]
) -> None:
    """Trains; never touches what is withheld; scores a sample the same whoever is beside it."""
    (result,) = check_method(REGISTRY, name, ("mixed_patterns",), streams)
    assert result.status == "passed", result


@pytest.mark.slow
@pytest.mark.parametrize("name", REGISTRY.names())
def test_contract_on_four_streams(name: str) -> None:
    results = check_method(REGISTRY, name, streams=FOUR)
    failed = [f"{r.check}: {r.detail}" for r in results if r.status == "failed"]
    assert not failed, failed
    assert {r.check for r in results} == set(CHECKS)


def test_released_mcmoe_fails_batch_invariance_only_by_a_declared_opt_out() -> None:
    """The proof that the check works: the published positional code is indexed by the batch."""
    checks = ("alone_equals_batch", "order_cannot_matter")
    results = {r.check: r for r in check_method(REGISTRY, "mcmoe-released", checks)}
    for check in checks:
        assert results[check].status == "opted out"
        assert "Q1" in results[check].detail


CHEATS = {
    "who_performs": (
        "return torch.tensor([float(sum(map(ord, g)) % 7) for g in batch.groups['athlete']])",
        "labels_cannot_matter",
    ),
    "peeks": (
        "return batch.features['video'].nan_to_num().sum((1, 2)).sigmoid()",
        "missing_cannot_matter",
    ),
    "touches": ("return batch.features['video'].mean((1, 2))", "missing_cannot_matter"),
    "reads_padding": (
        "x = batch.features['audio'].mean((1, 2))\n"
        "        return torch.where(batch.available[:, 1], x, 0.0)",
        "padding_cannot_matter",
    ),
    "ranks_the_batch": (
        "return torch.arange(len(batch)) / 100.0",
        "order_cannot_matter",
    ),
    "normalises_over_the_batch": (
        "x = torch.where(batch.available[:, 0], 0.5, 0.4) + len(batch) / 100\n        return x",
        "alone_equals_batch",
    ),
    "rolls_dice": ("return torch.rand(len(batch))", "predicting_changes_nothing"),
    "is_not_a_number_in_company": (
        "few = batch.available.sum(1) < 2\n"
        "        mixed = len(batch.available.unique(dim=0)) > 1\n"
        "        return torch.where(few & mixed, torch.nan, 0.5)",
        "mixed_patterns",
    ),
    "knows_nothing": ("return torch.full((len(batch),), 0.5)", "learns"),
}


@pytest.mark.parametrize("cheat", CHEATS)
def test_each_cheat_is_caught_by_its_check(tmp_path: Path, cheat: str) -> None:
    body, check = CHEATS[cheat]
    assert_caught(tmp_path, cheat, f"def predict(self, batch):\n        {body}", check)


FIT_CHEATS = {
    "averages_what_is_not_there": (
        "values = [b.features['audio'] for b in train.fixed_batches('centre', 12, 64)]\n"
        "        self._mean = torch.cat(values).double().mean().sigmoid()",
        "trains_incomplete",
    ),
    "counts_on_its_stream": (
        "rows = train.available[:, 0]\n        self._mean = train.score[rows].double().mean()",
        "trains_incomplete",
    ),
    "needs_what_another_epoch_showed": (
        "generator = context.generator('batches')\n"
        "        seen = [b for _ in range(3) for b in train.random_batches(999, 12, generator)]\n"
        "        order = [[b.ids.index(i) for i in train.ids] for b in seen]\n"
        "        tables = [b.available[rows] for b, rows in zip(seen, order)]\n"
        "        assert all(torch.equal(table, tables[0]) for table in tables)\n"
        "        self._mean = train.score.double().mean()",
        "trains_incomplete",
    ),
    "looks_behind_the_batches": (
        "self._mean = train.flat['flow'].double().mean().sigmoid()",
        "hidden_training_cannot_matter",
    ),
}


@pytest.mark.parametrize("cheat", FIT_CHEATS)
def test_each_cheat_in_training_is_caught_by_its_check(tmp_path: Path, cheat: str) -> None:
    body, check = FIT_CHEATS[cheat]
    member = f"def fit(self, train, context):\n        {body}\n        context.look(1)"
    assert_caught(tmp_path, cheat, member, check)


def assert_caught(folder: Path, cheat: str, member: str, check: str) -> None:
    plugin = folder / f"{cheat}.py"
    plugin.write_text(
        "import torch\n"
        "from aqabench.baselines.constant import Constant\n"
        "from aqabench.method.card import MethodCard\n\n\n"
        "class Cheat(Constant):\n"
        f"    card = MethodCard(name='{cheat.replace('_', '-')}', title='C', kind='baseline',\n"
        "                      summary='s', missing='m')\n\n"
        f"    {member}\n"
    )
    results = check_method(discover([plugin]), cheat.replace("_", "-"), (check,))
    assert check in {r.check for r in results if r.status == "failed"}


def test_the_guide_of_contributing_is_a_method_that_keeps_the_contract(tmp_path: Path) -> None:
    guide = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()
    plugin = tmp_path / "mean_pool.py"
    plugin.write_text(guide.split("```python\n")[1].split("```")[0])
    results = check_method(discover([plugin]), "mean-pool")
    assert [r for r in results if r.status != "passed"] == []
