"""Calling an agent: its breaker before it, attempts around it, a time limit on each."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from contextvars import copy_context
from dataclasses import dataclass

import structlog
from django.conf import settings
from django.db import close_old_connections

from agents import registry
from agents.builtin import ANALYSES
from agents.builtin.contract import Output, Task, Think
from agents.models import Agent
from aurora.errors import AuroraError, Conflict, Unavailable
from aurora.resilience.availability import is_outage
from aurora.resilience.retry import RetryBudgets, retry_call

log = structlog.get_logger(__name__)

_threads = ThreadPoolExecutor(max_workers=16, thread_name_prefix="agent")
_budgets = RetryBudgets()


@dataclass(frozen=True, slots=True)
class Dispatched:
    """An agent's answer and what it took."""

    output: Output
    attempts: int
    duration_ms: float


class AgentFailed(Unavailable):
    """No attempt succeeded. The sentence is the contract's; `reason` says what happened, for logs and the investigation."""

    def __init__(self, error: BaseException) -> None:
        self.reason = f"{type(error).__name__}: {error}"
        super().__init__("Agent service unavailable")


def dispatch(*, task: Task, think: Think) -> Dispatched:
    """Asks the agent of `task.agent_type`. `think` receives its thoughts as they come.

    Raises Missing for an unknown agent, Conflict for a disabled one, BreakerOpen at once while its breaker is open, AgentFailed when no
    attempt succeeded, and what the agent itself says is wrong with the task.
    """
    agent = registry.find(task.agent_type)
    if not agent.enabled:
        raise Conflict(f"The agent {agent.agent_type} is disabled")
    breaker, began = registry.breaker_of(agent), time.perf_counter()
    attempts = 0

    def attempt() -> Output:
        nonlocal attempts
        attempts += 1
        return breaker.call(lambda: _call(agent, task, think))

    def failed(number: int, error: BaseException) -> None:
        log.warning(
            "agent_dispatch_failed",
            agent_type=task.agent_type,
            error=f"{type(error).__name__}: {error}",
            case_id=task.case_id,
            attempt=number,
        )

    try:
        output = _attempt_all(agent, attempt, failed)
    except Exception as error:
        if isinstance(error, AuroraError) or is_outage(error):
            raise
        raise AgentFailed(error) from error
    return Dispatched(output, attempts, round((time.perf_counter() - began) * 1000, 2))


def _attempt_all(agent: Agent, attempt: Callable[[], Output], failed: Callable[[int, BaseException], None]) -> Output:
    return retry_call(
        attempt,
        attempts=settings.RETRY_ATTEMPTS,
        base_seconds=settings.RETRY_BASE_SECONDS,
        deadline=time.monotonic() + registry.timeout_of(agent) * settings.RETRY_ATTEMPTS,
        should_retry=lambda error: not is_outage(error),
        on_failure=failed,
        budget=_budgets.of(agent.agent_type),
    )


def _call(agent: Agent, task: Task, think: Think) -> Output:
    """One call, bounded in time. The thread of a call that takes too long is given up, not killed: its queries have a time limit of their own."""
    analysis = ANALYSES[agent.agent_type]
    future = _threads.submit(copy_context().run, _in_thread, analysis, task, think)
    try:
        return future.result(timeout=registry.timeout_of(agent))
    except FutureTimeout:
        if future.done():
            raise
        raise TimeoutError(f"no answer within {registry.timeout_of(agent):g} s") from None


def _in_thread(analysis: Callable[[Task, Think], Output], task: Task, think: Think) -> Output:
    try:
        return analysis(task, think)
    finally:
        close_old_connections()
