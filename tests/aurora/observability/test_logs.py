"""What a log line may never hold."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import structlog

from aurora.observability import logs


def _line_of_a_failure(log_format: str) -> str:
    """The last processors' output for an error in whose frame a password is a variable."""
    event: Any = {"event": "request_failed", "level": "error", "timestamp": "2026-01-01T00:00:00Z"}
    try:
        password = "hunter2-hunter2"
        raise ValueError(len(password))
    except ValueError:
        event["exc_info"] = sys.exc_info()
    for processor in logs._renderers(log_format):
        event = processor(None, "error", event)
    return str(event)


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_tells_lines_and_no_variables(log_format):
    line = _line_of_a_failure(log_format)
    assert "ValueError" in line
    assert "test_logs.py" in line
    assert "hunter2" not in line.replace('password = "hunter2-hunter2"', "")


def test_a_field_named_like_a_secret_is_blanked():
    event = logs.redact(structlog.get_logger(), "info", {"event": "e", "api_key": "aurora_key_x", "user": "ana"})
    assert event == {"event": "e", "api_key": "[redacted]", "user": "ana"}
