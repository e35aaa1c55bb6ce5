"""Logs: one event a line, with its trace, its request and its own fields; secrets never."""

from __future__ import annotations

import logging
import logging.config
import re
from typing import Any

import structlog
from opentelemetry import trace
from structlog.typing import EventDict, Processor, WrappedLogger

from aurora.observability import work

_SECRET_NAME = re.compile(r"(?i)(passw|secret|token|authorization|api_?key|cookie|credential)")
_REDACTED = "[redacted]"
_TRACEBACKS = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
"""Without the frames' variables, which both of structlog's own renderers print: among them are passwords, tokens and whole requests."""


def configure(config: dict[str, Any]) -> None:
    """Django's `LOGGING_CONFIG`: routes structlog and the standard library through one formatter, `console` or `json`."""
    shared = _shared_processors()
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "events": {
                    "()": structlog.stdlib.ProcessorFormatter,
                    "foreign_pre_chain": [structlog.stdlib.ExtraAdder(), *shared],
                    "processors": [
                        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                        *_renderers(config["format"]),
                    ],
                }
            },
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "events"}},
            "root": {"handlers": ["stderr"], "level": "INFO"},
            "loggers": {
                # Their lines repeat what `request_finished` and our own events say.
                "uvicorn.access": {"level": "WARNING"},
                "uvicorn.error": {"level": "WARNING"},
                "django.request": {"level": "CRITICAL"},
                "django.security.DisallowedHost": {"level": "CRITICAL"},
                "psycopg.pool": {"level": "ERROR"},
                "opentelemetry": {"level": "ERROR"},
                # A traceback a second while Redis is away; the reader of the streams has said so.
                "channels_redis": {"level": "CRITICAL"},
                # Cards in full and a line a request; what matters of them is in our own events.
                "a2a": {"level": "WARNING"},
                "httpx": {"level": "WARNING"},
            },
        }
    )


def add_trace_ids(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """`trace_id` (32 hex digits) and `span_id` (16) of the span in which the line was written."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = trace.format_trace_id(context.trace_id)
        event["span_id"] = trace.format_span_id(context.span_id)
    return event


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Blanks every field whose name says that it holds a secret."""
    for name, value in event.items():
        if value and _SECRET_NAME.search(name):
            event[name] = _REDACTED
    return event


def _shared_processors() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        work.add_names,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_trace_ids,
        redact,
    ]


def _renderers(log_format: str) -> list[Processor]:
    if log_format == "json":
        return [structlog.processors.ExceptionRenderer(_TRACEBACKS), structlog.processors.JSONRenderer(default=str)]
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=False, pad_event_to=32, exception_formatter=plain)]
