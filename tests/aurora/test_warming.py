"""What a web process does before its first request."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from aurora.standin import demo, opened, source
from aurora.warming import warm_up

pytestmark = pytest.mark.django_db  # the showcase is a database too


@pytest.fixture(autouse=True)
def _collector_as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def test_the_showcase_is_there_before_anybody_needs_it(monkeypatch):
    warm_up()
    monkeypatch.setattr(demo, "build", lambda: pytest.fail("somebody had to wait for it"))
    assert opened.require(source.DEMO) == source.DEMO


def test_where_nothing_is_read_from_it_no_showcase_is_made(monkeypatch, settings):
    settings.DEGRADED_READS = "unavailable"
    monkeypatch.setattr(demo, "build", lambda: pytest.fail("nobody will read it"))
    warm_up()


def test_what_stays_for_good_is_not_gone_through_again_and_again():
    warm_up()
    frozen = gc.get_freeze_count()
    assert frozen > 100_000
    assert len(gc.get_objects()) < frozen / 10
