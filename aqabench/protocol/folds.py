"""Which folds a protocol has on its data set."""

from __future__ import annotations

from aqabench.protocol.schema import DatasetSpec, SplitSpec


def fold_names(split: SplitSpec, dataset: DatasetSpec) -> tuple[int | None, ...]:
    """Return the numbers of the folds, or ``(None,)`` for a single split into train and test."""
    if split.scheme == "official":
        return (None,)
    count = dataset.folds[split.folds] if split.folds else split.k
    assert count is not None  # the schema asks for it
    return tuple(range(count))


def group_kinds(split: SplitSpec) -> tuple[str, ...]:
    """Return the kinds of group that a split keeps apart, without repetition."""
    kinds = (split.group, split.validation.group if split.validation else None)
    return tuple(dict.fromkeys(kind for kind in kinds if kind))
