"""What leaves the process in a trace."""

from __future__ import annotations

from django.test import RequestFactory
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from aurora.observability import tracing


def test_a_span_of_a_request_holds_no_query():
    exporter, provider = InMemorySpanExporter(), TracerProvider(sampler=ALWAYS_ON)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    whole = "http://testserver/decide/?link=s3cret"
    with provider.get_tracer("test").start_as_current_span("GET", attributes={"http.url": whole}) as span:
        tracing._without_query(span, RequestFactory().get("/decide/", {"link": "s3cret"}))
    [recorded] = exporter.get_finished_spans()
    assert "s3cret" not in str(dict(recorded.attributes or {}))
    assert (recorded.attributes or {})["http.url"] == "http://testserver/decide/"
