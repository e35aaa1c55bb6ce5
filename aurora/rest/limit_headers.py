"""What a limited response tells its caller: `RateLimit-Policy`, `RateLimit` and `Retry-After`.

The first two are those of draft-ietf-httpapi-ratelimit-headers-11: Structured Field lists (RFC 9651) of
quoted strings with parameters, one item for each policy: `q` requests in `w` seconds; `r` requests remaining,
`t` seconds until there are more.
"""

from __future__ import annotations

from functools import lru_cache

from aurora.resilience.ratelimit import Decision, Policy


def headers_for(decision: Decision) -> dict[str, str]:
    """The fields of a response to which limits applied, admitted or refused; none where none applied."""
    if not decision.standings:
        return {}
    standings = [f'"{policy.name}";r={remaining};t={reset}' for policy, remaining, reset in decision.standings]
    fields = {
        "RateLimit-Policy": _policy_field(tuple([standing.policy for standing in decision.standings])),
        "RateLimit": ", ".join(standings),
    }
    if not decision.allowed:
        fields["Retry-After"] = str(decision.retry_after)
    return fields


def refusal_sentence(decision: Decision) -> str:
    """The `detail` of the 429, its number that of `Retry-After`. Clients match it: always "seconds"."""
    return f"Rate limit exceeded. Try again in {decision.retry_after} seconds."


@lru_cache(maxsize=256)
def _policy_field(policies: tuple[Policy, ...]) -> str:
    # A policy's name holds no character that a quoted string would have to escape.
    return ", ".join(f'"{policy.name}";q={policy.quota};w={policy.window_seconds}' for policy in policies)
