"""The table of roles, applied: to API views by what they declare, to the console through Django's permission names."""

from __future__ import annotations

from django.contrib.auth.backends import ModelBackend


class RoleBackend(ModelBackend):
    """Passwords as Django keeps them; permissions from `aurora.roles`."""
