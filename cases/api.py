"""`/api/v1`: alerts and their intake."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from django.db import transaction
from rest_framework.request import Request
from rest_framework.response import Response

from aurora.errors import AuroraError, Invalid, Missing
from aurora.resilience.spool import Accepted
from aurora.rest import idempotency
from aurora.rest.calls import JSON, Call
from aurora.rest.pagination import page_of
from aurora.rest.problems import problem
from aurora.rest.schemas import Page, one_of
from aurora.rest.views import ApiView, uuid_of
from cases import answers, events, intake, lifecycle, queries, spooling, triage
from cases.normalizers import SOURCES
from cases.schemas import AlertIn, AlertPatch, AlertQuery, BulkAlerts, CaseLink, RejectQuery
from cases.submission import alert_of

_LINES: dict[str, Any] = {"schema": {}, "example": '{"title": "Port scan"}\n{"title": "Beaconing"}\n'}
_RECORDS: dict[str, dict[str, Any]] = {
    JSON: {
        "schema": {"description": "One record, or an array of them, as the sensor sends it."},
        "example": {"title": "Port scan", "severity": "low", "source_ip": "203.0.113.77"},
    },
    "application/x-ndjson": _LINES,
    "text/plain": _LINES | {"example": "CEF:0|Acme|IDS|1.0|100|Port scan|5|src=203.0.113.77"},
}
# What `curl --data` and senders that were told nothing put there says nothing of the body.
_MEANINGLESS_TYPES = ("", "text/plain", "application/octet-stream", "application/x-www-form-urlencoded")


def _may_hold_records(media_type: str) -> bool:
    return media_type in _MEANINGLESS_TYPES or "json" in media_type


class Alerts(ApiView):
    """Alerts, newest first; submitting one."""

    permissions = {"GET": "alerts:read", "POST": ("alerts:ingest", "alerts:write")}
    shows_rows_alone = True
    limits = {"GET": ("general",), "POST": ("ingest",)}
    taken_while_down = frozenset({"POST"})
    calls = {
        "GET": Call(query=AlertQuery, answers={200: Page[answers.AlertAnswer]}),
        "POST": Call(
            body=AlertIn,
            headers=idempotency.HEADER,
            answers={
                201: answers.AlertDetailAnswer,
                200: answers.AlertDetailAnswer,
                202: answers.SpooledAnswer,
            },
            errors=(409,),
        ),
    }

    def is_taken_back(self) -> bool:
        """A program's alert is intake, which goes on in a dry run; one that a person writes is a change like any."""
        return super().is_taken_back() and self.actor.role != "api_service"

    def get(self, request: Request) -> Response:
        query = self.query(AlertQuery)
        return Response(page_of(queries.alerts(query), query, events.alert_data))

    def post(self, request: Request) -> Response:
        alert, claim = alert_of(self.body(AlertIn)), idempotency.claim_of(request, self.actor)
        entry = spooling.entry_of_alert(alert=alert, payload=request._request.body, actor=self.actor, claim=claim)

        def submit() -> tuple[int, dict[str, Any]]:
            row, is_new = intake.submit_alert(alert=alert, actor=self.actor, receipt=entry.receipt)
            return (201 if is_new else 200), queries.alert_detail(row)

        answer = spooling.stored_or_spooled(entry, lambda: idempotency.once(claim, submit))
        return _spooled(answer) if isinstance(answer, Accepted) else answer


class AlertDetail(ApiView):
    """One alert."""

    permissions = {"GET": "alerts:read", "PATCH": "alerts:write"}
    calls = {
        "GET": Call(answers={200: answers.AlertDetailAnswer}),
        "PATCH": Call(body=AlertPatch, answers={200: answers.AlertDetailAnswer}, errors=(409,)),
    }

    def get(self, request: Request, alert_id: str) -> Response:
        return Response(queries.alert(uuid_of(alert_id)))

    def patch(self, request: Request, alert_id: str) -> Response:
        key, changes = uuid_of(alert_id), self.body(AlertPatch)
        with transaction.atomic():
            if "assignee" in changes.model_fields_set:
                triage.assign(alert_id=key, username=changes.assignee, actor=self.actor)
            if changes.status:
                triage.change_status(alert_id=key, status=changes.status, actor=self.actor)
        return Response(queries.alert(key))


class AlertAcknowledge(ApiView):
    """Takes note of an alert: its reaction clock stops."""

    permissions = {"POST": "alerts:write"}
    calls = {"POST": Call(answers={200: answers.AlertAnswer}, errors=(409,))}

    def post(self, request: Request, alert_id: str) -> Response:
        return Response(events.alert_data(triage.acknowledge(alert_id=uuid_of(alert_id), actor=self.actor)))


class AlertPromote(ApiView):
    """Opens a case from an alert."""

    permissions = {"POST": "cases:write"}
    calls = {"POST": Call(answers={201: answers.CaseAnswer}, errors=(409,))}

    def post(self, request: Request, alert_id: str) -> Response:
        case = lifecycle.promote_alert(alert_id=uuid_of(alert_id), actor=self.actor)
        return Response(events.case_data(case), status=201)


class AlertCaseLink(ApiView):
    """Puts an alert into a case."""

    permissions = {"POST": "cases:write"}
    calls = {"POST": Call(body=CaseLink, answers={200: answers.AlertDetailAnswer}, errors=(409,))}

    def post(self, request: Request, alert_id: str) -> Response:
        body = self.body(CaseLink)
        lifecycle.link_alert(alert_id=uuid_of(alert_id), case_id=body.case_id, actor=self.actor)
        return Response(queries.alert(uuid_of(alert_id)))


class AlertBulk(ApiView):
    """One action on many alerts; each succeeds or fails on its own."""

    permissions = {"POST": "alerts:write"}
    calls = {"POST": Call(body=BulkAlerts, answers={200: answers.BulkAnswer})}

    def post(self, request: Request) -> Response:
        body = self.body(BulkAlerts)
        _require_argument(body)
        done, failed = [], []
        for alert_id in dict.fromkeys(body.ids):
            try:
                self._apply(body, alert_id)
                done.append(alert_id)
            except AuroraError as error:
                failed.append({"id": alert_id, "detail": error.detail})
        return Response({"done": done, "failed": failed})

    def _apply(self, body: BulkAlerts, alert_id: Any) -> None:
        match body.action:
            case "acknowledge":
                triage.acknowledge(alert_id=alert_id, actor=self.actor)
            case "status":
                triage.change_status(alert_id=alert_id, status=body.status or "", actor=self.actor)
            case "assign":
                triage.assign(alert_id=alert_id, username=body.assignee, actor=self.actor)
            case "case-link":
                assert body.case_id is not None  # noqa: S101 - _require_argument saw to it
                lifecycle.link_alert(alert_id=alert_id, case_id=body.case_id, actor=self.actor)


class Ingest(ApiView):
    """What sensors send: an object, an array or NDJSON, in the sensor's own format."""

    permissions = {"POST": "alerts:ingest"}
    limits = {"POST": ("ingest",)}
    taken_while_down = kept_in_dry_run = frozenset({"POST"})
    calls = {
        "POST": Call(body=_RECORDS, headers=idempotency.HEADER, answers={202: answers.TakenInAnswer}, errors=(409,))
    }
    path_types = {"source": Annotated[str, one_of(SOURCES)]}

    def post(self, request: Request, source: str) -> Response:
        if source not in SOURCES:
            raise Missing(f"Unknown source; known are {', '.join(SOURCES)}")
        self.require_media_type(_may_hold_records)
        body, content_type = request._request.body, request.content_type or ""
        if not body.strip():
            raise Invalid(problems=[problem(["body"], "Field required", "missing")])
        claim = idempotency.claim_of(request, self.actor)
        entry, records = spooling.entry_of_records(
            source=source, payload=body, content_type=content_type, actor=self.actor, claim=claim
        )

        def take_in() -> tuple[int, dict[str, Any]]:
            done = intake.ingest_records(source=source, records=records, actor=self.actor, receipt=entry.receipt)
            return spooling.STATUS, _delivery_data(done)

        answer = spooling.stored_or_spooled(entry, lambda: idempotency.once(claim, take_in))
        return _spooled(answer) if isinstance(answer, Accepted) else answer


class IngestRejects(ApiView):
    """Records that were no alerts, with the reason."""

    permissions = {"GET": "alerts:read"}
    calls = {"GET": Call(query=RejectQuery, answers={200: Page[answers.RejectAnswer]})}

    def get(self, request: Request) -> Response:
        query = self.query(RejectQuery)
        return Response(page_of(queries.rejects(query), query, queries.reject_data))


class IngestReceiptDetail(ApiView):
    """What became of a delivery."""

    permissions = {"GET": ("alerts:read", "alerts:ingest")}
    calls = {"GET": Call(answers={200: answers.ReceiptAnswer})}
    path_types = {"receipt": UUID}

    def get(self, request: Request, receipt: str) -> Response:
        return Response(spooling.receipt_data(uuid_of(receipt)))


def _delivery_data(done: intake.Delivery) -> dict[str, Any]:
    names = ("receipt", "received", "created", "merged", "ignored")
    rejected = [{"index": item.index, "detail": item.detail} for item in done.rejected]
    return {name: getattr(done, name) for name in names} | {"rejected": rejected}


def _spooled(accepted: Accepted) -> Response:
    headers = idempotency.REPLAYED if accepted.is_replay else None
    return Response(spooling.answer_of(accepted), status=spooling.STATUS, headers=headers)


_ARGUMENT_OF = {"status": "status", "case-link": "case_id"}


def _require_argument(body: BulkAlerts) -> None:
    name = _ARGUMENT_OF.get(body.action)
    if name and getattr(body, name) is None:
        raise Invalid(problems=[problem(["body", name], f"Value error, {body.action!r} needs it", "value_error")])
