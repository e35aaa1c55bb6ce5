"""Places for calls: how many, who waits, who is sent away."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import pytest

from aurora.resilience.bulkhead import Bulkhead, BulkheadFull, Bulkheads
from tests.waiting import until


@pytest.fixture
def bulkhead() -> Bulkhead:
    return Bulkhead("agent")


def test_as_many_as_there_are_places_come_in_and_the_next_is_sent_away_at_once(bulkhead):
    with ExitStack() as inside:
        for _ in range(3):
            inside.enter_context(bulkhead.place(limit=3))
        with pytest.raises(BulkheadFull) as refused, bulkhead.place(limit=3):
            pass
    assert refused.value.retry_after == 1.0
    with bulkhead.place(limit=3):
        pass


def test_one_who_waits_comes_in_when_a_place_is_free(bulkhead):
    entered = threading.Event()

    def wait():
        with bulkhead.place(limit=1, queue=1, wait=60):
            entered.set()

    with bulkhead.place(limit=1):
        thread = threading.Thread(target=wait)
        thread.start()
        until(lambda: bulkhead._waiting == 1)
        assert not entered.is_set()
    thread.join()
    assert entered.is_set()


def test_the_queue_is_bounded(bulkhead):
    with bulkhead.place(limit=1):
        thread = threading.Thread(target=lambda: bulkhead.place(limit=1, queue=1, wait=60).__enter__())
        thread.start()
        until(lambda: bulkhead._waiting == 1)
        with pytest.raises(BulkheadFull), bulkhead.place(limit=1, queue=1, wait=60):
            pass
    thread.join()


def test_the_wait_is_bounded_and_leaves_no_trace(bulkhead):
    with bulkhead.place(limit=1):
        with pytest.raises(BulkheadFull), bulkhead.place(limit=1, queue=1, wait=0.01):
            pass
        assert bulkhead._waiting == 0


def test_a_call_that_goes_on_after_its_caller_keeps_a_place(bulkhead):
    bulkhead.overstay(1)
    with pytest.raises(BulkheadFull), bulkhead.place(limit=1):
        pass
    bulkhead.overstay(-1)
    with bulkhead.place(limit=1):
        pass


def test_a_call_that_raises_gives_its_place_back(bulkhead):
    with pytest.raises(RuntimeError), bulkhead.place(limit=1):
        raise RuntimeError
    with bulkhead.place(limit=1):
        pass


def test_a_changed_limit_holds_from_the_next_call(bulkhead):
    with bulkhead.place(limit=1), bulkhead.place(limit=2), pytest.raises(BulkheadFull), bulkhead.place(limit=2):
        pass


def test_each_name_has_its_own():
    known = Bulkheads()
    assert known.of("a") is known.of("a")
    assert known.of("a") is not known.of("b")
