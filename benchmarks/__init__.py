"""What the product is measured by, each figure beside its peer in the same run: `python -m benchmarks [NAME …]`."""

SUBJECTS = (
    "ingest",
    "alert_post",
    "asgi_server",
    "frames",
    "start",
    "limiter",
    "validation",
    "breaker",
    "breaker_fleet",
    "dispatch",
    "bus",
    "sockets",
    "spool",
    "degraded",
    "reads",
    "agents",
    "playbooks",
)
"""One module each: a docstring that says what is measured against what, `TARGETS`, and `run`."""
