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
from aurora.errors import Conflict, Denied, Invalid, Missing
from aurora.resilience.availability import is_outage
from aurora.resilience.breaker import BreakerOpen
from aurora.resilience.retry import retry_call

log = structlog.get_logger(__name__)

_POINTLESS = (Invalid, Denied, Missing, Conflict, BreakerOpen)

_threads = ThreadPoolExecutor(max_workers=32, thread_name_prefix="agent")


@dataclass(frozen=True, slots=True)
class Dispatched:
    """An agent's answer and what it took."""

    output: Output
    attempts: int
    duration_ms: float


def dispatch(*, task: Task, think: Think) -> Dispatched:
    """Asks the agent of `task.agent_type`. `think` receives its thoughts as they come.

    Raises Missing for an unknown agent, Conflict for a disabled one, BreakerOpen at once while its breaker is open, and the last
    attempt's error when none succeeded.
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

    output = retry_call(
        attempt,
        attempts=settings.RETRY_ATTEMPTS,
        base_seconds=settings.RETRY_BASE_SECONDS,
        deadline=registry.timeout_of(agent) * settings.RETRY_ATTEMPTS,
        should_retry=_is_worth_another,
        on_failure=failed,
    )
    return Dispatched(output, attempts, round((time.perf_counter() - began) * 1000, 2))


def _is_worth_another(error: BaseException) -> bool:
    return not isinstance(error, _POINTLESS) and not is_outage(error)


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
