"""Ranges of cards, and what is proposed from them."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest

from aqabench.errors import MethodError, UsageError
from aqabench.method.card import MethodCard
from aqabench.method.registry import discover
from aqabench.search import propose as proposals
from aqabench.search.propose import STARTUP, importances, propose, require_optuna
from aqabench.search.space import Range, ranges_of

RANGES = {
    "act": Range("choice", ("relu", "gelu", None)),
    "depth": Range("log", (1, 64)),
    "lr": Range("log", (1e-5, 1e-1)),
    "mix": Range("linear", (0.0, 1.0)),
}


def card(search: dict[str, tuple[object, ...]]) -> MethodCard:
    return MethodCard(
        name="own", title="O", kind="method", summary="s", missing="m",
        settings={"lr": 1e-3, "depth": 2, "act": "relu", "on": True, "free": None}, search=search,
    )  # fmt: skip


def distance(settings: dict[str, object]) -> float:
    """Return how far two settings are from lr = 1e-3, mix = 0.3, in widths of their ranges."""
    lr, mix = settings["lr"], settings["mix"]
    assert isinstance(lr, float)
    assert isinstance(mix, float)
    return math.hypot((math.log10(lr) + 3) / 4, mix - 0.3)


def test_every_range_that_is_shipped_can_be_searched_and_holds_the_default() -> None:
    searchable = 0
    for entry in discover().entries:
        if entry.card is None or not entry.card.search:
            continue
        found = ranges_of(entry.card, {})
        searchable += 1
        for name, own in found.items():
            assert own.holds(entry.card.settings[name]), (entry.name, name)
        settings = propose(found, [], [], 1)
        assert set(settings) == set(found)
        entry.card.resolve("fisv", "TES", settings)
    assert searchable >= 5


def test_whole_numbers_are_meant_where_the_setting_is_one() -> None:
    found = ranges_of(
        card({"depth": ("linear", 1, 4), "lr": ("linear", 0, 1), "on": ("choice", True, False)}),
        {"lr": 0.5},
    )
    assert found == {"depth": Range("linear", (1, 4)), "on": Range("choice", (True, False))}
    lr = ranges_of(card({"lr": ("linear", 0, 1)}), {})["lr"]
    assert lr.written == ("linear", 0.0, 1.0)
    assert not lr.whole
    assert lr.holds(0.5)
    assert not lr.holds(1.5)
    assert not found["on"].holds(1)  # True == 1


@pytest.mark.parametrize(
    ("search", "why"),
    [
        ({"rate": ("log", 1e-3, 1.0)}, "is of no setting"),
        ({"lr": ("normal", 0.0, 1.0)}, "is of an unknown kind 'normal'"),
        ({"lr": ()}, "is of an unknown kind ''"),
        ({"lr": ("log", 0.0, 1.0)}, "begins at or below zero"),
        ({"lr": ("linear", 1.0, 0.0)}, "does not have its lower limit below"),
        ({"lr": ("linear", 0.0, math.inf)}, "does not have its lower limit below"),
        ({"lr": ("linear", 0.0, 0.5, 1.0)}, "does not have two numbers"),
        ({"free": ("linear", "a", "b")}, "does not have two numbers"),
        ({"depth": ("linear", 1.0, 4.0)}, "has values that are not int"),
        ({"on": ("choice", 0, 1)}, "has values that are not bool"),
        ({"act": ("choice", "relu")}, "offers less than two values"),
    ],
)
def test_a_range_that_cannot_be_meant_is_refused(
    search: dict[str, tuple[object, ...]], why: str
) -> None:
    with pytest.raises(MethodError, match=why) as caught:
        ranges_of(card(search), {})
    assert f"'{next(iter(search))}' on the card of own" in str(caught.value)
    assert "Write ('log', low, high)" in str(caught.value)


def test_proposals_lie_in_their_ranges_and_depend_on_the_seed_alone() -> None:
    every = [propose(RANGES, [], [], seed) for seed in range(40)]
    assert every == [propose(RANGES, [], [], seed) for seed in range(40)]
    for settings in every:
        assert all(RANGES[name].holds(value) for name, value in settings.items())
        assert type(settings["depth"]) is int
    assert {s["act"] for s in every} == {"relu", "gelu", None}
    assert len({s["lr"] for s in every}) == 40
    assert sum(s["depth"] <= 8 for s in every) == pytest.approx(20, abs=8)  # logarithmic


def test_proposals_learn_from_results_and_keep_away_from_what_is_on() -> None:
    drawn = [propose(RANGES, [], [], seed) for seed in range(30)]
    known = [(settings, -distance(settings)) for settings in drawn]
    informed = [propose(RANGES, known, [], seed) for seed in range(100, 124)]
    blind = [propose(RANGES, [], [], seed) for seed in range(100, 124)]
    near, far = (np.mean([distance(s) for s in own]) for own in (informed, blind))
    assert near < 0.6 * far
    wanted = propose(RANGES, known, [], 7)
    assert propose(RANGES, known, [wanted] * 3, 7) != wanted
    failed = [(settings, None) for settings in drawn]
    assert propose(RANGES, failed, [], 7) == propose(RANGES, [], [], 7)


def test_importance_finds_what_matters() -> None:
    drawn = [propose(RANGES, [], [], seed) for seed in range(40)]
    shares = importances(RANGES, [(s, -abs(s["mix"] - 0.3)) for s in drawn])  # type: ignore[operator]
    assert next(iter(shares)) == "mix"
    assert shares["mix"] > 0.5
    assert sum(shares.values()) == pytest.approx(1)
    # what is good depends on the mix, what is bad on the rate: the best count, not the worst
    many = [propose(RANGES, [], [], seed) for seed in range(100)]
    one_sided = [
        (s, 1 - s["mix"] if s["mix"] < 0.2 else -10.0 if s["lr"] < 1e-4 else 0.0)  # type: ignore[operator]
        for s in many
    ]
    assert next(iter(importances(RANGES, one_sided))) == "mix"
    assert importances(RANGES, [(s, 0.0) for s in drawn]) == {}
    assert importances(RANGES, [(s, -distance(s)) for s in drawn[: STARTUP - 1]]) == {}


def test_without_optuna_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proposals.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'aqabench\[search\]'"):
        require_optuna()


def test_optuna_is_left_as_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    import optuna

    before = optuna.logging.get_verbosity()
    propose(RANGES, [], [], 0)
    assert optuna.logging.get_verbosity() == before
    assert capfd.readouterr() == ("", "")
    assert "optuna" in sys.modules
