from __future__ import annotations

import orjson
import pytest

from aurora.errors import Invalid
from cases.normalizers import normalize, split

ONE = b'{"title": "one"}'
TWO = b'{"title": "two"}'


def titles(payload: bytes, content_type: str = "", source: str = "generic") -> list[str | None]:
    return [record.data["title"] if record.data else None for record in split(source, payload, content_type)]


def test_an_object_is_one_record_with_its_text_as_it_was_sent():
    (record,) = split("generic", b'  {"title":  "one"}\n')
    assert (record.index, record.text, record.data) == (0, '{"title":  "one"}', {"title": "one"})


def test_an_array_is_its_elements_in_order():
    records = split("generic", b"[" + ONE + b", " + TWO + b"]")
    assert [(record.index, record.text) for record in records] == [
        (0, '{"title":"one"}'),
        (1, '{"title":"two"}'),
    ]


@pytest.mark.parametrize("content_type", ["", "application/json", "application/x-ndjson", "text/plain"])
def test_lines_are_records_whatever_the_content_type_says(content_type):
    assert titles(ONE + b"\n" + TWO + b"\n", content_type) == ["one", "two"]


def test_byte_order_mark_blank_lines_and_carriage_returns_are_passed_over():
    assert titles(b"\xef\xbb\xbf" + ONE + b"\r\n\r\n  \r\n" + TWO + b"\r\n") == ["one", "two"]


def test_json_text_sequences_are_records():
    assert titles(b"\x1e" + ONE + b"\n\x1e" + TWO + b"\n", "application/json-seq") == ["one", "two"]


def test_objects_printed_over_several_lines_one_after_the_other_are_records():
    assert titles(b'{\n  "title": "one"\n}\n{\n  "title": "two"\n}\n') == ["one", "two"]


def test_objects_without_anything_between_them_are_records():
    assert titles(ONE + TWO) == ["one", "two"]


def test_one_object_sent_as_ndjson_over_several_lines_is_one_record():
    assert titles(b'{\n"title":\n"one"}', "application/x-ndjson") == ["one"]


@pytest.mark.parametrize("payload", [b"", b" \r\n ", b"\xef\xbb\xbf", b"[]", b'{"alerts": []}'])
def test_nothing_is_no_records(payload):
    assert split("generic", payload) == []


def test_a_broken_line_is_a_record_with_an_error_and_leaves_the_others_alone():
    records = split("generic", ONE + b'\n{"title": "tw\n' + TWO)
    assert [record.index for record in records] == [0, 1, 2]
    assert [record.error is None for record in records] == [True, False, True]
    assert records[1].text == '{"title": "tw'


def test_a_first_line_cut_off_by_rotation_leaves_the_others_alone():
    assert titles(b'e": "zero"}\n' + ONE + b"\n" + TWO) == [None, "one", "two"]


def test_a_line_in_another_charset_is_a_record_with_an_error():
    records = split("generic", ONE + b'\n{"title": "caf\xe9"}')
    assert records[1].error
    assert records[1].text == '{"title": "caf\ufffd"}'


@pytest.mark.parametrize("payload", [b"hello", b"<html></html>", b'{"title": ', b"\xff\xfe{\x00}\x00", b"[" * 5000])
def test_what_is_no_json_is_refused_with_the_place_of_the_fault(payload):
    with pytest.raises(Invalid) as caught:
        split("generic", payload)
    (problem,) = caught.value.problems
    assert problem["loc"][0] == "body"
    assert isinstance(problem["loc"][1], int)
    assert (problem["msg"], problem["type"]) == ("JSON decode error", "json_invalid")


def test_the_place_of_the_fault_is_the_character():
    with pytest.raises(Invalid) as caught:
        split("generic", b'{"title": oops}')
    assert caught.value.problems[0]["loc"] == ["body", 10]


@pytest.mark.parametrize("element", [b"7", b'"text"', b"null", b"true", b"[[1]]"])
def test_an_element_that_is_no_object_is_rejected_alone(element):
    records = split("generic", b"[" + ONE + b", " + element + b"]")
    assert records[1].data is None
    with pytest.raises(Invalid, match="JSON object"):
        normalize("generic", records[1])


def test_a_lone_surrogate_rejects_its_record_and_not_the_request():
    records = split("generic", b'[{"title": "bad \\ud800"}, ' + ONE + b"]")
    assert [record.error is None for record in records] == [False, True]


def test_nesting_too_deep_to_store_rejects_its_record_and_not_the_request():
    deep = b'{"title": ' + b"[" * 400 + b"]" * 400 + b"}"
    records = split("generic", b"[" + deep + b", " + ONE + b"]")
    assert [record.error is None for record in records] == [False, True]


def test_not_a_number_as_python_writes_it_is_no_value():
    (record,) = split("generic", b'{"title": "one", "score": NaN}')
    assert record.data == {"title": "one", "score": None}


def test_integers_beyond_64_bits_are_read():
    (record,) = split("generic", b'{"title": "one", "id": 123456789012345678901234567890}')
    assert normalize("generic", record)


def test_text_lines_are_records_of_cef_without_their_nuls():
    records = split("cef", b"CEF:0|a\r\n\r\nCEF:0|b\x00c\n")
    assert [(record.index, record.text) for record in records] == [(0, "CEF:0|a"), (1, "CEF:0|bc")]


@pytest.mark.parametrize(
    ("source", "envelope"),
    [
        (
            "alertmanager",
            {"version": "4", "status": "firing", "alerts": [{"title": "one"}, {"title": "two"}]},
        ),
        ("alertmanager", {"status": "success", "data": {"alerts": [{"title": "one"}, {"title": "two"}]}}),
        ("sentinel", {"value": [{"title": "one"}, {"title": "two"}]}),
        ("sentinel", {"tables": [{"columns": [{"name": "title"}], "rows": [["one"], ["two"]]}]}),
        ("crowdstrike", {"meta": {}, "resources": [{"title": "one"}, {"title": "two"}]}),
        ("ocsf", {"detail": {"findings": [{"title": "one"}, {"title": "two"}]}}),
        ("generic", {"events": [{"title": "one"}, {"title": "two"}]}),
        ("elastic", [{"title": "one"}, {"title": "two"}]),
    ],
)
def test_each_source_s_envelopes_are_opened(source, envelope):
    records = split(source, orjson.dumps(envelope))
    assert [record.index for record in records] == [0, 1]
    assert [record.data["title"] for record in records if record.data] == ["one", "two"]


def test_search_hits_are_opened_with_their_ids():
    hits = {"hits": {"total": 1, "hits": [{"_id": "a1", "_source": {"x": 1}}]}}
    (record,) = split("elastic", orjson.dumps(hits))
    assert record.data == {"_id": "a1", "_source": {"x": 1}}


def test_rows_of_a_splunk_search_keep_the_search_s_name():
    body = {"search_name": "Brute force", "results": [{"user": "ann"}]}
    (record,) = split("splunk", orjson.dumps(body))
    assert record.data == {"search_name": "Brute force", "result": {"user": "ann"}}


def test_common_labels_of_a_group_fill_gaps_and_never_overwrite():
    body = {
        "commonLabels": {"job": "web", "team": "a"},
        "alerts": [{"labels": {"alertname": "Up", "team": "b"}}],
    }
    (record,) = split("alertmanager", orjson.dumps(body))
    assert record.data
    assert record.data["labels"] == {"job": "web", "team": "b", "alertname": "Up"}


def test_a_generic_record_with_a_list_of_its_own_stays_whole():
    (record,) = split("generic", b'{"title": "one", "events": [{"a": 1}]}')
    assert record.data == {"title": "one", "events": [{"a": 1}]}


def test_envelopes_in_lines_are_opened_too():
    line = b'{"alerts": [{"labels": {}}, {"labels": {}}]}\n'
    assert [record.index for record in split("alertmanager", line * 2)] == [0, 1, 2, 3]


def test_an_unknown_source_is_refused():
    (record,) = split("generic", ONE)
    with pytest.raises(Invalid, match="unknown source"):
        normalize("nessus", record)


@pytest.mark.parametrize("payload", [b"[1, 2, 3, 4]", b"{}\n{}\n{}\n{}\n", b"{} {} {} {}", b'{"alerts": [1, 2, 3, 4]}'])
def test_more_records_than_agreed_are_none(payload):
    with pytest.raises(Invalid) as refusal:
        split("generic", payload, at_most=3)
    assert refusal.value.problems[0]["type"] == "too_long"
    assert len(split("generic", payload, at_most=4)) == 4


def test_more_lines_of_text_than_agreed_are_none():
    with pytest.raises(Invalid):
        split("cef", b"a\nb\n", at_most=1)
