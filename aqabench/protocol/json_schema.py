"""JSON Schema of a model, for editors and for ``check-jsonschema``.

The text is shipped and a test compares it with a fresh one, so it must not depend on anything but
the model: same model, same bytes.
"""

from __future__ import annotations

import json
import sys

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from aqabench.protocol.schema import Protocol

__all__ = ["schema_text"]


def schema_text(model: type[BaseModel]) -> str:
    """Return the JSON Schema (draft 2020-12) of ``model`` as indented text."""
    schema = {"$schema": GenerateJsonSchema.schema_dialect, **model.model_json_schema()}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema_text(Protocol))
