"""Addresses from text."""

from __future__ import annotations

import pytest

from aurora.addresses import address_or_none


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.0.0.7", "10.0.0.7"),
        ("::ffff:10.0.0.7", "10.0.0.7"),
        ("fe80::1%eth0", "fe80::1"),
        ("2001:DB8::1", "2001:db8::1"),
    ],
)
def test_an_address_has_one_spelling(text, address):
    assert str(address_or_none(text)) == address


@pytest.mark.parametrize("text", ["", "10.0.0", "10.0.0.256", "evil.example", "10.0.0.7%eth0", "::1::", "1" * 5000])
def test_anything_else_is_none(text):
    assert address_or_none(text) is None
