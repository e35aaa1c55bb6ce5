"""The table of roles, applied: to API views by what they declare, to the console through Django's permission names."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.backends import ModelBackend
from rest_framework.exceptions import MethodNotAllowed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from aurora.actors import Actor
from aurora.errors import Denied

PUBLIC = "public"
"""Declared by the few calls that need no caller: signing in, the probes."""
SIGNED_IN = "signed-in"
"""Declared by calls that any known caller may make about itself."""


class DeclaredPermission(BasePermission):
    """Every view declares `permissions = {"GET": "alerts:read", …}`, a tuple where any one of several is enough. What is not declared is refused."""

    def has_permission(self, request: Request, view: Any) -> bool:
        method = "GET" if request.method == "HEAD" else request.method
        if method not in view.permissions and getattr(view, str(method).lower(), None) is None:
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


class RoleBackend(ModelBackend):
    """Passwords as Django keeps them; permissions from `aurora.roles`."""
