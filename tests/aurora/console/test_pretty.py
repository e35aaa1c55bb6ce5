from __future__ import annotations

import json

from django.utils.html import strip_tags

from aurora.console import pretty


def test_json_text_is_indented():
    shown = strip_tags(pretty.record('{"a":{"b":1}}'))
    assert shown.splitlines()[1:3] == ["  &quot;a&quot;: {", "    &quot;b&quot;: 1"]


def test_markup_inside_json_stays_text():
    shown = pretty.record('{"k": "</pre><script>alert(1)</script>"}')
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown


def test_markup_in_plain_text_stays_text():
    assert pretty.record("<script>alert(1)</script>") == "&lt;script&gt;alert(1)&lt;/script&gt;"


def test_markup_in_a_key_stays_text():
    assert "<b>" not in pretty.record({"<b>": 1})


def test_text_that_only_looks_like_json_is_shown_as_it_is():
    assert pretty.record('{"a": 1,,}') == "{&quot;a&quot;: 1,,}"


def test_nesting_that_exhausts_the_parser_is_shown_as_it_is():
    hostile = "[" * 50_000
    assert pretty.record(hostile) == hostile


def test_a_parsed_value_nested_too_deeply_says_so():
    value: list[object] = []
    for _ in range(100_000):
        value = [value]
    try:
        assert "nested too deeply" in pretty.record(value)
    finally:
        while value:  # taken apart by hand: freeing it in one go would recurse as well
            value = value.pop()  # type: ignore[assignment]


def test_a_number_too_long_for_python_is_shown_as_it_is():
    hostile = '{"n": ' + "9" * 10_000 + "}"
    assert "9" * 10_000 in pretty.record(hostile)


def test_a_record_beyond_what_is_shown_is_cut():
    shown = pretty.record("x" * (pretty.SHOWN_CHARACTERS + 1))
    assert shown == "x" * pretty.SHOWN_CHARACTERS + "\n…"


def test_a_lone_surrogate_survives():
    assert "&quot;" in pretty.record(json.dumps({"a": "\ud800"}))


def test_keys_strings_and_numbers_are_told_apart():
    shown = pretty.record({"key": "text", "n": 2, "none": None})
    assert '<span class="au-json-key">&quot;key&quot;</span>' in shown
    assert '<span class="au-json-string">&quot;text&quot;</span>' in shown
    assert '<span class="au-json-number">2</span>' in shown
    assert '<span class="au-json-word">null</span>' in shown
