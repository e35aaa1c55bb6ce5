"""Who may do what: the one table that the API, the console and the sockets read. Pure data."""

from __future__ import annotations

PERMISSIONS = frozenset(
    {
        "alerts:read",
        "alerts:write",
        "alerts:ingest",
        "cases:read",
        "cases:write",
        "iocs:read",
        "iocs:write",
        "investigations:read",
        "investigations:run",
        "agents:read",
        "agents:manage",
        "playbooks:read",
        "playbooks:execute",
        "approvals:read",
        "approvals:decide",
        "audit:read",
        "users:manage",
        "ws:alerts",
        "ws:agent-thoughts",
        "ws:system",
    }
)

_READ = frozenset(p for p in PERMISSIONS if p.endswith(":read") and p != "audit:read")
_WATCH = frozenset(p for p in PERMISSIONS if p.startswith("ws:"))

ROLES: dict[str, frozenset[str]] = {
    "admin": PERMISSIONS,
    "analyst": _READ
    | _WATCH
    | {
        "alerts:write",
        "cases:write",
        "iocs:write",
        "investigations:run",
        "playbooks:execute",
        "approvals:decide",
    },
    "operator": frozenset({"alerts:read", "cases:read", "agents:read", "agents:manage", "investigations:read"})
    | _WATCH,
    "viewer": _READ | _WATCH,
    "api_service": _READ | {"alerts:ingest"},
}
"""Role → permissions, from the widest role to the narrowest."""


def permissions_of(role: str) -> frozenset[str]:
    """The permissions of `role`; an unknown role has none."""
    return ROLES.get(role, frozenset())
