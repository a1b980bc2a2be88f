"""The words, tables and bars of ``aqabench data show``, at most 80 columns wide."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from aqabench.cli.data.chosen import Chosen
from aqabench.data.features import FeatureSet
from aqabench.data.summary import (
    Correlation,
    DatasetSummary,
    GroupSummary,
    ScoreSummary,
    Spread,
    round_edges,
    score_edges,
)

WIDTH = 80
BLOCKS = " ▁▂▃▄▅▆▇█"
LENGTH_BARS, SCORE_BARS, FEWEST_BARS = 60, 24, 8
NAMED = 3
"""Samples or pairs of classes that are named; the rest are counted."""
SPLITS = {"train": "training", "test": "test"}
FIGURES = ("mean", "sd", "min", "median", "max")


def bars(counts: npt.NDArray[np.int64]) -> str:
    """Return a histogram, a character a bin: the highest is full, only an empty one is blank."""
    top = max(int(counts.max()), 1)
    return "".join(BLOCKS[math.ceil(8 * int(n) / top)] for n in counts)


def digits(sd: float) -> int:
    """Return how many decimals show at least a hundredth of a standard deviation."""
    return int(np.clip(2 - math.floor(math.log10(max(sd, 1e-4))), 0, 6))


def portrait(console: Console, chosen: Chosen, summary: DatasetSummary, simulated: bool) -> None:
    """Print everything about a data set but single samples."""
    _title(console, chosen, summary, simulated)
    _streams(console, summary)
    _lengths(console, chosen, summary)
    _scores(console, chosen, summary.scores)
    _correlations(console, chosen, summary.correlations)
    _groups(console, chosen, summary)
    _oddities(console, chosen.data, summary)


def sample_portrait(console: Console, chosen: Chosen, row: int) -> None:
    """Print what there is about one sample."""
    data = chosen.data
    length = int(data.lengths[row])
    shorter = int((data.lengths < length).sum())
    _heading(console, f"Sample {data.ids[row]}")
    _say(
        console,
        f"{SPLITS[str(data.split[row])]}; {length} clips of {', '.join(data.features)}; "
        f"longer than {shorter} of the {len(data.ids)} samples",
    )
    table = _table(("class", "left"), ("score", "right"), ("higher than", "right"))
    for class_spec in chosen.spec.classes:
        scores = data.scores[class_spec.name]
        if np.isfinite(scores[row]):
            known = scores[np.isfinite(scores)]
            lower = f"{int((known < scores[row]).sum())} of {known.size}"
            table.add_row(Text(class_spec.name), f"{scores[row]:.6g}", lower)
    console.print(Padding(table, (0, 0, 0, 2), expand=False))
    for kind, labels in data.groups.items():
        own = labels == labels[row]
        parts = [f"{int((own & (data.split == s)).sum())} {word}" for s, word in SPLITS.items()]
        told = f"{labels[row]} ({' and '.join(parts)} samples)" if labels[row] else "no label"
        _say(console, f"{kind}: {told}")
    for name, number in data.folds.items():
        _say(console, f"folds {name}: {'none' if number[row] < 0 else f'fold {number[row]}'}")
    table = _table(
        ("stream", "left"), ("mean", "right"), ("sd", "right"), ("min", "right"), ("max", "right"),
        ("still", "right"),
    )  # fmt: skip
    for modality in data.features:
        video = data.video(row, modality).astype(np.float64)
        still = int((video == video[0]).all(0).sum())
        figures = (video.mean(), video.std(), video.min(), video.max())
        table.add_row(modality, *(f"{x:.3g}" for x in figures), f"{still} of {video.shape[1]}")
    console.print(Padding(table, (0, 0, 0, 2), expand=False))
    _say(console, "still: channels that do not change in this sample", "dim")


def _title(console: Console, chosen: Chosen, summary: DatasetSummary, simulated: bool) -> None:
    spec = chosen.spec
    line = Text(f"{spec.title} ({spec.name}): ", "bold")
    if not simulated:
        assert chosen.manifest is not None
        line.append("REAL data", "bold green")
        line.append(f" ({chosen.manifest.layout} release)")
    else:
        line.append("SIMULATED data", "bold yellow")
        line.append(f" ({chosen.why or 'exported from the simulator, then imported'})")
    console.print(line, width=min(WIDTH, console.width))
    counts = [f"{int((chosen.data.split == s).sum())} {word}" for s, word in SPLITS.items()]
    classes = len(spec.classes)
    share = ", scores of the same samples" if spec.same_videos else ", each of other samples"
    _say(
        console,
        f"{summary.samples} samples: {', '.join(counts)}; "
        f"{classes} class{f'es{share}' if classes > 1 else ''}",
        indent=0,
    )


def _streams(console: Console, summary: DatasetSummary) -> None:
    used = sorted({s.used for s in summary.streams})
    some = f"{used[0]} to {used[-1]}" if len(used) > 1 else str(used[0])
    _heading(console, f"Streams (statistics of {some} samples)")
    table = _table(
        ("stream", "left"), ("width", "right"), ("dtype", "left"), ("mean", "right"),
        ("sd", "right"), ("negative", "right"), ("lag 1", "right"), ("between", "right"),
    )  # fmt: skip
    for s in summary.streams:
        places = digits(s.sd)
        table.add_row(
            Text(s.name), str(s.width), s.dtype, f"{s.mean:.{places}f}", f"{s.sd:.{places}f}",
            f"{s.negative:.0%}", f"{s.autocorrelation:.2f}", f"{s.between:.2f}",
        )  # fmt: skip
    console.print(Padding(table, (0, 0, 0, 2), expand=False))
    _say(
        console,
        "negative: share of values below 0; lag 1: autocorrelation from clip to clip inside a "
        "sample; between: share of variance between samples (both: median channel)",
        "dim",
    )
    for s in summary.streams:
        if s.still:
            _say(console, f"{s.name}: {s.still} of {s.width} channels never change")


def _lengths(console: Console, chosen: Chosen, summary: DatasetSummary) -> None:
    spread, lengths = summary.lengths, chosen.data.lengths
    _heading(console, "Lengths in clips")
    _say(
        console,
        f"min {spread.low:g}, quartiles {spread.quarter:g} {spread.median:g} "
        f"{spread.three_quarters:g}, max {spread.high:g}",
    )
    _say(
        console,
        f"{summary.windowed} of {summary.samples} samples are longer than the training window of "
        f"{chosen.spec.clip_length}",
    )
    edges = round_edges(lengths, LENGTH_BARS)
    _bars(console, lengths, edges)


def _bars(console: Console, values: npt.NDArray[np.number], edges: npt.NDArray[np.float64]) -> None:
    """Print a histogram with its ends below it."""
    drawn = bars(np.histogram(values, edges)[0])
    low, high = f"{edges[0]:g}", f"{edges[-1]:g}"
    console.print(Text(f"  {drawn}", "cyan"), no_wrap=True)
    scale = low + high.rjust(max(len(drawn) - len(low), len(high) + 1))
    _say(console, f"{scale}   a bar: {edges[1] - edges[0]:g}", "dim")


def _scores(console: Console, chosen: Chosen, scores: Sequence[ScoreSummary]) -> None:
    _heading(console, "Scores in points")
    data, classes = chosen.data, chosen.spec.classes
    splits, counts = {s.split for s in scores}, {s.spread.count for s in scores}
    headings = [
        "class",
        *(["split"] if len(splits) > 1 else []),
        *(["n"] if len(counts) > 1 else []),
        *FIGURES,
    ]
    bounds = {c.name: c.bounds for c in classes}
    widest: dict[tuple[float, float], float] = {}  # classes of the same bounds: same decimals
    for s in scores:
        key = bounds[s.class_name]
        widest[key] = max(s.spread.sd, widest.get(key, 0.0))
    rows = [_score_row(s, digits(widest[bounds[s.class_name]]), headings) for s in scores]
    widths = [max(len(r[i]) for r in (headings, *rows)) for i in range(len(headings))]
    fixed = sum(widths[1:]) + len(widths) + 2  # a space behind each column, and the indent
    widths[0] = min(widths[0], WIDTH - fixed - FEWEST_BARS)
    room = min(SCORE_BARS, WIDTH - fixed - widths[0])
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for heading, width in zip(headings, widths, strict=True):
        side: Literal["left", "right"] = "left" if heading in ("class", "split") else "right"
        table.add_column(heading, justify=side, width=width, overflow="fold")
    table.add_column("", style="cyan", no_wrap=True)
    # classes of the same bounds have the same bars, so that they can be compared
    alike = len(widest) == 1
    pooled = np.concatenate([data.scores[c.name] for c in classes])
    shared = round_edges(pooled[np.isfinite(pooled)], room)
    for summary, row in zip(scores, rows, strict=True):
        own = data.scores[summary.class_name][data.rows(summary.class_name, summary.split)]
        edges = shared if alike else score_edges(data, summary.class_name, room)
        table.add_row(*(Text(cell) for cell in row), bars(np.histogram(own, edges)[0]))
    console.print(Padding(table, (0, 0, 0, 2), expand=False))
    told = [] if len(counts) > 1 else [f"{next(iter(counts))} samples each"]
    told.append(
        f"bars from {shared[0]:g} to {shared[-1]:g}, a bar: {shared[1] - shared[0]:g}"
        if alike
        else "bars from the lowest to the highest score of the class, in round steps"
    )
    _say(console, "; ".join(told), "dim")


def _score_row(summary: ScoreSummary, places: int, headings: Sequence[str]) -> list[str]:
    figures = [f"{x:.{places}f}" for x in _five(summary.spread)]
    cells = {
        "class": summary.class_name,
        "split": summary.split,
        "n": str(summary.spread.count),
        **dict(zip(FIGURES, figures, strict=True)),
    }
    return [cells[heading] for heading in headings]


def _five(spread: Spread) -> tuple[float, ...]:
    return spread.mean, spread.sd, spread.low, spread.median, spread.high


def _correlations(console: Console, chosen: Chosen, found: Sequence[Correlation]) -> None:
    """Print all pairs of up to three classes, else the extremes and the middle."""
    if not found:
        return
    _heading(console, "Spearman between classes")
    ordered = sorted(found, key=lambda c: -c.value)
    if len(ordered) > 2 * NAMED:
        middle = float(np.median([c.value for c in ordered]))
        _say(console, f"{len(ordered)} pairs, median {middle:.2f}; the highest and the lowest:")
        ordered = ordered[:NAMED] + ordered[-NAMED:]
    for pair in ordered:
        part = f" ({pair.count} samples)" if pair.count < len(chosen.data.ids) else ""
        _say(console, f"{pair.value:5.2f}  {pair.first}, {pair.second}{part}")


def _groups(console: Console, chosen: Chosen, summary: DatasetSummary) -> None:
    _heading(console, "Groups and folds")
    for group in summary.groups:
        _say(console, _group(group))
    if not summary.groups:
        _say(console, "no labels of who performs: whether splits share performers is not known")
        if chosen.manifest is not None:
            _say(console, f"to add some: aqabench data import {chosen.spec.name} --groups FILE.csv")
    for fold in summary.folds:
        sizes = ", ".join(map(str, fold.sizes))
        outside = f", {fold.outside} samples in none" if fold.outside else ""
        whole = f"; no {', no '.join(fold.whole)} is in two" if fold.whole else ""
        _say(console, f"{len(fold.sizes)} folds '{fold.name}' of {sizes}{outside}{whole}")


def _group(group: GroupSummary) -> str:
    largest = f"the largest ({group.largest}) of {group.size} samples"
    text = f"{group.kind}: {group.labels} labels, {largest}"
    if group.unlabelled:
        text += f"; {group.unlabelled} samples without one"
    if group.test:
        text += f"; {group.shared} of {group.test} test samples share theirs with training"
    return text


def _oddities(console: Console, data: FeatureSet, summary: DatasetSummary) -> None:
    odd = summary.oddities
    if not (odd.constant or odd.alike or odd.alike_in):
        return
    _heading(console, "Look at these")
    row = {sample: i for i, sample in enumerate(data.ids)} if odd.alike or odd.alike_in else {}
    for stream, ids in odd.constant.items():
        _say(console, f"{stream} never changes in {_count(len(ids))}: {_some(ids)}", "yellow")
    for where, found in (("every stream", odd.alike), *odd.alike_in.items()):
        if not found:
            continue
        apart = sum(len({data.split[row[i]] for i in ids}) > 1 for ids in found)
        told = [f"{apart} with a sample in training and one in test"] if apart else []
        for name, number in data.folds.items():
            torn = sum(len({int(number[row[i]]) for i in ids}) > 1 for ids in found)
            told += [f"{torn} in different folds '{name}'"] if torn else []
        sets = f"{len(found)} set{'s' * (len(found) > 1)} of samples"
        pairs = [" = ".join(ids) for ids in found]
        _say(
            console,
            f"{sets} with identical features in {where}{''.join(f'; {t}' for t in told)}: "
            f"{_some(pairs)}",
            "yellow",
        )


def _count(number: int) -> str:
    return f"{number} sample{'s' * (number > 1)}"


def _some(names: Sequence[str]) -> str:
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _heading(console: Console, text: str) -> None:
    console.print()
    console.print(Text(text, "bold"), width=min(WIDTH, console.width))


def _say(console: Console, text: str, style: str = "", indent: int = 2) -> None:
    """Print text wrapped by hand: rich would fill its lines with blanks."""
    room = min(WIDTH, console.width) - indent
    for line in textwrap.wrap(text, max(room, 20), drop_whitespace=True) if text else ():
        console.print(Text(" " * indent + line, style), no_wrap=True, overflow="ignore")


def _table(*columns: tuple[str, Literal["left", "right"]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for heading, side in columns:
        table.add_column(heading, justify=side, overflow="fold")
    return table
