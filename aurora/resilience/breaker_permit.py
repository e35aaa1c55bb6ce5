"""Leave to make one call through a breaker, and what speaks against the callee."""

from __future__ import annotations

import asyncio
import concurrent.futures
import math
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from aurora.errors import Conflict, Denied, Invalid, Missing, Unavailable

if TYPE_CHECKING:
    from aurora.resilience.breaker import Breaker


class BreakerOpen(Unavailable):
    """Refused without trying. `retry_after` is the time in seconds until the next probe may be admitted."""

    args: tuple[str, str, float]
    name: str

    if TYPE_CHECKING:

        def __init__(self, detail: str, name: str, retry_after: float) -> None: ...

    else:
        # A refusal is to cost nothing: this one runs no Python, and keeps what it is given in `args`.
        __init__ = Exception.__init__

    def __getattr__(self, name: str) -> str | float:
        try:
            return self.args[_PARTS[name]]
        except KeyError:
            raise AttributeError(name) from None

    def __str__(self) -> str:
        return self.args[0]


_PARTS: Final = {"detail": 0, "name": 1, "retry_after": 2}

# Nothing was learnt about the callee: another breaker refused and counted, or nobody waits for the answer any
# more.
NO_VERDICT: Final = (BreakerOpen, asyncio.CancelledError, concurrent.futures.CancelledError)
CALLERS_FAULT: Final = (Invalid, Denied, Missing, Conflict)


def is_callees_fault(error: BaseException) -> bool:
    """Whether `error` speaks against the callee. Refused, reset, timed out, garbled, answered with a 5xx, and
    anything else that is an `Exception`: a fault nobody thought of must be able to open a breaker."""
    return not isinstance(error, CALLERS_FAULT)


class Permit:
    """Leave to make one call. Exactly one verdict counts, the first; as a context manager it gives the one
    that the block's end suggests."""

    __slots__ = ("_began", "_breaker", "_generation", "_is_settled")

    def __init__(self, breaker: Breaker, generation: int, began: float = math.inf) -> None:
        self._breaker = breaker
        self._generation = generation
        self._began = began
        self._is_settled = False

    def succeed(self) -> None:
        if not self._is_settled:
            self._is_settled = True
            self._breaker._succeed(self._generation, self._began)

    def fail(self, error: BaseException | str) -> None:
        if not self._is_settled:
            self._is_settled = True
            self._breaker._fail(self._generation, error)

    def cancel(self) -> None:
        """Give the permit back without a verdict: nothing was learnt about the callee."""
        if not self._is_settled:
            self._is_settled = True
            self._breaker._cancel(self._generation)

    def settle(self, error: BaseException) -> None:
        """`fail` if the breaker counts `error` as a failure, else `cancel`. Cancellation, interrupts and the
        refusal of another breaker are never asked about."""
        is_verdict = isinstance(error, Exception) and not isinstance(error, NO_VERDICT)
        if is_verdict and self._breaker.counts_as_failure(error):
            self.fail(error)
        else:
            self.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if error is None:
            self.succeed()
        else:
            self.settle(error)
