"""`/api/v1`: investigations and agents."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.response import Response

from agents import answers, dispatch, events, investigations, queries, registry, reports
from agents.builtin.contract import Task
from agents.models import Agent
from agents.schemas import (
    AgentPatch,
    AgentWord,
    BreakerCommand,
    DispatchIn,
    EventQuery,
    InvestigationIn,
    InvestigationQuery,
    ReportQuery,
)
from aurora.ids import new_id
from aurora.rest.calls import Call
from aurora.rest.pagination import page_by_name_together, page_of
from aurora.rest.schemas import Page, PageQuery
from aurora.rest.views import ApiView, uuid_of


class Investigations(ApiView):
    """Investigations, newest first; beginning one."""

    permissions = {"GET": "investigations:read", "POST": "investigations:run"}
    shows_rows_alone = True
    limits = {"GET": ("general",), "POST": ("general", "investigations")}
    calls = {
        "GET": Call(query=InvestigationQuery, answers={200: Page[answers.InvestigationAnswer]}),
        "POST": Call(body=InvestigationIn, answers={202: answers.QueuedInvestigation}, errors=(404, 409)),
    }

    def get(self, request: Request) -> Response:
        query = self.query(InvestigationQuery)
        return Response(page_of(queries.investigations(query), query, events.investigation_data))

    def post(self, request: Request) -> Response:
        row = investigations.start(**self.body(InvestigationIn).model_dump(), actor=self.actor)
        return Response({"id": row.id, "status": row.status, "case_id": row.case_id}, status=202)


class InvestigationDetail(ApiView):
    """One investigation with its steps."""

    permissions = {"GET": "investigations:read"}
    calls = {"GET": Call(answers={200: answers.InvestigationDetailAnswer})}

    def get(self, request: Request, investigation_id: str) -> Response:
        return Response(queries.investigation(uuid_of(investigation_id)))


class InvestigationEvents(ApiView):
    """An investigation's numbered log, in its own order."""

    permissions = {"GET": "investigations:read"}
    calls = {"GET": Call(query=EventQuery, answers={200: Page[answers.EventAnswer]})}

    def get(self, request: Request, investigation_id: str) -> Response:
        return Response(queries.events_page(uuid_of(investigation_id), self.query(EventQuery)))


class CaseReport(ApiView):
    """A case as a report, written anew at each call."""

    permissions = {"GET": "cases:read"}
    is_export = True
    calls = {"GET": Call(query=ReportQuery, answers={200: reports.MEDIA_TYPES})}

    def get(self, request: Request, case_id: str) -> HttpResponse:
        key, form = uuid_of(case_id), self.query(ReportQuery).format
        document = reports.write(case_id=key, form=form)
        headers = {"Content-Disposition": f'inline; filename="{document.file_name}"', **_READ_ONLY_PAGE}
        return HttpResponse(document.content, content_type=document.content_type, headers=headers)


class Agents(ApiView):
    """The agents with health and breaker."""

    permissions = {"GET": "agents:read"}
    calls = {"GET": Call(query=PageQuery, answers={200: Page[answers.AgentAnswer]})}

    def get(self, request: Request) -> Response:
        rows, query = Agent.objects.all(), self.query(PageQuery)
        return Response(page_by_name_together(rows, query, registry.describe_all, name="agent_type"))


class AgentDetail(ApiView):
    """One agent."""

    permissions = {"GET": "agents:read", "PATCH": "agents:manage"}
    calls = {
        "GET": Call(answers={200: answers.AgentAnswer}),
        "PATCH": Call(body=AgentPatch, answers={200: answers.AgentAnswer}, errors=(409,)),
    }
    path_types = {"agent_type": AgentWord}

    def get(self, request: Request, agent_type: str) -> Response:
        return Response(registry.describe(registry.find(agent_type)))

    def patch(self, request: Request, agent_type: str) -> Response:
        changes = self.body(AgentPatch).model_dump(exclude_unset=True)
        reason = changes.pop("reason", "")
        agent = registry.configure(agent_type=agent_type, changes=changes, actor=self.actor, reason=reason)
        return Response(registry.describe(agent))


class AgentBreaker(ApiView):
    """Resets an agent's breaker, or holds it open or closed."""

    permissions = {"POST": "agents:manage"}
    calls = {"POST": Call(body=BreakerCommand, answers={200: answers.AgentAnswer})}
    path_types = {"agent_type": AgentWord}

    def post(self, request: Request, agent_type: str) -> Response:
        body = self.body(BreakerCommand)
        agent = registry.command_breaker(
            agent_type=agent_type, action=body.action, actor=self.actor, reason=body.reason
        )
        return Response(registry.describe(agent))


class Dispatch(ApiView):
    """Asks one agent and waits for its answer."""

    permissions = {"POST": "investigations:run"}
    kept_in_dry_run = frozenset({"POST"})
    limits = {"POST": ("general", "investigations")}
    calls = {"POST": Call(body=DispatchIn, answers={200: answers.DispatchAnswer}, errors=(404, 409))}

    def post(self, request: Request) -> Response:
        body = self.body(DispatchIn)
        task = Task(
            task_id=str(new_id()),
            agent_type=body.agent_type,
            prompt=body.prompt,
            alert_id=str(body.alert_id) if body.alert_id else None,
            case_id=str(body.case_id) if body.case_id else None,
            earlier={},
        )
        thoughts: list[str] = []

        def think(text: str, data: dict[str, Any]) -> None:
            thoughts.append(text)

        done = dispatch.dispatch(task=task, think=think)
        output: dict[str, Any] = done.output.as_json() | {"thoughts": thoughts}
        answer = {"task_id": task.task_id, "agent_type": task.agent_type, "output": output}
        return Response(answer | {"attempts": done.attempts, "duration_ms": done.duration_ms})


class Stats(ApiView):
    """The figures of the overview."""

    permissions = {"GET": "alerts:read"}
    calls = {"GET": Call(answers={200: answers.StatsAnswer})}

    def get(self, request: Request) -> Response:
        return Response(queries.stats())


_READ_ONLY_PAGE = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox"}
"""What a report may do in a browser: be read. It quotes attackers."""
