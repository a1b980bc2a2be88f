"""Which runs a verb is about: filters, and a run by the beginning of its key."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click
from click.shell_completion import CompletionItem

from aqabench.cli.options import (
    class_option,
    method_names,
    protocol_names,
    stored_budget_option,
    stored_data_option,
)
from aqabench.errors import StoreError, UnknownNameError, UsageError

if TYPE_CHECKING:
    from aqabench.runs.index import Found, Summary
    from aqabench.runs.record import RunRecord
    from aqabench.runs.store import RunStore

F = TypeVar("F", bound=Callable[..., Any])
SHORT = 8
"""Digits of a key that are shown, unless two runs share them."""
MOST_CANDIDATES = 8


def _completing(names: Callable[[], list[str]]) -> Callable[..., list[CompletionItem]]:
    def complete(ctx: click.Context, param: click.Parameter, begun: str) -> list[CompletionItem]:
        return [CompletionItem(name) for name in names() if name.startswith(begun)]

    return complete


_PROTOCOL = click.option(
    "--protocol",
    "-p",
    shell_complete=_completing(protocol_names),
    help="Only runs of this protocol.",
)
_METHOD = click.option(
    "--method",
    "-m",
    "methods",
    multiple=True,
    shell_complete=_completing(method_names),
    help="Only this method, or row such as 'unimodal[stream=audio]'. May be repeated.",
)
_STATUS = click.option(
    "--status", type=click.Choice(["finished", "failed"]), help="Only runs that ended like this."
)
_FILTERS = stored_budget_option, stored_data_option, class_option, _METHOD, _PROTOCOL


@dataclass(frozen=True)
class Filters:
    """What was asked for on the command line; empty means all."""

    protocol: str | None = None
    methods: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    data: str | None = None
    budget: str | None = None
    status: str | None = None

    def __call__(self, one: Summary) -> bool:
        """Is this run asked for?"""
        return (
            (not self.methods or one.method in self.methods or one.row in self.methods)
            and (not self.classes or one.class_name in self.classes)
            and self.data in (None, one.data_kind)
            and self.budget in (None, one.budget)
            and self.status in (None, one.status)
        )

    def torn(self, place: str) -> bool:
        """Is this place asked for, of which only protocol, method and key are known?"""
        known = not (self.classes or self.data or self.budget or self.status)
        return known and (not self.methods or place.split("/")[1] in self.methods)

    def look(self, store: RunStore) -> Found:
        """Return what the store holds of the protocol, after checking that the names occur.

        Raises:
            UnknownNameError: a protocol, method or class that no stored run has.
        """
        stored = store.protocols()
        if stored and self.protocol is not None and self.protocol not in stored:
            raise UnknownNameError(
                "protocol among the runs", self.protocol, stored, "aqabench runs list"
            )
        found = store.summaries(self.protocol)
        if not (found.summaries or found.torn):
            return found
        known = {s.row for s in found.summaries} | {s.method for s in found.summaries}
        known |= {place.split("/")[1] for place in found.torn}
        for name in self.methods:
            if name not in known:
                raise UnknownNameError("method among these runs", name, known, "aqabench runs list")
        classes = {s.class_name for s in found.summaries}
        for name in self.classes:
            if name not in classes:
                raise UnknownNameError(
                    "class among these runs", name, classes, "aqabench runs list"
                )
        return found


def filter_options(status: bool = True) -> Callable[[F], F]:
    """Add the filters; the verb gets them as one argument ``filters``."""

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def gathering(
            *arguments: Any,
            protocol: str | None,
            methods: tuple[str, ...],
            classes: tuple[str, ...],
            data: str | None,
            budget: str | None,
            status: str | None = None,
            **options: Any,
        ) -> Any:
            filters = Filters(protocol, methods, classes, data, budget, status)
            return function(*arguments, filters=filters, **options)

        wrapped: Any = gathering
        for option in (*([_STATUS] if status else []), *_FILTERS):
            wrapped = option(wrapped)
        result: F = wrapped
        return result

    return decorate


def open_store(folder: Path | None) -> RunStore:
    """Return the store of ``--store``, or the default one."""
    from aqabench.runs.store import RunStore

    return RunStore(folder) if folder else RunStore.default()


def place_of(store: RunStore, key: str) -> str:
    """Return ``protocol/method/key`` of the one run whose key begins like this.

    Raises:
        UsageError: there is none, or there are several.
    """
    found = store.places(key.lower()) if key else []
    if not found:
        raise UsageError(
            f"There is no run in {store.root} whose key begins with '{key}'. "
            "To see them all: aqabench runs list"
        )
    if len(found) > 1:
        some = ", ".join(place.replace("/", " ") for place in found[:MOST_CANDIDATES])
        more = f" and {len(found) - MOST_CANDIDATES} more" if len(found) > MOST_CANDIDATES else ""
        raise UsageError(
            f"{len(found)} runs have keys that begin with '{key}': {some}{more}. Give more digits."
        )
    return found[0]


def record_of(store: RunStore, key: str) -> RunRecord:
    """Return the record of the one run whose key begins like this.

    Raises:
        UsageError: there is none, or there are several.
        StoreError: it has no record yet.
    """
    place = place_of(store, key)
    record = store.find(*place.split("/"))
    if record is None:
        raise StoreError(
            f"The run {place} in {store.root} has no record: it is being done, or was cut off. "
            f"To see what there is of it: aqabench runs show {place.rpartition('/')[2]}"
        )
    return record


def key_digits(keys: list[str]) -> int:
    """Return how many digits tell the keys apart, at least :data:`SHORT`."""
    digits = SHORT
    while digits < 16 and len({key[:digits] for key in keys}) < len(keys):
        digits += 1
    return digits
