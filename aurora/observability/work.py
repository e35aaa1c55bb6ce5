"""The piece of work in hand: what names it in log lines, and the trace it belongs to.

A worker of the bus begins one for every message. Binding names to structlog's context and opening a span would cost it more than all the rest
of a message, for lines that nearly no message writes: so here is kept what the work is, and the rest is made when somebody asks.
"""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Mapping
from contextvars import ContextVar

from opentelemetry import context, trace
from structlog.typing import EventDict, WrappedLogger

in_hand: ContextVar[Work | None] = ContextVar("in_hand", default=None)


class Work:
    """What it is called and what it continues is asked for at most when a line is written or something is announced."""

    __slots__ = ("_ids",)

    def names(self) -> Mapping[str, object]:
        """What every log line bears that does not say otherwise."""
        return {}

    def traceparent(self) -> str:
        """The W3C `traceparent` to continue; empty or malformed for a trace of its own."""
        return ""

    def ids(self) -> trace.SpanContext:
        """The same whenever asked, in whichever thread."""
        with _making_ids:
            if not hasattr(self, "_ids"):
                self._ids = span_context(self.traceparent())
        return self._ids


def span_context(traceparent: str, *, otherwise: int = 0) -> trace.SpanContext:
    """A new span's ids, in the trace of `traceparent`, in the trace `otherwise`, or in a new one."""
    found = _TRACEPARENT.match(traceparent)
    trace_id = int(found[1], 16) if found else 0
    return trace.SpanContext(
        trace_id or otherwise or random.getrandbits(128) or 1,
        random.getrandbits(64) or 1,
        is_remote=False,
        trace_flags=_SAMPLED,
    )


def carry_trace() -> None:
    """From here on the current span is that of the work in hand, in this thread and in contexts copied from it."""
    context.attach(trace.set_span_in_context(_OfWorkInHand()))


def add_names(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A log processor."""
    work = in_hand.get()
    return {**work.names(), **event} if work else event


class _OfWorkInHand(trace.NonRecordingSpan):
    """A span of which nothing is kept but its ids."""

    def __init__(self) -> None:
        super().__init__(trace.INVALID_SPAN_CONTEXT)

    def get_span_context(self) -> trace.SpanContext:
        work = in_hand.get()
        return work.ids() if work else self._context


_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$")
_SAMPLED = trace.TraceFlags(trace.TraceFlags.SAMPLED)
_making_ids = threading.Lock()
