"""Opens what sensors wrap their alerts in: webhook bodies, search results, pages of an API."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

from cases.normalizers.fields import at, mapping, mappings

# Where each source's envelopes keep their list of records. An object with none of these is a record itself.
_LISTS: dict[str, tuple[str, ...]] = {
    "suricata": ("hits.hits",),
    "wazuh": ("hits.hits", "data.affected_items"),
    "zeek": ("hits.hits",),
    "elastic": ("hits.hits", "context.alerts", "alerts"),
    "alertmanager": ("alerts", "data.alerts"),
    "sentinel": ("value", "records", "tables", "alerts"),
    "crowdstrike": ("resources", "detections", "events"),
    "splunk": ("results",),
    "ocsf": ("detail.findings", "findings", "events", "Records"),
    "generic": ("alerts", "events", "records", "items", "results", "data", "hits.hits"),
}
# A generic record may have lists under such names of its own; one with any of these keys is a record.
_GENERIC_RECORD_KEYS = (
    "title",
    "name",
    "rule",
    "signature",
    "message",
    "msg",
    "summary",
    "description",
    "alert_name",
)


def opened(source: str, document: Any) -> Iterator[Any]:
    """The records in `document`: an array's elements, what an envelope holds, or itself."""
    if type(document) is list:
        return chain.from_iterable(_contents(source, item) for item in document)
    return _contents(source, document)


def _contents(source: str, document: Any) -> Iterator[Any]:
    if type(document) is not dict or (source == "generic" and any(key in document for key in _GENERIC_RECORD_KEYS)):
        return iter((document,))
    for path in _LISTS.get(source, ()):
        found = at(document, path)
        if type(found) is list:
            return _REWRAP.get(source, _as_is)(document, found, path)
    return iter((document,))


def _as_is(_: dict[str, Any], records: list[Any], __: str) -> Iterator[Any]:
    return iter(records)


def _with_common_labels(envelope: dict[str, Any], records: list[Any], _: str) -> Iterator[Any]:
    """Each alert of a group has all its labels already; the group's common ones only fill what a proxy
    dropped.
    """
    labels, annotations = mapping(envelope.get("commonLabels")), mapping(envelope.get("commonAnnotations"))
    for record in records:
        if type(record) is not dict:
            yield record
            continue
        yield {
            "status": envelope.get("status"),
            **record,
            "labels": {**labels, **mapping(record.get("labels"))},
            "annotations": {**annotations, **mapping(record.get("annotations"))},
        }


def _with_search(envelope: dict[str, Any], records: list[Any], _: str) -> Iterator[Any]:
    """Each row of a Splunk search, with the name of the search that found it."""
    search = {name: value for name, value in envelope.items() if name != "results"}
    return ({**search, "result": record} if type(record) is dict else record for record in records)


def _with_columns(_: dict[str, Any], records: list[Any], path: str) -> Iterator[Any]:
    """Log Analytics answers a query with tables of columns and rows; the other envelopes hold objects."""
    if path != "tables":
        yield from records
        return
    for table in mappings(records):
        columns = table.get("columns")
        names = [str(mapping(column).get("name", "")) for column in columns] if type(columns) is list else []
        rows = table.get("rows")
        for row in rows if type(rows) is list else ():
            yield dict(zip(names, row, strict=False)) if type(row) is list else row


_REWRAP: dict[str, Callable[[dict[str, Any], list[Any], str], Iterator[Any]]] = {
    "alertmanager": _with_common_labels,
    "splunk": _with_search,
    "sentinel": _with_columns,
}
