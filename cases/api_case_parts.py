"""`/api/v1`: what a case is made of besides its alerts: tasks and evidence."""

from __future__ import annotations

from io import BytesIO
from typing import IO

from django.http import FileResponse
from rest_framework.request import Request
from rest_framework.response import Response

from aurora.resilience import availability
from aurora.rest import forms
from aurora.rest.calls import Call
from aurora.rest.pagination import page_of
from aurora.rest.schemas import Page, PageQuery
from aurora.rest.views import ApiView, uuid_of
from cases import answers, evidence, queries, tasks
from cases.models import Evidence
from cases.schemas import CaseTaskIn, CaseTaskPatch, CaseTaskQuery, EvidenceIn

_CONTENT = "application/octet-stream"


class CaseTasks(ApiView):
    """What is to be done for a case, newest first; adding to it."""

    permissions = {"GET": "cases:read", "POST": "cases:write"}
    calls = {
        "GET": Call(query=CaseTaskQuery, answers={200: Page[answers.CaseTaskAnswer]}),
        "POST": Call(body=CaseTaskIn, answers={201: answers.CaseTaskAnswer}, errors=(409,)),
    }

    def get(self, request: Request, case_id: str) -> Response:
        query = self.query(CaseTaskQuery)
        return Response(page_of(queries.tasks(uuid_of(case_id), query), query, queries.task_data))

    def post(self, request: Request, case_id: str) -> Response:
        body = self.body(CaseTaskIn)
        task = tasks.add_task(case_id=uuid_of(case_id), **body.model_dump(), actor=self.actor)
        return Response(queries.task_data(task), status=201)


class CaseTaskDetail(ApiView):
    """One task: done, open again, handed over, put off."""

    permissions = {"PATCH": "cases:write"}
    calls = {"PATCH": Call(body=CaseTaskPatch, answers={200: answers.CaseTaskAnswer}, errors=(409,))}

    def patch(self, request: Request, case_id: str, task_id: str) -> Response:
        sent = self.body(CaseTaskPatch).model_dump(exclude_unset=True)
        changes = {name: value for name, value in sent.items() if value is not None or name in ("assignee", "due_at")}
        task = tasks.edit_task(case_id=uuid_of(case_id), task_id=uuid_of(task_id), changes=changes, actor=self.actor)
        return Response(queries.task_data(task))


class CaseEvidence(ApiView):
    """Files of a case, newest first; adding one, as a form with the field `file`. A case has a file once: the same content again is a 409."""

    permissions = {"GET": "cases:read", "POST": "cases:write"}
    calls = {
        "GET": Call(query=PageQuery, answers={200: Page[answers.EvidenceAnswer]}),
        "POST": Call(body=forms.described(EvidenceIn), answers={201: answers.EvidenceDetailAnswer}, errors=(409,)),
    }

    def get(self, request: Request, case_id: str) -> Response:
        query = self.query(PageQuery)
        return Response(page_of(queries.evidence(uuid_of(case_id)), query, queries.evidence_data))

    def post(self, request: Request, case_id: str) -> Response:
        key = uuid_of(case_id)
        self.require_media_type(lambda media_type: media_type == forms.MULTIPART)
        fields, file = forms.read(request._request, EvidenceIn)
        row = evidence.add_evidence(
            case_id=key,
            name=file.name or "",
            chunks=file.chunks(),
            media_type=file.content_type or "",
            description=fields.description,
            actor=self.actor,
        )
        return Response(queries.evidence_detail(row), status=201)


class EvidenceDetail(ApiView):
    """A file with its chain of custody."""

    permissions = {"GET": "cases:read"}
    calls = {"GET": Call(answers={200: answers.EvidenceDetailAnswer})}

    def get(self, request: Request, case_id: str, evidence_id: str) -> Response:
        return Response(queries.evidence_detail(evidence.find(uuid_of(case_id), uuid_of(evidence_id))))


class EvidenceContent(ApiView):
    """The file itself, held against its hash before it is handed out; each time is noted in its chain of custody."""

    permissions = {"GET": "cases:read"}
    calls = {"GET": Call(answers={200: _CONTENT}, errors=(409,))}
    is_export = True

    def get(self, request: Request, case_id: str, evidence_id: str) -> FileResponse:
        availability.database.require_writable()
        row, file = evidence.hand_out(case_id=uuid_of(case_id), evidence_id=uuid_of(evidence_id), actor=self.actor)
        return _download(row, file)

    def head(self, request: Request, case_id: str, evidence_id: str) -> FileResponse:
        """What a download would say. Nothing is handed out, so nothing is noted."""
        return _download(evidence.find(uuid_of(case_id), uuid_of(evidence_id)), BytesIO())


def _download(row: Evidence, file: IO[bytes]) -> FileResponse:
    """With headers by which no browser shows it, runs it, or guesses what it is: evidence may be the attacker's own page."""
    response = FileResponse(file, as_attachment=True, filename=row.name, content_type=_CONTENT)
    for name, value in {
        "Content-Length": str(row.size),
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Cross-Origin-Resource-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }.items():
        response.headers[name] = value
    return response
