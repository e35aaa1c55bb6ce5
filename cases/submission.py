"""`POST /alerts`: from the contract's body to a normalised alert."""

from __future__ import annotations

import orjson

from aurora.errors import Invalid
from aurora.rest.problems import problem
from cases.attack import techniques_in
from cases.normalizers import NormalizedAlert
from cases.observables import Observable, canonical, classify, extract
from cases.schemas import AlertIn, IocIn


def alert_of(body: AlertIn) -> NormalizedAlert:
    """The alert a program describes. IOCs are those it names and those in its texts. Raises Invalid for a named one that is none."""
    named = [_observable(place, item) for place, item in enumerate(body.iocs)]
    found = extract(f"{body.description}\n{body.raw_log}") if body.description or body.raw_log else []
    return NormalizedAlert(
        title=body.title,
        severity=body.severity,
        source=body.source,
        description=body.description,
        category="other",
        asset_type=None,
        affected_assets=list(dict.fromkeys(body.affected_assets)),
        users=[],
        observables=list(dict.fromkeys([*named, *found])),
        mitre_techniques=techniques_in(body.mitre_techniques),
        occurred_at=body.occurred_at,
        metadata={},
        raw=body.raw_log or orjson.dumps(body.model_dump(mode="json", exclude_defaults=True)).decode(),
    )


def _observable(place: int, item: str | IocIn) -> Observable:
    try:
        found = classify(item) if isinstance(item, str) else canonical(item.type, item.value)
    except Invalid as error:
        raise Invalid(
            problems=[problem(["body", "iocs", place], f"Value error, {error.detail}", "value_error")]
        ) from None
    if found is None:
        message = "Value error, not recognised as an IOC; give it as {type, value}"
        raise Invalid(problems=[problem(["body", "iocs", place], message, "value_error")])
    return found
