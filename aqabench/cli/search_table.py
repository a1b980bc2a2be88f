"""What a search has found, as a table: the best trials, the published settings, what failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from aqabench.search.engine import known_trials, ordered
from aqabench.search.propose import importances

if TYPE_CHECKING:
    from rich.console import Console

    from aqabench.method.card import Setting
    from aqabench.runs.tuning import Choice, Params
    from aqabench.search.engine import Search
    from aqabench.search.trials import Trial

__all__ = ["print_search"]

BEST = 10
"""Trials that are shown; the published settings always are."""
FAILURES = 5
"""Failed trials whose reason is shown."""


def print_search(
    console: Console,
    search: Search,
    every: Mapping[int | None, Sequence[Trial]],
    params: Params | None,
) -> None:
    """Print a table for each fold, and what was chosen.

    Args:
        console: where.
        search: what was searched.
        every: fold -> its trials in order.
        params: what was chosen; None if nothing could be.
    """
    budget, protocol = search.question.budget.name, search.question.protocol.name
    for fold, trials in every.items():
        of_fold = "" if fold is None else f" · fold {fold}"
        kind = "SIMULATED data" if search.question.data_kind == "simulated" else "real data"
        title = (
            f"{search.method} on {protocol} · {kind} · {len(trials)} trials of budget {budget} · "
            f"Spearman on validation{of_fold}"
        )
        console.print()
        console.print(Text(title, style="bold"))
        chosen = next((c for c in params.choices if c.fold == fold), None) if params else None
        console.print(_table(search, trials, chosen))
        for line in _below(search, trials, chosen):
            console.print(Text(line), soft_wrap=True)


def _table(search: Search, trials: Sequence[Trial], chosen: Choice | None) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("trial", justify="right", no_wrap=True)
    several = len(search.question.protocol.classes) > 1
    classes = search.question.protocol.classes if several else ()
    for heading in ("mean", *classes) if several else ("Spearman",):
        table.add_column(heading, justify="right", no_wrap=True)
    for name in search.ranges:
        table.add_column(name, justify="right", overflow="fold")
    table.add_column("", overflow="fold")
    best = ordered(trials)
    for trial in best:
        if best.index(trial) >= BEST and trial.number:
            continue
        remarks = ["published"] if not trial.number else []
        is_chosen = chosen is not None and trial.number == chosen.trial
        table.add_row(
            str(trial.number),
            _correlation(trial.validation),
            *(_correlation(trial.classes.get(name)) for name in classes),
            *(_shown(search, trial, name) for name in search.ranges),
            ", ".join([*remarks, *(["chosen"] if is_chosen else [])]),
            style="bold" if is_chosen else "",
        )
    return table


def _below(search: Search, trials: Sequence[Trial], chosen: Choice | None) -> list[str]:
    """Return what is said below a table."""
    lines = []
    failed = [trial for trial in trials if trial.status == "failed"]
    for trial in failed[:FAILURES]:
        settings = ", ".join(f"{k}={_value(v)}" for k, v in trial.settings.items())
        what = settings or "published settings"
        lines.append(f"trial {trial.number} FAILED ({what}): {trial.error}")
    if len(failed) > FAILURES:
        lines.append(f"… and {len(failed) - FAILURES} more that failed")
    shares = importances(search.ranges, known_trials(search, trials))
    if len(shares) > 1:
        named = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
        lines.append(f"What tells the best trials from the others (PED-ANOVA): {named}")
    if chosen is not None and not chosen.trial:
        lines.append("Chosen: the published settings; no trial was better on validation.")
    elif chosen is not None:
        published = "failed"
        if chosen.of_published is not None:
            published = f"have {chosen.of_published:.3f}"
        lines += [
            f"Chosen: trial {chosen.trial} with {chosen.validation:.3f}; the published settings "
            f"{published}.",
            f"The best of {len(trials)} is flattered by being chosen: only test says what it is "
            "worth.",
        ]
    return lines


def _shown(search: Search, trial: Trial, name: str) -> str:
    """Return the value of a setting in a trial; the published one may differ between classes."""
    if trial.number:
        return _value(trial.settings[name])
    dataset = search.question.protocol.dataset
    every = {
        _value(search.card.resolve(dataset, c, search.given)[name])
        for c in search.question.protocol.classes
    }
    return every.pop() if len(every) == 1 else "by class"


def _value(value: Setting) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _correlation(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
