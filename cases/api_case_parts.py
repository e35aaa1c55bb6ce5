"""`/api/v1`: what a case is made of besides its alerts: its tasks."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from aurora.rest.calls import Call
from aurora.rest.pagination import page_of
from aurora.rest.schemas import Page
from aurora.rest.views import ApiView, uuid_of
from cases import answers, queries, tasks
from cases.schemas import CaseTaskIn, CaseTaskPatch, CaseTaskQuery


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
