"""Methods of one stream score a subset of streams as every other subset with that stream."""

from __future__ import annotations

import torch

from aqabench.method.base import Task, TorchMethod
from aqabench.method.registry import discover


def test_subsets_with_the_stream_are_scored_once_and_alike():
    task = Task("made", "score", {"a": 3, "b": 5}, {"a": "a", "b": "b"}, 4)
    method = discover([]).load("unimodal")(task, {"layers": 1, "stream": "b"})
    torch.manual_seed(0)
    method.net = method.build(task).eval()
    graded = []
    grade = method.grade
    method.grade = lambda *given: graded.append(1) or grade(*given)
    valid = torch.arange(4) < torch.tensor([[4], [2], [3]])
    subsets = torch.tensor([[True, False], [False, True], [True, True]])
    with torch.inference_mode():
        encoded = {
            m: method.encode(m, torch.randn(3, 4, d), valid) for m, d in (("a", 3), ("b", 5))
        }
        got = method.score_subsets(encoded, subsets, valid)
        assert len(graded) == 1
        torch.testing.assert_close(
            got, TorchMethod.score_subsets(method, encoded, subsets, valid), rtol=0, atol=0
        )
    assert got[0].eq(0.5).all()
    assert got[1].eq(got[2]).all()
    assert got[1].std() > 0
