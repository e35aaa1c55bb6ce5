"""One breaker over real processes: what threads cannot show, the sudden death of a prober first of all."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks import breaker_fleet
from tests.waiting import until

ROOT = Path(__file__).parents[3]


class Remote:
    """A process that holds the breaker and does what it is told."""

    def __init__(self, url: str, reset_timeout: float, probe_lease: float) -> None:
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.aurora.resilience.fleet_process",
                url,
                str(reset_timeout),
                str(probe_lease),
            ],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, word: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()

    def answer(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()

    def ask(self, word: str) -> str:
        self.tell(word)
        return self.answer()

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def start(redis_client, redis_url) -> Iterator[Callable[..., list[Remote]]]:
    started: list[Remote] = []

    def make(count: int, *, reset: float = 3600.0, lease: float = 3600.0) -> list[Remote]:
        fleet = [Remote(redis_url, reset, lease) for _ in range(count)]
        started.extend(fleet)
        return fleet

    yield make
    for remote in started:
        remote.kill()


def fail(remote: Remote, times: int) -> None:
    for _ in range(times):
        assert remote.ask("admit") == "admitted"
        assert remote.ask("fail") == "failed"


def test_two_processes_share_one_breaker_and_a_third_finds_it_open(start):
    one, two = start(2)
    assert two.ask("admit") == "admitted"
    fail(one, 2)
    fail(two, 1)
    until(lambda: one.ask("admit") == "refused")
    assert start(1)[0].ask("admit") == "refused"


def test_of_a_hundred_callers_over_four_processes_exactly_one_probes(start):
    fleet = start(4, reset=0.3)
    fail(fleet[0], 3)
    until(lambda: all(remote.ask("state") == "open" for remote in fleet))

    def storm() -> int:
        for remote in fleet:
            remote.tell("storm")
        return sum(int(remote.answer()) for remote in fleet)

    assert until(storm, every=0.0) == 1
    assert storm() == 0


def test_under_a_storm_of_200_callers_in_8_processes_there_is_one_probe_at_a_time_although_probers_are_killed(
    redis_client, redis_url
):
    rounds = breaker_fleet.storm(redis_url, rounds=6, kill_every=3)
    assert (rounds.most_at_a_time, rounds.wedged, len(rounds.healed_ms)) == (1, 0, 2)
    assert rounds.probes >= 12


@pytest.mark.parametrize(
    ("intervals", "most"),
    [([], 0), ([(1, 2), (2, 3)], 1), ([(1, 3), (2, 4)], 2), ([(1, 9), (2, 3), (4, 5)], 2)],
    ids=["none", "in turn", "overlapping", "within"],
)
def test_probes_that_overlap_are_counted(intervals, most):
    assert breaker_fleet.most_at_a_time(intervals) == most


def test_a_killed_prober_holds_the_probe_only_until_its_lease_ends_whatever_the_traffic(start):
    prober, other = start(2, reset=0.0, lease=0.5)
    fail(prober, 3)
    until(lambda: other.ask("state") == "open")
    began = time.monotonic()
    assert prober.ask("admit") == "admitted"
    prober.kill()
    assert other.ask("admit") == "refused"
    until(lambda: other.ask("admit") == "admitted", every=0.0)
    assert time.monotonic() - began > 0.4
    assert other.ask("succeed") == "succeeded"
    assert other.ask("state") == "closed"
