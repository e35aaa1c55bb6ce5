"""Traces: every request and every message has one; it leaves the process only when `OTEL_EXPORTER_OTLP_ENDPOINT` is set."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from opentelemetry import context, trace
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from aurora.observability import work

_propagator = TraceContextTextMapPropagator()
_tracer = trace.get_tracer("aurora")


def start() -> None:
    """Installs the tracer provider, once a process. Attributes, and spans of queries and Redis commands, are made only when somebody will see them."""
    if isinstance(trace.get_tracer_provider(), TracerProvider):
        return
    provider = TracerProvider(
        resource=Resource.create({"service.name": settings.OTEL_SERVICE_NAME}),
        # None: as the standard's `OTEL_TRACES_SAMPLER` says. A span that is not sampled has its ids all the same.
        sampler=None if settings.OTEL_ENDPOINT else ALWAYS_OFF,
    )
    trace.set_tracer_provider(provider)
    if settings.OTEL_ENDPOINT:
        _export(provider)
        DjangoInstrumentor().instrument(middleware_position=1, request_hook=_without_query)
    else:
        settings.MIDDLEWARE.insert(1, f"{__name__}.{UnrecordedRequest.__name__}")


def current_traceparent() -> str:
    """The W3C `traceparent` of the current span, or an empty string outside of any."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get("traceparent", "")


def span(name: str, *, traceparent: str = "") -> AbstractContextManager[trace.Span]:
    """A span that continues the trace of `traceparent`, or the current one when that is empty or malformed.

    While nothing leaves the process it only carries the ids: recording costs more than what most spans are around.
    """
    if not settings.OTEL_ENDPOINT:
        return _Unrecorded(traceparent)
    parent = _propagator.extract({"traceparent": traceparent}) if traceparent else None
    return _tracer.start_as_current_span(name, context=parent)


class UnrecordedRequest:
    """In the place of OpenTelemetry's middleware while nothing leaves the process: that collects for its span what nobody will see."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        with _Unrecorded(request.META.get("HTTP_TRACEPARENT", "")):
            return self.get_response(request)


class _Unrecorded(AbstractContextManager[trace.Span]):
    """A span of which nothing is kept but the trace it belongs to."""

    def __init__(self, traceparent: str) -> None:
        around = trace.get_current_span().get_span_context().trace_id
        self._span = trace.NonRecordingSpan(work.span_context(traceparent, otherwise=around))

    def __enter__(self) -> trace.Span:
        self._token = context.attach(trace.set_span_in_context(self._span))
        return self._span

    def __exit__(self, *_error: object) -> None:
        context.detach(self._token)


def _without_query(recorded: trace.Span, request: HttpRequest) -> None:
    """As in the log: a query may hold a token."""
    if not recorded.is_recording() or not request.META.get("QUERY_STRING"):
        return
    recorded.set_attribute("http.url", request.build_absolute_uri(request.path))
    recorded.set_attribute("http.target", request.path)
    recorded.set_attribute("url.query", "")


def _export(provider: TracerProvider) -> None:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor
    from opentelemetry.instrumentation.redis import RedisInstrumentor
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    PsycopgInstrumentor().instrument()
    RedisInstrumentor().instrument()
