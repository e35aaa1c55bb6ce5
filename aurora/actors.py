"""Who does something: a signed-in user, a program with a key, or the system itself."""

from __future__ import annotations

from dataclasses import dataclass

from aurora.errors import Denied
from aurora.roles import permissions_of


@dataclass(frozen=True, slots=True)
class Actor:
    """The author of a change, as verbs and the audit trail see it. Also DRF's `request.user`."""

    name: str
    role: str
    address: str = ""
    user_id: int | None = None
    """The account's key; None for programs and the system."""
    key_id: str | None = None
    """The API key's id; None for people."""

    @property
    def is_authenticated(self) -> bool:
        return bool(self.role)

    @property
    def permissions(self) -> frozenset[str]:
        return permissions_of(self.role)

    def may(self, permission: str) -> bool:
        return permission in self.permissions

    def require(self, permission: str) -> None:
        """Raises Denied, naming the permission."""
        if not self.may(permission):
            raise Denied(f"Permission required: {permission}")


def system(name: str) -> Actor:
    """The product acting on its own, under the name of the part that acts."""
    return Actor(name=name, role="admin")
