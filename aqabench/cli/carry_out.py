"""From a plan to its records: shared by the verbs that run methods."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aqabench.cli.compute import require_here

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from aqabench.cli.executor import Executor
    from aqabench.data.source import Source
    from aqabench.method.registry import Registry
    from aqabench.runs.plan import RunSpec
    from aqabench.runs.resume import Outcome
    from aqabench.runs.store import RunStore


def carry_out(
    plan: Sequence[RunSpec],
    source: Source,
    registry: Registry,
    store: RunStore,
    executor: Executor,
    threads: int,
    track: tuple[str, ...],
    progress: str,
    console: Console,
    weights: bool = False,
) -> Outcome:
    """Do what is not stored, each run in a process of its own, here or elsewhere."""
    from aqabench.protocol.load import dump
    from aqabench.runs.resume import stored_outcome

    outcome = stored_outcome(plan, store)
    if outcome is not None:
        console.print(f"All {len(plan)} runs are stored already.", highlight=False)
        return outcome
    require_here(plan, executor)
    store.require_writable()
    protocol = plan[0].question.protocol
    store.keep_protocol(protocol.name, dump(protocol))
    from aqabench.cli.display import display_for
    from aqabench.runs.job import jobs_of

    with display_for(progress, console, plan) as display:
        display.say("preparing the data")
        source.load()  # what is simulated is kept for the processes
        jobs = jobs_of(plan, source.load, registry, store, threads, track, weights)
        return executor(jobs, display, display.say)
