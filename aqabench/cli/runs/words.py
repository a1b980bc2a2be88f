"""Words for what is stored, fit for a terminal whatever is in a record."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aqabench.runs.record import RunRecord

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain(text: object) -> str:
    """Return a text with what a terminal would obey spelt out."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", str(text))


def when(started: str) -> str:
    """Return the start of a run as month, day and time, or as a date if it is of another year."""
    try:
        moment = datetime.fromisoformat(started).astimezone(UTC)
    except ValueError:
        return plain(started)[:16]
    if moment.year != datetime.now(UTC).year:
        return moment.strftime("%Y-%m-%d")
    return moment.strftime("%m-%d %H:%M")


def size(count: float) -> str:
    """Return a number of bytes in words."""
    if count < 1024:
        return f"{count:.0f} bytes"
    return f"{count / 2**10:,.0f} KiB" if count < 2**20 else f"{count / 2**20:,.1f} MiB"


def seconds(count: float) -> str:
    """Return a time in words."""
    if count < 120:
        return f"{count:.1f} s"
    return f"{count / 60:.1f} min" if count < 7200 else f"{count / 3600:.1f} h"


def named(record: RunRecord) -> str:
    """Return the name of a run: row, class, seed and key."""
    return f"{record.row} {record.class_name} seed {record.seed} ({record.key})"


def runs(count: int) -> str:
    """Return ``1 run`` or ``7 runs``."""
    return f"{count:,} {'run' if count == 1 else 'runs'}"
