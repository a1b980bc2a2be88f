"""The two sides of the MCMoE comparisons: equal weights, equal data, an optimiser each."""

from __future__ import annotations

import multiprocessing
import threading
from pathlib import Path
from typing import Self, cast

import numpy as np
import numpy.typing as npt
import psutil
import torch
from torch import Tensor

from aqabench.data.batch import Batch, Split
from aqabench.data.store import DataStore
from aqabench.method.base import Task, TorchMethod
from aqabench.method.registry import discover
from aqabench.methods.mcmoe import PUBLISHED_MASKS, CompletionNet
from aqabench.protocol.library import load_dataset
from aqabench.train.context import FitContext
from aqabench.train.device import ON_CPU, Compute
from aqabench.train.evaluate import Part, predict_part
from tests.bench.plain_mcmoe import PlainMCMoE, training_loss
from tests.bench.published_loading import BATCH, TRAINING, WINDOW, published_item

MODALITIES = ("video", "audio", "flow")
COMPLETE = (1, 1, 1)
SUBSETS = (COMPLETE, *PUBLISHED_MASKS)
ALPHA, LR, DECAY = 0.5, 2e-4, 1e-4
STEPS = -(-TRAINING // BATCH)
Mask = tuple[int, ...]


def parts_of(store: DataStore) -> dict[str, Split]:
    """Return the training and test videos, mapped."""
    spec = load_dataset("fisv")
    data = store.load(spec)
    return {
        name: Split(data, data.rows("TES", name), spec.classes[0], MODALITIES)
        for name in ("train", "test")
    }


class Ours:
    """``mcmoe-released`` as a run has it."""

    def __init__(self, parts: dict[str, Split], dropout: float = 0.3) -> None:
        torch.manual_seed(0)
        self.parts = parts
        build = discover([]).load("mcmoe-released")
        settings = {"alpha": ALPHA, "dropout": dropout}
        task = Task("fisv", "TES", parts["train"].widths, {m: m[0] for m in MODALITIES}, WINDOW, 1)
        self.method = cast(TorchMethod, build(task, settings))
        self.net = cast(CompletionNet, self.method.build(task))
        self.method.net = self.net
        self.optimiser = torch.optim.Adam(
            self.net.parameters(), lr=LR, weight_decay=DECAY, fused=True
        )

    def loss(self, batch: Batch, mask: Mask) -> Tensor:
        """Return the loss of one batch under one mask, which the method itself would draw."""
        streams = {m[0]: x for m, x in batch.features.items()}
        shown = torch.tensor(mask).bool().expand_as(batch.available)
        assert batch.score is not None
        terms = self.net.loss_terms(streams, batch.available, shown, batch.valid, batch.score)
        return sum(terms.values(), start=batch.score.new_zeros(()))

    def step(self, batch: Batch, mask: Mask, compute: Compute = ON_CPU) -> None:
        self.net.train()
        self.optimiser.zero_grad(set_to_none=True)
        with compute.autocast():
            total = self.loss(batch, mask)
        total.float().backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()

    def score(self, subsets: tuple[Mask, ...]) -> npt.NDArray[np.float64]:
        """Score the test videos under several masks in one pass, (S, 100)."""
        test = self.parts["test"]
        tables = {str(s): np.tile(np.array(s, dtype=bool), (len(test), 1)) for s in subsets}
        self.method.net.eval()
        return predict_part(self.method, Part(test, tables), BATCH)

    def epoch(self, compute: Compute = ON_CPU, steps: int = STEPS) -> None:
        """Train a new network with data, and score the complete test videos once."""

        def look(epoch: int) -> None:
            self.score((COMPLETE,))

        context = FitContext(
            seed=0,
            steps=steps,
            evaluations=1,
            report=lambda _: None,
            look=look,
            compute=compute,
        )
        self.method.fit(self.parts["train"], context)
        self.method.net = self.net


class Plain:
    """The published procedure, restated."""

    def __init__(self, dropout: float = 0.3) -> None:
        torch.manual_seed(0)
        self.net = PlainMCMoE(dropout)
        self.optimiser = torch.optim.Adam(
            self.net.parameters(), lr=LR, weight_decay=DECAY, foreach=False
        )

    def loss(self, features: list[Tensor], score: Tensor, mask: Mask) -> Tensor:
        return training_loss(self.net, features, score, mask, ALPHA)

    def step(self, features: list[Tensor], score: Tensor, mask: Mask) -> None:
        self.net.train()
        self.optimiser.zero_grad()
        self.loss(features, score, mask).backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()

    def score(self, batches: list[list[Tensor]], mask: Mask) -> npt.NDArray[np.float64]:
        """Score batches under one mask."""
        self.net.eval()
        with torch.no_grad():
            return torch.cat([self.net(b, mask)["score"] for b in batches]).double().numpy()


def streams_of(batch: Batch) -> list[Tensor]:
    """Return three of (B, T, D)."""
    return [batch.features[m] for m in MODALITIES]


def memory_of_ours(store: DataStore) -> int:
    """Train two batches, score all test videos under seven subsets; bytes, in a fresh process."""
    torch.set_num_threads(1)
    with _Watch() as watch:
        ours = Ours(parts_of(store))
        ours.epoch(steps=2)
        ours.score(SUBSETS)
    return watch.peak


def memory_of_plain(release: Path, workers: int) -> int:
    """Train two batches while workers read the next ones; bytes, in a fresh process."""
    torch.set_num_threads(1)
    context = multiprocessing.get_context("fork")
    loading = [context.Process(target=_keep_loading, args=(release,)) for _ in range(workers)]
    try:
        with _Watch() as watch:
            for process in loading:
                process.start()
            plain = Plain()
            item = published_item(release, "1", np.random.default_rng(0))
            features = [torch.stack([x] * BATCH) for x in item]
            for mask in ((1, 0, 0), (1, 1, 0)):
                plain.step(features, torch.rand(BATCH), mask)
            plain.score([features], COMPLETE)
    finally:
        for process in loading:
            process.kill()
    return watch.peak


def _keep_loading(release: Path) -> None:
    """Do what a worker does: read one item after the other until there is a batch."""
    generator = np.random.default_rng(0)
    while True:
        items = [published_item(release, str(i + 1), generator) for i in range(BATCH)]
        del items


class _Watch:
    """The most memory of this process and its children that no file backs, seen in between.

    What is shared counts once.  Pages of files, which the system takes back when it needs them,
    count on neither side: pickles that were read, features that are mapped.
    """

    peak = 0

    def __enter__(self) -> Self:
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        me = psutil.Process()
        while not self._done.wait(0.1):
            family = [me.pid, *(child.pid for child in me.children())]
            self.peak = max(self.peak, sum(map(_own_bytes, family)))


def _own_bytes(pid: int) -> int:
    said = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(
        int(line.split()[1]) * 1024
        for line in said.splitlines()
        if line.startswith(("Pss_Anon:", "Pss_Shmem:"))
    )
