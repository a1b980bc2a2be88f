"""Who skated what, how good it was, and what the judges gave: everything before the features.

Latent qualities are normal, with an athlete's part and a performance's part whose sample moments
are made exact, so that correlations and identity leakage don't wander with the seed.  Nothing
here makes features.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aqabench.data._simulation_laws import PROGRAMMES, DatasetLaw, LengthLaw, ScoreLaw
from aqabench.protocol.schema import DatasetSpec

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ScoreTable:
    """What is true of each of the N videos before a camera sees it.

    Attributes:
        scores: class -> (N,) judge points, rounded to 0.01; NaN where not of that class.
        quality: (N, Q) standardised latent qualities that features show.
        athlete: (N,) index of the athlete; all different without group effects.
        lengths: (N,) clips.
        split: (N,) ``"train"`` or ``"test"``.
        cell: (N,) which part of the split, and of the classes where those are disjoint.
        parts: named latent components for inspection, e.g. ``difficulty`` (N,).
    """

    scores: Mapping[str, Floats]
    quality: Floats
    athlete: Ints
    lengths: Ints
    split: npt.NDArray[np.str_]
    cell: Ints
    parts: Mapping[str, npt.NDArray[np.generic]]


def stream(spec: DatasetSpec, seed: int, *names: str) -> np.random.Generator:
    """Return the generator of a named part of the simulation; parts don't disturb each other."""
    key = zlib.crc32("/".join((spec.name, *names)).encode())
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence([seed, key])))


def draw_scores(spec: DatasetSpec, law: DatasetLaw, *, seed: int, groups: bool) -> ScoreTable:
    """Draw athletes, qualities, scores and lengths for the official split sizes."""
    rng = stream(spec, seed, "scores")
    split, member = _split(spec)
    athlete = _athletes(len(split), law.groups_per_video, stream(spec, seed, "athletes"))
    if not groups:
        athlete = np.arange(len(split))
    latent = _latents(law, athlete, rng)  # (N, Q)
    parts: dict[str, npt.NDArray[np.generic]] = {}
    bounds = {c.name: c.bounds for c in spec.classes}
    kind = np.zeros(len(split), dtype=np.int64)
    if law.recipe == "programmes":
        raw, quality, kind = _programmes(law, latent, athlete, rng, parts)
    elif law.recipe == "difficulty":
        raw, quality = _difficulty(law, latent, member, rng, parts)
    else:
        columns = range(len(member)) if spec.same_videos else [0] * len(member)
        quality = latent
        raw = {
            name: skewed(latent[:, column], law.scores[name])
            for name, column in zip(member, columns, strict=True)
        }
    scores = {}
    for name, of_class in member.items():
        points = np.round(np.clip(raw[name], *_inside(bounds[name])), 2)
        scores[name] = np.where(of_class, points, np.nan)
    lengths = _lengths(law.lengths, kind, stream(spec, seed, "lengths"))
    cell = (split == "test").astype(np.int64)
    if not spec.same_videos:
        cell += 2 * np.argmax(np.stack(list(member.values())), axis=0)
    return ScoreTable(scores, quality, athlete, lengths, split, cell, parts)


def unrelated(error: Floats, table: ScoreTable) -> Floats:
    """Take out of errors (N, K) what goes with the quality by chance, in training and in test.

    With 50 or 100 test videos chance would move every level of the simulator by 0.05 from seed to
    seed.  The columns keep unit variance in each cell; a handful of videos is left alone.
    """
    error = error.copy()
    for cell in np.unique(table.cell):
        rows = table.cell == cell
        known = np.column_stack([np.ones(rows.sum()), table.quality[rows]])
        if len(known) >= 10 * known.shape[1]:
            inside = error[rows] - known @ np.linalg.lstsq(known, error[rows], rcond=None)[0]
            error[rows] = inside / inside.std(axis=0)
    return error


def skewed(z: Floats, law: ScoreLaw) -> Floats:
    """Turn standard normals into points with the mean, sd and skew of ``law``.

    ``z + k (z^2 - 1)``, scaled, has skew ``(6 k + 8 k^3) / (1 + 2 k^2)^1.5``; it rises as long as
    z stays on one side of ``-1 / (2 k)``, where it is cut.
    """
    low, high = -0.5, 0.5
    for _ in range(60):
        k = (low + high) / 2
        if (6 * k + 8 * k**3) / (1 + 2 * k * k) ** 1.5 < law.skew:
            low = k
        else:
            high = k
    if abs(k) > 1e-9:
        turn = -1 / (2 * k)
        z = np.minimum(z, turn) if k < 0 else np.maximum(z, turn)
    shaped: Floats = law.mean + law.sd * (z + k * (z * z - 1)) / np.sqrt(1 + 2 * k * k)
    return shaped


def _split(
    spec: DatasetSpec,
) -> tuple[npt.NDArray[np.str_], dict[str, npt.NDArray[np.bool_]]]:
    """Return (N,) split, train first, and for each class the (N,) mask of its videos."""
    classes = spec.classes
    if spec.same_videos:
        sizes = [(max(c.train for c in classes), max(c.test for c in classes))]
    else:
        sizes = [(c.train, c.test) for c in classes]
    train, test = (sum(column) for column in zip(*sizes, strict=True))
    split = np.array(["train"] * train + ["test"] * test)
    member = {}
    begins = [0, train]
    for c in classes:
        mask = np.zeros(train + test, dtype=np.bool_)
        for part, count in enumerate((c.train, c.test)):
            mask[begins[part] : begins[part] + count] = True
            begins[part] += 0 if spec.same_videos else count
        member[c.name] = mask
    return split, member


def _athletes(count: int, per_video: float, rng: np.random.Generator) -> Ints:
    """Return (N,) athlete indices: many appear once, a few very often, as in Fis-V.

    Every athlete has one video; the others are dealt with chances that fall with the rank.
    """
    athletes = min(count, max(2, round(per_video * count)))
    weights = (np.arange(athletes) / athletes + 0.02) ** -0.75 - 0.9
    weights = np.maximum(weights, 0.02)
    extra = rng.choice(athletes, size=count - athletes, p=weights / weights.sum())
    return rng.permutation(np.concatenate([np.arange(athletes), extra]))


def _latents(law: DatasetLaw, athlete: Ints, rng: np.random.Generator) -> Floats:
    """Return (N, Q) qualities of unit variance whose sample covariance is the law's."""
    share = np.array(law.athlete_share)
    width = len(share)
    level = rng.standard_normal((int(athlete.max()) + 1, width))[athlete]  # (N, Q)
    form = rng.standard_normal((len(athlete), width))
    level = _exact(level)
    form = form - form.mean(axis=0)
    form = form - level @ (level.T @ form) / len(form)  # nothing of the athlete's left
    form = _exact(form)
    level = level @ _root(law.quality_between, width) * np.sqrt(share)
    form = form @ _root(law.quality_within, width) * np.sqrt(1 - share)
    latent: Floats = level + form
    return latent


def _exact(columns: Floats) -> Floats:
    """Centre and whiten columns, so that their sample covariance is the identity.

    A handful of videos keeps its chance moments: there is too little to whiten.
    """
    if len(columns) < 20 * columns.shape[1]:
        return columns
    columns = columns - columns.mean(axis=0)
    root = np.linalg.cholesky(columns.T @ columns / len(columns))
    white: Floats = np.linalg.solve(root, columns.T).T
    return white


def _root(correlation: float, width: int) -> Floats:
    """Return R (Q, Q) with R'R the equicorrelated matrix."""
    matrix = np.full((width, width), correlation)
    np.fill_diagonal(matrix, 1.0)
    root: Floats = np.linalg.cholesky(matrix).T
    return root


def _difficulty(
    law: DatasetLaw,
    latent: Floats,
    member: Mapping[str, npt.NDArray[np.bool_]],
    rng: np.random.Generator,
    parts: dict[str, npt.NDArray[np.generic]],
) -> tuple[dict[str, Floats], Floats]:
    """Score = difficulty + execution - penalty, by apparatus; quality is the standardised sum."""
    count = len(latent)
    size = rng.exponential(law.scores["penalty"].mean, size=count)
    penalty = np.where(rng.random(count) < 0.14, np.maximum(0.05, np.round(size / 0.05) * 0.05), 0)
    difficulty, execution, quality = (np.zeros(count) for _ in range(3))
    raw = {}
    for name, mask in member.items():
        difficulty[mask] = np.round(skewed(latent[mask, 0], law.scores[f"{name}/difficulty"]), 1)
        execution[mask] = np.round(skewed(latent[mask, 1], law.scores[f"{name}/execution"]), 2)
        total = difficulty + execution - penalty
        quality[mask] = (total[mask] - total[mask].mean()) / total[mask].std()
        raw[name] = total
    np.clip(execution, 0.0, 10.0, out=execution)
    parts |= {"difficulty": difficulty, "execution": execution, "penalty": penalty}
    return raw, quality[:, None]


def _programmes(
    law: DatasetLaw,
    latent: Floats,
    athlete: Ints,
    rng: np.random.Generator,
    parts: dict[str, npt.NDArray[np.generic]],
) -> tuple[dict[str, Floats], Floats, Ints]:
    """TES by programme type, five components of one factor, PCS / factor their sum."""
    count = len(latent)
    share = dict(PROGRAMMES)
    men = share["men-short"] + share["men-free"]
    lady = (rng.random(int(athlete.max()) + 1) >= men)[athlete]
    free_share = np.where(lady, share["ladies-free"] / (1 - men), share["men-free"] / men)
    free = rng.random(count) < free_share
    kind = 2 * free + lady  # order of PROGRAMMES
    tes = np.zeros(count)
    for index, (name, _) in enumerate(PROGRAMMES):
        of_kind = kind == index
        tes[of_kind] = skewed(latent[of_kind, 0], law.scores[f"TES/{name}"])
    type_mean = np.array([law.scores[f"TES/{name}"].mean for name, _ in PROGRAMMES])[kind]
    # Who skates a free programme has qualified for it, so components rise with the type as well.
    factor = latent[:, 1] + 0.25 * (type_mean - type_mean.mean()) / tes.std()
    factor = (factor - factor.mean()) / factor.std()
    raw: dict[str, Floats] = {"TES": tes}
    total = np.zeros(count)
    for name in ("SS", "TR", "PE", "CO", "IN"):
        z = np.sqrt(0.97) * factor + np.sqrt(0.03) * rng.standard_normal(count)
        points: Floats = np.clip(skewed(z, law.scores[name]), 0.25, 10.0)
        raw[name] = np.round(points, 2)
        total += raw[name]
    raw["PCS"] = total
    parts |= {
        "factor": factor,
        "programme": np.array([name for name, _ in PROGRAMMES])[kind],
    }
    quality = np.stack([(tes - tes.mean()) / tes.std(), factor], axis=1)  # (N, 2)
    return raw, quality, free.astype(np.int64)


def _lengths(laws: tuple[LengthLaw, ...], kind: Ints, rng: np.random.Generator) -> Ints:
    """Return (N,) clips per video; ``kind`` says which law a video follows."""
    count = len(kind)
    lengths = np.zeros(count, dtype=np.int64)
    for index, law in enumerate(laws):
        weights, means, sds = (np.array(column) for column in zip(*law.parts, strict=True))
        part = rng.choice(len(weights), size=count, p=weights / weights.sum())
        drawn = np.round(means[part] + sds[part] * rng.standard_normal(count)).astype(np.int64)
        lengths = np.where(kind == index, np.clip(drawn, law.low, law.high), lengths)
        where = rng.permutation(np.flatnonzero(kind == index))[: len(law.extremes)]
        lengths[where] = law.extremes[: len(where)]
    return lengths


def _inside(bounds: tuple[float, float]) -> tuple[float, float]:
    """Return the bounds on the grid of 0.01, so that rounding can't leave them."""
    low, high = np.ceil(bounds[0] * 100) / 100, np.floor(bounds[1] * 100) / 100
    return (float(low), float(high)) if low <= high else bounds
