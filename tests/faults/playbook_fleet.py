"""A fleet of real worker processes over many runs, some of them killed again and again: `python -m tests.faults.playbook_fleet RUNS KILLS` in an
environment that names a migrated database and a Redis. Prints what came of it; ends with 1 when a run is stuck or an effect doubled or skipped.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_FLEET = ("relay", "playbooks", "scheduler")


class Target:
    """A receiver that honours keys: it counts how often each was told, and has its effect once."""

    def __init__(self) -> None:
        self.told: Counter[str] = Counter()
        self._lock = threading.Lock()
        target = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                with target._lock:
                    target.told[self.headers["Idempotency-Key"]] += 1
                with contextlib.suppress(OSError):
                    self.send_response(200)
                    self.send_header("Content-Length", "2")
                    self.end_headers()
                    self.wfile.write(b"{}")

            def log_message(self, *_: object) -> None:
                """Quietly."""

        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.httpd.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.httpd.server_port}/"
        threading.Thread(target=self.httpd.serve_forever, daemon=True).start()


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it. `repeated` were told more than once, which a target that honours keys does not mind."""

    runs: int
    kills: int
    stuck: int
    skipped: int
    strange: int
    repeated: int

    @property
    def is_well(self) -> bool:
        return self.stuck == self.skipped == self.strange == 0


def run(runs: int, kills: int, environment: dict[str, str], *, workers: int = 2, seed: int = 7) -> Result:
    """`runs` runs of four steps by `workers` processes, of which a random one is killed `kills` times. Django is set up, the tables are empty."""
    from agents.playbooks.models import Execution, ExecutionStep
    from agents.playbooks.states import ENDED_EXECUTIONS
    from tests.waiting import until

    target, chance = Target(), random.Random(seed)
    executions = _begin(runs, target.url)
    fleet = [_worker(environment) for _ in range(workers)]
    try:
        for number in range(kills):
            wanted = ExecutionStep.objects.count() * (number + 1) // (kills + 2)
            until(partial(_has_settled, wanted), 120, every=0.02)
            victim = chance.randrange(workers)
            fleet[victim].kill()
            fleet[victim].wait()
            fleet[victim] = _worker(environment)
        with contextlib.suppress(AssertionError):
            until(lambda: not Execution.objects.exclude(status__in=ENDED_EXECUTIONS).exists(), 180, every=0.1)
    finally:
        for process in fleet:
            process.send_signal(signal.SIGTERM)
        for process in fleet:
            process.wait(30)
        target.httpd.shutdown()
        target.httpd.server_close()
    keys = {str(key) for key in ExecutionStep.objects.filter(execution__in=executions).values_list("pk", flat=True)}
    return Result(
        runs=runs,
        kills=kills,
        stuck=Execution.objects.exclude(status="completed").count(),
        skipped=len(keys - target.told.keys()),
        strange=len(target.told.keys() - keys),
        repeated=sum(times > 1 for times in target.told.values()),
    )


def _begin(runs: int, url: str) -> list[Any]:
    from agents.playbooks import authoring, connectors, executions
    from aurora.actors import system
    from cases.lifecycle import open_case

    operator = system("fleet")
    changes = {"settings": {"url": url, "secret": "a-secret-of-twenty-one"}, "max_in_flight": 16, "priority": 1}
    connectors.configure(name="target", kind="webhook", changes=changes, actor=operator)
    tell = {"action": "notify", "parameters": {"text": "{{ case.reference }}"}}
    branches = {"parallel": [[{"name": "left", **tell}], [{"name": "right", **tell}]]}
    body = {"name": "fleet", "steps": [{"name": "first", **tell}, branches, {"name": "last", **tell}]}
    definition, source = authoring.defined(body)
    playbook = authoring.write_playbook(definition=definition, source=source, actor=operator)
    case = open_case(title="Fleet", severity="low", actor=operator)
    return [executions.execute(playbook_id=playbook.id, case_id=case.id, actor=operator) for _ in range(runs)]


def _has_settled(wanted: int) -> bool:
    from agents.playbooks.models import ExecutionStep

    return ExecutionStep.objects.filter(finished_at__isnull=False).count() >= wanted


def _worker(environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "manage.py", "work", *_FLEET],
        cwd=ROOT,
        env={
            **environment,
            "AURORA_BUS_CLAIM_SECONDS": "1",
            "AURORA_CONNECTOR_NETWORKS": "127.0.0.0/8",
            "AURORA_BUS_MAX_DELIVERIES": "100",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def main() -> int:
    """Over an installation of its own, as the benchmarks make one."""
    from benchmarks import installation

    runs, kills = (int(argument) for argument in sys.argv[1:3])
    with installation.opened():
        result = run(runs, kills, dict(os.environ))
    sys.stdout.write(f"{result}\n")
    return 0 if result.is_well else 1


if __name__ == "__main__":
    sys.exit(main())
