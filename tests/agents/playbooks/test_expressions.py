"""Conditions and templates: what they can say, and that they can do nothing else."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.playbooks import expressions, templates
from aurora.errors import Invalid

CONTEXT = {
    "severity": "high",
    "asset_criticality": "critical",
    "is_ot": False,
    "is_it": True,
    "business_hours": True,
    "alert": {"hosts": ["ws-1", "ws-2"], "title": "{{ case.id }}"},
    "case": {"reference": "C-1"},
    "results": {"scan": {"status": "completed", "found": 3}},
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ('severity >= "high"', True),
        ('severity > "high"', False),
        ('severity in ["critical", "high"]', True),
        ('"low" < severity', True),
        ('asset_criticality >= "high" and not is_ot', True),
        ('results["scan"]["status"] == "completed"', True),
        ('results["never"]["status"] == "completed"', False),
        ('results["scan"]["found"] > 2', True),
        ('alert["hosts"] != []', True),
        ('"ws-2" in alert["hosts"]', True),
        ('alert["hosts"][0] == "ws-1"', True),
        ('alert["hosts"][9] == "ws-1"', False),
        ("is_ot or business_hours", True),
        ('"low" <= severity <= "medium"', False),
    ],
)
def test_a_condition_is_told(text, expected):
    assert expressions.holds(text, CONTEXT) is expected


@pytest.mark.parametrize("text", ['severity > "grave"', 'results["scan"]["status"] > 3', "3 in is_ot"])
def test_what_cannot_be_compared_is_said(text):
    with pytest.raises(Invalid, match="cannot be told"):
        expressions.holds(text, CONTEXT)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "severity.upper()",
        "().__class__.__bases__",
        "[x for x in alert]",
        "lambda: 1",
        "1 + 1",
        "alert[severity]",
        "unknown_name",
        "f'{severity}'",
        "(x := 1)",
        "b'x' == title",
        "9" * 501,
    ],
)
def test_nothing_but_comparisons_is_a_condition(text):
    with pytest.raises(Invalid):
        expressions.check(text)


@given(st.text(max_size=200))
def test_any_text_is_a_condition_or_refused(text):
    try:
        expressions.check(text)
    except Invalid:
        return
    with contextlib.suppress(Invalid):
        expressions.holds(text, CONTEXT)


def test_a_text_that_is_one_place_keeps_the_kind_of_what_it_names():
    assert templates.filled({"hosts": "{{ alert.hosts }}"}, CONTEXT) == {"hosts": ["ws-1", "ws-2"]}


def test_places_within_a_text_become_text():
    assert (
        templates.filled("{{alert.hosts}} of {{ case.reference }}, {{ alert.hosts.1 }}", CONTEXT)
        == "ws-1, ws-2 of C-1, ws-2"
    )


def test_a_number_too_long_to_be_one_is_no_place():
    with pytest.raises(Invalid):
        templates.filled("{{ alert.hosts." + "9" * 5_000 + " }}", CONTEXT)


def test_what_was_filled_in_is_not_looked_at_again():
    assert templates.filled("{{ alert.title }}", CONTEXT) == "{{ case.id }}"


@pytest.mark.parametrize("path", ["alert.__class__", "alert.hosts.9", "alert.nothing", "case.reference.upper"])
def test_what_is_not_there_is_said(path):
    with pytest.raises(Invalid, match="There is no"):
        templates.filled(f"{{{{ {path} }}}}", CONTEXT)
