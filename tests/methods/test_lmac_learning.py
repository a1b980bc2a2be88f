"""LMAC-Net learns on simulated data: against a constant, and ridge on the clearest stream."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from aqabench.baselines.ridge import Ridge
from aqabench.data.batch import Split
from aqabench.data.simulator import simulate
from aqabench.method.base import FitContext, Task
from aqabench.methods.lmac_net import LMACNetMethod
from aqabench.protocol.library import load_dataset
from aqabench.protocol.schema import BUDGETS, ClassSpec, DatasetSpec, ModalitySpec
from aqabench.stats import spearman

QUICK = BUDGETS["quick"]
SMALL = DatasetSpec(
    name="small",
    version=1,
    title="small",
    about="small simulated data",
    modalities=tuple(
        ModalitySpec(name=name, symbol=symbol, width=width)
        for name, symbol, width in (("video", "v", 48), ("audio", "a", 32), ("flow", "f", 48))
    ),
    classes=(ClassSpec(name="score", bounds=(0.0, 30.0), train=240, test=80),),
    same_videos=True,
    clip_length=12,
)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def measured(spec, seed, stride, settings):
    """Spearman of LMAC-Net on all streams, of ridge on video; MSE of LMAC-Net, of the mean."""
    data, score = simulate(spec, seed=seed), spec.classes[0]
    names = [m.name for m in spec.modalities]
    train, test = (
        Split(data, data.rows(score.name, part), score, names, stride) for part in ("train", "test")
    )
    symbols = {m.name: m.symbol for m in spec.modalities}
    task = Task(spec.name, score.name, train.widths, symbols, spec.clip_length, stride)

    first = torch.arange(len(names)) == 0  # video, the clearest stream

    def predict(kind, chosen, shown):
        method = kind(task, chosen)
        method.fit(train, FitContext(1, QUICK.steps, 1, lambda _: None, lambda _: None))
        found = [
            method.predict_scenarios(b, shown[:, None].expand(-1, len(b), -1)).double()
            for b in test.fixed_batches(method.test_window, spec.clip_length, 64)
        ]
        return torch.cat(found, 1)[0].numpy()  # (N,)

    every = torch.ones(1, len(names), dtype=torch.bool)
    ours, single = predict(LMACNetMethod, settings, every), predict(Ridge, {}, every & first)
    truth = test.score.double().numpy()
    return (
        float(spearman(test.points, ours)),
        float(spearman(test.points, single)),
        float(((ours - truth) ** 2).mean()),
        float(((float(train.score.mean()) - truth) ** 2).mean()),
    )


@pytest.mark.slow
def test_it_learns_more_in_the_quick_budgets_steps_than_ridge_on_the_clearest_stream():
    """Mean of three simulated sets; a narrower network and smaller batches for the clock's sake."""
    settings = {"width": 256, "batch_size": 8}
    ours, ridge, error, constant = np.mean(
        [measured(SMALL, seed, 1, settings) for seed in range(3)], 0
    )
    assert ours > ridge + 0.01
    assert error < 0.7 * constant


@pytest.mark.slow
def test_it_learns_in_the_quick_budget_on_fisv():
    """TES with the published settings, as ``aqabench run`` would, on two simulated sets."""
    fisv = load_dataset("fisv")
    ours, ridge, error, constant = np.mean(
        [measured(fisv, seed, QUICK.stride, {"dropout": 0.2}) for seed in range(2)], 0
    )
    assert ours > ridge + 0.03
    assert error < 0.6 * constant
