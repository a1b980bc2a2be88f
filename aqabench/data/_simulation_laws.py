"""The numbers the simulator is made of: one frozen law for each data set, and a generic one.

Means, standard deviations, skews and lengths are facts about the published labels and the real
Fis-V RGB features; everything marked *assumed* is a choice.  ``docs/simulator.md`` lists them with
their sources.  A change of any number here changes the digest of the simulated data.  Nothing here
draws.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from aqabench.protocol.schema import DatasetSpec


@dataclass(frozen=True)
class ScoreLaw:
    """A skewed, nearly normal distribution of judge points."""

    mean: float
    sd: float
    skew: float


@dataclass(frozen=True)
class LengthLaw:
    """Clips per video: a mixture of normals, rounded and cut, with optional outliers.

    Attributes:
        parts: (weight, mean, sd) of each component.
        low, high: where ordinary videos are cut off.
        extremes: lengths that exactly one video each has, whatever the seed.
    """

    parts: tuple[tuple[float, float, float], ...]
    low: int
    high: int
    extremes: tuple[int, ...] = ()


@dataclass(frozen=True)
class StreamLaw:
    """What one modality shows of a performance.

    Attributes:
        clarity: correlation of what a whole video shows of each latent quality with the true one;
            the last value serves all further qualities.
        bursts: correlation of the quality shown in the few element clips with the true quality;
            0 leaves the elements out.
        nonnegative: rectified, like features after a ReLU; else signed and dense.
    """

    clarity: tuple[float, ...]
    bursts: float = 0.6
    nonnegative: bool = False


@dataclass(frozen=True)
class DatasetLaw:
    """Everything that shapes one simulated data set besides its description.

    Attributes:
        recipe: how scores are made: ``correlated`` (each class one latent), ``difficulty``
            (difficulty + execution - penalty), ``programmes`` (TES by programme type, components
            of one factor) or ``disjoint`` (each class its own videos).
        scores: law of each class, or of each part of a score, by name.
        lengths: clips per video; two laws when short and free programmes differ.
        streams: modality -> what it shows.
        quality_between: correlation between the latent qualities, athletes' part.
        quality_within: the same for a single performance around its athlete's level.
        athlete_share: share of each latent's variance that is the athlete's.
        common_noise: share of the error of what is shown that all modalities make together.
        groups_per_video: athletes / videos.
    """

    recipe: str
    scores: dict[str, ScoreLaw]
    lengths: tuple[LengthLaw, ...]
    streams: dict[str, StreamLaw]
    quality_between: float
    quality_within: float
    athlete_share: tuple[float, ...]
    common_noise: float
    groups_per_video: float = 0.296


@dataclass(frozen=True)
class FeatureLaw:
    """Statistics of the features that all data sets share; measured on Fis-V RGB unless said.

    Attributes:
        offset_sd: spread of the constant means of the feature dimensions.
        within: variance of a feature inside a video.
        between: variance of a feature's mean between videos.
        directions: rank of the variation inside a video.
        decay: exponent of the fall of its spectrum, variance ~ rank ** -decay.
        memory: lag-1 coefficients of the strongest and of the weakest direction.
        signal, style, athlete: shares of ``between`` for quality, for what all modalities have in
            common besides it, and for the athlete's identity; the rest is private to a modality.
        amplitude_sd: spread between videos of the log of how much features move inside.
        gate, burst: lengths of the two steps (in feature space) that an element clip makes: one
            says that this is an element, the other how good it is.
        element_clips, clips_per_element: clips of an element, and of programme per element.
    """

    offset_sd: float = 0.70
    rectified_offset_sd: float = 0.35
    within: float = 0.094
    between: float = 0.0245
    directions: int = 160
    decay: float = 0.95
    memory: tuple[float, float] = (0.66, 0.52)
    signal: float = 0.10
    style: float = 0.40
    athlete: float = 0.14
    style_rank: int = 20
    athlete_rank: int = 12
    private_rank: int = 40
    private_decay: float = 1.0
    amplitude_sd: float = 0.13
    gate: float = 4.0
    burst: float = 1.5
    element_clips: int = 3
    clips_per_element: int = 19


FEATURES = FeatureLaw()

_RG_PENALTY = ScoreLaw(mean=0.20, sd=0.20, skew=0.0)

_LAWS: dict[str, DatasetLaw] = {
    "fisv": DatasetLaw(
        recipe="correlated",
        scores={
            "TES": ScoreLaw(29.67, 6.45, -0.68),
            "PCS": ScoreLaw(27.11, 5.28, -0.52),
        },
        lengths=(
            LengthLaw(
                parts=((0.92, 135.0, 2.2), (0.08, 161.5, 2.5)),
                low=126,
                high=170,
                extremes=(124, 302),
            ),
        ),
        streams={
            "video": StreamLaw((0.675, 0.79), bursts=0.60),
            "audio": StreamLaw((0.535, 0.64), bursts=0.0),
            "flow": StreamLaw((0.635, 0.72), bursts=0.53, nonnegative=True),
        },
        quality_between=0.95,
        quality_within=0.62,
        athlete_share=(0.545, 0.80),
        common_noise=0.03,
    ),
    "rg": DatasetLaw(
        recipe="difficulty",
        scores={
            "Ball/difficulty": ScoreLaw(8.75, 2.08, 0.04),
            "Ball/execution": ScoreLaw(6.46, 1.35, -0.78),
            "Clubs/difficulty": ScoreLaw(9.05, 2.39, -0.01),
            "Clubs/execution": ScoreLaw(6.42, 1.30, -0.40),
            "Hoop/difficulty": ScoreLaw(8.76, 2.30, 0.24),
            "Hoop/execution": ScoreLaw(6.48, 1.29, -0.53),
            "Ribbon/difficulty": ScoreLaw(7.66, 2.02, -0.04),
            "Ribbon/execution": ScoreLaw(6.24, 1.43, -0.33),
            "penalty": _RG_PENALTY,
        },
        lengths=(LengthLaw(parts=((1.0, 71.6, 1.17),), low=67, high=77),),
        streams={
            "video": StreamLaw((0.745,), bursts=0.55),
            "audio": StreamLaw((0.395,), bursts=0.0),
            "flow": StreamLaw((0.65,), bursts=0.50, nonnegative=True),
        },
        quality_between=0.77,
        quality_within=0.77,
        athlete_share=(0.4, 0.4),
        common_noise=0.0,
    ),
    "fs1000": DatasetLaw(
        recipe="programmes",
        scores={
            "TES/men-short": ScoreLaw(39.0, 9.0, 0.3),
            "TES/ladies-short": ScoreLaw(30.9, 6.0, 0.15),
            "TES/men-free": ScoreLaw(69.8, 13.7, 0.43),
            "TES/ladies-free": ScoreLaw(57.1, 11.2, 0.21),
            "SS": ScoreLaw(7.28, 1.30, -0.6),
            "TR": ScoreLaw(7.05, 1.30, -0.6),
            "PE": ScoreLaw(7.22, 1.29, -0.6),
            "CO": ScoreLaw(7.31, 1.30, -0.6),
            "IN": ScoreLaw(7.30, 1.30, -0.6),
        },
        lengths=(
            LengthLaw(parts=((1.0, 62.0, 2.5),), low=54, high=72),
            LengthLaw(parts=((1.0, 92.0, 4.0),), low=80, high=110),
        ),
        streams={
            "video": StreamLaw((0.875,), bursts=0.72),
            "audio": StreamLaw((0.665,), bursts=0.0),
            "flow": StreamLaw((0.80,), bursts=0.63, nonnegative=True),
        },
        quality_between=0.90,
        quality_within=0.75,
        athlete_share=(0.55, 0.75),
        common_noise=0.2,
    ),
}

PROGRAMMES = (
    ("men-short", 0.35),
    ("ladies-short", 0.25),
    ("men-free", 0.21),
    ("ladies-free", 0.19),
)
"""Programme types and their shares in the singles part of FS800."""

_KNOWN_CLASSES = {
    "fisv": ("TES", "PCS"),
    "rg": ("Ball", "Clubs", "Hoop", "Ribbon"),
    "fs1000": ("TES", "PCS", "SS", "TR", "PE", "CO", "IN"),
}


def law_for(spec: DatasetSpec) -> DatasetLaw:
    """Return the law of a known data set, or a generic one made from its description.

    A description that has a known name but other classes gets the generic law.  A modality that
    the law doesn't know gets a generic stream by its position in the list.
    """
    law = _LAWS.get(spec.name)
    if law is None or tuple(c.name for c in spec.classes) != _KNOWN_CLASSES[spec.name]:
        law = _generic(spec)
    streams = {
        modality.name: law.streams.get(modality.name, _stream(modality.name, position))
        for position, modality in enumerate(spec.modalities)
    }
    return replace(law, streams=streams)


def _stream(name: str, position: int) -> StreamLaw:
    """Assumed: each further modality shows less."""
    return StreamLaw((round(0.80 * 0.93**position, 4),), nonnegative=name == "flow")


def _generic(spec: DatasetSpec) -> DatasetLaw:
    """Assumed throughout: one hump a little above the middle of the bounds."""
    scores = {}
    for c in spec.classes:
        span = c.bounds[1] - c.bounds[0]
        scores[c.name] = ScoreLaw(c.bounds[0] + 0.6 * span, 0.15 * span, -0.4)
    length = float(spec.clip_length)
    law = LengthLaw(
        parts=((1.0, length, 0.08 * length),),
        low=max(1, round(0.7 * length)),
        high=max(1, round(1.4 * length)),
    )
    return DatasetLaw(
        recipe="correlated" if spec.same_videos else "disjoint",
        scores=scores,
        lengths=(law,),
        streams={},
        quality_between=0.75,
        quality_within=0.75,
        athlete_share=(0.5,) * (len(spec.classes) if spec.same_videos else 1),
        common_noise=0.0,
    )
