"""One process that dispatches to an agent: `python -m benchmarks.dispatcher TYPE ALERT RATE`, until its standard input ends.

Writes a line a dispatch: when it began and ended, in nanoseconds of the machine's monotonic clock, and how: `answered`, `refused`, `failed`.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import django

django.setup()

from agents.builtin.contract import Task  # noqa: E402 - needs Django to be set up
from agents.dispatch import dispatch  # noqa: E402
from aurora.errors import Unavailable  # noqa: E402
from aurora.ids import new_id  # noqa: E402
from aurora.resilience.breaker import BreakerOpen  # noqa: E402

_lock = threading.Lock()


def say(**fields: object) -> None:
    with _lock:
        sys.stdout.write(json.dumps(fields) + "\n")
        sys.stdout.flush()


def once(agent_type: str, alert_id: str) -> None:
    began = time.monotonic_ns()
    task = Task(str(new_id()), agent_type, "triage", alert_id, None, {})
    try:
        dispatch(task=task, think=lambda _text, _data: None)
    except BreakerOpen:
        outcome = "refused"
    except Unavailable:
        outcome = "failed"
    else:
        outcome = "answered"
    say(began=began, ended=time.monotonic_ns(), outcome=outcome)


def main(agent_type: str, alert_id: str, rate: float) -> None:
    over = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        over.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    with ThreadPoolExecutor(16) as pool:
        due = time.monotonic()
        while not over.wait(max(0.0, due - time.monotonic())):
            pool.submit(once, agent_type, alert_id)
            due += 1 / rate


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
