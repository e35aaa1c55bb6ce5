"""Calling an agent: a place in its bulkhead, its breaker before it, attempts around it, a time limit on each and on all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog
from django.conf import settings

from agents import calls, metrics, registry
from agents.analysis_run import AnalysisRun
from agents.builtin import ANALYSES
from agents.builtin.contract import Output, Task, Think
from agents.connections import let_go
from agents.models import Agent
from agents.states import Transport
from agents.subject import subject_of
from aurora.errors import AuroraError, Conflict, Denied, Invalid, Missing, Unavailable
from aurora.resilience.availability import is_outage
from aurora.resilience.breaker import Breaker, BreakerOpen
from aurora.resilience.bulkhead import Bulkhead, Bulkheads
from aurora.resilience.metrics import REFUSALS
from aurora.resilience.retry import RetryBudgets, retry_call

QUEUE_SECONDS = 5.0
"""How long a caller waits for a place when all are taken; as many may wait as there are places."""
RETRY_SECONDS = 5.0
"""When to come back after a failure that has not opened the breaker."""
LONGEST_SECONDS = 840.0
"""All attempts of one dispatch together, however they are configured: below the time after which a worker loses its task."""

log = structlog.get_logger(__name__)

_budgets = RetryBudgets()
_bulkheads = Bulkheads()


@dataclass(frozen=True, slots=True)
class Dispatched:
    """An agent's answer and what it took."""

    output: Output
    attempts: int
    duration_ms: float


class AgentFailed(Unavailable):
    """No attempt succeeded. The sentence is the contract's; `reason` says what happened, for logs and the investigation."""

    def __init__(self, error: BaseException, *, retry_after: float) -> None:
        self.reason = _told(error)
        super().__init__("Agent service unavailable", retry_after=retry_after)


@dataclass(slots=True)
class Place:
    """Leave to dispatch to one agent now."""

    agent: Agent
    bulkhead: Bulkhead


@contextmanager
def reserve(agent_type: str, *, wait: float, limit: int | None = None) -> Iterator[Place]:
    """A place at the agent: one of its `max_concurrency` in this process, or of `limit` if that is less.

    Raises Missing for an unknown agent, Conflict for a disabled one, BulkheadFull when no place became free within `wait` seconds.
    """
    agent = registry.find(agent_type)
    if not agent.enabled:
        raise Conflict(f"The agent {agent.agent_type} is disabled")
    bulkhead = _bulkheads.of(agent.agent_type)
    let_go()
    places = min(agent.max_concurrency, limit or agent.max_concurrency)
    with bulkhead.place(limit=places, queue=places if wait else 0, wait=wait):
        yield Place(agent, bulkhead)


def dispatch(*, task: Task, think: Think) -> Dispatched:
    """Asks the agent of `task.agent_type`. `think` receives its thoughts as they come.

    Raises what `reserve` does, BreakerOpen at once while its breaker is open, AgentFailed when no attempt succeeded, and what the agent
    itself says is wrong with the task.
    """
    with reserve(task.agent_type, wait=QUEUE_SECONDS) as place:
        return dispatch_from(place, task=task, think=think)


def dispatch_from(place: Place, *, task: Task, think: Think) -> Dispatched:
    """`dispatch` for a caller that has its place already."""
    attempts = _Attempts(place, task, think)
    try:
        output = attempts.make()
    except BreakerOpen as error:
        _note_refusal(attempts, error)
        raise
    except Exception as error:
        is_declined = isinstance(error, (Invalid, Denied, Missing, Conflict))
        attempts.note("declined" if is_declined else "failed", error)
        if is_declined or is_outage(error):
            raise
        raise AgentFailed(error, retry_after=attempts.breaker.retry_after or RETRY_SECONDS) from error
    duration_ms = attempts.note("answered")
    return Dispatched(output, attempts.made, duration_ms)


def greet(agent: Agent) -> None:
    """Asks an agent by A2A for its card, through its breaker: whether it is there. Raises BreakerOpen and what `client.ask` does."""
    from agents import client

    address = client.Address(agent.endpoint, registry.bearer_of(agent))
    registry.breaker_of(agent).call(lambda: client.greet(address=address, timeout=registry.timeout_of(agent)))


@dataclass
class _Attempts:
    """One dispatch, from its first attempt to its last."""

    place: Place
    task: Task
    think: Think
    made: int = 0
    latest: BaseException | None = None
    began: float = field(default_factory=time.monotonic)

    def make(self) -> Output:
        agent = self.place.agent
        return retry_call(
            self._attempt,
            attempts=settings.RETRY_ATTEMPTS,
            base_seconds=settings.RETRY_BASE_SECONDS,
            deadline=self._deadline,
            # A breaker that has opened meanwhile would refuse after the wait: then nobody needs to wait.
            should_retry=lambda error: not is_outage(error) and not self.breaker.retry_after,
            on_failure=self._failed,
            budget=_budgets.of(agent.agent_type),
        )

    def note(self, outcome: str, error: BaseException | None = None) -> float:
        """Counts the dispatch as ended and returns how long it took, in milliseconds."""
        seconds, agent_type = time.monotonic() - self.began, self.task.agent_type
        metrics.DISPATCHED.labels(agent_type, outcome).inc()
        metrics.SECONDS.labels(agent_type).observe(seconds)
        calls.note(
            agent_type,
            task_id=self.task.task_id,
            case_id=self.task.case_id,
            outcome=outcome,
            attempts=self.made,
            duration_ms=round(seconds * 1000, 2),
            error=_told(error) if error else "",
        )
        return round(seconds * 1000, 2)

    @property
    def breaker(self) -> Breaker:
        return registry.breaker_of(self.place.agent)

    @property
    def _deadline(self) -> float:
        """The time of all attempts and of the waits between them. An attempt cut short would speak against an agent that kept its time."""
        attempts = settings.RETRY_ATTEMPTS
        waits = settings.RETRY_BASE_SECONDS * (2.0 ** (attempts - 1) - 1)
        return self.began + min(registry.timeout_of(self.place.agent) * attempts + waits, LONGEST_SECONDS)

    def _attempt(self) -> Output:
        def call() -> Output:
            self.made += 1
            let_go()
            left = self._deadline - time.monotonic()
            return _CALLS[self.place.agent.transport](
                self.place, self.task, self.think, max(min(registry.timeout_of(self.place.agent), left), 0.001)
            )

        return self.breaker.call(call)

    def _failed(self, number: int, error: BaseException) -> None:
        self.latest = error
        log.warning(
            "agent_dispatch_failed",
            agent_type=self.task.agent_type,
            error=_told(error),
            case_id=self.task.case_id,
            attempt=number,
            # A built-in agent's fault is one of ours: to be found, and not only told.
            exc_info=None if isinstance(error, (AuroraError, TimeoutError)) else error,
        )
        let_go()


def _call_builtin(place: Place, task: Task, think: Think, timeout: float) -> Output:
    analysis = ANALYSES.get(task.agent_type)
    if analysis is None:
        raise Conflict(f"The agent {task.agent_type} does not come with the product: it needs an endpoint")
    return AnalysisRun(analysis, task, think, on_overtime=place.bulkhead.overstay).result(timeout)


def _call_a2a(place: Place, task: Task, think: Think, timeout: float) -> Output:
    # Half a second to import, and most installations have no such agent.
    from agents import client

    def think_and_let_go(text: str, data: dict[str, Any]) -> None:
        think(text, data)
        let_go()

    address = client.Address(place.agent.endpoint, registry.bearer_of(place.agent))
    subject = subject_of(task)
    let_go()
    return client.ask(address=address, task=task, think=think_and_let_go, timeout=timeout, subject=subject)


_CALLS: dict[str, Callable[[Place, Task, Think, float], Output]] = {
    Transport.BUILTIN.value: _call_builtin,
    Transport.A2A.value: _call_a2a,
}


def _note_refusal(attempts: _Attempts, error: BreakerOpen) -> None:
    agent_type = attempts.task.agent_type
    REFUSALS.labels(error.name).inc()
    if attempts.made:
        # Its own failures have opened the breaker, or it opened while this one waited: the agent was asked.
        attempts.note("failed", attempts.latest or error)
    else:
        metrics.DISPATCHED.labels(agent_type, "refused").inc()
    log.debug("agent_dispatch_refused", agent_type=agent_type, retry_after=error.retry_after)


def _told(error: BaseException) -> str:
    words = error.detail if isinstance(error, AuroraError) else str(error)
    return f"{type(error).__name__}: {words}"
