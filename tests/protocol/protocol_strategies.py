"""Any valid protocol with a data set it fits, for property tests of the grammar and of its laws."""

from __future__ import annotations

from functools import cache
from typing import Any

from hypothesis import strategies as st

from aqabench.protocol.grammar import (
    BernTraining,
    CorruptionScenario,
    FrameScenario,
    ImbalancedScenario,
    ImbalancedTraining,
    MixScenario,
    QuotaScenario,
    RateScenario,
    RateTraining,
    RedrawnTraining,
    SingleTraining,
    SubsetsScenario,
    SwapScenario,
    TableTraining,
)
from aqabench.protocol.library import Asked, protocol_digest
from aqabench.protocol.mask_laws import LABEL_SLACK, QUOTAS
from aqabench.protocol.scenarios import columns, scenarios
from aqabench.protocol.schema import (
    AverageSpec,
    ClassSpec,
    DatasetSpec,
    ModalitySpec,
    Protocol,
    SplitSpec,
    ValidationSpec,
)

KINDS = (
    *("subsets", "rate", "quota", "imbalanced", "frame-iid", "rate-t", "block", "outage"),
    *("prefix", "suffix", "mix", "gauss", "channels", "shift", "freeze", "scale", "swap"),
)
TRAININGS = ("rate", "imbalanced", "single", "u7", "u6", "size", "bern")
STREAMS = (("video", "v"), ("audio", "a"), ("left-hand", "lh"), ("0.5", "n"), ("1e3", "xyz"))
CLASSES = ("TES", "a, b: c #d", "no")
GROUPS, FOLDS = ("athlete", "event"), {"piece": 4, "player": 3}
WORDS = st.sampled_from(("t", "A question?", "no", "1e3", "a: b # c", "- 'x'", "two\nlines", ""))


@st.composite
def datasets(draw: st.DrawFn, least: int = 1) -> DatasetSpec:
    """Return a data set of one to five streams."""
    count = draw(st.integers(least, len(STREAMS)))
    return DatasetSpec(
        name="made",
        version=1,
        title="Made",
        about="for tests",
        modalities=tuple(
            ModalitySpec(name=name, symbol=symbol, width=draw(st.integers(2, 6)))
            for name, symbol in STREAMS[:count]
        ),
        classes=tuple(ClassSpec(name=name, bounds=(0, 1), train=40, test=20) for name in CLASSES),
        same_videos=True,
        clip_length=8,
        groups=GROUPS,
        folds=FOLDS,
    )


def several(strategy: st.SearchStrategy[Any], unique: bool = False) -> st.SearchStrategy[Any]:
    """Return a tuple of one to three."""
    return st.lists(strategy, min_size=1, max_size=3, unique=unique).map(tuple)


@cache
def scenario_specs(
    streams: tuple[str, ...], swaps: bool, plain: bool = False
) -> st.SearchStrategy[Any]:
    """Return any scenario of these streams; a plain one has no rate near the ends of its range."""
    count, middle = len(streams), st.sampled_from((0.3, 0.5))
    share = middle if plain else st.floats(0, 1)
    below = middle if plain else st.floats(0, 1, exclude_max=True)
    largest = 1 - 1 / count if plain else min(1 - 1 / count + LABEL_SLACK, 0.999)
    rate = st.sampled_from((0.3, 0.5)[:count]) if plain else st.floats(0, largest)
    if count == 1 and plain:
        rate = st.just(0.0)
    draws = st.integers(2, 3) if plain else st.integers(1, 3)
    on = several(st.sampled_from(("each", "all", *streams)), unique=True)
    steps = ("frame-iid", "block", "outage", "prefix", "suffix")
    levels = {
        "gauss": share if plain else st.floats(0, 100),
        "channels": st.just(0.5) if plain else share,
        "shift": st.integers(1 if plain else 0, 100).map(float),
        "freeze": st.just(0.5) if plain else share,
        "scale": st.floats(0, 100),
    }
    every: list[st.SearchStrategy[Any]] = [
        st.builds(
            SubsetsScenario,
            kind=st.just("subsets"),
            sizes=st.none() | several(st.integers(1, count), unique=True),
        ),
        st.builds(
            RateScenario,
            kind=st.just("rate"),
            rates=several(rate),
            law=st.sampled_from(("exact", "keep-one")),
            draws=draws,
        ),
        st.builds(
            ImbalancedScenario,
            kind=st.just("imbalanced"),
            rates=several(st.tuples(*[below] * count)),
            draws=draws,
        ),
        st.builds(FrameScenario, kind=st.sampled_from(steps), rates=several(share), draws=draws),
        st.builds(FrameScenario, kind=st.just("rate-t"), rates=several(rate), draws=draws),
        st.builds(
            MixScenario,
            kind=st.just("mix"),
            shown=several(st.sampled_from(streams), unique=True),
            rates=several(share),
            draws=draws,
        ),
        *(
            st.builds(
                CorruptionScenario, kind=st.just(kind), levels=several(level), on=on, draws=draws
            )
            for kind, level in levels.items()
        ),
    ]
    if count == 3:
        rows = st.sampled_from((0.3, 0.5) if plain else tuple(QUOTAS))
        every.append(
            st.builds(QuotaScenario, kind=st.just("quota"), rates=several(rows), draws=draws)
        )
    if swaps:
        every.append(st.builds(SwapScenario, kind=st.just("swap"), on=on, draws=draws))
    return st.one_of(every)


@cache
def training_specs(streams: tuple[str, ...], plain: bool = False) -> st.SearchStrategy[Any]:
    """Return anything but complete training."""
    count, middle = len(streams), st.sampled_from((0.3, 0.5))
    below = middle if plain else st.floats(0, 1, exclude_max=True)
    rate = middle if plain else st.floats(0, 1 - 1 / count + LABEL_SLACK)
    tables = st.integers(2 if plain else 1, 20)
    return st.one_of(
        st.builds(
            RateTraining,
            kind=st.just("rate"),
            rate=rate,
            law=st.sampled_from(("keep-one", "exact")),
            tables=tables,
        ),
        st.builds(
            ImbalancedTraining,
            kind=st.just("imbalanced"),
            rates=st.tuples(*[below] * count),
            tables=tables,
        ),
        st.builds(
            SingleTraining,
            kind=st.just("single"),
            modality=st.sampled_from(streams),
            share=middle if plain else st.floats(0, 1, exclude_min=True),
            tables=tables,
        ),
        st.builds(RedrawnTraining, kind=st.sampled_from(("u7", "u6", "size"))),
        st.builds(BernTraining, kind=st.just("bern"), p=below),
    )


@cache
def splits() -> st.SearchStrategy[SplitSpec]:
    """Return any split."""
    seed, group = st.integers(0, 2**40), st.sampled_from(GROUPS)
    validation = st.none() | st.builds(
        ValidationSpec,
        fraction=st.floats(0, 0.5, exclude_min=True, exclude_max=True),
        strata=st.integers(1, 20),
        seed=seed,
        group=st.none() | group,
    )
    common = {"validation": validation, "seed": seed}
    fold, k = st.sampled_from(tuple(FOLDS)), st.integers(2, 20)
    scheme = {name: st.just(name) for name in ("official", "published-folds", "kfold", "grouped")}
    return st.one_of(
        st.builds(SplitSpec, scheme=scheme["official"], skipped=st.integers(0, 9), **common),
        st.builds(SplitSpec, scheme=scheme["published-folds"], folds=fold, **common),
        st.builds(SplitSpec, scheme=scheme["kfold"], k=k, **common),
        st.builds(SplitSpec, scheme=scheme["grouped"], k=k, group=group, **common),
    )


@st.composite
def asked(
    draw: st.DrawFn,
    least: int = 1,
    plain: bool = False,
    text: st.SearchStrategy[str] = WORDS,
) -> Asked:
    """Return any protocol that fits its data set.

    Args:
        draw: given by hypothesis.
        least: fewest streams of the data set.
        plain: leave out rates near the ends of their ranges, and draw twice or more.
        text: titles and questions.
    """
    dataset = draw(datasets(least))
    names = [m.name for m in dataset.modalities]
    chosen = draw(st.sets(st.sampled_from(names), min_size=least))
    used = tuple(name for name in names if name in chosen)
    training: Any = "complete"
    if len(used) > 1:
        training = draw(st.just("complete") | training_specs(used, plain))
    swaps = not isinstance(training, TableTraining)
    split = draw(splits())
    rules = ("val", "last", "oracle") if split.validation else ("last", "oracle")
    protocol = Protocol(
        name=draw(st.sampled_from(("mine", "0x10", "null", "1e3", "a.b-c_d"))),
        version=draw(st.integers(1, 10**6)),
        title=draw(text),
        question=draw(text),
        dataset=dataset.name,
        classes=draw(several(st.sampled_from(CLASSES), unique=True)),
        modalities=used,
        split=split,
        training=training,
        scenarios=draw(
            st.lists(scenario_specs(used, swaps, plain), min_size=1, max_size=4).map(tuple)
        ),
        average=AverageSpec(name=draw(text), over=draw(st.sampled_from(("incomplete", "all")))),
        selection=draw(st.sampled_from(rules)),
        budget=draw(st.sampled_from((None, "quick", "standard", "paper"))),
        seeds=draw(several(st.integers(0, 2**40), unique=True)),
    )
    protocol = protocol.model_copy(update={"scenarios": _asked_once(protocol, dataset)})
    if any(s.complete for s in scenarios(protocol, dataset).values()):
        criterion = draw(st.sampled_from(("mean", "complete")))
        protocol = protocol.model_copy(update={"criterion": criterion})
    return Asked(protocol, dataset, protocol_digest(protocol, dataset))


def _asked_once(protocol: Protocol, dataset: DatasetSpec) -> tuple[Any, ...]:
    """Return the scenarios without those that ask for a column again."""
    seen: set[str] = set()
    kept = []
    for spec in protocol.scenarios:
        own = set(columns(protocol.model_copy(update={"scenarios": (spec,)}), dataset))
        if not own & seen:
            kept.append(spec)
            seen |= own
    return tuple(kept)
