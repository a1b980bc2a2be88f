"""``aqabench ablate`` on the simulator, with a method that trains in a second."""

from __future__ import annotations

import numpy as np
import pytest

from aqabench.errors import UnknownNameError, UsageError
from aqabench.method.card import MethodCard
from aqabench.method.registry import discover
from aqabench.runs.ablation import switches_of

REGISTRY = discover()
CARD = MethodCard(
    name="m",
    title="m",
    kind="method",
    summary="s",
    missing="m",
    settings={"lr": 0.1, "a": False, "b": True},
)
NAMED = MethodCard(
    name="m",
    title="m",
    kind="method",
    summary="s",
    missing="m",
    settings={"a": False, "b": True, "c": False},
    switches={"Q1 first": {"a": True, "b": False}, "Q10 tenth": {"c": True}},
)


def test_without_names_every_yes_or_no_is_turned_over() -> None:
    assert switches_of(CARD, {}) == {"a = True": {"a": True}, "b = False": {"b": False}}
    assert switches_of(CARD, {"b": False}) == {"a = True": {"a": True}}


@pytest.mark.parametrize("name", REGISTRY.names())
def test_switches_of_every_method_change_its_settings_and_can_be_told_apart(name: str) -> None:
    card = REGISTRY.get(name).card
    assert card is not None
    assert len({phrase.split()[0] for phrase in card.switches}) == len(card.switches)
    usual = [card.settings, *({**card.settings, **own} for own in card.published.values())]
    for thrown in card.switches.values():
        assert thrown.keys() <= card.settings.keys()
        assert any(values[key] != value for values in usual for key, value in thrown.items())


def test_a_first_word_is_a_switch_and_not_the_beginning_of_another() -> None:
    assert list(switches_of(NAMED, {}, ["Q1"])) == ["Q1 first"]
    assert list(switches_of(NAMED, {}, ["Q10", "Q1"])) == ["Q10 tenth", "Q1 first"]
    assert list(switches_of(NAMED, {"c": True})) == ["Q1 first"]
    with pytest.raises(UnknownNameError, match="Q11"):
        switches_of(NAMED, {}, ["Q11"])
    with pytest.raises(UsageError, match="nothing to switch"):
        switches_of(NAMED, {"a": True, "c": True})


def test_every_switch_of_every_card_throws_a_setting_of_it() -> None:
    for entry in discover().entries:
        assert entry.card is not None
        for name, sets in entry.card.switches.items():
            resolved = entry.card.resolve("fisv", "TES", sets)
            assert sets, name
            assert all(resolved[k] == v for k, v in sets.items())


def test_a_switch_is_run_compared_and_printed(installed) -> None:
    """ridge's one yes-or-no: says the difference that the stored predictions have."""
    said = installed("ablate", "-m", "ridge", "-p", "fisv-rgb", "--class", "TES", "--seeds", "1")
    assert said.code == 0, said.err
    (line,) = [x for x in said.out.splitlines() if x.startswith("std = False")]
    numbers = [float(x) for x in line.split()[3:] if x != "to"]
    assert len(numbers) == 5
    value, difference, low, high, p = numbers
    usual = next(x for x in said.out.splitlines() if x.startswith("ridge as it is"))
    assert value - float(usual.split()[-1]) == pytest.approx(difference, abs=1.1e-3)
    assert low <= difference <= high
    assert np.sign(low) == np.sign(high) or p > 0.05
    again = installed("ablate", "-m", "ridge", "-p", "fisv-rgb", "--class", "TES", "--seeds", "1",
                      "--format", "markdown")  # fmt: skip
    assert "All 2 runs are stored already." in again.err
    assert f"| std = False | {value:.3f} | {difference:+.3f} |" in again.out


def test_switches_are_drawn_and_a_file_that_cannot_be_is_refused_first(installed, tmp_path) -> None:
    typed = ("ablate", "-m", "ridge", "-p", "fisv-rgb", "--class", "TES", "--seeds", "1")
    said = installed(*typed, "--figure", "a.jpg")
    assert said.code == 2
    assert "Type: --figure 'a.png'" in said.words
    path = tmp_path / "a.svg"
    said = installed(*typed, "--figure", path)
    assert said.code == 0, said.err
    assert "[2/2] ridge" in said.out, "the refused command ran nothing"
    assert "test videos, 1 seed; true differences of 0." in said.words
    assert said.err.strip().endswith(f"Drawn: {path}")
    assert "REAL data" in path.read_text()


def test_a_method_without_switches_says_so(installed) -> None:
    said = installed("ablate", "-m", "constant", "-p", "fisv-rgb")
    assert said.code == 2
    assert "constant has nothing to switch" in said.err
    assert "aqabench show constant" in said.err
