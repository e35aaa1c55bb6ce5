"""Whose quota a request counts against."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora.resilience.ratelimit import identity_of

SAFE = re.compile(r"[A-Za-z0-9._@+:/#-]{1,200}")


def of_address(address: str) -> str:
    return identity_of(api_key_id=None, username=None, address=address)


def of_user(username: str) -> str:
    return identity_of(api_key_id=None, username=username, address="192.0.2.1")


def test_an_api_key_comes_before_its_user_and_a_user_before_the_address():
    assert identity_of(api_key_id="k1", username="amy", address="192.0.2.1") == "key:k1"
    assert identity_of(api_key_id=None, username="amy", address="192.0.2.1") == "user:amy"
    assert identity_of(api_key_id=None, username=None, address="192.0.2.1") == "address:192.0.2.1"
    assert identity_of(api_key_id="", username="", address="192.0.2.1") == "address:192.0.2.1"


@pytest.mark.parametrize(
    ("address", "counted_as"),
    [
        ("2001:db8:1:2:3:4:5:6", "address:2001:db8:1:2::/64"),
        ("2001:DB8:1:2::", "address:2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "address:192.0.2.1"),
        ("::1", "address:::/64"),
        ("fe80::1%eth0", "address:fe80::/64"),
    ],
)
def test_an_ipv6_address_stands_for_its_network(address, counted_as):
    assert of_address(address) == counted_as


def test_neighbouring_ipv6_networks_count_apart():
    assert of_address("2001:db8:0:1::1") != of_address("2001:db8:0:2::1")


@pytest.mark.parametrize(
    "text", ["", "{}", "a}:general", "a b", "x\r\ny", "\0", "\ud800", "x" * 10**6, "名前", "1.2.3.4, 5.6.7.8"]
)
def test_hostile_text_becomes_a_safe_identity(text):
    assert SAFE.fullmatch(of_user(text))
    assert SAFE.fullmatch(of_address(text))


@given(st.text(), st.text())
def test_two_users_never_share_an_identity(one, other):
    if one and other and one != other:
        assert of_user(one) != of_user(other)


@given(st.text(min_size=1))
def test_no_user_can_pass_for_a_key_or_an_address(name):
    others = {
        identity_of(api_key_id=name, username=None, address=""),
        of_address(name),
        of_address("192.0.2.1"),
    }
    assert of_user(name) not in others


def test_a_user_named_like_a_digest_is_not_that_digest():
    digest = of_user("{hostile}")
    assert of_user(digest) == f"user:{digest}"
