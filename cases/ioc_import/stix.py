"""STIX 2.1 bundles (OASIS): their indicators and vulnerabilities. Other objects tell of the world, not of what to look for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from aurora.errors import Invalid
from cases.ioc_import.entries import Entry, confidence_of, ignored, moment_of, observable_of, rejected, text_of, tlp_of

# What nearly every feed writes. The standard's own grammar takes a millisecond a pattern, which thousands would feel.
_ONE_COMPARISON = re.compile(r"\[\s*([a-z0-9-]+)\s*:\s*([^\s=]+)\s*=\s*'((?:[^'\\]|\\.)*)'\s*\]")
_IN_LIST = re.compile(r"'((?:[^'\\]|\\.)*)'")
_KINDS = {
    ("ipv4-addr", "value"): "ip",
    ("ipv6-addr", "value"): "ip",
    ("domain-name", "value"): "domain",
    ("url", "value"): "url",
    ("email-addr", "value"): "email",
    ("email-message", "from_ref.value"): "email",
    ("file", "hashes.MD5"): "md5",
    ("file", "hashes.SHA-1"): "sha1",
    ("file", "hashes.SHA-256"): "sha256",
    ("file", "name"): "file_path",
    ("windows-registry-key", "key"): "registry_key",
    ("mutex", "name"): "mutex",
    ("network-traffic", "extensions.http-request-ext.request_header.User-Agent"): "user_agent",
}
_DIRECTORY = ("file", "parent_directory_ref.path")
# The marking definitions that the standard itself holds, TLP 1.0 and 2.0.
_MARKINGS = {
    "613f2e26-407d-48c7-9eca-b8e91df99dc9": "clear",
    "34098fce-860f-48ae-8e50-ebd3cc5e41da": "green",
    "f88d31f6-486f-44da-b317-01333bde0b82": "amber",
    "5e57c739-391a-4eb3-b6be-7d15ca92d5ed": "red",
    "94868c89-83c2-464b-929b-a1a8aa3c8487": "clear",
    "bab4a63c-aed9-4cf5-a766-dfca5abac2bb": "green",
    "55d920b0-5e8b-4f79-9ee9-91f868d9b421": "amber",
    "939a9414-2ddd-4d32-a0cd-375ea402b003": "amber+strict",
    "e828b379-4e03-4974-9ac4-e53a884c97c1": "red",
}

Comparison = tuple[str, str, str]
"""An object's type, the property's path, and the text it is equal to."""


def is_bundle(document: object) -> bool:
    return isinstance(document, dict) and document.get("type") == "bundle" and isinstance(document.get("objects"), list)


def entries(bundle: Mapping[str, Any]) -> Iterator[Entry]:
    """What each object of the bundle says; an indicator of several values gives several entries of one index."""
    for index, one in enumerate(bundle["objects"]):
        if not isinstance(one, dict) or not isinstance(one.get("type"), str):
            yield rejected(index, "a STIX object was expected")
        elif one["type"] not in ("indicator", "vulnerability") or one.get("revoked") is True:
            yield ignored(index)
        else:
            yield from _of_object(index, one)


def comparisons(pattern: str) -> list[Comparison]:
    """What a pattern compares for equality. Raises Invalid for one that cannot be read, or means more than equality."""
    if simple := _ONE_COMPARISON.fullmatch(pattern.strip()):
        return [(simple[1], simple[2].replace("'", ""), _plain(simple[3]))]
    # Here and not above: a grammar of 130 ms that few bundles need.
    from stix2patterns.exceptions import ParseException
    from stix2patterns.v21.pattern import Pattern

    try:
        found = Pattern(pattern).inspect()
    except (ParseException, RecursionError) as error:
        raise Invalid(f"the pattern cannot be read: {str(error)[:120]}") from None
    if found.qualifiers or found.observation_ops - {"OR", "AND"}:
        raise Invalid("a pattern over time is no single indicator")
    return [
        (kind, ".".join(map(str, path)), value)
        for kind, parts in found.comparisons.items()
        for path, operator, operand in parts
        for value in _values(operator, operand)
    ]


def _of_object(index: int, one: Mapping[str, Any]) -> Iterator[Entry]:
    try:
        observables = [observable_of(kind, value) for kind, value in _told_by(one)]
        confidence, expires_at = confidence_of(one.get("confidence")), moment_of(one.get("valid_until"))
    except Invalid as error:
        yield rejected(index, str(error.detail))
        return
    description, tlp = text_of(one, "description", "name"), tlp_of(_colours(one.get("object_marking_refs")))
    for observable in dict.fromkeys(observables):
        yield Entry(index, observable, description, confidence, tlp, expires_at)


def _told_by(one: Mapping[str, Any]) -> list[tuple[str, str]]:
    if one["type"] == "vulnerability":
        return [("cve", text_of(one, "name"))]
    if one.get("pattern_type", "stix") != "stix":
        raise Invalid(f"patterns of {str(one.get('pattern_type'))[:40]!r} are not read")
    pattern = one.get("pattern")
    if not isinstance(pattern, str):
        raise Invalid("the indicator has no pattern")
    return _known(comparisons(pattern))


def _known(found: list[Comparison]) -> list[tuple[str, str]]:
    """The comparisons that are IOCs of ours. A file's name beside its hash only describes it; beside its folder it is a path."""
    told = [(_KINDS[kind, path], value) for kind, path, value in found if (kind, path) in _KINDS]
    if any(kind in ("md5", "sha1", "sha256") for kind, _ in told):
        told = [(kind, value) for kind, value in told if kind != "file_path"]
    folders = [value for kind, path, value in found if (kind, path) == _DIRECTORY]
    if folders:
        mark = "\\" if "\\" in folders[0] else "/"
        told = [
            (kind, f"{folders[0].rstrip(mark)}{mark}{value}" if kind == "file_path" else value) for kind, value in told
        ]
    if not told:
        raise Invalid("the pattern compares nothing that is an IOC here")
    return told


def _values(operator: str, operand: str) -> Iterable[str]:
    match operator:
        case "=":
            return [_plain(operand[1:-1] if operand.startswith("'") else operand)]
        case "IN":
            return [_plain(value) for value in _IN_LIST.findall(operand)]
        case _:
            raise Invalid(f"the comparison {operator[:20]!r} names no single value")


def _plain(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def _colours(references: object) -> list[str]:
    names = references if isinstance(references, list) else []
    return [_MARKINGS.get(str(name).removeprefix("marking-definition--"), "") for name in names]
