"""`/api/v1`: playbooks and their runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from rest_framework.request import Request
from rest_framework.response import Response

from agents.playbooks import answers, authoring, events, executions
from agents.playbooks.models import Execution, Playbook, PlaybookVersion
from agents.playbooks.schemas import CancelIn, ExecuteIn, ExecutionQuery, PlaybookBody, PlaybookPatch
from aurora.rest.calls import Call
from aurora.rest.pagination import page_by_name, page_of
from aurora.rest.schemas import Page, PageQuery
from aurora.rest.views import ApiView, uuid_of


class Playbooks(ApiView):
    """Playbooks by name; writing one, as fields or as the text of a file in `source`."""

    permissions = {"GET": "playbooks:read", "POST": "playbooks:execute"}
    calls = {
        "GET": Call(query=PageQuery, answers={200: Page[answers.PlaybookAnswer]}),
        "POST": Call(body=PlaybookBody, answers={201: answers.PlaybookDetailAnswer}, errors=(409,)),
    }

    def get(self, request: Request) -> Response:
        return Response(page_by_name(Playbook.objects.all(), self.query(PageQuery), events.playbook_data, name="name"))

    def post(self, request: Request) -> Response:
        body = self.body(PlaybookBody).model_dump(exclude_unset=True)
        is_enabled = body.pop("enabled", True)
        definition, source = authoring.defined(body)
        row = authoring.write_playbook(definition=definition, source=source, actor=self.actor)
        if not is_enabled:
            row = authoring.edit_playbook(playbook_id=row.id, changes={"enabled": False}, actor=self.actor)
        return Response(_detail(row), status=201)


class PlaybookDetail(ApiView):
    """One playbook with its present version; changing it makes another."""

    permissions = {"GET": "playbooks:read", "PATCH": "playbooks:execute"}
    calls = {
        "GET": Call(answers={200: answers.PlaybookDetailAnswer}),
        "PATCH": Call(body=PlaybookPatch, answers={200: answers.PlaybookDetailAnswer}),
    }

    def get(self, request: Request, playbook_id: str) -> Response:
        return Response(_detail(authoring.find(uuid_of(playbook_id))))

    def patch(self, request: Request, playbook_id: str) -> Response:
        key, changes = uuid_of(playbook_id), self.body(PlaybookPatch).model_dump(exclude_unset=True)
        return Response(_detail(authoring.edit_playbook(playbook_id=key, changes=changes, actor=self.actor)))


class PlaybookVersions(ApiView):
    """All versions of a playbook, the newest first."""

    permissions = {"GET": "playbooks:read"}
    calls = {"GET": Call(query=PageQuery, answers={200: Page[answers.VersionAnswer]})}

    def get(self, request: Request, playbook_id: str) -> Response:
        query = self.query(PageQuery)
        rows = PlaybookVersion.objects.filter(playbook=authoring.find(uuid_of(playbook_id)))
        return Response(page_of(rows, query, _version))


class PlaybookExecute(ApiView):
    """Begins a run. In a dry run of the installation it is one too: kept, for what it would do is what was asked for."""

    permissions = {"POST": "playbooks:execute"}
    kept_in_dry_run = frozenset({"POST"})
    limits = {"POST": ("general", "playbooks")}
    calls = {"POST": Call(body=ExecuteIn, answers={202: answers.ExecutionDetailAnswer}, errors=(404, 409))}

    def post(self, request: Request, playbook_id: str) -> Response:
        body = self.body(ExecuteIn)
        row = executions.execute(playbook_id=uuid_of(playbook_id), actor=self.actor, **body.model_dump())
        return Response(events.execution_detail(row), status=202)


class Executions(ApiView):
    """Runs, newest first."""

    permissions = {"GET": "playbooks:read"}
    calls = {"GET": Call(query=ExecutionQuery, answers={200: Page[answers.ExecutionAnswer]})}

    def get(self, request: Request) -> Response:
        query = self.query(ExecutionQuery)
        given = query.model_dump(include={"status", "playbook_id", "case_id"}, exclude_none=True)
        rows = Execution.objects.select_related("playbook", "version").filter(**given)
        return Response(page_of(rows, query, events.execution_data))


class ExecutionDetail(ApiView):
    """One run with its steps."""

    permissions = {"GET": "playbooks:read"}
    calls = {"GET": Call(answers={200: answers.ExecutionDetailAnswer})}

    def get(self, request: Request, execution_id: str) -> Response:
        return Response(events.execution_detail(executions.find(uuid_of(execution_id))))


class ExecutionCancel(ApiView):
    """Calls a run off, and undoes what was completed if `rollback` says so."""

    permissions = {"POST": "playbooks:execute"}
    kept_in_dry_run = frozenset({"POST"})
    calls = {
        "POST": Call(body=CancelIn, is_body_optional=True, answers={200: answers.ExecutionDetailAnswer}, errors=(409,))
    }

    def post(self, request: Request, execution_id: str) -> Response:
        key, body = uuid_of(execution_id), self.body(CancelIn)
        row = executions.cancel(execution_id=key, rollback=body.rollback, actor=self.actor)
        return Response(events.execution_detail(row))


class _Hold(ApiView):
    permissions = {"POST": "playbooks:execute"}
    kept_in_dry_run = frozenset({"POST"})
    calls = {"POST": Call(answers={200: answers.ExecutionDetailAnswer}, errors=(409,))}
    verb: ClassVar[Callable[..., Any]]

    def post(self, request: Request, execution_id: str) -> Response:
        row = type(self).verb(execution_id=uuid_of(execution_id), actor=self.actor)
        return Response(events.execution_detail(row))


class ExecutionPause(_Hold):
    """Lets nothing more begin until the run is resumed."""

    verb = executions.pause


class ExecutionResume(_Hold):
    """Lets a paused run go on."""

    verb = executions.resume


def _detail(row: Playbook) -> dict[str, Any]:
    version = authoring.current_version(row)
    return events.playbook_data(row) | {"steps": version.definition.get("steps", []), "source": version.source}


def _version(row: PlaybookVersion) -> dict[str, Any]:
    return {
        "id": row.id,
        "version": row.number,
        "definition": row.definition,
        "source": row.source,
        "created_by": row.created_by,
        "created_at": row.created_at,
    }
