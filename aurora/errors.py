"""The five ways in which a request, a message or a command can fail.

Verbs raise these; each edge translates them with one small table: `aurora.rest.problems` into an HTTP status, `realtime.consumers`
into a close code, `aurora.bus.worker` into a verdict (bury, or try again later). This module knows no framework.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict


class Problem(TypedDict):
    """One fault of one input, in pydantic's words. `loc` starts with `body`, `query`, `path` or `header`."""

    loc: list[str | int]
    msg: str
    type: str


class AuroraError(Exception):
    """Base of all five kinds. `detail` is the sentence that the caller is shown."""

    default_detail = "Internal Server Error"

    def __init__(self, detail: str | None = None) -> None:
        self.detail = detail or self.default_detail
        super().__init__(self.detail)


class Invalid(AuroraError):
    """The input is wrong and stays wrong: trying again without changing it is pointless.

    `problems` is the list form for structured input; without it `detail` alone says what is wrong.
    """

    default_detail = "Invalid input"

    def __init__(self, detail: str | None = None, *, problems: Sequence[Problem] = ()) -> None:
        self.problems = list(problems)
        super().__init__(detail or (self.problems[0]["msg"] if self.problems else None))


class Denied(AuroraError):
    """The caller is known, or unknown (`is_anonymous`), and may not do this.

    `is_guess`: it sent what only somebody who tries credentials would send, or a program with a wrong one; edges count those by address.
    """

    default_detail = "Not allowed"

    def __init__(self, detail: str | None = None, *, is_anonymous: bool = False, is_guess: bool = False) -> None:
        self.is_anonymous = is_anonymous
        self.is_guess = is_guess
        super().__init__(detail)


class Missing(AuroraError):
    """What was asked for does not exist, or the caller may not know that it does."""

    default_detail = "Not Found"


class Conflict(AuroraError):
    """The current state forbids it: a duplicate, or a transition that may not follow."""

    default_detail = "Conflict"


class Unavailable(AuroraError):
    """Something this needs is down; trying again after `retry_after` seconds makes sense."""

    default_detail = "Service unavailable"

    def __init__(self, detail: str | None = None, *, retry_after: float = 5.0) -> None:
        self.retry_after = retry_after
        super().__init__(detail)


class RateLimited(Unavailable):
    """The caller is over a limit; what it asks would pass after `retry_after` seconds."""

    default_detail = "Rate limit exceeded"
