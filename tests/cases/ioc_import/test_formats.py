"""Other people's lists, read into entries."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora.errors import Invalid
from cases.ioc_import import Entry, read
from cases.ioc_import.stix import comparisons

MD5 = "d41d8cd98f00b204e9800998ecf8427e"
SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def told(payload: bytes | str | dict[str, Any] | list[Any]) -> list[tuple[str, str]]:
    return [one.observable for one in entries(payload) if one.observable]


def entries(payload: bytes | str | dict[str, Any] | list[Any]) -> list[Entry]:
    if isinstance(payload, str):
        payload = payload.encode()
    return read(payload if isinstance(payload, bytes) else orjson.dumps(payload))


def bundle(*objects: Any) -> dict[str, Any]:
    return {"type": "bundle", "id": "bundle--1", "objects": list(objects)}


def indicator(pattern: str, **more: Any) -> dict[str, Any]:
    return {"type": "indicator", "pattern": pattern, "pattern_type": "stix", **more}


def event(*attributes: Any, **more: Any) -> dict[str, Any]:
    return {"Event": {"info": "Campaign", "Attribute": list(attributes), **more}}


def test_a_bare_list_is_read_a_value_a_line():
    text = f"# a feed\r\n203.0.113.9\r\n\r\nevil[.]example\nhxxps://evil.example/x\n{MD5}\n"
    assert told(text) == [
        ("ip", "203.0.113.9"), ("domain", "evil.example"), ("url", "https://evil.example/x"), ("hash_md5", MD5),
    ]  # fmt: skip


def test_a_header_names_the_columns_in_any_order_and_under_common_names():
    text = "Confidence;Indicator;Indicator Type;Comment;TLP;valid_until\n90;evil.example;hostname;C2, seen;TLP:GREEN;2027-01-02"
    [entry] = entries(text)
    assert entry.observable == ("domain", "evil.example")
    assert (entry.confidence, entry.tlp, entry.description) == (0.9, "green", "C2, seen")
    assert entry.expires_at == datetime(2027, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("ip,not an address", "not a valid"),
        ("teapot,x", "unknown IOC type 'teapot'"),
        ("ip,", "the value is missing"),
        (",what is this", "of no known type"),
        ("ip,203.0.113.9,lots", "no confidence"),
        ("ip,203.0.113.9,170", "0 to 1, or 0 to 100"),
        ("ip,203.0.113.9,nan", "0 to 1, or 0 to 100"),
        ("ip,203.0.113.9,1,someday", "no time"),
        ("ip,203.0.113.9,1,0001-01-01T00:00:00+14:00", "no time"),
    ],
)
def test_a_line_that_cannot_be_read_says_why_and_stops_no_other(line, reason):
    bad, good = entries(f"type,value,confidence,expires_at\n{line}\nip,198.51.100.7")
    assert reason in bad.error
    assert good.observable == ("ip", "198.51.100.7")


@pytest.mark.parametrize("header", ["", "value,type\n"])
def test_a_line_of_any_length_that_is_no_value_stops_no_other(header):
    huge, known = entries(f"{header}{'a' * 200_000}\n203.0.113.7\n")
    assert huge.error
    assert known.observable == ("ip", "203.0.113.7")


def test_a_quoted_cell_may_hold_the_delimiter():
    assert told('value,comment\n"https://evil.example/?a=1,2","x"') == [("url", "https://evil.example/?a=1,2")]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("[ipv4-addr:value = '203.0.113.9']", [("ip", "203.0.113.9")]),
        ("[ipv6-addr:value='2001:db8::9']", [("ip", "2001:db8::9")]),
        (f"[file:hashes.'SHA-256' = '{SHA256}']", [("hash_sha256", SHA256)]),
        (f"[file:hashes.MD5 = '{MD5}' AND file:name = 'a.exe']", [("hash_md5", MD5)]),
        (r"[file:name = 'a.exe' AND file:parent_directory_ref.path = 'C:\\Temp']", [("file_path", r"c:\temp\a.exe")]),
        ("[domain-name:value IN ('a.example','b.example')] OR [url:value = 'http://c.example/']",
         [("domain", "a.example"), ("domain", "b.example"), ("url", "http://c.example/")]),
        (r"[url:value = 'http://c.example/?q=\'x\'']", [("url", "http://c.example/?q='x'")]),
    ],
)  # fmt: skip
def test_a_pattern_is_taken_apart(pattern, expected):
    assert [
        (kind, value.lower() if kind == "file_path" else value) for kind, value in told(bundle(indicator(pattern)))
    ] == expected


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("garbage", "cannot be read"),
        ("[ipv4-addr:value NOT = '203.0.113.9']", "names no single value"),
        ("[domain-name:value LIKE '%.example']", "names no single value"),
        ("[ipv4-addr:value = '203.0.113.9'] REPEATS 5 TIMES", "over time"),
        ("[ipv4-addr:value = '203.0.113.9'] FOLLOWEDBY [url:value = 'http://a.example/']", "over time"),
        ("[process:pid = 4]", "nothing that is an IOC"),
        ("[ipv4-addr:value = '300.1.1.1']", "not a valid"),
    ],
)
def test_a_pattern_that_means_more_or_less_than_values_is_rejected(pattern, reason):
    [entry] = entries(bundle(indicator(pattern)))
    assert reason in entry.error


def test_only_indicators_and_vulnerabilities_of_a_bundle_are_read():
    found = entries(
        bundle(
            {"type": "identity", "name": "x"},
            {"type": "vulnerability", "name": "CVE-2024-3094"},
            indicator("[ipv4-addr:value = '203.0.113.9']", revoked=True),
            {"type": "indicator"},
            indicator("alert tcp any", pattern_type="snort"),
            7,
        )
    )
    assert [one.is_ignored for one in found] == [True, False, True, False, False, False]
    assert found[1].observable == ("cve", "CVE-2024-3094")
    assert [one.error for one in found[3:]] == [
        "the indicator has no pattern", "patterns of 'snort' are not read", "a STIX object was expected",
    ]  # fmt: skip


def test_what_a_bundle_says_of_an_indicator_is_kept():
    red = "marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed"
    [entry] = entries(
        bundle(
            indicator(
                "[domain-name:value = 'evil.example']",
                name="C2",
                confidence=85,
                valid_until="2027-01-01T00:00:00Z",
                object_marking_refs=[red],
            )
        )
    )
    assert (entry.description, entry.confidence, entry.tlp) == ("C2", 0.85, "red")
    assert entry.expires_at == datetime(2027, 1, 1, tzinfo=UTC)


def test_an_event_is_read_with_its_objects_and_tags():
    found = entries(
        event(
            {"type": "ip-dst", "value": "203.0.113.9", "to_ids": True, "comment": "beacon"},
            {"type": "filename|sha256", "value": f"a.exe|{SHA256}", "to_ids": True},
            {"type": "text", "value": "prose"},
            {"type": "domain", "value": "context.example", "to_ids": False},
            {"type": "ip-dst|port", "value": "198.51.100.7|443", "Tag": [{"name": "tlp:red"}]},
            Object=[{"Attribute": [{"type": "url", "value": "http://evil.example/x"}]}],
            Tag=[{"name": "tlp:green"}],
        )
    )
    assert [one.observable for one in found if one.observable] == [
        ("ip", "203.0.113.9"), ("hash_sha256", SHA256), ("ip", "198.51.100.7"), ("url", "http://evil.example/x"),
    ]  # fmt: skip
    assert [one.is_ignored for one in found] == [False, False, True, True, False, False]
    assert [one.tlp for one in found if one.observable] == ["green", "green", "red", "green"]
    assert (found[0].description, found[1].description) == ("beacon", "Campaign")


@pytest.mark.parametrize(
    "wrap", [lambda one: one, lambda one: [one], lambda one: {"response": [one]}], ids=["one", "list", "response"]
)
def test_events_come_alone_listed_or_as_an_answer(wrap):
    assert told(wrap(event({"type": "domain", "value": "evil.example"}))) == [("domain", "evil.example")]


@pytest.mark.parametrize(
    "payload", [b"", b"  \n ", b"\xff\xfe\x00", b"{", b"{}", b"[]", b'{"type":"bundle"}', b'[{"Event":1}]', b'{"a":1}']
)
def test_what_is_no_list_is_refused(payload):
    with pytest.raises(Invalid) as refused:
        read(payload)
    assert refused.value.problems[0]["loc"][0] == "body"


def test_an_escaped_backslash_is_one():
    assert comparisons(r"[windows-registry-key:key = 'HKLM\\Run']") == [("windows-registry-key", "key", r"HKLM\Run")]


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["type", "value", "pattern", "objects", "Event", "Attribute", "Object", "Tag", "name", "confidence"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(_json)
def test_no_document_breaks_the_reader(document):
    for wrapped in (document, bundle(document), event(document)):
        try:
            read(orjson.dumps(wrapped))
        except Invalid:
            continue


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(payload):
    try:
        read(payload)
    except Invalid:
        return
