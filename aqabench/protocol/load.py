"""YAML files to frozen models and back; every fault of a file is told at once.

Generic over the model class; what a protocol is stands in :mod:`aqabench.protocol.schema`.
Nothing is coerced (a quoted ``"3"`` is no number) and no key is ignored.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from aqabench.errors import Fault, ProtocolError, nearest
from aqabench.protocol.digest import plain
from aqabench.protocol.document import Document, Loc, Plain
from aqabench.protocol.emit import emit
from aqabench.protocol.explain import Repair, explain
from aqabench.protocol.yaml12 import MAX_BYTES, read

__all__ = ["NEXT_STEP", "dump", "load_marked", "load_model"]

M = TypeVar("M", bound=BaseModel)
NEXT_STEP = "Correct the file, then type the same command again."
_MOST_ROUNDS = 8


def load_model(
    source: Path | str | bytes,
    model: type[M],
    *,
    name: str | None = None,
    next_step: str = NEXT_STEP,
) -> M:
    """Read one YAML document into a model.

    Args:
        source: a path, or the text itself as str or bytes.
        model: the class to build; unknown keys are refused and types are strict at every level,
            except that a list stands for a tuple or set and a word for a member of an enumeration.
        name: how messages call the file; its own name by default.
        next_step: last sentence of the message.

    Raises:
        ProtocolError: with every fault in ``faults``, by line.
    """
    return load_marked(source, model, name=name, next_step=next_step)[0]


def load_marked(
    source: Path | str | bytes,
    model: type[M],
    *,
    name: str | None = None,
    next_step: str = NEXT_STEP,
) -> tuple[M, Document]:
    """Read as :func:`load_model` does; return also the document, which knows every place.

    For checks that need more than the file, such as a name that must exist elsewhere:
    ``document.fault(("modalities", 1), "is not in the data set")`` points at the word.
    """
    title = name
    if isinstance(source, Path):
        name, title = name or source.name, name or str(source)
        source = _content(source)
    document = read(source, name or "<text>")
    faults = list(document.faults)
    if not document.broken:
        try:
            result = _validate(document.data, model)
        except ValidationError as error:
            faults += _explain_all(error, model, document)
        else:
            if not faults:
                return result, document
    faults = sorted(set(faults), key=lambda f: (f.line, f.column, f.key, f.problem))
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    raise ProtocolError(f"{title or document.name} has {count}. {next_step}", faults)


def dump(model: BaseModel) -> str:
    """Return a model as YAML text that :func:`load_model` reads back to an equal model."""
    return emit(plain(model))


def _validate(data: Plain, model: type[M]) -> M:
    # By way of JSON, because strict pydantic takes a list for a tuple only there.  Infinities and
    # NaN pass as the tokens that both sides know.
    return model.model_validate_json(json.dumps(data), strict=True, extra="forbid")


def _explain_all(error: ValidationError, model: type[BaseModel], document: Document) -> list[Fault]:
    """Say all faults, also those that pydantic sees only once others are mended.

    A misspelt key or tag hides what stands under it or beside it, and no validator of a model runs
    while one of its keys is unknown.  So a copy is mended where that can be guessed, and judged
    again.
    """
    data = copy.deepcopy(document.data)
    renamed: dict[Loc, Loc] = {}
    faults, repairs = explain(error, model, document, data, renamed)
    for _ in range(_MOST_ROUNDS):
        if not repairs:
            break
        for repair in repairs:
            _repair(data, repair, renamed)
        try:
            _validate(data, model)
            break
        except ValidationError as again:
            more, repairs = explain(again, model, document, data, renamed)
        said = {(fault.line, fault.column, fault.key) for fault in faults}
        faults += [fault for fault in more if (fault.line, fault.column, fault.key) not in said]
    return faults


def _repair(data: Plain, repair: Repair, renamed: dict[Loc, Loc]) -> None:
    mapping = _at(data, repair.loc)
    assert isinstance(mapping, dict)
    value: Plain = repair.value
    if repair.drop is not None:
        value = mapping.pop(repair.drop)
    if repair.key is None or (repair.drop is not None and repair.key in mapping):
        return  # nothing to put there, or two keys seem to mean the same one
    mapping[repair.key] = value
    if repair.drop is not None:
        renamed[*repair.loc, repair.key] = (*repair.loc, repair.drop)


def _at(data: Plain, loc: Loc) -> Plain:
    for part in loc:
        data = data[part]  # type: ignore[index]
    return data


def _content(path: Path) -> bytes:
    """Return the file's bytes, at most one more than may be read."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        folder = path.parent
        beside = folder.iterdir() if folder.is_dir() else ()
        near = nearest(path.name, [file.name for file in beside])
        guess = f" Did you mean '{folder / near}'?" if near else ""
        raise ProtocolError(f"There is no file {path}.{guess} Check the path.") from error
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        raise ProtocolError(f"The file {path} cannot be read: {reason}. Check the path.") from error
