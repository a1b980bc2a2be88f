"""Skating-Mixer against a second, slow writing of its equations."""

from __future__ import annotations

import pytest
import torch

from aqabench.errors import CheckpointError
from aqabench.methods.skating_mixer import (
    MixerCell,
    PublishedSkatingMixer,
    SkatingMixerNet,
    load_official,
)
from tests.methods import _reference_skating_mixer as reference
from tests.methods._reference_gdlt import fill

D, N = 12, 3
SMALL = {"tokens": N + 3, "inputs": D, "width": 16, "depth": 2}


def draw(*sizes):
    generator = torch.Generator().manual_seed(3)
    return [
        (torch.randn(a, D, generator=generator), torch.randn(v, N, D, generator=generator))
        for a, v in sizes
    ]


def padded(batch):
    """Return audio, video and their lengths, as a batch of the published loader."""
    sides = list(zip(*batch, strict=True))
    audio, video = (torch.nn.utils.rnn.pad_sequence(side, batch_first=True) for side in sides)
    return audio, video, *(torch.tensor([len(x) for x in side]) for side in sides)


def test_names_and_size_are_the_published_ones():
    with torch.device("meta"):
        net = PublishedSkatingMixer(18, 768, 512, 2, own_steps=False)
    assert sum(p.numel() for p in net.parameters()) == 4_867_829
    assert {k: tuple(v.shape) for k, v in net.state_dict().items()} == reference.shapes()


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_sample_scores_as_the_equations_say(depth):
    weights = fill(reference.shapes(**SMALL | {"depth": depth}), depth)
    net = load_official({f"module.{k}": v.numpy() for k, v in weights.items()})
    batch = draw((5, 5), (5, 5))
    audio, video, *_ = padded(batch)
    with torch.no_grad():
        expected = reference.skating_mixer(weights, batch)
        torch.testing.assert_close(net(audio, video), expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(net(audio[:, :, None], video), expected, atol=1e-5, rtol=0)
    assert expected.std() > 1e-3
    assert not net.training


@pytest.mark.parametrize("own_steps", [False, True])
def test_samples_of_several_lengths_score_as_published_and_as_corrected(own_steps):
    weights = fill(reference.shapes(**SMALL), 4)
    net = load_official(weights, own_steps=own_steps)
    batch = draw((7, 6), (4, 5), (3, 2))  # streams of one sample differ, too
    with torch.no_grad():
        together = net(*padded(batch))
        expected = reference.skating_mixer(weights, batch, own_steps)
        torch.testing.assert_close(together, expected, atol=1e-5, rtol=0)
        alone = torch.cat([net(*padded([one])) for one in batch[1:]])
    depends = (together[1:] - alone).abs().min() > 1e-3
    # of samples whose streams are equally long only the published slice reads padding (quirk 2)
    even = draw((6, 6), (4, 4))
    with torch.no_grad():
        gap = (net(*padded(even))[1] - net(*padded(even[1:]))[0]).abs()
    assert (gap < 1e-5) == own_steps
    assert depends or own_steps


def test_any_streams_padding_and_missing_ones():
    """The cell on one token per stream, the learned token for a missing one, own steps only."""
    torch.manual_seed(0)
    net = SkatingMixerNet({"pop": 5, "a": 7, "v": 4}, width=16).eval()
    weights = {k.removeprefix("cell."): v for k, v in net.state_dict().items()}
    lengths = [5, 3]
    valid = torch.arange(8) < torch.tensor(lengths)[:, None]
    rows = torch.tensor([[True, True, True], [False, True, False]])
    x = {m: torch.randn(2, 8, w) for m, w in {"pop": 5, "a": 7, "v": 4}.items()}
    with torch.no_grad():
        encoded = {m: net.encode(m, s) for m, s in x.items()}
        own = {m: e.clone() for m, e in encoded.items()}
        encoded = {
            m: torch.where(rows[:, i, None, None], e, torch.nan)
            for i, (m, e) in enumerate(encoded.items())
        }
        scores = net.score(encoded, rows, valid)
        for i, length in enumerate(lengths):
            tokens = torch.stack(
                [
                    own[m][i, :length] if there else net.absent.expand(length, -1)
                    for m, there in zip(own, rows[i], strict=True)
                ],
                1,
            )  # (L, M, d), which the reference takes for features that need no map
            plain = {**weights, "linear1.weight": torch.eye(16), "linear1.bias": torch.zeros(16)}
            expected = reference.skating_mixer(plain, [(tokens[:, 0], tokens[:, 1:])])
            torch.testing.assert_close(scores[i : i + 1], expected, atol=1e-5, rtol=0)


def test_the_last_block_is_computed_where_it_is_read_only():
    torch.manual_seed(0)
    over_tokens, _ = MixerCell(5, 16, 1).linear_forward[0]
    y = torch.randn(2, 5, 16)
    torch.testing.assert_close(over_tokens(y, ends=True), over_tokens(y, ends=False)[:, [0, -1]])


def test_weights_that_do_not_fit_are_refused():
    weights = fill(reference.shapes(**SMALL), 5)
    with pytest.raises(CheckpointError, match=r"no Skating-Mixer weights: 'linear1.weight'"):
        load_official({k: v for k, v in weights.items() if k != "linear1.weight"})
    with pytest.raises(CheckpointError, match=r"missing \(cls_token\)"):
        load_official({k: v for k, v in weights.items() if k != "cls_token"})
    with pytest.raises(CheckpointError, match=r"1 unexpected \(other\)"):
        load_official(weights | {"other": torch.zeros(2)})
    with pytest.raises(CheckpointError, match="'hidden_state' is"):
        load_official(weights | {"hidden_state": torch.zeros(1, 3)})
