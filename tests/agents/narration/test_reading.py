"""Which of a model's sentences stand."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.narration.material import Fact
from agents.narration.reading import LONGEST_STATEMENT, Unusable, read

FACTS = [
    Fact("F1", "network_security", "ws-hr-02 beaconing to 203.0.113.77", "48 contacts every 5.5 min, T1071.001", 0.9),
    Fact("F2", "endpoint_security", "WINWORD.EXE started powershell.exe", "On ws-hr-02 as l.brandt", 0.8),
]


def _read(*sentences, **more):
    rows = [{"text": text, "cites": list(cites)} for text, cites in sentences]
    return read(json.dumps({"summary": rows} | more), FACTS)


def test_sentences_that_their_findings_bear_out_stand():
    reading = _read(("ws-hr-02 calls 203.0.113.77 every 5.5 min.", ["F1"]), ("F2 may be how it began.", ["F1", "F2"]))
    assert [one.cites for one in reading.summary] == [("F1",), ("F1", "F2")]
    assert reading.dropped == ()


@pytest.mark.parametrize(
    "text",
    [
        "ws-hr-02 calls 198.51.100.9.",
        "ws-hr-02 calls 198[.]51[.]100[.]9.",
        "It is evil.example again.",
        "It is evil[.]example again.",
        "Written by m.black@evil.example.",
        "Technique T1486 was seen.",
        "The file mimikatz.exe ran.",
        "900 contacts were counted.",
        "Hash 0123456789abcdef0123456789abcdef was seen.",
        "CVE-2026-12345 was used.",
        "powershell.exe started.",
        "2001:db8::7 was called.",
    ],
)
def test_what_no_cited_finding_names_drops_the_sentence(text):
    reading = _read(("ws-hr-02 beacons.", ["F1"]), (text, ["F1"]))
    assert len(reading.summary) == 1
    assert len(reading.dropped) == 1


@pytest.mark.parametrize("cites", [[], ["F9"], ["F1", "F9"], ["f1"], ["F1; DROP"]])
def test_a_citation_of_nothing_drops_the_sentence(cites):
    reading = _read(("It beacons.", ["F1"]), ("It beacons.", cites))
    assert (len(reading.summary), len(reading.dropped)) == (1, 1)


def test_the_ranking_keeps_what_exists_once_and_in_its_order():
    assert _read(("It beacons.", ["F1"]), ranking=["F2", "F7", "F2", "F1"]).ranking == ("F2", "F1")


def test_a_summary_of_which_nothing_stands_is_no_answer():
    with pytest.raises(Unusable, match="no sentence"):
        _read(("It is evil.example.", ["F1"]))


def test_long_and_many_sentences_are_cut():
    reading = _read(*(("word " * 500, ["F1"]) for _ in range(20)))
    assert len(reading.summary) == 6
    assert all(len(one.text) <= LONGEST_STATEMENT + 1 for one in reading.summary)


def test_control_characters_and_reversed_text_do_not_come_through():
    [one] = _read(("It\x1b beacons\u202e\nagain", ["F1"])).summary
    assert not set(one.text) & {"\x1b", "\u202e", "\n"}


def test_a_fence_around_the_json_is_no_fault():
    assert read('```json\n{"summary": [{"text": "It beacons.", "cites": ["F1"]}]}\n```', FACTS).summary


@given(
    st.one_of(st.text(), st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists).map(json.dumps))
)
def test_whatever_comes_is_unusable_and_nothing_else(answer):
    with pytest.raises(Unusable):
        read(answer, FACTS)


@given(
    st.dictionaries(
        st.sampled_from(["summary", "ranking", "hypotheses", "severity"]),
        st.lists(
            st.text()
            | st.fixed_dictionaries({"text": st.text(), "cites": st.lists(st.sampled_from(["F1", "F2", "F3", ""]))})
        ),
    )
)
def test_what_stands_cites_known_findings_alone(answer):
    try:
        reading = read(json.dumps(answer), FACTS)
    except Unusable:
        return
    assert all(set(one.cites) <= {"F1", "F2"} and one.cites for one in (*reading.summary, *reading.hypotheses))
