"""MISP events as its API and its feeds give them: `{"Event": …}`, a list of those, or `{"response": […]}`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aurora.errors import Invalid
from cases.ioc_import.entries import TYPE_WORDS, Entry, ignored, observable_of, rejected, text_of, tlp_of


def events_in(document: object) -> list[Mapping[str, Any]] | None:
    """The events of a document, or None when it is none of MISP's."""
    if isinstance(document, dict) and isinstance(document.get("response"), list):
        document = document["response"]
    several = document if isinstance(document, list) else [document]
    events = [one["Event"] for one in several if isinstance(one, dict) and isinstance(one.get("Event"), dict)]
    return events if events and len(events) == len(several) else None


def entries(events: Sequence[Mapping[str, Any]]) -> Iterator[Entry]:
    """One for each attribute, those of objects too, numbered through; a composite one (`filename|sha256`) gives one for each of its parts."""
    index = 0
    for event in events:
        for attribute in _attributes(event):
            yield from _of_attribute(index, attribute, event)
            index += 1


def _attributes(event: Mapping[str, Any]) -> Iterator[object]:
    yield from _list(event, "Attribute")
    for one in _list(event, "Object"):
        if isinstance(one, dict):
            yield from _list(one, "Attribute")


def _of_attribute(index: int, attribute: object, event: Mapping[str, Any]) -> Iterator[Entry]:
    if not isinstance(attribute, dict):
        yield rejected(index, "a MISP attribute was expected")
        return
    kinds = [word.strip() for word in str(attribute.get("type", "")).split("|")]
    known = [place for place, word in enumerate(kinds) if word.replace("-", "_") in TYPE_WORDS]
    # What is not for detection is context, as is what was deleted.
    if not known or attribute.get("deleted") in (True, "1") or attribute.get("to_ids") in (False, "0", 0):
        yield ignored(index)
        return
    yield from _parts(index, attribute, event, kinds, known)


def _parts(
    index: int, attribute: Mapping[str, Any], event: Mapping[str, Any], kinds: list[str], known: list[int]
) -> Iterator[Entry]:
    whole = str(attribute.get("value") or "")
    values = whole.split("|") if len(kinds) > 1 else [whole]
    tags = [tag.get("name") for one in (attribute, event) for tag in _list(one, "Tag") if isinstance(tag, dict)]
    description = text_of(attribute, "comment") or text_of(event, "info")
    # A file's name beside its hash only describes it.
    told = [place for place in known if kinds[place] != "filename" or len(known) == 1]
    for place in told:
        try:
            if place >= len(values):
                raise Invalid(f"the value has no part for {kinds[place]}")
            observable = observable_of(kinds[place], values[place])
        except Invalid as error:
            yield rejected(index, str(error.detail))
        else:
            yield Entry(index, observable, description, tlp=tlp_of(tags))


def _list(source: Mapping[str, Any], name: str) -> list[Any]:
    value = source.get(name)
    return value if isinstance(value, list) else []
