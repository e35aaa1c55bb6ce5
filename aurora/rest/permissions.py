"""The table of roles, applied: to API views by what they declare, to the console through Django's permission names."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import User
from django.db.models import prefetch_related_objects
from rest_framework.exceptions import MethodNotAllowed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from aurora.actors import Actor
from aurora.errors import Denied
from aurora.identity.credentials import role_of
from aurora.roles import permissions_of

PUBLIC = "public"
"""Declared by the few calls that need no caller: signing in, the probes."""
SIGNED_IN = "signed-in"
"""Declared by calls that any known caller may make about itself."""


class DeclaredPermission(BasePermission):
    """Every view declares `permissions = {"GET": "alerts:read", …}`, a tuple where any one of several is enough. What is not declared is refused."""

    def has_permission(self, request: Request, view: Any) -> bool:
        method = "GET" if request.method == "HEAD" else request.method
        if method not in view.permissions and request.method not in view.allowed_methods:
            raise MethodNotAllowed(str(method))
        needed = view.permissions.get(method)
        if needed is None or needed == PUBLIC:
            return bool(needed == PUBLIC)
        actor = request.user
        if not isinstance(actor, Actor):
            raise Denied("Authentication required", is_anonymous=True)
        allowed = (needed,) if isinstance(needed, str) else needed
        if needed != SIGNED_IN and not any(actor.may(permission) for permission in allowed):
            raise Denied(f"Permission required: {' or '.join(allowed)}")
        return True


# Model → what reading and what changing it takes. A model that is not here is nobody's but the superuser's.
_MODELS = {
    "cases.alert": ("alerts:read", "alerts:write"),
    "cases.ingestreceipt": ("alerts:read", ""),
    "cases.ingestreject": ("alerts:read", ""),
    "cases.case": ("cases:read", "cases:write"),
    "cases.timelineentry": ("cases:read", ""),
    "cases.ioc": ("iocs:read", "iocs:write"),
    "agents.agent": ("agents:read", "agents:manage"),
    "agents.investigation": ("investigations:read", "investigations:run"),
    "agents.investigationstep": ("investigations:read", ""),
    "agents.investigationevent": ("investigations:read", ""),
    "agents.playbook": ("playbooks:read", "playbooks:execute"),
    "agents.playbookversion": ("playbooks:read", ""),
    "agents.execution": ("playbooks:read", "playbooks:execute"),
    "agents.executionstep": ("playbooks:read", ""),
    "agents.approval": ("approvals:read", "approvals:decide"),
    "agents.connector": ("agents:manage", "agents:manage"),
    "agents.delivery": ("agents:manage", "agents:manage"),
    "agents.blocklistentry": ("iocs:read", ""),
    "agents.disabledaccount": ("playbooks:read", ""),
    "agents.automationrule": ("playbooks:read", "playbooks:execute"),
    "aurora.outboxevent": ("agents:read", ""),
    "aurora.deadletter": ("agents:read", "agents:manage"),
    "aurora.auditentry": ("audit:read", ""),
    "aurora.apikey": ("users:manage", "users:manage"),
    "auth.user": ("users:manage", "users:manage"),
    "auth.group": ("users:manage", ""),
}


def django_permissions_of(role: str) -> frozenset[str]:
    """What `role` may do in Django's words: `cases.view_alert` where the table grants `alerts:read`, and so on."""
    granted = permissions_of(role)
    names = set()
    for model, (read, write) in _MODELS.items():
        app, name = model.split(".")
        if read in granted:
            names.add(f"{app}.view_{name}")
        if write in granted:
            names |= {f"{app}.{verb}_{name}" for verb in ("add", "change", "delete")}
    return frozenset(names)


class RoleBackend(ModelBackend):
    """Passwords as Django keeps them; permissions from `aurora.roles`, never from Django's own permission rows."""

    def get_all_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        """Of no object in particular: like Django's own backend, this one grants nothing on single objects."""
        if obj is not None or not user_obj.is_active or user_obj.is_anonymous:
            return set()
        prefetch_related_objects([user_obj], "groups")  # once a request: a page asks dozens of times
        return set(django_permissions_of(role_of(user_obj)))

    def get_user(self, user_id: int) -> User | None:
        """The account of a session. Of PostgreSQL only: in another store its number is another person's."""
        user = User.objects.using("default").filter(pk=user_id).first()
        return user if user is not None and self.user_can_authenticate(user) else None

    def get_user_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        return set()

    def get_group_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        return self.get_all_permissions(user_obj, obj)
