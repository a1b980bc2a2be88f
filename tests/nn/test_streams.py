"""Parts kept per stream, under any symbol and for any width."""

from __future__ import annotations

import torch
from torch import nn

from aqabench.nn.projection import stream_projection
from aqabench.nn.streams import PerStream


def test_symbols_may_be_names_of_module_methods():
    parts = PerStream({"pop": nn.Linear(2, 1), "cpu": nn.Linear(3, 1), "v": nn.Linear(4, 1)})
    assert list(parts) == ["pop", "cpu", "v"]
    assert parts["cpu"].in_features == 3
    assert list(parts.state_dict())[:2] == ["pop.weight", "pop.bias"]
    assert len(list(parts.parameters())) == 6
    twin = PerStream({key: nn.Linear(layer.in_features, 1) for key, layer in parts.items()})
    twin.load_state_dict(parts.state_dict())
    assert torch.equal(twin["pop"].weight, parts["pop"].weight)
    assert twin.cpu() is twin


def test_wide_streams_are_projected_as_published_and_narrow_ones_keep_their_information():
    assert stream_projection(1024, 256)[0].out_channels == 512
    assert stream_projection(32, 256)[0].out_channels == 16
    for width in (1, 8, 26):
        projection = stream_projection(width, 256)
        assert projection[0].out_channels == 16
        assert projection(torch.randn(5, width)).shape == (5, 256)
