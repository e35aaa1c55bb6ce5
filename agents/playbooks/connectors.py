"""Connectors: configured, found for an action, tested; and the one way through which every action reaches its target."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson
import structlog
from django.conf import settings
from django.db import IntegrityError, close_old_connections, transaction
from django.utils import timezone
from pydantic import ValidationError

from agents.playbooks import disabled_accounts, rows
from agents.playbooks.actions import KINDS
from agents.playbooks.actions.contract import Order, Wired
from agents.playbooks.actions.http import RefusedForNow
from agents.playbooks.definition import Retry
from agents.playbooks.models import Connector
from agents.playbooks.states import ConnectorKind, StepState
from aurora import audit, dry_run, sealing, seen
from aurora.actors import Actor
from aurora.errors import AuroraError, Conflict, Invalid, Missing
from aurora.resilience import breakers
from aurora.resilience.availability import is_outage
from aurora.resilience.breaker import Breaker, BreakerOpen, BreakerSettings, BreakerSnapshot
from aurora.resilience.metrics import REFUSALS
from aurora.resilience.retry import RetryBudgets, retry_call
from aurora.rest.problems import problem, problems_of
from aurora.texts import storable

log = structlog.get_logger(__name__)

OWN = ((ConnectorKind.BLOCKLIST, "block_ip"), (ConnectorKind.IOC_STORE, "enrich_ioc"))
"""Connectors that need nothing from outside, and so are there from the start."""

_PURPOSE = "connector"
_LEADING = ("url", "host", "port", "security", "ca_pem")
"""Settings by which a secret finds its receiver, and who vouches for that one."""
_threads = ThreadPoolExecutor(max_workers=16, thread_name_prefix="connector")
_budgets = RetryBudgets()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an order ended: `completed`, `failed` or `not_configured`."""

    status: str
    result: dict[str, Any] = field(default_factory=dict)
    error: str = ""


def ensure_own() -> None:
    """Makes the connectors that need no configuration. For the start of an installation."""
    for kind, action in OWN:
        Connector.objects.get_or_create(name=kind.value, defaults={"kind": kind, "actions": [action]})


def serving(action: str, name: str | None = None) -> Connector | None:
    """The connector for an action: the one named, else the first that serves it; None when there is none."""
    return rows.connector_serving(action, name or None)


def carry_out(*, connector: Connector, order: Order, retry: Retry) -> Outcome:
    """Acts, behind the connector's breaker, with the step's attempts. Only an outage of our own database is raised."""
    kind = KINDS[connector.kind]
    try:
        target = wired(connector)
        found = retry_call(
            lambda: breaker_of(connector).call(
                lambda: _bounded(connector, lambda: kind.act(order, target), order.timeout)
            ),
            attempts=retry.attempts,
            base_seconds=retry.base_seconds,
            deadline=time.monotonic() + (order.timeout + retry.base_seconds) * retry.attempts,
            should_retry=lambda error: not is_outage(error),
            on_failure=lambda number, error: _log(connector, order, number, error),
            budget=_budgets.of(connector.name) if retry.attempts > 1 else None,
        )
    except Exception as error:
        if is_outage(error):
            raise
        if isinstance(error, BreakerOpen):
            REFUSALS.labels(error.name).inc()
            log.debug("playbook_action_refused", connector=connector.name, retry_after=error.retry_after)
        return Outcome(StepState.FAILED, {"connector": connector.name}, _fault(error))
    return Outcome(StepState.COMPLETED, {"connector": connector.name, **found})


def configure(*, name: str, kind: str, changes: Mapping[str, Any], actor: Actor) -> Connector:
    """A new connector. Raises Denied, Invalid, Conflict."""
    actor.require("agents:manage")
    if kind not in KINDS:
        raise Invalid(f"There is no connector of the kind {kind}")
    row = Connector(name=name, kind=kind, actions=sorted(KINDS[kind].SERVES))
    try:
        with transaction.atomic():
            _apply(row, changes, actor)
            row.save(force_insert=True)
            audit.record(actor, "connector.created", row, after={"name": name, "kind": kind, **_told(row)})
    except IntegrityError:
        raise Conflict(f"A connector named {name} exists") from None
    return row


def reconfigure(*, connector_id: UUID, changes: Mapping[str, Any], actor: Actor, seen_as: str = "") -> Connector:
    """Sets what is given; of `settings` too, what is absent stays, but no secret follows to another address. `seen_as` is the `version_of` that the
    caller saw. Raises Denied, Missing, Invalid, Outdated."""
    actor.require("agents:manage")
    with transaction.atomic():
        row = Connector.objects.select_for_update().filter(pk=connector_id).first()
        if row is None:
            raise Missing
        seen.require(row, seen=seen_as, is_now=version_of(row), action="connector.configured")
        before, secrets = _told(row), _secrets_of(row)
        _apply(row, changes, actor)
        after, replaced = _told(row), _differing(secrets, _secrets_of(row))
        changed = _differing(before, after)
        if any(name.startswith("settings.") for name in changed) or replaced:
            row.tested_at, row.test_error = None, ""  # that was of other settings
        row.save()
        if changed or replaced:
            # Of a secret, that it is another one now; what it is or was, nobody reads anywhere.
            told = {"secrets": replaced} if replaced else {}
            audit.record(
                actor,
                "connector.configured",
                row,
                before={name: before.get(name) for name in changed},
                after={**{name: after.get(name) for name in changed}, **told},
            )
    return row


def remove(*, connector_id: UUID, actor: Actor) -> int:
    """How many accounts it disabled that nobody has enabled again: they stay listed. Raises Denied, Missing; Conflict while a run may have to enable one."""
    actor.require("agents:manage")
    with transaction.atomic():
        row = Connector.objects.select_for_update().filter(pk=connector_id).first()
        if row is None:
            raise Missing
        left = disabled_accounts.outlive(row)
        after = {"accounts_left_disabled": left} if left else {}
        audit.record(
            actor, "connector.removed", row, before={"name": row.name, "kind": row.kind, **_told(row)}, after=after
        )
        row.delete()
    return left


def reset_breaker(*, connector_id: UUID, actor: Actor) -> Connector:
    """Lets calls through again without waiting for a probe, for whoever has mended the target. Raises Denied, Missing.

    As with agents, the order follows its entry in the audit: no transaction waits for Redis.
    """
    actor.require("agents:manage")
    row = Connector.objects.filter(pk=connector_id).first()
    if row is None:
        raise Missing
    breaker = breaker_of(row)
    with transaction.atomic():
        audit.record(actor, "breaker.reset", row, before={"state": breaker.snapshot().state})
    if not dry_run.is_preview():
        breaker.reset()
    return row


def test(*, connector_id: UUID, actor: Actor) -> dict[str, Any]:
    """Asks the connector whether it would work, and keeps the answer. Has no effect on its target. Raises Denied, Missing."""
    actor.require("agents:manage")
    row = Connector.objects.filter(pk=connector_id).first()
    if row is None:
        raise Missing
    found = error = ""
    try:
        target = wired(row)
        found = _bounded(row, lambda: KINDS[row.kind].check(target), settings.AGENT_TIMEOUT_SECONDS)
    except Exception as fault:
        if is_outage(fault):
            raise
        error = _fault(fault)
        log.info("connector_test_failed", connector=row.name, error=error, exc_info=_unforeseen(fault))
    Connector.objects.filter(pk=row.pk).update(tested_at=timezone.now(), test_error=error)
    return {"is_working": not error, "detail": error or found}


def describe(row: Connector) -> dict[str, Any]:
    """A connector without its secrets; of those, only which are set."""
    return describe_all([row])[0]


def describe_all(rows: Sequence[Connector]) -> list[dict[str, Any]]:
    """As `describe` of each, in one round trip for all their breakers."""
    found = breakers.snapshots([breaker_of(row) for row in rows])
    return [_described(row, breaker) for row, breaker in zip(rows, found, strict=True)]


def _described(row: Connector, breaker: BreakerSnapshot) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "kind": row.kind,
        "enabled": row.enabled,
        "actions": row.actions,
        "priority": row.priority,
        "settings": row.settings,
        "secrets": sorted(_secrets_of(row)),
        "max_in_flight": row.max_in_flight,
        "breaker": breakers.as_json(breaker),
        "tested_at": row.tested_at,
        "test_error": row.test_error or None,
    }


def version_of(row: Connector) -> str:
    """Another text when anything else is set of it. Switching it is no such change."""
    return seen.mark([_told(row) | {"enabled": None}, _secrets_of(row)])


def wired(row: Connector) -> Wired:
    """The connector with its secrets, as an action uses it. Raises Conflict when they cannot be read any more."""
    whole = {**row.settings, **_secrets_of(row)}
    return Wired(row.id, row.name, KINDS[row.kind].Settings.model_validate(whole))


def breaker_of(row: Connector) -> Breaker:
    wanted = BreakerSettings(
        failure_threshold=settings.BREAKER_FAILURES,
        reset_timeout=settings.BREAKER_RESET_SECONDS,
        # A worker that dies as it probes must not keep the next from probing once its step is taken over; a probe that takes longer may be joined by another.
        probe_lease=settings.BUS_CLAIM_SECONDS / 2,
    )
    return breakers.get(f"connector:{row.name}", wanted, detail=f"{row.name} is unavailable: it failed again and again")


def _apply(row: Connector, changes: Mapping[str, Any], actor: Actor) -> None:
    kind = KINDS[row.kind]
    for name in ("enabled", "priority", "max_in_flight"):
        setattr(row, name, changes.get(name, getattr(row, name)))
    if "actions" in changes:
        if strange := sorted(set(changes["actions"]) - kind.SERVES):
            fault = problem(["body", "actions"], f"A {row.kind} connector cannot {', '.join(strange)}", "value_error")
            raise Invalid(problems=[fault])
        row.actions = sorted(set(changes["actions"]))
    given = changes.get("settings", {})
    whole = {**row.settings, **_secrets_of(row), **given}
    try:
        checked = kind.Settings.model_validate(whole).model_dump(mode="json")
    except ValidationError as error:
        faults = problems_of(error, "body")
        raise Invalid(
            problems=[{**fault, "loc": ["body", "settings", *fault["loc"][1:]]} for fault in faults]
        ) from None
    if given and checked.get("approvers") and (row._state.adding or checked != _settled(row)):
        # A link decides as its account: whoever says where links go could decide as anybody.
        actor.require("users:manage")
    secret = {name: checked.pop(name) for name in kind.SECRETS if checked.get(name)}
    if not row._state.adding and any(checked.get(name) != row.settings.get(name) for name in _LEADING):
        _require_anew(set(secret) - set(given))
    row.settings = {name: value for name, value in checked.items() if name not in kind.SECRETS}
    row.secret = sealing.seal(orjson.dumps(secret).decode(), purpose=_PURPOSE) if secret else ""
    row.updated_at = timezone.now()


def _settled(row: Connector) -> dict[str, Any] | None:
    """All settings as they are; None when they are not what is asked of such a connector today."""
    try:
        return KINDS[row.kind].Settings.model_validate({**row.settings, **_secrets_of(row)}).model_dump(mode="json")
    except ValidationError:
        return None


def _require_anew(names: set[str]) -> None:
    """Raises Invalid for secrets that would go to another address unasked: who may set it could have them sent to a place of their own."""
    told = "Value error, has to be given anew with another address: a secret does not follow its connector there"
    if names:
        raise Invalid(problems=[problem(["body", "settings", name], told, "value_error") for name in sorted(names)])


def _fault(error: Exception) -> str:
    """What went wrong, for people: our own sentences as they are, anybody else's with the name of the kind."""
    told = error.detail if isinstance(error, AuroraError) else str(error)
    is_ours = isinstance(error, AuroraError | RefusedForNow)
    return storable(told if is_ours else f"{type(error).__name__}: {told}", 2_000)


def _told(row: Connector) -> dict[str, Any]:
    """What can be set of a connector and is no secret, each by its name."""
    plain = {name: getattr(row, name) for name in ("enabled", "actions", "priority", "max_in_flight")}
    return plain | {f"settings.{name}": value for name, value in row.settings.items()}


def _differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    return sorted(name for name in {*before, *after} if before.get(name) != after.get(name))


def _secrets_of(row: Connector) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(sealing.unseal(row.secret, purpose=_PURPOSE)) if row.secret else {}
    return found


def _bounded(connector: Connector, work: Callable[[], Any], seconds: float) -> Any:
    """`work`, in a thread that is given up when its time is over: not every library has a time limit of its own. Our own database has one."""
    if connector.kind in dict(OWN):
        return work()
    future = _threads.submit(copy_context().run, _in_thread, work)
    try:
        return future.result(timeout=seconds)
    except FutureTimeout:
        if future.done():
            raise
        raise TimeoutError(f"no answer within {seconds:g} s") from None


def _in_thread(work: Callable[[], Any]) -> Any:
    try:
        return work()
    finally:
        close_old_connections()


def _log(connector: Connector, order: Order, number: int, error: BaseException) -> None:
    log.warning(
        "playbook_action_failed",
        connector=connector.name,
        action=order.action,
        attempt=number,
        error=f"{type(error).__name__}: {storable(str(error), 500)}",
        exc_info=_unforeseen(error),
    )


def _unforeseen(error: BaseException) -> BaseException | None:
    """What is no answer and no silence of a target is a fault of ours: to be found, and not only told."""
    return None if isinstance(error, (AuroraError, OSError)) else error
