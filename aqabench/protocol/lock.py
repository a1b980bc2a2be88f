"""``protocols/lock.json``: what every shipped protocol means, so that none changes unnoticed.

Pinned are the version, the digest (fields of the protocol and of its data set) and, for each class
and part, the digests of the scenarios' tables over reference ids and lengths, which catch a law
whose code draws something else.  ``python -m aqabench.protocol.lock`` writes the lock; it refuses
to change what is locked of a version, and nothing overrides the refusal.

Which samples are in a part is not pinned here: the split rule belongs to :mod:`aqabench.data`,
which stands above this room, and what it returns depends on the features at hand.  Runs record it.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from aqabench.disk import replace_file, storing
from aqabench.errors import AqabenchError, ProtocolError
from aqabench.protocol.grammar import TableTraining
from aqabench.protocol.library import Asked, load_protocol, protocol_names
from aqabench.protocol.noise_laws import damage_digest
from aqabench.protocol.scenarios import availability, corruptions, masks_digest, observation
from aqabench.protocol.schema import ClassSpec, Protocol
from aqabench.protocol.training import training_table
from aqabench.resources import folder

__all__ = [
    "COMMAND",
    "Entry",
    "check_lock",
    "entry",
    "reference_counts",
    "reference_ids",
    "reference_lengths",
    "write_lock",
]

COMMAND = "python -m aqabench.protocol.lock"
ABOUT = f"What each version of a protocol means. Written by: {COMMAND}"
_MOST_NAMED = 3


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class LockedPart(_Frozen):
    """Digests of the tables over ``samples`` reference ids; empty where there are none.

    Attributes:
        samples: number of reference ids.
        masks: of the scenarios in which whole modalities are missing.
        time_masks: of those in which steps are missing.
        damage: of those in which streams are corrupted.
        training: of all tables that training uses.
    """

    samples: int
    masks: str = ""
    time_masks: str = ""
    damage: str = ""
    training: str = ""


class Entry(_Frozen):
    """What is pinned of one protocol; ``classes`` is class -> part -> tables."""

    version: int
    digest: str
    classes: dict[str, dict[str, LockedPart]]


class Lock(_Frozen):
    """The whole file."""

    about: str
    protocols: dict[str, Entry]


@dataclass(frozen=True)
class _Finding:
    """One protocol that the lock does not agree with; ``refused`` if writing cannot mend it."""

    sentence: str
    refused: bool


def reference_ids(count: int) -> list[str]:
    """Return ``count`` sorted ids, 00000 and up, that stand for the samples of a part."""
    return [f"{i:05d}" for i in range(count)]


def reference_lengths(count: int, clip_length: int) -> list[int]:
    """Return a number of clips for each reference id: the training window and up to 9 less.

    Unequal, so that a table that is laid out by the wrong lengths has another digest.
    """
    return [max(1, clip_length - i % 10) for i in range(count)]


def reference_counts(asked: Asked, class_spec: ClassSpec) -> dict[str, int]:
    """Return part -> number of samples, as far as the declared counts tell.

    Sizes that only the data know are replaced by those of the whole they are taken from: all
    samples for folds, the training list for a validation part of whole groups.
    """
    split = asked.protocol.split
    whole = class_spec.train + class_spec.test
    counts = {"test": class_spec.test - split.skipped if split.scheme == "official" else whole}
    if split.validation is not None:
        if split.scheme != "official":
            counts["val"] = whole
        elif split.validation.group is not None:
            counts["val"] = class_spec.train - split.skipped
        else:
            listed = class_spec.train - split.skipped
            counts["val"] = round(listed * split.validation.fraction)
    if asked.protocol.training != "complete":
        listed = class_spec.train - split.skipped if split.scheme == "official" else whole
        known = split.scheme == "official" and not (split.validation and split.validation.group)
        counts["train"] = listed - counts.get("val", 0) if known else listed
    return {part: count for part, count in counts.items() if count}


def entry(asked: Asked) -> Entry:
    """Return what the lock pins of a protocol, computed anew."""
    protocol, dataset = asked.protocol, asked.dataset
    made: dict[tuple[str, int], LockedPart] = {}
    classes: dict[str, dict[str, LockedPart]] = {}
    for class_spec in (c for c in dataset.classes if c.name in protocol.classes):
        counts = reference_counts(asked, class_spec)
        for part, count in counts.items():
            if (part, count) not in made:  # tables know the part and its size, not the class
                made[part, count] = _locked(asked, part, count)
        classes[class_spec.name] = {part: made[part, count] for part, count in counts.items()}
    return Entry(version=protocol.version, digest=asked.digest, classes=classes)


def _locked(asked: Asked, part: str, count: int) -> LockedPart:
    """Draw all tables of a part over reference ids; training is shown whole and has no scenario."""
    protocol, dataset = asked.protocol, asked.dataset
    ids, lengths = reference_ids(count), reference_lengths(count, dataset.clip_length)
    training = {
        str(seed): table
        for seed in range(_tables(protocol))
        if (table := training_table(protocol, dataset, ids, part, seed)) is not None
    }
    trained = masks_digest(training, ids)
    if part == "train":
        return LockedPart(samples=count, training=trained)
    damages = [
        damage_digest(c.damage, ids, lengths)
        for c in corruptions(protocol, dataset, ids, lengths, part)
    ]
    return LockedPart(
        samples=count,
        masks=masks_digest(availability(protocol, dataset, ids, part), ids),
        time_masks=masks_digest(observation(protocol, dataset, ids, lengths, part), ids, lengths),
        damage=hashlib.sha256("".join(damages).encode()).hexdigest() if damages else "",
        training=trained,
    )


def _tables(protocol: Protocol) -> int:
    """Return how many tables training may use; of a law that is drawn anew one is looked at."""
    return protocol.training.tables if isinstance(protocol.training, TableTraining) else 1


def check_lock(names: Collection[str] | None = None) -> list[str]:
    """Return a sentence for every shipped protocol that is not as the lock says; empty is good.

    Args:
        names: only these protocols; None for all, those included that are locked but gone.

    Raises:
        ProtocolError: the lock itself is absent or damaged.
    """
    locked = _read().protocols
    shipped = protocol_names()
    wanted = sorted({*shipped, *locked} if names is None else names)
    sentences = []
    for name in wanted:
        try:
            now = entry(load_protocol(name)) if name in shipped else None
        except ProtocolError as error:
            sentences.append(str(error))
            continue
        found = _judge(name, locked.get(name), now)
        if found is not None:
            sentences.append(found.sentence)
    return sentences


def write_lock() -> None:
    """Write the lock anew, adding protocols and raised versions.

    Raises:
        ProtocolError: a locked version would change or vanish; lists all of them, and the file is
            left as it was.
    """
    locked = _read().protocols if _path().exists() else {}
    now = {name: entry(load_protocol(name)) for name in protocol_names()}
    names = sorted({*now, *locked})
    findings = [_judge(name, locked.get(name), now.get(name)) for name in names]
    refused = [found.sentence for found in findings if found is not None and found.refused]
    if refused:
        raise ProtocolError("\n  ".join(["protocols/lock.json is left as it was:", *refused]))
    lock = Lock(about=ABOUT, protocols=now)
    text = json.dumps(lock.model_dump(exclude_defaults=True), indent=2, ensure_ascii=False) + "\n"
    with storing(_path(), "The old lock is intact. Make room or allow writing there"):
        replace_file(_path(), text.encode())


def _judge(name: str, locked: Entry | None, now: Entry | None) -> _Finding | None:
    """Compare what is locked of a protocol with what it is now."""
    subject = f"protocol '{name}'"
    if now is None:
        return _Finding(
            f"{subject} is in protocols/lock.json but there is no {name}.yaml: put the file back, "
            "or delete its entry in the lock by hand if no run was ever made under it",
            refused=True,
        )
    if locked is None:
        return _Finding(f"{subject} is not in protocols/lock.json: type {COMMAND}", refused=False)
    if now == locked:
        return None
    if now.version > locked.version:
        return _Finding(
            f"{subject} has version {now.version} and protocols/lock.json says {locked.version}: "
            f"type {COMMAND}",
            refused=False,
        )
    if now.version < locked.version:
        return _Finding(
            f"{subject} has version {now.version}, below the {locked.version} of "
            f"protocols/lock.json: write 'version: {locked.version + 1}' in {name}.yaml, then type "
            f"{COMMAND}",
            refused=True,
        )
    return _Finding(
        f"{subject} changed and its version did not: {_changed(locked, now)} are not those that "
        f"protocols/lock.json has of version {locked.version}; undo the change, or write "
        f"'version: {locked.version + 1}' in {name}.yaml, then type {COMMAND}",
        refused=True,
    )


def _changed(locked: Entry, now: Entry) -> str:
    """Say which of the things that are pinned differ."""
    changes = []
    if now.digest != locked.digest:
        changes.append("the fields of the protocol or of its data set")
    flat = [
        {(name, part): value for name, parts in e.classes.items() for part, value in parts.items()}
        for e in (locked, now)
    ]
    keys = {**flat[0], **flat[1]}
    tables = [f"{n} {part}" for n, part in keys if flat[0].get((n, part)) != flat[1].get((n, part))]
    if tables:
        more = f" and {len(tables) - _MOST_NAMED} more" if len(tables) > _MOST_NAMED else ""
        changes.append(f"the mask tables of {', '.join(tables[:_MOST_NAMED])}{more}")
    return " and ".join(changes)


def _path() -> Path:
    return folder("protocols") / "lock.json"


def _read() -> Lock:
    """Return the lock.

    Raises:
        ProtocolError: it is absent or damaged.
    """
    try:
        return Lock.model_validate_json(_path().read_bytes())
    except FileNotFoundError as error:
        raise ProtocolError(
            f"There is no {_path()}. Take it back from version control, install aqabench again, or "
            f"type {COMMAND}"
        ) from error
    except ValidationError as error:
        raise ProtocolError(
            f"{_path()} is damaged: {error.errors()[0]['msg']}. Take it back from version control, "
            "or install aqabench again."
        ) from error


def main() -> int:
    """Write the lock; return the exit code."""
    try:
        write_lock()
    except AqabenchError as error:
        sys.stderr.write(f"Error: {error}\n")
        return error.exit_code
    sys.stdout.write(f"{_path()} pins {len(protocol_names())} protocols.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
