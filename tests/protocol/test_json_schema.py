"""The JSON Schema text: complete, stable, and of one mind with the loader."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from aqabench.errors import ProtocolError
from aqabench.protocol.json_schema import schema_text
from aqabench.protocol.load import load_model
from aqabench.protocol.yaml12 import parse


class Item(BaseModel):
    """One item."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    kind: Literal["item"]
    rate: Annotated[float, Field(ge=0, le=1)] = Field(description="Share of what is missing.")


class Whole(BaseModel):
    """The root."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    name: str
    items: tuple[Item, ...] = ()
    bounds: tuple[float, float] = (0.0, 1.0)


def test_text() -> None:
    text = schema_text(Whole)
    assert text.endswith("}\n")
    schema = json.loads(text)
    assert next(iter(schema)) == "$schema"
    assert schema["required"] == ["name"]
    assert list(schema["properties"]) == ["name", "items", "bounds"]
    assert schema["additionalProperties"] is False
    rate = schema["$defs"]["Item"]["properties"]["rate"]
    assert (rate["minimum"], rate["maximum"]) == (0, 1)
    assert rate["description"] == "Share of what is missing."


def test_the_text_depends_on_the_model_alone() -> None:
    code = (
        "from aqabench.protocol.json_schema import schema_text\n"
        "from aqabench.protocol.schema import Protocol\n"
        "print(schema_text(Protocol))"
    )
    texts = {
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
    assert len(texts) == 1


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("name: x\nitems: [{kind: item, rate: 2e-1}]\nbounds: [0, 1]\n", True),
        ("name: x\nitems: [{kind: itme, rate: 2e-1}]\n", False),
        ("name: x\nitems: [{kind: item, rate: 2}]\n", False),
        ("name: x\nbounds: [0]\n", False),
        ("name: x\nother: 0\n", False),
        ("name: 3\n", False),
        ("items: []\n", False),
    ],
)
def test_editor_and_loader_agree(text: str, good: bool) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="needs the validator jsonschema")
    validator = jsonschema.Draft202012Validator(json.loads(schema_text(Whole)))
    assert validator.is_valid(parse(text, "f").data) is good
    if good:
        load_model(text, Whole)
    else:
        with pytest.raises(ProtocolError):
            load_model(text, Whole)
