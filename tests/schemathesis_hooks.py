"""What schemathesis has to be told: how records of lines are written, what the domain may refuse, and whom to leave alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import requests
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.engine import observations
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

CALLER = "admin"
"""Whoever the requests come from: changed or deleted, the account's token would end, and every call after it in a 401."""
ANOTHER = "analyst"
"""A demo account."""

_ENOUGH_SECONDS = 10.0
"""For an agent to answer in: the run sets less, too."""

_DOMAINS_OWN = {"value_error", "cursor_parsing"}
_UNREADABLE = _DOMAINS_OWN | {"json_invalid", "missing"}
_TAKES_FOREIGN_BODIES = ("/api/v1/ingest/", "/api/v1/iocs/import")
_OTHER_LANGUAGES = {"POST": (["body", "source"],), "PATCH": (["body", "source"], ["body", "settings"])}
"""What is in them no schema of the call can say: a text of YAML is a text, and what a connector's settings are, its kind says, which `PATCH` finds
only in the row."""


def _or_none(find: Callable[..., str | None]) -> Callable[..., str | None]:
    def found(*args: Any) -> str | None:
        try:
            return find(*args)
        except ValueError:
            return None

    return found


# Version 4.32 looks for addresses in answers, and ends the run at one like `http://[`, which a text may well hold.
observations._same_origin_path = _or_none(observations._same_origin_path)


@schemathesis.serializer("application/x-ndjson", "text/csv", "application/stix+json")
def _as_it_is(ctx: Any, value: Any) -> bytes:
    return value.encode("utf-8", "replace") if isinstance(value, str) else json.dumps(value).encode()


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    for headers in (kwargs.get("headers") or {}, case.headers or {}):
        # A proxy's, say: what is no bearer is passed over, and so proves nothing about the key beside it.
        if not headers.get("Authorization", "bearer ").lower().startswith("bearer "):
            del headers["Authorization"]
    if case.path_parameters and case.path_parameters.get("username") == CALLER:
        case.path_parameters["username"] = ANOTHER


@schemathesis.check
def only_the_domain_refuses_what_the_schema_allows(ctx: Any, response: Any, case: Any) -> bool | None:
    """schemathesis's own check, but for refusals of what no schema can say: a password that is too common, an address that is none."""
    if response.status_code == 400 and _is_of_the_domain(response.json()["detail"], case):
        return None
    return positive_data_acceptance(ctx, response, case)


@schemathesis.check
def only_an_agent_taken_away_is_unavailable(ctx: Any, response: Any, case: Any) -> bool | None:
    """schemathesis's own check for 5xx, but for what the run has brought about itself: it forces breakers open, sends agents to addresses at which there are none,
    and gives them no time."""
    if response.status_code == 503 and case.path == "/api/v1/orchestrator/dispatch" and _was_taken_away(response, case):
        return None
    return not_a_server_error(ctx, response, case)


def _was_taken_away(response: Any, case: Any) -> bool:
    base, headers = response.request.url.partition("/api/v1/")[0], response.request.headers
    asked = {name: headers[name] for name in ("Authorization", "X-API-Key") if name in headers}
    agent = requests.get(f"{base}/api/v1/agents/{case.body['agent_type']}", headers=asked, timeout=10).json()
    is_away = agent["breaker"]["state"] != "closed" or agent["transport"] == "a2a" or agent["timeout"] < _ENOUGH_SECONDS
    assert is_away, f"{agent} is there and was said not to be"
    return "retry-after" in {name.lower() for name in response.headers}


@schemathesis.check
def what_the_schema_forbids_is_refused(ctx: Any, response: Any, case: Any) -> bool | None:
    """schemathesis's own check, but for forms: there every value is a text, also that which was meant to be none."""
    return None if case.media_type == "multipart/form-data" else negative_data_rejection(ctx, response, case)


def _is_of_the_domain(faults: list[dict[str, Any]], case: Any) -> bool:
    allowed = _UNREADABLE if case.path.startswith(_TAKES_FOREIGN_BODIES) else _DOMAINS_OWN
    other_languages = _OTHER_LANGUAGES.get(case.method.upper(), ())
    return all(
        fault["type"] in allowed or fault["loc"][-1] == "occurred_at" or fault["loc"][:2] in other_languages
        for fault in faults
    )
