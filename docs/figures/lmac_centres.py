"""Draw where LMAC-Net's queries look, with its consistency loss on and off, on SIMULATED data.

    python docs/figures/lmac_centres.py            # two minutes on one thread

writes ``lmac-centres.svg`` and ``lmac-centres.csv`` beside this file.  Nothing is drawn that was
not trained here; nothing is said about real performances.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from aqabench.data.batch import Split
from aqabench.data.features import FeatureSet
from aqabench.data.simulator import simulate
from aqabench.figure import BLUE, GREEN, VERMILLION, set_title, write_figure
from aqabench.method.base import FitContext, Task
from aqabench.methods._lmac_losses import centres, places
from aqabench.methods.lmac_net import LMACNet, LMACNetMethod
from aqabench.protocol.schema import ClassSpec, DatasetSpec, ModalitySpec

HERE = Path(__file__).parent
CLIPS, STEPS, EVERY, SEED = 68, 120, 5, 0
STREAMS = tuple(
    ModalitySpec(name=name, symbol=symbol, width=width)
    for name, symbol, width in (("video", "v", 64), ("audio", "a", 48), ("flow", "f", 64))
)
SETTINGS = {"lr": 9e-4, "width": 256, "batch_size": 16}
"""The published rate of RG, in a narrower network that trains in seconds."""
COLOURS = {"v": BLUE, "a": VERMILLION, "f": GREEN}
CHOREOGRAPHY = 0.4
"""Amplitude of what tells the time of the programme; clips wander with about 0.7."""


@dataclass(frozen=True)
class Trace:
    """What a training left.

    Attributes:
        data: which features.
        margin: d of the order loss.
        consistency: weight of the consistency loss.
        steps: (L,) optimiser steps at which was looked.
        centres: stream -> (L, N, K), centres on the test videos, as fractions of the length.
        width: (L,) mean distance of attention from its centre.
        even: that distance for attention that is the same everywhere.
    """

    data: str
    margin: float
    consistency: float
    steps: list[int]
    centres: dict[str, Tensor]
    width: list[float]
    even: float

    @property
    def apart(self) -> list[float]:
        """How far the same query of two streams looks apart: mean over pairs, queries, videos."""
        pairs = list(combinations(self.centres.values(), 2))
        gaps = torch.stack([(one - other).abs().mean((1, 2)) for one, other in pairs])
        return [float(x) for x in gaps.mean(0)]


def choreographed(data: FeatureSet, rng: np.random.Generator) -> FeatureSet:
    """Add a slow course of the programme, of its own tempo in each video, shared by its streams.

    The simulator's clips do not know when they happen; those of a real programme do.
    """
    features = {m: x.astype(np.float32) for m, x in data.features.items()}
    directions = {m: rng.standard_normal((3, x.shape[1])) for m, x in features.items()}
    for begin, end in zip(data.offsets[:-1], data.offsets[1:], strict=True):
        u = np.linspace(0, 1, end - begin)
        u = u + rng.uniform(-0.9, 0.9) * np.sin(2 * np.pi * u) / (2 * np.pi)
        course = np.cos(np.pi * np.outer(u, [1, 2, 3]))  # (clips, 3)
        for m, x in features.items():
            x[begin:end] += (CHOREOGRAPHY * course @ directions[m]).astype(np.float32)
    return replace(data, features=features, source=f"{data.source}; with a course of time added")


def train(name: str, data: FeatureSet, margin: float, consistency: float) -> Trace:
    """Train once and look at the test videos every few steps."""
    score = spec().classes[0]
    names = [m.name for m in STREAMS]
    part = {p: Split(data, data.rows("score", p), score, names) for p in ("train", "test")}
    symbols = {m.name: m.symbol for m in STREAMS}
    task = Task("centres", "score", part["train"].widths, symbols, CLIPS)
    (videos,) = part["test"].fixed_batches("centre", CLIPS, score.test)
    at = places(videos.valid, "batch").at  # (N, T)
    method = LMACNetMethod(task, {**SETTINGS, "margin": margin, "consistency": consistency})
    seen: dict[str, list[Tensor]] = {symbol: [] for symbol in symbols.values()}
    width = []

    def look(_: int) -> None:
        net = method.net.eval()
        assert isinstance(net, LMACNet)
        spread = []
        with torch.no_grad():
            for m, symbol in symbols.items():
                alpha = net.decode(symbol, videos.features[m], videos.valid).attention[-1]
                c = centres(alpha, at)  # (N, K)
                seen[symbol].append(c)
                spread.append(distance(alpha, at))
        width.append(sum(spread) / len(spread))

    looks = STEPS // EVERY
    method.fit(part["train"], FitContext(SEED, STEPS, looks, lambda _: None, look))
    steps = [EVERY * (k + 1) for k in range(looks)]
    found = {m: torch.stack(c) for m, c in seen.items()}
    evenly = (videos.valid / videos.valid.sum(1, keepdim=True))[:, None]  # (N, 1, T)
    return Trace(name, margin, consistency, steps, found, width, distance(evenly, at))


def distance(alpha: Tensor, at: Tensor) -> float:
    """Return the mean distance of attention (N, K, T) at places (N, T) from its centre."""
    c = centres(alpha, at)  # (N, K)
    return float(((at[:, None] - c[..., None]).abs() * alpha).sum(-1).mean())


def spec() -> DatasetSpec:
    """Return the shape of the simulated data: three streams, one score."""
    return DatasetSpec(
        name="centres",
        version=1,
        title="centres",
        about="simulated data for a figure",
        modalities=STREAMS,
        classes=(ClassSpec(name="score", bounds=(0.0, 30.0), train=240, test=80),),
        same_videos=True,
        clip_length=CLIPS,
    )


def draw_centres(axes: Axes, trace: Trace, title: str) -> None:
    """Draw the mean centre of every query of every stream over training."""
    for symbol, c in trace.centres.items():
        lines = axes.plot(trace.steps, c.mean(1).numpy(), color=COLOURS[symbol], lw=1.6)
        lines[0].set_label(next(m.name for m in STREAMS if m.symbol == symbol))
    axes.set(title=title, ylim=(0, 1), xlabel="optimiser steps", ylabel="centre / length")


def draw_gaps(axes: Axes, traces: list[Trace], title: str) -> None:
    """Draw how far streams look apart, solid with the loss and dashed without."""
    for trace in traces:
        colour = BLUE if trace.margin < 0.1 else VERMILLION
        style = "-" if trace.consistency else "--"
        label = f"d = {trace.margin:g}, consistency {'on' if trace.consistency else 'off'}"
        axes.plot(trace.steps, trace.apart, style, color=colour, lw=1.6, label=label)
    axes.set(title=title, ylim=(0, None), xlabel="optimiser steps", ylabel="|c − c′| / length")
    axes.legend(frameon=False, fontsize=9)


def draw_plain(axes: Axes, traces: list[Trace]) -> None:
    """Draw gap and width of attention where clips do not know when they happen."""
    for trace in traces:
        style = "-" if trace.consistency else "--"
        word = "on" if trace.consistency else "off"
        axes.plot(trace.steps, trace.apart, style, color=BLUE, lw=1.6, label=f"apart, {word}")
        axes.plot(trace.steps, trace.width, style, color=GREEN, lw=1.6, label=f"width, {word}")
    even = traces[0].even
    axes.axhline(even, color="0.6", lw=0.8)
    axes.text(
        STEPS, even + 0.005, "even attention", ha="right", va="bottom", fontsize=9, color="0.4"
    )
    axes.set(
        title="No course of time in the clips (d = 0.16)", ylim=(0, 0.3), xlabel="optimiser steps"
    )
    axes.set_ylabel("fraction of length")
    axes.legend(frameon=False, fontsize=9, loc="center right")


def main() -> None:
    """Train six times, draw, and write what was drawn."""
    torch.set_num_threads(1)
    plain = simulate(spec(), seed=SEED)
    timed = choreographed(plain, np.random.default_rng(SEED))
    course = {(d, w): train("course", timed, d, w) for d in (0.05, 0.16) for w in (0.0, 1.0)}
    without = [train("plain", plain, 0.16, w) for w in (0.0, 1.0)]
    figure = Figure(figsize=(11, 8), layout="constrained")
    (off, on), (gaps, flat) = figure.subplots(2, 2)
    draw_centres(off, course[0.05, 0.0], "Consistency off (d = 0.05)")
    draw_centres(on, course[0.05, 1.0], "Consistency on (d = 0.05)")
    on.legend(frameon=False, fontsize=9, loc="upper right", ncols=3)
    draw_gaps(gaps, list(course.values()), "The same query in two streams")
    draw_plain(flat, without)
    set_title(figure, "Attention centres of LMAC-Net", simulated=True)
    write_figure(figure, HERE / "lmac-centres.svg")
    with (HERE / "lmac-centres.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["data", "margin", "consistency", "step", "apart", "width"])
        for t in [*course.values(), *without]:
            for step, apart, width in zip(t.steps, t.apart, t.width, strict=True):
                row = [t.data, t.margin, t.consistency, step, f"{apart:.4f}", f"{width:.4f}"]
                table.writerow(row)


if __name__ == "__main__":
    main()
