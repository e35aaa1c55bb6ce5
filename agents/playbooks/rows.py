"""The rows that every step reads and writes, by hand: composing these statements through the ORM takes longer than PostgreSQL with all of them.

Statements that do not wait for each other's answers travel together (`aurora.statements`), so that a step costs few round trips. What happens
seldom (approvals, connectors being configured, pages) stays with the ORM.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from datetime import timedelta
from itertools import islice
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

from django.contrib.auth.models import User
from django.db import DEFAULT_DB_ALIAS, models

from agents.playbooks.models import ActionSlot, Approval, Connector, Execution, ExecutionStep, Playbook, PlaybookVersion
from agents.playbooks.states import ENDED_EXECUTIONS
from aurora import statements
from cases.models import Case

M = TypeVar("M", bound=models.Model)


class _Columns(Generic[M]):
    """One model's columns within a row that may hold those of several. What is left out is read when somebody asks for it."""

    def __init__(
        self, model: type[M], alias: str, *, only: Collection[str] = (), without: Collection[str] = ()
    ) -> None:
        fields = [field for field in model._meta.concrete_fields if not only or field.name in only]
        fields = [field for field in fields if field.name not in without]
        self.text = ", ".join(f"{alias}.{field.column}" for field in fields)
        self._model, self._names = model, [field.attname for field in fields]
        self._json = [place for place, field in enumerate(fields) if isinstance(field, models.JSONField)]

    def read(self, row: Iterator[Any]) -> M | None:
        """The model's instance from the next values of the row; None where an outer join found nothing."""
        values = list(islice(row, len(self._names)))
        if values[0] is None:
            return None
        for place in self._json:
            values[place] = json.loads(values[place])  # as Django does: orjson makes floats of the largest integers
        return self._model.from_db(DEFAULT_DB_ALIAS, self._names, values)


# A version's texts are large, and `runs.plan_of` knows what they say; what a case is about at length, no step needs.
_RUN = _Columns(Execution, "run")
_PLAYBOOK = _Columns(Playbook, "playbook", only=("id", "name", "title"))
_VERSION = _Columns(PlaybookVersion, "version", only=("id", "number"))
_CASE = _Columns(Case, "about", without=("description", "resolution"))
_ASSIGNEE = _Columns(User, "assignee", only=("id", "username"))
_STEP = _Columns(ExecutionStep, "step")
_CONNECTOR = _Columns(Connector, "connector")

_RUNS, _STEPS, _SLOTS = (model._meta.db_table for model in (Execution, ExecutionStep, ActionSlot))
_ITS_RUN = f"(SELECT execution_id FROM {_STEPS} WHERE id = %(id)s)"

# Three statements and not one: a statement that has waited for a row sees that row as it is now, and all others as they were before.
_LOCK = f"SELECT FROM {_RUNS} WHERE id = %(id)s FOR UPDATE"
_READ_RUN = f"""
    SELECT {_RUN.text}, {_PLAYBOOK.text}, {_VERSION.text}, {_CASE.text}, {_ASSIGNEE.text} FROM {_RUNS} AS run
    JOIN {Playbook._meta.db_table} AS playbook ON playbook.id = run.playbook_id
    JOIN {PlaybookVersion._meta.db_table} AS version ON version.id = run.version_id
    LEFT JOIN {Case._meta.db_table} AS about ON about.id = run.case_id
    LEFT JOIN {User._meta.db_table} AS assignee ON assignee.id = about.assignee_id
    WHERE run.id = %(id)s
"""
# The newest question has the greatest id; compared as texts, for not every PostgreSQL knows a greatest UUID.
_READ_STEPS = f"""
    SELECT (SELECT max(id::text) FROM {Approval._meta.db_table} WHERE step_id = step.id), {_STEP.text}
    FROM {_STEPS} AS step WHERE execution_id = %(id)s ORDER BY position
"""
_LOCK_BY_STEP, _READ_RUN_BY_STEP, _READ_STEPS_BY_STEP = (
    text.replace("%(id)s", _ITS_RUN) for text in (_LOCK, _READ_RUN, _READ_STEPS)
)
_SERVING = f"""
    SELECT {_CONNECTOR.text} FROM {Connector._meta.db_table} AS connector
    WHERE enabled AND actions ? %(action)s AND (%(name)s::text IS NULL OR name = %(name)s)
    ORDER BY priority, name LIMIT 1
"""
# A lease lasts from the moment at which it is written, however long the transaction has waited for the run before.
_LEASE = f"""
    UPDATE {_STEPS} SET status = %s, undo = %s, parameters = %s::text::jsonb, lease = %s,
        lease_until = statement_timestamp() + %s, attempts = attempts + 1, started_at = coalesce(started_at, statement_timestamp()), note = ''
    WHERE id = %s
"""
_WRITTEN = (
    *("status", "parameters", "result", "error", "note", "undo", "undo_result"),
    *("settled_as", "lease", "lease_until", "queued_at", "finished_at"),
)
# One statement: each more costs as much again in being sent as in being done. The run of the steps is named so that its few are looked at: how many
# rows a JSON text holds, the planner guesses too high, and reads the whole table.
_WRITE = f"""
    WITH freed AS (DELETE FROM {_SLOTS} WHERE step_id = ANY(%(freed)s::uuid[]) AND (%(is_over)s OR NOT is_for_run)),
    written AS (
        UPDATE {_STEPS} AS step SET {", ".join(f"{name} = new.{name}" for name in _WRITTEN)}
        FROM json_populate_recordset(NULL::{_STEPS}, %(steps)s::json) AS new
        WHERE step.id = new.id AND step.execution_id = %(id)s
    )
    UPDATE {_RUNS} SET status = %(status)s, course = %(course)s, is_paused = %(is_paused)s, summary = %(summary)s,
        settled_count = %(settled_count)s, started_at = %(started_at)s, finished_at = %(finished_at)s
    WHERE id = %(id)s
"""


class Held(NamedTuple):
    """A run that nobody else changes until the transaction ends, with its playbook, version and case; and all of its steps, in their order."""

    execution: Execution
    steps: list[ExecutionStep]

    def step(self, step_id: UUID) -> ExecutionStep:
        return next(step for step in self.steps if str(step.pk) == str(step_id))


def hold(execution_id: UUID) -> Held | None:
    """The run, as soon as nobody else has it; None when there is none."""
    return _held(execution_id, _LOCK, _READ_RUN, _READ_STEPS)


def hold_by_step(step_id: UUID) -> Held | None:
    """As `hold`, the run that the step belongs to."""
    return _held(step_id, _LOCK_BY_STEP, _READ_RUN_BY_STEP, _READ_STEPS_BY_STEP)


def connector_serving(action: str, name: str | None) -> Connector | None:
    """The first that is enabled and serves the action, of that name if one is given."""
    with statements.cursor() as cursor:
        row = cursor.execute(_SERVING, {"action": action, "name": name}).fetchone()
    return _CONNECTOR.read(iter(row)) if row else None


def write_lease(step: ExecutionStep, *, lease: UUID, seconds: float) -> None:
    """The claim: one more attempt at a step, or at its rollback, which is the lease's holder's for so long. Its run is held."""
    values = (step.status, step.undo, _json(step.parameters), lease, timedelta(seconds=seconds))
    with statements.cursor() as cursor:
        cursor.execute(_LEASE, [*values, step.id])


def write(execution: Execution, steps: Iterable[ExecutionStep] = (), *, freed: Iterable[ExecutionStep] = ()) -> None:
    """How a held run stands now, and those of its steps that are given, all but what only a claim changes of them.

    The `freed` give back the slots they have taken; what is kept for the run, only when that has ended.
    """
    given = [{"id": step.id, **{name: getattr(step, name) for name in _WRITTEN}} for step in steps]
    values = {
        "id": execution.id,
        "status": execution.status,
        "course": execution.course,
        "is_paused": execution.is_paused,
        "summary": execution.summary,
        "settled_count": execution.settled_count,
        "started_at": execution.started_at,
        "finished_at": execution.finished_at,
        "steps": _json(given),
        "freed": [step.id for step in freed],
        "is_over": execution.status in ENDED_EXECUTIONS,
    }
    with statements.cursor() as cursor:
        cursor.execute(_WRITE, values)


def _json(value: Any) -> str:
    # Not orjson, which refuses the integers of more than 64 bits that a target may answer with.
    return json.dumps(value, default=str)


def _held(key: UUID, *texts: str) -> Held | None:
    with statements.cursor() as lock, statements.cursor() as run, statements.cursor() as steps:
        with statements.pipeline():
            for cursor, text in zip((lock, run, steps), texts, strict=True):
                cursor.execute(text, {"id": key})
        # Asked for within the pipeline, the answers would cost further round trips.
        row = run.fetchone()
        if row is None:
            return None
        execution = _run(iter(row))
        return Held(execution, _steps(execution, steps.fetchall()))


def _run(row: Iterator[Any]) -> Execution:
    execution, playbook, version = _RUN.read(row), _PLAYBOOK.read(row), _VERSION.read(row)
    case, assignee = _CASE.read(row), _ASSIGNEE.read(row)
    assert execution is not None  # noqa: S101 - it has an id
    if case is not None:
        case.assignee = assignee
    execution.playbook, execution.version, execution.case = playbook, version, case  # type: ignore[assignment]
    return execution


def _steps(execution: Execution, rows: Iterable[tuple[Any, ...]]) -> list[ExecutionStep]:
    steps = []
    for approval_id, *values in rows:
        step = _STEP.read(iter(values))
        assert step is not None  # noqa: S101 - it has an id
        step.execution, step.approval_id = execution, approval_id and UUID(approval_id)  # type: ignore[attr-defined]
        steps.append(step)
    return steps
