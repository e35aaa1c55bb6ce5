"""Bad requests, made of the schemas of the models that they break: a new field, or a new model, has its own by itself."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

Json = Mapping[str, Any]

_DEEP = "[" * 60 + "]" * 60
_DEEPER_THAN_ANY_PARSER = "[" * 100_000
VALUES = {
    "null": "null",
    "a flag": "true",
    "a number": "7",
    "a number below all": "-1",
    "a fraction": "0.5",
    "a fraction as text": '"0.5"',
    "a huge fraction": "1e308",
    "a fraction without end": "1e999",
    "more than 63 bits": str(2**63),
    "more than 64 bits": str(2**64),
    "less than 64 bits": str(-(2**70)),
    "thirty digits": "9" * 30,
    "more digits than Python reads": "9" * 5_000,
    "no text": '""',
    "a word": '"nonsense"',
    "a bad pattern": '"^$ not of this pattern"',
    "nearly a UUID": '"019ac0de-7b1e-7c3a-9d52-3f6f0c2b8a4g"',
    "a day that there is not": '"2026-02-30T08:15:00Z"',
    "a time without a zone": '"2026-11-26T08:15:00"',
    "seconds as text": '"1700000000"',
    "NUL": r'"a\u0000b"',
    "half a surrogate pair": r'"a\ud800b"',
    "an array": "[]",
    "an array of null": "[null]",
    "an array of NUL": r'["a\u0000"]',
    "an array of numbers": "[7, 0.5]",
    "an object": "{}",
    "an object of another kind": '{"type": "nonsense", "value": 7}',
    "nesting": _DEEP,
}
"""What no field takes all of, as JSON."""


def bodies(schema: Json, example: Json) -> Iterator[tuple[str, bytes]]:
    """Bodies, most of which the model of `schema` refuses, each with what is wrong. `example` is one that it takes."""
    whole = json.dumps(example).encode()
    yield from _strange(whole)
    fields = {name: json.dumps(value) for name, value in example.items()}
    yield "an unknown field", _object(fields | {"unknown_field": "1"})
    yield "an unknown field with half a surrogate pair in its name", _object(fields | {r"un\ud800known": "1"})
    yield "an unknown field with NUL in its name", _object(fields | {r"un\u0000known": "1"})
    properties = _properties(schema)
    for name, described in properties.items():
        yield f"no {name}", _object({other: value for other, value in fields.items() if other != name})
        for kind, value in {**VALUES, **_beyond(described)}.items():
            yield f"{kind} as {name}", _object(fields | {name: value})
            if _may_be_an_array(described):
                yield f"an array of {kind} as {name}", _object(fields | {name: f"[{value}]"})
    if fields:
        name, value = next(iter(fields.items()))
        yield "a field twice", b'{"%s": 7, %s' % (name.encode(), _object(fields)[1:])
        yield "a field twice, at last wrong", b'%s, "%s": 7}' % (_object(fields)[:-1], name.encode())
        yield "many faults", _object(dict.fromkeys(properties, "7"))


def queries(schema: Json) -> Iterator[tuple[str, dict[str, str]]]:
    """Query parameters, most of which the model of `schema` refuses."""
    yield "an unknown parameter", {"unknown_parameter": "1"}
    for name, described in schema.get("properties", {}).items():
        for kind, value in {**VALUES, **_beyond(described)}.items():
            yield f"{kind} as {name}", {name: value}
            if value.startswith('"') and r"\ud" not in value:
                yield f"{kind}, bare, as {name}", {name: json.loads(value)}


def _strange(whole: bytes) -> Iterator[tuple[str, bytes]]:
    """What is wrong with a body whatever its fields."""
    yield "nothing", b""
    yield "blanks", b" \n"
    for kind in ("null", "a flag", "a number", "a word", "an array", "an array of numbers", "nesting"):
        yield f"{kind} for the object", VALUES[kind].encode()
    yield "nesting without end", _DEEPER_THAN_ANY_PARSER.encode()
    yield "an array around it", b"[" + whole + b"]"
    for position in {0, 1, 2, len(whole) // 3, len(whole) // 2, len(whole) - 1}:
        yield f"cut off at {position}", whole[:position] or b"{"
        yield f"a stray brace at {position}", whole[:position] + b"}" + whole[position:]
        yield f"a stray letter, of two bytes, at {position}", whole[:position] + "é".encode() + whole[position:]
        yield f"NUL at {position}", whole[:position] + b"\0" + whole[position:]
    yield "something after it", whole + b" {}"
    yield "single quotes", whole.replace(b'"', b"'")
    yield "lines broken within text", whole.replace(b'"', b'"\n')
    yield "UTF-16", b'{"unknown": 1}'.decode().encode("utf-16")
    yield "a byte order mark", b'\xef\xbb\xbf{"unknown": 1}'
    yield "Latin-1", b'{"unknown": "caf\xe9"}'
    yield "a surrogate pair in UTF-8", b'{"unknown": "\xed\xa0\x80"}'


def _properties(schema: Json) -> dict[str, Json]:
    """Of all the forms that the object may have."""
    return {
        name: field for form in (schema, *schema.get("anyOf", ())) for name, field in form.get("properties", {}).items()
    }


def _may_be_an_array(described: Json) -> bool:
    return any(variant.get("type") == "array" for variant in (described, *described.get("anyOf", ())))


def _beyond(described: Json) -> dict[str, str]:
    """Values just beyond the bounds of a field."""
    found: dict[str, str] = {}
    for variant in (described, *described.get("anyOf", ())):
        if (longest := variant.get("maxLength", 0)) and longest <= 100_000:
            found["a text too long"] = json.dumps("x" * (longest + 1))
        if most := variant.get("maxItems"):
            found["an array too long"] = json.dumps(["x"] * (most + 1))
        if (largest := variant.get("maximum")) is not None:
            found["a number too large"] = json.dumps(largest + 1)
    return found


def _object(fields: Mapping[str, str]) -> bytes:
    return ("{" + ", ".join(f'"{name}": {value}' for name, value in fields.items()) + "}").encode()
