"""What a model is told, and what it is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.narration.material import MOST_CHARACTERS, MOST_FINDINGS, REDACTED, facts_of, messages_of, redacted


def _output(*findings):
    return {"findings": [{"title": title, "detail": detail, "confidence": sure} for title, detail, sure in findings]}


def test_the_most_certain_findings_come_first_and_bear_the_first_ids():
    facts = facts_of({"threat_hunter": _output(("A", "", 0.4)), "network_security": _output(("B", "", 0.9))})
    assert [(fact.id, fact.title, fact.agent) for fact in facts] == [
        ("F1", "B", "network_security"),
        ("F2", "A", "threat_hunter"),
    ]


def test_the_report_repeats_and_is_left_out():
    assert facts_of({"report_generator": _output(("A", "", 0.4))}) == []


def test_many_and_long_findings_stay_within_bounds():
    many = facts_of({"threat_hunter": _output(*(("x" * 300, "y" * 5_000, 0.5) for _ in range(50)))})
    assert 0 < len(many) <= MOST_FINDINGS
    assert sum(len(message["content"]) for message in messages_of(many)) < MOST_CHARACTERS + 3_000


@pytest.mark.parametrize("output", [None, [], {}, {"findings": 7}, {"findings": [{"title": 5}]}, "text"])
def test_an_agent_may_have_answered_anything(output):
    assert facts_of({"foreign": output}) == []


@pytest.mark.parametrize(
    "text",
    [
        "password=Tr0ub4dor",
        "PWD : Tr0ub4dor",
        "the db_password is Tr0ub4dor",
        '{"api_key": "Tr0ub4dor"}',
        "client-secret='Tr0ub4dor'",
        "Authorization: Bearer Tr0ub4dorTr0ub4dor",
        "curl -H bearer Tr0ub4dorTr0ub4dor",
        "https://user:Tr0ub4dor@host.example/x",
        "ghp_Tr0ub4dorTr0ub4dor",
        "eyJhbGciOi.Tr0ub4dorTr0ub4.sig",
        "-----BEGIN RSA PRIVATE KEY----- Tr0ub4dor -----END RSA PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY----- Tr0ub4dor cut off",
    ],
)
def test_credentials_of_the_usual_kinds_are_taken_out(text):
    assert "Tr0ub4dor" not in redacted(f"before {text} after")
    assert REDACTED in redacted(text)


@pytest.mark.parametrize("text", ["Password spraying against 40 accounts", "Token theft suspected", "10.0.0.1 → fs-01"])
def test_what_is_told_of_credentials_stays(text):
    assert redacted(text) == text


@given(st.text(max_size=200))
def test_data_never_leave_their_marks(text):
    facts = facts_of({"threat_hunter": _output((text or "x", text, 0.5))})
    user = messages_of(facts)[1]["content"].split("\n")
    assert len(user) == 5
    mark = user[1].strip("<>")
    assert mark not in user[2]


def test_marks_are_drawn_anew_each_time():
    facts = facts_of({"threat_hunter": _output(("A", "B", 0.5))})
    assert messages_of(facts)[1] != messages_of(facts)[1]
