"""Shared blocks against torch's own layers and plain restatements."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from aqabench.nn.attention_core import attend_with_dropout
from aqabench.nn.batch_norm import normalise
from aqabench.nn.dropout import draw_kept, dropout, relu_dropout
from aqabench.nn.grade_head import GradeHead
from aqabench.nn.losses import batch_hard_triplet, mean_over_steps
from aqabench.nn.projection import Projection, on_steps
from aqabench.nn.transformer import Attention, Decoder, Encoder
from tests.methods import _reference_gdlt as reference


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("queries", [None, 3, 40])
def test_attention_equals_torch(queries, masked):
    """Self-attention, few queries (mapped queries) and many queries (mapped keys)."""
    torch.manual_seed(0)
    ours, theirs = Attention(16, 4), nn.MultiheadAttention(16, 4, batch_first=True)
    theirs.load_state_dict(ours.state_dict())
    nn.init.normal_(theirs.in_proj_bias)
    ours.load_state_dict(theirs.state_dict())
    context = torch.randn(2, 9, 16)
    query = context if queries is None else torch.randn(2, queries, 16)
    keep = torch.rand(2, 9) > 0.4 if masked else None
    expected, _ = theirs(query, context, context, None if keep is None else ~keep)
    torch.testing.assert_close(ours(query, context, keep), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("queries", [None, 3])
def test_attention_with_dropout_keeps_its_mean(queries):
    torch.manual_seed(0)
    attention = Attention(8, 2, dropout=0.3)
    nn.init.normal_(attention.in_proj_bias)
    context = torch.randn(1, 6, 8)
    query = context if queries is None else torch.randn(1, queries, 8)
    many = context.expand(20_000, -1, -1)
    copies = many if queries is None else query.expand(20_000, -1, -1)
    with torch.no_grad():
        mean = attention(copies, many).mean(0)
        expected = attention.eval()(query, query if queries is None else context)[0]
    torch.testing.assert_close(mean, expected, atol=0.02, rtol=0)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("packed", [(3,), (1, 2)])
def test_attention_with_dropout_has_the_gradients_of_its_formula(packed, masked):
    """The same dropout is drawn again by hand, and torch differentiates the formula."""
    torch.manual_seed(0)
    steps = 5 if packed == (3,) else 4
    given = [
        torch.randn(2, n, 6 * wide).double().requires_grad_()
        for n, wide in zip((steps, 5), packed, strict=False)
    ]
    keep = torch.arange(5) < torch.tensor([[5], [3]]) if masked else None
    torch.manual_seed(1)
    out = attend_with_dropout(given, 2, keep, 0.4)
    torch.manual_seed(1)
    kept, scale = draw_kept(torch.empty(2, 2, steps, 5), 0.4)
    q, k, v = (x.view(2, -1, 2, 3) for pack in given for x in pack.split(6, -1))
    logits = torch.einsum("bqhe,bkhe->hbqk", q, k) / 3**0.5
    if masked:
        logits = logits.masked_fill(~keep[:, None], float("-inf"))
    expected = torch.einsum("hbqk,bkhe->bqhe", torch.softmax(logits, -1) * kept * scale, v)
    torch.testing.assert_close(out, expected.flatten(2))
    slope = torch.randn_like(out)
    for got, wanted in zip(
        torch.autograd.grad(out, given, slope),
        torch.autograd.grad(expected.flatten(2), given, slope),
        strict=True,
    ):
        torch.testing.assert_close(got, wanted)


def test_shared_queries_learn_the_sum_of_what_each_sample_asks():
    torch.manual_seed(0)
    attention = Attention(8, 2, dropout=0.3)
    shared, context = torch.randn(1, 40, 8, requires_grad=True), torch.randn(3, 6, 8)
    own = shared.detach().repeat(3, 1, 1).requires_grad_()
    found = []
    for queries in (shared, own):
        torch.manual_seed(1)
        found.append(torch.autograd.grad(attention(queries, context).square().sum(), queries)[0])
    torch.testing.assert_close(found[0], found[1].sum(0, keepdim=True))


def test_attention_with_dropout_learns_under_autocast_about_what_it_learns_without():
    found = []
    for half in (False, True):
        torch.manual_seed(0)
        attention = Attention(8, 2, dropout=0.3)
        x = torch.randn(3, 6, 8, requires_grad=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            out = attention(x, x)
        out.float().square().sum().backward()
        assert x.grad.dtype == attention.in_proj_weight.grad.dtype == torch.float32
        found.append(torch.cat([x.grad.flatten(), attention.in_proj_weight.grad.flatten()]))
    assert functional.cosine_similarity(*found, dim=0) > 0.99


def test_layers_equal_torch():
    torch.manual_seed(0)
    encoder, decoder = Encoder(2, 16, 2, 24, 0.1).eval(), Decoder(2, 16, 2, 24, 0.1).eval()
    theirs = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(16, 2, 24, batch_first=True), 2, nn.LayerNorm(16)
    ).eval()
    readers = nn.TransformerDecoder(
        nn.TransformerDecoderLayer(16, 2, 24, batch_first=True), 2, nn.LayerNorm(16)
    ).eval()
    theirs.load_state_dict(encoder.state_dict())
    readers.load_state_dict(decoder.state_dict())
    x, queries = torch.randn(3, 7, 16), torch.randn(3, 4, 16)
    keep = torch.arange(7) < torch.tensor([[7], [4], [1]])
    out = encoder(x, keep)
    expected = theirs(x, src_key_padding_mask=~keep)
    torch.testing.assert_close(out[keep], expected[keep], atol=1e-5, rtol=1e-5)
    got = decoder(queries, x, keep)
    torch.testing.assert_close(
        got, readers(queries, x, memory_key_padding_mask=~keep), atol=1e-5, rtol=1e-5
    )


def test_dropout_drops_its_share_and_keeps_the_mean():
    torch.manual_seed(0)
    x = torch.ones(200_003, requires_grad=True)
    out = dropout(x, 0.3, True)
    assert float((out == 0).float().mean()) == pytest.approx(0.3, abs=0.01)
    assert out.mean().item() == pytest.approx(1.0, abs=0.01)
    out.sum().backward()
    assert torch.equal(x.grad, out)
    assert dropout(x, 0.3, False) is x


@pytest.mark.parametrize("p", [0.0, 0.3])
@pytest.mark.parametrize("training", [False, True])
def test_rectifying_and_dropping_at_once_equals_both_apart(p, training):
    """To the bit, the gradient as well: the same numbers are drawn."""
    given = torch.randn(7, 33)
    found = []
    for function in (
        lambda x: relu_dropout(x, p, training),
        lambda x: dropout(torch.relu(x), p, training),
    ):
        torch.manual_seed(1)
        x = given.clone().requires_grad_()
        out = function(x)
        (out * torch.arange(33)).sum().backward()
        found.append((out.detach(), x.grad))
    for here, there in zip(*found, strict=True):
        assert torch.equal(here, there)
    assert (found[0][0] == 0).any()


def test_steps_that_stand_for_many_are_normalised_like_the_many():
    torch.manual_seed(0)
    short = torch.randn(4, 3, 5, requires_grad=True)
    repeats = torch.tensor([1, 6, 1])
    long = short.detach().repeat_interleave(repeats, 1).requires_grad_()
    a, b = nn.BatchNorm1d(5), nn.BatchNorm1d(5)
    once = normalise(a, short, repeats)
    often = b(long.flatten(0, 1)).view_as(long)
    torch.testing.assert_close(once.repeat_interleave(repeats, 1), often)
    torch.testing.assert_close(a.running_mean, b.running_mean)
    torch.testing.assert_close(a.running_var, b.running_var)
    weight = torch.randn(4, 8, 5)
    (often * weight).sum().backward()
    (once.repeat_interleave(repeats, 1) * weight).sum().backward()
    folded = torch.stack([long.grad[:, :1].sum(1), long.grad[:, 1:7].sum(1), long.grad[:, 7]], 1)
    torch.testing.assert_close(short.grad, folded, atol=1e-5, rtol=1e-4)


def test_one_row_is_normalised_by_running_statistics_and_moves_none():
    """Batch statistics of one row would say that it is its own mean."""
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(5)
    normalise(norm, torch.randn(9, 5) * 2 + 1)
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    row = torch.randn(1, 1, 5, requires_grad=True)
    got = normalise(norm, row)
    normalise(norm, torch.randn(9, 5))  # others may move the statistics before the gradient is due
    expected = (row - before["running_mean"]) / (before["running_var"] + norm.eps).sqrt()
    torch.testing.assert_close(got, expected)
    got.sum().backward()
    torch.testing.assert_close(row.grad[0, 0], (before["running_var"] + norm.eps).rsqrt())
    torch.manual_seed(0)
    other = nn.BatchNorm1d(5)
    other.load_state_dict(before)
    normalise(other, row)
    torch.testing.assert_close(other.state_dict(), before)


def test_projection_equals_its_own_layers_and_skips_padding():
    torch.manual_seed(0)
    ours, theirs = Projection(6, 4, 3), Projection(6, 4, 3)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 5, 6)
    y = x.transpose(1, 2)
    for layer in theirs:
        y = layer(y)
    torch.testing.assert_close(on_steps(ours, x), y.transpose(1, 2))
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())
    keep = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 0]], dtype=torch.bool)
    x[~keep] = float("nan")
    out = on_steps(ours, x, keep)
    assert torch.isfinite(out).all()
    assert not out[~keep].any()


def test_triplet_equals_the_anchor_by_anchor_form():
    z = torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(batch_hard_triplet(z), reference.triplet(z))
    torch.testing.assert_close(batch_hard_triplet(z[:1], 0.2), reference.triplet(z[:1], 0.2))


def test_mean_over_steps_ignores_the_rest():
    x = torch.arange(12.0).view(1, 4, 3)
    keep = torch.tensor([[True, True, False, False]])
    assert mean_over_steps(x, keep).tolist() == [[1.5, 2.5, 3.5]]
    assert torch.equal(mean_over_steps(x, None), x.mean(1))


def test_grades_are_a_mean_of_grade_values_in_every_float_type():
    head = GradeHead(layers=1).double().eval()
    grades = head(torch.randn(2, 5, 256, dtype=torch.float64))
    values = torch.tensor([0, 1 / 3, 2 / 3, 1], dtype=torch.float64)
    torch.testing.assert_close(grades.distribution.sum(1), torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(grades.score, grades.distribution @ values, atol=1e-15, rtol=1e-15)
