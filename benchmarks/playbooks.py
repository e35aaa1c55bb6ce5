"""Steps of playbooks: how many a second one, two and four worker processes bring to their end, and what a step costs beside its least.

The peer of a step does what no engine can leave out: claims a row by a conditional update and commits, has the same effect, writes the outcome and
commits. Ours locks the run, evaluates, takes slots, keeps a lease, writes the case's timeline, and announces. Both by turns, in this process, over
the same connection.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from uuid import UUID, uuid4

import orjson

from benchmarks.figures import Figure, Target, median
from benchmarks.installation import Installation, process

STEP = Target(3, "at most", "ratio")
TARGETS: tuple[Target, ...] = (STEP,)
WORKERS = (1, 2, 4)
STEPS = 5
_PATIENCE = 300.0


def run(opened: Installation, *, is_quick: bool) -> list[Figure]:
    """One round of each when quick."""
    playbook_id = _playbook()
    ours, bare = _beside(playbook_id, rounds=1 if is_quick else 12)
    found = [Figure("a step", "ms", ours * 1000, "bare claim-and-commit", bare * 1000, STEP)]
    runs = 4 if is_quick else 120
    for workers in WORKERS:
        rate = _rate(playbook_id, runs, workers)
        found.append(Figure(f"steps a second, {workers} worker{'s' if workers > 1 else ''}", "steps/s", rate))
    return found


def _playbook() -> UUID:
    from agents.playbooks import authoring
    from aurora.actors import system

    steps = [
        {"name": f"block {number}", "action": "block_ip", "parameters": {"targets": [f"198.51.100.{number}"]}}
        for number in range(1, STEPS + 1)
    ]
    definition, source = authoring.defined({"name": "bench", "steps": steps})
    return authoring.write_playbook(definition=definition, source=source, actor=system("bench")).id


def _begin(playbook_id: UUID) -> Any:
    """A run over a case of its own."""
    from agents.playbooks import executions
    from aurora.actors import system
    from cases.lifecycle import open_case

    actor = system("bench")
    case = open_case(title="Bench", severity="low", actor=actor)
    return executions.execute(playbook_id=playbook_id, case_id=case.id, actor=actor)


def _beside(playbook_id: UUID, *, rounds: int) -> tuple[float, float]:
    """Seconds a step, ours and bare: the median of the rounds, a run's steps each, by turns."""
    ours, bare = [], []
    for _ in range(rounds + 1):
        ours.append(_ours(playbook_id))
        bare.append(_bare(playbook_id))
    return median(ours[1:]), median(bare[1:])


def _ours(playbook_id: UUID) -> float:
    from agents.playbooks import engine
    from agents.playbooks.models import ExecutionStep

    execution, seconds = _begin(playbook_id), 0.0
    for step_id in list(ExecutionStep.objects.filter(execution=execution).order_by("position").values_list("pk")):
        began = time.perf_counter()
        engine.run_step(step_id=step_id[0])
        seconds += time.perf_counter() - began
    _require_all_done(execution)
    return seconds / STEPS


def _bare(playbook_id: UUID) -> float:
    from agents.playbooks.actions import blocklist
    from agents.playbooks.actions.contract import Order, Wired
    from agents.playbooks.models import ExecutionStep
    from agents.playbooks.runs import plan_of

    execution, seconds = _begin(playbook_id), 0.0
    plan, wired = plan_of(execution), Wired(uuid4(), "bare", blocklist.Settings())
    for step in ExecutionStep.objects.filter(execution=execution).order_by("position"):
        order = Order("block_ip", str(step.pk), plan[step.name].step.parameters)
        began = time.perf_counter()
        _claim(step.pk)
        _finish(step.pk, blocklist.act(order, wired))
        seconds += time.perf_counter() - began
    _require_all_done(execution)
    return seconds / STEPS


def _claim(step_id: UUID) -> None:
    _commit(
        "UPDATE agents_executionstep SET status = 'running', lease = %s, lease_until = now() + interval '30 s'"
        " WHERE id = %s AND status IN ('pending', 'queued')",
        [uuid4(), step_id],
    )


def _finish(step_id: UUID, result: dict[str, Any]) -> None:
    _commit(
        "UPDATE agents_executionstep SET status = 'completed', result = %s::jsonb, finished_at = now(), lease = NULL"
        " WHERE id = %s AND status = 'running'",
        [orjson.dumps(result).decode(), step_id],
    )


def _commit(statement: str, values: list[Any]) -> None:
    from django.db import connection, transaction

    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement, values)
        assert cursor.rowcount == 1


def _require_all_done(execution: Any) -> None:
    assert set(execution.steps.values_list("status", flat=True)) == {"completed"}


def _rate(playbook_id: UUID, runs: int, workers: int) -> float:
    """Steps a second from the first that has begun to the last that has ended, by so many processes beside one relay.

    The relay comes last, when every worker listens: else starting them would be measured too, and the more of them the more.
    """
    from django.db.models import Max, Min

    from agents.playbooks.models import Execution, ExecutionStep
    from agents.playbooks.states import ENDED_EXECUTIONS

    # What other figures left on the bus and in the table is none of this one's.
    executions = [_begin(playbook_id).id for _ in range(runs)]
    with ExitStack() as stack:
        for _ in range(workers):
            stack.enter_context(process("playbooks", [sys.executable, "manage.py", "work", "playbooks"]))
        _until(lambda: _listening() == workers, "the workers did not listen")
        stack.enter_context(process("relay", [sys.executable, "manage.py", "work", "relay"]))
        under_way = Execution.objects.filter(pk__in=executions).exclude(status__in=ENDED_EXECUTIONS)
        _until(lambda: not under_way.exists(), "the runs did not end")
    rows = ExecutionStep.objects.filter(execution__in=executions)
    times = rows.aggregate(began=Min("started_at"), ended=Max("finished_at"))
    assert not rows.exclude(status="completed").exists()
    return float(rows.count() / (times["ended"] - times["began"]).total_seconds())


def _listening() -> int:
    """Processes that wait for messages: nothing else here blocks in Redis."""
    from aurora.bus.redis import Purpose, client

    return int(client(Purpose.COMMAND).info("clients")["blocked_clients"])


def _until(condition: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(otherwise)
        time.sleep(0.05)
