"""What must not be done twice at once, over all workers: a slot is a row, and whoever inserted it has it.

Per site (an installation is one) one isolation, one revocation and one credential reset are in flight. A host is isolated by one run at a time, and
stays that run's until the run has ended: were another to isolate it meanwhile, the first one's rollback would reconnect it. Of a connector, as
many calls run at once as it is configured for, unless its target is our own database. They are given back with the step's end (`runs`).
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from django.db import connection, transaction

from agents.playbooks.connectors import OWN
from agents.playbooks.models import ActionSlot, Connector, ExecutionStep
from aurora.texts import words

_OURS = frozenset(kind for kind, _ in OWN)
"""Connectors whose target is our own database, which needs no protection from too many calls at once."""
_ONE_AT_A_SITE = frozenset({"isolate_host", "revoke_certificate", "disable_user"})
_TAKE = f"""
    INSERT INTO {ActionSlot._meta.db_table} (name, step_id, is_for_run, taken_at) VALUES (%s, %s, %s, now())
    ON CONFLICT (name) DO UPDATE SET is_for_run = excluded.is_for_run
    WHERE {ActionSlot._meta.db_table}.step_id = excluded.step_id
    RETURNING name
"""
_TAKE_A_CALL = f"""
    INSERT INTO {ActionSlot._meta.db_table} (name, step_id, is_for_run, taken_at)
    SELECT %(prefix)s || place, %(step)s, false, now() FROM generate_series(0, %(last)s) AS place
    WHERE NOT EXISTS (SELECT FROM {ActionSlot._meta.db_table}
        WHERE name = %(prefix)s || place OR (step_id = %(step)s AND starts_with(name, %(prefix)s)))
    ORDER BY random() LIMIT 1
    ON CONFLICT (name) DO NOTHING
    RETURNING name
"""
_CALLS = f"""
    SELECT coalesce(bool_or(step_id = %(step)s), false), count(*) FROM {ActionSlot._meta.db_table}
    WHERE starts_with(name, %(prefix)s)
"""


class _TakenError(Exception):
    """Another step has it; taking is undone as a whole."""


def take(step: ExecutionStep, connector: Connector) -> str:
    """Takes all slots that the step needs; empty, or what it has to wait for, and then it has taken none. In a transaction.

    Names are taken in their order, and one that another transaction is just taking is waited for: no two steps wait for each other.
    """
    fixed = sorted(_fixed(step))
    if connector.kind in _OURS and not fixed:
        return ""
    busy = f"a free call of {connector.name}"
    if not fixed:
        return "" if _has_a_call(step, connector) else busy
    try:
        with transaction.atomic():
            for name, is_for_run in fixed:
                if not _has(name, step, is_for_run=is_for_run):
                    raise _TakenError(_spoken(name))
            if connector.kind not in _OURS and not _has_a_call(step, connector):
                raise _TakenError(busy)
    except _TakenError as taken:
        return str(taken)
    return ""


def _has_a_call(step: ExecutionStep, connector: Connector) -> bool:
    """Takes one of the connector's places, or finds that the step has one. False when all are taken."""
    values: dict[str, str | int | UUID] = {
        "prefix": f"connector:{connector.id}:",
        "step": step.pk,
        "last": connector.max_in_flight - 1,
    }
    with connection.cursor() as cursor:
        # A place that is just being taken is waited for and then gone: each round has one fewer to find.
        for _ in range(connector.max_in_flight):
            cursor.execute(_TAKE_A_CALL, values)
            if cursor.fetchone():
                return True
            cursor.execute(_CALLS, values)
            is_ours, taken = cursor.fetchone()
            if is_ours or taken > values["last"]:
                return bool(is_ours)
    return False


def _fixed(step: ExecutionStep) -> list[tuple[str, bool]]:
    names: list[tuple[str, bool]] = []
    if step.action in _ONE_AT_A_SITE:
        names.append((f"site:{step.action}", False))
    if step.action == "isolate_host":
        names += [(f"host:{host.lower()}"[:300], True) for host in hosts_of(step.parameters)]
    return names


def _spoken(name: str) -> str:
    """What a slot is of, for those who wait for it: another run has it."""
    kind, _, what = name.partition(":")
    return f"another run's “{words(what)}”" if kind == "site" else f"another run to let go of {what}"


def hosts_of(parameters: object) -> list[str]:
    """The hosts that a step's parameters name."""
    given = parameters.get("hosts", parameters.get("host")) if isinstance(parameters, dict) else None
    values: Iterable[object] = given if isinstance(given, list) else [given]
    return [str(value) for value in values if value]


def _has(name: str, step: ExecutionStep, *, is_for_run: bool = False) -> bool:
    """Takes the slot, or finds that the step has it. False when another step has it."""
    with connection.cursor() as cursor:
        cursor.execute(_TAKE, [name, step.pk, is_for_run])
        return cursor.fetchone() is not None
