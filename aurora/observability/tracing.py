"""Traces: every request and every message has one; it leaves the process only when `OTEL_EXPORTER_OTLP_ENDPOINT` is set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from opentelemetry import trace
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_propagator = TraceContextTextMapPropagator()
_tracer = trace.get_tracer("aurora")


def start() -> None:
    """Installs the tracer provider, once a process. Spans of queries and Redis commands are made only when somebody will see them."""
    if isinstance(trace.get_tracer_provider(), TracerProvider):
        return
    provider = TracerProvider(resource=Resource.create({"service.name": settings.OTEL_SERVICE_NAME}))
    trace.set_tracer_provider(provider)
    if settings.OTEL_ENDPOINT:
        _export(provider)
    DjangoInstrumentor().instrument(middleware_position=1)


def current_traceparent() -> str:
    """The W3C `traceparent` of the current span, or an empty string outside of any."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get("traceparent", "")


@contextmanager
def span(name: str, *, traceparent: str = "") -> Iterator[trace.Span]:
    """A span that continues the trace of `traceparent`, or the current one when that is empty or malformed."""
    context = _propagator.extract({"traceparent": traceparent}) if traceparent else None
    with _tracer.start_as_current_span(name, context=context) as current:
        yield current


def _export(provider: TracerProvider) -> None:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor
    from opentelemetry.instrumentation.redis import RedisInstrumentor
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    PsycopgInstrumentor().instrument()
    RedisInstrumentor().instrument()
