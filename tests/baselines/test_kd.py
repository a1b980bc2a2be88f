"""Distillation: what the teacher says is what complete samples say, and only the student moves."""

from __future__ import annotations

import math

import pytest
import torch

from aqabench.baselines.kd import KD, LEAST_SHARE, Pair
from aqabench.data.batch import withhold
from aqabench.errors import UsageError
from aqabench.method.base import Task
from tests.baselines.test_fusion import B, batch, early, ready, task

SMALL = {"dropout": 0.0}
SOME = torch.tensor([[1, 1, 1], [1, 0, 1], [1, 1, 1], [0, 1, 0]], dtype=torch.bool)
SHOWN = torch.tensor([[1, 0, 0], [1, 0, 1], [0, 1, 1], [0, 1, 0]], dtype=torch.bool)


@pytest.fixture
def pair(monkeypatch):
    """A method in its second stage that is to show SHOWN, a batch that has SOME, the weights."""
    of = task(3)
    method, weights = ready(KD, of, **SMALL)
    weights["taught"] = torch.tensor(True)
    weights["batches"] = torch.tensor(0)
    method.net.load_state_dict(weights)
    monkeypatch.setattr("aqabench.baselines.kd.draw_shown", lambda *_: SHOWN)
    method.begin(1)
    return method, withhold(batch(of), SOME), weights


def part(weights, name):
    return {k.removeprefix(f"{name}."): v for k, v in weights.items() if k.startswith(name)}


def test_the_student_is_the_core():
    of = Task("fisv", "TES", {"v": 1024, "a": 768, "f": 1024}, {s: s for s in "vaf"}, 6)
    method = KD(of)
    with torch.device("meta"):
        method.net = method.build(of)
    assert method.parameters() == 6_981_764


def test_it_scores_as_early_fusion_with_the_students_weights():
    of = task(3)
    method, weights = ready(KD, of, **SMALL)
    given = batch(of)
    got = method.predict(withhold(given, SHOWN))
    expected = [
        early(
            part(weights, "student"),
            of,
            {m: x[i : i + 1, given.valid[i]] for m, x in given.features.items()},
            SHOWN[i].tolist(),
            "enc",
        )
        for i in range(B)
    ]
    torch.testing.assert_close(got, torch.cat(expected), atol=1e-5, rtol=0)


def test_the_teacher_learns_from_complete_samples_alone():
    of = task(3)
    method, weights = ready(KD, of, **SMALL)
    method.begin(0)
    method.stage = 0
    method.net.train()
    nothing = withhold(batch(of), torch.tensor([[1, 1, 0]] * B).bool())
    assert method.loss(nothing, torch.Generator()) == {}
    losses, gradients = [], []
    for given in (withhold(batch(of), SOME), batch(of).take([0, 2])):
        method.net.load_state_dict(weights)
        method.net.zero_grad()
        losses.append(sum(method.loss(given, torch.Generator()).values()))
        losses[-1].backward()
        assert all(p.grad is None for p in method.net.student.parameters())
        gradients.append([p.grad for p in method.net.teacher.parameters() if p.grad is not None])
    assert torch.equal(*losses)
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
    assert set(method.projections()) == set(of.modalities)
    assert method.projections()["prosody"] is method.net.teacher.in_proj["p"]


@torch.no_grad()
def test_the_lesson_is_that_of_the_equations(pair):
    method, given, _ = pair
    method.net.eval()  # the student's norms at rest: both networks are plain functions
    terms = method.loss(given, torch.Generator())
    teacher, student = method.net.teacher, method.net.student
    symbols = [method.task.symbols[m] for m in method.task.modalities]
    score = grades = memory = count = 0.0
    said = []
    for i in (0, 2):  # the complete ones
        steps = given.valid[i]
        whole = {method.task.symbols[m]: x[i : i + 1, steps] for m, x in given.features.items()}
        seen = []
        for net, shown in ((teacher, [1, 1, 1]), (student, SHOWN[i].tolist())):
            streams = {
                s: net.encode(s, whole[s], None) if there else torch.zeros(1, int(steps.sum()), 256)
                for s, there in zip(symbols, shown, strict=True)
            }
            fused = net.fusion(torch.cat([streams[s] for s in symbols], -1)[0])
            answer = net.head(fused[None])
            w, z = net.head.regressor, answer.queries[0]
            logits = [float(w.weight[k] @ z[k] + w.bias[k]) for k in range(4)]
            votes = [1 / (1 + math.exp(-x / 2)) for x in logits]
            seen.append((fused, answer.score, [v / sum(votes) for v in votes]))
        (m_t, y_t, g_t), (m_s, y_s, g_s) = seen
        said.append(m_t)
        score += 10 * (y_s - y_t).square() / 2
        grades += 4 * sum(t * math.log(t / s) for t, s in zip(g_t, g_s, strict=True)) / 2
        memory = memory + (m_s - m_t).square().sum(0)
        count += len(m_t)
    variance = torch.cat(said).var(0, correction=0)
    # the first batch replaces the start
    torch.testing.assert_close(method.net.variance, variance, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(terms["score"], score[0], atol=1e-5, rtol=1e-4)
    assert float(terms["grades"]) == pytest.approx(0.5 * grades, rel=1e-3)
    expected = (memory / (variance + 1e-5)).mean() / count
    torch.testing.assert_close(terms["memory"], expected, atol=1e-4, rtol=1e-4)
    error = 10 * (method.predict(withhold(given, SHOWN)) - given.score).square().mean()
    torch.testing.assert_close(terms["task"].detach(), error)


def test_only_the_student_moves_and_nothing_hidden_reaches_it(pair):
    method, given, weights = pair
    method.net.train()
    sum(method.loss(given, torch.Generator()).values()).backward()
    after = method.net.state_dict()
    for name, value in part(weights, "teacher").items():
        assert torch.equal(after[f"teacher.{name}"], value), name
    assert all(p.grad is None for p in method.net.teacher.parameters())
    gradients = [p.grad for p in method.net.student.parameters() if p.grad is not None]
    assert gradients
    assert all(bool(torch.isfinite(g).all()) for g in gradients)


def test_without_complete_samples_or_a_taught_teacher_there_is_no_lesson(pair):
    method, given, weights = pair
    method.net.train()
    own = {"task", "diversity"}
    assert set(method.loss(withhold(given, SHOWN), torch.Generator())) == own
    method.net.load_state_dict({**weights, "taught": torch.tensor(False)})
    assert set(method.loss(given, torch.Generator())) == own


@pytest.mark.parametrize("copied", [True, False])
def test_the_student_starts_where_the_teacher_ended(copied):
    method, weights = ready(KD, task(3), **SMALL, from_teacher=copied)
    method.begin(1)
    name = "head.prototype.weight"
    source = "teacher" if copied else "student"
    assert torch.equal(method.net.student.state_dict()[name], weights[f"{source}.{name}"])
    trained = {n.split(".")[0] for n, p in method.net.named_parameters() if p.requires_grad}
    assert trained == {"student"}


def test_the_variance_follows_the_last_ten_batches():
    net, rows = Pair({"v": 2}, 1, 2, 0.0), torch.randn(50, 256)
    net.observe(rows[:1])  # one row has no spread
    assert int(net.batches) == 0
    for k in range(12):
        before = net.variance.clone()
        net.observe((k + 1) * rows)
        share = max(1 / (k + 1), LEAST_SHARE)
        new = ((k + 1) * rows).var(0, correction=0)
        torch.testing.assert_close(net.variance, before + share * (new - before))


def test_a_temperature_of_zero_is_refused():
    with pytest.raises(UsageError, match=r"'temperature' .* positive\. Got 0 .*temperature=2"):
        KD(task(3), {"temperature": 0.0}).build(task(3))
