"""What schemathesis has to be told: how records of lines are written, what the domain may refuse, and whom to leave alone."""

from __future__ import annotations

import json
from typing import Any

import requests
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import positive_data_acceptance

CALLER = "admin"
"""Whoever the requests come from: changed or deleted, the account's token would end, and every call after it in a 401."""
ANOTHER = "analyst"
"""A demo account."""

_DOMAINS_OWN = {"value_error", "cursor_parsing"}
_UNREADABLE = _DOMAINS_OWN | {"json_invalid", "missing"}
_TAKES_FOREIGN_BODIES = ("/api/v1/ingest/", "/api/v1/iocs/import")
_OTHER_LANGUAGES = (["body", "source"], ["body", "settings"])
"""What is in them no schema of the call can say: a text of YAML is a text, and what a connector's settings are, its kind says, which `PATCH` finds
only in the row."""


@schemathesis.serializer("application/x-ndjson", "text/csv", "application/stix+json")
def _as_it_is(ctx: Any, value: Any) -> bytes:
    return value.encode("utf-8", "replace") if isinstance(value, str) else json.dumps(value).encode()


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    if case.path_parameters and case.path_parameters.get("username") == CALLER:
        case.path_parameters["username"] = ANOTHER


@schemathesis.check
def only_the_domain_refuses_what_the_schema_allows(ctx: Any, response: Any, case: Any) -> bool | None:
    """schemathesis's own check, but for refusals of what no schema can say: a password that is too common, an address that is none."""
    if response.status_code == 400 and _is_of_the_domain(response.json()["detail"], case.path):
        return None
    return positive_data_acceptance(ctx, response, case)


@schemathesis.check
def only_an_agent_taken_away_is_unavailable(ctx: Any, response: Any, case: Any) -> bool | None:
    """schemathesis's own check for 5xx, but for what the run has brought about itself: it forces breakers open, and sends agents to addresses at which there are none."""
    if response.status_code == 503 and case.path == "/api/v1/orchestrator/dispatch" and _was_taken_away(response, case):
        return None
    return not_a_server_error(ctx, response, case)


def _was_taken_away(response: Any, case: Any) -> bool:
    base, headers = response.request.url.partition("/api/v1/")[0], response.request.headers
    asked = {name: headers[name] for name in ("Authorization", "X-API-Key") if name in headers}
    agent = requests.get(f"{base}/api/v1/agents/{case.body['agent_type']}", headers=asked, timeout=10).json()
    return "Retry-After" in response.headers and (agent["breaker"]["state"] != "closed" or agent["transport"] == "a2a")


def _is_of_the_domain(faults: list[dict[str, Any]], path: str) -> bool:
    allowed = _UNREADABLE if path.startswith(_TAKES_FOREIGN_BODIES) else _DOMAINS_OWN
    return all(
        fault["type"] in allowed or fault["loc"][-1] == "occurred_at" or fault["loc"][:2] in _OTHER_LANGUAGES
        for fault in faults
    )
