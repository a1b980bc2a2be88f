"""What nine digits leave open, and nothing more, is accepted as the same number."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from aqabench.protocol.library import load_protocol
from aqabench.protocol.schema import BUDGETS
from aqabench.runs.recompute import recheck
from aqabench.runs.record import RunRecord
from aqabench.runs.store import prediction_frame
from tests.runs.stored import make_record

N = 25
ASKED = load_protocol("fisv-rgb")


def look(epoch: int, part: str, y: Any, p: Any) -> dict[str, Any]:
    """Return what a run writes of one look, from predictions with all their digits."""
    rho = float(spearmanr(y, p).statistic)
    criterion = math.atanh(rho)
    return {
        "epoch": epoch,
        "part": part,
        "v": {"srcc": rho, "mse": float(np.mean((y - p) ** 2))},
        "criterion": criterion,
    }


def run(p: Any, y: Any) -> tuple[RunRecord, pd.DataFrame, list[dict[str, Any]]]:
    """Return a run whose epoch 2 is chosen by every rule, with predictions as they are stored."""
    record = make_record(protocol="fisv-rgb", scenarios=("v",))
    identity = record.identity | {
        "protocol_digest": ASKED.digest,
        "budget": BUDGETS["quick"].model_dump(mode="json", exclude={"about", "seeds"}),
    }
    told = {"identity": identity, "samples": {"train": 9, "val": N, "test": N},
            "selected_epochs": {"val": 2, "last": 2, "oracle": 2}}  # fmt: skip
    ids = [f"s{i}" for i in range(N)]
    stored = np.array([float(f"{x:.9g}") for x in p])[None]
    scores = np.array([float(f"{x:.9g}") for x in y])
    frames = [
        prediction_frame(rule, part, ("v",), ids, scores, stored)
        for rule in ("val", "last", "oracle")
        for part in ("val", "test")
    ]
    first = -p + 0.1 * y  # worse than the second look
    curve = [look(e, part, y, own) for e, own in ((1, first), (2, p)) for part in ("val", "test")]
    return record.model_copy(update=told), pd.concat(frames), curve


@pytest.fixture
def truth() -> Any:
    return np.random.default_rng(1).uniform(5, 40, N)


def test_digits_that_are_not_kept_make_no_problem(truth: Any) -> None:
    p = truth + np.random.default_rng(2).normal(size=N)
    record, frame, curve = run(p, truth)
    exact = float(np.mean((frame["score"][:N] - frame["prediction"][:N]) ** 2))
    assert abs(exact - curve[2]["v"]["mse"]) > 1e-12  # what is stored gives another number
    assert recheck(record, frame, curve, ASKED) == (12, [])


@pytest.mark.parametrize(("key", "step"), [("mse", 1e-6), ("srcc", 1e-9)])
def test_a_small_change_of_a_number_is_found(truth: Any, key: str, step: float) -> None:
    record, frame, curve = run(truth + np.random.default_rng(2).normal(size=N), truth)
    curve[3]["v"][key] += step
    _, problems = recheck(record, frame, curve, ASKED)
    assert any("its predictions give" in problem for problem in problems)


def test_predictions_that_nine_digits_make_equal_may_have_been_in_any_order(truth: Any) -> None:
    p = truth + np.random.default_rng(2).normal(size=N)
    p[:3] = 20 + np.array([1e-10, 0, 2e-10])
    record, frame, curve = run(p, truth)
    assert set(frame["prediction"].head(3)) == {20.0}
    assert recheck(record, frame, curve, ASKED)[1] == []
    for row in curve:
        row["v"]["srcc"] -= 0.05
    assert any("says Spearman" in p for p in recheck(record, frame, curve, ASKED)[1])


def test_an_epoch_that_the_rule_would_not_choose_is_found(truth: Any) -> None:
    record, frame, curve = run(truth + np.random.default_rng(2).normal(size=N), truth)
    better, order = truth.copy(), np.argsort(truth)
    better[order[:2]] = truth[order[1::-1]]  # one neighbour for the other
    curve += [look(3, part, truth, better) for part in ("val", "test")]
    _, problems = recheck(record, frame, curve, ASKED)
    assert problems == [
        f"says that '{rule}' chose epoch 2; its curve says 3" for rule in ("last", "oracle", "val")
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"class_name": "Dance"}, "is of the class 'Dance'"),
        ({"fold": 7}, "is of fold 7"),
        ({"numerics": {"luck": "good"}}, "was computed with"),
        ({"budget": {"name": "quick", "steps": 600}}, "was trained with"),
        ({"protocol_digest": "0" * 64}, "is of another version of protocol"),
    ],
)
def test_an_identity_that_cannot_be_is_found(truth: Any, change: Any, words: str) -> None:
    record, frame, curve = run(truth + np.random.default_rng(2).normal(size=N), truth)
    record = record.model_copy(update={"identity": record.identity | change})
    assert words in recheck(record, frame, curve, ASKED)[1][0]


@pytest.mark.parametrize(
    "broken", [[{}], [{"epoch": [], "part": {}}], [{"epoch": 2, "part": "val", "criterion": "x"}]]
)
def test_a_curve_of_nonsense_is_a_problem_and_no_crash(truth: Any, broken: Any) -> None:
    record, frame, _ = run(truth + np.random.default_rng(2).normal(size=N), truth)
    assert recheck(record, frame, broken, ASKED)[1]
