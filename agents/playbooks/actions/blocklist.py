"""The block list that firewalls fetch (`GET /feeds/blocklist`): a row an indicator, in force until it expires or is lifted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Annotated, Any

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from pydantic import AfterValidator, Field, StringConstraints

from agents.playbooks.actions.contract import ConnectorSettings, Order, Wired
from agents.playbooks.models import BlocklistEntry, Connector
from agents.playbooks.states import BlockType, ConnectorKind
from aurora.addresses import address_or_none, is_within, network_or_none
from aurora.errors import Invalid
from cases.observables import Observable, classify, host_of, is_internal_ip, is_public_resolver

SERVES = frozenset({"block_ip"})
SECRETS: frozenset[str] = frozenset()
_LONGEST_HOURS = 24 * 3660


def _require_place(text: str) -> str:
    """In the one form in which it is compared: however it was written, it protects or is refused."""
    known = classify(text)
    if known is not None and known.type in (BlockType.IP, BlockType.DOMAIN):
        return known.value
    network = network_or_none(text.strip())
    if network is None:
        raise ValueError("This is no address, network or domain")
    return str(network)


Place = Annotated[str, StringConstraints(max_length=253), AfterValidator(_require_place)]


class Settings(ConnectorSettings):
    """`expires_hours` where the step names none; null: never."""

    expires_hours: float | None = Field(
        168, gt=0, le=_LONGEST_HOURS, description="Where a step says nothing else; null: for good."
    )
    protected: list[Place] = Field(
        [],
        max_length=1000,
        description="Addresses, networks and domains with all below them that firewalls are never told to block.",
    )


def act(order: Order, wired: Wired) -> dict[str, Any]:
    """Puts addresses, domains and URLs on the list, or lifts what the step had put there. Our own addresses and public resolvers are passed over."""
    if order.undo:
        return _lift(order)
    wanted = order.texts("targets", "network", "ips", "ip")
    protected = wired.settings.protected
    found = [(text, classify(text)) for text in wanted]
    blocked = [one for _, one in found if one is not None and _may_be_blocked(one, protected)]
    passed_over = [text for text, one in found if one is None or not _may_be_blocked(one, protected)]
    if not blocked:
        raise Invalid(
            f"None of {', '.join(wanted[:5])} may be blocked: internal, protected, a public resolver, "
            "or no address, domain or URL"
        )
    expires_at = _expiry(order.parameters.get("expires_hours", wired.settings.expires_hours))
    BlocklistEntry.objects.bulk_create(
        (
            BlocklistEntry(type=one.type, value=one.value, key=order.key, reason=order.why, expires_at=expires_at)
            for one in blocked
        ),
        ignore_conflicts=True,  # the same key again: its rows are there
    )
    return {
        "blocked": [one.value for one in blocked],
        "passed_over": passed_over,
        "expires_at": expires_at.isoformat() if expires_at else None,
    }


def check(wired: Wired) -> str:
    return f"{in_force().count()} entries are in force"


def in_force() -> QuerySet[BlocklistEntry]:
    """What firewalls are told to block now."""
    return BlocklistEntry.objects.filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now()), lifted_at=None)


def unprotected(values: Iterable[str]) -> Iterator[str]:
    """Of what would be published, what none of the block lists' settings protects by now."""
    lists = Connector.objects.filter(kind=ConnectorKind.BLOCKLIST).values_list("settings__protected", flat=True)
    protected = [place for places in lists for place in places or []]
    return (value for value in values if not protected or not _is_protected(_host_of(value), protected))


def _lift(order: Order) -> dict[str, Any]:
    with transaction.atomic():
        rows = BlocklistEntry.objects.filter(key=order.done_under)
        rows.filter(lifted_at=None).update(
            lifted_at=timezone.now(), lifted_by="playbooks", lifted_because=f"Undone: {order.why}"
        )
        return {"lifted": list(rows.values_list("value", flat=True))}


def _may_be_blocked(one: Observable, protected: Iterable[str]) -> bool:
    if one.type not in BlockType.values:
        return False
    host = _host_of(one.value)
    return not (is_public_resolver(host) or is_internal_ip(host) or _is_protected(host, protected))


def _host_of(value: str) -> str:
    """Of an address of the web the host; anything else is one."""
    return host_of(value) if "://" in value else value.lower()


def _is_protected(host: str, protected: Iterable[str]) -> bool:
    if address_or_none(host) is not None:
        return is_within(host, protected)
    return any(host == name or host.endswith(f".{name}") for name in protected)


def _expiry(hours: Any) -> datetime | None:
    if hours is None:
        return None
    if isinstance(hours, bool) or not isinstance(hours, (int, float)) or not 0 < hours <= _LONGEST_HOURS:
        raise Invalid("`expires_hours` is a positive number of hours, at most ten years")
    return timezone.now() + timedelta(hours=hours)
