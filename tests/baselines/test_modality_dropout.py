"""Modality dropout: its masks have the stated law, its tokens stand where a stream is missing."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch

from aqabench.baselines.early_fusion import EarlyFusionNet
from aqabench.baselines.modality_dropout import POLICIES, ModalityDropout
from aqabench.data.batch import withhold
from aqabench.errors import UsageError
from aqabench.nn.masks import subsets
from tests.baselines.test_fusion import T, batch, ready, task

DRAWS = 20_000


def law(policy, exists, rate=0.5):
    """Return P(subset | what exists), written down subset by subset."""
    possible = [
        s for s in subsets(len(exists)) if all(e or not x for x, e in zip(s, exists, strict=True))
    ]
    of = sum(exists)
    if policy == "incomplete":
        possible = [s for s in possible if sum(s) < len(exists)]
    weights = {
        "uniform": lambda k: 1.0,
        "incomplete": lambda k: 1.0,
        "size": lambda k: 1.0 / sum(sum(s) == k for s in possible),
        "bernoulli": lambda k: (1 - rate) ** k * rate ** (of - k),
    }[policy]
    total = sum(weights(sum(s)) for s in possible)
    return {s: weights(sum(s)) / total for s in possible}


def drawn(policy, available, rate=0.5):
    method = ModalityDropout(task(available.shape[1]), {"policy": policy, "rate": rate})
    return method.shown(available, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("exists", [(1, 1, 1), (1, 0, 1), (0, 1, 0), (1, 1, 0, 1)], ids=str)
@pytest.mark.parametrize("policy", [p for p in POLICIES if p != "batch"])
def test_subsets_are_drawn_by_the_stated_law(policy, exists):
    rate = 0.3
    available = torch.tensor(exists, dtype=torch.bool).expand(DRAWS, -1)
    found = Counter(tuple(map(int, row)) for row in drawn(policy, available, rate).tolist())
    expected = law(policy, exists, rate)
    assert set(found) == set(expected)
    for subset, share in expected.items():  # five standard errors
        error = 5 * (share * (1 - share) / DRAWS) ** 0.5
        assert abs(found[subset] / DRAWS - share) <= error, subset


def test_uniform_hides_three_sevenths_of_three_streams_and_so_does_a_rate_of_one_half():
    available = torch.ones(DRAWS, 3, dtype=torch.bool)
    for policy in ("uniform", "bernoulli"):
        shown = drawn(policy, available)
        assert (~shown).float().mean() == pytest.approx(3 / 7, abs=0.01)
        assert shown.all(1).float().mean() == pytest.approx(1 / 7, abs=0.01)


def test_one_subset_for_the_batch_leaves_nobody_without_a_stream():
    available = torch.tensor([[1, 1, 1], [0, 0, 1], [1, 0, 0], [1, 1, 0]], dtype=torch.bool)
    generator, seen = torch.Generator().manual_seed(0), set()
    method = ModalityDropout(task(3), {"policy": "batch"})
    for _ in range(100):
        shown = method.shown(available, generator)
        one = shown[0]  # the complete sample shows what was drawn
        seen.add(tuple(one.tolist()))
        for row, exists in zip(shown, available, strict=True):
            both = one & exists
            assert torch.equal(row, both if bool(both.any()) else exists)
    assert len(seen) == 7


@pytest.mark.parametrize("absent", ["token", "zero"])
def test_what_is_missing_is_its_token_after_the_encoder(absent):
    of = task(3)
    method, weights = ready(ModalityDropout, of, absent=absent)
    given = batch(of)
    mask = torch.tensor([[1, 0, 1], [0, 1, 0], [1, 1, 1], [0, 0, 1]], dtype=torch.bool)
    net = method.net.eval()
    streams = {}
    for column, (m, x) in enumerate(given.features.items()):
        symbol = of.symbols[m]
        token = weights["tokens"][column] if absent == "token" else torch.zeros(256)
        streams[symbol] = torch.stack(
            [
                net.encode(symbol, x[i : i + 1], given.valid[i : i + 1])[0]
                if there
                else token.expand(T, -1)
                for i, there in enumerate(mask[:, column].tolist())
            ]
        )
    expected = net.grade(streams, given.valid).score
    shown = withhold(given, mask)
    torch.testing.assert_close(method.predict(shown), expected, atol=1e-5, rtol=0)
    # what a training step does with samples that show everything they have is the same function
    method.shown = lambda available, generator: available
    error = 10 * (expected - given.score).square().mean()
    torch.testing.assert_close(method.loss(shown, torch.Generator())["task"], error)


def test_a_token_is_learned_from_the_samples_that_lack_its_stream():
    of = task(3)
    method, _ = ready(ModalityDropout, of, dropout=0.0)
    method.net.train()
    method.shown = lambda available, generator: available
    shown = withhold(batch(of), torch.tensor([[1, 1, 0], [1, 0, 1], [1, 1, 0], [1, 0, 1]]).bool())
    sum(method.loss(shown, torch.Generator()).values()).backward()
    gradient = method.net.tokens.grad
    assert bool(torch.isfinite(gradient).all())
    assert [bool(row.any()) for row in gradient] == [False, True, True]
    assert all(
        p.grad is None or bool(torch.isfinite(p.grad).all()) for p in method.net.parameters()
    )


def test_tokens_are_all_that_the_core_lacks():
    of = replace(task(3), modalities={"spectral": 1024, "prosody": 768, "pron": 1024})
    size = sum(p.numel() for p in ModalityDropout(of).build(of).parameters())
    assert size == 6_981_764 + 3 * 256
    zero = ModalityDropout(of, {"absent": "zero"}).build(of)
    assert type(zero) is EarlyFusionNet
    assert zero.zero_at == "enc"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"policy": "u7"},
            r"'policy' .* size, bernoulli or batch\. Got 'u7'.*--set policy=uniform",
        ),
        ({"absent": "mean"}, r"'absent' .* token or zero\. Got 'mean'.*--set absent=token"),
        ({"rate": 1.0}, r"'rate' .* between 0 and 1.*Got 1 instead.*--set rate=0.5"),
    ],
)
def test_other_settings_are_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        ModalityDropout(task(), settings).build(task())
