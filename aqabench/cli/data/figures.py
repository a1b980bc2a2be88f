"""The figure of ``aqabench data show``: lengths, scores, how scores agree, and one sample in time.

Draws what :mod:`aqabench.data.summary` counts; :mod:`aqabench.figure` writes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from aqabench.data.features import FeatureSet
from aqabench.data.summary import round_edges, score_edges, spearman_matrix
from aqabench.figure import BLUE, ORANGE, set_title
from aqabench.protocol.schema import DatasetSpec

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

COLOURS = {"train": BLUE, "test": ORANGE}
WORDS = {"train": "training", "test": "test"}
SAMPLE_COLOUR = "#c2185b"
FEW_CLASSES = 4
"""Up to so many classes have a panel each; more share one."""
CHANNELS = 48
"""Rows of a heat map; of wider streams those that vary most in the sample are shown."""
BINS, LENGTH_BINS = 30, 100
CLIP_AT = 2.5
"""Standard deviations at which the colours of a heat map end."""


def typical_row(data: FeatureSet) -> int:
    """Return the row of a sample of median length."""
    return int(np.argsort(data.lengths, kind="stable")[len(data.ids) // 2])


def draw(data: FeatureSet, spec: DatasetSpec, row: int, simulated: bool) -> Figure:
    """Return the figure of a data set and one of its samples.

    Args:
        data: features and scores; one to eight streams.
        spec: its description.
        row: the sample that is shown in time.
        simulated: what the title says.
    """
    from matplotlib.figure import Figure

    many = len(spec.classes) > FEW_CLASSES
    panels = 1 + len(spec.classes) + len(_pairs(spec)) if not many else 0
    columns = panels if panels <= 4 else -(-panels // 2)
    above = 2.9 * -(-panels // columns) if panels else 1.6 + 0.3 * len(spec.classes)
    streams = [m.name for m in spec.modalities if m.name in data.features]
    beside = 1 if len(streams) <= 3 else 2
    below = 0.7 + 1.6 * -(-len(streams) // beside)
    figure = Figure(figsize=(13, above + below + 0.5), layout="constrained")
    set_title(figure, spec.title, simulated)
    upper, lower = figure.subfigures(2, 1, height_ratios=[above, below], squeeze=False).ravel()
    if many:
        _many_classes(upper, data, spec, row)
    else:
        _few_classes(upper, data, spec, row, columns)
    _legend(upper)
    _sample(lower, data, spec, row, streams, beside)
    return figure


def _pairs(spec: DatasetSpec) -> list[tuple[str, str]]:
    """Return the pairs of classes that have a panel of their own."""
    names = [c.name for c in spec.classes]
    if not spec.same_videos or len(names) > 3:
        return []
    return [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]


def _few_classes(
    part: SubFigure, data: FeatureSet, spec: DatasetSpec, row: int, columns: int
) -> None:
    """A histogram of each class, and a scatter of each two that share samples."""
    pairs = _pairs(spec)
    panels = 1 + len(spec.classes) + len(pairs)
    axes = part.subplots(-(-panels // columns), columns, squeeze=False).ravel()
    for spare in axes[panels:]:
        spare.set_axis_off()
    _lengths(axes[0], data, spec, row)
    for axis, class_spec in zip(axes[1:], spec.classes, strict=False):
        name = class_spec.name
        values = {s: data.scores[name][data.rows(name, s)] for s in COLOURS}
        edges = score_edges(data, name, min(BINS, max(8, sum(map(len, values.values())) // 5)))
        _histogram(axis, values, edges)
        _mark(axis, data.scores[name][row])
        axis.set(title=f"{name}: {_counts(values)}", xlabel=f"{name} (points)")
    names, rho = [c.name for c in spec.classes], spearman_matrix(data, spec)
    for axis, (first, second) in zip(axes[1 + len(names) :], pairs, strict=False):
        value = float(rho[names.index(first), names.index(second)])
        _scatter(axis, data, first, second, row, value)


def _lengths(axis: Axes, data: FeatureSet, spec: DatasetSpec, row: int) -> None:
    values = {s: data.lengths[data.split == s] for s in COLOURS}
    # half a clip to the left: whole numbers then lie inside the bars, not on their edges
    _histogram(axis, values, round_edges(data.lengths, LENGTH_BINS) - 0.5)
    _mark(axis, float(data.lengths[row]))
    axis.axvline(spec.clip_length, color="k", ls=":", lw=1.4, label="training window")
    axis.set(title=f"Lengths: {_counts(values)}", xlabel="length (clips)")


def _histogram(
    axis: Axes, values: Mapping[str, npt.NDArray[np.number]], edges: npt.NDArray[np.float64]
) -> None:
    """Shares of each split, so that splits of unequal size can be compared."""
    for split, own in values.items():
        if own.size:
            share = 100 * np.histogram(own, edges)[0] / own.size
            filled = split == "train"
            axis.stairs(
                share, edges, fill=filled, alpha=0.55 if filled else 1.0, color=COLOURS[split],
                lw=1.6, label=WORDS[split],
            )  # fmt: skip
    axis.set_ylabel("share of the split (%)")
    axis.spines[["top", "right"]].set_visible(False)


def _counts(values: Mapping[str, npt.NDArray[np.number]]) -> str:
    return ", ".join(f"{own.size} {WORDS[split]}" for split, own in values.items() if own.size)


def _legend(part: SubFigure) -> None:
    """One legend for all panels of the upper part."""
    found: dict[str, Artist] = {}
    for axis in part.axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    style: dict[str, Any] = {"ncols": len(found), "fontsize": 9, "frameon": False}
    part.legend(found.values(), found, loc="outside upper center", **style)


def _mark(axis: Axes, value: float) -> None:
    if np.isfinite(value):
        axis.axvline(value, color=SAMPLE_COLOUR, lw=1.4, label="the sample below")


def _scatter(axis: Axes, data: FeatureSet, first: str, second: str, row: int, rho: float) -> None:
    both = np.isfinite(data.scores[first]) & np.isfinite(data.scores[second])
    crowded = both.sum() > 1500
    # in mixed order, so that neither split hides the other
    rows = np.random.default_rng(0).permutation(np.flatnonzero(both))
    axis.scatter(
        data.scores[first][rows], data.scores[second][rows], s=4 if crowded else 9,
        alpha=0.4 if crowded else 0.6, color=[COLOURS[str(s)] for s in data.split[rows]], lw=0,
        rasterized=True,
    )  # fmt: skip
    axis.scatter(
        data.scores[first][row], data.scores[second][row], s=45, marker="D", color=SAMPLE_COLOUR,
        edgecolor="w",
    )  # fmt: skip
    axis.set(
        title=f"{first}, {second}: Spearman {rho:.2f}",
        xlabel=f"{first} (points)",
        ylabel=f"{second} (points)",
    )
    axis.spines[["top", "right"]].set_visible(False)


def _many_classes(part: SubFigure, data: FeatureSet, spec: DatasetSpec, row: int) -> None:
    """Boxes of all classes in one panel, and a map of their correlations beside it."""
    ratios = [1.0, 1.9, 1.5] if spec.same_videos else [1.0, 2.4]
    axes = part.subplots(1, len(ratios), width_ratios=ratios)
    _lengths(axes[0], data, spec, row)
    _boxes(axes[1], data, spec, row)
    if spec.same_videos:
        _correlations(axes[2], data, spec)


def _boxes(axis: Axes, data: FeatureSet, spec: DatasetSpec, row: int) -> None:
    """Box plots; classes of unlike bounds are drawn as shares of them."""
    alike = len({c.bounds for c in spec.classes}) == 1
    splits = [s for s in COLOURS if (data.split == s).any()]
    for place, class_spec in enumerate(spec.classes):
        low, high = (0.0, 1.0) if alike else class_spec.bounds
        scaled = (data.scores[class_spec.name] - low) / (high - low)
        for i, split in enumerate(splits):
            box = axis.boxplot(
                scaled[data.rows(class_spec.name, split)],
                positions=[place + (i - (len(splits) - 1) / 2) * 0.36],
                widths=0.6 / len(splits),
                orientation="horizontal",
                patch_artist=True,
                flierprops={"ms": 2, "alpha": 0.4},
                medianprops={"color": "k"},
            )
            box["boxes"][0].set(facecolor=COLOURS[split], alpha=0.6)
        if np.isfinite(scaled[row]):
            axis.plot(scaled[row], place, "D", ms=5, mfc=SAMPLE_COLOUR, mec="w")
    names = [f"{c.name}  {i}" for i, c in enumerate(spec.classes, 1)]
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.set(title="Scores", xlabel="points" if alike else "share of the declared range of points")
    axis.spines[["top", "right"]].set_visible(False)


def _correlations(axis: Axes, data: FeatureSet, spec: DatasetSpec) -> None:
    matrix = spearman_matrix(data, spec)
    image = axis.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1)
    if len(matrix) <= 8:
        for (i, j), value in np.ndenumerate(matrix):
            axis.text(
                j, i, f"{value:.2f}", ha="center", va="center", fontsize=8,
                color="w" if abs(value) > 0.6 else "k",
            )  # fmt: skip
    numbers = [str(n) for n in range(1, len(matrix) + 1)]
    axis.set_xticks(range(len(matrix)), numbers, fontsize=8)
    axis.set_yticks(range(len(matrix)), numbers, fontsize=8)
    axis.set_title("Spearman between classes")
    axis.figure.colorbar(image, ax=axis, shrink=0.7, label="Spearman")


def _sample(
    part: SubFigure, data: FeatureSet, spec: DatasetSpec, row: int, streams: list[str], beside: int
) -> None:
    """Each stream of one sample as a heat map over time."""
    axes = part.subplots(-(-len(streams) // beside), beside, squeeze=False, sharex=True)
    for spare in axes.ravel()[len(streams) :]:
        spare.set_axis_off()
    image = None
    for axis, modality in zip(axes.ravel(), streams, strict=False):
        video = data.video(row, modality).astype(np.float64)  # (T, D)
        chosen = most_varied(video, CHANNELS)
        moving = video[:, chosen] - video[:, chosen].mean(0)
        scale = moving.std(0)
        still = scale <= 1e-12
        rows = np.ma.array((moving / np.where(still, 1.0, scale)).T)
        rows[still] = np.ma.masked  # a channel that does not change has no colour
        image = axis.imshow(
            rows, aspect="auto", cmap="RdBu_r", vmin=-CLIP_AT, vmax=CLIP_AT,
            interpolation="nearest", extent=(0.5, len(video) + 0.5, len(chosen) + 0.5, 0.5),
        )  # fmt: skip
        axis.set_facecolor("0.8")
        every = len(chosen) == video.shape[1]
        count = f"all {video.shape[1]}" if every else f"{len(chosen)} of {video.shape[1]}"
        axis.set_ylabel(f"{modality}\n{count} channels", fontsize=9)
        axis.set_yticks([])
        if still.any():
            axis.set_title(f"grey: {int(still.sum())} channels that do not change", fontsize=8)
    for axis in axes[-1]:
        axis.set_xlabel("clip")
        axis.xaxis.get_major_locator().set_params(integer=True)
    if len(streams) % beside:  # nothing below the last one of the second column
        axes[-2, -1].tick_params(labelbottom=True)
        axes[-2, -1].set_xlabel("clip")
    assert image is not None
    part.colorbar(
        image, ax=axes, extend="both", aspect=30, pad=0.01,
        label="SDs from the channel's mean\nin this sample",
    )  # fmt: skip
    own = [c.name for c in spec.classes if np.isfinite(data.scores[c.name][row])]
    told = ", ".join(f"{name} {data.scores[name][row]:.4g}" for name in own[:FEW_CLASSES])
    told = told if len(own) <= FEW_CLASSES else f"{len(own)} scores"
    about = f"{WORDS[str(data.split[row])]}, {data.lengths[row]} clips"
    part.suptitle(f"Sample {data.ids[row]} ({about}): {told}", fontsize=11, color=SAMPLE_COLOUR)


def most_varied(video: npt.NDArray[np.floating], most: int) -> npt.NDArray[np.int64]:
    """Return the (k,) channels of a (T, D) sample that vary most in time, in channel order."""
    variance = video.var(0)
    if len(variance) <= most:
        return np.arange(len(variance))
    return np.sort(np.argsort(-variance, kind="stable")[:most])
