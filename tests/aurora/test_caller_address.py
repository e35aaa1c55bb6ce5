"""Whose address a request is counted and audited under."""

from __future__ import annotations

import pytest
from django.test import RequestFactory

from aurora.rest.auth import address_of

PROXY, CALLER = "10.0.0.1", "203.0.113.9"


def _asked(peer: str, forwarded: str) -> str:
    return address_of(RequestFactory().get("/", REMOTE_ADDR=peer, HTTP_X_FORWARDED_FOR=forwarded))


def test_nobody_is_believed_unless_named(settings):
    settings.TRUSTED_PROXIES = []
    assert _asked(PROXY, CALLER) == PROXY


@pytest.mark.parametrize("peer", [PROXY, f"::ffff:{PROXY}"])
def test_a_trusted_proxy_is_believed(settings, peer):
    settings.TRUSTED_PROXIES = ["10.0.0.0/8"]
    assert _asked(peer, CALLER) == CALLER


def test_what_the_caller_put_before_its_own_address_is_not_believed(settings):
    settings.TRUSTED_PROXIES = ["10.0.0.0/8"]
    assert _asked(PROXY, f"198.51.100.1, {CALLER}, 10.0.0.2") == CALLER


@pytest.mark.parametrize("forwarded", ["", "unknown", "10.0.0.2", "<script>"])
def test_without_an_address_of_the_caller_the_peer_counts(settings, forwarded):
    settings.TRUSTED_PROXIES = ["10.0.0.0/8"]
    assert _asked(PROXY, forwarded) == PROXY


@pytest.mark.parametrize(
    ("forwarded", "address"), [(f"fe80::1%{'z' * 500}", "fe80::1"), ("2001:DB8::0:9", "2001:db8::9")]
)
def test_an_address_is_told_in_its_one_form_and_without_its_zone(settings, forwarded, address):
    settings.TRUSTED_PROXIES = ["10.0.0.0/8"]
    assert _asked(PROXY, forwarded) == address
