"""What training goes without: tables of what exists, and laws that each epoch draws anew.

A table is drawn once over sorted sample ids and says what each training and validation sample
has, for good; what it has not is NaN before any method sees it.  A law that is drawn anew leaves
every sample whole in the long run, and validation too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from aqabench.protocol.grammar import (
    BernTraining,
    ImbalancedTraining,
    RateTraining,
    RedrawnTraining,
    SingleTraining,
)
from aqabench.protocol.mask_laws import (
    Table,
    bern,
    imbalanced,
    keep_one,
    keep_one_exact,
    single,
    size,
    u6,
    u7,
)
from aqabench.protocol.mask_tables import table_generator
from aqabench.protocol.schema import DatasetSpec, Protocol

__all__ = ["Redraw", "redrawn", "training_table"]

STREAM = "training"
"""Training tables have random numbers of their own: validation is met by scenarios as well."""
Redraw = Callable[[int, np.random.Generator], Table]
"""From a number of samples and a generator to (n, M) bool."""


def training_table(
    protocol: Protocol, dataset: DatasetSpec, ids: Sequence[str], part: str, seed: int
) -> Table | None:
    """Return (n, M) bool, what each sample of a part has; None where all of them have all.

    Seed ``s`` gets table ``s mod tables``, so that several seeds also tell what the table is
    worth.  Under a law that is drawn anew, the training part gets one table of it per seed, for
    methods that read the samples once.

    Args:
        protocol: what is asked.
        dataset: on which data set.
        ids: (n,) sample ids in any order.
        part: ``train`` or ``val``; a test part is always complete.
        seed: of the run.
    """
    if protocol.training == "complete" or part == "test":
        return None
    spec, count = protocol.training, len(protocol.modalities)
    name = dataset.name
    match spec:
        case RateTraining():
            exact = spec.law == "exact"
            kind = "rate-exact" if exact else "rate"
            rng = table_generator(name, part, kind, spec.rate, seed % spec.tables, stream=STREAM)
            table = (keep_one_exact if exact else keep_one)(len(ids), count, spec.rate, rng)
        case ImbalancedTraining():
            level = sum(spec.rates) / count
            rng = table_generator(name, part, spec.kind, level, seed % spec.tables, stream=STREAM)
            table = imbalanced(len(ids), spec.rates, rng)
        case SingleTraining():
            own = f"{STREAM} {spec.modality}"
            rng = table_generator(name, part, spec.kind, spec.share, seed % spec.tables, stream=own)
            which = protocol.modalities.index(spec.modality)
            table = single(len(ids), count, which, spec.share, rng)
        case RedrawnTraining() | BernTraining():
            if part != "train":
                return None
            level = spec.p if isinstance(spec, BernTraining) else 0.0
            law = redrawn(protocol)
            assert law is not None
            rng = table_generator(name, part, spec.kind, level, seed, stream=STREAM)
            table = law(len(ids), rng)
    place = np.argsort(np.argsort(np.asarray(ids, dtype=str), kind="stable"), kind="stable")
    return table[place]


def redrawn(protocol: Protocol) -> Redraw | None:
    """Return the law by which every epoch draws what it shows; None where nothing is drawn."""
    count = len(protocol.modalities)
    match protocol.training:
        case RedrawnTraining(kind=kind):
            law = {"u7": u7, "u6": u6, "size": size}[kind]
            return lambda n, rng: law(n, count, rng)
        case BernTraining(p=p):
            return lambda n, rng: bern(n, count, p, rng)
        case _:
            return None
