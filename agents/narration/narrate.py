"""The verb: an ended investigation's findings, worded by the model, if there is one and it keeps to the rules."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import transaction

from agents import journal, metrics
from agents.connections import let_go
from agents.models import Investigation
from agents.narration.material import Fact, facts_of, messages_of, tokens_of
from agents.narration.reading import Reading, Unusable, read
from agents.narration.talk import Model, ModelFault, complete
from agents.states import ENDED_INVESTIGATIONS, EventKind, StepStatus
from aurora.bus.redis import Purpose, client
from aurora.errors import AuroraError, Conflict, RateLimited
from aurora.resilience import breakers
from aurora.resilience.breaker import Breaker, BreakerOpen, BreakerSettings
from aurora.resilience.metrics import REFUSALS
from aurora.resilience.ratelimit import Limiter, Policy

BREAKER = "model"
HOUR = 3_600
_BUDGET = "model"
_THOUSAND = 1_000

log = structlog.get_logger(__name__)

_lock = threading.Lock()
_limiter: Limiter | None = None


class OverBudget(RateLimited):
    """This question would cost more than is left of what the operator allows."""


def is_wanted() -> bool:
    """Whether an operator named a model."""
    return bool(settings.LLM_BASE_URL)


def narrate(*, investigation_id: UUID) -> None:
    """Asks the model about an ended investigation, once each time it ends, and keeps what stands of the answer; else notes why there is none.

    No transaction and no connection to the database is held while the model thinks. Raises only for an outage of our own database.
    """
    investigation = Investigation.objects.filter(pk=investigation_id, status__in=ENDED_INVESTIGATIONS).first()
    if not is_wanted() or investigation is None or _is_worded(investigation):
        return
    facts = facts_of(_outputs(investigation))
    if not facts:
        return
    began = time.monotonic()
    messages = messages_of(facts)
    tokens = tokens_of(one["content"] for one in messages) + settings.LLM_ANSWER_TOKENS
    try:
        _spend(investigation, tokens)
        let_go()
        reading = _ask(messages, facts)
    except (AuroraError, Unusable) as error:
        _note_absence(investigation, error, tokens)
        return
    finally:
        metrics.MODEL_SECONDS.observe(time.monotonic() - began)
    _keep(investigation, facts, reading, tokens)


def breaker() -> Breaker:
    """What stands before the model, shared by all processes as the agents' are."""
    return breakers.get(
        BREAKER,
        BreakerSettings(
            failure_threshold=settings.BREAKER_FAILURES,
            reset_timeout=settings.BREAKER_RESET_SECONDS,
            probe_lease=settings.LLM_TIMEOUT_SECONDS + 5,
        ),
    )


def _ask(messages: Sequence[dict[str, str]], facts: Sequence[Fact]) -> Reading:
    model = Model(settings.LLM_BASE_URL, settings.LLM_MODEL, settings.LLM_API_KEY)

    def call() -> Reading:
        answer = complete(model, messages, most_tokens=settings.LLM_ANSWER_TOKENS, timeout=settings.LLM_TIMEOUT_SECONDS)
        try:
            return read(answer, facts)
        except Unusable as error:
            # A model that keeps to no form costs time and money for nothing, as one that is down does.
            raise ModelFault(f"its answer is {error}") from None

    return breaker().call(call)


def _spend(investigation: Investigation, tokens: int) -> None:
    """Takes the question's price, before it is asked and at its highest, from what is left. Raises OverBudget."""
    spent = [
        data.get("tokens", 0)
        for data in investigation.events.filter(kind=EventKind.MODEL).values_list("data", flat=True)
        if data.get("was_asked")
    ]
    if len(spent) >= settings.LLM_CALLS_PER_INVESTIGATION:
        raise OverBudget(f"{settings.LLM_CALLS_PER_INVESTIGATION} questions are allowed an investigation")
    if sum(spent) + tokens > settings.LLM_TOKENS_PER_INVESTIGATION:
        raise OverBudget(f"{settings.LLM_TOKENS_PER_INVESTIGATION} tokens are allowed an investigation")
    thousands = -(-tokens // _THOUSAND)
    most = settings.LLM_TOKENS_PER_HOUR // _THOUSAND
    if thousands > most:
        raise OverBudget(f"{settings.LLM_TOKENS_PER_HOUR} tokens are allowed an hour")
    for policy, cost in (
        (Policy("model-calls", settings.LLM_CALLS_PER_HOUR, HOUR), 1),
        (Policy("model-tokens", most, HOUR), thousands),
    ):
        decision = _limits().hit(_BUDGET, (policy,), cost=cost)
        if not decision.allowed:
            raise OverBudget(
                f"the hour's budget of {policy.name.removeprefix('model-')} is spent", retry_after=decision.retry_after
            )


def _limits() -> Limiter:
    global _limiter
    with _lock:
        if _limiter is None:
            _limiter = Limiter(client(Purpose.REQUEST))
        return _limiter


def _outputs(investigation: Investigation) -> dict[str, Any]:
    steps = investigation.steps.filter(status=StepStatus.COMPLETED).order_by("stage", "id")
    return dict(steps.values_list("agent_type", "output"))


def _is_worded(investigation: Investigation) -> bool:
    ended = investigation.finished_at.isoformat() if investigation.finished_at else ""
    return (investigation.model_wording or {}).get("of") == ended


def _keep(investigation: Investigation, facts: Sequence[Fact], reading: Reading, tokens: int) -> None:
    used = {cite for one in (*reading.summary, *reading.hypotheses) for cite in one.cites} | set(reading.ranking)
    wording = {
        "model": settings.LLM_MODEL,
        "of": investigation.finished_at.isoformat() if investigation.finished_at else "",
        "summary": [asdict(one) for one in reading.summary],
        "ranking": list(reading.ranking),
        "hypotheses": [asdict(one) for one in reading.hypotheses],
        "findings": [
            {"id": fact.id, "agent_type": fact.agent, "title": fact.title, "confidence": fact.confidence}
            for fact in facts
            if fact.id in used
        ],
        "dropped": len(reading.dropped),
    }
    left_out = (
        f"; {len(reading.dropped)} sentences were dropped ({'; '.join(reading.dropped[:3])})" if reading.dropped else ""
    )
    with transaction.atomic():
        Investigation.objects.filter(pk=investigation.pk).update(model_wording=wording)
        journal.append(
            investigation_id=investigation.id,
            kind=EventKind.MODEL,
            text=f"The model {settings.LLM_MODEL} worded the findings{left_out}. It changes nothing of the computed result.",
            data={"outcome": "worded", "was_asked": True, "tokens": tokens, "dropped": list(reading.dropped[:20])},
        )
    metrics.MODEL_CALLS.labels("worded").inc()
    metrics.MODEL_TOKENS.inc(tokens)
    metrics.MODEL_DROPPED.inc(len(reading.dropped))
    log.info(
        "model_worded", investigation_id=str(investigation.id), tokens_at_most=tokens, dropped=len(reading.dropped)
    )


def _note_absence(investigation: Investigation, error: Exception, tokens: int) -> None:
    outcome, was_asked = _outcome(error)
    reason = error.detail if isinstance(error, AuroraError) else str(error)
    if isinstance(error, BreakerOpen):
        REFUSALS.labels(BREAKER).inc()
        reason = "it failed several times and is left alone for now"
    journal.append(
        investigation_id=investigation.id,
        kind=EventKind.MODEL,
        text=f"The model's wording is missing: {reason}. The computed result stands.",
        data={"outcome": outcome, "was_asked": was_asked, "tokens": tokens if was_asked else 0},
    )
    metrics.MODEL_CALLS.labels(outcome).inc()
    if was_asked:
        metrics.MODEL_TOKENS.inc(tokens)
    log.warning("model_not_used", investigation_id=str(investigation.id), outcome=outcome, reason=str(reason))


def _outcome(error: Exception) -> tuple[str, bool]:
    """How it is counted, and whether the model's server was asked at all."""
    if isinstance(error, BreakerOpen):
        return "refused", False
    if isinstance(error, OverBudget):
        return "over_budget", False
    return ("declined" if isinstance(error, (Conflict, RateLimited)) else "failed"), True
