"""A run's key changes with everything that can change a number, and with nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aqabench.errors import UsageError
from aqabench.method.registry import discover
from aqabench.protocol.library import load_protocol
from aqabench.protocol.schema import BUDGETS
from aqabench.runs.plan import Question, make_plan


@pytest.fixture(scope="module")
def question() -> Question:
    asked = load_protocol("fisv-missing")
    return Question(
        asked.protocol, asked.dataset, asked.digest, "simulated", "f" * 64, BUDGETS["quick"]
    )


def test_one_run_per_method_class_and_seed(question: Question) -> None:
    plan = make_plan(question, discover(), ["ridge", "gdlt"], {}, seeds=[0, 1])
    assert [(s.method, s.class_name, s.seed) for s in plan] == [
        (m, c, s) for m in ("ridge", "gdlt") for c in ("TES", "PCS") for s in (0, 1)
    ]
    assert len({s.key for s in plan}) == 8


def test_published_settings_follow_the_class(question: Question) -> None:
    tes, pcs = make_plan(question, discover(), ["gdlt"], {})
    assert (tes.settings["epochs"], pcs.settings["epochs"]) == (320, 400)
    assert tes.settings["dropout"] == 0.7


@pytest.mark.parametrize(
    "change",
    [
        {"protocol_digest": "0"},
        {"data_digest": "0"},
        {"data_kind": "real"},
        {"budget": BUDGETS["standard"]},
    ],
)
def test_the_key_knows_the_question(question: Question, change: dict[str, object]) -> None:
    first = make_plan(question, discover(), ["ridge"], {})[0]
    other = replace(first, question=replace(question, **change))  # type: ignore[arg-type]
    assert other.key != first.key


@pytest.mark.parametrize(
    "change", [{"source_digest": "0"}, {"settings": {"std": False}}, {"seed": 7}]
)
def test_the_key_knows_the_run(question: Question, change: dict[str, object]) -> None:
    first = make_plan(question, discover(), ["ridge"], {})[0]
    assert replace(first, **change).key != first.key  # type: ignore[arg-type]


def test_a_method_that_the_protocol_cannot_feed_is_refused() -> None:
    asked = load_protocol("fisv-rgb")
    question = Question(
        asked.protocol, asked.dataset, asked.digest, "simulated", "f", BUDGETS["quick"]
    )
    with pytest.raises(UsageError, match="needs the modality a, but protocol fisv-rgb has v only"):
        make_plan(question, discover(), ["unimodal-a"], {})
