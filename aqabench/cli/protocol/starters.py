"""The kinds that ``aqabench protocol new`` knows: what it writes for each, and what that means.

Numbers are those of the shipped protocols, as far as a data set has the streams for them.
"""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aqabench.protocol.schema import DatasetSpec

KINDS = {
    "subsets": ("whole modalities missing", "every non-empty subset; 'sizes: [1]' keeps some"),
    "rate": ("modalities missing at a rate", "shares of hidden slots; one stream always stays"),
    "quota": ("modalities missing by quota", "fixed shares with two, one or none missing"),
    "imbalanced": ("modalities missing at unequal rates", "one rate per modality, in their order"),
    "frame-iid": ("single steps missing", "shares of steps, each of each stream by itself"),
    "rate-t": ("modalities missing step by step", "the law of 'rate' at every step"),
    "block": ("runs of steps missing", "shares of steps: one run in each stream"),
    "outage": ("an outage of everything", "shares of steps: one run, the same in all streams"),
    "prefix": ("the beginning missing", "shares of steps, in all streams"),
    "suffix": ("the end missing", "shares of steps, in all streams"),
    "mix": ("some streams, with steps missing", "what is shown, and shares of its steps to hide"),
    "gauss": ("noisy streams", "noise, in standard deviations"),
    "channels": ("dead channels", "shares of the channels that show their mean"),
    "shift": ("streams out of step", "steps, early or late"),
    "freeze": ("frozen streams", "shares of the steps that repeat the one before"),
    "scale": ("streams too loud or too faint", "factors of the distance from the mean"),
    "swap": ("streams of another sample", "every sample shows that of another"),
}
"""Kind -> end of the title, and what is said of it in the file."""
NOISE = {
    "gauss": "levels: [0.25, 0.5, 1.0, 2.0], on: {on}, draws: 3",
    "channels": "levels: [0.1, 0.3, 0.5], on: {on}, draws: 3",
    "shift": "levels: [1.0, 2.0, 4.0, 8.0], on: [each], draws: 3",
    "freeze": "levels: [0.25, 0.5], on: [each], draws: 3",
    "scale": "levels: [0.5, 2.0], on: {on}",
    "swap": "on: [each], draws: 3",
}
STEPS = {
    "frame-iid": "rates: [0.0, 0.3, 0.6, 0.9], draws: 3",
    "block": "rates: [0.25, 0.5, 0.75], draws: 3",
    "outage": "rates: [0.25, 0.5, 0.75], draws: 3",
    "prefix": "rates: [0.25, 0.5]",
    "suffix": "rates: [0.25, 0.5]",
}
AVERAGES = {"rate": "AvgRate", "quota": "AvgQuota", "imbalanced": "AvgImbalanced"}
_TABLE = "for good, in the training list; seed s gets table s mod 3"
_EPOCH = "every sample exists whole; each epoch"
TRAININGS = {
    "complete": "every training sample has every stream",
    "rate": f"half of all streams do not exist, {_TABLE}",
    "imbalanced": f"streams do not exist at rates of their own, {_TABLE}",
    "single": f"one stream exists in a quarter of the samples, {_TABLE}",
    "u7": f"{_EPOCH} shows any non-empty subset of its streams",
    "u6": f"{_EPOCH} shows any incomplete subset of its streams",
    "size": f"{_EPOCH} draws how many streams are shown, then which",
    "bern": f"{_EPOCH} hides each stream with this probability, never all",
}
"""Kind of training -> what is said of it in the file."""
TABLES = ("rate", "imbalanced", "single")
LEAST_RATE, LARGEST_RATE = 0.3, 0.7
"""Ends of the unequal rates: .3, .5 and .7 for three streams, as in BALM."""


def refuse(kind: str, training: str, dataset: DatasetSpec) -> None:
    """Refuse what a data set cannot be asked, or what cannot be asked together.

    Raises:
        UsageError: quota on other than three modalities; training that lacks something of one; a
            swap where samples lack streams.
    """
    from aqabench.errors import UsageError

    count = len(dataset.modalities)
    if kind == "quota" and count != 3:
        raise UsageError(
            f"quota is defined for 3 modalities only and {dataset.name} has {count}: write "
            "--kind rate, which is defined for any number"
        )
    if training != "complete" and count == 1:
        raise UsageError(
            f"{dataset.name} has one modality, so that nothing can be missing in training: write "
            "--training complete"
        )
    if kind == "swap" and training in TABLES:
        raise UsageError(
            f"swap needs validation samples that have every stream, and --training {training} "
            "takes some away: write --training complete, or --training u7"
        )


def scenario_lines(kind: str, streams: Sequence[str]) -> list[str]:
    """Return the items of ``scenarios``.

    Args:
        kind: a key of :data:`KINDS`.
        streams: names of the modalities.
    """
    from aqabench.protocol.mask_laws import QUOTAS

    ending, meaning = KINDS[kind]
    count = len(streams)
    if hides_nothing(kind, count):
        meaning = "nothing can be missing"
    found = [f"# {meaning}"]
    if kind in NOISE:
        on = "[each, all]" if count > 1 else "[each]"
        return [
            "# the reference, in which nothing is hidden",
            f"- {{kind: subsets, sizes: [{count}]}}",
            f"# {ending}: {meaning}",
            f"- {{kind: {kind}, {NOISE[kind].format(on=on)}}}",
        ]
    if kind in STEPS:
        return [*found, f"- {{kind: {kind}, {STEPS[kind]}}}"]
    match kind:
        case "subsets":
            return [*found, "- {kind: subsets}"]
        case "rate":
            return [
                *found,
                f"- {{kind: rate, rates: {_flow(_rates(count))}, law: exact, draws: 5}}",
            ]
        case "rate-t":
            return [*found, f"- {{kind: rate-t, rates: {_flow(_rates(count))}, draws: 3}}"]
        case "quota":
            return [*found, f"- {{kind: quota, rates: {_flow(list(QUOTAS))}, draws: 5}}"]
        case "mix":
            shown = pair("shown", streams[:-1] or streams)
            return [*found, f"- {{kind: mix, {shown}, rates: [0.0, 0.3, 0.6], draws: 3}}"]
        case _:
            rows = [f"    - {_flow(rates)}" for rates in _unequal_rates(count)]
            return [*found, "- kind: imbalanced", "  draws: 5", "  rates:", *rows]


def average(kind: str, count: int) -> str:
    """Return the headline average: its column title and over what."""
    if hides_nothing(kind, count):  # an average needs something
        return "{name: Avg1, over: all}"
    usual = "AvgNoise" if kind in NOISE else "AvgTemp"
    title = f"Avg{2**count - 2}" if kind == "subsets" else AVERAGES.get(kind, usual)
    return f"{{name: {title}, over: incomplete}}"


def hides_nothing(kind: str, count: int) -> bool:
    """Does a kind leave everything as it is, because there is one modality only?"""
    return count == 1 and kind in ("subsets", "rate", "imbalanced", "rate-t")


def training_lines(training: str, streams: Sequence[str]) -> list[str]:
    """Return the lines of ``training``.

    Args:
        training: a key of :data:`TRAININGS`.
        streams: names of the modalities.
    """
    settings = {
        "complete": "complete",
        "rate": "{kind: rate, rate: 0.5, law: keep-one, tables: 3}",
        "imbalanced": f"{{kind: imbalanced, rates: {_flow(_unequal_rates(len(streams))[0])}, "
        "tables: 3}",
        "single": f"{{kind: single, {pair('modality', streams[0])}, share: 0.25, tables: 3}}",
        "bern": "{kind: bern, p: 0.5}",
    }
    written = settings.get(training, f"{{kind: {training}}}")
    return [f"# {TRAININGS[training]}", f"training: {written}"]


def pair(key: str, value: str | Sequence[str]) -> str:
    """Return ``key: value`` with quotes where YAML needs them, a list on one line."""
    from aqabench.protocol.emit import emit

    return emit({key: value if isinstance(value, str) else [*value]}).rstrip()


def _rates(count: int) -> list[float]:
    """Return 0, .1, … and the largest possible rate, ``1 - 1/M``, to four decimals."""
    largest = round(1 - 1 / count, 4)
    return [*(i / 10 for i in range(10) if i / 10 < largest), largest]


def _unequal_rates(count: int) -> list[tuple[float, ...]]:
    """Return configurations in which every modality has each rate equally often.

    All orders up to three modalities; of more only the rotations, of which there are M.
    """
    if count == 1:
        return [(0.0,)]
    step = (LARGEST_RATE - LEAST_RATE) / (count - 1)
    rates = tuple(round(LEAST_RATE + step * i, 2) for i in range(count))
    if count <= 3:
        return list(permutations(rates))
    return [rates[i:] + rates[:i] for i in range(count)]


def _flow(rates: Sequence[float]) -> str:
    """Return a list of rates on one line."""
    return f"[{', '.join(map(repr, rates))}]"
