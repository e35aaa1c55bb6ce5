"""What a connector is given and what it has to be: one module a kind, each with the same four names."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

from aurora.errors import Invalid


def require_address(url: str) -> str:
    """`url`. Raises ValueError when it names no server, or a port that is none."""
    parts = urlsplit(url)  # raises ValueError itself
    if not parts.hostname or parts.port == 0:
        raise ValueError("This is no address of a server")
    return url


HttpUrl = Annotated[
    str,
    StringConstraints(pattern=r"^https?://[^\s/\x00-\x1f\x7f-\x9f]", max_length=2000),
    AfterValidator(require_address),
]


def _require_authority(pem: str) -> str:
    try:
        if pem:
            ssl.create_default_context(cadata=pem)
    except (ssl.SSLError, ValueError, TypeError):
        raise ValueError("This is no certificate in PEM") from None
    return pem


Pem = Annotated[str, StringConstraints(max_length=100_000), AfterValidator(_require_authority)]
"""Certificates of authorities that are trusted instead of the system's; empty for the system's."""


class ConnectorSettings(BaseModel):
    """What an operator sets of a kind of connector. What `secrets` names is kept encrypted and never shown."""

    model_config = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True, slots=True)
class Order:
    """Something to be done once under `key`, however often it is asked for. `undo`: take back what was done under the step's own key.

    `to`: of the connector's `approvers` the one to be told, instead of everybody.
    """

    action: str
    key: str
    parameters: Mapping[str, Any]
    undo: bool = False
    timeout: float = 30.0
    why: str = ""
    to: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def done_under(self) -> str:
        """The key of the doing, also for its undoing."""
        return self.key.removesuffix("-undo")

    def texts(self, *names: str) -> list[str]:
        """The first of the named parameters that holds anything, as a list of texts. Raises Invalid when none does."""
        for name in names:
            value = self.parameters.get(name)
            found = [str(item) for item in (value if isinstance(value, list) else [value]) if item not in (None, "")]
            if found:
                return found
        raise Invalid(f"Nothing to act on: `{names[0]}` is empty")


@dataclass(frozen=True, slots=True)
class Wired:
    """A connector as an action uses it: settings with its secrets filled in."""

    id: Any
    name: str
    settings: Any


class Kind(Protocol):
    """A module of this package."""

    SERVES: frozenset[str]
    Settings: type[ConnectorSettings]
    SECRETS: frozenset[str]
    act: Callable[[Order, Wired], dict[str, Any]]
    """Does it, or takes it back, and tells what it did. Raises Invalid for what stays wrong, anything else for what may pass."""
    check: Callable[[Wired], str]
    """Looks whether it would work, without an effect; says what it saw. Raises what stands in the way."""
