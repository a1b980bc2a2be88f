"""What to try next: Optuna's TPE sampler as a function of what is known.

Each proposal is made by a new sampler with a seed of its own from the trials it may know, so that
it does not matter whether the trials before it were done a second ago or before a crash.  No study
is kept: it is made anew from the trials.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from aqabench.errors import UsageError
from aqabench.method.card import Setting
from aqabench.search.space import Range

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study

__all__ = ["STARTUP", "Known", "importances", "optuna_version", "propose", "require_optuna"]

STARTUP = 10
"""Trials that are drawn at random before the sampler learns from results (Optuna's default)."""
Known = tuple[Mapping[str, Setting], float | None]
"""The searched settings of a trial and what came of it; None for a failure."""


def require_optuna() -> None:
    """Refuse to search where Optuna is not installed.

    Raises:
        UsageError: says how to get it.
    """
    if importlib.util.find_spec("optuna") is None:
        raise UsageError(
            "aqabench search needs optuna, not installed here. Type: pip install 'aqabench[search]'"
        )


def optuna_version() -> str:
    """Return the version that proposes; another one may propose otherwise."""
    return importlib.metadata.version("optuna")


def propose(
    ranges: Mapping[str, Range],
    known: Sequence[Known],
    pending: Sequence[Mapping[str, Setting]],
    seed: int,
) -> dict[str, Setting]:
    """Return settings to try.

    Args:
        ranges: what may be proposed.
        known: trials with a result.
        pending: settings of trials that are on; what is near them is less wanted.
        seed: of the draw.
    """
    import optuna

    with _quiet():
        sampler = optuna.samplers.TPESampler(
            n_startup_trials=STARTUP,
            multivariate=True,  # settings such as rate and regularisation depend on each other
            constant_liar=True,
            seed=seed % 2**32,
        )
        study = _study(ranges, known, sampler)
        for settings in pending:
            study.add_trial(
                optuna.create_trial(
                    params=dict(settings),
                    distributions=_distributions(ranges),
                    state=optuna.trial.TrialState.RUNNING,
                )
            )
        found = study.ask(_distributions(ranges)).params
    return {name: found[name] for name in ranges}


def importances(ranges: Mapping[str, Range], known: Sequence[Known]) -> dict[str, float]:
    """Return how much each setting decides whether a trial is among the best, largest first.

    Shares of 1 by PED-ANOVA (Watanabe et al., IJCAI 2023); empty for fewer than ten results, or
    where all are equal.
    """
    results = [value for _, value in known if value is not None]
    if len(results) < STARTUP or len(set(results)) < 2:
        return {}
    import optuna

    with _quiet():
        return optuna.importance.get_param_importances(
            _study(ranges, known, None),
            evaluator=optuna.importance.PedAnovaImportanceEvaluator(),
        )


def _study(ranges: Mapping[str, Range], known: Sequence[Known], sampler: Any) -> Study:
    import optuna

    states = optuna.trial.TrialState
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for settings, value in known:
        study.add_trial(
            optuna.create_trial(
                params=dict(settings),
                distributions=_distributions(ranges),
                value=value,
                state=states.FAIL if value is None else states.COMPLETE,
            )
        )
    return study


def _distributions(ranges: Mapping[str, Range]) -> dict[str, BaseDistribution]:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    found: dict[str, BaseDistribution] = {}
    for name, own in ranges.items():
        if own.kind == "choice":
            found[name] = CategoricalDistribution(own.values)
            continue
        low, high = own.limits
        log = own.kind == "log"
        if own.whole:
            found[name] = IntDistribution(int(low), int(high), log=log)
        else:
            found[name] = FloatDistribution(low, high, log=log)
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna from writing between our lines; what it was told before stays as it was."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            # some versions call parts of the sampler experimental; results name the version
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
