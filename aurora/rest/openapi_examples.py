"""An example of a whole body, put together from the examples, defaults and words of its fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Json = Mapping[str, Any]

_TEXTS = {
    "uuid": "019ac0de-7b1e-7c3a-9d52-3f6f0c2b8a41",
    "date-time": "2026-11-26T08:15:00Z",
    "uri": "https://agents.example/security_analyst",
}


def example_of(schema: Json, known: Mapping[str, Json]) -> Any:
    """A value that `schema` allows. `known` has the schemas that it refers to by name."""
    if "$ref" in schema:
        return example_of(known[schema["$ref"].rsplit("/", 1)[1]], known)
    if "examples" in schema:
        return schema["examples"][0]
    for word in ("const", "default"):
        if schema.get(word) is not None:
            return schema[word]
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return example_of(schema["anyOf"][0], known)
    return _of_type(schema, known)


def _of_type(schema: Json, known: Mapping[str, Json]) -> Any:
    match schema.get("type"):
        case "object":
            return {name: example_of(field, known) for name, field in schema.get("properties", {}).items()}
        case "array":
            return [example_of(schema["items"], known)]
        case "string":
            return _TEXTS.get(schema.get("format", ""), "text"[: schema.get("maxLength", 4)])
        case "integer":
            return schema.get("minimum", 1)
        case "number":
            return schema.get("minimum", schema.get("exclusiveMinimum", 0) + 0.5)
        case "boolean":
            return True
        case kind:
            return None if kind == "null" else {}
