"""What a limited response tells its caller."""

from __future__ import annotations

import re

import pytest

from aurora.resilience.ratelimit import Decision, Policy, Standing
from aurora.rest.limit_headers import headers_for, refusal_sentence

GENERAL = Policy("general", 100, 60)
INVESTIGATIONS = Policy("investigations", 10, 60)
ADMITTED = Decision(True, 0, (Standing(GENERAL, 87, 42),), is_local=False)
REFUSED = Decision(False, 17, (Standing(GENERAL, 87, 42), Standing(INVESTIGATIONS, 0, 17)), is_local=False)

# RFC 9651, as far as the draft uses it: a list of strings with integer parameters.
_ITEM = r'"[ !#-\[\]-~]*"(;[a-z*][a-z0-9_.*-]*=-?[0-9]{1,15})*'
STRUCTURED_LIST = re.compile(rf"{_ITEM}([ \t]*,[ \t]*{_ITEM})*")


def test_an_admitted_response_tells_policy_and_standing():
    assert headers_for(ADMITTED) == {
        "RateLimit-Policy": '"general";q=100;w=60',
        "RateLimit": '"general";r=87;t=42',
    }


def test_a_refused_response_tells_every_policy_and_when_to_come_back():
    assert headers_for(REFUSED) == {
        "RateLimit-Policy": '"general";q=100;w=60, "investigations";q=10;w=60',
        "RateLimit": '"general";r=87;t=42, "investigations";r=0;t=17',
        "Retry-After": "17",
    }


@pytest.mark.parametrize("decision", [ADMITTED, REFUSED])
def test_both_fields_are_structured_field_lists(decision):
    fields = headers_for(decision)
    assert STRUCTURED_LIST.fullmatch(fields["RateLimit-Policy"])
    assert STRUCTURED_LIST.fullmatch(fields["RateLimit"])


def test_a_response_to_which_no_policy_applied_has_no_fields():
    assert headers_for(Decision(True, 0, (), is_local=False)) == {}


@pytest.mark.parametrize("seconds", [1, 42])
def test_the_sentence_has_the_number_of_retry_after(seconds):
    decision = REFUSED._replace(retry_after=seconds)
    assert refusal_sentence(decision) == f"Rate limit exceeded. Try again in {seconds} seconds."
    assert headers_for(decision)["Retry-After"] == str(seconds)
