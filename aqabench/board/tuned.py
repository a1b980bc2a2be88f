"""What a board says of a row whose settings a search has chosen."""

from __future__ import annotations

from collections.abc import Sequence

from aqabench.runs.record import RunRecord, Tuned

__all__ = ["tuned_notes"]


def tuned_notes(records: Sequence[RunRecord]) -> list[str]:
    """Return how the settings of a row were chosen; nothing for settings as published.

    Args:
        records: the runs of the row; they are of one search.
    """
    found = {r.fold: r.tuned for r in records if r.tuned is not None}
    if not found:
        return []
    first = next(iter(found.values()))
    each = f"{first.seeds} seed{'s' if first.seeds > 1 else ''} each"
    among = f"among {first.trials} trials of budget {first.budget}, {each} (search {first.search})"
    if set(found) == {None}:
        return [f"{_chosen(first)}, chosen on validation {among}"]
    folds = sorted(fold for fold in found if fold is not None)
    what = "; ".join(f"fold {fold}: {_chosen(found[fold])}" for fold in folds)
    return [f"settings of each fold were chosen on its own validation part {among}: {what}"]


def _chosen(tuned: Tuned) -> str:
    if not tuned.settings:
        return "the published settings"
    return ", ".join(
        f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in tuned.settings.items()
    )
