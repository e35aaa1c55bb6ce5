"""`/api/v1`: approvals, connectors, and the block list that firewalls fetch."""

from __future__ import annotations

from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.response import Response

from agents.playbooks import answers, approvals, blocking, connectors, deliveries, events
from agents.playbooks.actions.blocklist import in_force
from agents.playbooks.models import Approval, BlocklistEntry, Connector, Delivery
from agents.playbooks.schemas import (
    ApprovalQuery,
    BlocklistEntryQuery,
    BreakerReset,
    ConnectorIn,
    ConnectorPatch,
    DecisionIn,
    DeliveryQuery,
    LiftIn,
)
from aurora.errors import Missing
from aurora.rest.calls import Call
from aurora.rest.pagination import page_by_name_together, page_of
from aurora.rest.schemas import Page, PageQuery
from aurora.rest.views import ApiView, uuid_of
from cases.schemas import BlocklistQuery


class Approvals(ApiView):
    """Approvals, newest first."""

    permissions = {"GET": "approvals:read"}
    calls = {"GET": Call(query=ApprovalQuery, answers={200: Page[answers.ApprovalAnswer]})}

    def get(self, request: Request) -> Response:
        query = self.query(ApprovalQuery)
        given = query.model_dump(include={"status", "execution_id"}, exclude_none=True)
        rows = Approval.objects.select_related("execution", "step").filter(**given)
        return Response(page_of(rows, query, events.approval_data))


class ApprovalDetail(ApiView):
    """One approval."""

    permissions = {"GET": "approvals:read"}
    calls = {"GET": Call(answers={200: answers.ApprovalAnswer})}

    def get(self, request: Request, approval_id: str) -> Response:
        return Response(events.approval_data(approvals.find(uuid_of(approval_id))))


class ApprovalApprove(ApiView):
    """A yes, of somebody else than who asked."""

    permissions = {"POST": "approvals:decide"}
    calls = {"POST": Call(body=DecisionIn, is_body_optional=True, answers={200: answers.ApprovalAnswer}, errors=(409,))}

    def post(self, request: Request, approval_id: str) -> Response:
        reason = self.body(DecisionIn).reason
        row = approvals.approve(approval_id=uuid_of(approval_id), reason=reason, actor=self.actor)
        return Response(events.approval_data(row))


class ApprovalReject(ApiView):
    """A no, with its reason."""

    permissions = {"POST": "approvals:decide"}
    calls = {"POST": Call(body=DecisionIn, answers={200: answers.ApprovalAnswer}, errors=(409,))}

    def post(self, request: Request, approval_id: str) -> Response:
        reason = self.body(DecisionIn).reason
        row = approvals.reject(approval_id=uuid_of(approval_id), reason=reason, actor=self.actor)
        return Response(events.approval_data(row))


class Connectors(ApiView):
    """The ways in which actions reach the world; configuring one."""

    permissions = {"GET": "agents:manage", "POST": "agents:manage"}
    calls = {
        "GET": Call(query=PageQuery, answers={200: Page[answers.ConnectorAnswer]}),
        "POST": Call(body=ConnectorIn, answers={201: answers.ConnectorAnswer}, errors=(409,)),
    }

    def get(self, request: Request) -> Response:
        return Response(
            page_by_name_together(Connector.objects.all(), self.query(PageQuery), connectors.describe_all, name="name")
        )

    def post(self, request: Request) -> Response:
        body = self.body(ConnectorIn)
        changes = body.model_dump(exclude={"name", "kind"}, exclude_unset=True)
        row = connectors.configure(name=body.name, kind=body.kind, changes=changes, actor=self.actor)
        return Response(connectors.describe(row), status=201)


class ConnectorDetail(ApiView):
    """One connector. Its secrets go in and never come out."""

    permissions = {"GET": "agents:manage", "PATCH": "agents:manage", "DELETE": "agents:manage"}
    calls = {
        "GET": Call(answers={200: answers.ConnectorAnswer}),
        "PATCH": Call(body=ConnectorPatch, answers={200: answers.ConnectorAnswer}, errors=(409,)),
        "DELETE": Call(answers={204: None}, errors=(409,)),
    }

    def get(self, request: Request, connector_id: str) -> Response:
        row = Connector.objects.filter(pk=uuid_of(connector_id)).first()
        if row is None:
            raise Missing
        return Response(connectors.describe(row))

    def patch(self, request: Request, connector_id: str) -> Response:
        changes = self.body(ConnectorPatch).model_dump(exclude_unset=True)
        row = connectors.reconfigure(connector_id=uuid_of(connector_id), changes=changes, actor=self.actor)
        return Response(connectors.describe(row))

    def delete(self, request: Request, connector_id: str) -> Response:
        connectors.remove(connector_id=uuid_of(connector_id), actor=self.actor)
        return Response(status=204)


class ConnectorTest(ApiView):
    """Asks a connector whether it would work. Has no effect on its target."""

    permissions = {"POST": "agents:manage"}
    calls = {"POST": Call(answers={200: answers.ConnectorTestAnswer})}

    def post(self, request: Request, connector_id: str) -> Response:
        return Response(connectors.test(connector_id=uuid_of(connector_id), actor=self.actor))


class ConnectorBreaker(ApiView):
    """Lets calls of a connector through again without waiting for the next probe."""

    permissions = {"POST": "agents:manage"}
    calls = {"POST": Call(body=BreakerReset, answers={200: answers.ConnectorAnswer})}

    def post(self, request: Request, connector_id: str) -> Response:
        self.body(BreakerReset)
        return Response(
            connectors.describe(connectors.reset_breaker(connector_id=uuid_of(connector_id), actor=self.actor))
        )


class Deliveries(ApiView):
    """What was sent to webhooks and what they answered, newest first."""

    permissions = {"GET": "agents:manage"}
    calls = {"GET": Call(query=DeliveryQuery, answers={200: Page[answers.WebhookDeliveryAnswer]})}

    def get(self, request: Request) -> Response:
        query = self.query(DeliveryQuery)
        given = query.model_dump(include={"connector_id", "event_id"}, exclude_none=True)
        return Response(page_of(Delivery.objects.filter(**given), query, deliveries.data))


class DeliveryReplay(ApiView):
    """Sends a message to its webhook again."""

    permissions = {"POST": "agents:manage"}
    calls = {"POST": Call(answers={200: answers.WebhookDeliveryAnswer}, errors=(409,))}

    def post(self, request: Request, delivery_id: str) -> Response:
        return Response(deliveries.data(deliveries.replay(delivery_id=uuid_of(delivery_id), actor=self.actor)))


class BlocklistEntries(ApiView):
    """What playbooks have firewalls block, newest first, what was lifted or has expired too."""

    permissions = {"GET": "iocs:read"}
    calls = {"GET": Call(query=BlocklistEntryQuery, answers={200: Page[answers.BlocklistEntryAnswer]})}

    def get(self, request: Request) -> Response:
        query = self.query(BlocklistEntryQuery)
        rows = BlocklistEntry.objects.filter(**query.model_dump(include={"type", "value"}, exclude_none=True))
        if query.state is not None:
            rows = rows.filter(pk__in=in_force()) if query.state == "blocked" else rows.exclude(pk__in=in_force())
        return Response(page_of(rows, query, blocking.data))


class BlocklistLift(ApiView):
    """Takes what the entry names off the list, whichever runs have put it there."""

    permissions = {"POST": blocking.PERMISSION}
    calls = {"POST": Call(body=LiftIn, answers={200: answers.BlocklistEntryAnswer}, errors=(409,))}

    def post(self, request: Request, entry_id: str) -> Response:
        reason = self.body(LiftIn).reason
        return Response(blocking.data(blocking.lift(entry_id=uuid_of(entry_id), reason=reason, actor=self.actor)))


class Blocklist(ApiView):
    """What firewalls are to block, one a line: indicators that somebody vouches for, and what playbooks have put there."""

    is_export = True
    permissions = {"GET": "iocs:read"}
    calls = {"GET": Call(query=BlocklistQuery, answers={200: "text/plain"})}

    def get(self, request: Request) -> HttpResponse:
        lines = blocking.published(self.query(BlocklistQuery).type)
        return HttpResponse("".join(f"{line}\n" for line in sorted(lines)), content_type="text/plain; charset=utf-8")
