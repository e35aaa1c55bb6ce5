"""An agent's process killed under 20 dispatches a second from four processes, and brought back.

How soon every process refuses, how soon the agent is served again, and what the API's refusal costs meanwhile. No peer: those of
`benchmarks.breaker` share no state, or not with a process that dies.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import orjson

from benchmarks.figures import Figure, Target, quantile
from benchmarks.installation import ROOT, Installation, Running, free_port, product, serving

OPENED = Target(3, "at most", "ours", "failures")
REFUSED = Target(100, "at most", "ours", "ms")
SERVED = Target(1, "at most", "ours", "s")
ANSWER = Target(10, "at most", "ours", "ms")
TARGETS: tuple[Target, ...] = (OPENED, REFUSED, SERVED, ANSWER)
TYPE, PROCESSES, RATE = "security_analyst", 4, 20
RESET_SECONDS = 5.0
_PATIENCE = 60.0


class Dispatcher:
    """A `benchmarks.dispatcher` and the lines it wrote."""

    def __init__(self, alert_id: str) -> None:
        command = [sys.executable, "-m", "benchmarks.dispatcher", TYPE, alert_id, str(RATE / PROCESSES)]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self._child = subprocess.Popen(command, cwd=ROOT, text=True, **pipes)
        self.lines: list[dict[str, Any]] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._child.stdout
        for line in self._child.stdout:
            self.lines.append(json.loads(line))

    def stop(self) -> None:
        self._child.communicate()


def run(opened: Installation, *, is_quick: bool) -> list[Figure]:
    """Kills the agent once when quick, else five times."""
    with ExitStack() as stack:
        web = stack.enter_context(product())
        alert_id = _alert(web, opened)
        port = free_port()
        _configure(f"http://127.0.0.1:{port}")
        dispatchers = [Dispatcher(alert_id) for _ in range(PROCESSES)]
        for dispatcher in dispatchers:
            stack.callback(dispatcher.stop)
        outages = [_outage(port, dispatchers, web, opened) for _ in range(1 if is_quick else 5)]
    late, failures, back, answers = zip(*outages, strict=True)
    all_answers = [seconds * 1000 for each in answers for seconds in each]
    return [
        Figure("refused in every process after opening", "ms", max(late), target=REFUSED),
        Figure("failures in a row until it opened", "failures", max(failures), target=OPENED),
        Figure(f"served again after it is back, beyond the {RESET_SECONDS:g} s", "s", max(back), target=SERVED),
        Figure("the API's refusal, p50", "ms", quantile(all_answers, 0.5), target=ANSWER),
        Figure("the API's refusal, p99", "ms", quantile(all_answers, 0.99)),
    ]


def _outage(
    port: int, dispatchers: list[Dispatcher], web: Running, opened: Installation
) -> tuple[float, int, float, list[float]]:
    """Milliseconds until the last process refused, failures it took to open, seconds until served again, times of the API's refusals."""
    breaker = _breaker()
    with _agent(port) as agent:
        _until(lambda: all(_since(each, "answered", _seconds_ago(1)) for each in dispatchers))
        os.kill(agent.pid, signal.SIGKILL)
        _until(lambda: breaker._state.status == "open")
    opened_at = time.monotonic_ns()
    counted = breaker.snapshot().failure_count
    answers = _refusals(web, opened)
    time.sleep(1)
    late = [
        line["began"] - opened_at
        for each in dispatchers
        for line in each.lines
        if line["outcome"] != "refused" and line["began"] > opened_at
    ]
    with _agent(port):
        back = time.monotonic_ns()
        due = breaker.snapshot().next_probe_at
        _until(lambda: all(_since(each, "answered", back) for each in dispatchers))
        first = min(line["ended"] for each in dispatchers for line in _since(each, "answered", back))
    assert due is None or counted
    return max(late, default=0) / 1e6, counted, max((first - back) / 1e9 - RESET_SECONDS, 0.0), answers


def _agent(port: int) -> Any:
    command = [sys.executable, "manage.py", "serve_agent", TYPE, "--port", str(port)]
    return serving("agent", command, port, path="/health/live")


def _since(dispatcher: Dispatcher, outcome: str, moment: int) -> list[dict[str, Any]]:
    return [line for line in dispatcher.lines[-200:] if line["outcome"] == outcome and line["ended"] > moment]


def _seconds_ago(seconds: float) -> int:
    return time.monotonic_ns() - int(seconds * 1e9)


def _refusals(web: Running, opened: Installation) -> list[float]:
    """While the breaker is open: seconds of each of 50 answers."""
    headers = {"Authorization": f"Bearer {opened.access_token}", "Content-Type": "application/json"}
    with web.connect() as connection:
        body = orjson.dumps({"agent_type": TYPE, "prompt": "triage"})
        request = connection.request("POST", "/api/v1/orchestrator/dispatch", body, headers)
        return [connection.timed(request, 503) for _ in range(50)]


def _alert(web: Running, opened: Installation) -> str:
    with web.connect() as connection:
        body = orjson.dumps({"title": "bench", "severity": "low", "source": "bench"})
        headers = {"X-API-Key": opened.api_key, "Content-Type": "application/json"}
        _, answer = connection.exchange(connection.request("POST", "/api/v1/alerts", body, headers))
    return str(orjson.loads(answer)["id"])


def _configure(endpoint: str) -> None:
    from agents.models import Agent
    from agents.registry import ensure_agents

    ensure_agents()
    # Enough places for all four processes' dispatches, failing ones included: the bulkhead is not what is measured.
    Agent.objects.filter(pk=TYPE).update(
        transport="a2a", endpoint=endpoint, reset_timeout=RESET_SECONDS, max_concurrency=64
    )


def _breaker() -> Any:
    from agents import registry

    breaker = registry.breaker_of(registry.find(TYPE))
    breaker.snapshot()
    return breaker


def _until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("what the benchmark waits for did not come about")
        time.sleep(0.001)
