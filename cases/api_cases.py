"""`/api/v1`: cases and IOCs."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import transaction
from rest_framework.request import Request
from rest_framework.response import Response

from aurora.rest.calls import Call
from aurora.rest.pagination import page_of
from aurora.rest.schemas import Page, PageQuery
from aurora.rest.views import ApiView, uuid_of
from cases import answers, events, ioc_import, iocs, lifecycle, merging, queries
from cases.schemas import (
    CaseIn,
    CasePatch,
    CaseQuery,
    CommentIn,
    ImportQuery,
    IocLookup,
    IocPatch,
    IocQuery,
    MergeIn,
    NewIoc,
)

_BUNDLE: dict[str, Any] = {"schema": {}, "example": {"type": "bundle", "id": f"bundle--{UUID(int=0)}", "objects": []}}
_CSV: dict[str, Any] = {"schema": {}, "example": "type,value\nip,203.0.113.77\n"}
_LISTS: dict[str, dict[str, Any]] = {
    "text/csv": _CSV,
    "application/json": _BUNDLE,
    "application/stix+json": _BUNDLE,
    "text/plain": _CSV,
}
_LIST_TYPES = (*_LISTS, "application/octet-stream", "")
"""What is surely no list, a form above all, is none of them."""


class Cases(ApiView):
    """Cases, newest first; opening one by hand."""

    permissions = {"GET": "cases:read", "POST": "cases:write"}
    shows_rows_alone = True
    calls = {
        "GET": Call(query=CaseQuery, answers={200: Page[answers.CaseAnswer]}),
        "POST": Call(body=CaseIn, answers={201: answers.CaseDetailAnswer}),
    }

    def get(self, request: Request) -> Response:
        query = self.query(CaseQuery)
        return Response(page_of(queries.cases(query), query, events.case_data))

    def post(self, request: Request) -> Response:
        body = self.body(CaseIn)
        case = lifecycle.open_case(**body.model_dump(), actor=self.actor)
        return Response(queries.case(case.id), status=201)


class CaseDetail(ApiView):
    """One case with its alerts."""

    permissions = {"GET": "cases:read", "PATCH": "cases:write"}
    calls = {
        "GET": Call(answers={200: answers.CaseDetailAnswer}),
        "PATCH": Call(body=CasePatch, answers={200: answers.CaseDetailAnswer}, errors=(409,)),
    }

    def get(self, request: Request, case_id: str) -> Response:
        return Response(queries.case(uuid_of(case_id)))

    def patch(self, request: Request, case_id: str) -> Response:
        key, body = uuid_of(case_id), self.body(CasePatch)
        changes = body.model_dump(include=body.model_fields_set - {"status", "reason"})
        changes = {name: value for name, value in changes.items() if value is not None or name == "assignee"}
        with transaction.atomic():
            if changes:
                lifecycle.edit_case(case_id=key, changes=changes, actor=self.actor)
            if body.status:
                lifecycle.change_status(case_id=key, status=body.status, reason=body.reason, actor=self.actor)
        return Response(queries.case(key))


class CaseTimeline(ApiView):
    """What happened to a case, newest first."""

    permissions = {"GET": "cases:read"}
    calls = {"GET": Call(query=PageQuery, answers={200: Page[answers.TimelineAnswer]})}

    def get(self, request: Request, case_id: str) -> Response:
        query = self.query(PageQuery)
        return Response(page_of(queries.timeline(uuid_of(case_id)), query, queries.timeline_data))


class CaseComments(ApiView):
    """Remarks of analysts."""

    permissions = {"POST": "cases:write"}
    calls = {"POST": Call(body=CommentIn, answers={201: answers.TimelineAnswer}, errors=(409,))}

    def post(self, request: Request, case_id: str) -> Response:
        entry = lifecycle.comment(case_id=uuid_of(case_id), text=self.body(CommentIn).text, actor=self.actor)
        return Response(queries.timeline_data(entry), status=201)


class CaseMerge(ApiView):
    """Everything of the case moves into another one, which is answered; it itself closes for good. Once done, again changes nothing."""

    permissions = {"POST": "cases:write"}
    calls = {"POST": Call(body=MergeIn, answers={200: answers.CaseDetailAnswer}, errors=(409,))}

    def post(self, request: Request, case_id: str) -> Response:
        target = merging.merge_case(case_id=uuid_of(case_id), into=self.body(MergeIn).into, actor=self.actor)
        return Response(queries.case(target.id))


class Iocs(ApiView):
    """Indicators of compromise; adding one."""

    permissions = {"GET": "iocs:read", "POST": "iocs:write"}
    shows_rows_alone = True
    calls = {
        "GET": Call(query=IocQuery, answers={200: Page[answers.IocAnswer]}),
        "POST": Call(body=NewIoc, answers={201: answers.IocAnswer}, errors=(409,)),
    }

    def get(self, request: Request) -> Response:
        query = self.query(IocQuery)
        return Response(page_of(queries.iocs(query), query, queries.ioc_data))

    def post(self, request: Request) -> Response:
        body = self.body(NewIoc)
        details = body.model_dump(exclude={"type", "value"}, exclude_none=True)
        row = iocs.add_ioc(ioc_type=body.type, value=body.value, details=details, actor=self.actor)
        return Response(queries.ioc_data(row), status=201)


class IocDetail(ApiView):
    """One IOC with the alerts that carried it."""

    permissions = {"GET": "iocs:read", "PATCH": "iocs:write", "DELETE": "iocs:write"}
    calls = {
        "GET": Call(answers={200: answers.IocDetailAnswer}),
        "PATCH": Call(body=IocPatch, answers={200: answers.IocAnswer}),
        "DELETE": Call(answers={204: None}),
    }

    def get(self, request: Request, ioc_id: str) -> Response:
        return Response(queries.ioc(uuid_of(ioc_id)))

    def patch(self, request: Request, ioc_id: str) -> Response:
        changes = self.body(IocPatch).model_dump(exclude_unset=True)
        row = iocs.edit_ioc(ioc_id=uuid_of(ioc_id), changes=changes, actor=self.actor)
        return Response(queries.ioc_data(row))

    def delete(self, request: Request, ioc_id: str) -> Response:
        iocs.delete_ioc(ioc_id=uuid_of(ioc_id), actor=self.actor)
        return Response(status=204)


class IocImport(ApiView):
    """Adds a list of indicators: CSV, a STIX 2.1 bundle, or MISP events; which of them it is, its content says."""

    permissions = {"POST": "iocs:write"}
    calls = {"POST": Call(body=_LISTS, query=ImportQuery, answers={200: answers.DeliveryAnswer})}

    def post(self, request: Request) -> Response:
        query = self.query(ImportQuery)
        self.require_media_type(lambda media_type: media_type in _LIST_TYPES)
        entries = ioc_import.read(request._request.body)
        defaults = query.model_dump(include={"confidence", "tlp", "expires_at"})
        source = query.source or self.actor.name[:64]
        result = ioc_import.import_iocs(entries=entries, source=source, actor=self.actor, defaults=defaults)
        return Response(
            {
                "receipt": result.receipt,
                "received": result.received,
                "created": result.created,
                "merged": result.merged,
                "ignored": result.ignored,
                "rejected": [{"index": entry.index, "detail": entry.error} for entry in result.rejected],
            }
        )


class IocLookups(ApiView):
    """What is known under a value; it may be defanged."""

    permissions = {"GET": "iocs:read"}
    calls = {"GET": Call(query=IocLookup, answers={200: answers.IocLookupAnswer})}

    def get(self, request: Request) -> Response:
        return Response({"items": queries.iocs_of_value(self.query(IocLookup).value)})
