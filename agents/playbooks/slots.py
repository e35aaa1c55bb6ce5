"""What must not be done twice at once, over all workers: a slot is a row, and whoever inserted it has it.

Per site (an installation is one) one isolation, one revocation and one credential reset are in flight. A host is isolated by one run at a time, and
stays that run's until the run has ended: were another to isolate it meanwhile, the first one's rollback would reconnect it. Of a connector, as
many calls run at once as it is configured for.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.db import connection, transaction

from agents.playbooks.models import ActionSlot, Connector, Execution, ExecutionStep

_ONE_AT_A_SITE = frozenset({"isolate_host", "revoke_certificate", "disable_user"})
_TAKE = f"""
    INSERT INTO {ActionSlot._meta.db_table} (name, step_id, is_for_run, taken_at) VALUES (%s, %s, %s, now())
    ON CONFLICT (name) DO UPDATE SET is_for_run = excluded.is_for_run
    WHERE {ActionSlot._meta.db_table}.step_id = excluded.step_id
    RETURNING name
"""


class _TakenError(Exception):
    """Another step has it; taking is undone as a whole."""


def take(step: ExecutionStep, connector: Connector) -> str:
    """Takes all slots that the step needs; empty, or what it has to wait for, and then it has taken none. In a transaction.

    Names are taken in their order, and one that another transaction is just taking is waited for: no two steps wait for each other.
    """
    try:
        with transaction.atomic():
            for name, is_for_run in sorted(_fixed(step)):
                if not _has(name, step, is_for_run=is_for_run):
                    raise _TakenError(name)
            _take_a_call(step, connector)
    except _TakenError as taken:
        return str(taken)
    return ""


def _take_a_call(step: ExecutionStep, connector: Connector) -> None:
    if step.slots.filter(name__startswith=f"connector:{connector.id}:").exists():
        return
    if not any(_has(f"connector:{connector.id}:{place}", step) for place in _free_places(connector)):
        raise _TakenError(f"a free call of {connector.name}")


def release(step: ExecutionStep) -> None:
    """What was taken for as long as the step acts."""
    ActionSlot.objects.filter(step=step, is_for_run=False).delete()


def release_all(execution: Execution) -> None:
    """What was taken for as long as the run goes on, too."""
    ActionSlot.objects.filter(step__execution=execution).delete()


def _fixed(step: ExecutionStep) -> list[tuple[str, bool]]:
    names: list[tuple[str, bool]] = []
    if step.action in _ONE_AT_A_SITE:
        names.append((f"site:{step.action}", False))
    if step.action == "isolate_host":
        names += [(f"host:{host.lower()}"[:300], True) for host in hosts_of(step.parameters)]
    return names


def hosts_of(parameters: object) -> list[str]:
    """The hosts that a step's parameters name."""
    given = parameters.get("hosts", parameters.get("host")) if isinstance(parameters, dict) else None
    values: Iterable[object] = given if isinstance(given, list) else [given]
    return [str(value) for value in values if value]


def _free_places(connector: Connector) -> list[int]:
    prefix = f"connector:{connector.id}:"
    taken = {
        int(name.rpartition(":")[2])
        for name in ActionSlot.objects.filter(name__startswith=prefix).values_list("name", flat=True)
    }
    return [place for place in range(connector.max_in_flight) if place not in taken]


def _has(name: str, step: ExecutionStep, *, is_for_run: bool = False) -> bool:
    """Takes the slot, or finds that the step has it. False when another step has it."""
    with connection.cursor() as cursor:
        cursor.execute(_TAKE, [name, step.pk, is_for_run])
        return cursor.fetchone() is not None
