"""Pauses that grow, and two log lines an outage."""

from __future__ import annotations

from aurora.bus.backoff import FIRST_SECONDS, LONGEST_SECONDS, Backoff

GONE = ConnectionError("gone")


def test_pauses_grow_up_to_the_longest():
    backoff = Backoff("redis", "test")
    pauses = [backoff.failed(GONE) for _ in range(5_000)]
    assert pauses[0] <= FIRST_SECONDS
    assert min(pauses[10:]) >= LONGEST_SECONDS / 2
    assert max(pauses) <= LONGEST_SECONDS


def test_an_outage_is_one_line_and_its_end_another(events):
    backoff = Backoff("redis", "test")
    for _ in range(2):
        backoff.worked()
        backoff.failed(GONE)
        backoff.failed(GONE)
        backoff.worked()
        backoff.worked()
    assert [line["error"] for line in events("neighbour_lost")] == ["gone", "gone"]
    assert [line["attempts"] for line in events("neighbour_back")] == [2, 2]


def test_after_a_success_the_pauses_start_afresh():
    backoff = Backoff("redis", "test")
    for _ in range(10):
        backoff.failed(GONE)
    backoff.worked()
    assert backoff.failed(GONE) <= FIRST_SECONDS
