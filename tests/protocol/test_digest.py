"""Canonical JSON and its digest: the same meaning has the same hash, another has another."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from datetime import date
from enum import Enum
from pathlib import Path, PurePosixPath

import pytest
from pydantic import BaseModel, Field, computed_field

from aqabench.protocol.digest import canonical_json, digest, plain
from aqabench.protocol.load import load_model


class Colour(Enum):
    """Written by value."""

    RED = "red"


class Inner(BaseModel):
    """Nested."""

    rate: float
    note: str = ""


class Outer(BaseModel):
    """Every kind of value."""

    inner: tuple[Inner, ...]
    names: frozenset[str] = frozenset()
    table: dict[str, int] = {}
    colour: Colour = Colour.RED
    day: date = date(2024, 1, 31)
    where: PurePosixPath = PurePosixPath("a/b")
    short: int = Field(default=1, alias="s")
    note: str | None = None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def twice(self) -> int:
        """Not a field value."""
        return 2 * self.short


OUTER = Outer(inner=(Inner(rate=0.1),), names=frozenset({"b", "a"}), table={"y": 1, "x": 2})


def test_canonical_form() -> None:
    assert canonical_json(OUTER) == (
        b'{"colour":"red","day":"2024-01-31","inner":[{"note":"","rate":0.1}],"names":["a","b"],'
        b'"note":null,"s":1,"table":{"x":2,"y":1},"where":"a/b"}'
    )
    assert digest(OUTER) == hashlib.sha256(canonical_json(OUTER)).hexdigest()


def test_text_is_ascii_and_floats_keep_every_digit() -> None:
    model = Inner(rate=0.1 + 0.2, note="Räty 🎿")
    assert canonical_json(model).isascii()
    assert json.loads(canonical_json(model)) == {"rate": 0.30000000000000004, "note": "Räty 🎿"}


def test_spelling_and_order_of_a_file_do_not_matter() -> None:
    texts = ["rate: 0.1\nnote: x\n", "note: 'x'\nrate: 1e-1 # tenth\n", "{rate: 0.10, note: x}"]
    assert len({digest(load_model(text, Inner)) for text in texts}) == 1
    assert digest(load_model("rate: 1", Inner)) == digest(load_model("rate: 1.0", Inner))


@pytest.mark.parametrize(
    "change",
    [
        {"inner": (Inner(rate=0.1 + 1e-17 * 2),)},
        {"inner": (Inner(rate=0.1), Inner(rate=0.1))},
        {"names": frozenset({"a"})},
        {"table": {"x": 2, "y": 2}},
        {"note": ""},
        {"short": 2},
    ],
)
def test_any_change_of_a_value_changes_the_digest(change: dict[str, object]) -> None:
    assert digest(OUTER.model_copy(update=change)) != digest(OUTER)


def test_excluded_fields_do_not_enter() -> None:
    other = OUTER.model_copy(update={"note": "prose", "short": 9})
    assert digest(other, exclude={"note", "short"}) == digest(OUTER, exclude={"note", "short"})
    assert digest(other, exclude={"note"}) != digest(OUTER, exclude={"note"})
    assert digest(OUTER, exclude={"no such field"}) == digest(OUTER)
    nested = Outer(inner=(Inner(rate=0.1, note="x"),))
    assert b'"note":"x"' in canonical_json(nested, exclude={"note"})


def test_the_hash_seed_of_the_interpreter_does_not_matter() -> None:
    code = (
        "from pydantic import BaseModel\n"
        "from aqabench.protocol.digest import digest\n"
        "class Names(BaseModel):\n    names: frozenset[str]\n"
        "print(digest(Names(names=frozenset('abcdefgh'))))"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_what_has_no_canonical_form_is_refused() -> None:
    with pytest.raises(TypeError, match="a bytes has no canonical form"):
        plain(b"x")
