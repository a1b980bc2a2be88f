"""InfoNCE against a loop over rows; what the first stage reads, and what it does not."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from aqabench.baselines.infonce import ContrastNet, InfoNCE, segment_means
from aqabench.data.batch import withhold
from tests.baselines.test_fusion import B, T, batch, ready, task

MASK = torch.tensor([[1, 0, 1], [0, 1, 1], [1, 1, 1], [1, 0, 1]]).bool()
SMALL = {"layers": 1, "dropout": 0.0}


def contrast(method, weights, encoded, available, valid, segments, likeness=None):
    """Return the loss, pair by pair of streams and row by row."""
    symbols, losses = list(encoded), []
    shared = {}
    for column, m in enumerate(symbols):
        for i in range(B):
            for q in range(segments):
                steps = [t for t in range(T) if t * segments // T == q and valid[i, t]]
                if available[i, column] and steps:
                    mean = torch.stack([encoded[m][i, t] for t in steps]).mean(0)
                    w = weights[f"to_shared.{m}.weight"], weights[f"to_shared.{m}.bias"]
                    shared[m, i, q] = w[0] @ mean + w[1]
    tau = float(weights["log_temperature"].exp().clamp(0.01, 0.5))
    for a in range(len(symbols)):
        for b in range(a + 1, len(symbols)):
            m, n = symbols[a], symbols[b]
            rows = [(i, q) for (s, i, q) in shared if s == m and (n, i, q) in shared]
            if len({i for i, _ in rows}) < 2:
                continue
            unit = {}
            for s in (m, n):
                mean = torch.stack([shared[s, i, q] for i, q in rows]).mean(0)
                for i, q in rows:
                    x = shared[s, i, q] - mean
                    unit[s, i, q] = x / math.sqrt(float(x @ x))
            for one, other in ((m, n), (n, m)):
                total = 0.0
                for i, q in rows:
                    above, below, targets = [], 0.0, []
                    for j, r in rows:
                        logit = float(unit[one, i, q] @ unit[other, j, r]) / tau
                        below += math.exp(logit) * (0.5 if i == j and q != r else 1.0)
                        alike = float(i == j) if likeness is None else float(likeness[i, j])
                        above.append(logit)
                        targets.append(alike * (q == r))
                    total += sum(
                        t / sum(targets) * (math.log(below) - x)
                        for t, x in zip(targets, above, strict=True)
                    )
                losses.append(total / len(rows))
    return sum(losses) / len(losses)


@pytest.mark.parametrize(("segments", "soft"), [(1, False), (3, False), (3, True)])
def test_the_contrast_equals_a_loop_over_rows(segments, soft):
    of = task(3)
    method, weights = ready(InfoNCE, of, layers=1)
    given, generator = batch(of), torch.Generator().manual_seed(1)
    encoded = {s: torch.randn(B, T, 256, generator=generator) for s in of.symbols.values()}
    likeness = torch.exp(-(given.score[:, None] - given.score).abs() / 0.1) if soft else None
    with torch.no_grad():
        got = method.net.contrast(encoded, MASK, given.valid, segments, likeness)
    wanted = contrast(method, weights, encoded, MASK, given.valid, segments, likeness)
    assert float(got) == pytest.approx(wanted, rel=1e-4)
    # neither what a sample does not have nor what is padding matters
    for column, s in enumerate(encoded):
        there = MASK[:, column, None, None] & given.valid[..., None]
        encoded[s] = torch.where(there, encoded[s], 9.0)
    with torch.no_grad():
        again = method.net.contrast(encoded, MASK, given.valid, segments, likeness)
    torch.testing.assert_close(again, got)


def test_parts_of_a_window_are_averaged_where_there_are_steps():
    valid = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]]).bool()
    x = torch.arange(12.0).view(2, 6, 1)
    means, exists = segment_means({"v": x}, valid, 4)  # steps 0 1 | 2 | 3 4 | 5
    assert exists.tolist() == [[True] * 4, [True, True, False, False]]
    assert means["v"][0, :, 0].tolist() == [0.5, 2.0, 3.5, 5.0]
    assert means["v"][1, :2, 0].tolist() == [6.5, 8.0]
    assert segment_means({"v": x}, valid, 99)[1].shape == (2, 6)


def test_samples_that_share_no_two_streams_leave_nothing_to_contrast():
    of = task(3)
    method, _ = ready(InfoNCE, of, **SMALL)
    method.stage = 0
    single = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]]).bool()
    method.net.train()
    terms = method.loss(withhold(batch(of), single), torch.Generator().manual_seed(0))
    assert set(terms) == {"task", "diversity"}
    # one sample with two streams has nobody to be told from
    single[0] = torch.tensor([1, 1, 0])
    assert "task" in method.loss(withhold(batch(of), single), torch.Generator().manual_seed(0))


def test_the_first_stage_reads_no_scores_and_leaves_the_head_alone():
    of = task(3)
    method, _ = ready(InfoNCE, of, **SMALL)
    method.stage = 0
    method.begin(0)
    given = withhold(batch(of), MASK)
    method.net.eval()
    terms = method.loss(given, torch.Generator())
    other = method.loss(replace(given, score=1 - given.score), torch.Generator())
    assert set(terms) == {"contrast"}
    assert torch.equal(terms["contrast"], other["contrast"])
    terms["contrast"].backward()
    learned = {k.partition(".")[0] for k, p in method.net.named_parameters() if p.grad is not None}
    assert learned == {"in_proj", "encoder", "to_shared", "log_temperature"}
    assert all(
        bool(torch.isfinite(p.grad).all()) for p in method.net.parameters() if p.grad is not None
    )


def test_the_second_stage_adds_the_weighted_contrast_unless_the_encoder_is_frozen():
    of = task(3)
    given = withhold(batch(of), MASK)
    method, _ = ready(InfoNCE, of, **SMALL)
    method.net.eval()
    terms = method.loss(given, torch.Generator().manual_seed(0))
    method.stage = 0
    alone = method.loss(given, torch.Generator())["contrast"]
    torch.testing.assert_close(terms["contrast"], 0.1 * alone)
    assert set(terms) == {"task", "diversity", "contrast"}

    method, _ = ready(InfoNCE, of, probe=True, **SMALL)
    method.begin(1)
    method.net.train()
    before = {k: v.clone() for k, v in method.net.state_dict().items()}
    terms = method.loss(given, torch.Generator().manual_seed(0))
    assert set(terms) == {"task", "diversity"}
    sum(terms.values()).backward()
    for name, p in method.net.named_parameters():
        if name.startswith(("in_proj", "encoder")):
            assert p.grad is None, name
    moved = {k for k, v in method.net.state_dict().items() if not torch.equal(v, before[k])}
    assert moved
    assert all(k.startswith("fusion.") for k in moved)  # batch norms of what still learns


def test_a_step_shows_what_modality_dropout_would():
    of = task(3)
    method, _ = ready(InfoNCE, of, **SMALL)
    given = batch(of)
    method.net.eval()
    one_each = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]]).bool()
    terms = method.loss(withhold(given, one_each), torch.Generator())  # nothing left to hide
    error = (method.predict(withhold(given, one_each)) - given.score).square().mean()
    torch.testing.assert_close(terms["task"], 10 * error)


def test_size():
    widths = {"v": 1024, "a": 768, "f": 1024}
    size = sum(p.numel() for p in ContrastNet(widths, 3, 2, 0.3).parameters())
    assert size == 6_981_764 + 3 * 256 + 3 * (256 * 128 + 128) + 1
