"""Secrets at rest."""

from __future__ import annotations

import pytest

from aurora.errors import Conflict
from aurora.sealing import seal, unseal


def test_what_was_sealed_is_opened_and_does_not_show():
    sealed = seal("s3cret", purpose="test")
    assert "s3cret" not in sealed
    assert unseal(sealed, purpose="test") == "s3cret"


def test_the_same_secret_looks_different_each_time():
    assert seal("s3cret", purpose="test") != seal("s3cret", purpose="test")


def test_nothing_is_opened_as_something_else():
    with pytest.raises(Conflict):
        unseal(seal("s3cret", purpose="one"), purpose="other")


def test_another_secret_key_opens_nothing(settings):
    sealed = seal("s3cret", purpose="test")
    settings.SECRET_KEY = "x" * 60
    with pytest.raises(Conflict, match="set it again"):
        unseal(sealed, purpose="test")


@pytest.mark.parametrize("altered", ["", "x", "gAAAAA"], ids=["empty", "short", "cut"])
def test_what_was_altered_is_refused(altered):
    with pytest.raises(Conflict):
        unseal(altered, purpose="test")
